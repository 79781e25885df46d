"""Hidden graders as real pytest files; the only importer of pytest.

A grader file names its notebook and says what must hold of every answer:

    NOTEBOOK = "1_every_step"

    def test_gradient(answer):
        answer.must_be_right()

`answer` is parametrised over the variables the notebook asks for. By hand, a TA runs
`pytest graders/backprop --submission submitted/alice/backprop` and reads one line an answer.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:  # every pytest session of this environment loads this module: keep it light
    from handgrad.assignment.assignment import Assignment
    from handgrad.gradients.judge import Judged
    from handgrad.verdict import Report


class Wrong(AssertionError):
    """The answer is not right; the verdict says why."""


@dataclass(frozen=True, slots=True)
class AnswerUnderTest:
    """One variable of one notebook, as the graders see it."""

    notebook: str
    variable: str
    judged: "Judged"

    def must_be_right(self) -> None:
        """Pass if the step is right, whatever its input was. Raises Wrong otherwise."""
        if not self.judged.share:
            raise Wrong(f"{self.variable}: {self.judged.verdict}")


Judgements = Mapping[tuple[str, str], "Judged"]
"""By notebook and variable."""


class Bench(Protocol):
    """Where grader files find what they grade."""

    @property
    def assignment(self) -> "Assignment": ...

    def judgements(self) -> Judgements: ...


class Feed:
    """A session that outlives a submission: it collects the grader files once and runs them often.

    `submissions` yields the judgements of one submission after the other; `deliver` gets, for each,
    the outcome of every test by notebook and variable: None, or why the test itself broke.
    """

    def __init__(
        self,
        assignment: "Assignment",
        submissions: Iterator[Judgements],
        deliver: Callable[[Mapping[tuple[str, str], str | None]], None],
    ) -> None:
        self.assignment = assignment
        self._submissions = submissions
        self._deliver = deliver
        self._current: Judgements = {}
        self._outcomes: dict[tuple[str, str], str | None] = {}

    def judgements(self) -> Judgements:
        return self._current

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = session.items
        for judgements in self._submissions:
            self._current, self._outcomes = judgements, {}
            for item, following in zip(items, [*items[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self._deliver(self._outcomes)
        return True

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        key = _answer_key(item)
        if key is None or self._outcomes.get(key):
            return
        broken = call.excinfo is not None and not call.excinfo.errisinstance(Wrong)
        if call.when == "call" or broken:
            self._outcomes[key] = call.excinfo.exconly() if broken and call.excinfo else None


class ByHand:
    """One submission, graded by a person on the command line."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._assignment: Assignment | None = None
        self._judged: Judgements | None = None
        self.report: Report | None = None

    @property
    def assignment(self) -> "Assignment":
        if self._assignment is None:
            from handgrad.assignment.assignment import Assignment

            graders = next(Path(arg).resolve() for arg in self._config.args)
            graders = graders if graders.is_dir() else graders.parent
            self._assignment = Assignment.load(graders.parents[1], graders.name)
        return self._assignment

    def judgements(self) -> Judgements:
        if self._judged is None:
            from handgrad.grading.mark import judge_folder

            self._judged = judge_folder(self.assignment, self._folder)
        return self._judged

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        if report.when != "call":
            return None
        found = dict(report.user_properties)
        if "verdict" not in found:
            return None
        line = f"\n{found['variable']!s:<16} {found['verdict']!s:<15} {found['error']!s}"
        return report.outcome, line, line.strip()


_BENCH = pytest.StashKey[Bench]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("handgrad")
    group.addoption(
        "--submission",
        metavar="FOLDER",
        help="a submission to grade with hidden graders: submitted/<student>/<assignment>",
    )


def pytest_configure(config: pytest.Config) -> None:
    folder = config.getoption("--submission", None)
    if folder is not None:
        if not Path(folder).is_dir():
            raise pytest.UsageError(
                f"{folder}: there is no such folder. Name a submission's folder."
            )
        bench = ByHand(config, Path(folder))
        use(config, bench)
        config.option.tbstyle = "no"


def use(config: pytest.Config, bench: Bench) -> None:
    """Grade what `bench` holds in this session."""
    config.stash[_BENCH] = bench
    config.pluginmanager.register(bench, "handgrad-bench")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    notebook = getattr(metafunc.module, "NOTEBOOK", None)
    if notebook is None or "answer" not in metafunc.fixturenames:
        return
    bench = metafunc.config.stash.get(_BENCH, None)
    if bench is None:
        raise pytest.UsageError(
            f"{metafunc.module.__file__}: these are hidden graders, and no submission was named. "
            "Add --submission submitted/<student>/<assignment>."
        )
    judges = bench.assignment.judges
    if notebook not in judges:
        raise pytest.UsageError(
            f"{metafunc.module.__file__}: NOTEBOOK is {notebook!r}, which the assignment does not have. "
            f"Known: {', '.join(judges)}."
        )
    variables = judges[notebook].variables
    keys = [(notebook, variable) for variable in variables]
    metafunc.parametrize("answer", keys, ids=variables, indirect=True)


def _answer_key(item: pytest.Item) -> tuple[str, str] | None:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("answer")


@pytest.fixture
def answer(request: pytest.FixtureRequest) -> AnswerUnderTest:
    """The answer that this test is about."""
    notebook, variable = request.param
    judged = request.config.stash[_BENCH].judgements()[notebook, variable]
    request.node.user_properties.extend(
        (("variable", variable), ("verdict", judged.verdict), ("error", _short(judged.error)))
    )
    return AnswerUnderTest(notebook, variable, judged)


def _short(error: float | None) -> str:
    return "" if error is None else f"error {error:.1e}"
