"""A demonstration class: what students do to a notebook, made from the instructor's own notebooks.

    python demo/classroom.py [COURSE] [INTO]     COURSE is this folder, INTO is COURSE/submitted

Nobody's work is stored here. Each student is an edit, named after what it does, of the solved release.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

Answers = Mapping[str, str]  # code by grade id

_BEGIN, _END = "### BEGIN SOLUTION", "### END SOLUTION"


def solutions(source: NotebookNode) -> dict[str, str]:
    """The instructor's answers by grade id, code and prose, without nbgrader's markers."""
    return {
        cell.metadata.nbgrader.grade_id: "\n".join(
            line for line in cell.source.split("\n") if line.strip() not in (_BEGIN, _END)
        )
        for cell in source.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }


def edited(notebook: NotebookNode, answers: Answers) -> NotebookNode:
    """A copy of the notebook with the cells of these grade ids rewritten; KeyError on an unknown one."""
    notebook, left = deepcopy(notebook), dict(answers)
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        if grade_id in left:
            cell.source = left.pop(grade_id)
    if left:
        raise KeyError(f"no cells {sorted(left)} in this notebook")
    return notebook


@dataclass(frozen=True, slots=True)
class Course:
    """The notebooks of one assignment by stem: as the instructor wrote them and as released."""

    source: Mapping[str, NotebookNode]
    release: Mapping[str, NotebookNode]
    folder: Path  # of the source, where check.py and names.txt are

    @classmethod
    def read(cls, root: Path, assignment: str) -> "Course":
        """Read both folders of the course at `root`."""

        def notebooks(folder: Path) -> dict[str, NotebookNode]:
            return {p.stem: nbformat.read(p, as_version=4) for p in sorted(folder.glob("*.ipynb"))}

        folder = root / "source" / assignment
        return cls(notebooks(folder), notebooks(root / "release" / assignment), folder)

    def solved(self, stem: str) -> NotebookNode:
        """The release with the instructor's answers in it: full marks."""
        return edited(self.release[stem], solutions(self.source[stem]))


@dataclass(frozen=True, slots=True)
class Student:
    """What one student hands in: the solved release, except for these answers; then the accident.

    `answers` are by notebook stem; `computed` makes them where they have to be run for.
    """

    story: str
    answers: Mapping[str, Answers] = field(default_factory=dict)
    solved: bool = True
    computed: Callable[[Course], Mapping[str, Answers]] | None = None
    accident: Callable[[Path], None] | None = None

    def notebooks(self, course: Course) -> dict[str, NotebookNode]:
        """This student's notebooks by stem, before the accident."""
        answers = self.computed(course) if self.computed else self.answers
        return {
            stem: edited(
                course.solved(stem) if self.solved else course.release[stem], answers.get(stem, {})
            )
            for stem in course.release
        }


ONE, TWO, THREE, FOUR = "1_every_step", "2_cross_entropy", "3_batch_norm", "4_training"

PASTED = ("dlogits", "dhpreact", "dhprebn", "dC")

# Runs the code it is given and prints the tensors of these names as nested lists.
_RUN = """
import json, sys
job = json.load(sys.stdin)
sys.path.insert(0, "")
names, out = {}, sys.stdout
sys.stdout = sys.stderr
for code in job["cells"]:
    exec(code, names)
json.dump({name: names[name].tolist() for name in job["take"]}, out)
"""


def pasted(course: Course) -> Mapping[str, Answers]:
    """Run the solution with the public seed and write down what came out, digit by digit."""
    cells = [cell.source for cell in course.solved(ONE).cells if cell.cell_type == "code"]
    done = subprocess.run(
        [sys.executable, "-c", _RUN],
        input=json.dumps({"cells": cells, "take": PASTED}),
        cwd=course.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{course.folder / ONE}.ipynb does not run:\n{done.stderr}")
    values = json.loads(done.stdout)
    return {ONE: {name: f"{name} = torch.tensor({_literal(values[name])})" for name in PASTED}}


def _literal(values: list[object] | float) -> str:
    """Nested lists of floats with the nine digits that float32 can tell apart."""
    if isinstance(values, float):
        return f"{values:.9g}"
    return "[" + ", ".join(_literal(value) for value in values) + "]"  # type: ignore[arg-type]


def rename_notebook(folder: Path) -> None:
    """The second notebook under a name of the student's own."""
    (folder / f"{TWO}.ipynb").rename(folder / "Exercise 2 (final version).ipynb")


def break_json(folder: Path) -> None:
    """The last notebook cut off in the middle, as when a disk was full."""
    path = folder / f"{FOUR}.ipynb"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def delete_cells(folder: Path) -> None:
    """An answer, a test and a given cell gone from the first notebook."""
    path = folder / f"{ONE}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    gone = {"dW1", "test_db1", "given_forward"}
    notebook.cells = [
        cell
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade_id") not in gone
    ]
    nbformat.write(notebook, path)


FORGETFUL_BACKWARD = """
def backward(
    Xb, Yb, C, W1, b1, W2, b2, bngain, bnbias,
    emb, embcat, hprebn, bnmean, bnvar, bnvar_inv, bnraw, hpreact, h, logits,
):
    dlogits = F.softmax(logits, 1)
    dlogits[range(n), Yb] -= 1
    dlogits /= n
    dW2 = h.T @ dlogits
    db2 = dlogits.sum(0)
    dhpreact = (1 - h**2) * (dlogits @ W2.T)
    dbngain = (bnraw * dhpreact).sum(0, keepdim=True)
    dbnbias = dhpreact.sum(0, keepdim=True)
    return [None, None, None, dW2, db2, dbngain, dbnbias]
""".strip()

CLASS: Mapping[str, Student] = {
    "perfect": Student("everything as the instructor would do it"),
    "blank": Student("handed in as it was released", solved=False),
    "half_done": Student(
        "stopped halfway through the backward pass of exercise 4, and left exercise 3 out",
        {THREE: {"dhprebn": "dhprebn = None"}, FOUR: {"backward": FORGETFUL_BACKWARD}},
    ),
    "forgot_a_branch": Student(
        "counts is used twice, one use was seen",
        {ONE: {"dcounts": "dcounts = counts_sum_inv * dprobs"}},
    ),
    "bessel": Student(
        "n where the forward pass divides by n - 1",
        {
            ONE: {"dbndiff2": "dbndiff2 = torch.ones_like(bndiff2) * dbnvar / n"},
            THREE: {
                "dhprebn": "dbnraw = bngain * dhpreact\n"
                "dhprebn = bnvar_inv / n * (n * dbnraw - dbnraw.sum(0, keepdim=True)"
                " - bnraw * (dbnraw * bnraw).sum(0, keepdim=True))"
            },
        },
    ),
    "no_keepdim": Student(
        "sums that lose the axis of size 1",
        {
            ONE: {
                "dbngain": "dbngain = (bnraw * dhpreact).sum(0)",
                "dbnbias": "dbnbias = dhpreact.sum(0)",
                "dbnmeani": "dbnmeani = -dbndiff.sum(0)",
            }
        },
    ),
    "unspread": Student(
        "left to broadcasting what every entry should have of its own",
        {ONE: {"dbndiff2": "dbndiff2 = dbnvar / (n - 1)"}},
    ),
    "closed_form": Student(
        "the short formula of exercise 2 in the place of the steps of exercise 1",
        {
            ONE: {
                "dlogits": "dlogits = (F.softmax(logits, 1) - F.one_hot(Yb, vocab_size)) / n",
            }
        },
    ),
    "pasted_numbers": Student(
        "printed the right numbers at home, then pasted them", computed=pasted
    ),
    "used_autograd": Student(
        "asked autograd instead of deriving",
        {
            ONE: {"dh": "dh = h.grad.clone()", "dW2": "dW2 = W2.grad"},
            TWO: {"dlogits": "dlogits = torch.func.grad(lambda z: F.cross_entropy(z, Yb))(logits)"},
        },
    ),
    "skipped_steps": Student(
        "was stuck twice, used skip() and went on",
        {
            ONE: {
                "dlogit_maxes": 'dlogit_maxes = skip("logit_maxes")',
                "dbndiff": 'dbndiff = skip("bndiff")',
            }
        },
    ),
    "two_mistakes": Student(
        "1 - h for 1 - h**2, and assigned where rows must add up",
        {
            ONE: {
                "dhpreact": "dhpreact = (1 - h) * dh",
                "dC": "dC = torch.zeros_like(C)\ndC[Xb] = demb",
            }
        },
    ),
    "unfinished_line": Student(
        "left a line without its right-hand side", {ONE: {"dembcat": "dembcat ="}}
    ),
    "endless_loop": Student(
        "waits for something that never comes",
        {
            THREE: {
                "dhprebn": "dhprebn = torch.zeros_like(hprebn)\nwhile dhprebn.sum() == 0:\n    pass"
            }
        },
    ),
    "killed_kernel": Student(
        "a cell that takes the kernel down with it",
        {TWO: {"dlogits": "import os\n\nos._exit(1)"}},
    ),
    "deleted_cell": Student("three cells are gone", accident=delete_cells),
    "renamed_notebook": Student("one notebook has a new name", accident=rename_notebook),
    "broken_json": Student("one notebook was cut off in the middle", accident=break_json),
}


def make(root: Path, assignment: str, into: Path) -> list[Path]:
    """Write `into`/<student>/<assignment>/ for the whole class, over what is there; return the folders.

    Each folder holds what was released beside the notebooks too, as a student's own would.
    """
    course = Course.read(root, assignment)
    folders = []
    for name, student in CLASS.items():
        folder = into / name / assignment
        if folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(
            root / "release" / assignment, folder, ignore=shutil.ignore_patterns("*.ipynb")
        )
        for stem, notebook in student.notebooks(course).items():
            nbformat.write(notebook, folder / f"{stem}.ipynb")
        if student.accident:
            student.accident(folder)
        folders.append(folder)
    return folders


if __name__ == "__main__":
    here = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1])
    into = Path(sys.argv[2] if len(sys.argv) > 2 else here / "submitted")
    made = make(here, "backprop", into)
    print(f"{len(made)} students in {into}")
