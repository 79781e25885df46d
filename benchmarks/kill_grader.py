"""Kill the real grader at random moments and go on: the gradebook must end as an undisturbed run's.

    python benchmarks/kill_grader.py [--kills 20] [--seed 1]

`handgrad grade` is started on a class that handed in, killed with SIGKILL while it marks and writes,
started again, and so on; when everybody is graded, all is made due again, so that there is something to
cut short. Then it is left alone, and every table and every graded notebook is compared with those of a
run that nobody disturbed. Ends with status 1 where one differs or a process is left.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from coursedir import ASSIGNMENT, STUDENTS, autograded, graded_class, make_course, rows  # noqa: E402

COMMAND = [sys.executable, "-m", "handgrad.doors.cli", "grade", ASSIGNMENT]


def records(course: Path) -> dict[str, float]:
    """When each student's record was written."""
    found = {}
    for path in (course / "reports" / ".results" / ASSIGNMENT).glob("[!.]*.json"):
        found[path.stem] = path.stat().st_mtime
    return found


def kept_since(before: dict[str, float], course: Path) -> int:
    return sum(before.get(student) != at for student, at in records(course).items())


def kill_once(course: Path, dice: random.Random) -> tuple[str, int]:
    """What had been kept when it was killed, in words, and how many processes were left."""
    before = records(course)
    command = [*COMMAND, "--force"] if len(before) == len(STUDENTS) else COMMAND
    wanted = dice.randint(0, len(STUDENTS) - len(before) % len(STUDENTS))
    run = subprocess.Popen(
        command, cwd=course, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while run.poll() is None and kept_since(before, course) < wanted:
        time.sleep(0.01)
    # Before the first is kept there are seconds of starting up; later ones are close together.
    time.sleep(dice.uniform(0, 0.3 if wanted else 5.0))
    family = psutil.Process(run.pid).children(recursive=True) if run.poll() is None else []
    run.kill()
    status = run.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    kept = kept_since(before, course)
    how = "killed" if status < 0 else "it had ended"
    return f"{how}, {kept} kept in this run, {len(records(course))} in all", len(alive)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    left = 0
    with tempfile.TemporaryDirectory(prefix="handgrad-kill-") as folder:
        course = make_course(Path(folder) / "course")
        killed = at = 0
        while killed < options.kills:
            said, alive = kill_once(course, dice)
            at += 1
            killed += said.startswith("killed")
            left += alive
            print(f"{at:3}  {said}, {alive} processes left", flush=True)
        subprocess.run(COMMAND, cwd=course, check=True, stdout=subprocess.DEVNULL)
        whole = graded_class().root
        mine, theirs = rows(course), rows(whole)
        differ = [name for name in theirs if mine[name] != theirs[name]]
        if autograded(course) != autograded(whole):
            differ.append("the notebooks in autograded/")
        for name, table in theirs.items():
            print(f"{len(table):6} rows of {name}: {'equal' if name not in differ else 'DIFFER'}")
    print(f"killed {killed} times: {', '.join(differ) or 'nothing'} differs, {left} processes left")
    return 1 if differ or left else 0


if __name__ == "__main__":
    sys.exit(main())
