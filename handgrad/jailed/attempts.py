"""Who asked for autograd: silence for given cells, an error and a note for a student's."""

import importlib.machinery
import linecache
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType

import torch

from handgrad.evidence import Attempt
from handgrad.jailed.cellcode import index_of
from handgrad.plan import CellKind

MOST_ATTEMPTS = 200
LINE_LENGTH = 200

# Passed through on the way to whoever asked: torch's context managers, and what has no file.
_THROUGH = ("grad_mode.py", "_contextlib.py", "importlib/__init__.py")
_NO_FILE = ("<frozen ", "<__array_function__")


class DerivativesByHandError(RuntimeError):
    """A student's cell asked for what is switched off."""


class Attempts:
    """What students' cells asked for while they ran: one for the whole worker, kept across forks."""

    def __init__(self) -> None:
        self.kinds: dict[int, CellKind] = {}
        self.found: list[Attempt] = []
        # What stands for a tensor's gradient in this run; None where nobody asks for its gradient.
        self.stand_in: Callable[[torch.Tensor], torch.Tensor | None] = lambda tensor: None
        here = (str(Path(module.__file__ or "").parent) for module in (os, torch))
        self._libraries = (*filter(None, sys.path), *here)  # as they are before any notebook's
        self._code: dict[str, frozenset[CodeType]] = {}

    def trust(self, path: str) -> None:
        """Count what this file holds now as a library's code."""
        self._code[path] = _code_in(path)

    def refuse(self, what: str) -> None:
        """Raise and note it where the innermost cell on the stack is a student's."""
        found = _innermost_cell(sys._getframe(1))
        if found is None or self.kinds.get(found[0], "other") in ("given", "test"):
            return
        cell, line = found
        known = any(one.cell == cell and one.line == line for one in self.found)
        if not known and len(self.found) < MOST_ATTEMPTS:
            self.found.append(Attempt(cell, what, line))
        raise DerivativesByHandError(
            f"derivatives here are written by hand: {what} is switched off while grading"
        )

    def refuse_students(self, what: str) -> None:
        """The same, unless a library asked on its way through an innocent function."""
        if self._is_students(sys._getframe(2)):
            self.refuse(what)

    def grad_of(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """What a student's cell finds in the `.grad` of a tensor: what stands for it in this run, as
        from `skip`, so that the step which reads it is judged by itself. Noted; raises for a tensor
        that nothing stands for.
        """
        if not self._is_students(sys._getframe(2)):
            return None
        try:
            self.refuse("Tensor.grad")
        except DerivativesByHandError:
            found = self.stand_in(tensor)
            if found is None:
                raise
            return found
        return None

    def _is_students(self, frame: FrameType | None) -> bool:
        """Whether this frame's code, or that of its caller where it is only passed through, is a
        student's: a cell, text that it executes, or a file that it wrote.
        """
        while frame is not None:
            path = frame.f_code.co_filename
            if not (path.startswith(_NO_FILE) or path.endswith(_THROUGH)):
                return frame.f_code not in self._library(path)
            frame = frame.f_back
        return False

    def _library(self, path: str) -> frozenset[CodeType]:
        """The code in a file of a library. Its name alone proves nothing: `compile` takes any."""
        if path not in self._code and path.startswith(self._libraries):
            self.trust(path)
        return self._code.get(path, frozenset())

    def switch_off(self, holder: object, name: str, what: str) -> None:
        """Put in the place of a function that exists one that refuses, and gives None."""
        if not hasattr(holder, name):
            return

        def off(*_arguments: object, **_keywords: object) -> None:
            self.refuse(what)

        off.__name__ = off.__qualname__ = name
        setattr(holder, name, off)


def _innermost_cell(frame: FrameType | None) -> tuple[int, str] | None:
    while frame is not None:
        index = index_of(frame.f_code.co_filename)
        if index is not None:
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            return index, line.strip()[:LINE_LENGTH]
        frame = frame.f_back
    return None


def _code_in(path: str) -> frozenset[CodeType]:
    try:
        code = importlib.machinery.SourceFileLoader("library", path).get_code("library")
    except (OSError, ImportError, SyntaxError, ValueError):
        return frozenset()
    found: list[object] = [code]
    for each in found:
        found += each.co_consts if isinstance(each, CodeType) else ()
    return frozenset(each for each in found if isinstance(each, CodeType))
