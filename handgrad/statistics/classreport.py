"""All reports of an assignment as one: marks, difficulty, mistakes, and what needs a person."""

import datetime
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from handgrad.statistics.changes import Change, Key, Snapshot, changes
from handgrad.store.roster import ClassRecord
from handgrad.verdict import Finding, Note, Report, Verdict

BINS = 10  # of the distribution of marks

# Told apart by their parts only where the parts say something about the mistake itself.
_ALIKE: Mapping[str, str] = {
    "raised": "raised",
    "unusable": "unusable",
    "shape": "shape",
    "largest_error": "unknown",
}
_FOR_A_PERSON = frozenset({"unreadable", "renamed", "missing", "trouble", "id_stolen"})


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How many students got which verdict for one gradient."""

    notebook: str
    name: str
    counts: Mapping[Verdict, int]

    def share(self, verdict: Verdict) -> float:
        return self.counts.get(verdict, 0) / max(1, sum(self.counts.values()))


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake at one gradient, with the students of whom it is certain, and of whom it may be."""

    notebook: str
    name: str
    what: Note  # a diagnosis, or a group such as "raised" with the parts left out
    certain: tuple[str, ...]
    possible: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Errand:
    """Something that a person has to see to: a code under `report` in the words, or a problem's."""

    student: str
    code: str
    parts: Mapping[str, str | Note] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A line of a student's code that a person should read."""

    student: str
    notebook: str
    cell: int
    what: str
    line: str


@dataclass(frozen=True, slots=True)
class ClassReport:
    """Everything the page, the CSV and the JSON show."""

    assignment: str
    made: datetime.datetime
    records: tuple[ClassRecord, ...]
    previous: Snapshot | None = None

    @property
    def graded(self) -> tuple[Report, ...]:
        return tuple(r.report for r in self.records if r.report is not None)

    @property
    def gradients(self) -> tuple[Key, ...]:
        """Every gradient of any report, in the notebooks' order."""
        return tuple(dict.fromkeys((f.notebook, f.name) for r in self.graded for f in r.findings))

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(r.share for r in self.records if r.report is not None and r.share is not None)

    @property
    def bins(self) -> tuple[int, ...]:
        """How many students reached 0 to 10 %, 10 to 20 %, ... of the points; full marks in the last."""
        counts = [0] * BINS
        for share in self.shares:
            counts[min(BINS - 1, int(share * BINS))] += 1
        return tuple(counts)

    @property
    def median(self) -> float:
        return statistics.median(self.shares) if self.shares else 0.0

    @property
    def mean(self) -> float:
        return statistics.fmean(self.shares) if self.shares else 0.0

    @property
    def difficulty(self) -> tuple[Difficulty, ...]:
        counts: dict[Key, dict[Verdict, int]] = {key: {} for key in self.gradients}
        for report in self.graded:
            for finding in report.findings:
                of_it = counts[finding.notebook, finding.name]
                of_it[finding.verdict] = of_it.get(finding.verdict, 0) + 1
        return tuple(Difficulty(*key, of_it) for key, of_it in counts.items())

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """The most frequent first."""
        made: dict[tuple[str, ...], tuple[Note, list[str], list[str]]] = {}
        for report in self.graded:
            for finding in report.findings:
                for what, certain in _mistakes(finding):
                    parts = repr(sorted(what.parts.items()))
                    key = (finding.notebook, finding.name, what.code, parts)
                    _, sure, perhaps = made.setdefault(key, (what, [], []))
                    (sure if certain else perhaps).append(report.student)
        listed = [
            Mistake(notebook, name, what, tuple(sure), tuple(perhaps))
            for (notebook, name, *_), (what, sure, perhaps) in made.items()
        ]
        return tuple(sorted(listed, key=lambda m: -len(m.certain) - len(m.possible)))

    @property
    def suspects(self) -> tuple[Suspect, ...]:
        return tuple(
            Suspect(r.student, i.notebook, i.cell, i.what, i.line)
            for r in self.graded
            for i in r.integrity
        )

    @property
    def errands(self) -> tuple[Errand, ...]:
        return tuple(errand for record in self.records for errand in _errands(record))

    @property
    def changes(self) -> tuple[Change, ...]:
        """What is different from `previous`, by student; empty where there is none."""
        return () if self.previous is None else changes(self.records, self.previous)


def _mistakes(finding: Finding) -> Iterator[tuple[Note, bool]]:
    """The mistakes told of one wrong gradient, each once, with whether it is certain."""
    if finding.verdict == Verdict.WRONG:
        certain = len(finding.diagnoses) == 1
        groups = [
            Note(_ALIKE[note.code], {"group": "yes"}) if note.code in _ALIKE else note
            for note in finding.diagnoses
        ]
        for i, note in enumerate(groups):
            if note not in groups[:i]:
                yield note, certain


def _errands(record: ClassRecord) -> Iterator[Errand]:
    student = record.student
    if record.refused:
        yield Errand(student, "refused")
        return
    if record.report is None:
        yield Errand(student, "not_graded" if record.handed_in else "not_handed_in")
        return
    findings = record.report.findings
    for notebook in dict.fromkeys(f.notebook for f in findings):
        here = [f for f in findings if f.notebook == notebook]
        unknown = [f.name for f in here if f.verdict == Verdict.COULD_NOT_TELL]
        if unknown:
            names = "" if len(unknown) == len(here) else ", ".join(unknown)
            yield Errand(student, "could_not_tell", {"names": names, "notebook": notebook})
    for notebook, notes in record.report.problems.items():
        for note in notes:
            if note.code in _FOR_A_PERSON:
                yield Errand(student, note.code, {**note.parts, "notebook": notebook})
    by_graders = {f.grade_id for f in findings}  # of these it was said above
    unmarked = [grade_id for grade_id in record.waiting if grade_id not in by_graders]
    if unmarked:
        yield Errand(student, "unmarked", {"names": ", ".join(unmarked)})
    if record.late_seconds > 0:
        seconds, penalty = str(int(record.late_seconds)), str(record.late_penalty)
        yield Errand(student, "late", {"seconds": seconds, "penalty": penalty})
