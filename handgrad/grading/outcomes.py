"""What came of one thing that a self-check tried, held against what should have come of it."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal

from handgrad.assignment.mutants import Mutant
from handgrad.grading.variations import ANY, Slip
from handgrad.verdict import Finding, Note, Report, Verdict

_FULL = (Verdict.RIGHT, Verdict.RIGHT_STEP)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One thing tried: what it was, what was expected, and what is wrong with it ("" if nothing).

    `kind` is what it was: the assignment itself, a right answer, a listed wrong one, or one made of the
    solution. `made` and `told` are the mistake and the names that it was given; `error` is the slip's
    own, or the largest of a right form. `found` is whether a mutant was called wrong.
    """

    label: str
    complaint: str
    kind: Literal["itself", "right", "wrong", "mutant"] = "itself"
    made: str = ""
    told: tuple[str, ...] = ()
    error: float | None = None
    found: bool = False

    @property
    def unnamed(self) -> bool:
        """Whether a mutant was found, and no name fits it."""
        return self.found and {*self.told} <= {"largest_error"}

    @property
    def remark(self) -> str:
        """What a mutant was called."""
        if self.kind != "mutant" or self.complaint:
            return ""
        if not self.found:
            return "changes no number"
        return "found, without a name" if self.unnamed else ", ".join(self.told)


def blank(label: str, report: Report) -> Outcome:
    """Nobody answered."""
    attempted = [f for f in report.findings if f.verdict is not Verdict.NOT_ATTEMPTED]
    complaint = _names("taken for an attempt", attempted)
    if report.points != 0:
        complaint = f"{complaint} it earns {report.points}".strip()
    return Outcome(label, complaint)


def solved(label: str, report: Report) -> Outcome:
    """All of it is right."""
    bad = [f for f in report.findings if f.verdict is not Verdict.RIGHT]
    errors = [f.error for f in report.findings if f.error is not None]
    return Outcome(label, _names("not right", bad), "right", error=max(errors, default=None))


def slipped(slip: Slip, report: Report, gradients: Set[str]) -> Outcome:
    """One gradient is wrong, has this name, and no other loses a mark."""
    own = [f for f in report.findings if f.name == slip.variable]
    others = [f for f in report.findings if f.name in gradients - {slip.variable}]
    complaint = _names("lose marks for it", [f for f in others if f.verdict not in _FULL])
    made = slip.named.removesuffix(ANY)
    if not own or own[0].verdict is not Verdict.WRONG:
        return Outcome(slip.label, f"{complaint} it was not found".strip(), "wrong", made)
    notes = own[0].diagnoses
    if not _named(slip, notes):
        said = "; ".join(f"{n.code} {dict(n.parts)}" for n in notes)
        complaint = f"{complaint} it was called {said}".strip()
    told = tuple(note.code for note in notes)
    return Outcome(slip.label, complaint, "wrong", made, told, own[0].error)


def mutated_as(mutant: Mutant, report: Report, gradients: Set[str]) -> Outcome:
    """One gradient of its cell is wrong where a number changed, else none; and no other loses a mark."""
    own = [f for f in report.findings if f.name in mutant.variables]
    wrong = [f for f in own if f.verdict is Verdict.WRONG]
    lost = [f for f in report.findings if f.verdict not in _FULL and f.name in gradients]
    complaint = _names("lose marks for it", [f for f in lost if f not in wrong[:1]])
    if mutant.changes and not wrong:
        complaint = f"{complaint} it was not found".strip()
    if wrong and not mutant.changes and not mutant.function:
        complaint = f"{complaint} it changes no number".strip()
    label = f"{mutant.cell}, {mutant.what}: {mutant.was}"
    told = tuple(note.code for f in wrong for note in f.diagnoses)
    return Outcome(label, complaint, "mutant", mutant.what, told, found=bool(wrong))


def _named(slip: Slip, notes: Sequence[Note]) -> bool:
    code = slip.named.removesuffix(ANY)
    fitting = [n for n in notes if n.code == code and slip.parts.items() <= n.parts.items()]
    return bool(fitting) and (len(notes) == 1 or slip.named.endswith(ANY))


def _names(complaint: str, findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    told = (f"{f.notebook} {f.name} ({f.verdict}{_why(f)})" for f in findings)
    return f"{', '.join(told)}: {complaint}"


def _why(finding: Finding) -> str:
    if finding.verdict is not Verdict.COULD_NOT_TELL:
        return ""
    return ": " + "; ".join(str(note.parts.get("why", note.code)) for note in finding.diagnoses)
