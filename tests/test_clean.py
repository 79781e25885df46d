"""make clean: what was generated goes, what people made stays."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

CLEAN = Path(__file__).parents[1] / "tools" / "clean.py"


@pytest.fixture
def course(tmp_path):
    for name in ("autograded/ada", "feedback/ada", "submitted/ada"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "autograded" / ".gitkeep").touch()
    return tmp_path


def gradebook(course, marks):
    with sqlite3.connect(course / "gradebook.db") as database:
        database.execute("create table grade (auto_score real, manual_score real)")
        database.executemany("insert into grade values (?, null)", [(m,) for m in marks])


def clean(course, *arguments):
    return subprocess.run(
        [sys.executable, CLEAN, *arguments, course],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_generated_folders_go_and_submissions_stay(course):
    assert clean(course).returncode == 0
    assert not (course / "autograded" / "ada").exists()
    assert (course / "autograded" / ".gitkeep").exists()
    assert (course / "submitted" / "ada").exists()


def test_a_gradebook_with_marks_is_not_deleted_unasked(course):
    gradebook(course, [1.5])
    done = clean(course)
    assert done.returncode == 1
    assert "holds 1 marks" in done.stdout
    assert (course / "gradebook.db").exists()
    assert (course / "autograded" / "ada").exists()


def test_a_gradebook_that_cannot_be_read_is_not_deleted_unasked(course):
    (course / "gradebook.db").write_bytes(b"no database" * 100)
    assert clean(course).returncode == 1
    assert (course / "gradebook.db").exists()


@pytest.mark.parametrize("marks", [[], [1.0]], ids=["without marks", "with marks, and --yes"])
def test_a_gradebook_goes_when_nothing_is_lost_or_the_person_is_sure(course, marks):
    gradebook(course, marks)
    assert clean(course, *(["--yes"] if marks else [])).returncode == 0
    assert not (course / "gradebook.db").exists()
