"""A small notebook for trying the sandbox, and readers of what came back."""

from collections.abc import Iterable, Mapping

import torch

from handgrad.evidence import Answer, CellResult, Evidence
from handgrad.limits import Limits
from handgrad.plan import Cell, Plan, Run
from handgrad.sandbox.execute import Executor

# Small, so that reaching them is quick.
LIMITS = Limits(
    cell_seconds=1.0,
    wall_seconds=20.0,
    cpu_seconds=20,
    memory_mib=2048,
    processes=32,
    file_mib=4,
    scratch_mib=8,
    scratch_files=100,
    output_kib=32,
    tensor_mib=4,
)
CHECK = """\
_grading = None

def cmp(name, mine, tensor):
    if _grading is None:
        raise RuntimeError("not graded")

def skip(name):
    return _grading.skip(name)
"""
FILES: Mapping[str, bytes] = {"check.py": CHECK.encode(), "names.txt": b"emma\nolivia\nava\n"}
_SETUP = """\
import torch
from check import cmp, skip
words = open('names.txt').read().split()
print(len(words), 'names')"""
_DRAW = """\
g = torch.Generator().manual_seed(seed)
x = torch.randn(n, 3, generator=g)
y = x.tanh()
both = [x, y]
x.retain_grad()"""
GIVEN = (
    Cell(0, "", "given", _SETUP),
    Cell(1, "", "given", "seed = 1\nn = 4", parameters=True),
    Cell(2, "", "given", _DRAW),
)
REPLACED = torch.arange(12.0).reshape(4, 3)
PLAN = Plan(
    "notebook",
    (
        Run("chain", {"seed": 5}),
        Run("alone", {"seed": 6}, {"dy": REPLACED}, ("x", "y", "n")),
        Run("display", display=True),
    ),
    {"test_dy": ("dy",), "test_dx": ("dx",)},
)


def executor(limits: Limits = LIMITS, plan: Plan = PLAN, *, sandboxed: bool = True) -> Executor:
    """An executor for the small notebook."""
    return Executor(
        FILES, {plan.notebook: plan}, {plan.notebook: GIVEN}, limits, sandboxed=sandboxed
    )


def cells(dy: str = "dy = 2 * y", dx: str = "dx = dy * (1 - y**2)", *more: str) -> tuple[Cell, ...]:
    """The notebook with these two answers, each before its test cell, and cells of the student's."""
    return (
        *GIVEN,
        Cell(10, "dy", "answer", dy),
        Cell(11, "test_dy", "test", "cmp('y', dy, y)"),
        Cell(12, "dx", "answer", dx),
        Cell(13, "test_dx", "test", "cmp('x', dx, x)"),
        *(Cell(20 + i, "", "other", source) for i, source in enumerate(more)),
    )


def play(jail: Executor, notebook: Iterable[Cell]) -> Evidence:
    """The evidence of one notebook."""
    return jail.run({"notebook": tuple(notebook)})["notebook"]


def cell(evidence: Evidence, index: int, run: str = "display") -> CellResult:
    """How one cell of a run ended."""
    return next(cell for cell in evidence.runs[run].cells if cell.index == index)


def answer(evidence: Evidence, name: str, run: str = "chain") -> Answer:
    """One answer of a run."""
    return evidence.runs[run].answers[name]


def values(evidence: Evidence, name: str, run: str = "chain") -> list[float]:
    """The numbers of one answer, flattened."""
    tensor = answer(evidence, name, run).tensor
    assert tensor is not None, answer(evidence, name, run)
    return [float(value) for value in tensor.flatten()]


def printed(evidence: Evidence, index: int = 10) -> str:
    """What a cell of the display run printed, on both streams."""
    outputs = cell(evidence, index).outputs
    return "".join(str(o["text"]) for o in outputs if o["output_type"] == "stream")


def tried(jail: Executor, source: str) -> tuple[Evidence, str]:
    """The first answer is an attack that prints; the second must still be marked."""
    evidence = play(jail, cells(dy=source, dx="dx = torch.ones(3)"))
    return evidence, printed(evidence)
