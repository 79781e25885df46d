"""What is different between two class reports of one assignment."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from handgrad.store.roster import ClassRecord
from handgrad.verdict import Finding, Verdict

Key = tuple[str, str]
"""A gradient: its notebook and its name."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is different for one student since the last report: points, and verdicts by gradient."""

    student: str
    before: float | None
    now: float | None
    kind: str = "changed"  # or "new", "gone"
    verdicts: tuple[tuple[Key, Verdict | None, Verdict | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a report is compared with: the points and verdicts of the one before."""

    made: str
    points: Mapping[str, float | None] = field(default_factory=dict)
    verdicts: Mapping[str, Mapping[Key, Verdict]] = field(default_factory=dict)


def changes(records: Sequence[ClassRecord], previous: Snapshot) -> tuple[Change, ...]:
    """What is different from `previous`, by student; those who are gone come last."""
    here = {record.student for record in records}
    gone = [
        Change(student, points, None, "gone")
        for student, points in previous.points.items()
        if student not in here
    ]
    return (*(change for record in records for change in _changes(record, previous)), *gone)


def _changes(record: ClassRecord, previous: Snapshot) -> Iterator[Change]:
    student = record.student
    if student not in previous.points:
        yield Change(student, None, record.points, "new")
        return
    before, now = previous.verdicts.get(student, {}), verdicts(record)
    turned = tuple(
        (key, before.get(key), now.get(key))
        for key in dict.fromkeys([*before, *now])
        if before.get(key) != now.get(key)
    )
    if turned or previous.points[student] != record.points:
        yield Change(student, previous.points[student], record.points, verdicts=turned)


def verdicts(record: ClassRecord) -> dict[Key, Verdict]:
    """The verdict on every gradient of one student."""
    findings: Sequence[Finding] = record.report.findings if record.report else ()
    return {(f.notebook, f.name): f.verdict for f in findings}
