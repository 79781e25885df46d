"""One assignment being graded by nbgrader, a notebook at a time, which asks for one thing after another."""

import atexit
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from handgrad.assignment.source import Described, Source
from handgrad.batch.given_up import given_up
from handgrad.batch.ledger import due_of, sheets_of
from handgrad.errors import UserError
from handgrad.grading import process
from handgrad.grading.graded import Graded
from handgrad.grading.idleprocess import IdleProcess
from handgrad.grading.workers import CallFailed, WorkerDied
from handgrad.notebooks.intake import Submission, take
from handgrad.pages.words import say
from handgrad.store.course import not_a_students
from handgrad.store.gradebook import Gradebook
from handgrad.store.lock import only_one
from handgrad.store.records import Record, Records

_SLACK_SECONDS = 120.0


@dataclass(slots=True)
class _Current:
    """The submission in hand, and which of its notebooks are done."""

    student: str
    submission: Submission
    graded: Graded
    finished: set[str] = field(default_factory=set)


class Session:
    """Grades submissions of one assignment in one process, which is started when it is needed."""

    def __init__(self, root: Path, name: str) -> None:
        self._source = Source(root.resolve(), name)
        self._records = Records(self._source.root, name)
        self._seen = _signature(self._source)
        self._process = IdleProcess(process.host, (self._source,))
        self._described: Described | None = None
        self._current: _Current | None = None

    @property
    def stale(self) -> bool:
        """Whether the release, the graders or the settings changed since it began."""
        return self._seen != _signature(self._source)

    @property
    def sandbox(self) -> str:
        """Which sandbox runs the notebooks, and why, as a sentence."""
        return self._describe().sandbox

    def notebook(self, student: str, folder: Path, stem: str) -> str:
        """The text of one graded notebook; raises UserError where it cannot be had."""
        graded = self._submission(student, folder).graded
        if stem not in graded.notebooks:
            raise UserError(f"{student}/{stem}", "it was not graded", "Grade this student again")
        return graded.notebooks[stem]

    def remarks(self, student: str, stem: str) -> Iterator[str]:
        """What was odd about a notebook, in the assignment's language."""
        current = self._current
        if current is None or current.student != student or self._described is None:
            return
        for note in current.graded.report.problems.get(stem, ()):
            yield say(note, self._described.settings.language)

    def found(self, student: str, folder: Path) -> frozenset[str]:
        """The notebooks that are there, whatever they are called."""
        submission = self._read(student, folder)
        return frozenset(submission.files) - submission.absent

    def save(self, student: str, folder: Path, stem: str, db_url: str) -> None:
        """Write the rows of one notebook, and of those that are there under another name."""
        current = self._submission(student, folder)
        described = self._describe()
        sheets = sheets_of(described, current.submission, current.graded)
        told = {stem, *current.submission.absent}
        with only_one(self._source.root), Gradebook(db_url, described.name) as gradebook:
            gradebook.agree(described.points)
            chosen = {each: sheets[each] for each in sheets if each in told}
            gradebook.save(student, current.submission.timestamp, chosen)
            self._record(current)

    def finish(self, student: str, folder: Path, stem: str) -> None:
        """Remember that nothing more is to be written for a notebook; with the last one, the mark stands."""
        current = self._submission(student, folder)
        current.finished.add(stem)
        with only_one(self._source.root):
            self._record(current)

    def _record(self, current: _Current) -> None:
        described = self._describe()
        whole = current.finished | current.submission.absent >= set(described.release)
        whole = whole and not current.graded.crashed
        due = due_of(described, current.submission) if whole else ""
        sizes = {each: len(text.encode()) for each, text in current.graded.notebooks.items()}
        self._records.write(Record(current.graded.report, due, sizes), current.graded.traceback)

    def _submission(self, student: str, folder: Path) -> _Current:
        submission = self._read(student, folder)
        current = self._current
        if current is None or (current.student, current.submission) != (student, submission):
            graded = self._grade(student, submission)
            current = self._current = _Current(student, submission, graded)
        return current

    def _read(self, student: str, folder: Path) -> Submission:
        described = self._describe()
        wrong = not_a_students(student, folder)
        if wrong is not None:
            raise wrong
        return take(folder, described.release, described.files, described.settings.limits)

    def _grade(self, student: str, submission: Submission) -> Graded:
        described = self._describe()
        seconds = described.settings.limits.wall_seconds + _SLACK_SECONDS
        try:
            return self._process.call(seconds, process.grade, student, submission)
        except (WorkerDied, CallFailed) as error:
            traceback = error.traceback if isinstance(error, CallFailed) else ""
            return given_up(described, student, submission, str(error), traceback)

    def _describe(self) -> Described:
        if self._described is None:
            self._described = self._process.call(_SLACK_SECONDS, process.describe)
        return self._described

    def close(self) -> None:
        """Let go of the process; the next submission starts another."""
        self._process.close()


_sessions: dict[tuple[Path, str], Session] = {}


def session(root: Path, name: str) -> Session:
    """The session of an assignment, the same one for as long as nothing it rests on changes."""
    key = (root, name)
    found = _sessions.get(key)
    if found is not None and found.stale:
        found.close()
        found = None
    if found is None:
        found = _sessions[key] = Session(root, name)
    return found


@atexit.register
def _close_all() -> None:
    for each in _sessions.values():
        each.close()


def _signature(source: Source) -> frozenset[tuple[str, int, int]]:
    """Names, sizes and times of the files an assignment is read from."""
    return frozenset(
        (str(path), status.st_size, status.st_mtime_ns)
        for step in ("release", "graders")
        for path in (source.root / step / source.name).glob("*")
        if path.suffix != ".pyc" and (status := path.stat())
        if path.is_file() and path.name != "seed"
    )
