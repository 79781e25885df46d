"""A process that stays, in which one notebook or folder is judged again and again.

Whoever has it called needs no torch: that is imported where the work is done.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from handgrad.errors import UserError
from handgrad.settings import FeedbackLevel
from handgrad.verdict import Note, Report

if TYPE_CHECKING:
    from handgrad.assignment.assignment import Assignment
    from handgrad.grading.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found at one time, how much of it is told, the one thing to do next, and the page.

    `seconds` is what it took to read, run and judge it, and to make the page.
    """

    report: Report
    level: FeedbackLevel
    language: str
    page: str
    next_step: str
    seconds: tuple[float, float]


@dataclass(slots=True)
class _Here:
    """What this process is for; `stems` are the notebooks that were there the last time."""

    known: "list[Assignment]"
    pipeline: "Pipeline"
    stems: frozenset[str] = frozenset()


_here: list[_Here] = []


def host(
    serve: Callable[[], None], path: Path, course: Path | None, name: str, sandboxed: bool
) -> None:
    """Make all ready, then `serve` calls of `judge`: for `workers.Workers`.

    What `path` holds when it starts says which assignment it is for. Raises UserError where that is none.
    """
    from handgrad.doors.check import assignments, belonging
    from handgrad.grading.pipeline import with_pipeline

    known = assignments(course, name)

    def use(pipeline: "Pipeline") -> None:
        pipeline.wait()
        _here[:] = [_Here(known, pipeline)]
        serve()

    with_pipeline(belonging(path, known)[0], use, sandboxed=sandboxed)


def judge(path: Path, *, live: bool) -> Seen | Note:
    """Judge what `path` holds now, in a process of `host`; a note where it cannot be read as before.

    The page is `live`, with the notebooks' cells, or else one to be shown under a cell.
    """
    from handgrad.doors.check import Checked, as_html, belonging, student_of
    from handgrad.notebooks.notebookfile import UnreadableError
    from handgrad.pages.feedback import next_step

    here, began = _here[0], time.perf_counter()
    grading = here.pipeline.assignment
    try:
        assignment, submission = belonging(path, here.known)
    except UserError as error:
        if isinstance(error.__cause__, UnreadableError):
            return Note("unreadable", {"why": error.__cause__.why})
        return Note("unjudged", {"why": error.fact}) if path.exists() else Note("gone")
    for notes in submission.problems.values():
        for note in notes:
            if note.code == "unreadable":
                return note
    if here.stems - set(submission.files):
        return Note("gone")
    if (assignment.name, assignment.notebooks) != (grading.name, grading.notebooks):
        return Note("unjudged", {"why": f"it is a notebook of {assignment.name} now"})
    here.stems = frozenset(submission.files)
    graded = here.pipeline.grade(student_of(path), submission)
    between = time.perf_counter()
    page = as_html(Checked(grading, graded), cells=live, stepped=True, live=live)
    seconds = (between - began, time.perf_counter() - between)
    level, language = grading.settings.feedback, grading.settings.language
    following, _ = next_step(graded.report.findings, language)
    return Seen(graded.report, level, language, page, following, seconds)
