"""An assignment made of an author's plain cells is whole at once, or is refused with its line."""

import shutil
from pathlib import Path

import nbformat
import pytest
from coursedir import empty_course, nbgrader

from handgrad.assignment.assignment import Assignment
from handgrad.assignment.mutations import changed
from handgrad.assignment.new import new
from handgrad.doors import cli
from handgrad.errors import UserError
from handgrad.grading.outcomes import Outcome
from handgrad.grading.selfcheck import selfcheck

ROOT = Path(__file__).parents[1]
CELLS = ROOT / "examples" / "attention.py"
SMALL = """\
# %% parameters
seed = 1
n = 4
# %% draw
import torch
g = torch.Generator().manual_seed(seed)
x = torch.randn(n, 2 * n, generator=g)
w = torch.randn(2 * n, generator=g)
# %% forward
y = x @ w
z = y.exp()
loss = z.mean()
# %% solution
ones = torch.ones_like(z)
dz = ones / n
dy = z * dz
# what the loop is for
dw = torch.zeros_like(w)
for i in range(n):
    dw += x[i] * dy[i]
"""


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = empty_course(tmp_path_factory.mktemp("author") / "course")
    assert cli.main(["new", "attention", "--from", str(CELLS), "--course", str(root)]) == 0
    return root


@pytest.fixture(scope="module")
def outcomes(course: Path) -> list[Outcome]:
    return [*selfcheck(course, "attention")]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "cells.py").write_text(SMALL)
    return empty_course(tmp_path / "course")


def made(root: Path, text: str = SMALL) -> nbformat.NotebookNode:
    """The notebook that comes of these cells."""
    cells = root.parent / "cells.py"
    cells.write_text(text)
    new(root, "small", cells)
    notebook = nbformat.read(root / "source" / "small" / "small.ipynb", as_version=4)
    nbformat.validate(notebook)
    return notebook


def texts(notebook: nbformat.NotebookNode) -> dict[str, str]:
    return {cell.id: cell.source for cell in notebook.cells}


def test_the_example_is_a_plain_file_of_about_70_lines_with_25_answers():
    lines = CELLS.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 75
    assert sum(line.startswith("d") for line in lines) == 25


def test_one_command_makes_an_assignment_that_proves_itself_on_the_first_run(outcomes):
    assert [f"{o.label}: {o.complaint}" for o in outcomes if o.complaint] == []
    assert [o.kind for o in outcomes[:2]] == ["itself", "right"]


def test_its_mutants_are_found_at_their_own_step_or_shown_to_change_no_number(outcomes):
    mutants = [o for o in outcomes if o.kind == "mutant"]
    assert len(mutants) >= 90
    assert [o.label for o in mutants if not o.told] == [
        "dscores, a mask left out: torch.where(past, dmasked, 0)"  # which dmasked has already
    ]
    assert {o.made for o in mutants} == {
        "a factor left out",
        "a mask left out",
        "a mean for a sum",
        "a sign",
        "a sum left out",
        "a transpose left out",
        "an addend left out",
        "another axis",
    }


def test_what_only_the_author_knows_is_listed(small):
    cells = small.parent / "cells.py"
    cells.write_text(SMALL.replace("dy = z * dz", "y_s = z * dz").replace("dy[i]", "y_s[i]"))
    _, left = new(small, "small", cells)
    assert [each.split(":")[0] for each in left] == ["prose", "points", "solution"]
    assert "no line makes dy" in left[2]


def test_nothing_that_is_there_is_overwritten(course):
    notebook = course / "source" / "attention" / "attention.ipynb"
    before = notebook.read_bytes()
    with pytest.raises(UserError, match="it is there already"):
        new(course, "attention", CELLS)
    assert notebook.read_bytes() == before


def rewritten(course: Path, root: Path, old: str, new: str) -> Path:
    """A copy of the course in which one line of the source notebook is another."""
    shutil.copytree(course, root)
    notebook = root / "source" / "attention" / "attention.ipynb"
    text = notebook.read_text(encoding="utf-8")
    assert old in text
    notebook.write_text(text.replace(old, new), encoding="utf-8")
    return root


def test_one_changed_line_of_the_notebook_changes_the_graders_and_nothing_else(course, tmp_path):
    root = rewritten(course, tmp_path / "course", "loss = sq.mean()", "loss = sq.sum()")
    done = nbgrader(root, "generate_assignment", "attention", "--force")
    assert done.returncode == 0, done.stderr
    for folder, wanted in ((course, 1 / 35), (root, 1.0)):
        reference = Assignment.load(folder, "attention").judges["attention"].scenarios.first
        assert reference.targets["dsq"].want.unique().tolist() == [pytest.approx(wanted)]
    graders = [
        {
            p.name: p.read_bytes()
            for p in (folder / "graders" / "attention").iterdir()
            if p.is_file() and p.name != "seed"
        }
        for folder in (course, root)
    ]
    assert graders[0] == graders[1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    t.retain_grad()", "    pass", "compares with `sq.grad`, which is not kept"),
        ("y = x + out", "y = x + out.detach()", "`out` got no gradient when `loss.backward()` ran"),
        ("manual_seed(seed)", "manual_seed(7)", "the leaves are the same whatever `seed` is"),
    ],
    ids=["retain_grad", "detach", "seed"],
)
def test_nbgrader_makes_no_release_of_what_cannot_be_graded(course, tmp_path, old, new, said):
    root = rewritten(course, tmp_path / "course", old, new)
    released = root / "release" / "attention" / "attention.ipynb"
    before = released.read_bytes()
    done = nbgrader(root, "generate_assignment", "attention", "--force")
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert released.read_bytes() == before


def test_nbgrader_warns_of_what_hides_mistakes(course, tmp_path):
    root = rewritten(course, tmp_path / "course", "H = 3 ", "H = 7 ")
    done = nbgrader(root, "generate_assignment", "attention", "--force")
    assert done.returncode == 0, done.stderr
    assert "`D` and `H` are both 7: shapes cannot tell them apart" in done.stderr


def test_each_answer_has_its_lines_its_stub_and_its_test_cell(small):
    text = texts(made(small))
    assert text["dz"].splitlines()[:3] == [
        "dz = None",
        "### BEGIN SOLUTION",
        "ones = torch.ones_like(z)",
    ]
    assert text["dw"].splitlines()[2] == "# what the loop is for"
    assert "dw += x[i] * dy[i]" in text["dw"]
    assert text["test_dw"] == "cmp('w', dw, w)"
    assert text["about_dw"] == "`y = x @ w`"
    assert text["given_progress"] == "progress('z', 'y', 'w')"


def test_leaves_and_values_get_what_a_comparison_needs_and_lines_their_shapes(small):
    text = texts(made(small))
    assert text["given_leaves"] == "for p in [w]:\n    p.requires_grad = True"
    assert text["given_reference"].splitlines()[:2] == ["for t in [z, y]:", "    t.retain_grad()"]
    assert text["given_forward"].splitlines() == [
        "y = x @ w  # (n,)",
        "z = y.exp()  # (n,)",
        "loss = z.mean()",
    ]
    runs = (small / "graders" / "small" / "assignment.toml").read_text()
    assert "decides = false, n = 5 }" in runs


def test_what_an_author_wrote_by_hand_is_kept(small):
    text = SMALL.replace("# %% solution", "# %% given\nw.requires_grad_()\n").replace(
        "g = torch", "# of the author's own\ng = torch"
    )
    given = texts(
        made(small, text.replace("dz = ones", "# %% [markdown]\n# Why?\n# %%\ndz = ones"))
    )
    assert given["prose"] == "Why?"
    assert "about_dz" not in given


def test_two_answers_of_one_line_share_a_cell(small):
    cells = texts(
        made(small, SMALL.replace("dz = ones / n\ndy = z * dz", "dz, dy = ones / n, z / n"))
    )
    assert cells["dz_dy"].startswith("dz = None\ndy = None\n### BEGIN SOLUTION\n")
    assert {"test_dz", "test_dy"} <= {*cells}


def test_a_notebook_with_the_same_cells_gives_the_same_assignment(small):
    plain = texts(made(small))
    shutil.rmtree(small)
    parts = [part.split("\n", 1) for part in SMALL.split("# %% ")[1:]]
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(code.strip(), metadata={"tags": [tag]}) for tag, code in parts
        ]
    )
    nbformat.write(notebook, small.parent / "mine.ipynb")
    new(empty_course(small), "small", small.parent / "mine.ipynb")
    again = nbformat.read(small / "source" / "small" / "small.ipynb", as_version=4)
    assert texts(again) == plain


FAULTS = {
    "no Python": (("z = y.exp()", "z = = y"), "cells.py, line 11: this is no Python"),
    "a name bound twice": (("z = y.exp()", "y = y.exp()"), "cells.py, line 11: `y` is bound"),
    "a draw that raises": (
        ("manual_seed(seed)", "manual_sed(seed)"),
        "cells.py, line 6: it raises",
    ),
    "no parameters": (
        ("# %% parameters", "# %% numbers"),
        "cells.py: no cell is called `parameters`",
    ),
    "no forward pass": (("# %% forward", "# %%"), "cells.py: no cell is called `forward`"),
    "a forward pass within a function": (
        ("z = y.exp()\nloss = z.mean()", "def forward(y):\n    return y.exp().mean()"),
        "cells.py: the forward pass does not end in a statement that binds the loss",
    ),
    "a forward pass that ends in a print": (
        ("loss = z.mean()", "loss = z.mean()\nprint(loss)"),
        "cells.py: the forward pass does not end in a statement that binds the loss",
    ),
    "no seed": (("seed = 1\n", ""), "cells.py, line 5: it raises NameError"),
    "no solution": ((SMALL[SMALL.index("# %% solution") :], ""), "cells.py: no line behind"),
    "an answer in two places": (
        ("dy = z * dz", "dy = z * dz\ndz = dz"),
        "cells.py, line 17: `dz` is made in a second place",
    ),
    "a leaf of integers": (
        ("w = torch.randn(2 * n, generator=g)", "w = torch.arange(2 * n)"),
        "it raises RuntimeError",
    ),
    "a step that changes its input": (
        ("z = y.exp()", "z = y.exp_()"),
        "line 11: `z` changes `y` in place",
    ),
}


@pytest.mark.parametrize(("change", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_names_the_line_of_the_author_s_own_file_and_nothing_is_written(
    small, change, said
):
    with pytest.raises(UserError) as error:
        made(small, SMALL.replace(*change))
    assert said in str(error.value)
    assert not [*(small / "source").iterdir()]


def test_no_file_and_a_file_that_is_no_notebook_are_refused(small):
    odd = small.parent / "odd.ipynb"
    odd.write_text("[]")
    for path in (small.parent / "none.py", odd):
        with pytest.raises(UserError, match="it cannot be read"):
            new(small, "small", path)


def test_the_ridge_example_needs_its_notebook_and_its_test_file_only(tmp_path):
    root = empty_course(tmp_path / "course")
    for file in ("source/ridge/ridge.ipynb", "graders/ridge/test_ridge.py"):
        (root / file).parent.mkdir()
        shutil.copy(ROOT / "examples" / file, root / file)
    shutil.copy(ROOT / "source" / "backprop" / "check.py", root / "source" / "ridge")
    done = nbgrader(root, "generate_assignment", "ridge")
    assert done.returncode == 0, done.stderr
    outcomes = [*selfcheck(root, "ridge", mutated=False)]
    assert [(o.label, o.complaint) for o in outcomes] == [
        ("ridge untouched", ""),
        ("ridge the instructor's solution", ""),
    ]


MUTATIONS = {
    "a factor": ("dx = a * b", {"dx = a", "dx = b", "dx = -(a * b)"}),
    "a difference": ("dx = a - b", {"dx = a", "dx = -b", "dx = a + b", "dx = -(a - b)"}),
    "a transpose": ("dx = a.T @ b", {"dx = a @ b", "dx = -(a.T @ b)"}),
    "an axis": (
        "dx += x.sum(0)",
        {"pass", "dx += x", "dx += x.mean(0)", "dx += x.sum(1)", "dx -= x.sum(0)"},
    ),
    "a mask": ("dx += torch.where(m, a, b)", {"pass", "dx += a", "dx -= torch.where(m, a, b)"}),
    "a line": ("dx.add_(a)", {"pass"}),
}


@pytest.mark.parametrize(("right", "wrong"), MUTATIONS.values(), ids=MUTATIONS.keys())
def test_an_operation_is_left_out_or_exchanged(right, wrong):
    assert {code for _, _, code in changed(right)} == wrong
