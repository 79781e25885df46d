"""nbgrader's own `generate_feedback`, by way of this project's page."""

import secrets
from functools import lru_cache
from pathlib import Path
from typing import Any

from nbconvert.exporters import Exporter
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.converters import base

from handgrad.assignment.assignment import Assignment
from handgrad.errors import UserError
from handgrad.notebooks.intake import SECRET, TIMESTAMP
from handgrad.pages.feedback import Marks, edges_of, page
from handgrad.store.course import Course
from handgrad.store.records import Records
from handgrad.store.roster import late_penalty


class PageExporter(Exporter):
    """In the place of nbconvert's HTMLExporter, whose page runs scripts from elsewhere.

    nbgrader's `GetGrades` has put scores and comments into the notebook before it comes here.
    """

    def _file_extension_default(self) -> str:
        return ".html"

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kwargs: Any
    ) -> tuple[Any, dict[str, Any]]:
        """The page of one notebook; raises UserError where nothing is stored of the submission."""
        graded, about = super().from_notebook_node(nb, resources, **kwargs)
        if not isinstance(self.parent, base.BaseConverter):
            raise UserError(
                "nbgrader",
                "PageExporter is not part of a feedback run",
                "Name it in c.GenerateFeedback.exporter_class only",
            )
        root, grading = Path(self.parent.coursedir.root), about["nbgrader"]
        student, name, stem = (grading[key] for key in ("student", "assignment", "notebook"))
        record = Records(root, name).read(student)
        if record is None:
            raise UserError(
                f"{student}/{name}",
                "no report is stored of this submission",
                f"Run `handgrad grade {name} --student {student}` first",
            )
        assignment = _assignment(root, name)
        html = page(
            record.report,
            {stem: graded},
            edges_of(assignment.exercises),
            language=assignment.settings.language,
            level=assignment.settings.feedback,
            marks=Marks(
                float(grading["score"]),
                float(grading["max_score"]),
                *_late_and_waiting(_course(root), grading),
            ),
            only=stem,
        )
        _make_releasable(Path(self.parent._format_dest(name, student)))
        return html, about


@lru_cache(maxsize=2)  # its graders import torch
def _assignment(root: Path, name: str) -> Assignment:
    return Assignment.load(root, name)


def _make_releasable(folder: Path) -> None:
    """Let `nbgrader release_feedback` get past who did not hand in through the exchange.

    It reads two files beside each page, and stops for everybody where they are not. By a secret that
    nobody has, the page goes where nobody fetches it; of any other time the page is older.
    """
    for name, text in ((TIMESTAMP, "1970-01-01 00:00:00 UTC\n"), (SECRET, secrets.token_hex(64))):
        path = folder / name
        if not path.exists():
            path.write_text(text, encoding="utf-8")


@lru_cache(maxsize=2)
def _course(root: Path) -> Course:
    return Course(root)


def _late_and_waiting(course: Course, grading: dict[str, Any]) -> tuple[float, frozenset[str]]:
    """What lateness costs this notebook, and its written answers that nobody has marked."""
    with Gradebook(grading["db_url"]) as gradebook:
        submission = gradebook.find_submission(grading["assignment"], grading["student"])
        notebook = gradebook.find_submission_notebook(
            grading["notebook"], grading["assignment"], grading["student"]
        )
        waiting = frozenset(grade.name for grade in notebook.grades if grade.needs_manual_grade)
        return late_penalty(course.penalties, submission, notebook), waiting
