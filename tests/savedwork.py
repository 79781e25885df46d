"""A notebook that is worked on and saved, and `handgrad watch` beside it, as its own process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 60.0  # for anything to happen on a busy machine


class Work:
    """The released notebook at `path`, whose answers are filled in one by one."""

    def __init__(self, path: Path, stem: str = "1_every_step") -> None:
        self.path = path
        self.book: Any = self._read("release", stem)
        self.solution = {
            self._id(cell): "".join(cell["source"]) for cell in self._read("source", stem)["cells"]
        }
        self.save()

    @staticmethod
    def _read(step: str, stem: str) -> Any:
        return json.loads((ROOT / step / "backprop" / f"{stem}.ipynb").read_text(encoding="utf-8"))

    @staticmethod
    def _id(cell: Any) -> str:
        return str(cell["metadata"].get("nbgrader", {}).get("grade_id", ""))

    def answer(self, name: str, source: str = "") -> "Work":
        """Fill in one answer: the right one, or this one."""
        (cell,) = [cell for cell in self.book["cells"] if self._id(cell) == name]
        cell["source"] = source or self.solution[name]
        return self

    def save(self) -> None:
        """Save as most editors do: beside it, and then in its place."""
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.book), encoding="utf-8")
        part.replace(self.path)


@dataclass(frozen=True, slots=True)
class Watcher:
    """A running `handgrad watch`, and where its page is."""

    process: "subprocess.Popen[str]"
    url: str

    @property
    def family(self) -> list[psutil.Process]:
        """All that it started."""
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def watching(*arguments: str | Path, **environment: str) -> Iterator[Watcher]:
    """`handgrad watch` with these arguments, once its page is there; ended by Ctrl-C if it is not yet."""
    process = subprocess.Popen(
        [sys.executable, "-m", "handgrad.doors.cli", "watch", "--no-browser", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
    assert process.stdout is not None
    with process.stdout:
        url = process.stdout.readline().strip()
        drain = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
    try:
        assert url.startswith("http://127.0.0.1:"), url
        yield Watcher(process, url)
    finally:
        if process.poll() is None:
            # A shell's background job ignores Ctrl-C, and so does what it starts.
            deaf = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            process.send_signal(signal.SIGTERM if deaf else signal.SIGINT)
        process.wait(SECONDS)
        drain.wait(SECONDS)


def until(true: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)
