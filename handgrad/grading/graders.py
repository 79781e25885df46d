"""The hidden graders, which decide: ordinary pytest files, run in one pytest session.

A grader file names its notebook and says what must hold of the answers:

    NOTEBOOK = "1_every_step"

    def test_gradient(gradient):  # once for each gradient that the notebook asks for
        gradient.must_be_right()

    def test_rows_of_dlogits_sum_to_zero(answers):
        assert answers["dlogits"].sum(1).abs().max() < 1e-6, "Each row should sum to 0. Why?"

A test is about the gradients that it asks for. Its outcome is their verdict: an AssertionError is *wrong*
and its message is what the student reads; any other exception is the grader's own failure, *could not
tell*. A gradient is right if all tests about it pass.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

import pytest

from handgrad.assignment.assignment import Assignment
from handgrad.errors import UserError
from handgrad.gradients.lookup import Answers
from handgrad.grading.pytest_plugin import PLUGIN
from handgrad.grading.under_test import (
    ASKED,
    AnswersUnderTest,
    CouldNotTell,
    GradientUnderTest,
    NotRight,
    gradients_of,
    notebook_of,
)
from handgrad.verdict import Finding, Gradient, Note, Verdict

T = TypeVar("T")

_ARGUMENTS = (
    *("--disable-plugin-autoload", "--capture=no", "--assert=plain"),
    *("-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:warnings", "-p", "no:logging"),
    *("-p", "no:faulthandler", "-p", "no:threadexception", "-p", "no:unraisableexception"),
    *("--import-mode=importlib", "-c", "/dev/null"),  # no configuration of the course is read
)
_WORST_LAST = (
    *(Verdict.RIGHT, Verdict.RIGHT_STEP, Verdict.NOT_ATTEMPTED, Verdict.WRONG),
    Verdict.COULD_NOT_TELL,
)


class Graders:
    """The collected graders of one assignment, as a pytest plugin, and the submission before them."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._answers: Mapping[str, Answers] = {}
        self._judged: dict[Gradient, Finding] = {}
        self._said: dict[Gradient, list[Finding]] = {}

    @property
    def assignment(self) -> Assignment:
        return self._assignment

    def findings(
        self, items: Sequence[pytest.Item], answers: Mapping[str, Answers]
    ) -> tuple[Finding, ...]:
        """What the tests `items` find of every gradient of one submission; its answers by notebook."""
        self._answers, self._judged, self._said = answers, {}, {}
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        gradients = self.assignment.gradients
        return tuple(self._verdict(each) for stem in gradients for each in gradients[stem])

    def answers_to(self, notebook: str) -> Answers:
        """The student's answers to one notebook."""
        return self._answers[notebook]

    def judged(self, gradient: Gradient) -> Finding:
        """What the judge finds of a gradient, in the chain and alone."""
        if gradient not in self._judged:
            judge = self.assignment.judges[gradient.notebook]
            self._judged[gradient] = judge.finding(gradient, self.answers_to(gradient.notebook))
        return self._judged[gradient]

    def _verdict(self, gradient: Gradient) -> Finding:
        """The worst that a test said; what other tests said in their own words becomes a remark."""
        said = self._said.get(gradient, [])
        if not said:
            note = Note("no_grader", {"variable": gradient.variable})
            return gradient.finding(Verdict.COULD_NOT_TELL, None, diagnoses=(note,))
        worst = max(said, key=lambda one: (_WORST_LAST.index(one.verdict), one.error is not None))
        own = [note for one in said for note in one.diagnoses if note.code.startswith("asserted")]
        more = tuple(note for note in own if note not in worst.diagnoses)
        return replace(worst, remarks=(*worst.remarks, *more))

    # What pytest calls.

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test that uses `gradient` once for each gradient of its module's notebook."""
        notebook = getattr(metafunc.module, "NOTEBOOK", "")
        if notebook not in self.assignment.release:
            raise pytest.UsageError(
                f"{metafunc.module.__file__}: NOTEBOOK is {notebook!r}, which the assignment does not "
                f"have. Known: {', '.join(self.assignment.release)}."
            )
        if "gradient" in metafunc.fixturenames:
            gradients = self.assignment.gradients.get(notebook, ())
            names = [gradient.variable for gradient in gradients]
            metafunc.parametrize("gradient", gradients, ids=names, indirect=True)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out the tests of notebooks that are not graded this time."""
        items[:] = [item for item in items if notebook_of(item) in self.assignment.gradients]

    @pytest.fixture
    def gradient(self, request: pytest.FixtureRequest) -> GradientUnderTest:
        """One gradient that the notebook asks for."""
        return GradientUnderTest(self, request.param, request.node)

    @pytest.fixture
    def answers(self, request: pytest.FixtureRequest) -> AnswersUnderTest:
        """The notebook's answers in the chain, by variable: as they stand at its hidden parameters."""
        return AnswersUnderTest(self, "chain", request.node)

    @pytest.fixture
    def alone(self, request: pytest.FixtureRequest) -> AnswersUnderTest:
        """The notebook's answers alone, by variable: each at random upstream gradients."""
        return AnswersUnderTest(self, "alone", request.node)

    @pytest.fixture
    def language(self) -> str:
        """The language that the course is held in, "en" or "zh"."""
        return self.assignment.settings.language

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        item.stash[ASKED] = {}

    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        """Note what a test says of the gradients that it asked for."""
        if call.when == "call" or call.excinfo is not None:
            raised = None if call.excinfo is None else call.excinfo.value
            for gradient, finding in self._outcome(item, raised):
                self._said.setdefault(gradient, []).append(finding)

    def _outcome(
        self, item: pytest.Item, raised: BaseException | None
    ) -> Iterator[tuple[Gradient, Finding]]:
        asked = item.stash[ASKED]
        match raised:
            case None:
                for gradient, found in asked.items():
                    yield gradient, found or gradient.finding(Verdict.RIGHT, 1.0)
            case pytest.skip.Exception():
                return  # the test does not apply to this submission
            case NotRight() | CouldNotTell():
                yield raised.gradient, raised.finding
            case AssertionError():
                for gradient in asked or gradients_of(item, self.assignment):
                    note = _in_its_own_words(raised, item.name)
                    yield gradient, gradient.finding(Verdict.WRONG, 0.0, diagnoses=(note,))
            case _:
                why = {"test": item.name, "error": f"{type(raised).__name__}: {raised}"[:200]}
                for gradient in asked or gradients_of(item, self.assignment):
                    note = Note("grader_failed", why)
                    yield (
                        gradient,
                        gradient.finding(Verdict.COULD_NOT_TELL, None, diagnoses=(note,)),
                    )


Find = Callable[[Mapping[str, Answers]], tuple[Finding, ...]]
"""From a submission's answers by notebook to what the graders find."""


def in_session(assignment: Assignment, use: Callable[[Find], T]) -> T:
    """What `use` gives, called in the run loop of a pytest session that has collected the graders.

    Raises UserError where they cannot be collected, and whatever `use` raises.
    """
    session = _Session(assignment, use)
    folder = str(assignment.graders)
    pytest.main([*_ARGUMENTS, f"--rootdir={folder}", folder], plugins=[session])
    if session.raised is not None:
        raise session.raised
    if not session.given:
        cure = f"Run `pytest {folder} --collect-only` and mend what it names."
        raise UserError(folder, f"the graders cannot be collected ({session.why})", cure)
    return session.given[0]


class _Session(Generic[T]):
    """One pytest session as a plugin: what happens in its run loop, and what came of it."""

    def __init__(self, assignment: Assignment, use: Callable[[Find], T]) -> None:
        self._graders = Graders(assignment)
        self._use = use
        self.given: tuple[T, ...] = ()
        self.raised: BaseException | None = None
        self.why = "no test is there"

    def pytest_configure(self, config: pytest.Config) -> None:
        config.pluginmanager.register(self._graders, PLUGIN)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.why = report.longreprtext.strip().splitlines()[-1]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed or not session.items:
            return True  # graders that cannot all be read grade nobody
        try:
            self.given = (self._use(partial(self._graders.findings, session.items)),)
        except BaseException as error:  # pytest would print it and go on
            self.raised = error
        return True


def _in_its_own_words(error: AssertionError, test: str) -> Note:
    # Where a person started pytest it rewrites asserts, and puts its own account behind the message.
    said = str(error).partition("\nassert ")[0]
    if not said or said.startswith("assert "):
        return Note("asserted_silently", {"test": test})
    return Note("asserted", {"said": said})
