"""The hidden graders as a person starts them, with `pytest graders/<name> --submission FOLDER`."""

from functools import cached_property
from pathlib import Path

import pytest

from handgrad.assignment.assignment import Assignment
from handgrad.errors import LostError, UserError
from handgrad.gradients.lookup import Answers
from handgrad.grading.graders import Graders
from handgrad.grading.pipeline import answers_of, read_all, sandbox_of
from handgrad.notebooks.intake import take
from handgrad.verdict import Finding


class GradersByHand(Graders):
    """The graders that pytest was pointed at, before the submission in one folder."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        graders = next(Path(argument).resolve() for argument in config.args)
        graders = graders if graders.is_dir() else graders.parent
        try:
            super().__init__(Assignment.load(graders.parents[1], graders.name))
        except UserError as error:
            raise pytest.UsageError(str(error)) from None
        self._folder = folder
        config.option.tbstyle = "no"  # a line each is enough

    def answers_to(self, notebook: str) -> Answers:
        return self._all_answers[notebook]

    @cached_property
    def _all_answers(self) -> dict[str, Answers]:
        assignment, limits = self.assignment, self.assignment.settings.limits
        try:
            submission = take(self._folder, assignment.release, assignment.files, limits)
            notebooks = read_all(assignment, submission)
            with sandbox_of(assignment) as sandbox:
                return answers_of(assignment, notebooks, sandbox)
        except (UserError, LostError) as error:
            pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """A line a gradient: its name, the verdict, the error."""
        finding = dict(report.user_properties).get("finding")
        if report.when != "call" or not isinstance(finding, Finding):
            return None
        error = "" if finding.error is None else f"error {finding.error:.1e}"
        line = f"{finding.name:<16} {finding.verdict:<15} {error}"
        return report.outcome, f"\n{line}", line.strip()
