"""Many submissions: which are due, marked in parallel, kept one by one."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from handgrad.assignment.source import Described, Source
from handgrad.errors import UserError
from handgrad.grading import process
from handgrad.grading.graded import Graded
from handgrad.grading.workers import CallFailed, WorkerDied, Workers, cores
from handgrad.notebooks.intake import Submission, nothing_there, take
from handgrad.pages.words import say
from handgrad.store.lock import only_one
from handgrad.verdict import Report, Verdict

if TYPE_CHECKING:
    from handgrad.batch.ledger import Ledger
    from handgrad.store.course import Course

_SLACK_SECONDS = 120.0  # beyond a submission's own wall clock: graders, and a new sandbox


@dataclass(frozen=True, slots=True)
class Change:
    """One gradient whose points a regrade changed."""

    notebook: str
    name: str
    before: float | None
    now: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """One submission that was graded in this run; `points` is None while a person has to look.

    `first` is a submission that had no mark before. `crashed` says why nothing could be graded.
    """

    student: str
    points: float | None
    max_points: float
    verdicts: Counter[Verdict]
    first: bool
    changes: tuple[Change, ...]
    crashed: str = ""

    @property
    def open(self) -> bool:
        """Whether the graders could not tell, somewhere."""
        return self.points is None


class Watcher:
    """Is told how a run goes; the default does not care. All calls come from one thread."""

    def begin(self, due: int, standing: int) -> None:
        """The submissions that are due are known, and those whose marks still stand."""

    def graded(self, one: Result) -> None:
        """A submission has been marked and kept."""

    def failed(self, student: str, error: UserError) -> None:
        """A submission could not be graded; the others are."""

    def note(self, text: str) -> None:
        """Something that a person may want to know."""


@dataclass(slots=True)
class Summary:
    """What one run did; it holds no report, so that it stays small however many there are."""

    graded: int = 0
    open: list[str] = field(default_factory=list)
    failed: dict[str, UserError] = field(default_factory=dict)
    standing: int = 0
    left: int = 0  # due, and not begun since the run was interrupted
    changed: list[Result] = field(default_factory=list)
    seconds: float = 0.0


Pool = Callable[[Source, int], Executor]
"""Makes what calls `process.describe` and `process.grade`, in as many processes."""


def local_pool(source: Source, jobs: int) -> Executor:
    """Warm processes on this machine."""
    return Workers(jobs, process.host, (source,))


def grade(
    root: Path,
    name: str,
    *,
    students: Sequence[str] = (),
    jobs: int = 0,
    force: bool = False,
    sandboxed: bool = True,
    watcher: Watcher | None = None,
    pool: Pool = local_pool,
) -> Summary:
    """Grade what is due of assignment `name`; only `students` where some are named.

    `pool` makes the executor that marks; whatever it is, this process alone writes. Raises UserError
    where nothing can be graded at all, and where what was marked cannot be kept. Ctrl-C finishes what is
    in hand; the next call goes on.
    """
    watcher = watcher or Watcher()
    began = time.monotonic()
    source = Source(root.resolve(), name, sandboxed=sandboxed)
    with ExitStack() as stack:
        stack.enter_context(only_one(source.root))
        executor = pool(source, jobs or cores())
        stack.callback(executor.shutdown, cancel_futures=True)
        about = executor.submit(process.describe)
        # Importing nbgrader takes seconds; so does what the workers are doing now.
        from handgrad.batch.ledger import Ledger
        from handgrad.store import backups
        from handgrad.store.course import Course
        from handgrad.store.gradebook import Gradebook
        from handgrad.store.roster import settle_penalties

        course = Course(source.root)
        described = about.result()
        if described.sandbox:
            watcher.note(described.sandbox)
        if isinstance(executor, Workers):
            executor.seconds = described.settings.limits.wall_seconds + _SLACK_SECONDS
        file = Gradebook(course.db_url, name).path
        if file is not None and file.is_file():
            backups.backup(file)
        gradebook = stack.enter_context(Gradebook(course.db_url, name))
        gradebook.agree(described.points)
        settle_penalties(course, name)
        run = _Run(course, described, Ledger(course, gradebook, described), watcher)
        due = run.due(students, force)
        with _interruptible() as stopping:
            try:
                run.grade(due, executor, (jobs or cores()) * 2, stopping)
            except KeyboardInterrupt:  # the second Ctrl-C does not wait
                if isinstance(executor, Workers):
                    executor.kill()
                raise
    run.summary.seconds = time.monotonic() - began
    return run.summary


class _Run:
    """One call of `grade`: the part that knows students."""

    def __init__(
        self, course: "Course", described: Described, ledger: "Ledger", watcher: Watcher
    ) -> None:
        self.summary = Summary()
        self._course = course
        self._described = described
        self._ledger = ledger
        self._watcher = watcher
        self._empty: dict[str, Submission] = {}  # folders in which no notebook is

    def due(self, students: Sequence[str], force: bool) -> list[str]:
        """The students whose submissions are to be marked."""
        handed_in, odd = self._course.students(self._described.name)
        for error in odd:
            self._fail(error.where, error)
        for student in students:
            if student not in handed_in:
                known = f"Those who did: {', '.join(handed_in[:20])}" if handed_in else ""
                raise UserError(
                    student,
                    f"no submission of `{self._described.name}` in {self._folder(student)}",
                    known or "Put the submission there",
                )
        if not handed_in and not odd:
            where = self._folder("*")
            raise UserError(str(where), "nobody handed in anything", "Put the submissions there")
        due = []
        for student in students or handed_in:
            submission = self._read(student)
            if submission is None:
                continue
            if not force and self._ledger.standing(student, submission) is not None:
                self.summary.standing += 1
            else:
                due.append(student)
        self._ledger.enter(self._empty)
        self._watcher.begin(len(due), self.summary.standing)
        return due

    def grade(
        self, due: Sequence[str], executor: Executor, ahead: int, stopping: threading.Event
    ) -> None:
        """Have all of `due` graded, at most `ahead` in hand at a time, and record them as they come."""
        waiting = iter(due)
        in_hand: dict[Future[Graded], tuple[str, Submission]] = {}
        begun = 0
        while True:
            while len(in_hand) < ahead and not stopping.is_set():
                student = next(waiting, None)
                if student is None:
                    break
                begun += 1
                # Read again: a thousand submissions are not held in memory.
                submission = self._read(student)
                if submission is not None:
                    self._tell_what_is_odd(student, submission)
                    future = executor.submit(process.grade, student, submission)
                    in_hand[future] = (student, submission)
            if not in_hand:
                break
            done, _ = wait(in_hand, return_when=FIRST_COMPLETED)
            for future in done:
                student, submission = in_hand.pop(future)
                self._record(student, submission, self._graded(future, student, submission))
        self.summary.left = len(due) - begun

    def _graded(self, future: Future[Graded], student: str, submission: Submission) -> Graded:
        """Raises UserError for what is the assignment's or the machine's: the next would fare no better."""
        try:
            graded = future.result()
        except (WorkerDied, CallFailed) as error:
            from handgrad.batch.given_up import given_up

            traceback = error.traceback if isinstance(error, CallFailed) else ""
            return given_up(self._described, student, submission, str(error), traceback)
        if graded.digest != self._described.digest:
            raise UserError(
                self._described.name,
                "its release, graders or settings changed while it was being graded",
                "Run the same command again; what is done is kept where it still holds",
            )
        return graded

    def _record(self, student: str, submission: Submission, graded: Graded) -> None:
        before = self._ledger.records.read(student)
        self._ledger.record(student, submission, graded)
        report = graded.report
        one = Result(
            student,
            report.points,
            report.max_points,
            Counter(finding.verdict for finding in report.findings),
            before is None,
            () if before is None else tuple(_changes(before.report, report)),
            graded.crashed,
        )
        self.summary.graded += 1
        if one.open:
            self.summary.open.append(student)
        if one.changes:
            self.summary.changed.append(one)
        self._watcher.graded(one)

    def _read(self, student: str) -> Submission | None:
        """What the student handed in; None, and told, where there is nothing to mark."""
        from handgrad.store.rows import parsed_time

        described = self._described
        try:
            submission = take(
                self._folder(student),
                described.release,
                described.files,
                described.settings.limits,
            )
            parsed_time(submission.timestamp.strip(), student)
            error = nothing_there(submission, described.release, student)
            if error is not None:
                self._empty[student] = submission
                raise error
        except UserError as error:
            self._fail(student, error)
            return None
        return submission

    def _tell_what_is_odd(self, student: str, submission: Submission) -> None:
        for stem, notes in submission.problems.items():
            said = (say(note, self._described.settings.language) for note in notes)
            self._watcher.note(f"{student}, {stem}: {' '.join(said)}")
        if submission.ignored:
            more = f" and {len(submission.ignored) - 5} more" if len(submission.ignored) > 5 else ""
            self._watcher.note(f"{student}: left alone: {', '.join(submission.ignored[:5])}{more}")

    def _folder(self, student: str) -> Path:
        return self._course.submitted(student, self._described.name)

    def _fail(self, student: str, error: UserError) -> None:
        if student not in self.summary.failed:
            self.summary.failed[student] = error
            self._watcher.failed(student, error)


def _changes(before: Report, now: Report) -> Iterator[Change]:
    earlier = {(f.notebook, f.grade_id): f.points for f in before.findings}
    for finding in now.findings:
        was = earlier.get((finding.notebook, finding.grade_id))
        if was != finding.points:
            yield Change(finding.notebook, finding.name, was, finding.points)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one interrupts as ever."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping  # signals are not ours to handle
        return

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()
        signal.signal(signal.SIGINT, earlier)

    earlier = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, earlier)
