"""Rubbish earns nothing: whatever is put in the place of some answers, only the honest ones are paid.

HANDGRAD_RUBBISH=500 tries 500 notebooks in the place of 100.
"""

import json
import os
import random
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from attacks.judgement import ALL, ZERO
from pool import Grader, grader

from handgrad.assignment.assignment import Assignment
from handgrad.grading.selfcheck import edited

ONE = "1_every_step"
ROOT = Path(__file__).parents[1]
TRIED = range(int(os.environ.get("HANDGRAD_RUBBISH", "100")))
AT_ONCE = 25
RUBBISH = {
    "ones": "torch.ones_like({x})",
    "zeros": "torch.zeros_like({x})",
    "noise": "torch.randn({x}.shape)",
    "a constant": "torch.full_like({x}, 0.5)",
    "the upstream": "{up}.detach().flatten().repeat({x}.numel())[:{x}.numel()].view({x}.shape)",
}
# What a gradient may be changed by where it is run alone, so that something below it fits anything.
CHOICES = (
    "{d}[0] += 1e30; {d}[-1] -= 1e30",
    "{d} -= {d}.mean(0)",
    "{d} -= {d}.mean(-1, keepdim=True)",
    "{d}.zero_()",
    "{d}.fill_(1)",
    "{d} *= 1e-30",
)
# The upstream gradient is, or in the chain cannot be told from, the right answer, or zero below zeros.
FITS = {"demb", "dlogits", *ZERO}


@pytest.fixture(scope="module")
def assignment() -> Assignment:
    return Assignment.packaged("backprop").only(ONE)


@pytest.fixture(scope="module")
def by() -> Iterator[Grader]:
    with grader(ROOT, "backprop", ONE) as started:
        yield started


@pytest.fixture(scope="module")
def source() -> Mapping[str, object]:
    return dict(json.loads((ROOT / "source" / "backprop" / f"{ONE}.ipynb").read_text()))


def solution(source) -> dict[str, str]:
    """The instructor's code by variable."""
    found = {cell["metadata"].get("nbgrader", {}).get("grade_id"): cell for cell in source["cells"]}
    return {name: "".join(found[name]["source"]) for name in ALL}


class Notebook:
    """One notebook with rubbish in it; `bad` are its rubbish answers, `cells` its code."""

    def __init__(self, number: int, right: Mapping[str, str], assignment: Assignment) -> None:
        rng = random.Random(number)
        consumers = assignment.exercises[ONE].graph.consumers
        self.bad = {
            name: rng.choice(
                [kind for kind in RUBBISH if kind != "the upstream" or name not in FITS]
            )
            for name in rng.sample(ALL, rng.randint(1, len(ALL)))
        }
        mine = ""
        lines: dict[str, str] = {}
        for name in ALL:
            x = name[1:]
            above = consumers[x][-1].name
            if name in self.bad:
                up = x if above == "loss" else f"d{above}"
                lines[name] = f"{name} = {RUBBISH[self.bad[name]].format(x=x, up=up)}"
            else:
                lines[name] = right[name]
                if mine and rng.random() < 0.5:
                    lines[name] += f"\nif {mine} is not kept:\n    "
                    lines[name] += rng.choice(CHOICES).format(d=name)
            if not mine:
                mine = name
                lines[name] += f"\nkept = {name} = {name} + 0"
        self.cells = {"cells": lines, "cell": _together(lines), "function": _function(lines)}[
            rng.choice(("cells", "cell", "function"))
        ]

    def earns_nothing(self, name: str) -> bool:
        return name in self.bad and not (name in ZERO and self.bad[name] == "zeros")


def _together(lines: Mapping[str, str]) -> dict[str, str]:
    first, *others = lines
    return {first: "\n".join(lines.values()), **dict.fromkeys(others, "pass")}


def _function(lines: Mapping[str, str]) -> dict[str, str]:
    body = textwrap.indent("\n".join(lines.values()), "    ")
    names = ", ".join(lines)
    first, *others = lines
    made = f"def everything():\n{body}\n    return {names}\n{names} = everything()"
    return {first: made, **dict.fromkeys(others, "pass")}


@pytest.mark.parametrize(
    "numbers",
    [TRIED[at : at + AT_ONCE] for at in range(0, len(TRIED), AT_ONCE)],
    ids=lambda numbers: f"{numbers[0]}-{numbers[-1]}",
)
def test_only_the_honest_part_is_paid(numbers, assignment, by, source):
    right = solution(source)
    for number in numbers:
        notebook = Notebook(number, right, assignment)
        report = by.report({ONE: edited(source, notebook.cells)})
        paid = {f.name: f.points for f in report.findings if f.points}
        unearned = {name: notebook.bad[name] for name in paid if notebook.earns_nothing(name)}
        assert not unearned, f"notebook {number}"
        assert len(report.findings) == len(ALL)


def test_the_same_arrangements_without_rubbish_are_paid_in_full(assignment, by, source):
    right = solution(source)
    for cells in (right, _together(right), _function(right)):
        report = by.report({ONE: edited(source, cells)})
        assert report.points == report.max_points
