"""Who knocks at a shut door: silence for given cells, an error and a note for a student's."""

import linecache
import os
import sys
from pathlib import Path
from types import FrameType

import torch

from handgrad.evidence import Attempt
from handgrad.jailed.cellcode import index_of
from handgrad.plan import CellKind

_MOST_ATTEMPTS = 200
_LINE_LENGTH = 200


class DerivativesByHandError(RuntimeError):
    """A student's cell knocked at a shut door."""


class Doors:
    """Who may knock unheard, and who did not: one for the whole worker, kept across forks."""

    def __init__(self) -> None:
        self.kinds: dict[int, CellKind] = {}
        self.attempts: list[Attempt] = []
        # What is not a student's code: installed packages, and this one.
        here = [path for path in sys.path if path]
        here += [str(Path(module.__file__ or "").parent) for module in (os, torch)]
        self.libraries: tuple[str, ...] = ("<frozen ", "<__array_function__", *here)

    def asked(self, frame: FrameType | None, through: tuple[str, ...] = ()) -> bool:
        """Whether a student's own code asked, not torch on its way through an innocent function:
        a cell, text that it executes, or a file that it wrote.
        """
        while frame is not None and through and frame.f_code.co_filename.endswith(through):
            frame = frame.f_back
        return frame is not None and not frame.f_code.co_filename.startswith(self.libraries)

    def knock(self, door: str) -> None:
        """Raise and note it where the innermost cell on the stack is a student's."""
        found = _innermost_cell(sys._getframe(1))
        if found is None:
            return
        cell, line = found
        if self.kinds.get(cell, "other") in ("given", "test"):
            return
        self.note(Attempt(cell, door, line))
        raise DerivativesByHandError(
            f"derivatives here are written by hand: {door} is switched off while grading"
        )

    def note(self, attempt: Attempt) -> None:
        """Keep an attempt, one for each line."""
        known = any(a.cell == attempt.cell and a.line == attempt.line for a in self.attempts)
        if not known and len(self.attempts) < _MOST_ATTEMPTS:
            self.attempts.append(attempt)

    def close(self, holder: object, name: str, door: str) -> None:
        """Put in the place of a function that exists one that knocks, and gives None."""
        if not hasattr(holder, name):
            return

        def closed(*_arguments: object, **_keywords: object) -> None:
            self.knock(door)

        closed.__name__ = closed.__qualname__ = name
        setattr(holder, name, closed)


def _innermost_cell(frame: FrameType | None) -> tuple[int, str] | None:
    while frame is not None:
        index = index_of(frame.f_code.co_filename)
        if index is not None:
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            return index, line.strip()[:_LINE_LENGTH]
        frame = frame.f_back
    return None
