"""The demonstration class: every edit does what its name says, and nothing is stored."""

import ast
import json
from pathlib import Path

import nbformat
import pytest

from demo.classroom import CLASS, ONE, PASTED, TWO, Course, edited, make, pasted, solutions

ROOT = Path(__file__).parents[1]
STEMS = ["1_every_step", "2_cross_entropy", "3_batch_norm", "4_training"]


@pytest.fixture(scope="module")
def course() -> Course:
    return Course.read(ROOT, "backprop")


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The class's submissions, written twice: the second time over the first."""
    into = tmp_path_factory.mktemp("a class")
    make(ROOT, "backprop", into)
    make(ROOT, "backprop", into)
    return into


def test_everyone_hands_in_a_folder_with_the_released_files(submitted: Path) -> None:
    assert sorted(p.name for p in submitted.iterdir()) == sorted(CLASS)
    for name in CLASS:
        files = {p.name for p in (submitted / name / "backprop").iterdir()}
        assert {"check.py", "names.txt"} < files
        assert len([f for f in files if f.endswith(".ipynb")]) == 4


def test_the_perfect_student_has_every_solution_and_no_mark_of_the_instructor(
    submitted: Path, course: Course
) -> None:
    for stem in STEMS:
        path = submitted / "perfect" / "backprop" / f"{stem}.ipynb"
        assert "BEGIN SOLUTION" not in path.read_text(encoding="utf-8")
        assert solutions(nbformat.read(path, as_version=4)) == solutions(course.source[stem])


def test_the_blank_student_hands_in_the_release(submitted: Path) -> None:
    for stem in STEMS:
        got = (submitted / "blank" / "backprop" / f"{stem}.ipynb").read_bytes()
        assert got == (ROOT / "release" / "backprop" / f"{stem}.ipynb").read_bytes()


@pytest.mark.parametrize("name", [n for n in CLASS if CLASS[n].solved and not CLASS[n].accident])
def test_a_student_changes_answers_only(name: str, course: Course) -> None:
    student = CLASS[name]
    wanted = student.computed(course) if student.computed else student.answers
    for stem, notebook in student.notebooks(course).items():
        changed = {
            before.metadata.nbgrader.grade_id
            for before, after in zip(course.solved(stem).cells, notebook.cells, strict=True)
            if before.source != after.source
        }
        assert changed == set(wanted.get(stem, {}))
        for cell in notebook.cells:
            if cell.id in changed:
                assert cell.metadata.nbgrader.solution


def test_pasted_numbers_are_the_public_seeds(course: Course) -> None:
    answers = pasted(course)[ONE]
    assert tuple(answers) == PASTED
    (call,) = [
        node for node in ast.walk(ast.parse(answers["dlogits"])) if isinstance(node, ast.Call)
    ]
    rows = ast.literal_eval(call.args[0])
    assert [len(rows), len(rows[0])] == [32, 27]
    assert all(abs(sum(row)) < 1e-6 for row in rows)


def test_accidents_leave_what_they_say(submitted: Path) -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads((submitted / "broken_json" / "backprop" / "4_training.ipynb").read_text("utf-8"))
    assert not (submitted / "renamed_notebook" / "backprop" / f"{TWO}.ipynb").exists()
    path = submitted / "deleted_cell" / "backprop" / f"{ONE}.ipynb"
    left = {cell.id for cell in nbformat.read(path, as_version=4).cells}
    assert not left & {"dW1", "test_db1", "given_forward"}


def test_an_edit_of_a_cell_that_is_not_there_is_refused(course: Course) -> None:
    with pytest.raises(KeyError, match="dlogit"):
        edited(course.release[TWO], {"dlogit": "dlogit = 0"})
