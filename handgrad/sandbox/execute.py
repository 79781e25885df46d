"""One submission through the jail: cells in, evidence out, nothing believed."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import BinaryIO

from torch import Tensor

from handgrad.errors import LostError, TooLongError, UserError
from handgrad.evidence import TROUBLE, Attempt, Evidence, RunResult
from handgrad.jailed import wire
from handgrad.limits import Limits
from handgrad.plan import Cell, Plan, Run
from handgrad.sandbox.border import BorderError, reason_of, run_of
from handgrad.sandbox.integrity import listed_in
from handgrad.sandbox.launch import Launched, Scratch, launch
from handgrad.sandbox.wordless import wordless
from handgrad.verdict import Note

_START_SECONDS = 180.0  # importing torch from a cold disk
_LEAVE_SECONDS = 2.0
_SLACK_SECONDS = 30.0  # beyond a submission's own limit, for the worker to say so


class _WorkerGoneError(Exception):
    """The worker hung up, or sent what no worker sends."""


class _SilentError(_WorkerGoneError):
    """The worker said nothing in time."""


class Executor:
    """Runs submissions in a jail, one after another; a context manager.

    Entering starts the worker, which then takes seconds to import torch and to run the given cells;
    `wait` waits for that, and so does the first `run`. `run` may be called any number of times, by one
    thread at a time. The jail ends with the thread that started it (the kernel's parent-death signal
    is a thread's), so keep to threads that live on. Raises UserError where there is no sandbox.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        plans: Mapping[str, Plan],
        prefixes: Mapping[str, Sequence[Cell]],
        limits: Limits,
        *,
        sandboxed: bool = True,
        launched: Launched | None = None,
    ) -> None:
        """`launched` is a worker that was started before, to be used for the first one."""
        self._early = launched
        self._files = files
        self._plans = plans
        self._prefixes = prefixes
        self._limits = limits
        self._sandboxed = sandboxed
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._complaints: BinaryIO | None = None
        self._scratch: Scratch | None = None
        self._inward = self._outward = -1

    def __enter__(self) -> "Executor":
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def wait(self) -> None:
        """Wait until the worker is ready. Raises UserError where it does not start, or where the given
        cells themselves do not run.
        """
        if self._ready:
            return
        try:
            # Only now, as the public runs have a process of their own that is made before.
            with suppress(OSError):  # it may have hung up, and have said why
                self._send(*_planned(self._plans, lambda run: not (run.display or run.own)))
            header, _ = self._receive(time.monotonic() + _START_SECONDS)
        except (_WorkerGoneError, wire.WireError, OSError) as error:
            raise self._not_started(error) from None
        if header.get("kind") == "broken":
            raise UserError(
                "release",
                str(header.get("why", "a given cell raised")),
                "Mend that cell, or its files",
            )
        self._ready = True

    def run(
        self, cells: Mapping[str, Sequence[Cell]], plans: Mapping[str, Plan] | None = None
    ) -> dict[str, Evidence]:
        """Evidence for each notebook of one submission; never raises for what a student wrote.

        `plans` differ from those of the beginning in their own runs at most.
        Raises LostError where the sandbox ended before it was done, TooLongError where it was not done in
        time, UserError where it cannot be started.
        """
        try:
            return self._run(cells, plans or self._plans)
        except (_WorkerGoneError, wire.WireError, OSError) as error:
            self._stop()  # the machine took it (memory, a kill): the next call starts a fresh one
            silent = isinstance(error, _SilentError)
            raise (TooLongError if silent else LostError)(
                f"the sandbox was lost: {error}"
            ) from None

    def _run(
        self, cells: Mapping[str, Sequence[Cell]], plans: Mapping[str, Plan]
    ) -> dict[str, Evidence]:
        if self._process is None:
            self._start()
        self.wait()
        runs: dict[str, dict[str, RunResult]] = {name: {} for name in cells}
        trouble: dict[str, Note | None] = dict.fromkeys(cells, Note("silent"))
        chosen = {name: plans[name] for name in cells}
        own, tensors = _planned(chosen, lambda run: run.own)
        job = {
            "cells": {name: list(map(_plain, listed)) for name, listed in cells.items()},
            "order": {name: [run.key for run in plan.runs] for name, plan in chosen.items()},
        }
        self._send({**job, **own}, tensors)
        attempts = {name: list(listed_in(listed)) for name, listed in cells.items()}  # meanwhile
        self._collect(cells, plans, runs, attempts, trouble)
        return {
            name: Evidence(name, runs[name], tuple(attempts[name]), trouble[name]) for name in cells
        }

    def _collect(
        self,
        cells: Mapping[str, Sequence[Cell]],
        plans: Mapping[str, Plan],
        runs: Mapping[str, dict[str, RunResult]],
        attempts: Mapping[str, list[Attempt]],
        trouble: dict[str, Note | None],
    ) -> None:
        deadline = time.monotonic() + self._limits.wall_seconds + _SLACK_SECONDS
        broken: dict[str, Note] = {}
        while True:
            header, body = self._receive(deadline)
            kind, name = header.get("kind"), str(header.get("notebook", ""))
            if kind == "done":
                return
            if kind == "end" and name in trouble:
                trouble[name] = broken.get(name) or _trouble(header.get("trouble"))
            elif kind == "run" and name in runs:
                try:
                    result, asked = run_of(
                        str(header["run"]), body, plans[name], cells[name], self._limits
                    )
                except BorderError as error:
                    broken[name] = Note("sent", {"what": str(error)})
                    continue
                shown = next((run.key for run in plans[name].runs if run.display), "")
                if result.key != shown:
                    result = wordless(result, runs[name].get(shown))
                runs[name][result.key] = result
                told = {(each.cell, each.line) for each in attempts[name]}
                attempts[name] += [one for one in asked if (one.cell, one.line) not in told]
            else:
                raise _WorkerGoneError(f"a frame of kind {kind!r}")

    def _start(self) -> None:
        started, self._early = self._early, None
        if started is None or started.sandboxed != self._sandboxed:
            started = launch(sandboxed=self._sandboxed)
        self._process, self._complaints = started.process, started.complaints
        self._inward, self._outward = started.inward, started.outward
        self._scratch = started.scratch
        try:
            self._send(*self._setup(started))
        except OSError as error:
            raise self._not_started(error) from None

    def _not_started(self, error: Exception) -> UserError:
        return UserError(
            "sandbox",
            f"the worker did not start ({self._said() or error})",
            "Run `handgrad doctor`, which says what is missing",
        )

    def _setup(self, started: Launched) -> tuple[dict[str, object], bytes]:
        """What the worker begins with: everything but the hidden runs."""
        plans, tensors = _planned(self._plans, lambda run: run.display)
        setup: dict[str, object] = {
            "limits": asdict(self._limits),
            "sandbox": started.sandbox,
            "uid": started.uid,
            "scratch": "" if started.scratch is None else str(started.scratch.path),
            "readable": started.reach.get("readable", ()),
            "listable": started.reach.get("listable", ()),
            "files": {name: data.decode("latin-1") for name, data in self._files.items()},
            "prefixes": {name: list(map(_plain, cells)) for name, cells in self._prefixes.items()},
        }
        return {**setup, **plans}, tensors

    def _send(self, header: Mapping[str, object], body: bytes = b"") -> None:
        wire.write(self._outward, wire.frame(header, body))

    def _receive(self, deadline: float) -> tuple[wire.Json, bytes]:
        """The next frame; its first bytes must come before the deadline, a monotonic time."""
        ready, _, _ = select.select([self._inward], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise _SilentError("it said nothing in time")
        return wire.read(self._inward, wire.largest(self._limits) + (1 << 16))

    def _said(self) -> str:
        """The last line the worker wrote on stderr."""
        if self._complaints is None:
            return ""
        self._complaints.seek(0)
        lines = self._complaints.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else ""

    def _stop(self) -> None:
        """End the worker and all it started; safe to call twice."""
        process, self._process = self._process, None
        self._ready = False
        if self._outward >= 0:
            os.close(self._outward)
        if process is not None:
            try:
                process.wait(_LEAVE_SECONDS)  # an idle worker leaves when the pipe ends
            except subprocess.TimeoutExpired:
                if self._sandboxed:
                    process.kill()
                else:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self._wait_for_silence()
        if self._inward >= 0:
            os.close(self._inward)
        self._inward = self._outward = -1
        if self._complaints is not None:
            self._complaints.close()
            self._complaints = None
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None

    def _wait_for_silence(self) -> None:
        """bubblewrap is dead; the processes in its namespace die with it, a moment later. The pipe
        ends when the last of them has let go of it.
        """
        deadline = time.monotonic() + 5.0
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._inward], [], [], 0.1)
            if ready and not os.read(self._inward, 1 << 20):
                return


def _trouble(sent: object) -> Note | None:
    try:
        return reason_of(sent, TROUBLE)
    except BorderError as error:
        return Note("sent", {"what": str(error)})


def _plain(cell: Cell) -> dict[str, object]:
    """The cell as a table, without the copying that `dataclasses.asdict` does."""
    return {name: getattr(cell, name) for name in Cell.__slots__}


def _planned(
    plans: Mapping[str, Plan], wanted: Callable[[Run], bool]
) -> tuple[dict[str, object], bytes]:
    """The runs that are wanted, as a frame's header and body."""
    tensors: dict[str, Tensor] = {}
    tables: dict[str, object] = {}
    for name, plan in plans.items():
        runs = [run for run in plan.runs if wanted(run)]
        for run in runs:
            tensors |= {f"{name}\n{run.key}\n{v}": t for v, t in run.replace.items()}
        tables[name] = {
            "runs": [
                {
                    "key": run.key,
                    "parameters": dict(run.parameters),
                    "replace": list(run.replace),
                    "restore": list(run.restore),
                    "display": run.display,
                }
                for run in runs
            ],
            "takes": {grade_id: list(names) for grade_id, names in plan.takes.items()},
        }
    return {"plans": tables}, wire.pack(tensors)
