"""Course folders for tests: a class that handed in, graded once for real, and compared row by row."""

import atexit
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nbformat

from demo.classroom import CLASS, ONE, THREE, Course, Student, edited
from handgrad.assignment.source import Described, Source
from handgrad.batch.run import Summary, grade, local_pool
from handgrad.grading import process
from handgrad.grading.graded import Graded

ROOT = Path(__file__).parents[1]
ASSIGNMENT = "backprop"
DUE = "2026-03-01 12:00:00.000000"
SCRIPTS = Path(sys.executable).parent


def late(folder: Path) -> None:
    """Handed in an hour and a half after the assignment was due."""
    (folder / "timestamp.txt").write_text("2026-03-01 13:30:00 UTC\n")


def in_time(folder: Path) -> None:
    """Handed in a day before, by a clock of another zone."""
    (folder / "timestamp.txt").write_text("2026-02-28T14:00:00+02:00")


def leave_one_out(folder: Path) -> None:
    """The third notebook is not there at all; a file that nobody asked for is."""
    (folder / f"{THREE}.ipynb").unlink()
    (folder / "torch.py").write_text("raise SystemExit\n")


def write_answers(folder: Path) -> None:
    """Written answers, one of them with more than prose in it."""
    path = folder / f"{ONE}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    written = [
        cell.metadata.nbgrader.grade_id
        for cell in notebook.cells
        if cell.cell_type == "markdown" and cell.metadata.get("nbgrader", {}).get("solution")
    ]
    text = "Because $a < b$. <img src=x onerror=alert(1)>"
    nbformat.write(edited(notebook, dict.fromkeys(written, text)), path)


STUDENTS: Mapping[str, Student] = {
    "blank": CLASS["blank"],
    "broken_json": CLASS["broken_json"],
    "forgot_a_branch": CLASS["forgot_a_branch"],
    "in_time": Student("handed in early", accident=in_time),
    "late": Student("handed in late", CLASS["two_mistakes"].answers, accident=late),
    "one_missing": Student("left a notebook out", accident=leave_one_out),
    "renamed_notebook": CLASS["renamed_notebook"],
    "writes": Student("wrote the written answers", accident=write_answers),
}


@cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="handgrad-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def _template() -> Path:
    """A course with a gradebook that knows the assignment, and with nobody in it."""
    root = _scratch() / "template"
    root.mkdir()
    for name in ("source", "release", "graders", "data"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("seed"))
    for name in ("source", "release", "graders"):
        for folder in (root / name).iterdir():
            if folder.name != ASSIGNMENT:
                shutil.rmtree(folder)
    (root / "graders" / ASSIGNMENT / "seed").write_text("5eed" * 8)
    config = (ROOT / "nbgrader_config.py").read_text()
    config += (
        '\nc.LateSubmissionPlugin.penalty_method = "zero"\n'  # so that there is one to compare
    )
    (root / "nbgrader_config.py").write_text(config)
    done = nbgrader(root, "generate_assignment", ASSIGNMENT, "--force")
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(root / "gradebook.db")) as database, database:
        database.execute("UPDATE assignment SET duedate = ?", (DUE,))
    return root


def make_course(root: Path, students: Iterable[str] = STUDENTS) -> Path:
    """A course at `root` in which these students handed in."""
    shutil.copytree(_template(), root, symlinks=True)
    for name in students:
        hand_in(root, name)
    return root


@cache
def _course() -> Course:
    return Course.read(_template(), ASSIGNMENT)


def empty_course(root: Path) -> Path:
    """A course without an assignment at `root`."""
    for name in ("source", "graders", "release"):
        (root / name).mkdir(parents=True)
    shutil.copy(ROOT / "nbgrader_config.py", root)
    return root


def released(root: Path, name: str) -> Path:
    """The course at `root` with its assignment `name` released."""
    done = nbgrader(root, "generate_assignment", name, "--force")
    assert done.returncode == 0, done.stderr
    return root


def hand_in(root: Path, name: str, student: Student | None = None) -> Path:
    """Put a student's submission into the course at `root`, over an older one."""
    student = student or STUDENTS.get(name) or CLASS[name]
    folder = root / "submitted" / name / ASSIGNMENT
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for stem, notebook in student.notebooks(_course()).items():
        nbformat.write(notebook, folder / f"{stem}.ipynb")
    if student.accident:
        student.accident(folder)
    return folder


def nbgrader(root: Path, *arguments: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    """Run nbgrader in the course at `root`, as from a shell in which no environment is active."""
    environment = {**os.environ, "PATH": os.defpath}
    return subprocess.run(
        [str(SCRIPTS / "nbgrader"), *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


# ------------------------------------------------------------------------- a class, graded for real


@dataclass(frozen=True, slots=True)
class GradedClass:
    """A course after an undisturbed run with the real sandbox and graders, and what came of each."""

    root: Path
    described: Described
    outcomes: Mapping[str, Graded]
    summary: Summary


@cache
def graded_class() -> GradedClass:
    """The students above, graded once in this session of tests; to be looked at, not changed."""
    root = make_course(_scratch() / "graded")
    pools: list[_Recorder] = []

    def pool(source: Source, jobs: int) -> Executor:
        pools.append(_Recorder(local_pool(source, jobs)))
        return pools[0]

    summary = grade(root, ASSIGNMENT, jobs=2, pool=pool)
    (recorder,) = pools
    described = recorder.described.result()
    return GradedClass(
        root, described, {s: f.result() for s, f in recorder.outcomes.items()}, summary
    )


class _Recorder(Executor):
    """An executor that keeps what another one gave."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self.outcomes: dict[str, Future[Graded]] = {}
        self.described: Future[Described] = Future()

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        future = self._inner.submit(function, *args)
        if function is process.grade:
            self.outcomes[args[0]] = future
        else:
            self.described = future
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._inner.shutdown(wait, cancel_futures=cancel_futures)


class Replay(Executor):
    """Gives outcomes that were real once, at once, and remembers who was asked for."""

    def __init__(
        self,
        outcomes: Mapping[str, Graded | BaseException],
        described: Described | None = None,
    ) -> None:
        self._outcomes = outcomes
        self._described = described or graded_class().described
        self.before: Callable[[str], None] = lambda _: None
        self.asked: list[str] = []

    def __call__(self, source: Source, jobs: int) -> Executor:
        """Be the pool of a run."""
        return self

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if function is process.describe:
            future.set_result(self._described)
            return future
        student = args[0]
        self.asked.append(student)
        self.before(student)
        outcome = self._outcomes[student]
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
        return future


def replay(**changes: Graded | BaseException) -> Replay:
    """The class's real outcomes, but for some students'."""
    return Replay({**graded_class().outcomes, **changes})


# ----------------------------------------------------------------------------------------- comparing

_SUBMITTED = """
    JOIN submitted_notebook sn ON sn.id = x.notebook_id
    JOIN notebook n ON n.id = sn.notebook_id
    JOIN submitted_assignment s ON s.id = sn.assignment_id
    JOIN assignment a ON a.id = s.assignment_id
    JOIN base_cell b ON b.id = x.cell_id
"""
# Every table that grading writes, its random ids replaced by the names that they stand for.
TABLES = {
    "student": "SELECT id, first_name, last_name, email, lms_user_id FROM student",
    "course": "SELECT id FROM course",
    "submitted_assignment": """
        SELECT a.name, s.student_id, s.timestamp, s.extension FROM submitted_assignment s
        JOIN assignment a ON a.id = s.assignment_id""",
    "submitted_notebook": """
        SELECT s.student_id, n.name, sn.flagged, sn.late_submission_penalty
        FROM submitted_notebook sn JOIN notebook n ON n.id = sn.notebook_id
        JOIN submitted_assignment s ON s.id = sn.assignment_id""",
    "grade": f"""
        SELECT a.name, s.student_id, n.name, b.name, b.type, x.auto_score, x.manual_score,
        x.extra_credit, x.needs_manual_grade FROM grade x {_SUBMITTED}""",
    "comment": f"""
        SELECT a.name, s.student_id, n.name, b.name, b.type, x.auto_comment, x.manual_comment
        FROM comment x {_SUBMITTED}""",
}


def rows(root: Path) -> dict[str, list[tuple[object, ...]]]:
    """The gradebook's tables, sorted."""
    with closing(sqlite3.connect(root / "gradebook.db")) as database:
        return {name: sorted(database.execute(query), key=repr) for name, query in TABLES.items()}


def scores(root: Path, student: str) -> dict[tuple[str, str], tuple[float | None, bool]]:
    """Automatic score and manual flag of a student's cells, by notebook and grade id."""
    return {
        (row[2], row[3]): (row[5], bool(row[8]))  # type: ignore[misc]
        for row in rows(root)["grade"]
        if row[1] == student
    }


def autograded(root: Path) -> dict[str, tuple[bytes, int]]:
    """The files in `autograded/` by relative path, with their modes."""
    folder = root / "autograded"
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
