"""Many submissions: graded once, kept whole, taken up again after anything."""

import dataclasses
import json
import os
import pickle
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from coursedir import (
    ASSIGNMENT,
    ROOT,
    STUDENTS,
    Replay,
    autograded,
    graded_class,
    hand_in,
    make_course,
    replay,
    rows,
    scores,
)
from places import SANDBOXES

from demo.classroom import CLASS, ONE, TWO
from handgrad.batch.run import Result, Summary, Watcher, grade
from handgrad.errors import UserError
from handgrad.grading.workers import WorkerDied
from handgrad.sandbox.bubblewrap import find_bwrap
from handgrad.store import backups, gradebook
from handgrad.store.lock import only_one
from handgrad.verdict import Verdict

PEOPLE = sorted(STUDENTS)
THREE_STUDENTS = ("blank", "forgot_a_branch", "in_time")


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A course in which the class handed in and nobody is graded."""
    return make_course(tmp_path / "a course")  # nbgrader and we must both bear a space


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    """A copy of the course that was graded for real."""
    return Path(shutil.copytree(graded_class().root, tmp_path / "graded"))


def run(root: Path, pool: Replay | None = None, **options: object) -> Summary:
    return grade(root, ASSIGNMENT, pool=pool or replay(), **options)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------ one whole run


def test_a_class_is_graded_with_the_real_sandbox() -> None:
    done = graded_class()
    assert done.summary.graded == len(PEOPLE)
    assert done.summary.open == ["broken_json"]
    assert done.summary.failed == {}
    points = {student: outcome.report.points for student, outcome in done.outcomes.items()}
    full = done.outcomes["writes"].report.max_points
    assert points["writes"] == points["in_time"] == points["renamed_notebook"] == full
    assert points["blank"] == 0
    assert points["forgot_a_branch"] == full - 2
    assert {f.verdict for f in done.outcomes["blank"].report.findings} == {Verdict.NOT_ATTEMPTED}


def test_what_nobody_could_judge_is_neither_zero_nor_full() -> None:
    every = scores(graded_class().root, "broken_json").items()
    assert {score for (of, _), score in every if of == "4_training"} == {(None, True)}


def test_a_missing_notebook_scores_zero_as_in_nbgrader() -> None:
    missing = scores(graded_class().root, "one_missing")
    assert {score for (of, _), score in missing.items() if of == "3_batch_norm"} == {(0.0, False)}


def test_nothing_of_a_strangers_files_is_copied() -> None:
    names = {Path(name).name for name in autograded(graded_class().root)}
    assert "torch.py" not in names
    assert {"check.py", "names.txt", "timestamp.txt", f"{ONE}.ipynb"} <= names
    assert all(
        "onerror=alert" not in data.decode() or "&lt;img" in data.decode()
        for data, _ in (autograded(graded_class().root)[f"writes/{ASSIGNMENT}/{ONE}.ipynb"],)
    )


def test_grading_leaves_the_submissions_as_they_are(course: Path) -> None:
    before = {path: path.read_bytes() for path in (course / "submitted").rglob("*.ipynb")}
    run(course)
    assert {path: path.read_bytes() for path in (course / "submitted").rglob("*.ipynb")} == before


# ------------------------------------------------------------------------------------------- due


def test_what_is_graded_and_unchanged_stands(graded: Path) -> None:
    pool = replay()
    summary = run(graded, pool)
    assert (summary.graded, summary.standing, pool.asked) == (0, len(PEOPLE), [])


def test_force_grades_again_and_changes_nothing(graded: Path) -> None:
    before = rows(graded), autograded(graded)
    summary = run(graded, force=True)
    assert (summary.graded, summary.changed) == (len(PEOPLE), [])
    assert (rows(graded), autograded(graded)) == before


def _rewrite(root: Path) -> None:
    hand_in(root, "blank", CLASS["half_done"])


def _later_stamp(root: Path) -> None:
    (root / "submitted/blank" / ASSIGNMENT / "timestamp.txt").write_text("2026-03-01 11:00:00 UTC")


def _remove_autograded(root: Path) -> None:
    shutil.rmtree(root / "autograded/blank")


def _damage_record(root: Path) -> None:
    record = root / "reports/.results" / ASSIGNMENT / "blank.json"
    record.write_bytes(record.read_bytes()[:-10])


def _change_score(root: Path) -> None:
    with closing(sqlite3.connect(root / "gradebook.db")) as database, database:
        database.execute(
            """UPDATE grade SET auto_score = 2 WHERE notebook_id IN
            (SELECT sn.id FROM submitted_notebook sn JOIN submitted_assignment s
            ON s.id = sn.assignment_id WHERE s.student_id = 'blank')"""
        )


@pytest.mark.parametrize(
    "change",
    [_rewrite, _later_stamp, _remove_autograded, _damage_record, _change_score],
    ids=["submission", "timestamp", "autograded", "record", "gradebook"],
)
def test_a_mark_stands_no_longer_when_what_it_rests_on_changes(
    graded: Path, change: object
) -> None:
    change(graded)  # type: ignore[operator]
    pool = replay()
    run(graded, pool)
    assert pool.asked == ["blank"]
    assert run(graded).graded == 0


def test_a_corrected_grader_regrades_all_and_says_who_changed(graded: Path) -> None:
    old = graded_class()
    better = dataclasses.replace(old.described, digest="of the corrected graders")
    outcomes = {}
    for student, outcome in old.outcomes.items():
        findings = tuple(
            dataclasses.replace(f, points=1.0, verdict=Verdict.WRONG)
            if student == "in_time" and f.grade_id == "test_dC"
            else f
            for f in outcome.report.findings
        )
        report = dataclasses.replace(outcome.report, findings=findings)
        outcomes[student] = dataclasses.replace(outcome, report=report, digest=better.digest)
    summary = run(graded, Replay(outcomes, better))
    assert summary.graded == len(PEOPLE)
    (one,) = summary.changed
    assert one.student == "in_time"
    assert {(c.name, c.before, c.now) for c in one.changes} >= {("dC", 2.0, 1.0)}


def test_one_student_can_be_graded_alone(course: Path) -> None:
    pool = replay()
    run(course, pool, students=["late"])
    assert pool.asked == ["late"]
    assert {row[0] for row in rows(course)["student"]} == {"late"}


def test_a_persons_marks_survive_a_regrade(graded: Path) -> None:
    with closing(sqlite3.connect(graded / "gradebook.db")) as database, database:
        database.execute("UPDATE grade SET manual_score = 1.5, extra_credit = 0.5")
        database.execute("UPDATE comment SET manual_comment = 'see me'")
    run(graded, force=True)
    tables = rows(graded)
    assert {(row[6], row[7]) for row in tables["grade"]} == {(1.5, 0.5)}
    assert {row[6] for row in tables["comment"]} == {"see me"}
    # nbgrader's rule: what a person scored by hand is looked at again, unless it is missing.
    assert {row[8] for row in tables["grade"] if row[1] == "in_time"} == {1}


# -------------------------------------------------------------------------- one bad, the others well


class Listener(Watcher):
    def __init__(self) -> None:
        self.failures: dict[str, str] = {}
        self.grades: list[Result] = []
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def failed(self, student: str, error: UserError) -> None:
        self.failures[student] = str(error)

    def graded(self, one: Result) -> None:
        self.grades.append(one)


def test_a_submission_that_kills_its_worker_costs_itself_only(course: Path) -> None:
    dead = WorkerDied("the process that marked it ended (SIGKILL)")
    listener = Listener()
    summary = run(course, replay(late=dead), watcher=listener)
    assert summary.graded == len(PEOPLE)
    assert "late" in summary.open
    (crashed,) = [one for one in listener.grades if one.crashed]
    assert crashed.verdicts == {Verdict.COULD_NOT_TELL: 37}
    assert set(scores(course, "late").values()) == {(None, True)}
    assert "SIGKILL" in autograded(course)[f"late/{ASSIGNMENT}/{ONE}.ipynb"][0].decode()
    pool = replay()
    run(course, pool)  # it is tried again the next time
    assert pool.asked == ["late"]
    assert scores(course, "late") == scores(graded_class().root, "late")


def test_folders_that_are_no_students_are_named_and_the_others_graded(course: Path) -> None:
    submitted = course / "submitted"
    (submitted / "eve").symlink_to("late")
    (submitted / "mallory").mkdir()
    (submitted / "mallory" / ASSIGNMENT).symlink_to(submitted / "late" / ASSIGNMENT)
    shutil.copytree(submitted / "late", submitted / "a\nb")
    (submitted / "empty" / ASSIGNMENT).mkdir(parents=True)
    shutil.copytree(submitted / "in_time" / ASSIGNMENT, submitted / "nobody" / ASSIGNMENT)
    for stem in graded_class().described.release:
        (submitted / "nobody" / ASSIGNMENT / f"{stem}.ipynb").rename(
            submitted / "nobody" / ASSIGNMENT / f"{stem}.html"
        )
    shutil.copytree(submitted / "in_time", submitted / "timeless")
    (submitted / "timeless" / ASSIGNMENT / "timestamp.txt").write_text("yesterday, I think")
    listener = Listener()
    outcomes = {**graded_class().outcomes, "timeless": graded_class().outcomes["in_time"]}
    summary = run(course, Replay(outcomes), watcher=listener)
    assert summary.graded == len(PEOPLE)
    said = "\n".join(listener.failures.values())
    assert said.count("it is a link to another place") == 2
    assert "letters, digits and" in said
    assert "no notebook of the assignment is there" in listener.failures["empty"]
    assert (
        "no notebook of the assignment is there, but 1_every_step.html, 2_"
        in listener.failures["nobody"]
    )
    assert "'yesterday, I think' is not a time" in listener.failures["timeless"]
    assert all(len(text) < 700 and "Traceback" not in text for text in listener.failures.values())


def test_files_that_nobody_asked_for_are_named(course: Path) -> None:
    listener = Listener()
    run(course, watcher=listener)
    assert "one_missing: left alone: torch.py" in listener.notes
    assert "one_missing, 3_batch_norm: The notebook was not handed in." in listener.notes


def test_devices_pipes_and_links_in_a_folder_are_not_opened(course: Path) -> None:
    folder = course / "submitted/in_time" / ASSIGNMENT
    for stem in (ONE, TWO):
        (folder / f"{stem}.ipynb").unlink()
    os.mkfifo(folder / f"{ONE}.ipynb")
    (folder / f"{TWO}.ipynb").symlink_to("/dev/zero")
    (folder / "timestamp.txt").unlink()
    (folder / "notes.txt").symlink_to(course / "gradebook.db")
    summary = run(course, students=["in_time"])  # who opened them would wait for ever
    assert summary.graded == 1


# ------------------------------------------------------------------------------ what can be mended


def error_of(root: Path, **options: object) -> UserError:
    with pytest.raises(UserError) as caught:
        run(root, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_student_who_handed_in_nothing_is_named(course: Path) -> None:
    error = error_of(course, students=["allice"])
    assert error.where == "allice"
    assert "in_time" in error.cure


def test_nobody_having_handed_in_is_said(tmp_path: Path) -> None:
    assert error_of(make_course(tmp_path / "c", ())).fact == "nobody handed in anything"


def test_a_misspelt_assignment_is_named(course: Path) -> None:
    with pytest.raises(UserError, match="no assignment of this name"):
        grade(course, "bakprop", jobs=1)


def test_a_missing_gradebook_names_the_command_that_makes_one(course: Path) -> None:
    (course / "gradebook.db").unlink()
    assert "nbgrader generate_assignment backprop" in error_of(course).cure
    assert not (course / "gradebook.db").exists()


def test_a_gradebook_without_the_assignment_is_not_written_to(course: Path) -> None:
    with closing(sqlite3.connect(course / "gradebook.db")) as database, database:
        database.execute("UPDATE assignment SET name = 'other'")
    assert "it has no assignment `backprop`" in str(error_of(course))


def test_points_that_differ_from_the_release_are_named(course: Path) -> None:
    with closing(sqlite3.connect(course / "gradebook.db")) as database, database:
        database.execute(
            """UPDATE grade_cells SET max_score = 9 WHERE id IN
            (SELECT id FROM base_cell WHERE name = 'test_dC')"""
        )
    error = error_of(course)
    assert "9 points for `test_dC`" in error.fact
    assert "generate_assignment" in error.cure


def test_a_locked_gradebook_is_said_to_be_locked(
    course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradebook, "_LOCK_SECONDS", 0.1)
    with closing(sqlite3.connect(course / "gradebook.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "another program is writing in it" in error_of(course).fact
    assert run(course).graded == len(PEOPLE)


@pytest.mark.parametrize("how", ["overwritten", "cut", "emptied"])
def test_a_damaged_gradebook_is_named_and_a_copy_put_back(graded: Path, how: str) -> None:
    run(graded, force=True)  # which made a copy before
    path, before = graded / "gradebook.db", rows(graded)
    data = path.read_bytes()
    damage = {
        "overwritten": data[:200] + os.urandom(60_000) + data[60_200:],
        "cut": data[: len(data) // 2],
        "emptied": b"\0" * 4096,
    }
    path.write_bytes(damage[how])
    error = error_of(graded)
    assert "handgrad restore" in error.cure or "generate_assignment" in error.cure
    assert path.read_bytes() == damage[how], "nothing may be written into it"
    copy, aside = backups.restore(path)
    assert aside is not None
    assert aside.read_bytes() == damage[how]
    assert ".bak-" in copy.name
    run(graded)
    assert rows(graded) == before


def test_after_an_older_copy_is_put_back_only_what_it_lacks_is_graded(course: Path) -> None:
    run(course, students=["blank", "late"])
    run(course)  # the copy made before this run knows two students
    path = course / "gradebook.db"
    backups.restore(path, backups.copies(path)[0])
    pool = replay()
    run(course, pool)
    assert sorted(pool.asked) == [s for s in PEOPLE if s not in ("blank", "late")]
    assert rows(course) == rows(graded_class().root)


def test_a_few_copies_are_kept(graded: Path) -> None:
    for number in range(7):
        (graded / f"gradebook.db.bak-2020010{number}-000000").write_bytes(b"")
    run(graded)
    assert len(backups.copies(graded / "gradebook.db")) == 5


def test_two_graders_at_once_do_not_fight(course: Path) -> None:
    with only_one(course):
        error = error_of(course)
        assert "another grader is at work there" in error.fact
        assert str(os.getpid()) in error.fact
    assert run(course).graded == len(PEOPLE)


def faulty(root: Path, *jail: str, like: Path | None = None) -> dict[str, object]:
    """What a run says; with `jail`, in a mount namespace in which something is the matter with the disk."""
    real = root.parent / "real.pickle"
    real.write_bytes(pickle.dumps((graded_class().described, graded_class().outcomes)))
    script = [str(Path(__file__).with_name("faulty_run.py")), str(real), str(root)]
    done = subprocess.run(
        ([str(find_bwrap()), "--dev-bind", "/", "/", *jail, "--"] if jail else [])
        + [sys.executable, *script]
        + ([] if like is None else [str(like)]),
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


def test_a_read_only_course_is_said_to_be_read_only(course: Path) -> None:
    if "bubblewrap" in SANDBOXES:
        told = faulty(course, "--ro-bind", str(course), str(course))
    else:  # then these tests are no root's, whom modes do not bind
        course.chmod(0o555)
        told = faulty(course)
        course.chmod(0o755)
    assert "cannot be written to" in str(told["error"])
    assert "Make the course's folder writable" in str(told["error"])


if "bubblewrap" in SANDBOXES:  # or no small disk can be mounted

    def test_a_full_disk_loses_nothing_and_the_next_run_goes_on(
        course: Path, tmp_path: Path
    ) -> None:
        small = tmp_path / "small"
        small.mkdir()
        told = faulty(small, "--size", str(8 * 2**20), "--tmpfs", str(small), like=course)
        assert "no space left" in str(told["error"])
        kept = set(told["kept"])  # type: ignore[call-overload]
        assert 0 < len(kept) < len(PEOPLE)
        assert told["sound"] is True
        assert told["again"] == sorted(set(PEOPLE) - kept)
        assert told["grades"] == [list(row) for row in rows(graded_class().root)["grade"]]


# ------------------------------------------------------------------------------------- interrupted


def test_killed_at_any_moment_the_next_run_ends_as_an_undisturbed_one(course: Path) -> None:
    run(course)
    began = time.monotonic()
    run(course, force=True)
    lasts = time.monotonic() - began
    dice = random.Random(7)
    killed = 0
    for _ in range(100):
        child = forked(lambda: run(course, force=True))
        time.sleep(dice.uniform(0.01, lasts))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        if killed == 20:
            break
    assert killed == 20
    run(course)
    assert rows(course) == rows(graded_class().root)
    assert autograded(course) == autograded(graded_class().root)


def test_what_was_kept_before_a_kill_is_not_graded_again(course: Path) -> None:
    records = course / "reports/.results" / ASSIGNMENT
    dice = random.Random(8)

    def kept() -> set[str]:
        return {path.stem for path in records.glob("[!.]*.json")}

    while len(before := kept()) < len(PEOPLE):
        # Each student only as slow as to be killed among them.
        pool = replay()
        pool.before = lambda _: time.sleep(0.05)
        child = forked(lambda pool=pool: run(course, pool))  # type: ignore[misc]
        while kept() == before and not os.waitid(
            os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT
        ):
            time.sleep(0.01)
        time.sleep(dice.uniform(0.0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert (now := kept()) > before, "it got nowhere"
        pool = replay()
        pool.before = stop_after(1)
        run(course, pool)
        assert not now & set(pool.asked)
    assert run(course).left == 0
    assert rows(course) == rows(graded_class().root)


def forked(work: Callable[[], object]) -> int:
    """Do `work` in a copy of this process, which is ready to begin at once; its id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests may be about
        child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def stop_after(number: int) -> Callable[[str], None]:
    """Something that presses Ctrl-C when so many submissions have been begun."""
    begun: list[str] = []

    def before(student: str) -> None:
        begun.append(student)
        if len(begun) == number:
            signal.raise_signal(signal.SIGINT)

    return before


def test_ctrl_c_finishes_what_is_in_hand_and_says_what_is_left(course: Path) -> None:
    pool = replay()
    pool.before = stop_after(3)
    summary = run(course, pool, jobs=2)
    assert 3 <= summary.graded <= 4
    assert summary.graded + summary.left == len(PEOPLE)
    again = replay()
    summary = run(course, again)
    assert summary.left == 0
    assert not set(pool.asked) & set(again.asked)
    assert rows(course) == rows(graded_class().root)


def test_the_second_ctrl_c_does_not_wait(course: Path) -> None:
    def twice(_: str) -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    pool = replay()
    pool.before = twice
    with pytest.raises(KeyboardInterrupt):
        run(course, pool)
    assert run(course).left == 0


def test_a_real_run_that_is_killed_leaves_no_process_and_is_taken_up_again(course: Path) -> None:
    for name in PEOPLE:
        if name not in THREE_STUDENTS:
            shutil.rmtree(course / "submitted" / name)
    command = [
        sys.executable,
        "-m",
        "handgrad.doors.cli",
        "grade",
        ASSIGNMENT,
        "--course",
        str(course),
    ]
    first = subprocess.Popen(
        [*command, "--jobs", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    family = []
    for _ in range(600):
        family = psutil.Process(first.pid).children(recursive=True)
        if any((course / "reports/.results" / ASSIGNMENT).glob("[!.]*.json")):
            break
        time.sleep(0.1)
        assert first.poll() is None, "it ended before it was killed"
    first.kill()
    first.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["graded"] + told["standing"] == 3
    assert told["standing"] >= 1
    whole = rows(graded_class().root)["grade"]
    assert rows(course)["grade"] == [row for row in whole if row[1] in THREE_STUDENTS]
