"""A loop over time: lists of values are steps, and their gradients are judged entry by entry."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import attention
import nbformat
import pytest
import torch
from coursedir import empty_course, released
from nbclient import NotebookClient
from pool import Grader, grader

from handgrad.assignment.new import new
from handgrad.errors import UserError
from handgrad.gradients.exercise import Exercise
from handgrad.gradients.reference import Reference
from handgrad.grading.outcomes import Outcome
from handgrad.grading.selfcheck import edited, selfcheck
from handgrad.verdict import Note

ROOT = Path(__file__).parents[1]
NAME = "recurrent"

NUMBERS = "seed = 1\nT = 4"
DRAW = """\
import torch
g = torch.Generator().manual_seed(seed)
x = torch.randn(T, 2, 3, generator=g)
h0 = torch.randn(2, 5, generator=g)
Wx, Wh = torch.randn(3, 5, generator=g), torch.randn(5, 5, generator=g)
for p in [h0, Wx, Wh]:
    p.requires_grad = True"""
FORWARD = """\
hs, gates, ys = [h0], [], []
for t in range(T):
    pre = x[t] @ Wx + hs[-1] @ Wh
    gates.append(torch.sigmoid(hs[t]))
    hs.append(torch.tanh(pre) * gates[t])
    ys.append(hs[t + 1] * 2 if t % 2 else hs[t + 1] ** 2)
out = torch.stack(ys)
loss = (out ** 2).sum()"""
KEEP = "for v in [*hs, *gates, *ys, out]:\n    v.retain_grad()\nloss.backward()"
ASKED = ("dout", "dys", "dhs", "dgates", "dWx", "dWh", "dh0")


def exercise(forward: str = FORWARD, asked: tuple[str, ...] = ASKED, keep: str = KEEP) -> Exercise:
    return attention.exercise(NUMBERS, DRAW, forward, list(asked), reference=keep)


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_its_gradients_are_autograd_s_through_the_whole_loop(steps: int) -> None:
    reference = Reference(exercise(), {"seed": 3, "T": steps}, {}, 1)
    (draw,) = reference.draws
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in draw.leaves.items()}
    names = {**vars(draw.constants), **leaves, "torch": torch}
    exec(f"{FORWARD}\n{KEEP}", names)
    for variable, target in reference.targets.items():
        value = names[variable.removeprefix("d")]
        each = [one.grad for one in value] if isinstance(value, list) else value.grad
        true = torch.stack(each) if isinstance(value, list) else each
        assert torch.allclose(target.want, true, rtol=1e-12), variable


def test_alone_an_entry_follows_from_random_ones_around_it() -> None:
    reference = Reference(exercise(), {"seed": 3}, {}, 1)
    exchanged = frozenset(reference.exchanged)
    (point,), (one,) = reference.alone(exchanged), reference.wanted_alone("hs", exchanged)
    assert set(one.parts) == {"hs", "gates", "ys"}
    assert torch.equal(point.upstream["hs"], reference.replacements["hs"].double())
    assert one.want.shape == (5, 2, 5)


LOOPS = {
    "a value that is carried along": (
        "hs = [h0]\nh = h0\nfor t in range(T):\n    h = torch.tanh(h @ Wh)\n    hs.append(h)\n"
        "loss = hs[-1].sum()",
        "line 4: `h` is carried from one turn of the loop to the next",
    ),
    "a loop's own name behind it": (
        "hs = [h0]\nfor t in range(T):\n    h = torch.tanh(hs[-1] @ Wh)\n    hs.append(h)\n"
        "loss = h.sum()",
        "line 5: it reads `h`, which is a loop's own",
    ),
    "a list that is made elsewhere": (
        "for t in range(T):\n    kept.append(torch.tanh(h0 @ Wh))\nloss = kept[-1].sum()",
        "line 1: `kept` is filled by a loop and made elsewhere",
    ),
    "entries of other shapes": (
        "hs = []\nfor t in range(T):\n    hs.append((h0 @ Wh)[:, t:])\nloss = hs[-1].sum()",
        "line 1: a loop makes something else of `hs` than a list of tensors of one shape",
    ),
    "a tensor that is filled": (
        "h = torch.zeros(T, 2, 5)\nfor t in range(T):\n    h[t] = h0 @ Wh\nloss = h.sum()",
        "line 1: a loop makes something else of `h` than a list of tensors",
    ),
    "an array that is filled": (  # `v` is one
        "import numpy\nz = numpy.zeros(T)\nfor t in range(T):\n    z[t] = v[t] ** 2\nloss = z.sum()",
        "line 2: a loop makes something else of `z` than a list of tensors",
    ),
}


@pytest.mark.parametrize(("forward", "said"), LOOPS.values(), ids=LOOPS.keys())
def test_a_loop_that_cannot_be_taken_apart_is_refused_with_its_line(
    forward: str, said: str
) -> None:
    with pytest.raises(UserError) as error:
        attention.exercise(
            NUMBERS,
            f"{DRAW}\nkept, v = [], h0.detach().numpy()[0]",
            forward,
            ["dWh", "dv"],
            reference="",
        )
    assert said in str(error.value)


def test_retain_grad_is_missed_of_a_list_too() -> None:
    with pytest.raises(UserError, match=r"compares with `hs\.grad`, which is not kept"):
        exercise(keep="loss.backward()", asked=("dhs",))


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, in which one of the runs that decide has another number of steps."""
    root = empty_course(tmp_path_factory.mktemp("recurrent") / "course")
    new(root, NAME, ROOT / "examples" / f"{NAME}.py")
    runs = root / "graders" / NAME / "assignment.toml"
    text = runs.read_text(encoding="utf-8")
    assert "decides = false, T = 13" in text
    runs.write_text(text.replace('{ name = "second" }', '{ name = "second", T = 3 }'))
    return released(root, NAME)


@pytest.fixture(scope="module")
def outcomes(course: Path) -> list[Outcome]:
    return [*selfcheck(course, NAME)]


def test_the_example_proves_itself_with_runs_of_other_lengths(outcomes: list[Outcome]) -> None:
    assert [f"{o.label}: {o.complaint}" for o in outcomes if o.complaint] == []
    assert sum(o.kind == "mutant" for o in outcomes) >= 30


def test_a_branch_to_the_next_step_that_is_left_out_is_named_although_the_last_has_none(
    outcomes: list[Outcome],
) -> None:
    told = {o.label: o.told for o in outcomes if "dhs[t + 1] += dpres[t + 1] @ Wh.T" in o.label}
    assert {*told.values()} == {("missing_branch",), ("sign_branch",)}


def test_at_home_cmp_has_a_line_for_each_entry(course: Path) -> None:
    folder = course / "source" / NAME
    notebook = nbformat.read(folder / f"{NAME}.ipynb", as_version=4)
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}).execute()
    said = "".join(
        o.text for c in notebook.cells for o in c.get("outputs", ()) if o.name == "stdout"
    )
    assert all(f"hs[{at}]           | exact" in said for at in range(6))
    assert "9 of 9 gradients right; all done" in said


@pytest.fixture(scope="module")
def by(course: Path) -> Iterator[Grader]:
    with grader(course, NAME) as started:
        yield started


LOOP = """\
dpres = [None] * T
dhs = [None] * (T + 1)
dnext = torch.zeros(B, H)
for t in reversed(range(T)):
    dh = dstates[t] + dnext
    dhs[t + 1] = dh
    dpres[t] = (1 - hs[t + 1] ** 2) * dh
    dnext = dpres[t] @ Wh.T
dhs[0] = dnext"""
# By what is written: the loop's cell, and what is found that is not right.
ANSWERS: Mapping[str, tuple[str, dict[str, str]]] = {
    "a running variable": (LOOP, {}),
    "a slip in one entry": (
        LOOP.replace("dhs[0] = dnext", "dhs[0] = -dnext"),
        {"dhs": "wrong", "dh0": "right step"},
    ),
    "a slip in a running variable": (
        LOOP.replace("(1 - hs[t + 1] ** 2) * dh", "(1 - hs[t + 1]) * dh"),
        {"dpres": "wrong", **dict.fromkeys(["dhs", "dh0", "db", "dWh", "dWx"], "right step")},
    ),
    "lists that grow": (
        "dpres, dhs = [], []\ndnext = torch.zeros(B, H)\nfor t in reversed(range(T)):\n"
        "    dhs.insert(0, dstates[t] + dnext)\n    dpres.insert(0, (1 - hs[t + 1] ** 2) * dhs[0])\n"
        "    dnext = dpres[0] @ Wh.T\ndhs.insert(0, dnext)",
        {},
    ),
    "a tensor of all entries": (
        "dpres, dhs = torch.zeros(T, B, H), torch.zeros(T + 1, B, H)\nfor t in reversed(range(T)):\n"
        "    dhs[t + 1] += dstates[t]\n    dpres[t] = (1 - hs[t + 1] ** 2) * dhs[t + 1]\n"
        "    dhs[t] += dpres[t] @ Wh.T",
        {},
    ),
    "nothing in the lists": (
        "dpres = [None] * T\ndhs = [None] * (T + 1)",
        {
            "dpres": "not attempted",
            "dhs": "not attempted",
            **dict.fromkeys(["dh0", "db", "dWh", "dWx"], "right step"),
        },
    ),
}


def test_a_factor_in_one_entry_is_named(by: Grader, course: Path) -> None:
    source = json.loads((course / "source" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8"))
    code = LOOP.replace("dhs[0] = dnext", "dhs[0] = dnext / 2")
    report = by.report({NAME: edited(source, {"dpres_dhs": code})})
    (wrong,) = (f for f in report.findings if str(f.verdict) == "wrong")
    assert Note("factor", {"factor": "1/2"}) in wrong.diagnoses


@pytest.mark.parametrize(("code", "not_right"), ANSWERS.values(), ids=ANSWERS.keys())
def test_answers_get_what_they_earn(
    by: Grader, course: Path, code: str, not_right: Mapping[str, str]
) -> None:
    source = json.loads((course / "source" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8"))
    report = by.report({NAME: edited(source, {"dpres_dhs": code})})
    found = {f.name: str(f.verdict) for f in report.findings if str(f.verdict) != "right"}
    assert found == not_right
