"""What came back from running one notebook: numbers, and how each cell ended. All of it forgeable."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from handgrad.verdict import Note

CellStatus = Literal["ok", "raised", "timed out", "killed", "not run"]
AnswerKind = Literal["tensor", "missing", "late", "skipped", "unusable"]

# Reasons by code, each with the names of its parts; what comes out of a sandbox gives no other.
UNUSABLE: Mapping[str, frozenset[str]] = {
    "sparse": frozenset({"layout"}),
    "quantized": frozenset(),
    "elsewhere": frozenset({"device"}),
    "booleans": frozenset(),
    "complex_numbers": frozenset(),
    "other_dtype": frozenset({"dtype"}),
    "too_large": frozenset({"shape"}),
    "axes": frozenset({"count"}),
    "sequence": frozenset({"kind", "count"}),
    "sequence_of": frozenset({"kind", "count", "what"}),
    "no_tensor": frozenset({"kind"}),
    "untouchable": frozenset({"kind"}),
    "no_numbers": frozenset(),
}
TROUBLE: Mapping[str, frozenset[str]] = {
    "out_of_time": frozenset(),
    "ended": frozenset(),
    "ended_saying": frozenset({"said"}),
    "died": frozenset({"count"}),
    "memory": frozenset({"limit"}),
    "threads": frozenset({"limit"}),
    "disk": frozenset(),
    "sent": frozenset({"what"}),
}


@dataclass(frozen=True, slots=True)
class CellResult:
    """How one code cell ended; `outputs` are nbformat outputs, kept by display runs only.

    `killed` is a cell during which the student's process died (`os._exit`, memory, the wall clock).
    """

    index: int
    status: CellStatus
    ename: str = ""
    evalue: str = ""
    outputs: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """One variable as it was when its test cell was reached.

    `missing`: absent or None. `late`: so at its check, and a tensor at the end of the run.
    `skipped`: the very tensor that `skip()` handed out.
    `unusable`: something that cannot be compared; `why` is one of UNUSABLE ("a list of 32 floats").
    A `tensor` is dense, on the CPU, without grad, of at most the size limit; its values are unchecked.
    """

    kind: AnswerKind
    tensor: Tensor | None = None
    why: Note | None = None


@dataclass(frozen=True, slots=True)
class RunResult:
    """One run of the plan; `changed` names variables that changed after their test cell took them."""

    key: str
    cells: tuple[CellResult, ...]
    answers: Mapping[str, Answer]
    changed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a student's cell used and an exercise does not need; shows use, not cheating."""

    cell: int
    what: str  # "torch.autograd.grad"
    line: str  # the line of code, stripped, at most 200 characters


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything one notebook's runs gave.

    `trouble` is why the run as a whole cannot be trusted (None when it can): then nobody is given a mark.
    """

    notebook: str
    runs: Mapping[str, RunResult] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
    trouble: Note | None = None
