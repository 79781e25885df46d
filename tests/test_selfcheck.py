"""The course checks itself: its own catalogue through the real sandbox and the real graders."""

import json
import shutil
from pathlib import Path

import pytest

from handgrad.errors import UserError
from handgrad.grading.matrix import matrix
from handgrad.grading.outcomes import Outcome
from handgrad.grading.selfcheck import edited, selfcheck

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return list(selfcheck(ROOT, "backprop"))


def complaints(outcomes: list[Outcome], *kinds: str) -> list[str]:
    return [f"{o.label}: {o.complaint}" for o in outcomes if o.kind in kinds and o.complaint]


def test_blank_earns_nothing_and_the_solution_everything(outcomes):
    labels = {outcome.label for outcome in outcomes}
    assert {"1_every_step untouched", "4_training the instructor's solution"} <= labels
    assert complaints(outcomes, "itself", "right") == []


def test_every_mistake_is_found_at_its_own_step_named_as_itself_and_costs_no_other(outcomes):
    assert sum(outcome.kind == "wrong" for outcome in outcomes) >= 60
    assert complaints(outcomes, "wrong") == []


def test_every_unusual_but_right_form_is_right(outcomes):
    assert sum(outcome.kind == "right" for outcome in outcomes) >= 25


def test_wrong_answers_made_of_the_solution_are_found_or_shown_to_change_no_number(outcomes):
    assert sum(outcome.kind == "mutant" for outcome in outcomes) >= 100
    assert complaints(outcomes, "mutant") == []


def test_right_and_wrong_lie_far_apart(outcomes):
    right = [o.error for o in outcomes if o.kind == "right" and o.error is not None]
    wrong = [o.error for o in outcomes if o.kind == "wrong" and o.error and o.told != ("unspread",)]
    # 100 steps of training drift further than one gradient; their tolerance is their own.
    assert max(right) < 1e-4
    assert min(wrong) > 1e-3


def test_the_matrix_counts_every_mistake_once(outcomes):
    text = matrix(outcomes, "backprop")
    wrong = [outcome for outcome in outcomes if outcome.kind == "wrong"]
    assert f"wrong variations: {len(wrong)}; found at their own step" in text


@pytest.fixture
def course(tmp_path) -> Path:
    for folder in ("source", "release", "graders"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("seed"))
    return tmp_path


def test_a_wrong_solution_and_a_wrong_row_of_the_table_are_complained_of(course):
    notebook = course / "source" / "backprop" / "2_cross_entropy.ipynb"
    source = json.loads(notebook.read_text(encoding="utf-8"))
    notebook.write_bytes(edited(source, {"dlogits": "dlogits = F.softmax(logits, 1)"}))
    (course / "graders" / "backprop" / "variations.py").write_text(
        "from handgrad.grading.variations import Right, Slip\n"
        "WRONG = (Slip('3_batch_norm', 'dhprebn', 'dhprebn = -dhpreact', 'sign', {}),)\n"
        "RIGHT = (Right('3_batch_norm', 'nonsense', {'dhprebn': 'dhprebn = dhpreact'}),)\n"
    )
    said = {o.label: o.complaint for o in selfcheck(course, "backprop", mutated=False)}
    assert said["2_cross_entropy untouched"] == ""
    assert "dlogits (wrong)" in said["2_cross_entropy the instructor's solution"]
    assert "3_batch_norm dhprebn (wrong)" in said["3_batch_norm nonsense"]
    assert "it was called" in said["dhprebn sign"]


def test_an_unknown_cell_in_the_table_is_named():
    with pytest.raises(UserError, match="dnothing"):
        edited({"cells": []}, {"dnothing": "1"})
