"""One assignment being graded by somebody else's program, a notebook at a time."""

import atexit
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from handgrad.batch.ledger import due_of, sheets_of
from handgrad.batch.marking import Described, Outcome, Source, describe, given_up, mark, warm
from handgrad.batch.workers import WorkerDied, Workers
from handgrad.errors import UserError
from handgrad.notebooks.intake import Submission, take
from handgrad.pages.words import say
from handgrad.store.course import not_a_students
from handgrad.store.gradebook import Gradebook
from handgrad.store.lock import only_one
from handgrad.store.records import Record, Records

_IDLE_SECONDS = 120.0  # then the worker and its sandbox go, as formgrader's server stays for days
_SLACK_SECONDS = 120.0


@dataclass(slots=True)
class _Current:
    """The submission in hand, and which of its notebooks are done."""

    student: str
    taken: Submission
    outcome: Outcome
    finished: set[str] = field(default_factory=set)


class Session:
    """Marks submissions of one assignment in one warm process, which is started when it is needed."""

    def __init__(self, root: Path, name: str) -> None:
        self._source = Source(root.resolve(), name)
        self._records = Records(self._source.root, name)
        self._seen = _signature(self._source)
        self._workers: Workers | None = None
        self._described: Described | None = None
        self._current: _Current | None = None
        self._idle: threading.Timer | None = None

    @property
    def stale(self) -> bool:
        """Whether the release, the graders or the settings changed since it began."""
        return self._seen != _signature(self._source)

    def notebook(self, student: str, folder: Path, stem: str) -> str:
        """The text of one marked notebook; raises UserError where it cannot be had."""
        outcome = self._submission(student, folder).outcome
        if stem not in outcome.notebooks:
            raise UserError(f"{student}/{stem}", "it was not marked", "Grade this student again")
        return outcome.notebooks[stem]

    def remarks(self, student: str, stem: str) -> Iterator[str]:
        """What was odd about a notebook, in the assignment's language."""
        current = self._current
        if current is None or current.student != student or self._described is None:
            return
        for note in current.outcome.report.problems.get(stem, ()):
            yield say(note, self._described.settings.language)

    def save(self, student: str, folder: Path, stem: str, db_url: str) -> None:
        """Write the rows of one notebook, and of those that are there under another name."""
        current = self._submission(student, folder)
        described = self._describe()
        sheets = sheets_of(described, current.taken, current.outcome)
        told = {stem, *current.taken.absent}
        with only_one(self._source.root), Gradebook(db_url, described.name) as gradebook:
            gradebook.agree(described.points)
            chosen = {each: sheets[each] for each in sheets if each in told}
            gradebook.save(student, current.taken.timestamp, chosen)
            self._record(current)

    def finish(self, student: str, folder: Path, stem: str) -> None:
        """Remember that nothing more is to be written for a notebook; with the last one, the mark stands."""
        current = self._submission(student, folder)
        current.finished.add(stem)
        with only_one(self._source.root):
            self._record(current)

    def _record(self, current: _Current) -> None:
        described = self._describe()
        whole = current.finished | current.taken.absent >= set(described.release)
        whole = whole and not current.outcome.crashed
        due = due_of(described, current.taken) if whole else ""
        sizes = {each: len(text.encode()) for each, text in current.outcome.notebooks.items()}
        self._records.write(Record(current.outcome.report, due, sizes))

    def _submission(self, student: str, folder: Path) -> _Current:
        described = self._describe()
        wrong = not_a_students(student, folder)
        if wrong is not None:
            raise wrong
        taken = take(folder, described.release, described.files, described.settings.limits)
        current = self._current
        if current is None or current.student != student or current.taken != taken:
            current = self._current = _Current(student, taken, self._mark(student, taken))
        return current

    def _mark(self, student: str, taken: Submission) -> Outcome:
        described = self._describe()
        workers = self._start()
        try:
            return workers.submit(mark, self._source, student, taken).result()
        except (WorkerDied, RuntimeError) as error:
            return given_up(described, student, taken, str(error))
        finally:
            self._rest()

    def _describe(self) -> Described:
        if self._described is None:
            workers = self._start()
            self._described = workers.submit(describe, self._source).result()
            workers.seconds = self._described.settings.limits.wall_seconds + _SLACK_SECONDS
            self._rest()
        return self._described

    def _start(self) -> Workers:
        if self._idle is not None:
            self._idle.cancel()
        if self._workers is None:
            self._workers = Workers(1, warm, (self._source,), 600.0)
        return self._workers

    def _rest(self) -> None:
        self._idle = threading.Timer(_IDLE_SECONDS, self.close)
        self._idle.daemon = True
        self._idle.start()

    def close(self) -> None:
        """Let go of the process; the next submission starts another."""
        if self._idle is not None:
            self._idle.cancel()
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.kill()
            workers.shutdown()


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
