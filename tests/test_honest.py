"""Nobody honest loses a mark: a right answer in an unlucky file is right, or a person is told.

HANDGRAD_HONEST=320 changes 320 notebooks at random in the place of 100.
"""

import ast
import os
import re
import shutil
from copy import deepcopy
from pathlib import Path
from random import Random

import nbformat
import pytest
from coursedir import ASSIGNMENT, hand_in, make_course, nbgrader, scores
from honest import (
    FOR_A_PERSON,
    HONEST,
    ONE,
    ROOT,
    all_of,
    is_answer,
    missing,
    new_ids,
    nothing_written,
    own,
    prose_beside,
    without_metadata,
)
from nbclient import NotebookClient
from nbformat import NotebookNode
from pool import grader

from demo.classroom import FOUR, THREE, TWO, Course, Student
from handgrad.batch.run import grade
from handgrad.doors.check import check
from handgrad.store.records import Records
from handgrad.verdict import Finding, Report, Verdict

MANY = int(os.environ.get("HANDGRAD_HONEST", "100"))
FULL = 92.0  # of the points that graders give; eight more wait for a person
OTHERS = {
    "missing": missing,
    "prose beside": all_of(prose_beside, ONE),
    "nothing written": all_of(nothing_written, ONE),
}


def _class(root: Path) -> Path:
    """A course in which everybody has the solution, each with another accident."""
    make_course(root, [])
    for name, accident in {**HONEST, **FOR_A_PERSON, **OTHERS}.items():
        hand_in(root, name, Student(name, accident=accident))
    return root


@pytest.fixture(scope="module", params=["handgrad grade", "nbgrader autograde"])
def course(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The class, graded whole by each of the two commands."""
    root = _class(tmp_path_factory.mktemp("honest") / "course")
    if request.param == "handgrad grade":
        assert grade(root, ASSIGNMENT, jobs=2).failed == {}
    else:
        done = nbgrader(root, "autograde", ASSIGNMENT, seconds=900)
        assert done.returncode == 0, done.stdout + done.stderr
    return root


def report(course: Path, name: str) -> Report:
    record = Records(course, ASSIGNMENT).read(name)
    assert record is not None
    return record.report


def codes(course: Path, name: str) -> set[str]:
    return {note.code for notes in report(course, name).problems.values() for note in notes}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_solution_keeps_its_mark(course: Path, name: str) -> None:
    wrong = {
        (finding.notebook, finding.name): (finding.verdict.value, finding.diagnoses)
        for finding in report(course, name).findings
        if finding.points != finding.max_points
    }
    assert wrong == {}
    assert report(course, name).points == FULL
    assert sum(score or 0 for score, _ in scores(course, name).values()) == FULL


@pytest.mark.parametrize("name", FOR_A_PERSON)
def test_what_may_be_right_is_no_zero_and_waits_for_a_person(course: Path, name: str) -> None:
    found = report(course, name).findings
    assert {f.verdict for f in found if f.points == 0} == set()
    open_ones = {(f.notebook, f.grade_id) for f in found if f.points is None}
    assert {stem for stem, _ in open_ones} == {ONE}
    told = scores(course, name)
    assert {told[each] for each in open_ones} == {(None, True)}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("own dtype on top", "among_given"),
        ("own batch size", "among_given"),
        ("answer cell twice", "cell_duplicated"),
        ("answer in the test cell", "cell_edited"),
        ("copy by Colab", "found_as"),
        ("an export", "renamed"),
        ("only a blank of that name", "two_copies"),
        ("missing", "missing"),
    ],
)
def test_what_was_odd_is_said(course: Path, name: str, code: str) -> None:
    assert code in codes(course, name)


def test_an_answer_below_its_check_is_told_that_it_came_late(course: Path) -> None:
    late = [f for f in report(course, "answers below all tests").findings if f.points is None]
    assert len(late) == 26
    assert {note.code for finding in late for note in finding.diagnoses} == {"after_its_check"}


def test_a_package_that_the_grader_lacks_is_named(course: Path) -> None:
    (only,) = [f for f in report(course, "a package that is lacking").findings if f.points is None]
    assert [dict(note.parts) for note in only.diagnoses] == [{"package": "einops"}]


def test_prose_beside_an_empty_written_answer_waits_for_a_person(course: Path) -> None:
    waiting = {
        cell for cell, score in scores(course, "prose beside").items() if score == (None, True)
    }
    assert waiting >= {(ONE, "bessel"), (ONE, "why_db1_is_zero")}
    plain = scores(course, "nothing written")
    assert plain[ONE, "bessel"] == (0.0, False)


def test_a_notebook_that_is_not_there_scores_zero(course: Path) -> None:
    assert {score for (stem, _), score in scores(course, "missing").items() if stem == ONE} == {
        (0.0, False)
    }
    assert {f.verdict for f in report(course, "missing").findings if f.notebook == ONE} == {
        Verdict.NOT_ATTEMPTED
    }


def test_a_release_that_the_gradebook_would_not_bear_is_refused_before_anything_is_touched(
    course: Path,
) -> None:
    source = course / "source" / ASSIGNMENT / f"{ONE}.ipynb"
    before = source.read_bytes()
    released = {path: path.read_bytes() for path in (course / "release").rglob("*.ipynb")}
    notebook = nbformat.read(source, as_version=4)
    added = nbformat.v4.new_code_cell("dx = None", id="dx")
    about = {"schema_version": 3, "grade_id": "dx", "grade": False, "solution": True}
    added.metadata.nbgrader = {**about, "locked": False, "task": False}
    notebook.cells.append(added)
    nbformat.write(notebook, source)
    done = nbgrader(course, "generate_assignment", ASSIGNMENT, "--force")
    source.write_bytes(before)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in said
    assert said.count("cells were added or taken away (dx)") == 1
    assert {path: path.read_bytes() for path in (course / "release").rglob("*.ipynb")} == released
    again = nbgrader(course, "generate_assignment", ASSIGNMENT, "--force")
    assert again.returncode == 0, again.stderr


# By row, the file of it that is checked by itself.
ALONE = {
    "own batch size below": TWO,
    "own folder": FOUR,
    "answers in one cell": ONE,
    "answer cell twice": TWO,
    "metadata lost": THREE,
    "only answers kept": TWO,
    "copy by Colab": f"Copy of {ONE}",
    "renamed and metadata lost": "homework",
    "answers below all tests": ONE,
}


@pytest.mark.parametrize("course", ["handgrad grade"], indirect=True)
@pytest.mark.parametrize(("name", "file"), ALONE.items(), ids=ALONE)
def test_check_says_the_same_of_the_file_alone(course: Path, name: str, file: str) -> None:
    found = check(course / "submitted" / name / ASSIGNMENT / f"{file}.ipynb", course).report
    stem = found.findings[0].notebook
    assert list(found.findings) == [f for f in report(course, name).findings if f.notebook == stem]


# ------------------------------------------------------------------- notebooks changed at random

OWN = (
    "import torch\ntorch.set_default_dtype(torch.float64)",
    "batch_size = 4",
    "batch_size = n = 4",
    "torch.manual_seed(1)",
    "ix = torch.randint(0, 9, (4,), generator=g)",
    "g = torch.Generator().manual_seed(1)",
    "import math\nprint(math.pi)",
    "mine = [1, 2, 3]",
    "i = p = x = 0",
    "import os\nos.makedirs('mine', exist_ok=True)\nos.chdir('mine')",
    "print(1 / 0)",
    "raise SystemExit",
    "my notes, in a code cell",
    "%matplotlib inline",
    "torch.set_grad_enabled(False)",
    "with torch.no_grad():\n    C *= 1",
    "parameters = [p.detach() for p in parameters]",
    "emb = C[Xb]",
    "print(logits.grad)",
    "cmp('logits', dlogits, logits)",
    "dlogits = dlogits.contiguous()",
)


def _split(notebook: NotebookNode, random: Random) -> None:
    """An answer cell of several lines in two, between statements."""
    cell = random.choice([cell for cell in notebook.cells if is_answer(cell)])
    body = ast.parse(cell.source).body
    if len(body) > 1:
        at = body[random.randrange(1, len(body))].lineno - 1
        lines = cell.source.splitlines()
        cell.source = "\n".join(lines[:at])
        notebook.cells.insert(notebook.cells.index(cell) + 1, own("\n".join(lines[at:])))


def _merge(notebook: NotebookNode, random: Random) -> None:
    """An answer into the cell of the answer above it."""
    answers = [cell for cell in notebook.cells if is_answer(cell)]
    if len(answers) > 1:
        at = random.randrange(1, len(answers))
        answers[at - 1].source += "\n" + answers[at].source
        notebook.cells = [cell for cell in notebook.cells if cell is not answers[at]]


def _move_up(notebook: NotebookNode, random: Random) -> None:
    """A cell above its neighbour."""
    at = random.randrange(1, len(notebook.cells))
    notebook.cells.insert(at - 1, notebook.cells.pop(at))


def _duplicate(notebook: NotebookNode, random: Random) -> None:
    """An answer cell copied."""
    at = random.choice([i for i, cell in enumerate(notebook.cells) if is_answer(cell)])
    copied = deepcopy(notebook.cells[at])
    copied.id = f"copy{random.randrange(10**9)}"
    notebook.cells.insert(at + 1, copied)


def _add(notebook: NotebookNode, random: Random) -> None:
    """A cell of the student's own."""
    cell = own(random.choice(OWN))
    cell.id = f"own{random.randrange(10**9)}"
    notebook.cells.insert(random.randrange(len(notebook.cells)), cell)


def _retype(notebook: NotebookNode, random: Random) -> None:
    """An answer cell deleted, and its text in a fresh one."""
    at = random.choice([i for i, cell in enumerate(notebook.cells) if is_answer(cell)])
    notebook.cells[at] = own(notebook.cells[at].source)


def _forget(notebook: NotebookNode, random: Random) -> None:
    without_metadata(notebook)


def _renew(notebook: NotebookNode, random: Random) -> None:
    new_ids(notebook)


CHANGES = (_split, _merge, _move_up, _duplicate, _add, _add, _retype)
LAST = (_renew, _forget, lambda notebook, random: None)
STEMS = (ONE, TWO, THREE, FOUR)


def changed(stem: str, seed: int) -> NotebookNode:
    """The solved notebook after a few random changes."""
    random, notebook = Random(seed), Course.read(ROOT, ASSIGNMENT).solved(stem)
    for change in random.choices(CHANGES, k=random.randrange(1, 5)):
        if any(is_answer(cell) for cell in notebook.cells):
            change(notebook, random)
    random.choice(LAST)(notebook, random)
    return notebook


def right_at_home(notebook: NotebookNode, folder: Path) -> set[str]:
    """The variables that the course's own `cmp` calls right, in Jupyter."""
    folder.mkdir()
    for name in ("check.py", "names.txt"):
        shutil.copy(ROOT / "source" / ASSIGNMENT / name, folder)
    end = max(i for i, cell in enumerate(notebook.cells) if "cmp(" in cell.source) + 1
    notebook.cells = notebook.cells[:end]  # no long training
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, kernel_name="python3", allow_errors=True, resources=where).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = "".join(o.text for c in code for o in c.outputs if o.output_type == "stream")
    right = set(re.findall(r"^(\w+) .*approximate: True", said, re.M))
    asked = {found for c in code for found in re.findall(r"cmp\('(\w+)', (\w+)", c.source)}
    return {variable for name, variable in asked if name in right}


def test_no_random_change_of_an_honest_notebook_makes_a_right_answer_wrong(tmp_path: Path) -> None:
    """What is wrong at home too is no fault: an own cell may undo an answer, or be moved above it."""
    lost: dict[tuple[int, str], dict[str, Finding]] = {}
    unknown = 0
    with grader(ROOT, ASSIGNMENT) as by:
        for seed in range(0, MANY, len(STEMS)):
            notebooks = {stem: changed(stem, seed + n) for n, stem in enumerate(STEMS)}
            texts = {stem: nbformat.writes(each).encode() for stem, each in notebooks.items()}
            for finding in by.report(texts).findings:
                unknown += finding.points is None
                if finding.points not in (None, finding.max_points):
                    lost.setdefault((seed, finding.notebook), {})[finding.name] = finding
            for stem in (stem for each, stem in lost if each == seed):
                home = right_at_home(notebooks[stem], tmp_path / f"{seed}-{stem}")
                lost[seed, stem] = {k: v for k, v in lost[seed, stem].items() if k in home}
    assert {where: found for where, found in lost.items() if found} == {}
    assert unknown < MANY / 4  # a person is not asked for nothing
