"""A lecture's notebook handed in for a student: the course's notebooks made from it, in their folder."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handgrad import atomic
from handgrad.assignment.assignment import Assignment
from handgrad.doors.opened import opened
from handgrad.errors import UserError
from handgrad.lecture.conversion import Extracted, convert, recognise, written
from handgrad.lecture.syllabus import Syllabus
from handgrad.plaintext import line, odd_name
from handgrad.store.course import Course


@dataclass(frozen=True, slots=True)
class Imported:
    """Where the submission now is, and what was found in the notebook it was made from."""

    folder: Path
    extracted: Extracted


def import_into(course: Path, assignment: str, notebook: Path, student: str) -> Imported:
    """Hand in a lecture notebook as a submission of `student`; all of it, or nothing.

    Raises UserError where the notebook is none of the lecture, the name is none for a folder, or the
    student has already handed something in.
    """
    wrong = odd_name(student)
    if wrong:
        raise UserError(
            line(student, 60), f"this cannot be a student's name: {wrong}", "Choose another name"
        )
    known = Assignment.load(course, assignment)
    syllabus = Syllabus.read(known.graders / "lecture.toml", known.release)
    _, cells = opened(notebook, known.settings.limits)
    if not recognise(cells, syllabus):
        raise UserError(
            str(notebook),
            "it is not the lecture's notebook: too few of the lecture's values are computed in it",
            f"Put a notebook of the course itself in submitted/{student}/{assignment}",
        )
    folder = Course(course).submitted(student, assignment)
    if os.path.lexists(folder):
        raise UserError(
            str(folder), "there is a submission already", "Move it away, or choose another name"
        )
    notebooks, extracted = convert(cells, syllabus, known.release)
    _place(folder, written(notebooks))
    return Imported(folder, extracted)


def _place(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the notebooks beside the folder and give them its name when they are all there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(folder) as fresh:
        fresh.mkdir()
        for stem, data in files.items():
            (fresh / f"{stem}.ipynb").write_bytes(data)
