"""Whatever cuts nbgrader's own door short, the next run ends where an undisturbed one does.

The other door's faults (kills, full and read-only disks, locked and damaged gradebooks) are in
tests/test_batch.py; twenty kills of the real command are in benchmarks/kill_grader.py.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from coursedir import ASSIGNMENT, SCRIPTS, autograded, graded_class, make_course, nbgrader, rows

PEOPLE = ("broken_json", "late")


@pytest.fixture
def course(tmp_path: Path) -> Path:
    return make_course(tmp_path / "course", PEOPLE)


def undisturbed() -> Mapping[str, list[tuple[object, ...]]]:
    """The gradebook's tables as one run leaves them, of these students only."""
    whole = rows(graded_class().root)
    columns = {"student": 0, "submitted_notebook": 0, "grade": 1, "comment": 1}
    columns["submitted_assignment"] = 1
    return {
        name: [row for row in table if name not in columns or row[columns[name]] in PEOPLE]
        for name, table in whole.items()
    }


def notebooks_of(root: Path) -> dict[str, bytes]:
    return {
        name: data
        for name, (data, _) in autograded(root).items()
        if name.split("/")[0] in PEOPLE and name.endswith(".ipynb")
    }


def started(root: Path, *options: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PATH": os.defpath}
    return subprocess.Popen(
        [str(SCRIPTS / "nbgrader"), "autograde", ASSIGNMENT, *options],
        cwd=root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def written(root: Path) -> set[tuple[str, int]]:
    """What was written so far: files in `autograded/`, each time that they were; records."""
    paths = [*(root / "autograded").rglob("*.*"), *(root / "reports/.results").rglob("*.json")]
    found = set()
    for path in paths:
        with suppress(FileNotFoundError):
            found.add((str(path), path.stat().st_mtime_ns))
    return found


def test_nbgrader_killed_at_any_moment_is_taken_up_again(course: Path) -> None:
    dice = random.Random(11)
    killed = 0
    for _ in range(12):
        done = len(notebooks_of(course)) == len(notebooks_of(graded_class().root))
        run = started(course, "--force") if done else started(course)
        before, some = written(course), dice.randint(1, 6)
        while run.poll() is None and len(written(course) - before) < some:
            time.sleep(0.05)
        time.sleep(dice.uniform(0, 0.2))
        family = psutil.Process(run.pid).children(recursive=True) if run.poll() is None else []
        run.kill()
        killed += run.wait() < 0
        _, alive = psutil.wait_procs(family, timeout=60)
        assert alive == []
        if killed == 4:
            break
    whole = nbgrader(course, "autograde", ASSIGNMENT)
    assert whole.returncode == 0, whole.stderr
    assert killed == 4
    assert rows(course) == undisturbed()
    assert notebooks_of(course) == notebooks_of(graded_class().root)


def test_a_finished_submission_is_passed_over_and_an_unfinished_one_is_not(course: Path) -> None:
    assert nbgrader(course, "autograde", ASSIGNMENT).returncode == 0
    half = course / "autograded" / "late" / ASSIGNMENT / "4_training.ipynb"
    half.unlink()
    done = nbgrader(course, "autograde", ASSIGNMENT)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "unfinished" in line or "Skipping" in line]
    assert [("unfinished" in line, Path(line).parent.name) for line in told] == [
        (True, "late"),
        (False, "broken_json"),
    ]
    assert half.is_file()
    assert rows(course) == undisturbed()


def test_both_doors_at_once_end_as_one(course: Path) -> None:
    grade = [sys.executable, "-m", "handgrad.doors.cli", "grade", ASSIGNMENT]
    both = [started(course), subprocess.Popen(grade, cwd=course, stderr=subprocess.DEVNULL)]
    for run in both:
        run.wait(timeout=120)
    done = subprocess.run(grade, cwd=course, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert rows(course) == undisturbed()
    assert notebooks_of(course) == notebooks_of(graded_class().root)
