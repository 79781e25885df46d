"""Each hand-in is graded with numbers that its code alone decides, and nobody can foretell."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from attacks.judgement import ZERO
from attacks.typed import SOURCE, draw_of, typed
from pool import Grader, grader

from demo.classroom import ONE
from handgrad.assignment.assignment import Assignment
from handgrad.doors.check import check
from handgrad.gradients.scenarios import DRAWS
from handgrad.notebooks.submission import read

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def assignment() -> Assignment:
    return Assignment.load(ROOT, "backprop").only(ONE)


@pytest.fixture(scope="module")
def by() -> Iterator[Grader]:
    with grader(ROOT, "backprop", ONE) as started:
        yield started


def test_numbers_of_one_hand_in_earn_nothing_in_another(assignment: Assignment, by: Grader) -> None:
    drawn: dict[int, bytes] = {}
    for nonce in range(200):
        data = typed(assignment, 3, nonce)
        drawn.setdefault(draw_of(assignment, data), data)
    known = by.report({ONE: drawn.pop(3)})
    assert known.points == known.max_points  # the table is one that would be paid
    assert len(drawn) >= 8
    for data in [*drawn.values()][:8]:
        paid = {one.name for one in by.report({ONE: data}).findings if one.points}
        assert paid <= {*ZERO}  # their true gradients are rounding noise, so any is right


def test_every_draw_is_used_and_the_same_code_has_the_same(assignment: Assignment) -> None:
    assert draw_of(assignment, typed(assignment, 1, 7)) == draw_of(
        assignment, typed(assignment, 1, 7)
    )
    prefix = read(SOURCE.read_bytes(), assignment.release[ONE], assignment.settings.limits)
    scenarios = assignment.judges[ONE].scenarios
    codes = (
        [replace(cell, source=f"{number}") for cell in prefix.cells[:3]] for number in range(400)
    )
    assert {scenarios.draw_of(cells) for cells in codes} == {*range(DRAWS)}
    seeds = {
        scenarios.drawn(draw).references[scenarios.own].parameters["seed"] for draw in range(DRAWS)
    }
    assert len(seeds) == DRAWS


def test_each_door_grades_a_file_with_the_same_numbers(by: Grader, tmp_path: Path) -> None:
    notebook = nbformat.read(SOURCE, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell("# a thought of my own"))
    data = nbformat.writes(notebook).encode()
    (tmp_path / f"{ONE}.ipynb").write_bytes(data)
    graded = {one.name: one.error for one in by.report({ONE: data}).findings}
    checked = check(tmp_path / f"{ONE}.ipynb", ROOT).report
    assert {one.name: one.error for one in checked.findings} == graded
    graders = str(ROOT / "graders" / "backprop" / "test_every_step.py")
    options = ("--submission", str(tmp_path), "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", graders, *options],
        capture_output=True,
        text=True,
        check=False,
    )
    for name, error in graded.items():
        assert f"{name:<16} right           error {error:.1e}" in done.stdout, done.stdout
