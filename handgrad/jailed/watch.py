"""Watches one notebook's process from outside: its time, its memory, its death, and the next one."""

import errno
import math
import mmap
import os
import select
import signal
import stat
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from handgrad.evidence import CellStatus
from handgrad.jailed import wire
from handgrad.limits import Limits
from handgrad.verdict import Note

_MOST_DEATHS = 3  # the fourth is trouble
_TICK = 0.1  # seconds between two looks
_GRACE = 1.0  # seconds between the signal and the kill
_CPU_OF_PROCESS = 2  # of clock_getcpuclockid(3): with ~pid << 3, the clock of another process
# So that the kernel's own limit, which a notebook sees as a MemoryError, is the first to be reached.
_BESIDE = 64 << 20
# Times a limit that the kernel does not keep everywhere, before a process is ended for it.
_PATIENCE = 16
_FILLED = (b"RssAnon", b"RssShmem", b"VmSwap", b"VmPTE")  # of /proc/<pid>/status
_NOW = struct.Struct("<idd")
_LENGTH = struct.Struct("<H")
_MOST_WORDS = 500
_IDLE = (-1, 0.0, 0.0)
_MARKS = 1 << 16  # as many code cells as a notebook may have


class Clock:
    """Which cell runs and since when, which cells ran out of time, and last words of the jail.

    A student who finds this memory may write lies into it: about his own cells only. The worker
    reads numbers that it checks, and words that it only passes on.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _NOW.size + _LENGTH.size + _MOST_WORDS + _MARKS)
        self.reset()

    def reset(self) -> None:
        """Forget the last process."""
        self._memory[:] = bytes(len(self._memory))
        self.end()

    def begin(self, position: int) -> None:
        """The cell at this position among the code cells starts now."""
        _NOW.pack_into(self._memory, 0, position, time.monotonic(), time.process_time())

    def end(self) -> None:
        """No cell runs."""
        _NOW.pack_into(self._memory, 0, -1, 0.0, 0.0)

    def now(self) -> tuple[int, float, float]:
        """Position of the cell that runs, and when it began by the wall's clock (monotonic) and by
        its process's cpu clock; (-1, 0.0, 0.0) between cells.
        """
        # A write is not one step (`pack_into` clears the place first): believe what stays a moment.
        for _ in range(10):
            seen = self._memory[: _NOW.size]
            if seen == self._memory[: _NOW.size]:
                break
        else:
            return _IDLE
        position, began, worked = _NOW.unpack(seen)
        if position < 0 or not 0 < began <= time.monotonic() or not math.isfinite(worked):
            return _IDLE
        return position, began, worked

    def mark_slow(self, position: int) -> None:
        """The time of this cell ran out."""
        if 0 <= position < _MARKS:
            self._memory[position - _MARKS] = 1

    def slow(self, count: int) -> set[int]:
        """Positions, among the first `count`, of the cells whose time ran out."""
        start = len(self._memory) - _MARKS
        marks = self._memory[start : start + count]
        return {position for position, mark in enumerate(marks) if mark}

    def say(self, words: str) -> None:
        """Leave words for the worker: why the process ends before it has begun."""
        data = words.encode("utf-8", "replace")[:_MOST_WORDS]
        _LENGTH.pack_into(self._memory, _NOW.size, len(data))
        start = _NOW.size + _LENGTH.size
        self._memory[start : start + len(data)] = data

    def words(self) -> str:
        """What was said, "" for nothing."""
        (length,) = _LENGTH.unpack_from(self._memory, _NOW.size)
        start = _NOW.size + _LENGTH.size
        return self._memory[start : start + min(length, _MOST_WORDS)].decode("utf-8", "replace")


@dataclass(slots=True)
class Watch:
    """One notebook, until all runs of its plan are done or nothing more can be hoped for.

    `start` forks a process that does the runs not in `done`, leaving out the cells in `dead`, and
    gives its pid; it is called with the descriptor to send to. `pass_on` is given each run's frame:
    the key that the worker asked for, and the bytes that came.
    """

    keys: Sequence[str]
    cells: int
    limits: Limits
    clock: Clock
    deadline: float  # a monotonic time
    start: Callable[["Watch", int], int]
    pass_on: Callable[[str, bytes], None]
    quotes: bool = False  # the process's last words, which may be the student's and name numbers
    grouped: bool = False  # without a jail it may have started others: kill the process group
    scratch: Path | None = None  # the notebook's folder, where its size must be watched
    written: tuple[int, int] = (0, 0)  # what was in it when the process was last told
    inherited: int = 0  # bytes of the worker's memory, which every child begins with
    dead: dict[int, CellStatus] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    def run(self) -> Note | None:
        """What the trouble was, None if there was none.

        A process that dies in a cell costs that cell: it is left out, and a new process does the
        runs that are missing.
        """
        for _ in range(_MOST_DEATHS + 1):
            why, known = self._once(), frozenset(self.dead)
            for slow in self.clock.slow(self.cells):  # also one that caught its time's end and died
                self.dead.setdefault(slow, "timed out")
            if len(self.done) == len(self.keys):
                return None
            if time.monotonic() > self.deadline:
                return Note("out_of_time")
            position, *_ = self.clock.now()
            if not 0 <= position < self.cells or position in known:
                return why or _quoted(self.clock.words() if self.quotes else "")
            self.dead.setdefault(position, "killed")
        return Note("died", {"count": str(_MOST_DEATHS + 1)})

    def _once(self) -> Note | None:
        """One process until it ends or is ended; says what it did that no runner does."""
        self.clock.reset()
        self.inherited, _ = usage("self")
        reading, writing = os.pipe()
        pid = self.start(self, writing)
        os.close(writing)
        try:
            return self._follow(pid, reading)
        finally:
            os.close(reading)
            self._end(pid)

    def _follow(self, pid: int, reading: int) -> Note | None:
        received = bytearray()
        asked = -1  # the cell that was asked to stop
        looked = 0.0
        while True:
            ready, _, _ = select.select([reading], [], [], _TICK)
            if ready:
                part = os.read(reading, 1 << 20)
                if not part:
                    return None
                received += part
                try:
                    self._take(received)
                except wire.WireError as error:
                    return Note("sent", {"what": str(error)})
            now = time.monotonic()
            if now < looked + _TICK:
                continue
            looked = now
            position, late = self._late(pid, now)
            if now > self.deadline or late > _GRACE:
                return None
            if not self.grouped and (too_much := self._too_much(pid)):
                return too_much
            if self.scratch is not None and position >= 0 and (too_much := self._overfull(pid)):
                return too_much
            if late > 0 and asked != position:
                asked = position
                os.kill(pid, signal.SIGUSR1)

    def _late(self, pid: int, now: float) -> tuple[int, float]:
        """The cell that runs, and by how many seconds it is over its limit (negative: under it)."""
        position, began, worked = self.clock.now()
        if position < 0:
            return position, -math.inf
        late = now - began - self.limits.cell_seconds
        if not self.grouped:
            spent = time.clock_gettime(~pid << 3 | _CPU_OF_PROCESS)
            late = max(late, spent - worked - self.limits.cell_cpu_seconds)
        return position, late

    def _overfull(self, pid: int) -> Note | None:
        """Tell a process that its folder is full, each time that it writes more; why to end it, if it is."""
        assert self.scratch is not None
        most = (self.limits.scratch_mib << 20, self.limits.scratch_files)
        size, count = filled(self.scratch, pid, _PATIENCE * most[1])
        if size > _PATIENCE * most[0] or count > _PATIENCE * most[1]:
            return Note("disk")
        if size <= most[0] and count <= most[1]:
            self.written = (0, 0)
        elif size > self.written[0] or count > self.written[1]:
            self.written = size, count
            os.kill(pid, signal.SIGUSR2)
        return None

    def _too_much(self, pid: int) -> Note | None:
        """Which limit the notebook's process exceeds, None for none.

        The kernel counts threads too, but not those of root in a container without privileges.
        """
        memory, threads = usage(pid)
        if memory - self.inherited > (self.limits.memory_mib << 20) + _BESIDE:
            return Note("memory", {"limit": str(self.limits.memory_mib)})
        if threads > _PATIENCE * self.limits.processes:
            return Note("threads", {"limit": str(self.limits.processes)})
        return None

    def _take(self, received: bytearray) -> None:
        """Pass on the frames that have come in whole. Raises WireError for what is none."""
        while (whole := wire.taken(received, wire.largest(self.limits))) is not None:
            if len(self.done) == len(self.keys):
                raise wire.WireError("more than a notebook has to say")
            key = self.keys[len(self.done)]
            self.done.append(key)
            self.pass_on(key, whole)

    def _end(self, pid: int) -> None:
        """Kill the process, which in a jail can start no other."""
        if self.grouped:
            try:
                os.killpg(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)  # it has not made its group yet
        else:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def usage(pid: int | str) -> tuple[int, int]:
    """Bytes of memory that a process has filled, and its threads; "self" is this process.

    Filled are pages of its own and shared ones without a file, wherever they lie, and the tables
    that the kernel keeps of them; address space and files mapped to be read are not. (0, 0) for a
    process that has ended.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return 0, 0
    fields = dict(line.split(b":", 1) for line in status.splitlines())
    kib = sum(int(fields[name].split()[0]) for name in _FILLED if name in fields)
    return kib << 10, int(fields[b"Threads"])


def _quoted(words: str) -> Note:
    """Why a process ended that was in no cell; its last words may be the student's."""
    said = " ".join(words.split())
    return Note("ended_saying", {"said": said}) if said else Note("ended")


def filled(folder: Path, pid: int, most: int) -> tuple[int, int]:
    """Bytes and number of the files that process `pid` keeps in `folder`, deleted ones that it has
    open or mapped included. Stops to count at `most` files, and takes a tree too deep to look at for
    more than that.
    """
    size = count = 0
    folders = [str(folder)]
    while folders and count <= most:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    count += 1
                    size += _bytes(entry.path)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except OSError as error:
            count += most * (error.errno == errno.ENAMETOOLONG)
    return size + _deleted(pid), count


def _bytes(path: str) -> int:
    with suppress(OSError):
        return os.lstat(path).st_blocks * 512
    return 0


def _deleted(pid: int) -> int:
    """Bytes of deleted files that the process has open or mapped."""
    size = 0
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found = link.stat()
                if stat.S_ISREG(found.st_mode) and not found.st_nlink:
                    size += found.st_blocks * 512
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if line.endswith(" (deleted)"):
                start, _, end = line.split(maxsplit=1)[0].partition("-")
                size += int(end, 16) - int(start, 16)
    return size
