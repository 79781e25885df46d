"""Runs one notebook's cells in a process of its own, once for every run of its plan."""

import builtins
import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, ModuleType
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handgrad.evidence import AnswerKind, CellStatus
from handgrad.jailed import answers, wire
from handgrad.jailed.attempts import Attempts
from handgrad.jailed.cellcode import CellCode, Namespace, shows_nothing
from handgrad.jailed.given import Start
from handgrad.jailed.outputs import Outputs, close_figures, describe, show_figures
from handgrad.jailed.placing import END, TAP
from handgrad.jailed.shell import Shell, use
from handgrad.jailed.taps import Exchanging, Reach, Taps, Watching, unwatched
from handgrad.jailed.watch import Clock
from handgrad.limits import Limits
from handgrad.plan import Plan, Run

# Characters that one run may show in all its cells together.
_MOST_SHOWN = 4 << 20
_NEVER: tuple[object, int] = (None, -1)
_DTYPE = torch.get_default_dtype()
# Taken before any student's code ran, since that may replace the names.
_set_default_dtype, _chdir = torch.set_default_dtype, os.chdir
_set_default_device = torch.set_default_device
_array, _array_equal = np.array, np.array_equal


Array = NDArray[np.generic]


class CellTimeout(BaseException):
    """The cell's time is up; not an Exception, so that `except Exception` lets it through."""


class Grading:
    """What `check` finds in `check._grading`: it knows no answers, and hands out noise."""

    def __init__(self, run: Run, namespace: Namespace, asked: Iterable[str]) -> None:
        self._run = run
        self._asked = frozenset(asked)
        self._namespace = namespace
        self.handed: list[object] = []

    def skip(self, name: str) -> object:
        """Random numbers of the shape of `name`, in the place of its gradient."""
        given = self._namespace.get(name)
        value = self._run.replace.get("d" + name)
        if value is None:
            shape = getattr(given, "shape", None)
            if type(given) is list and given:
                shape = (len(given), *given[0].shape)
            if shape is None:
                raise NameError(f"there is no tensor called {name!r} to skip")
            value = torch.randn(tuple(shape), generator=_generator(self._run.key, name))
        self.handed.append(answers.like(given, value))
        return self.handed[-1]

    def grad_of(self, tensor: Tensor) -> Tensor | None:
        """The same for a tensor itself, None where its gradient is not asked for."""
        names = (name.removeprefix("d") for name in self._asked)
        found = next((name for name in names if self._namespace.get(name) is tensor), None)
        return None if found is None else cast(Tensor, self.skip(found))


def _generator(*what: str) -> torch.Generator:
    """Noise of its own for each of these."""
    digest = hashlib.sha256("\n".join(what).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)


@dataclass(slots=True)
class Runner:
    """One notebook in one process. `dead` are cells, by position, that are not run again, and why."""

    plan: Plan
    cells: Sequence[CellCode]
    limits: Limits
    shell: Shell
    module: ModuleType
    starts: Mapping[str, Start]
    clock: Clock
    attempts: Attempts
    send: Callable[[bytes], None]
    dead: dict[int, CellStatus] = field(default_factory=dict)
    process: int = 0
    home: str = ""  # the notebook's folder
    watched: dict[str, int] = field(default_factory=dict)  # the lengths of lists that were watched
    taps: Taps = field(init=False)

    def __post_init__(self) -> None:
        checked_in = {
            name: code.cell.index
            for code in self.cells
            if code.cell.kind == "test"
            for name in self.plan.takes.get(code.cell.grade_id, ())
        }
        given = next(iter(self.starts.values())).snapshot
        self.taps = Taps(self.cells, checked_in, frozenset(given.lengths(checked_in)))

    def run_all(self, done: frozenset[str]) -> None:
        """Do every run that is not in `done`, and send each as soon as it is finished."""
        signal.signal(signal.SIGUSR1, self._time_is_up)
        self.process, self.home = os.getpid(), str(Path.cwd())
        for run in self.plan.runs:
            if run.key in done:
                continue
            if run.replace and self.taps.found is None:
                # The process that watched the chain has died: this one watches for itself.
                self._run(next(r for r in self.plan.runs if not (r.replace or r.display)))
            lengths = self.starts[run.key].snapshot.lengths(self.taps.lists)
            if run.replace and lengths != self.watched:
                # Where lists of these lengths get their entries, also below a cell that failed.
                self.watched = lengths
                self._run(run, watch=True)
            frame = self._run(run)
            self.send(frame)

    def _run(self, run: Run, *, watch: bool = False) -> bytes:
        start = self.starts[run.key]
        namespace = start.snapshot.restore(self.module)
        use(self.shell, self.module)
        self.shell.take_streams()  # whatever a student put in their place
        state = _State(self, run, namespace, watch)
        check = sys.modules.get("check")
        if check is not None:
            check._grading = state.grading  # type: ignore[attr-defined]
        # They ran before any code of a student's; what stands among them runs now, and then the state
        # is put back that the next given cell, or answer, is to meet.
        leading = list(start.shown)
        results = []
        for position, code in enumerate(self.cells):
            if not leading or code.cell.kind != "given":
                results.append(state.step(position, code))
                continue
            shown = leading.pop(0)
            results.append(_result(code, "ok", outputs=shown if run.display else ()))
            if not leading and position >= len(start.shown):
                start.snapshot.restore(self.module, keep=True)
                state.remember()
        self.shell.show(None)
        close_figures()
        state.finish()
        return state.frame(results)

    def end_if_copied(self) -> None:
        """Only the process that was started speaks for the notebook (no jail: a cell may fork)."""
        if os.getpid() != self.process:
            os._exit(0)

    def _time_is_up(self, _signal: int, _frame: FrameType | None) -> None:
        position, began, worked = self.clock.now()
        if position < 0:
            return
        for spent, most, what in (
            (time.process_time() - worked, self.limits.cell_cpu_seconds, "computed"),
            (time.monotonic() - began, self.limits.cell_seconds, "ran"),
        ):
            if spent >= most:
                self.clock.mark_slow(position)
                raise CellTimeout(f"the cell {what} longer than {most:g} s")


class _State:
    """What one run has come to."""

    def __init__(self, runner: Runner, run: Run, namespace: Namespace, watch: bool) -> None:
        """`watch` is whether to note in a run alone, too, where gradients get their values."""
        self.runner = runner
        self.run = run
        self.namespace = namespace
        self.grading = Grading(run, namespace, runner.taps.checked_in)
        runner.attempts.stand_in = self.grading.grad_of
        self.taken: dict[str, answers.Taken] = {}
        self.room = runner.limits.tensor_mib << 20
        self.to_show = _MOST_SHOWN
        # Pristine copies of what is put back after cells that are not given, with the object and
        # the version it had when it was last right.
        self.pristine: dict[str, object] = {}
        self.seen: dict[str, tuple[object, int]] = {}
        self.remember()
        self.watching: Watching | None = None
        self.exchanging: Exchanging | None = None
        self.reach: Reach = unwatched
        if run.replace:
            self.exchanging = Exchanging(
                runner.taps,
                run.replace,
                self._take,
                self._exchange,
                self._take_value,
                self._exchange_entry,
                watch,
            )
            self.reach = self.exchanging.reach
        if watch or (runner.taps.found is None and not run.display):
            self.watching = Watching(runner.taps, namespace, self.reach)
            self.reach = self.watching.reach
        setattr(builtins, TAP, self.reach)

    def step(self, position: int, code: CellCode) -> dict[str, object]:
        """Run one cell, take the answers if it is a test cell, and put back what must be."""
        cell = code.cell
        takes = self.runner.plan.takes.get(cell.grade_id, ()) if cell.kind == "test" else ()
        for name in takes:
            if self.watching is not None:
                self.watching.checked(name)
            if name not in self.taken:
                self._take(name)
        if cell.kind == "test" and not self.run.display:
            result = _result(code, "ok")
        else:
            result = self._execute(position, code)
            if result["status"] == "ok":
                self.reach(cell.index, END)
        if cell.parameters:
            self.namespace.update(self.run.parameters)
        for name in takes:
            if name in self.run.replace:
                self._exchange(name)
        if cell.kind == "given":
            self.remember()
        else:
            _set_default_dtype(_DTYPE)
            with suppress(Exception):  # what it set may have been taken away by other means
                _set_default_device(None)
            with suppress(OSError):
                _chdir(self.runner.home)
            self._put_back(thoroughly=code.hidden_writes, given=not cell.keeps)
        return result

    def _execute(self, position: int, code: CellCode) -> dict[str, object]:
        runner, shell = self.runner, self.runner.shell
        was = runner.dead.get(position)
        if was is not None:
            return _result(code, was, *_WHY_DEAD.get(was, ("", "")))
        outputs: Outputs | None = None
        if self.run.display:
            outputs = Outputs(min(runner.limits.output_kib << 10, self.to_show))
        shell.show(outputs)
        status, name, text = self._in_time(position, code, outputs)
        if outputs is None:
            close_figures()
            return _result(code, status, name, text)
        self.to_show -= outputs.used()
        return _result(code, status, name, text, outputs.finish())

    def _in_time(
        self, position: int, code: CellCode, outputs: Outputs | None
    ) -> tuple[CellStatus, str, str]:
        """Execute within the cell's time, and with it all that calls a student's objects: showing the
        last value, and finding words for an error.
        """
        runner = self.runner
        try:
            runner.clock.begin(position)
            try:
                self._show(code, self._value_of(code), outputs)
                return "ok", "", ""
            except CellTimeout:
                raise
            except BaseException as error:
                runner.end_if_copied()
                name, text = describe(error)
                if outputs is not None:
                    outputs.error(error, name, text)
                return "raised", name, text
        except CellTimeout as error:
            runner.end_if_copied()
            runner.dead[position] = "timed out"
            name, text = describe(error)
            if outputs is not None:
                outputs.error(error, name, text)
            return "timed out", name, text
        finally:
            runner.clock.end()

    def _show(self, code: CellCode, value: object, outputs: Outputs | None) -> None:
        self.runner.end_if_copied()
        if outputs is not None:
            if value is not None and not shows_nothing(code.cell.source):
                outputs.data("execute_result", *self.runner.shell.shown(value))
            show_figures(outputs)

    def _value_of(self, code: CellCode) -> object:
        """Run the code; a released stub takes no value from a name that has one."""
        before = dict(self.namespace) if code.cell.untouched else {}
        try:
            return code.execute(self.namespace)
        finally:
            self.namespace.update({k: v for k, v in before.items() if v is not None})

    def _take(self, name: str) -> None:
        self.taken[name], size = answers.take(self.namespace, name, self.grading.handed, self.room)
        self.room -= size

    def _take_value(self, value: object) -> Tensor | None:
        taken, size = answers.take({"": value}, "", (), self.room)
        self.room -= size
        return taken.tensor

    def _exchange_entry(self, name: str, at: int) -> Tensor | None:
        """Take an entry of a list, and put this run's in its place; so in a running variable's that is
        the very same.
        """
        entries = self.namespace.get(name)
        if type(entries) is not list or at >= len(entries):
            return None
        entry, fresh = entries[at], self.run.replace[name][at].clone()
        entries[at] = fresh
        for other, value in [*self.namespace.items()]:
            if value is entry and entry is not None and other not in self.pristine:
                self.namespace[other] = fresh
        return self._take_value(entry)

    def _exchange(self, name: str) -> None:
        """Put this run's replacement in the variable's place, and keep it there from now on."""
        given = self.namespace.get(name.removeprefix("d"))
        self.pristine[name] = answers.like(given, self.run.replace[name])
        self._give(name)

    def _give(self, name: str) -> None:
        """Put a copy of what is to stand there in a variable's place."""
        pristine, fresh = self.pristine[name], cast(object, None)
        if isinstance(pristine, list):
            fresh = [entry.clone() for entry in pristine]
        else:
            fresh = pristine.clone() if isinstance(pristine, Tensor) else _array(pristine)[()]
        self.namespace[name] = fresh
        self.seen[name] = (fresh, fresh._version if isinstance(fresh, Tensor) else 0)

    def remember(self) -> None:
        """After a given cell: what it made of the given values is what they should be."""
        for name in self.run.restore:
            value = self.namespace.get(name)
            if type(value) in (int, float):
                self.pristine[name] = value
            elif type(value) is Tensor and not self._is_as_seen(name, value):
                self.pristine[name] = value.clone()
                self.seen[name] = (value, value._version)
            elif isinstance(value, np.ndarray):
                self.pristine[name] = value.copy()
            elif type(value) is list and all(type(entry) is Tensor for entry in value):
                self.pristine[name] = [entry.clone() for entry in value]

    def _is_as_seen(self, name: str, value: Tensor) -> bool:
        seen = self.seen.get(name)
        return seen is not None and value is seen[0] and value._version == seen[1]

    def _put_back(self, thoroughly: bool, given: bool) -> None:
        """Put back the replaced variables, the given numbers, and where asked the `given` tensors."""
        namespace, seen, replaced = self.namespace, self.seen, self.run.replace
        for name, pristine in self.pristine.items():
            if type(pristine) in (int, float):
                namespace[name] = pristine
                continue
            if not given and name not in replaced:
                continue
            value = namespace.get(name)
            was, version = seen.get(name, _NEVER)
            # Here and not in a function: with sixty names after each of many cells, a call counts.
            untouched = value is was and type(value) is Tensor and value._version == version
            if untouched and not thoroughly:
                continue
            same = answers.same(namespace, name, pristine) if isinstance(pristine, Tensor) else None
            if (untouched and same) or (same is None and _is_same_array(value, pristine)):
                continue
            self._give(name)

    def finish(self) -> None:
        """Put together what the taps found."""
        if self.watching is not None:
            self.runner.taps.learn(self.watching.found)
        if self.exchanging is not None:
            for name, tensor in self.exchanging.within().items():
                kind: AnswerKind = "missing" if tensor is None else "tensor"
                self.taken[name] = answers.Taken(kind, tensor)

    def frame(self, results: Sequence[Mapping[str, object]]) -> bytes:
        """The run as a frame."""
        changed = [
            name
            for name, taken in self.taken.items()
            if name not in self.run.replace
            and taken.tensor is not None
            and not answers.same(self.namespace, name, taken.tensor)
        ]
        for name, taken in self.taken.items():
            late = taken.kind == "missing" and name not in self.run.replace
            if late and answers.copy_of(self.namespace.get(name)) is not None:
                self.taken[name] = answers.Taken("late")
        header = {
            "run": self.run.key,
            "cells": list(results),
            "answers": {
                name: [taken.kind, wire.of_note(taken.why)] for name, taken in self.taken.items()
            },
            "changed": changed,
            "attempts": [[a.cell, a.what, a.line] for a in self.runner.attempts.found],
        }
        tensors = {n: t.tensor for n, t in self.taken.items() if t.tensor is not None}
        return wire.frame(header, wire.pack(tensors))


def _is_same_array(value: object, pristine: object) -> bool:
    """Whether an array, or a number of NumPy's, is of this type and holds the same numbers still."""
    if type(value) is not type(pristine) or isinstance(pristine, list):
        return False
    one, other = cast(Array, value), cast(Array, pristine)
    return one.dtype == other.dtype and _array_equal(one, other)


_WHY_DEAD: Mapping[CellStatus, tuple[str, str]] = {
    "timed out": ("CellTimeout", "the cell ran out of time in an earlier run"),
    "killed": ("Killed", "the process died in this cell"),
}


def _result(
    code: CellCode,
    status: CellStatus,
    ename: str = "",
    evalue: str = "",
    outputs: Sequence[Mapping[str, object]] = (),
) -> dict[str, object]:
    return {
        "index": code.cell.index,
        "status": status,
        "ename": ename,
        "evalue": evalue,
        "outputs": list(outputs),
    }
