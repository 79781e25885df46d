"""A release that the gradebook would not bear is refused before nbgrader deletes the one that is there."""

import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbgrader import utils
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import base
from nbgrader.converters.base import NbGraderException

from handgrad.assignment.assignment import Assignment, names
from handgrad.errors import UserError

# Cells as nbgrader's gradebook sorts them, by the name of their table.
_KINDS: Mapping[str, Callable[[NotebookNode], bool]] = {
    "grade_cells": utils.is_grade,
    "solution_cells": utils.is_solution,
    "task_cells": utils.is_task,
    "source_cells": lambda cell: (
        utils.is_grade(cell) or utils.is_solution(cell) or utils.is_locked(cell)
    ),
}


def make_release(root: Path, assignment: str) -> None:
    """Have nbgrader release an assignment of the course at `root`. Raises UserError with its last word."""
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", "generate_assignment", assignment],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise UserError(
            f"nbgrader generate_assignment {assignment}",
            said[-1] if said else "it failed",
            "Mend it, and run that again.",
        )


class ReleaseExporter(NotebookExporter):
    """nbgrader's own exporter, which it makes before it touches anything."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        if isinstance(self.parent, base.BaseConverter):
            _refuse_other_cells(self.parent)
            _refuse_what_cannot_be_graded(self.parent)


def _refuse_other_cells(converter: base.BaseConverter) -> None:
    """Raise NbGraderException, logged, where somebody was graded by other cells than there are now."""
    coursedir = converter.coursedir
    with Gradebook(coursedir.db_url, coursedir.course_id) as gradebook:
        for path in sorted(path for paths in converter.assignments.values() for path in paths):
            stem = Path(path).stem
            try:
                known = gradebook.find_notebook(stem, coursedir.assignment_id)
            except MissingEntry:
                continue
            changed = _changed(known, nbformat.read(path, as_version=4).cells)  # type: ignore[no-untyped-call]
            if changed and known.submissions:
                fact = (
                    f"{coursedir.assignment_id}/{stem}: cells were added or taken away "
                    f"({', '.join(changed)}), and submissions are graded by those that were released. "
                    "Nothing was touched. Put the cells back, or give the new version another "
                    "assignment name; `nbgrader db assignment remove "
                    f"{coursedir.assignment_id} --force` gives up all its marks"
                )
                converter.log.error(fact)
                raise NbGraderException(fact)


def _refuse_what_cannot_be_graded(converter: base.BaseConverter) -> None:
    """Raise NbGraderException, logged, where hidden graders could not grade a notebook; log warnings."""
    name, root = converter.coursedir.assignment_id, Path(converter.coursedir.root)
    if name not in names(root):
        return  # without hidden graders it is nbgrader's alone
    assignment = Assignment.source(root, name)
    for stem in assignment.exercises:
        for found in assignment.examined(stem):
            if isinstance(found, UserError):
                converter.log.error("%s/%s: %s Nothing was touched.", name, stem, found)
                raise NbGraderException(str(found))
            converter.log.warning("%s/%s: %s", name, stem, found)


def _changed(known: Any, cells: Iterable[NotebookNode]) -> list[str]:
    """The grade ids that only the gradebook or only the notebook has, of any kind."""
    found: set[str] = set()
    listed = list(cells)
    for kind, test in _KINDS.items():
        now = {cell.metadata.nbgrader["grade_id"] for cell in listed if test(cell)}
        found |= now ^ {cell.name for cell in getattr(known, kind)}
    return sorted(found)
