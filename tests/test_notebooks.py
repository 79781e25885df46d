"""The instructor's notebooks and the released ones, run from top to bottom in a real kernel."""

import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
POINTS = {"1_every_step": 60, "2_cross_entropy": 8, "3_batch_norm": 10, "4_training": 22}
GRADIENTS = {"1_every_step": 26, "2_cross_entropy": 1, "3_batch_norm": 1, "4_training": 9}

LECTURE_NAMES = 32033  # lines of the lecture's own names.txt


def ran(kind: str, stem: str, folder: Path, names: bytes | None = None) -> NotebookNode:
    """The notebook after a run in a folder that holds nothing but check.py and names.txt."""
    source = ROOT / kind / "backprop"
    shutil.copy(source / "check.py", folder)
    (folder / "names.txt").write_bytes(names or (source / "names.txt").read_bytes())
    notebook = nbformat.read(source / f"{stem}.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("max_steps = 5000", "max_steps = 300")
    NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()
    return notebook


def printed(notebook: NotebookNode, cell_id: str) -> str:
    """What one cell wrote, to either stream."""
    cell = next(cell for cell in notebook.cells if cell.id == cell_id)
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def lines(notebook: NotebookNode) -> list[str]:
    """The line of every test cell."""
    ids = [cell.id for cell in notebook.cells if cell.id.startswith("test_")]
    return [printed(notebook, cell_id) for cell_id in ids]


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], NotebookNode]:
    """A solved notebook after its run, by stem; each runs once."""
    return cache(lambda stem: ran("source", stem, tmp_path_factory.mktemp(stem)))


@pytest.mark.parametrize("stem", GRADIENTS)
def test_a_solved_notebook_runs_to_its_end_with_every_answer_right(
    stem: str, solved: Callable[[str], NotebookNode]
) -> None:
    notebook = solved(stem)
    said = lines(notebook)
    assert len(said) == GRADIENTS[stem]
    assert all(re.search(r"\| (exact|close): ", line) for line in said), said
    errors = [
        output.text
        for cell in notebook.cells
        if cell.cell_type == "code" and cell.id != "given_training"  # its progress bar is no error
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert not errors


@pytest.mark.parametrize("stem", GRADIENTS)
def test_an_untouched_notebook_runs_to_its_end_and_reads_not_attempted(
    stem: str, tmp_path: Path
) -> None:
    said = lines(ran("release", stem, tmp_path))
    assert len(said) == GRADIENTS[stem]
    assert all("not attempted" in line for line in said), said


@pytest.mark.parametrize("stem", GRADIENTS)
def test_the_points_of_each_exercise_are_as_announced(stem: str) -> None:
    notebook = nbformat.read(ROOT / "source" / "backprop" / f"{stem}.ipynb", as_version=4)
    points = [cell.metadata.get("nbgrader", {}).get("points", 0) for cell in notebook.cells]
    assert sum(points) == POINTS[stem]


def test_training_learns_and_makes_up_names(solved: Callable[[str], NotebookNode]) -> None:
    training = solved("4_training")
    losses = re.findall(r"(training|validation) +(\d+\.\d+)", printed(training, "given_losses"))
    assert [name for name, _ in losses] == ["training", "validation"]
    assert all(float(loss) < 2.8 for _, loss in losses)
    assert len(printed(training, "given_samples").split("\n")) == 21


def test_any_number_of_names_will_do(tmp_path: Path) -> None:
    names = (ROOT / "data" / "names.txt").read_bytes().split(b"\n")[:LECTURE_NAMES]
    notebook = ran("source", "1_every_step", tmp_path, names=b"\n".join(names))
    assert f"{LECTURE_NAMES} names" in printed(notebook, "given_words")
    assert "26 of 26 gradients right" in printed(notebook, "given_progress")


def test_a_missing_file_without_an_address_is_said_in_one_sentence(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "release" / "backprop" / "2_cross_entropy.ipynb", as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    notebook.cells = [first]
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": tmp_path}},
    )
    client.execute()
    (output,) = first.outputs
    assert output.evalue.startswith("check.py is not in the folder of this notebook. Put it there")


def test_files_are_fetched_from_the_one_address(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "release" / "backprop" / "2_cross_entropy.ipynb", as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    address = (ROOT / "release" / "backprop").as_uri()
    code = first.source.replace('COURSE_URL = ""', f'COURSE_URL = "{address}"')
    assert code != first.source
    first.source = code
    notebook.cells = [first]
    resources = {"metadata": {"path": tmp_path}}
    NotebookClient(notebook, kernel_name="python3", resources=resources).execute()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["check.py", "names.txt"]
