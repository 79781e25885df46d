"""The secret seed of an assignment is there whole, whoever asks for it at the same moment or dies of it."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from coursedir import ASSIGNMENT, ROOT, SCRIPTS, make_course

from handgrad.assignment.assignment import Assignment
from handgrad.assignment.source import Source, described
from handgrad.batch.ledger import due_of
from handgrad.notebooks.intake import take
from handgrad.store.records import Records

# Children that all ask at once, as soon as the pipe is closed; every other one is killed meanwhile.
CROWD = """
import os, signal, sys
from pathlib import Path
from handgrad.assignment.seed import secret_of

for round in range(20):
    path = Path(sys.argv[1], str(round), "seed")
    path.parent.mkdir()
    start, hold = os.pipe()
    children = []
    for number in range(16):
        child = os.fork()
        if not child:
            os.close(hold)
            os.read(start, 1)
            os.write(1, f"{round} {secret_of(path.parent)}\\n".encode())
            os._exit(0)
        children.append(child)
    os.close(hold)
    for child in children[::2]:
        os.kill(child, signal.SIGKILL)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert ends[1::2] == [0] * 8, ends
"""

# The process ends where it would call this function of the system's.
DIES = """
import os, sys
from pathlib import Path
from handgrad.assignment.seed import secret_of

setattr(os, sys.argv[2], lambda *_, **__: os._exit(9))
secret_of(Path(sys.argv[1]).parent)
"""


def test_many_processes_at_once_read_one_seed_though_some_are_killed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CROWD, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = dict(line.split() for line in done.stdout.splitlines())
    assert len(told) == 20
    for line in done.stdout.splitlines():
        number, secret = line.split()
        assert len(secret) == 32
        assert secret == told[number] == (tmp_path / number / "seed").read_text().strip()


@pytest.mark.parametrize("call", ["fsync", "link", "unlink"])
def test_a_process_that_dies_while_it_makes_the_seed_leaves_none_or_a_whole_one(
    call: str, tmp_path: Path
) -> None:
    for name in ("graders", "release"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*seed*"))
    seed = tmp_path / "graders" / "backprop" / "seed"
    done = subprocess.run([sys.executable, "-c", DIES, seed, call], check=False)
    assert done.returncode == 9
    secret = Assignment.load(tmp_path, "backprop").secret
    assert len(secret) == 32
    assert seed.read_text().strip() == secret
    assert stat.S_IMODE(seed.stat().st_mode) == 0o600


COMMANDS = {
    "handgrad grade": ("handgrad", "grade", ASSIGNMENT, "--jobs", "1"),
    "nbgrader autograde": ("nbgrader", "autograde", ASSIGNMENT),
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_seed_in_the_environment_is_taken_and_no_file_is_made(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    course = make_course(tmp_path / "course", ["blank"])
    seed = course / "graders" / ASSIGNMENT / "seed"
    seed.unlink()
    command, *others = words
    done = subprocess.run(
        [SCRIPTS / command, *others],
        cwd=course,
        env={**os.environ, "HANDGRAD_SEED": " c0ffee\n"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not seed.exists()
    record = Records(course, ASSIGNMENT).read("blank")
    seed.write_text("c0ffee\n")
    known = Assignment.load(course, ASSIGNMENT)
    folder = course / "submitted" / "blank" / ASSIGNMENT
    handed_in = take(folder, known.release, known.files, known.settings.limits)
    assert record is not None
    assert record.due == due_of(described(known), handed_in)


def test_what_travels_has_the_seed_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    course = make_course(tmp_path / "course", [])
    for seed in ("c0ffee", "5eed" * 8):
        monkeypatch.setenv("HANDGRAD_SEED", seed if seed == "c0ffee" else "")
        travels = dict(Source(course, ASSIGNMENT).files())
        assert travels[f"graders/{ASSIGNMENT}/seed"] == seed.encode()
        assert Assignment.load(course, ASSIGNMENT).secret == seed
