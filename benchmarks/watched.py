"""A command run to its end, with the time and memory that it and all it started took."""

import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_EVERY = 0.1  # seconds between two looks


@dataclass(slots=True)
class Used:
    """What a run took. `cpu` is in seconds and `peak` in MiB, by what the process is; `parent` is the
    command itself, `growth` how much it grew between a quarter of the time and the end.
    """

    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    peak: dict[str, float] = field(default_factory=dict)
    growth: float = 0.0
    output: str = ""


def run(command: Sequence[str | Path], cwd: Path, also: Sequence[int] = ()) -> Used:
    """Run `command` in `cwd`; the processes `also`, and theirs, are watched with it.

    Raises RuntimeError where it fails for another reason than that a person has something to mend.
    """
    used, watch = Used(), _Watch()
    began = time.monotonic()
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        looking = threading.Thread(target=watch.follow, args=([process.pid, *also],))
        looking.start()
        used.output, errors = process.communicate()
        used.seconds = time.monotonic() - began
        watch.done.set()
        looking.join()
    if process.returncode not in (0, 1):
        raise RuntimeError(f"{command} ended with {process.returncode}:\n{errors[-2000:]}")
    used.cpu, used.peak, used.growth = watch.cpu(), watch.peak, watch.growth()
    return used


class _Watch:
    """Looks at a tree of processes until told that it is done."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.peak: dict[str, float] = {}
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = {}
        self._parent: list[float] = []
        self._roles: dict[int, str] = {}

    def follow(self, roots: Sequence[int]) -> None:
        while not self.done.wait(_EVERY):
            for root in roots:
                try:
                    found = [psutil.Process(root)]
                    found += found[0].children(recursive=True)
                except psutil.Error:
                    continue
                for process in found:
                    self._look(process, roots)

    def _look(self, process: psutil.Process, roots: Sequence[int]) -> None:
        try:
            with process.oneshot():
                role = self._roles.get(process.pid)
                if role is None:
                    role = self._roles[process.pid] = _role(process, roots)
                times, resident = process.cpu_times(), process.memory_info().rss / 2**20
        except psutil.Error:
            return  # it has ended meanwhile
        self.peak[role] = max(self.peak.get(role, 0.0), resident)
        if role == "parent":
            self._parent.append(resident)
        # Students' processes live for milliseconds; the sandbox's worker has waited for them.
        spent = 0.0 if role == "student" else times.user + times.system
        if role == "sandbox":
            spent += times.children_user + times.children_system
        self._first.setdefault(process.pid, spent if process.pid in roots[1:] else 0.0)
        self._last[process.pid] = spent

    def cpu(self) -> dict[str, float]:
        """Processor seconds by what the process is."""
        found: dict[str, float] = {}
        for pid, last in self._last.items():
            role = self._roles[pid]
            found[role] = found.get(role, 0.0) + last - self._first[pid]
        return found

    def growth(self) -> float:
        """MiB by which the command grew after a quarter of its time; it has let go of all at the end."""
        quarters = self._parent[len(self._parent) // 4 :]
        return max(quarters) - quarters[0] if quarters else 0.0


def _is_sandbox(process: psutil.Process) -> bool:
    line = process.cmdline()
    return "bwrap" not in line[0] and "handgrad.jailed.worker import" in " ".join(line)


def _role(process: psutil.Process, roots: Sequence[int]) -> str:
    if process.pid == roots[0]:
        return "parent"
    line = " ".join(process.cmdline())
    parents = process.parents()[:2]
    if len(parents) == 2 and all(_is_sandbox(each) for each in parents):
        return "student"
    for sign, role in (
        ("bwrap", "bubblewrap"),
        ("handgrad.jailed.worker import", "sandbox"),
        ("handgrad.grading.workers", "worker"),
        ("ipykernel", "kernel"),
        ("dask_scheduler", "dask scheduler"),
    ):
        if sign in line:
            return role
    return (
        "dask worker" if process.pid in roots[1:] or "dask" in line or "spawn" in line else "other"
    )
