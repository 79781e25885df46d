"""The function of exercise 4 is judged step by step: one slip costs one gradient, and rubbish is not paid."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pool import Grader, grader

from handgrad.grading.selfcheck import edited

ROOT = Path(__file__).parents[1]
FOUR = "4_training"
SOURCE = json.loads((ROOT / "source" / "backprop" / f"{FOUR}.ipynb").read_text(encoding="utf-8"))
SOLUTION = next(
    "".join(cell["source"])
    for cell in SOURCE["cells"]
    if cell["metadata"].get("nbgrader", {}).get("grade_id") == "backward"
)
PAID = {"right", "right step"}


@pytest.fixture(scope="module")
def by() -> Iterator[Grader]:
    with grader(ROOT, "backprop", FOUR) as started:
        yield started


def found(by: Grader, *changes: tuple[str, str]) -> Mapping[str, object]:
    """The findings by variable, for the solution with some of its text changed."""
    code = SOLUTION
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    report = by.report({FOUR: edited(SOURCE, {"backward": code})})
    return {finding.name: finding for finding in report.findings}


def unpaid(findings) -> set[str]:
    return {name for name, one in findings.items() if str(one.verdict) not in PAID}


@pytest.mark.parametrize(
    ("name", "old", "new", "costs"),
    [
        ("dlogits", "    dlogits /= n\n", "", "dW2"),
        ("dh", "dh = dlogits", "dh = -dlogits", "dbngain"),
        ("dhpreact", "(1 - h**2)", "(1 + h**2)", "dbngain"),
        ("dhprebn", "- dbnbias / n", "+ dbnbias / n", "dW1"),
        ("dembcat", "dhprebn @ W1.T", "2 * dhprebn @ W1.T", "dC"),
        ("db2", "dlogits.sum(0)", "-dlogits.sum(0)", "db2"),
    ],
)
def test_a_slip_costs_one_gradient_and_what_follows_says_what_it_waits_for(
    by, name, old, new, costs
):
    findings = found(by, (old, new))
    assert unpaid(findings) == {costs, "trained", "lossi"}
    remarks = {note.code: note.parts for note in findings[costs].remarks}
    assert name == costs or remarks["slip_above"] == {"name": name}
    waiting = next(note for note in findings["trained"].remarks if note.code == "waits_for")
    assert costs in waiting.parts["names"].split(", ")


def test_a_name_left_over_from_another_exercise_costs_its_own_step_and_is_said(by):
    code = SOLUTION.replace("- dbnbias / n", "- dbnbias / n * bndiff")
    report = by.report({FOUR: edited(SOURCE, {"backward": code})})
    assert unpaid({one.name: one for one in report.findings}) == {"dW1", "trained", "lossi"}
    (note,) = (n for n in report.problems[FOUR] if n.code == "lecture_left_over")
    assert note.parts == {"used": "bndiff", "cell": "backward"}


def test_rubbish_on_the_way_leaves_only_the_honest_sums(by):
    findings = found(
        by,
        ("F.softmax(logits, 1)", "torch.ones_like(logits)"),
        ("dlogits @ W2.T", "torch.ones_like(h)"),
        ("(1 - h**2) * dh", "torch.ones_like(h)"),
        ("dhprebn = bngain", "dhprebn = 0 * bngain"),
        ("dhprebn @ W1.T", "torch.ones_like(embcat)"),
    )
    assert set(findings) - unpaid(findings) == {"db2", "dbnbias", "db1"}


def test_another_way_to_the_same_numbers_is_right_and_nobody_is_told_of_a_short_cut(by):
    findings = found(
        by,
        ("    dlogits /= n\n", ""),
        ("dlogits @ W2.T", "dlogits @ W2.T / n"),
        ("h.T @ dlogits", "h.T @ dlogits / n"),
        ("dlogits.sum(0)", "dlogits.sum(0) / n"),
    )
    assert {str(one.verdict) for one in findings.values()} == {"right"}
    assert not any(one.remarks for one in findings.values())
