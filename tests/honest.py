"""Honest students with right answers in unlucky files: each entry is one thing that happens to people."""

import shutil
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from demo.classroom import FOUR, ONE, THREE, TWO

Edit = Callable[[NotebookNode], None]


def grade_id(cell: NotebookNode) -> str:
    found: str = cell.metadata.get("nbgrader", {}).get("grade_id", "")
    return found


def at(notebook: NotebookNode, name: str) -> int:
    """The place of the cell with this grade id."""
    return [grade_id(cell) for cell in notebook.cells].index(name)


def is_answer(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and bool(cell.metadata.get("nbgrader", {}).get("solution"))


def own(source: str) -> NotebookNode:
    return nbformat.v4.new_code_cell(source)


# ---------------------------------------------------------------------------- edits of a notebook


def put(source: str, before: str) -> Edit:
    """A cell of the student's own above another."""
    return lambda notebook: notebook.cells.insert(at(notebook, before), own(source))


def on_top(source: str) -> Edit:
    return lambda notebook: notebook.cells.insert(0, own(source))


def retyped(notebook: NotebookNode) -> None:
    """An answer cell deleted, and its answer typed into a fresh cell at its place."""
    place = at(notebook, "dlogits")
    notebook.cells[place] = own(notebook.cells[place].source)


def merged(notebook: NotebookNode) -> None:
    """Two answers in one cell, the second cell gone."""
    second = notebook.cells.pop(at(notebook, "db2"))
    notebook.cells[at(notebook, "dW2")].source += "\n" + second.source


def in_one(notebook: NotebookNode) -> None:
    """All answers in the first answer cell."""
    answers = [cell for cell in notebook.cells if is_answer(cell)]
    answers[0].source = "\n".join(cell.source for cell in answers)
    gone = {cell.id for cell in answers[1:]}
    notebook.cells = [cell for cell in notebook.cells if cell.id not in gone]


def in_one_below(notebook: NotebookNode) -> None:
    """All answers in a last cell, below all tests."""
    in_one(notebook)
    notebook.cells.append(own(notebook.cells.pop(_first_answer(notebook)).source))


def _first_answer(notebook: NotebookNode) -> int:
    return [is_answer(cell) for cell in notebook.cells].index(True)


def in_the_test_cell(notebook: NotebookNode) -> None:
    """An answer typed into the test cell, above the check."""
    answer = notebook.cells.pop(at(notebook, "dlogits"))
    test = notebook.cells[at(notebook, "test_dlogits")]
    test.source = f"{answer.source}\n{test.source}"


def twice(notebook: NotebookNode) -> None:
    """An answer cell copied, and one copy left as it was released."""
    place = at(notebook, "dlogits")
    copied = deepcopy(notebook.cells[place])
    copied.source, copied.id = "dlogits = None\n# YOUR CODE HERE", "copied"
    notebook.cells.insert(place + 1, copied)


def numpy_in_the_imports(notebook: NotebookNode) -> None:
    """An import added to the given cell of imports, and used in an answer."""
    notebook.cells[at(notebook, "given_imports")].source += "\nimport math as m"
    notebook.cells[_first_answer(notebook)].source += "\nm.sqrt(2)"


def without_metadata(notebook: NotebookNode) -> None:
    """An editor dropped all metadata and ids."""
    notebook.metadata = NotebookNode()
    for number, cell in enumerate(notebook.cells):
        cell.metadata, cell.id = NotebookNode(), f"new{number}"


def new_ids(notebook: NotebookNode) -> None:
    for number, cell in enumerate(notebook.cells):
        cell.id = f"new{number}"


def only_answers(notebook: NotebookNode) -> None:
    """Nothing kept but the answers, without metadata."""
    notebook.cells = [cell for cell in notebook.cells if is_answer(cell)]
    without_metadata(notebook)


# ----------------------------------------------------------------------------- accidents of a folder


def all_of(edit: Edit, *stems: str) -> Callable[[Path], None]:
    """The edit of these notebooks of a folder."""

    def accident(folder: Path) -> None:
        for stem in stems:
            notebook = nbformat.read(folder / f"{stem}.ipynb", as_version=4)
            edit(notebook)
            nbformat.write(notebook, folder / f"{stem}.ipynb")

    return accident


def renamed(name: str, edit: Edit = lambda _: None, stem: str = ONE) -> Callable[[Path], None]:
    """A notebook under another name."""

    def accident(folder: Path) -> None:
        all_of(edit, stem)(folder)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{stem}.ipynb").rename(folder / name)

    return accident


def exported(folder: Path) -> None:
    """An HTML export in the place of the notebook."""
    (folder / f"{ONE}.ipynb").unlink()
    (folder / f"{ONE}.html").write_text("<html></html>")


def missing(folder: Path) -> None:
    (folder / f"{ONE}.ipynb").unlink()


def with_a_package(notebook: NotebookNode) -> None:
    """An answer that needs what the grader has not got."""
    notebook.cells[at(notebook, "dlogits")].source = "import einops\ndlogits = einops.reduce"


def two_copies(folder: Path) -> None:
    renamed(f"Copy of {ONE}.ipynb")(folder)
    shutil.copy(folder / f"Copy of {ONE}.ipynb", folder / f"{ONE} (1).ipynb")
    edited = (folder / f"{ONE} (1).ipynb").read_text().replace("dlogits =", "dlogits = 2 *", 1)
    (folder / f"{ONE} (1).ipynb").write_text(edited)


def blank_and_copy(folder: Path) -> None:
    """The notebook as it was released, beside a copy with answers."""
    shutil.copy(folder / f"{ONE}.ipynb", folder / f"{ONE} (1).ipynb")
    shutil.copy(ROOT / "release" / "backprop" / f"{ONE}.ipynb", folder / f"{ONE}.ipynb")


def nothing_written(notebook: NotebookNode) -> None:
    """The written answers as they were released."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and grade_id(cell):
            cell.source = "YOUR ANSWER HERE"


def prose_beside(notebook: NotebookNode) -> None:
    """Written answers in new cells beside the empty ones."""
    nothing_written(notebook)
    for cell in [c for c in notebook.cells if c.cell_type == "markdown" and grade_id(c)]:
        prose = nbformat.v4.new_markdown_cell("Because a shift of all logits changes nothing.")
        notebook.cells.insert(at(notebook, grade_id(cell)) + 1, prose)


ROOT = Path(__file__).parents[1]
EVERY = (ONE, TWO, THREE, FOUR)
DTYPE = "import torch\ntorch.set_default_dtype(torch.float64)"
ELSEWHERE = "import os\nos.makedirs('mine', exist_ok=True)\nos.chdir('mine')"
HONEST: Mapping[str, Callable[[Path], None]] = {
    "own dtype on top": all_of(on_top(DTYPE), *EVERY),
    "own dtype below": all_of(put(DTYPE, "test_dlogits"), ONE, TWO),
    "own batch size": all_of(put("batch_size = 4", "given_init"), ONE, TWO, THREE),
    "own batch size below": all_of(put("batch_size = n_hidden = 4", "dlogits"), ONE, TWO),
    "own batch size below the first checks": all_of(put("batch_size = n = 4", "test_dW2"), FOUR),
    "own draws": all_of(
        put("ix = torch.randint(0, 100, (4,), generator=g)", "given_batch"), ONE, TWO, THREE
    ),
    "own folder": all_of(on_top(ELSEWHERE), *EVERY),
    "own change of a given value": all_of(put("logits *= 2", "dlogits"), TWO),
    "answer retyped": all_of(retyped, ONE, TWO),
    "answers merged": all_of(merged, ONE),
    "answers in one cell": all_of(in_one, ONE),
    "answer in the test cell": all_of(in_the_test_cell, ONE, TWO),
    "answer cell twice": all_of(twice, ONE, TWO),
    "import added to a given cell": all_of(numpy_in_the_imports, *EVERY),
    "metadata lost": all_of(without_metadata, *EVERY),
    "new ids": all_of(new_ids, *EVERY),
    "only answers kept": all_of(only_answers, *EVERY),
    "named json": renamed(f"{ONE}.ipynb.json"),
    "one folder deeper": renamed(f"work/{ONE}.ipynb"),
    "renamed and metadata lost": renamed("homework.ipynb", without_metadata),
    "copy by Colab": renamed(f"Copy of {ONE}.ipynb"),
    "copy by a browser": renamed(f"{ONE} (1).ipynb"),
    "own name in it": renamed(f"Ann_{ONE}.ipynb"),
}
# Not marked, and no zero either: by notebook whose points nobody knows.
FOR_A_PERSON: Mapping[str, Callable[[Path], None]] = {
    "answers below all tests": all_of(in_one_below, ONE),
    "an export": exported,
    "a package that is lacking": all_of(with_a_package, ONE),
    "two copies with other answers": two_copies,
    "only a blank of that name": blank_and_copy,
}
