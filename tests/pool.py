"""A process that grades, for tests that grade many submissions of one assignment."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from handgrad.assignment.source import Source
from handgrad.grading import process
from handgrad.grading.graded import Graded
from handgrad.grading.workers import Workers
from handgrad.notebooks.intake import Submission
from handgrad.verdict import Report


class Grader:
    """Grades submissions one after the other in a warm process."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def grade(self, files: Mapping[str, bytes]) -> Graded:
        """`files` are the notebooks' bytes by stem."""
        future = self._workers.submit(process.grade, "ada", Submission(files, {}))
        return future.result(timeout=300)

    @property
    def pids(self) -> tuple[int, ...]:
        """The ids of its processes."""
        return self._workers.pids

    def report(self, files: Mapping[str, bytes]) -> Report:
        return self.grade(files).report


@contextmanager
def grader(root: Path, name: str, *only: str) -> Iterator[Grader]:
    """A grader of an assignment of the course at `root`, or `only` of these notebooks of it."""
    with Workers(1, process.host, (Source(root, name, only),)) as workers:
        yield Grader(workers)
