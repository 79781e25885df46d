"""Single faults of an author, one at a time: each gets one sentence that names the line, and no traceback."""

import attention
import pytest
from attention import code

from handgrad.assignment.declared import Declared
from handgrad.assignment.refusals import flaws, warnings
from handgrad.errors import UserError
from handgrad.gradients.exercise import Exercise, Scenario
from handgrad.gradients.reference import Reference

NUMBERS = "seed = 1\nn = 4"
DRAW = """\
import torch
from torch import nn
g = torch.Generator().manual_seed(seed)
x = torch.randn(n, generator=g).requires_grad_()
w = torch.randn(n, generator=g).requires_grad_()"""
FORWARD = """\
y = x * w
z = y.exp()
loss = z.sum() / n"""
ASKED = ["dz", "dy", "dx", "dw"]
BACKWARD = "y.retain_grad()\nloss.backward()"
CALLED = "def forward(v):\n    loss = v.sum()\n    return loss"


def made(**changed: object) -> Exercise:
    """A small exercise with something changed in it: a cell's text, or what is declared."""
    arguments = {"parameters": NUMBERS, "draw": DRAW, "forward": FORWARD, "variables": ASKED}
    return attention.exercise(**{**arguments, **changed})


def forward(old: str, new: str) -> dict[str, object]:
    assert old in FORWARD
    return {"forward": FORWARD.replace(old, new)}


def draw(old: str, new: str) -> dict[str, object]:
    assert old in DRAW
    return {"draw": DRAW.replace(old, new)}


REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "a name bound twice": (
        forward("z = y.exp()", "y = y.exp()\nz = y"),
        "line 2: `y` is bound for",
    ),
    "a name bound again by a given cell": (
        {"reference": "y = 0\nloss.backward()"},
        "cell reference, line 1: `y` of the forward pass is bound",
    ),
    "an operation in place": (forward("z = y.exp()", "x += 1\nz = y.exp()"), "line 2: it raises"),
    "a step that is no assignment": (
        forward("z = y.exp()", "for i in range(1):\n    z = y.exp()"),
        "line 2: `z` is made by a statement that is no plain assignment",
    ),
    "no Python": (forward("z = y.exp()", "z = = y"), "line 2: this is no Python"),
    "a forward cell that raises": (
        forward("y.exp()", "y.exq()"),
        "line 2: it raises AttributeError",
    ),
    "a given cell that raises": (
        draw("manual_seed(seed)", "manual_seed(sed)"),
        "line 3: it raises",
    ),
    "a leaf of integers": (
        draw("x = torch.randn(n, generator=g).requires_grad_()", "x = torch.arange(n)"),
        "line 1: test_dx asks for `dx`, but `x` holds no floats",
    ),
    "requires_grad forgotten": (
        draw("w = torch.randn(n, generator=g).requires_grad_()", "w = torch.randn(n, generator=g)"),
        "line 1: test_dw asks for `dw`, but `w` does not require a gradient",
    ),
    "no gradient at all": (
        {"draw": DRAW.replace(".requires_grad_()", ""), "reference": ""},
        "line 1: no value from here on carries a gradient",
    ),
    "a step without a gradient that is asked for": (
        {"forward": "y = x * w\nz = (y > 0) * 1.0\nloss = (y * z).sum()", "reference": BACKWARD},
        "line 2: test_dz asks for `dz`, but `z` carries no gradient",
    ),
    "a gradient that stops": (
        {"forward": "y = x * w\nz = y.detach().exp()\nloss = (y + z).sum()", "reference": BACKWARD},
        "line 2: the gradient of `y` stops here",
    ),
    "a value that does not reach the loss": (
        forward("loss = z.sum() / n", "loss = y.sum() / n"),
        "line 2: test_dz asks for `dz`, but `z` does not reach the loss",
    ),
    "a loss that is no number": (
        {**forward("z.sum() / n", "z / n"), "reference": "loss.sum().backward()"},
        "line 3: the loss `loss` has shape (4,)",
    ),
    "a list of leaves": (
        {
            "draw": DRAW + "\nws = [w]",
            "forward": FORWARD.replace("x * w", "x * ws[0]"),
            "variables": ["dz", "dy", "dx"],
        },
        "line 1: `ws` holds tensors that require a gradient",
    ),
    "a module": (
        {
            "draw": DRAW + "\nlayer = nn.Linear(n, n)",
            "forward": FORWARD.replace("y.exp()", "layer(y)"),
        },
        "line 2: `layer` holds tensors that require a gradient",
    ),
    "a function that reads a value from outside": (
        {
            "draw": DRAW + "\ndef times(v):\n    return v * w",
            "forward": FORWARD.replace("y.exp()", "times(y)"),
        },
        "line 2: the function `times` reads `w` from outside",
    ),
    "a given function that nothing calls": (
        {"forward": CALLED, "reference": ""},
        "cell forward: no given cell before the first test cell calls `forward`",
    ),
    "retain_grad forgotten": (
        {"reference": "loss.backward()"},
        "line 2: test_dz compares with `z.grad`, which is not kept",
    ),
    "backward forgotten": (
        {"reference": "for v in [y, z]:\n    v.retain_grad()"},
        "line 2: no given cell before the answers calls `loss.backward()`",
    ),
    "an answer without a test cell": (
        {
            "variables": ASKED[1:],
            "added": (code("dz", "dz = None", solution=True, locked=False),),
        },
        "cell dz, line 1: this answer has no test cell",
    ),
    "a test cell of nothing": ({"variables": [*ASKED, "du"]}, "cell test_du: it asks for `du`"),
    "a given cell that is not locked": (
        {"added": (code("mine", "n = 5", locked=False),)},
        "cell mine, line 1: it is not read-only",
    ),
    "a test cell that compares with nothing": (
        {"variables": [*ASKED, "trained"]},
        "cell test_trained: it asks for `trained`",
    ),
    "no seed": (
        {"parameters": "n = 4", **draw("manual_seed(seed)", "manual_seed(1)")},
        "cell parameters, line 1: it does not set `seed`",
    ),
    "a run with an unknown parameter": (
        {"declared": Declared(runs=(Scenario("first", {"m": 3}),))},
        "assignment.toml: a run sets `m`, which is no number",
    ),
    "no run that decides": (
        {"declared": Declared(runs=(Scenario("first", decides=False),))},
        "assignment.toml: no run decides",
    ),
    "a tolerance of nothing": (
        {"declared": Declared(tolerance={"u": 1e-3})},
        "assignment.toml: a tolerance is of `u`",
    ),
    "a convention about nothing": (
        {"declared": Declared(either={"u": "u == 0"})},
        "assignment.toml, either.u: `u` is no value of the forward pass",
    ),
    "a convention that cannot be evaluated": (
        {"declared": Declared(either={"x": "xx == 0"})},
        "assignment.toml, either.x: `xx == 0` raises NameError",
    ),
    "a second cell of parameters": (
        {"added": (code("more", "m = 1", "parameters"),)},
        "attention.ipynb: 2 code cells are tagged `parameters`",
    ),
}


@pytest.mark.parametrize(("changed", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_fault_of_an_author_is_refused_with_its_line_and_the_cure(changed, said):
    with pytest.raises(UserError) as error:
        Reference(made(**changed), {"seed": 1}, {}, 1).targets  # noqa: B018 - made when asked for
    assert said in str(error.value)
    assert error.value.cure.endswith(".")


FLAWS: dict[str, tuple[dict[str, object], str]] = {
    "a draw without the generator": (
        {"draw": DRAW + "\nimport time\nw = torch.full((n,), time.time() % 1).requires_grad_()"},
        "`w` is another at each draw with one seed",
    ),
    "a seed that nothing reads": (
        draw("manual_seed(seed)", "manual_seed(1)"),
        "the leaves are the same whatever `seed` is",
    ),
    "a run in which a given cell raises": (
        {"declared": Declared(runs=(Scenario("first"), Scenario("none", {"n": -1}, False)))},
        "in the run 'none': attention.ipynb, cell draw, line 4: it raises",
    ),
    "a step that changes its input": (
        forward("z = y.exp()", "z = y.exp_()"),
        "cell forward, line 2: `z` changes `y` in place",
    ),
    "a random step": (
        forward("z = y.exp()", "z = y + torch.rand_like(y)"),
        "cell forward, line 2: `z` is another each time",
    ),
}


@pytest.mark.parametrize(("changed", "said"), FLAWS.values(), ids=FLAWS.keys())
def test_what_shows_only_in_a_second_draw_is_said_by_selfcheck(changed, said):
    assert any(said in str(flaw) for flaw in flaws(made(**changed), {}))


def test_a_sound_exercise_has_no_flaw_and_no_warning():
    assert [*flaws(made(), {}), *warnings(made(), {})] == []


def test_sizes_that_coincide_are_warned_of():
    found = [*warnings(made(parameters="seed = 1\nn = 4\nm = 4"), {})]
    assert found == ["`n` and `m` are both 4: shapes cannot tell them apart"]


def test_an_answer_in_which_nothing_can_be_got_wrong_is_warned_of():
    found = [*warnings(made(**forward("z = y.exp()", "z = y.round() + 0 * w")), {})]
    assert found == [
        "`dy` is 0 whatever comes from above: nothing in it can be got wrong",
        "`dx` is 0 whatever comes from above: nothing in it can be got wrong",
        "`dw` is 0 whatever comes from above: nothing in it can be got wrong",
    ]


def test_the_table_has_thirty_faults():
    assert len(REFUSED) + len(FLAWS) >= 30
