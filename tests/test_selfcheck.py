"""The course checks itself: its own catalogue through the real sandbox and the real graders."""

import json
import shutil
from pathlib import Path

import pytest

from handgrad.errors import UserError
from handgrad.grading.selfcheck import Outcome, edited, matrix, selfcheck

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return list(selfcheck(ROOT, "backprop"))


def test_blank_earns_nothing_and_the_solution_everything(outcomes):
    assert [outcome.complaint for outcome in outcomes[:2]] == ["", ""]


def test_every_mistake_is_found_at_its_own_step_named_as_itself_and_costs_no_other(outcomes):
    slips = [outcome for outcome in outcomes if outcome.made]
    assert len(slips) >= 60
    assert [f"{o.label}: {o.complaint}" for o in slips if o.complaint] == []


def test_every_unusual_but_right_form_is_right(outcomes):
    forms = [outcome for outcome in outcomes[2:] if not outcome.made]
    assert len(forms) >= 25
    assert [f"{o.label}: {o.complaint}" for o in forms if o.complaint] == []


def test_right_and_wrong_lie_far_apart(outcomes):
    right = [o.error for o in outcomes if not o.made and o.error is not None]
    wrong = [o.error for o in outcomes if o.made and o.error and o.told != ("unspread",)]
    # 100 steps of training drift further than one gradient; their tolerance is their own.
    assert max(right) < 1e-4
    assert min(wrong) > 1e-3


def test_the_matrix_counts_every_mistake_once(outcomes):
    text = matrix(outcomes, "backprop")
    slips = [outcome for outcome in outcomes if outcome.made]
    assert f"wrong variations: {len(slips)}; found at their own step" in text


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
        "from handgrad.grading.selfcheck import Right, Slip\n"
        "WRONG = (Slip('3_batch_norm', 'dhprebn', 'dhprebn = -dhpreact', 'sign', {}),)\n"
        "RIGHT = (Right('3_batch_norm', 'nonsense', {'dhprebn': 'dhprebn = dhpreact'}),)\n"
    )
    complaints = [outcome.complaint for outcome in selfcheck(course, "backprop")]
    assert complaints[0] == ""
    assert "2_cross_entropy dlogits (wrong)" in complaints[1]
    assert "3_batch_norm dhprebn (wrong)" in complaints[2]
    assert "it was called" in complaints[3]


def test_an_unknown_cell_in_the_table_is_named():
    with pytest.raises(UserError, match="dnothing"):
        edited({"cells": []}, {"dnothing": "1"})
