"""Nobody honest loses a mark: a right answer in an unlucky file is right, or a person is told."""

from pathlib import Path

import nbformat
import pytest
from coursedir import ASSIGNMENT, hand_in, make_course, nbgrader, scores
from honest import FOR_A_PERSON, HONEST, ONE, all_of, missing, nothing_written, prose_beside

from demo.classroom import Student
from handgrad.batch.run import grade
from handgrad.store.records import Records
from handgrad.verdict import Report, Verdict

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
    assert {note.code for finding in late for note in finding.diagnoses} == {"late"}


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
