"""One submission after grading: its report, and its notebooks as they are kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from handgrad.verdict import Report


@dataclass(frozen=True, slots=True)
class Graded:
    """One graded submission.

    `digest` is that of the assignment it was graded with. `notebooks` are the texts of the notebook
    files by stem, `untouched` the grade ids of the answers that are as they were released. `crashed` says
    why nothing could be graded at all, and `traceback` where that is a fault of ours.
    """

    report: Report
    digest: str
    notebooks: Mapping[str, str] = field(default_factory=dict)
    untouched: Mapping[str, frozenset[str]] = field(default_factory=dict)
    crashed: str = ""
    traceback: str = ""
