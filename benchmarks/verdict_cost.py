"""What judging costs: one notebook with every gradient wrong, against the same notebook merely run.

    python benchmarks/verdict_cost.py [--rounds N]

Prints core-seconds (user and system, of this process, its worker and all their children) a submission:
the notebook run once, as the student would; all hidden runs, verdicts and diagnoses of the right one; the
same with every gradient wrong. The last line is what grading the worst case adds to running it.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nbformat
import psutil

from demo.classroom import solutions
from handgrad.assignment.assignment import Assignment
from handgrad.grading.pipeline import Pipeline, with_pipeline
from handgrad.grading.selfcheck import edited
from handgrad.notebooks.intake import Submission
from handgrad.notebooks.submission import prefix, read
from handgrad.plan import PUBLIC, Cell
from handgrad.sandbox.execute import Executor

ROOT = Path(__file__).resolve().parents[1]
STEM = "1_every_step"


def core_seconds() -> float:
    """Used so far by this process and everything below it."""
    me = psutil.Process(os.getpid())
    total = sum(os.times()[:2])
    for process in me.children(recursive=True):
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def measured(what: Callable[[], object], rounds: int) -> float:
    """The median of the core-seconds that one call takes; the first call is not counted."""
    what()
    spent = []
    for _ in range(rounds):
        before = core_seconds()
        what()
        spent.append(core_seconds() - before)
    return statistics.median(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    rounds = parser.parse_args().rounds
    assignment = Assignment.load(ROOT, "backprop").only(STEM)
    source = json.loads((ROOT / "source" / "backprop" / f"{STEM}.ipynb").read_text("utf-8"))
    answers = solutions(nbformat.read(ROOT / "source/backprop" / f"{STEM}.ipynb", as_version=4))
    graded = {g: code for g, code in answers.items() if f"test_{g}" in assignment.points(STEM)}
    right = {STEM: edited(source, {})}
    wrong = {STEM: edited(source, {g: f"{code}\n{g} = {g} ** 3 + 1" for g, code in graded.items()})}

    def both(pipeline: Pipeline) -> tuple[float, float]:
        report = pipeline.grade("wrong", Submission(wrong, {})).report
        assert {finding.verdict.value for finding in report.findings} == {"wrong"}
        return (
            measured(lambda: pipeline.grade("right", Submission(right, {})), rounds),
            measured(lambda: pipeline.grade("wrong", Submission(wrong, {})), rounds),
        )

    all_right, all_wrong = with_pipeline(assignment, both)
    alone = once(assignment, read(right[STEM], assignment.release[STEM]).cells, rounds)
    print(f"run once                         {alone:.3f} core-seconds")
    print(f"graded, every gradient right     {all_right:.3f}")
    print(f"graded, every gradient wrong     {all_wrong:.3f}")
    print(f"what grading the worst case adds {all_wrong - alone:.3f}")


def once(assignment: Assignment, cells: tuple[Cell, ...], rounds: int) -> float:
    """One run of the notebook on its own parameters, nothing graded."""
    plan = assignment.plans[STEM]
    only_public = replace(plan, runs=tuple(run for run in plan.runs if run.key == PUBLIC))
    with Executor(
        assignment.files,
        {STEM: only_public},
        {STEM: prefix(assignment.release[STEM])},
        assignment.settings.limits,
    ) as running:
        return measured(lambda: running.run({STEM: cells}), rounds)


if __name__ == "__main__":
    main()
