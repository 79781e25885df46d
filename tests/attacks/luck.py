"""Plain bad luck: nobody means harm, and nobody is to lose more than the thing itself costs."""

from pathlib import Path

import nbformat

from attacks.attack import ONE, THREE, TWO, Attack, Scene, answer, code
from attacks.judgement import extra, on
from attacks.machine import RIGHT

HONEST = RIGHT.strip() + "\n"


def unlucky(story: str, before: str = "", after: str = "", **more: object) -> Attack:
    """The right answer, with something innocent around it."""
    source = code(before) + "\n" + HONEST + code(after)
    return answer(story, source.strip(), stem=TWO, cell="dlogits", lost=False, **more)  # type: ignore[arg-type]


def renamed(folder: Path, scene: Scene) -> None:
    (folder / f"{TWO}.ipynb").rename(folder / "Exercise 2 (final).ipynb")


def handed_in_twice(folder: Path, scene: Scene) -> None:
    """A second, older file beside the right one, as a browser names it."""
    (folder / f"{TWO}(1).ipynb").write_bytes((folder / f"{TWO}.ipynb").read_bytes())


def renamed_twice(folder: Path, scene: Scene) -> None:
    data = (folder / f"{TWO}.ipynb").read_bytes()
    (folder / f"{TWO}.ipynb").unlink()
    for name in ("Exercise 2.ipynb", "Exercise 2 (1).ipynb"):
        (folder / name).write_bytes(data)


def format_3(folder: Path, scene: Scene) -> None:
    """Saved by a program of ten years ago."""
    path = folder / f"{TWO}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    metadata = [each.metadata for each in notebook.cells]
    old = nbformat.v4.downgrade(notebook)
    for sheet in old.worksheets:
        for each, its in zip(sheet.cells, metadata, strict=True):
            each.metadata = its
    path.write_text(nbformat.v3.writes_json(old), encoding="utf-8")


def without_metadata(notebook: nbformat.NotebookNode) -> None:
    """Through a program that throws metadata away."""
    notebook.metadata = nbformat.NotebookNode()
    for each in notebook.cells:
        each.metadata = nbformat.NotebookNode()


def of_another_kernel(notebook: nbformat.NotebookNode) -> None:
    notebook.metadata.kernelspec = {"name": "ir", "display_name": "R", "language": "R"}
    notebook.metadata.language_info = {"name": "R"}


LUCK: dict[str, Attack] = {
    "kernel_dies_at_import": Attack(
        "a package that takes the kernel down: its cell is left out, nothing else is lost",
        edit=on(TWO, extra("import os\nos.abort()", before="given_files")),
        stems=(TWO, THREE),
    ),
    "package_is_not_there": Attack(
        "a package that the grading machine does not have",
        edit=on(TWO, extra("import einops_of_another_name as e", before="dlogits")),
        stems=(TWO, THREE),
    ),
    "unset_seed": unlucky(
        "random numbers of its own", "torch.manual_seed(torch.seed()); torch.randn(3)"
    ),
    "warning_on_stderr": unlucky(
        "a warning, for which stock nbgrader gives nothing",
        "import warnings, sys\nwarnings.warn('careful')\nprint('progress', file=sys.stderr)",
        shows=("careful",),
    ),
    "asks_for_input": answer(
        "waits for a keyboard",
        "x = input('n? ')\ndlogits = 0",
        "dlogits raised",
        stem=TWO,
        cell="dlogits",
    ),
    "matplotlib_window": unlucky(
        "a window",
        after="""
        import matplotlib
        import matplotlib.pyplot as plt
        plt.ion()
        plt.imshow(dlogits)
        plt.show(block=True)
        """,
        shows=("image/png",),
    ),
    "magics": unlucky(
        "what people write in notebooks",
        "%%time\n%matplotlib inline",
        after="!ls\n%pip install torch\n%timeit 1 + 1",
    ),
    "await_at_top_level": unlucky("asyncio", "import asyncio\nawait asyncio.sleep(0)"),
    "syntax_error": answer(
        "a line left unfinished, in the middle",
        "dembcat = dhprebn @",
        "dembcat raised",
        cell="dembcat",
    ),
    "not_finished": answer(
        "untouched in the middle", "dembcat = None\n# YOUR CODE HERE", cell="dembcat"
    ),
    "works_in_place": answer(
        "changes a gradient that was checked already: later steps are not to suffer",
        "dbnraw = dhpreact\ndbnraw *= bngain",
        "dhpreact aliased",
        cell="dbnraw",
        lost=False,
    ),
    "all_in_one_cell": Attack(
        "several answers in the first one's cell, the others left as they were",
        answers={
            ONE: {
                "dh": "dh = dlogits @ W2.T\ndW2 = h.T @ dlogits\ndb2 = dlogits.sum(0)",
                "dW2": "pass",
                "db2": "pass",
            }
        },
    ),
    "flat_shape": Attack(
        "axes of size 1 left out",
        answers={ONE: {"dbngain": "dbngain = (bnraw * dhpreact).sum(0)"}},
        reads=("dbngain flat_shape",),
    ),
    "one_slip_early": answer(
        "a factor forgotten at the very beginning: every later step keeps its marks",
        "dlogprobs = torch.zeros_like(logprobs)\ndlogprobs[range(n), Yb] = -1.0",
        "dlogprobs factor",
        "dprobs follow_through",
        cell="dlogprobs",
    ),
    "notebook_renamed": Attack(
        "a name of the student's own: taken, as only one file can be meant",
        files=renamed,
        reads=("found_as",),
    ),
    "notebook_renamed_twice": Attack(
        "the same file under two other names: either is meant",
        files=renamed_twice,
        reads=("found_as",),
    ),
    "notebook_missing": Attack("one notebook is not there", stems=(ONE,), reads=("missing",)),
    "notebook_twice": Attack(
        "the same notebook twice: the one of the right name counts", files=handed_in_twice
    ),
    "nothing_handed_in": Attack(
        "an empty folder",
        stems=(),
        refused="no notebook of the assignment|No notebooks were matched",
    ),
    "format_3": Attack("saved by an old program", files=format_3),
    "no_metadata": Attack(
        "through a program that throws metadata away", edit=on(TWO, without_metadata)
    ),
    "other_kernel": Attack(
        "a kernel that is not Python", edit=on(TWO, of_another_kernel), reads=("other_language",)
    ),
    "id_with_spaces": Attack(
        "a name with a space and an accent", stems=(TWO,), student="Zoë de la Cruz"
    ),
}
