"""One notebook or one submission, marked on its own: no gradebook, no course needed."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from handgrad.assignment.assignment import Assignment, names
from handgrad.assignment.source import described
from handgrad.batch.given_up import given_up
from handgrad.doors.opened import opened
from handgrad.errors import UserError
from handgrad.grading.graded import Graded
from handgrad.grading.pipeline import lecture_in, with_pipeline
from handgrad.notebooks.intake import Submission, nothing_there, take
from handgrad.notebooks.matching import meant, slots_of
from handgrad.notebooks.notebookfile import RawCell
from handgrad.notebooks.notebooknode import nbjson
from handgrad.pages.table import table
from handgrad.pages.words import noted, say, tell, text
from handgrad.platforms import github, gradescope, junit, prairielearn
from handgrad.sandbox.launch import Launched
from handgrad.settings import Settings
from handgrad.verdict import Note, Report, Verdict

PACKAGED = "backprop"  # what the package brings for those who have no course


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found."""

    assignment: Assignment
    graded: Graded

    @property
    def report(self) -> Report:
        return self.graded.report


def check(
    notebook: Path,
    course: Path | None,
    *,
    name: str = "",
    sandboxed: bool = True,
    launched: Launched | None = None,
) -> Checked:
    """Grade one notebook file: one of a course, or the lecture's own; its cells tell which.

    A folder is a submission, of the assignment `name`. Raises UserError where the file cannot be read, or
    is no notebook of any assignment.
    """
    if not sandboxed:
        Console(stderr=True).print(
            "[bold red]No sandbox:[/] this notebook's code runs with all your rights."
        )
    assignment, submission = belonging(notebook, assignments(course, name))
    graded = with_pipeline(
        assignment,
        lambda pipeline: pipeline.grade(student_of(notebook), submission),
        sandboxed=sandboxed,
        launched=launched,
    )
    return Checked(assignment, graded)


def student_of(path: Path) -> str:
    """Whom a report of a file or folder is about, where no gradebook knows."""
    return path.resolve().name if path.is_dir() else path.stem


def belonging(path: Path, known: list[Assignment]) -> tuple[Assignment, Submission]:
    """What of the `known` assignments a notebook or a folder answers, and its files as a submission.

    Raises UserError where it cannot be read, or answers none of them.
    """
    if path.is_dir():
        assignment = _only_one(known)
        limits = assignment.settings.limits
        submission = take(path, assignment.release, assignment.files, limits)
        if error := nothing_there(submission, assignment.release, str(path)):
            raise error
        return assignment, submission
    data, cells = opened(path, known[0].settings.limits)
    nearest = _nearest(cells, path, known)
    if nearest is not None:
        whole, stem = nearest
        return whole.only(stem), Submission({stem: data}, {})
    assignment = _of_the_lecture(data, path, known)
    return assignment, Submission(dict.fromkeys(assignment.notebooks, data), {})


def not_graded(path: Path, course: Path | None, name: str, why: str) -> Checked:
    """What there is to say of a submission that `check` could not grade: nothing could be told.

    Raises UserError where the assignment itself cannot be read.
    """
    assignment = _only_one(assignments(course, name))
    if path.stem in assignment.exercises:
        assignment = assignment.only(path.stem)
    graded = given_up(described(assignment), path.resolve().name, Submission({}, {}), why)
    return Checked(assignment, graded)


def _only_one(known: list[Assignment]) -> Assignment:
    if len(known) > 1:
        course = str(known[0].graders.parents[1])
        several = ", ".join(each.name for each in known)
        raise UserError(course, f"it has several assignments: {several}", "Use --assignment")
    return known[0]


def assignments(course: Path | None, name: str = "") -> list[Assignment]:
    """All assignments of a course, or its `name`; without a course, what the package brings."""
    if course is None:
        return [Assignment.packaged(name or PACKAGED)]
    known = [name] if name else names(course)
    if not known:
        raise UserError(
            str(course), "no assignment has graders here", "Name a course with --course"
        )
    return [Assignment.load(course, name) for name in known]


def _nearest(
    cells: tuple[RawCell, ...], path: Path, known: list[Assignment]
) -> tuple[Assignment, str] | None:
    """The assignment and released notebook that shares most cells with this one, if any does."""
    ids = {cell.grade_id for cell in cells if cell.grade_id}
    best: tuple[int, Assignment, str] | None = None
    for assignment in known:
        for stem in assignment.exercises:
            its = {slot.grade_id for slot in slots_of(assignment.release[stem]) if slot.grade_id}
            # The stem decides between notebooks with the same cells.
            shared = 2 * len(ids & its) - len(its - ids) + (path.stem == stem)
            if ids & its and (best is None or shared > best[0]):
                best = (shared, assignment, stem)
    if best is not None:
        return best[1], best[2]
    for assignment in known:  # its metadata are lost
        slots = {stem: slots_of(assignment.release[stem]) for stem in assignment.exercises}
        if stem := meant(path.name, cells, slots):
            return assignment, stem
    return None


def _of_the_lecture(data: bytes, path: Path, known: list[Assignment]) -> Assignment:
    """The assignment whose lecture this is a notebook of."""
    for assignment in known:
        if lecture_in(data, assignment) is not None:
            return assignment
    raise UserError(
        str(path),
        "it is neither a notebook of an assignment nor one of the lecture",
        "Check a notebook that was released, or the lecture's own with your answers in it",
    )


RENDERED: Mapping[str, Callable[[Report, Settings], str]] = {
    "github": github.render,
    "gradescope": gradescope.render,
    "junit": junit.render,
    "prairielearn": prairielearn.render,
}


def rendered(checked: Checked, kind: str) -> str:
    """The report in one of the formats that machines read."""
    if kind == "json":
        return json.dumps(as_json(checked), ensure_ascii=False, indent=2)
    return RENDERED[kind](checked.report, checked.assignment.settings)


def status(report: Report) -> int:
    """The exit status that a report asks for: 0 all right, 1 something wrong, 2 could not tell."""
    verdicts = {finding.verdict for finding in report.findings}
    if Verdict.COULD_NOT_TELL in verdicts:
        return 2
    return 1 if verdicts - {Verdict.RIGHT, Verdict.RIGHT_STEP} else 0


def as_json(checked: Checked) -> dict[str, object]:
    """The report for machines: a list `gradients`, and totals."""
    report, settings = checked.report, checked.assignment.settings
    language = settings.language
    return {
        "assignment": report.assignment,
        "gradients": [
            {
                "notebook": finding.notebook,
                "name": finding.name,
                "verdict": finding.verdict.value,
                "points": finding.points,
                "max_points": finding.max_points,
                "error": finding.error,
                "remark": " ".join(tell(finding, settings.feedback, language)),
            }
            for finding in report.findings
        ],
        "points": report.points,
        "max_points": report.max_points,
        "problems": _said(report.problems, language),
        "integrity": [
            {"notebook": one.notebook, "cell": one.cell, "what": one.what, "line": one.line}
            for one in report.integrity
        ],
    }


def as_html(
    checked: Checked, *, cells: bool = True, stepped: bool = False, live: bool = False
) -> str:
    """The report as the page a student of a course would get, with the notebooks' `cells` or without;
    `stepped` and `live` as `feedback.page` has them.
    """
    from handgrad.pages.feedback import edges_of, page

    assignment = checked.assignment
    return page(
        checked.report,
        {
            stem: nbjson.reads(text)  # type: ignore[no-untyped-call]
            for stem, text in checked.graded.notebooks.items()
            if cells
        },
        edges_of(assignment.exercises),
        language=assignment.settings.language,
        level=assignment.settings.feedback,
        stepped=stepped,
        live=live,
    )


def print_table(checked: Checked) -> None:
    """The report for a person: one line a gradient, then the sum."""
    settings = checked.assignment.settings
    console = Console(file=sys.stdout)
    console.print(table(checked.report, settings.feedback, settings.language))
    for line in noted(checked.report.problems, settings.language):
        console.print(line, markup=False)
    if checked.report.integrity:
        console.print(text("report.integrity_about", settings.language), markup=False)
    for one in checked.report.integrity:
        console.print(f"  {one.notebook}: {one.what}: {one.line}", markup=False)


def _said(notes: Mapping[str, tuple[Note, ...]], language: str) -> dict[str, list[str]]:
    return {where: [say(note, language) for note in each] for where, each in notes.items()}
