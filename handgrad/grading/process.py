"""What a process that grades does: it is one pytest session, and has one pipeline.

Whoever has it called needs no torch: that is imported where the work is done.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from handgrad.assignment.source import Described, Source, described
from handgrad.grading.graded import Graded
from handgrad.notebooks.intake import Submission
from handgrad.sandbox.launch import in_words

if TYPE_CHECKING:
    from handgrad.grading.pipeline import Pipeline

_here: "list[Pipeline]" = []


def host(serve: Callable[[], None], source: Source) -> None:
    """Make all ready, then `serve` calls of `grade` and `describe`: for `workers.Workers`.

    Raises UserError where the assignment cannot be graded.
    """
    from handgrad.grading.pipeline import with_pipeline

    def use(pipeline: "Pipeline") -> None:
        pipeline.wait()
        _here[:] = [pipeline]
        serve()

    with_pipeline(source.load(), use, sandboxed=source.sandboxed)


def grade(student: str, submission: Submission) -> Graded:
    """Grade one submission, in a process of `host`."""
    return _here[0].grade(student, submission)


def describe() -> Described:
    """What the assignment is that this process of `host` grades with, and where it does so."""
    return described(_here[0].assignment, in_words())
