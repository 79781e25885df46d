"""Each statement is judged at the random gradients of the run alone, wherever it stands."""

import ast
from collections.abc import Iterator

import pytest
import torch
from jailed import GIVEN, LIMITS, REPLACED, answer, cell, cells, executor, play, printed, values

from handgrad.jailed.cellcode import compiled
from handgrad.jailed.placing import place
from handgrad.plan import Cell, Plan, Run
from handgrad.sandbox.execute import Executor

ASKED = frozenset({"dx", "dy"})


@pytest.fixture(scope="module")
def jail() -> Iterator[Executor]:
    with executor() as started:
        yield started


WAYS = {
    "in one cell": "dy = 2 * y\ndx = dy * 1",
    "on one line": "dy = 2 * y; dx = dy * 1",
    "at once": "dy, other = 2 * y, 0\ndx, other = dy * 1, 0",
    "changed in place": "dy = y.clone()\ndy *= 2\ndx = dy * 1",
    "by a method": "dy = y.clone()\ndy.mul_(2)\ndx = dy * 1",
    "through another name": "dy = y.clone()\nit = dy\nit.mul_(2)\ndx = dy * 1",
    "through its numbers": "dy = y.clone()\nit = dy\nit.data.mul_(2)\ndx = dy * 1",
    "written out": "dy = torch.empty_like(y)\ntorch.mul(y, 2, out=dy)\ndx = dy * 1",
    "under with": "with torch.no_grad():\n    dy = 2 * y\n    dx = dy * 1",
    "under if": "if n:\n    dy = 2 * y\n    dx = dy * 1\nelse:\n    dy = dx = None",
    "under try": "try:\n    dy = 2 * y\n    dx = dy * 1\nfinally:\n    pass",
    "in a loop": "for _ in range(3):\n    dy = 2 * y\n    dx = dy * 1",
    "row by row": "dy = torch.zeros_like(y)\nfor i in range(n):\n    dy[i] = 2 * y[i]\ndx = dy * 1",
    "in a function": "def both():\n    dy = 2 * y\n    dx = dy * 1\n    return dy, dx\ndy, dx = both()",
    "as a dictionary": "def both():\n    dy = 2 * y\n    dx = dy * 1\n    return {'dy': dy, 'dx': dx}\n"
    "dy, dx = both().values()",
    "into globals": "def both():\n    dy = 2 * y\n    dx = dy * 1\n    return locals()\n"
    "globals().update(both())",
    "under global": "def both():\n    global dy, dx\n    dy = 2 * y\n    dx = dy * 1\nboth()",
    "finished outside": "def both():\n    dy = 2 * y\n    dx = dy * 1\n    return dy, dx\n"
    "dy, dx = both()\ndy = dy.clone()",
    "one call each": "def both():\n    dy = 2 * y\n    dx = dy * 1\n    return dy, dx\n"
    "dy = both()[0]\ndx = both()[1]",
    "in a nested loop": "def both():\n    for _ in range(2):\n        with torch.no_grad():\n"
    "            dy = 2 * y\n            dx = dy * 1\n    return dy, dx\ndy, dx = both()",
}


@pytest.mark.parametrize("code", WAYS.values(), ids=WAYS.keys())
def test_a_later_statement_meets_the_replacement(jail: Executor, code: str) -> None:
    evidence = play(jail, cells(dy=code, dx="pass"))
    for run, seed in (("chain", 5), ("alone", 6)):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(answer(evidence, "dy", run).tensor, 2 * x.tanh())
    assert values(evidence, "dx", "alone") == REPLACED.flatten().tolist()


def test_a_gradient_made_in_an_earlier_cell_is_exchanged_there(jail: Executor) -> None:
    made = cells("dy = 2 * y", "dx = seen")
    evidence = play(jail, (*made[:4], Cell(10, "", "other", "seen = dy * 1"), *made[4:]))
    assert values(evidence, "dx", "alone") == REPLACED.flatten().tolist()


def test_a_chain_of_nan_is_tapped_where_it_was_made_beside_a_look_through_its_numbers(
    jail: Executor,
) -> None:
    evidence = play(jail, cells(dy="dy = y * float('nan')\ny.data.size()\ndx = dy * 1", dx="pass"))
    assert values(evidence, "dx", "alone") == REPLACED.flatten().tolist()


def test_what_the_chain_never_reached_is_tapped_by_its_text(jail: Executor) -> None:
    broken = "if seed == 5: raise ValueError\ndy = 2 * y\ndx = dy * 1"
    evidence = play(jail, cells(dy=broken, dx="pass"))
    assert answer(evidence, "dy").kind == "missing"
    assert values(evidence, "dx", "alone") == REPLACED.flatten().tolist()


FINISHED_BY = {
    "a last expression": "dx = torch.zeros_like(dy)\ndx.add_(dy)",
    "a statement": "dx = torch.zeros_like(dy)\ndx += dy",
}


@pytest.mark.parametrize("code", FINISHED_BY.values(), ids=FINISHED_BY)
@pytest.mark.parametrize("closely", ["", "; globals()"], ids=["", "watched closely"])
def test_what_an_error_left_half_made_in_the_chain_is_tapped_where_it_is_whole(
    jail: Executor, code: str, closely: str
) -> None:
    first = f"dy = 2 * y if seed != 5 else None{closely}"
    broken = code.replace("zeros_like(dy)", "zeros_like(x)")
    evidence = play(jail, cells(dy=first, dx=broken))
    assert cell(evidence, 12, "chain").status == "raised"
    assert values(evidence, "dx", "alone") == REPLACED.flatten().tolist()


BELOW_ZEROS = {
    "changed in place": "dy += above",
    "bound again": "dy = dy + above",
    "row by row": "dx = dy * 0\nfor i in range(n):\n    dy[i] += above[i]\n    dx[i] += 0",
}


@pytest.mark.parametrize("code", BELOW_ZEROS.values(), ids=BELOW_ZEROS)
def test_below_zeros_a_gradient_is_tapped_where_it_is_whole(jail: Executor, code: str) -> None:
    """Where a mistake above leaves zeros, what finishes a gradient does not change its value."""
    above = "above = 2 * y * (seed != 5)\ndy = torch.zeros_like(y)\n"
    evidence = play(jail, cells(dy=f"{above}{code}\ndx = dy * 1", dx="pass"))
    assert not any(values(evidence, "dy", "chain"))
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(answer(evidence, "dy", "alone").tensor, 2 * x.tanh())
    assert values(evidence, "dx", "alone") == REPLACED.flatten().tolist()


def test_the_value_that_stands_at_the_check_is_the_one_that_counts(jail: Executor) -> None:
    evidence = play(jail, cells(dy="dy = 2 * y; dx = dy * 1; dy = dy * 0"))
    assert not any(values(evidence, "dy", "chain"))
    assert not any(values(evidence, "dy", "alone"))


def test_a_process_that_died_watches_the_chain_once_more(jail: Executor) -> None:
    dies = "import os\nif seed == 6: os._exit(1)"
    evidence = play(jail, cells(WAYS["in one cell"], "pass", dies))
    assert evidence.trouble is None
    assert values(evidence, "dx", "alone") == REPLACED.flatten().tolist()


def test_tracebacks_keep_the_students_own_lines(jail: Executor) -> None:
    code = (
        "def both():\n    dy = 2 * y\n    dx = dy * 1\n    return dy, dx, missing\ndy, dx = both()"
    )
    evidence = play(jail, cells(dy=code))
    (shown,) = (o for o in cell(evidence, 10).outputs if o["output_type"] == "error")
    trace = "\n".join(map(str, shown["traceback"]))
    assert "return dy, dx, missing" in trace
    assert "4" in trace
    assert "__tap__" not in trace


def test_a_cell_that_is_not_run_alone_prints_what_it_prints(jail: Executor) -> None:
    assert printed(play(jail, cells("dy = 2 * y; print('a'); dx = dy; print('b')"))) == "a\nb\n"


STACKED = Plan(
    "notebook",
    (
        Run("chain", {"seed": 5}),
        Run("alone", {"seed": 5}, {"dy": torch.ones(3, 4, 3) * torch.arange(3.0).view(3, 1, 1)}),
        Run("display", display=True),
    ),
    {"test_dx": ("dx",)},
)
CALLS = "dx = torch.stack([backward(x * k) for k in (1.0, 2.0, 3.0)])"


def test_a_function_called_at_several_draws_is_judged_at_each() -> None:
    backward = "def backward(x):\n    dy = -x\n    dx = 2 * dy\n    return dx"
    notebook = (
        *GIVEN,
        Cell(10, "backward", "answer", backward),
        Cell(11, "", "given", CALLS),
        Cell(12, "test_dx", "test", ""),
    )
    with executor(LIMITS, STACKED) as jail:
        evidence = play(jail, notebook)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(5))
    draws = torch.stack([x, 2 * x, 3 * x])
    torch.testing.assert_close(answer(evidence, "dx").tensor, -2 * draws)
    torch.testing.assert_close(answer(evidence, "dy", "alone").tensor, -draws)
    assert values(evidence, "dx", "alone") == [0.0] * 12 + [2.0] * 12 + [4.0] * 12


UNTAPPED = {
    "its own only": "dy = 2 * y\ndy += 1\nprint(dy)",
    "none": "import torch\nz = 3",
    "a function of one": "def f():\n    dy = 2 * y\n    return dy",
    "a local of another scope": "z = [dx for dx in range(3)]\nf = lambda: (dx := 3)",
}


@pytest.mark.parametrize("code", UNTAPPED.values(), ids=UNTAPPED.keys())
def test_a_cell_with_one_answer_is_left_as_it_is(code: str) -> None:
    assert compiled(Cell(0, "dy", "answer", code), ASKED).taps == ()


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    dy[0] = dx[0] = 1",
        "def f(dx):\n    dx[0] = 1\n    dy[0] = 2",
        "class A:\n    dx = dy = 1",
    ],
    ids=["variables of the notebook", "one of them its own", "a class"],
)
def test_no_tap_makes_a_name_local_to_a_function(code: str) -> None:
    body = ast.parse(code).body
    assert place(body, None, 0, "", ASKED, False) == ()
    assert ast.unparse(body) == ast.unparse(ast.parse(code).body)
