"""Evidence through the hidden graders: one warm pytest session, a Report for every submission."""

import math
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import pytest

from handgrad.assignment.assignment import Assignment
from handgrad.errors import UserError
from handgrad.evidence import Evidence
from handgrad.gradients.judge import Judged
from handgrad.grading import pytest_plugin
from handgrad.grading.pytest_plugin import Feed, Judgements
from handgrad.plan import Cell
from handgrad.verdict import Finding, IntegrityLine, Note, Report, Verdict

_ARGUMENTS = (
    *("--disable-plugin-autoload", "--capture=no", "--assert=plain"),
    *("-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:warnings", "-p", "no:logging"),
    *("-p", "no:faulthandler", "-p", "no:threadexception", "-p", "no:unraisableexception"),
    "--import-mode=importlib",
)
Outcomes = Mapping[tuple[str, str], str | None]


@dataclass(frozen=True, slots=True)
class Sheet:
    """What is graded of one notebook: its evidence, its cells, and which answers were left alone."""

    evidence: Evidence
    cells: Sequence[Cell] = ()
    untouched: frozenset[str] = frozenset()
    problems: tuple[Note, ...] = field(default_factory=tuple)


class Graders:
    """The hidden graders of one assignment, collected once; `grade` may be called many times."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._requests: queue.Queue[Judgements | None] = queue.Queue()
        self._answers: queue.Queue[Outcomes | UserError] = queue.Queue()
        self._collected = threading.Event()
        self._thread = threading.Thread(target=self._session, name="graders", daemon=True)

    def __enter__(self) -> "Graders":
        self._thread.start()
        # pytest changes warnings and streams of the whole process while it collects: nobody else runs.
        self._collected.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._requests.put(None)
        self._thread.join()

    def _session(self) -> None:
        feed = Feed(self._assignment, self._submissions(), self._answers.put)
        folder = str(self._assignment.graders)
        # pytest reads no configuration of the course, and none of a parent folder.
        arguments = [*_ARGUMENTS, f"--rootdir={folder}", "-c", "/dev/null", folder]
        said = "nothing"  # whatever ends this thread, nobody must wait for it for ever
        try:
            status = pytest.main(arguments, plugins=[pytest_plugin, _Starter(feed)])
            said = pytest.ExitCode(status).name
        finally:
            self._collected.set()
            if said != pytest.ExitCode.OK.name:
                self._answers.put(
                    UserError(
                        folder,
                        f"the graders could not be run (pytest says {said})",
                        f"Run `pytest {folder} --collect-only` and mend what it names.",
                    )
                )

    def _submissions(self) -> Iterator[Judgements]:
        self._collected.set()  # the session asks for its first submission
        while (judgements := self._requests.get()) is not None:
            yield judgements

    def grade(self, student: str, sheets: Mapping[str, Sheet], digest: str = "") -> Report:
        """The report on one submission; `sheets` by notebook stem.

        Raises UserError where the graders themselves cannot be collected.
        """
        judgements = judge_sheets(self._assignment, sheets)
        self._requests.put(judgements)
        outcomes = self._answers.get()
        if isinstance(outcomes, UserError):
            self._answers.put(outcomes)  # the next one asks in vain as well
            raise outcomes
        findings = tuple(self._findings(judgements, outcomes))
        return Report(
            student,
            self._assignment.name,
            findings,
            {stem: sheet.problems for stem, sheet in sheets.items() if sheet.problems},
            tuple(_integrity(sheets)),
            digest,
        )

    def _findings(self, judgements: Judgements, outcomes: Outcomes) -> Iterator[Finding]:
        for stem in self._assignment.exercises:
            for grade_id, max_points in self._assignment.points(stem).items():
                variable = grade_id.removeprefix("test_")
                key = (stem, variable)
                judged = judgements.get(key)
                broken = outcomes.get(key, "no hidden grader looked at it")
                if judged is None or broken is not None:
                    why = broken or "the assignment declares no such answer"
                    note = Note("trouble", {"why": why})
                    judged = Judged(Verdict.COULD_NOT_TELL, None, diagnoses=(note,))
                yield Finding(
                    stem,
                    variable,
                    grade_id,
                    judged.verdict,
                    _points(judged.share, max_points),
                    max_points,
                    judged.error,
                    judged.remarks,
                    judged.diagnoses,
                    judged.picture,
                )


class _Starter:
    """Hands the feed to the session at the moment pytest is configured."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def pytest_configure(self, config: pytest.Config) -> None:
        pytest_plugin.use(config, self._feed)


def judge_sheets(assignment: Assignment, sheets: Mapping[str, Sheet]) -> Judgements:
    """Every answer's judgement, by notebook and variable."""
    found = {}
    for stem, judge in assignment.judges.items():
        sheet = sheets.get(stem, Sheet(Evidence(stem, trouble="it was not run")))
        judged = judge.judge(sheet.evidence, sheet.cells, sheet.untouched)
        found.update({(stem, variable): one for variable, one in judged.items()})
    return found


def _points(share: float | None, max_points: float) -> float | None:
    if share is None:
        return None
    points = round(share * max_points, 6)
    if not (math.isfinite(points) and 0 <= points <= max_points):
        raise ValueError(f"{share} of {max_points} points is not a mark")
    return points


def _integrity(sheets: Mapping[str, Sheet]) -> Iterator[IntegrityLine]:
    for stem, sheet in sheets.items():
        for attempt in sheet.evidence.attempts:
            yield IntegrityLine(stem, attempt.cell, attempt.what, attempt.line)
