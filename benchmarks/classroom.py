"""A course for measuring: a class in the proportions of a real one, and the same for stock nbgrader."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat

from demo.classroom import CLASS, Course

ROOT = Path(__file__).resolve().parents[1]
ASSIGNMENT = "backprop"
STEMS = ("1_every_step", "2_cross_entropy", "3_batch_norm", "4_training")

# How many of a hundred hand in what: kind, then the demonstration class's student.
PROPORTIONS = {
    "right": {"perfect": 33, "closed_form": 4, "no_keepdim": 8},
    "wrong": {"forgot_a_branch": 10, "bessel": 8, "two_mistakes": 8, "unspread": 6},
    "unfinished": {"half_done": 6, "skipped_steps": 3},
    "blank": {"blank": 7},
    "raising": {"unfinished_line": 6},
    "looping": {"endless_loop": 1},
}


def hundred() -> list[str]:
    """A hundred students of the demonstration class, in an order that is always the same."""
    names = [
        name for kind in PROPORTIONS.values() for name, many in kind.items() for _ in range(many)
    ]
    random.Random(42).shuffle(names)
    return names


def submissions(count: int) -> Iterator[tuple[str, str]]:
    """Student ids, and whose work each of them hands in."""
    names = hundred()
    for number in range(count):
        yield f"s{number:06}", names[number % len(names)]


def files_of(root: Path, student: str) -> dict[str, bytes]:
    """The notebooks of a student of the demonstration class, by stem."""
    notebooks = CLASS[student].notebooks(Course.read(root, ASSIGNMENT))
    return {stem: nbformat.writes(notebook).encode() for stem, notebook in notebooks.items()}


def empty(root: Path) -> None:
    """This repository's course without its submissions; its hidden seed is always the same."""
    ignore = shutil.ignore_patterns("seed", "__pycache__", ".ipynb_checkpoints")
    for name in ("source", "graders", "data"):
        shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=ignore)
    (root / "graders" / ASSIGNMENT / "seed").write_text("5eed" * 8)
    shutil.copy(ROOT / "nbgrader_config.py", root)


def generate(root: Path) -> None:
    """The release and the gradebook, by nbgrader."""
    subprocess.run(
        [Path(sys.executable).with_name("nbgrader"), "generate_assignment", ASSIGNMENT, "--force"],
        cwd=root,
        check=True,
        capture_output=True,
    )


def fill(root: Path, count: int) -> None:
    """Put `count` submissions into the course; no two of them hold the same bytes."""
    made = {name: files_of(root, name) for name in sorted({n for _, n in submissions(count)})}
    for student, name in submissions(count):
        folder = root / "submitted" / student / ASSIGNMENT
        folder.mkdir(parents=True)
        for stem, data in made[name].items():
            (folder / f"{stem}.ipynb").write_bytes(_signed(data, student))


def _signed(data: bytes, student: str) -> bytes:
    """The notebook with a cell of the student's own at its end."""
    notebook = json.loads(data)
    notebook["cells"].append(
        {"cell_type": "markdown", "id": "signature", "metadata": {}, "source": f"By {student}."}
    )
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True).encode()


# --------------------------------------------------------------------------------------------- stock

_CONFIG = """
c = get_config()
c.CourseDirectory.course_id = "stock"
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE"}
c.ClearSolutions.text_stub = "YOUR ANSWER HERE"
"""
# The chain's verdict on the notebook's own seed; nbgrader pays for a cell that does not raise.
_HIDDEN = """
### BEGIN HIDDEN TESTS
_got, _want = {got}, {want}
assert _got is not None and _got.numel() == _want.numel(), "shape"
_error = (_got.double().reshape(_want.shape) - _want.double()).abs().max()
assert _error <= {tolerance} * max(float(_want.abs().max()), 1e-2), float(_error)
### END HIDDEN TESTS
"""


def make_stock(root: Path, like: Path, students: list[str]) -> None:
    """The same course for nbgrader as it comes: hidden tests in the notebooks, run in their kernels.

    The long training for pictures, which the sandbox leaves out, is cut down to ten steps.
    """
    empty(root)
    (root / "nbgrader_config.py").write_text(_CONFIG)
    shutil.rmtree(root / "graders")
    for path in (root / "source" / ASSIGNMENT).glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            _with_hidden_tests(cell)
        nbformat.write(notebook, path)
    generate(root)
    for student in students:
        shutil.copytree(like / "submitted" / student, root / "submitted" / student)


def _with_hidden_tests(cell: nbformat.NotebookNode) -> None:
    grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
    if "parameters" in cell.metadata.get("tags", []):
        cell.source = cell.source.replace("max_steps = 5000", "max_steps = 10")
    if cell.cell_type != "code" or not grade_id.startswith("test_"):
        return
    name = grade_id.removeprefix("test_")
    if name in ("trained", "lossi"):
        cell.source += _HIDDEN.format(got=name, want=f"twin_{name}", tolerance=1e-3)
    else:
        name = name.removeprefix("d")
        cell.source += _HIDDEN.format(got=f"d{name}", want=f"{name}.grad", tolerance=1e-5)
