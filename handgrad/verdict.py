"""What is said about a submission: one verdict a gradient, its points, and why. Codes, not prose."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """The five things a grader can say about one gradient."""

    RIGHT = "right"
    RIGHT_STEP = "right step"  # only its input was wrong
    WRONG = "wrong"
    NOT_ATTEMPTED = "not attempted"
    COULD_NOT_TELL = "could not tell"  # the grader's own failure: never a mark


@dataclass(frozen=True, slots=True)
class Note:
    """A code with its parts; `words` turns it into a sentence of the reader's language.

    Used for remarks ("flat_shape"), diagnoses ("missing_branch", consumer="counts_sum"), problems of a
    notebook ("cell_deleted", cell="dlogits"), and reasons, which are parts of others ("unreadable",
    why=Note("cut_off")).
    """

    code: str
    parts: Mapping[str, "str | Note"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErrorPicture:
    """Where a wrong gradient of the right shape differs: (got - want) / scale, at most 64 x 64 cells.

    `rows`/`columns` are the true sizes; `step` is how many entries one cell of the picture covers. `axes`
    are the names of more than two axes, of which all but the first are folded into the columns.
    """

    values: tuple[tuple[float, ...], ...]
    rows: int
    columns: int
    step: tuple[int, int] = (1, 1)
    axes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One gradient: its verdict, the points it earns, and what to tell.

    `error` is max |got - want| / scale in the run that decided, None where nothing was compared.
    `diagnoses`: one entry is told as certain, several are offered as possibilities.
    """

    notebook: str
    name: str  # the variable: "dlogits"
    grade_id: str  # its test cell: "test_dlogits"
    verdict: Verdict
    points: float | None  # None with COULD_NOT_TELL, else finite and within [0, max_points]
    max_points: float
    error: float | None = None
    remarks: tuple[Note, ...] = ()
    diagnoses: tuple[Note, ...] = ()
    picture: ErrorPicture | None = None


@dataclass(frozen=True, slots=True)
class Gradient:
    """One answer that a notebook asks for: a `variable`, the `step` it is the gradient of, its test cell.

    `step` is "" for an answer that is no gradient. `points` are what the test cell is worth.
    """

    notebook: str
    variable: str  # "dlogits"
    step: str  # "logits"
    grade_id: str  # "test_dlogits"
    points: float = 1.0

    def finding(
        self,
        verdict: Verdict,
        share: float | None,
        error: float | None = None,
        remarks: tuple[Note, ...] = (),
        diagnoses: tuple[Note, ...] = (),
    ) -> Finding:
        """What is said of it; it earns `share` of its points, None where nobody could tell.

        Raises ValueError where that is no mark.
        """
        points = None if share is None else round(share * self.points, 6)
        if points is not None and not (math.isfinite(points) and 0 <= points <= self.points):
            raise ValueError(f"{share} of {self.points} points is not a mark")
        return Finding(
            *(self.notebook, self.variable, self.grade_id, verdict, points, self.points),
            error=error,
            remarks=remarks,
            diagnoses=diagnoses,
        )


@dataclass(frozen=True, slots=True)
class IntegrityLine:
    """Something a person should look at: where, what, and the line of code."""

    notebook: str
    cell: int
    what: str
    line: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that is known of one submission after grading.

    `problems` are per notebook ("renamed", "cell_deleted", ...).
    """

    student: str
    assignment: str
    findings: tuple[Finding, ...]
    problems: Mapping[str, tuple[Note, ...]] = field(default_factory=dict)
    integrity: tuple[IntegrityLine, ...] = ()

    @property
    def points(self) -> float | None:
        """Sum of the points, or None while one of them is unknown."""
        each = [finding.points for finding in self.findings]
        known = [value for value in each if value is not None]
        return sum(known) if len(known) == len(each) else None

    @property
    def max_points(self) -> float:
        return sum(finding.max_points for finding in self.findings)
