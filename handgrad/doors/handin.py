"""A lecture's notebook handed in for a student: the same file in the place of each of the course's."""

import os
from pathlib import Path

from handgrad import atomic
from handgrad.assignment.assignment import Assignment
from handgrad.doors.opened import opened
from handgrad.errors import UserError
from handgrad.grading.pipeline import lecture_in, lecture_of
from handgrad.plaintext import line, odd_name
from handgrad.store.course import Course


def import_into(course: Path, assignment: str, notebook: Path, student: str) -> Path:
    """Hand in a lecture notebook as a submission of `student`; its folder. All of it, or nothing.

    Raises UserError where the notebook is none of the lecture, the name is none for a folder, or the
    student has already handed something in.
    """
    wrong = odd_name(student)
    if wrong:
        raise UserError(
            line(student, 60), f"this cannot be a student's name: {wrong}", "Choose another name"
        )
    known = Assignment.load(course, assignment)
    if lecture_of(known) is None:
        raise UserError(assignment, "this assignment knows of no lecture", "Take its own notebooks")
    data, _ = opened(notebook, known.settings.limits)
    if lecture_in(data, known) is None:
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
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(folder) as fresh:
        fresh.mkdir()
        for stem in known.notebooks:
            (fresh / f"{stem}.ipynb").write_bytes(data)
    return folder
