"""What a student's process is at, in memory that it shares with the worker watching from outside."""

import math
import mmap
import struct
import time

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
