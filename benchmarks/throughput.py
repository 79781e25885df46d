"""How many submissions a second, against nbgrader as it comes; one run measures everything.

    python benchmarks/throughput.py [--submissions 1000] [--json] [--no-page]
    python benchmarks/throughput.py --sandbox bubblewrap --sandbox landlock [--submissions 1000]

Makes a class in the proportions of a real one and grades the same files in every way there is. Writes
docs/performance.md, its picture and docs/scale.md, unless `--no-page`, and prints the figures. With
`--sandbox` it compares sandboxes only, by turns, and prints submissions a second and core-seconds for each.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path[:1] = [str(Path(__file__).resolve().parents[1])]

from benchmarks import classroom, page, watched  # noqa: E402 (found through the line above)
from benchmarks.classroom import ASSIGNMENT, PROPORTIONS  # noqa: E402
from handgrad.sandbox.launch import SANDBOXES  # noqa: E402

_PLUGIN = 40  # submissions given to nbgrader's own command, which starts anew for each notebook
_STOCK = ("perfect", "two_mistakes", "blank", "unfinished_line")
_SPLIT = ("perfect", "two_mistakes", "unfinished_line")
_SPLIT_TIMES = 40
_FEW = 100  # what the growth is measured from
BIN = Path(sys.executable).parent


@dataclass(slots=True)
class Way:
    """One way to grade: how many submissions, in how long, with what."""

    submissions: int
    seconds: float
    cpu: dict[str, float]
    peak: dict[str, float] = field(default_factory=dict)
    growth: float = 0.0
    steady: float = 0.0  # submissions a second from the first that was kept to the last

    @property
    def rate(self) -> float:
        return self.submissions / self.seconds


@dataclass(slots=True)
class Measured:
    """All that one run of the benchmark found. `split` is in core-seconds by student and part."""

    submissions: int
    ways: dict[str, Way]
    floor: dict[str, float]
    split: dict[str, dict[str, float]]
    kept_kib: float  # of one submission, all that is written for it

    def as_json(self) -> dict[str, object]:
        """Submissions per second, MiB, and what they are made of."""
        jobs = self.ways["jobs2"]
        return {
            "submissions": self.submissions,
            **{name: round(way.rate, 4) for name, way in self.ways.items()},
            "floor": round(1 / self.mean_floor, 2),
            "peak_mib": round(max(jobs.peak.values())),
            "peak_mib_by_process": {name: round(mib) for name, mib in jobs.peak.items()},
            "parent_growth_mib": round(jobs.growth, 1),
            "steady": {name: round(way.steady, 2) for name, way in self.ways.items() if way.steady},
            "kept_kib": round(self.kept_kib, 1),
            "core_seconds": self.split,
            "floor_core_seconds": self.floor,
            "ways": {name: asdict(way) for name, way in self.ways.items()},
        }

    @property
    def mean_floor(self) -> float:
        """Seconds of bare arithmetic of one submission of the class; who loops has none."""
        counts = {
            name: many
            for kind, names in PROPORTIONS.items()
            for name, many in names.items()
            if kind != "looping"
        }
        return sum(self.floor[name] * many for name, many in counts.items()) / sum(counts.values())


def measure(count: int) -> Measured:
    """Everything, in a folder that is deleted at the end."""
    ways: dict[str, Way] = {}
    with tempfile.TemporaryDirectory(prefix="handgrad-bench-") as folder:
        _say(f"a class of {count}")
        empty = Path(folder) / "empty"
        classroom.empty(empty)
        classroom.generate(empty)
        few = _course(empty, min(count, _FEW))
        whole = _course(empty, count)

        names = sorted(set(classroom.hundred()) - {"endless_loop"})
        _say("the floor, and where the time goes")
        alone = _course(empty, 0)
        floor = _program("benchmarks.floor", alone, *names)
        split = _program("benchmarks.split", alone, _SPLIT_TIMES, *_SPLIT)
        for student, parts in split.items():
            parts["cells"] = floor[student]
            parts["sandbox"] -= floor[student]

        # Short runs before the long ones: they tell at once where something is broken.
        _say("handgrad grade --jobs 2, a few")
        ways["jobs2_few"] = _grade(few, min(count, _FEW), "--jobs", "2")
        kept = _kept_kib(few)
        _say("nbgrader autograde as it comes")
        ways["stock"] = _stock(Path(folder) / "stock", few)
        _say("nbgrader autograde with handgrad")
        ways["plugin"] = _plugin(_course(empty, min(count, _PLUGIN), "plugin"))
        for jobs in (2, 1):
            _say(f"handgrad grade --jobs {jobs}")
            ways[f"jobs{jobs}"] = _grade(whole, count, "--jobs", str(jobs))
        _say("handgrad grade --dask, two workers")
        with _dask(Path(folder)) as (address, pids):
            ways["dask2"] = _grade(whole, count, "--dask", address, also=pids)
    return Measured(count, ways, floor, split, kept)


def by_sandbox(count: int, sandboxes: Sequence[str], times: int = 2) -> dict[str, list[object]]:
    """For each sandbox, by run: submissions a second, warm, and core-seconds of a submission."""
    found: dict[str, list[object]] = {name: [] for name in sandboxes}
    with tempfile.TemporaryDirectory(prefix="handgrad-bench-") as folder:
        empty = Path(folder) / "empty"
        classroom.empty(empty)
        classroom.generate(empty)
        course = _course(empty, count)
        for name in [*sandboxes] * times:
            _say(f"handgrad grade --jobs 2 --sandbox {name}")
            way = _grade(course, count, "--jobs", "2", "--sandbox", name)
            core_seconds = round(sum(way.cpu.values()) / count, 4)
            found[name].append({"steady": round(way.steady, 2), "core_seconds": core_seconds})
    return found


def _course(empty: Path, count: int, name: str = "") -> Path:
    """A copy of the course in which `count` students handed in."""
    root = empty.with_name(name or f"class-{count}")
    if not root.exists():
        shutil.copytree(empty, root, symlinks=True)
        classroom.fill(root, count)
    return root


def _program(module: str, *arguments: object) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=classroom.ROOT,
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout)


def _grade(root: Path, count: int, *options: str, also: tuple[int, ...] = ()) -> Way:
    """`handgrad grade` on a course in which nothing is graded; the marks are thrown away."""
    for name in ("autograded", "reports"):
        shutil.rmtree(root / name, ignore_errors=True)
    shutil.copy(root / "gradebook.db", root / "gradebook.empty")
    used = watched.run([BIN / "handgrad", "grade", ASSIGNMENT, "--json", *options], root, also)
    told = json.loads(used.output)
    if told["graded"] != count or told["failed"]:
        raise RuntimeError(f"{told['graded']} of {count} graded: {told['failed']}")
    kept = [path.stat().st_mtime for path in (root / "reports").glob(f".results/{ASSIGNMENT}/*")]
    (root / "gradebook.empty").replace(root / "gradebook.db")
    steady = (len(kept) - 1) / (max(kept) - min(kept))
    return Way(count, used.seconds, used.cpu, used.peak, used.growth, steady)


def _kept_kib(root: Path) -> float:
    """KiB that one submission takes in `autograded/` and the records, the released files left out."""
    students = list((root / "autograded").iterdir())
    files = [*(root / "autograded").rglob("*.ipynb"), *(root / "reports").rglob("*.json")]
    return sum(path.stat().st_size for path in files) / len(students) / 1024


def _stock(root: Path, like: Path) -> Way:
    who = {name: student for student, name in classroom.submissions(_FEW)}
    students = [who[name] for name in _STOCK]
    present = [each for each in students if (like / "submitted" / each).is_dir()]
    classroom.make_stock(root, like, present)
    used = watched.run([BIN / "nbgrader", "autograde", ASSIGNMENT], root)
    done = len(list((root / "autograded").glob(f"*/{ASSIGNMENT}/4_training.ipynb")))
    if done != len(present):
        raise RuntimeError(f"nbgrader as it comes graded {done} of {len(present)}")
    return Way(done, used.seconds, used.cpu, used.peak)


def _plugin(root: Path) -> Way:
    count = len(list((root / "submitted").iterdir()))
    used = watched.run([BIN / "nbgrader", "autograde", ASSIGNMENT], root)
    done = len(list((root / "autograded").glob(f"*/{ASSIGNMENT}/4_training.ipynb")))
    if done != count:
        raise RuntimeError(f"nbgrader with handgrad graded {done} of {count}")
    return Way(count, used.seconds, used.cpu, used.peak)


@contextmanager
def _dask(folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A scheduler and two workers of one thread each; its address and their process ids."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    programs = (
        ("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", "--no-show"),
        ("worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"),
    )
    started = []
    try:
        for program, *options in programs:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", f"distributed.cli.dask_{program}", *options],
                    cwd=folder,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        _wait_for_workers(address)
        yield address, tuple(process.pid for process in started)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def _wait_for_workers(address: str) -> None:
    from distributed import Client

    with Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--submissions", type=int, default=1000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--no-page", action="store_true", help="leave docs/performance.md alone")
    parser.add_argument(
        "--sandbox", action="append", choices=SANDBOXES, help="only this one; repeatable"
    )
    options = parser.parse_args()
    if options.submissions < 1:
        parser.error("--submissions: at least 1")
    if options.sandbox:
        print(json.dumps(by_sandbox(options.submissions, options.sandbox), indent=2))
        return
    measured = measure(options.submissions)
    figures = measured.as_json()
    if not options.no_page:
        page.write(classroom.ROOT / "docs", figures)
        page.write_scale(classroom.ROOT / "docs", figures)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        print(page.tables(figures))


if __name__ == "__main__":
    main()
