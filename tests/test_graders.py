"""A hidden test's outcome is the verdict, by every door, also a plain `assert` of an instructor's."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from coursedir import make_course, scores
from pool import Grader, grader

from handgrad.errors import UserError
from handgrad.grading.selfcheck import edited
from handgrad.verdict import Finding, Verdict

ROOT = Path(__file__).parents[1]
STEM = "1_every_step"
NAME = "backprop"

# Added to `test_every_step.py`, as an instructor would write it: three lines, one plain assert.
OWN_TESTS = {
    "an assert that holds": (
        'def test_own(answers):\n    assert answers["dh"].shape == (32, 64), "Is it the shape of h?"\n'
    ),
    "an assert that fails": (
        'def test_own(answers):\n    dh = answers["dh"]\n    assert dh.sum() == 0, "Ask yourself 7 times."\n'
    ),
    "an assert without a word": 'def test_own(answers):\n    assert answers["dh"].sum() == 0\n',
    "about two gradients": (
        "def test_own(answers):\n"
        '    assert (answers["db1"].shape, answers["db2"].shape) == (0, 0), "Both."\n'
    ),
    "alone": 'def test_own(alone):\n    assert alone["dh"].sum() == 0, "Ask yourself alone."\n',
    "a grader that stops": 'def test_own(answers):\n    answers["dh"].no_such_method()\n',
    "a grader with a wrong name": 'def test_own(answers):\n    assert answers["dhh"].sum() == 0\n',
    "about none": "def test_own():\n    raise RuntimeError('the disk is full')\n",
    "of what was got wrong above": (
        'def test_own(answers):\n    assert answers["dlogits"].sum(1).abs().max() < 1e-6, "Rows."\n'
    ),
}


@pytest.fixture(scope="module")
def source() -> dict[str, object]:
    path = ROOT / "source" / NAME / f"{STEM}.ipynb"
    return dict(json.loads(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_course(tmp_path_factory.mktemp("graders") / "course", ())


def add_test(course: Path, code: str) -> None:
    own = course / "graders" / NAME / "test_every_step.py"
    own.write_text((ROOT / "graders" / NAME / own.name).read_text(encoding="utf-8") + "\n\n" + code)


@pytest.fixture(params=OWN_TESTS, scope="module")
def graded(request: pytest.FixtureRequest, course: Path) -> Iterator[tuple[str, Grader]]:
    add_test(course, OWN_TESTS[request.param])
    with grader(course, NAME, STEM) as one:
        yield request.param, one


def findings(by: Grader, source: dict[str, object], **cells: str) -> dict[str, Finding]:
    return {one.name: one for one in by.report({STEM: edited(source, cells)}).findings}


def test_its_outcome_is_the_verdict(graded: tuple[str, Grader], source: dict[str, object]) -> None:
    case, by = graded
    found = findings(by, source)
    odd = {
        name: str(one.verdict) for name, one in found.items() if one.verdict is not Verdict.RIGHT
    }
    said = {name: [(n.code, *n.parts.values()) for n in found[name].diagnoses] for name in odd}
    everything = dict.fromkeys(found, "could not tell")
    expected = {
        "an assert that fails": ({"dh": "wrong"}, [("asserted", "Ask yourself 7 times.")]),
        "an assert without a word": ({"dh": "wrong"}, [("asserted_silently", "test_own")]),
        "about two gradients": ({"db1": "wrong", "db2": "wrong"}, [("asserted", "Both.")]),
        "alone": ({"dh": "wrong"}, [("asserted", "Ask yourself alone.")]),
        "a grader that stops": ({"dh": "could not tell"}, None),
        "a grader with a wrong name": (everything, None),
        "about none": (everything, None),
    }
    verdicts, notes = expected.get(case, ({}, None))
    assert odd == verdicts
    assert all(found[name].points == (0 if odd[name] == "wrong" else None) for name in odd)
    for name in odd:
        if notes is None:
            assert [code for code, *_ in said[name]] == ["grader_failed"]
        else:
            assert said[name] == notes


def test_a_test_of_a_value_in_the_chain_is_not_held_against_a_right_step(
    course: Path, source: dict[str, object]
) -> None:
    add_test(course, OWN_TESTS["of what was got wrong above"])
    with grader(course, NAME, STEM) as by:
        found = findings(by, source, dcounts="dcounts = counts_sum_inv * dprobs")
    assert found["dcounts"].verdict is Verdict.WRONG
    assert found["dlogits"].verdict is Verdict.RIGHT_STEP
    assert found["dlogits"].points == found["dlogits"].max_points


def test_a_failing_assert_changes_the_mark_by_every_door_alike(
    course: Path, source: dict[str, object]
) -> None:
    add_test(course, OWN_TESTS["an assert that fails"])
    folder = course / "submitted" / "ada" / NAME
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{STEM}.ipynb").write_bytes(edited(source, {}))
    marks = {}
    run(course, "handgrad", "grade", NAME, "--student", "ada")
    marks["handgrad grade"] = points(course)
    shutil.rmtree(course / "autograded")
    shutil.rmtree(course / "reports")
    run(course, "nbgrader", "autograde", NAME, "--student", "ada")
    marks["nbgrader autograde"] = points(course)
    check = ("handgrad", "check", str(folder / f"{STEM}.ipynb"), "--format", "json")
    done = run(course, *check, status=1)
    marks["handgrad check"] = {
        each["name"]: each["points"] for each in json.loads(done.stdout)["gradients"]
    }
    assert marks["handgrad grade"]["dh"] == 0
    assert sum(marks["handgrad grade"].values()) == 50
    assert marks["nbgrader autograde"] == marks["handgrad grade"] == marks["handgrad check"]
    by_hand = run(
        course,
        *(sys.executable, "-m", "pytest", "-q", f"graders/{NAME}/test_every_step.py"),
        *("--submission", str(folder), "-p", "no:cacheprovider"),
        status=1,
    )
    assert by_hand.stdout.count("right") == 26
    assert "1 failed, " in by_hand.stdout
    assert "test_own - AssertionError: Ask yo" in by_hand.stdout


def run(course: Path, *command: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=course, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def points(course: Path) -> dict[str, float]:
    """What the gradebook holds of Ada's answers to the first exercise, by variable."""
    found = scores(course, "ada")
    return {
        grade_id.removeprefix("test_"): score
        for (notebook, grade_id), (score, _) in found.items()
        if notebook == STEM and grade_id.startswith("test_") and score is not None
    }


BROKEN = {
    "no Python": ("def test_gradient(gradient:\n", "SyntaxError"),
    "another notebook": ('NOTEBOOK = "5_none"\n\n\ndef test_a(gradient):\n    pass\n', "'5_none'"),
    "no notebook": ("def test_a(gradient):\n    pass\n", "NOTEBOOK is ''"),
}


@pytest.mark.parametrize(("text", "told"), BROKEN.values(), ids=BROKEN)
def test_graders_that_cannot_be_read_grade_nobody_and_say_why(
    course: Path, text: str, told: str
) -> None:
    broken = course / "graders" / NAME / "test_broken.py"
    broken.write_text(text)
    try:
        with pytest.raises(UserError) as error, grader(course, NAME, STEM) as by:
            by.report({})
    finally:
        broken.unlink()
    assert told in error.value.fact
    assert "--collect-only" in error.value.cure
