"""What a hidden grader is handed: one gradient, or the answers of a notebook by variable."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from torch import Tensor

from handgrad.assignment.assignment import Assignment
from handgrad.verdict import Finding, Gradient, Verdict

if TYPE_CHECKING:
    from handgrad.grading.graders import Graders

ASKED = pytest.StashKey[dict[Gradient, Finding | None]]()
"""The gradients that a test has asked for; with each what the judge found, where it was to judge."""


class NotRight(AssertionError):
    """The answer is wrong or missing; `finding` is what is said of it."""

    def __init__(self, gradient: Gradient, finding: Finding) -> None:
        super().__init__(f"{gradient.variable}: {finding.verdict}")
        self.gradient = gradient
        self.finding = finding


class CouldNotTell(Exception):
    """Nobody can say whether the answer is right; `finding` is what is said of it."""

    def __init__(self, gradient: Gradient, finding: Finding) -> None:
        super().__init__(f"{gradient.variable}: {finding.verdict}")
        self.gradient = gradient
        self.finding = finding


@dataclass(frozen=True, slots=True)
class GradientUnderTest:
    """One gradient of one submission, as a test sees it."""

    _graders: "Graders"
    _gradient: Gradient
    _item: pytest.Item

    @property
    def variable(self) -> str:
        return self._gradient.variable

    def must_be_right(self) -> None:
        """Pass if the step is right, whatever its input was.

        Raises NotRight where it is wrong or missing, CouldNotTell where that cannot be said.
        """
        finding = self._graders.judged(self._gradient)
        self._item.stash[ASKED][self._gradient] = finding
        self._item.user_properties[:] = [("finding", finding)]
        if finding.verdict is Verdict.COULD_NOT_TELL:
            raise CouldNotTell(self._gradient, finding)
        if finding.verdict not in (Verdict.RIGHT, Verdict.RIGHT_STEP):
            raise NotRight(self._gradient, finding)


class AnswersUnderTest(Mapping[str, Tensor]):
    """A submission's answers to one notebook in the first deciding run, in the chain or alone.

    A value that is not there to be looked at ends the test: with the judge's finding where the answer
    itself is missing or is no number, and without a word where the run alone gave none, or where only
    the input of the step was wrong, so that nothing can be asked of its value in the chain.
    """

    def __init__(self, graders: "Graders", run: str, item: pytest.Item) -> None:
        self._graders = graders
        self._run = run
        self._item = item
        gradients = gradients_of(item, graders.assignment)
        self._gradients = {gradient.variable: gradient for gradient in gradients}

    def __getitem__(self, variable: str) -> Tensor:
        gradient = self._gradients[variable]
        self._item.stash[ASKED].setdefault(gradient, None)
        judge = self._graders.assignment.judges[gradient.notebook]
        key = f"{judge.scenarios.deciding[0]}/{self._run}"
        answer = self._graders.answers_to(gradient.notebook).get(key, gradient)
        finding = self._graders.judged(gradient)
        if finding.verdict is Verdict.COULD_NOT_TELL:
            raise CouldNotTell(gradient, finding)
        if finding.verdict is Verdict.NOT_ATTEMPTED:
            raise NotRight(gradient, finding)
        if finding.verdict is Verdict.RIGHT_STEP and self._run == "chain":
            pytest.skip("only its input was wrong")
        if answer is not None and answer.tensor is not None:
            return answer.tensor
        if self._run == "alone":
            pytest.skip("the run alone gave no number")
        raise NotRight(gradient, finding)

    def __iter__(self) -> Iterator[str]:
        return iter(self._gradients)

    def __len__(self) -> int:
        return len(self._gradients)


def notebook_of(item: pytest.Item) -> str:
    """The notebook that a test's file names."""
    module = item.getparent(pytest.Module)
    assert module is not None  # graders are collected from files alone
    return str(module.obj.NOTEBOOK)


def gradients_of(item: pytest.Item, assignment: Assignment) -> tuple[Gradient, ...]:
    """Every gradient of that notebook."""
    return assignment.gradients[notebook_of(item)]
