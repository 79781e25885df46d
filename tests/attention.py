"""A small assignment that is not makemore: one head of softmax attention with layer normalisation.

The engine must need nothing but these cells.
"""

from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from handgrad.assignment.declared import Declared
from handgrad.assignment.exercises import Read
from handgrad.assignment.givencells import GivenCells
from handgrad.gradients.exercise import Exercise

PARAMETERS = "seed = 1\nlength, depth, width = 6, 8, 5\neps = 1e-3"
DRAW = """\
import torch

g = torch.Generator().manual_seed(seed)
x = torch.randn(length, depth, generator=g)
Wq = torch.randn(depth, width, generator=g)
Wk = torch.randn(depth, width, generator=g)
Wv = torch.randn(depth, width, generator=g)
target = torch.randn(length, width, generator=g)
for p in [x, Wq, Wk, Wv]:
    p.requires_grad = True"""
FORWARD = """\
mean = x.mean(1, keepdim=True)  # (T, 1)
centred = x - mean  # (T, D)
var = (centred**2).mean(1, keepdim=True)  # (T, 1)
inv = (var + eps) ** -0.5  # (T, 1)
normed = centred * inv  # (T, D)
q = normed @ Wq  # (T, H)
key = normed @ Wk  # (T, H)
v = normed @ Wv  # (T, H)
scores = q @ key.T / width**0.5  # (T, T)
weights = scores.softmax(1)  # (T, T)
out = weights @ v  # (T, H)
loss = (out * target).sum()"""

SOLUTION = {
    "dout": "dout = target.float()",
    "dweights": "dweights = dout @ v.T",
    "dv": "dv = weights.T @ dout",
    "dscores": "dscores = weights * (dweights - (weights * dweights).sum(1, keepdim=True))",
    "dq": "dq = dscores @ key / width**0.5",
    "dkey": "dkey = dscores.T @ q / width**0.5",
    "dWq": "dWq = normed.T @ dq",
    "dWk": "dWk = normed.T @ dkey",
    "dWv": "dWv = normed.T @ dv",
    "dnormed": "dnormed = dq @ Wq.T + dkey @ Wk.T + dv @ Wv.T",
    "dinv": "dinv = (centred * dnormed).sum(1, keepdim=True)",
    "dvar": "dvar = -0.5 * (var + eps) ** -1.5 * dinv",
    "dcentred": "dcentred = inv * dnormed + 2 / centred.shape[1] * centred * dvar",
    "dmean": "dmean = -dcentred.sum(1, keepdim=True)",
    "dx": "dx = dcentred + dmean.expand_as(x) / x.shape[1]",
}


REFERENCE = """\
for value in [{asked}]:
    value.retain_grad()
loss.backward()"""
ASKED = "*(v for v in list(globals().values()) if isinstance(v, torch.Tensor) and v.requires_grad)"


def exercise(
    parameters: str,
    draw: str,
    forward: str,
    variables: list[str],
    reference: str = REFERENCE.format(asked=ASKED),
    declared: Declared | None = None,
    added: tuple[NotebookNode, ...] = (),
) -> Exercise:
    """The exercise that a notebook with these given cells and these test cells is."""
    cells = [
        code("parameters", parameters, "parameters"),
        code("draw", draw),
        code("forward", forward, "forward"),
        code("reference", reference),
        *added,
        *(code(f"test_{variable}", "") for variable in variables),
    ]
    here = Path(__file__).parent / "attention.ipynb"
    cells_of = GivenCells(new_notebook(cells=cells), here, {})
    return Read(cells_of, declared or Declared()).exercise(())


def code(name: str, source: str, tag: str = "", **flags: bool) -> NotebookNode:
    """A code cell as a release has it."""
    tags = {"tags": [tag]} if tag else {}
    return new_code_cell(source, metadata={**tags, "nbgrader": {**_locked(name), **flags}})


def _locked(name: str) -> dict[str, object]:
    test = name.startswith("test_")
    return {"grade_id": name, "grade": test, "solution": False, "locked": True, "points": 1}


EXERCISE = exercise(PARAMETERS, DRAW, FORWARD, list(SOLUTION))
GRAPH = EXERCISE.graph
