"""Runs answers that this test suite wrote, as a notebook would, and hands the evidence to a judge."""

from collections.abc import Mapping

import torch

from handgrad.evidence import Answer, CellResult, Evidence, RunResult
from handgrad.gradients.judge import Judge
from handgrad.gradients.lookup import Answers
from handgrad.plan import Cell, Run
from handgrad.verdict import Finding, Gradient


def judged(judge: Judge, answers: Mapping[str, str]) -> dict[str, Finding]:
    """The findings on `answers`, a point each: code by variable, run in this process in its order."""
    cells = [
        cell
        for number, (variable, code) in enumerate(answers.items())
        for cell in (
            Cell(2 * number, variable, "answer", code),
            Cell(2 * number + 1, f"test_{variable}", "test", ""),
        )
    ]
    scenarios = judge.scenarios
    runs = {run.key: _run(judge, run, cells) for run in scenarios.plan({}).runs if not run.display}
    return findings(judge, Answers(Evidence(scenarios.notebook, runs), cells))


def findings(judge: Judge, answers: Answers) -> dict[str, Finding]:
    """What is found of every gradient, by variable."""
    return {
        variable: judge.finding(
            Gradient(judge.scenarios.notebook, variable, step, f"test_{variable}"), answers
        )
        for variable, step in judge.scenarios.steps.items()
    }


def _run(judge: Judge, run: Run, cells: list[Cell]) -> RunResult:
    exercise = judge.scenarios.exercise
    (draw,) = exercise.draw({**exercise.public, **run.parameters}, {})
    leaves = {name: leaf.double() for name, leaf in draw.leaves.items()}
    given = {**exercise.graph.forward(leaves, draw.constants), **vars(draw.constants)}
    namespace: dict[str, object] = {"torch": torch, **_copies(given)}
    replaced: dict[str, torch.Tensor] = {}
    results, taken = [], {}
    for cell in cells:
        if cell.kind == "answer":
            try:
                exec(cell.source, namespace)  # our own text, from a table in the tests
                results.append(CellResult(cell.index, "ok"))
            except Exception as error:
                results.append(CellResult(cell.index, "raised", type(error).__name__, str(error)))
            if run.restore:
                namespace.update(_copies(given))
                namespace.update(_copies(replaced))
            continue
        variable = cell.grade_id.removeprefix("test_")
        value = namespace.get(variable)
        taken[variable] = (
            Answer("tensor", value.clone())
            if isinstance(value, torch.Tensor)
            else Answer("missing")
        )
        if variable in run.replace:
            replaced[variable] = run.replace[variable]
            namespace[variable] = run.replace[variable].clone()
    return RunResult(run.key, tuple(results), taken)


def _copies(values: Mapping[str, object]) -> dict[str, object]:
    """Tensors anew, those of floats in float32 as a notebook has them."""
    return {k: _copy(v) if isinstance(v, torch.Tensor) else v for k, v in values.items()}


def _copy(value: torch.Tensor) -> torch.Tensor:
    return (value.float() if value.is_floating_point() else value).clone()
