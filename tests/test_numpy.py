"""Notebooks in NumPy are as good as torch's: drawn, graded, diagnosed, and compared at home."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import attention
import nbformat
import numpy as np
import pytest
import torch
from coursedir import empty_course, released
from nbclient import NotebookClient
from pool import Grader, grader

from handgrad.assignment.new import new
from handgrad.errors import UserError
from handgrad.gradients.exercise import Exercise
from handgrad.gradients.reference import Reference
from handgrad.grading.selfcheck import edited, selfcheck
from handgrad.pages.words import say

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "affine_numpy.py"

NUMBERS = "seed = 1\nn = 4\neps = 1e-5"
DRAW = """\
import numpy as np
rng = np.random.default_rng(seed)
x = rng.standard_normal((n, 3))
w = rng.standard_normal((3, 5))
dout = rng.standard_normal((n, 5))
ix = np.array([0, 2, 2, 1])"""
# By what they are about: a forward pass in NumPy, and the same in torch.
FORWARDS = {
    "broadcasts and powers": (
        "mean = x.mean(1, keepdims=True)\ninv = (((x - mean) ** 2).mean(1, keepdims=True) + eps) ** -0.5\n"
        "out = ((x - mean) * inv) @ w\nloss = (out * dout).sum()",
        "mean = x.mean(1, keepdim=True)\ninv = (((x - mean) ** 2).mean(1, keepdim=True) + eps) ** -0.5\n"
        "out = ((x - mean) * inv) @ w\nloss = (out * dout).sum()",
    ),
    "a maximum and a mask of infinities": (
        "out = np.where(np.tri(n, 5) > 0, np.maximum(x @ w, 0), -np.inf)\nsoft = np.exp(out)\n"
        "loss = (soft * dout).sum()",
        "out = torch.where(torch.ones(n, 5).tril() > 0, (x @ w).relu(), -torch.inf)\nsoft = out.exp()\n"
        "loss = (soft * dout).sum()",
    ),
    "rows that are used twice": (
        "rows = x[ix]\nout = np.tanh(rows @ w)\nloss = (out * dout).sum()",
        "rows = x[ix]\nout = torch.tanh(rows @ w)\nloss = (out * dout).sum()",
    ),
}


def numpy_exercise(forward: str, *variables: str) -> Exercise:
    return attention.exercise(NUMBERS, DRAW, forward, list(variables), reference="")


@pytest.mark.parametrize(("in_numpy", "in_torch"), FORWARDS.values(), ids=FORWARDS.keys())
def test_central_differences_agree_with_autograd(in_numpy: str, in_torch: str) -> None:
    exercise = numpy_exercise(in_numpy, "dx", "dw")
    reference = Reference(exercise, {"seed": 7}, {}, 1)
    (draw,) = reference.draws
    given = {
        k: torch.as_tensor(v) if isinstance(v, np.ndarray) else v
        for k, v in vars(draw.constants).items()
    }
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in draw.leaves.items()}
    names = {**given, **leaves, "torch": torch}
    exec(in_torch, names)
    names["loss"].backward()
    for name, leaf in leaves.items():
        target = reference.targets[f"d{name}"]
        assert (target.want - leaf.grad).abs().max() / target.scale < 1e-7, name


def test_steps_without_a_wanted_leaf_above_them_are_constants() -> None:
    exercise = numpy_exercise("k = (dout**2).sum()\ny = x @ w\nloss = (y * k).sum()", "dw")
    assert [step.name for step in exercise.graph.steps] == ["y", "loss"]
    assert exercise.graph.leaves == ("w",)


def test_a_numpy_step_that_changes_its_input_is_refused(tmp_path: Path) -> None:
    cells = tmp_path / "cells.py"
    cells.write_text(FLAT.replace("np.maximum(y, 0)", "np.maximum(y, 0, out=y)"))
    with pytest.raises(UserError, match="`z` changes `y` in place"):
        new(empty_course(tmp_path / "course"), "flat", cells)


def test_a_forward_pass_in_numpy_of_two_cells_is_refused(tmp_path: Path) -> None:
    cells = tmp_path / "cells.py"
    cells.write_text(FLAT.replace("loss = (z", "# %% forward\nloss = (z"))
    with pytest.raises(UserError, match="line 13: it is a second cell of a forward pass in NumPy"):
        new(empty_course(tmp_path / "course"), "flat", cells)


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = empty_course(tmp_path_factory.mktemp("layer") / "course")
    new(root, "affine", EXAMPLE)
    return released(root, "affine")


def test_the_example_proves_itself_on_the_first_run(layer: Path) -> None:
    outcomes = [*selfcheck(layer, "affine")]
    assert [f"{o.label}: {o.complaint}" for o in outcomes if o.complaint] == []
    assert sum(o.kind == "mutant" for o in outcomes) >= 6


def test_at_home_cmp_compares_with_central_differences(layer: Path) -> None:
    folder = layer / "source" / "affine"
    notebook = nbformat.read(folder / "affine.ipynb", as_version=4)
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}).execute()
    said = [o.text for c in notebook.cells for o in c.get("outputs", ()) if o.name == "stdout"]
    assert ["approximate: True" in text for text in said] == [True, True, True, False]
    assert said[-1] == "3 of 3 gradients right; all done\n"


def test_check_needs_numpy_only(layer: Path) -> None:
    hidden = "import sys; sys.modules['torch'] = None; import numpy as np; from check import cmp\n"
    code = (
        hidden
        + "cmp('x', np.ones(3), want=np.ones(3)); cmp('n', 3, want=3); cmp('b', True, want=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=layer / "source" / "affine",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("exact: True") == 3


FLAT = """\
# %% parameters
seed = 1
n = 4
# %% draw
import numpy as np
rng = np.random.default_rng(seed)
x = rng.standard_normal((n, 3))
w = rng.standard_normal((3, 5))
# %% forward
y = x @ w
z = np.maximum(y, 0)
loss = (z**2).sum() / n
# %% solution
dz = 2 * z / n
dy = dz * (y > 0)
dw = np.zeros_like(w)
for i in range(n):
    dw += np.outer(x[i], dy[i])
dx = dy @ w.T
"""


def asked(variable: str, answer: str, want: str) -> list[nbformat.NotebookNode]:
    """An answer that is no gradient, with its test cell."""
    stub = f"{variable} = None\n### BEGIN SOLUTION\n{variable} = {answer}\n### END SOLUTION"
    flags = {"grade": False, "locked": False, "solution": True, "task": False, "schema_version": 3}
    test = {**flags, "grade": True, "locked": True, "solution": False, "points": 1}
    told = f"cmp({variable!r}, {variable}, want={want})"
    make = nbformat.v4.new_code_cell
    return [
        make(stub, metadata={"nbgrader": {**flags, "grade_id": variable}}),
        make(told, metadata={"nbgrader": {**test, "grade_id": f"test_{variable}"}}),
    ]


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An assignment whose steps are NumPy, and that asks for a number and for a boolean too."""
    root = empty_course(tmp_path_factory.mktemp("flat") / "course")
    cells = root.parent / "cells.py"
    cells.write_text(FLAT.replace("# %% forward", "entries, tall = w.size, n > 3\n# %% forward"))
    new(root, "flat", cells)
    path = root / "source" / "flat" / "flat.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1:-1] = [
        *asked("count", "w.shape[0] * w.shape[1]", "entries"),
        *asked("many", "len(x) > 3", "tall"),
    ]
    nbformat.write(notebook, path)
    return released(root, "flat")


def test_steps_in_numpy_prove_themselves_with_their_mutants(flat: Path) -> None:
    outcomes = [*selfcheck(flat, "flat")]
    assert [f"{o.label}: {o.complaint}" for o in outcomes if o.complaint] == []
    assert sum(o.kind == "mutant" for o in outcomes) >= 10


@pytest.fixture(scope="module")
def by(flat: Path) -> Iterator[Grader]:
    with grader(flat, "flat") as started:
        yield started


KNOCKED = "right step"
BELOW = {"dw": KNOCKED, "dx": KNOCKED}
# By what it is: the cell, its code, what else than right is found, and what is said of it.
ANSWERS = {
    "an array changed in place": ("dy", "dy = dz\ndy[y <= 0] = 0", {}, ""),
    "float32": ("dx", "dx = (dy @ w.T).astype(np.float32)", {}, ""),
    "a tensor": ("dx", "import torch\ndx = torch.from_numpy(dy @ w.T)", {}, ""),
    "a given array changed": ("dy", "dy = dz * (y > 0)\nx[:] = 0", {"dw": KNOCKED}, ""),
    "a sign": ("dz", "dz = -2 * z / n", {"dz": "wrong", "dy": KNOCKED, **BELOW}, "sign"),
    "a slip that lies between": ("dy", "dy = -dz", {"dy": "wrong", **BELOW}, "sign"),
    "booleans for a gradient": ("dx", "dx = x > 0", {"dx": "wrong"}, "booleans"),
    "a list of rows": ("dx", "dx = list(dy @ w.T)", {"dx": "wrong"}, "sequence_of"),
    "a number that is a float": ("count", "count = 15.0", {}, ""),
    "another number": ("count", "count = 16", {"count": "wrong"}, ""),
    "one of NumPy's booleans": ("many", "many = np.bool_(n > 3)", {}, ""),
    "the other boolean": ("many", "many = False", {"many": "wrong"}, ""),
}  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "code", "not_right", "said"), ANSWERS.values(), ids=ANSWERS.keys()
)
def test_answers_get_what_they_earn(
    by: Grader, flat: Path, cell: str, code: str, not_right: Mapping[str, str], said: str
) -> None:
    source = json.loads((flat / "source" / "flat" / "flat.ipynb").read_text(encoding="utf-8"))
    report = by.report({"flat": edited(source, {cell: code})})
    found = {f.name: str(f.verdict) for f in report.findings if str(f.verdict) != "right"}
    assert found == not_right
    notes = [note for f in report.findings if f.name == cell for note in f.diagnoses]
    codes = [note.parts["why"].code if note.code == "unusable" else note.code for note in notes]
    assert not said or codes == [said]
    assert all(say(note, language) for note in notes for language in ("en", "zh"))
