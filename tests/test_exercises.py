"""An exercise is its released notebook, read: steps, leaves, constants, draws and what is asked."""

import json
import os
import random
import shutil
import sys
from pathlib import Path

import attention
import pytest
import torch

from handgrad.assignment.assignment import Assignment
from handgrad.assignment.declared import Declared
from handgrad.errors import UserError
from handgrad.gradients.reference import Reference

ROOT = Path(__file__).parents[1]
NUMBERS = "seed = 1\nn = 4"
DRAW = "import torch\nx = torch.randn(n, generator=torch.Generator().manual_seed(seed)).requires_grad_()"


def read(forward: str, *variables: str):
    return attention.exercise(NUMBERS, DRAW, forward, list(variables))


def test_each_assignment_is_a_step_and_reads_what_its_line_reads():
    steps = attention.GRAPH.steps
    assert [step.name for step in steps][:3] == ["mean", "centred", "var"]
    assert {step.name: step.inputs for step in steps}["scores"] == ("q", "key")
    assert attention.GRAPH.leaves == ("x", "Wq", "Wk", "Wv")


def test_what_carries_no_gradient_is_a_constant():
    (draw,) = attention.EXERCISE.draw({"seed": 1}, {})
    assert draw.constants.eps == 1e-3
    assert draw.constants.target.dtype is torch.float64
    assert not {"x", "mean", "range"} & {*vars(draw.constants)}


def test_a_value_of_the_forward_cell_without_a_gradient_is_a_constant_too():
    made = read("mask = (x > 0).float()\ny = x * mask\nloss = y.sum()", "dy", "dx")
    assert [step.name for step in made.graph.steps] == ["y", "loss"]
    (draw,) = made.draw({"seed": 1}, {})
    assert set(draw.constants.mask.tolist()) <= {0.0, 1.0}


def test_what_is_asked_are_the_test_cells_in_their_order():
    assert read("y = x**2\nloss = y.sum()", "dx", "dy").gradients == ("x", "y")


def test_a_name_in_a_lambda_or_a_comprehension_is_read_and_its_own_is_not():
    made = read(
        "y = torch.stack([x[i] * n for i in range(n)])\nloss = (lambda v: v + y.sum())(0)", "dx"
    )
    assert [step.inputs for step in made.graph.steps] == [("x",), ("y",)]


def test_float32_made_in_a_step_meets_float64():
    made = read("y = torch.eye(n) @ x\nz = x.float() * y\nloss = z.sum()", "dy", "dx")
    reference = Reference(made, {"seed": 3}, {}, 1)
    assert {target.want.dtype for target in reference.targets.values()} == {torch.float64}


def test_each_call_of_a_given_function_before_the_first_test_cell_is_a_draw():
    exercise = Assignment.packaged("backprop").exercises["4_training"]
    assert [step.name for step in exercise.graph.steps][-2:] == ["logits", "loss"]
    assert len(exercise.draw({"seed": 1}, {})) == exercise.public["check_steps"]
    assert exercise.stacked


def test_running_the_given_cells_leaves_the_process_as_it_was(capsys):
    before = Path.cwd(), random.getstate(), torch.get_rng_state(), {*sys.path}
    exercise = Assignment.packaged("backprop").exercises["1_every_step"]
    exercise.draw({"seed": 5}, {})
    assert Path.cwd() == before[0]
    assert random.getstate() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert {*sys.path} == before[3]
    assert "check" not in sys.modules
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def course(tmp_path) -> Path:
    for folder in ("release", "graders"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("seed"))
    return tmp_path


def change(course: Path, stem: str, old: str, new: str) -> None:
    path = course / "release" / "backprop" / f"{stem}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"]).replace(old, new)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def test_a_changed_given_line_changes_the_graders_with_it_and_nothing_else_is_touched(course):
    def at(name: str) -> torch.Tensor:
        exercise = Assignment.load(course, "backprop").exercises["1_every_step"]
        return Reference(exercise, {"seed": 1}, {}, 1).targets[name].want

    before = at("dh")
    change(course, "1_every_step", "h = torch.tanh(hpreact)", "h = torch.sigmoid(hpreact)")
    change(course, "1_every_step", "* 0.1 + 1.0", "* 0.1 + 2.0")
    exercise = Assignment.load(course, "backprop").exercises["1_every_step"]
    (draw,) = exercise.draw(exercise.public, {})
    values = exercise.graph.forward(
        {name: leaf.double() for name, leaf in draw.leaves.items()}, draw.constants
    )
    assert torch.equal(values["h"], torch.sigmoid(values["hpreact"]))
    assert values["bngain"].mean() > 1.5
    assert not torch.equal(at("dh"), before)


def test_a_course_s_folder_may_be_named_from_where_one_is(course, monkeypatch):
    monkeypatch.chdir(course)
    assert Assignment.load(Path(os.curdir), "backprop").exercises["2_cross_entropy"].gradients == (
        "logits",
    )


TOML = {
    "an unknown notebook": ("[notebooks.5_nothing]", "no notebook of this name"),
    "runs that are no table": ("runs = 3", "cannot be read"),
    "a run without a name": ("runs = [{ n = 3 }]", "cannot be read"),
}


@pytest.mark.parametrize(("text", "said"), TOML.values(), ids=TOML.keys())
def test_what_is_said_of_hidden_runs_is_refused_where_it_makes_no_sense(tmp_path, text, said):
    (tmp_path / "assignment.toml").write_text(text)
    with pytest.raises(UserError, match=said):
        Declared.read(tmp_path / "assignment.toml", ["1_one"])


def test_without_a_table_two_runs_differ_in_their_seeds(tmp_path):
    declared = Declared.read(tmp_path / "assignment.toml", ["1_one"])["1_one"]
    assert [run.name for run in declared.runs] == ["first", "second"]
