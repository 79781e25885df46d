"""Runs inside the jail: imports torch once, runs the given cells once, forks for each notebook.

The worker itself never runs a line of a student's. Before it is told the hidden runs it forks a second
worker (`_public`), which does the run that people look at and never holds the numbers of the others. It
forks a child that shuts itself in (`jail`), has it watched from outside (`watch`), and passes on what it
sent, unread: a frame's header is the worker's word, its body is the child's and may be forged.
"""

import errno
import gc
import importlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from handgrad.evidence import CellStatus
from handgrad.jailed import autograd_off, jail, wire
from handgrad.jailed.attempts import Attempts
from handgrad.jailed.cellcode import CellCode, changes_unseen, compiled, know_lines
from handgrad.jailed.given import Given, GivenCellFailedError, GivenCells
from handgrad.jailed.outputs import prepare_figures
from handgrad.jailed.runner import Runner
from handgrad.jailed.shell import Shell
from handgrad.jailed.shell import start as start_shell
from handgrad.jailed.watch import Clock, Watch
from handgrad.limits import Limits
from handgrad.plan import Cell, Plan, Run

# Cells of a release, at the places that cells added by students have moved them to.
_MOST_CODE = 2_000
OWN = ("answer", "other")  # the kinds of a student's cells
MOST_FRAME = 1 << 30  # from the grader, which is trusted


class Worker:
    """Everything that is made once and then only forked."""

    def __init__(self, setup: Mapping[str, Any], shell: Shell) -> None:
        files = {name: text.encode("latin-1") for name, text in setup["files"].items()}
        self._limits = Limits(**setup["limits"])
        self._files = files
        self._walls: jail.Walls | None = None
        if setup["sandbox"] != "none":
            reach = {what: setup[what] for what in ("readable", "listable")}
            self._walls = jail.Walls.around(
                reach, setup["scratch"], setup["uid"], self._limits, files
            )
        scratch = Path(setup["scratch"]) if setup["scratch"] else jail.SCRATCH
        self._home = scratch / jail.HOME
        self._attempts = Attempts()
        self._clock = Clock()
        self._code: dict[tuple[int, str], CellCode] = {}
        self._shell = shell
        self._plans: Mapping[str, Plan] = {}
        self._given: Mapping[str, Given] = {}
        self._public: _Public | None = None
        autograd_off.switch_off(self._attempts)
        jail.lay_out(files, self._home)
        sys.path.insert(0, str(self._home))
        if "check.py" in files:
            self._attempts.trust(str(self._home / "check.py"))
            importlib.import_module("check")  # once, here, as every notebook does
        self._given_cells = GivenCells(self._shell, self._attempts, self._limits)
        self._prefixes = {
            name: [Cell(**cell) for cell in cells] for name, cells in setup["prefixes"].items()
        }

    def prepare(self, plans: Mapping[str, Plan]) -> None:
        """Run the given cells for these runs. Raises GivenCellFailedError where one raises."""
        self._plans = plans
        self._given = {
            name: self._given_cells.prepare(plans[name], cells)
            for name, cells in self._prefixes.items()
        }
        gc.freeze()  # so that a collection in a child does not touch, and copy, every page
        gc.enable()

    def fork_public(self, inward: int, outward: int) -> None:
        """Fork the worker for the runs that people look at, with what is known so far."""
        asking, asked = os.pipe()
        answering, answered = os.pipe()
        if os.fork() == 0:
            jail.end_with_parent()
            for fd in (inward, asked, answering):
                os.close(fd)
            self._clock = Clock()  # what a hidden run writes there is nothing for a public one
            self._serve_public(asking, answered, outward)
            os._exit(0)
        os.close(asking)
        os.close(answered)
        self._public = _Public(asked, answering)

    def _serve_public(self, inward: int, answered: int, outward: int) -> None:
        for number in itertools.count():
            try:
                job: Mapping[str, Any] = wire.read(inward, MOST_FRAME)[0]
            except wire.Closed:
                return
            if number == len(self._plans):  # as in `serve`, with the second submission
                jail.make_forking_cheap()
            cells = [Cell(**cell) for cell in job["cells"]]
            plan = self._plans[str(job["notebook"])]
            watch = self._watch(plan, cells, outward, job["deadline"])
            watch.quotes = True
            trouble = wire.of_note(watch.run())
            dead = list(watch.dead.items())
            wire.write(answered, wire.frame({"trouble": trouble, "dead": dead}))

    def serve(self, inward: int, outward: int) -> None:
        """Take submissions until the grader hangs up."""
        wire.write(outward, wire.frame({"kind": "ready"}))
        for number in itertools.count():
            try:
                job, body = wire.read(inward, MOST_FRAME)
            except wire.Closed:
                return
            if number == 1:  # it takes as long as it saves with twenty: not for one notebook alone
                jail.make_forking_cheap()
            self._submission(job, _plans(job, wire.unpack(body)), outward)
            wire.write(outward, wire.frame({"kind": "done"}))

    def _submission(self, job: Mapping[str, Any], own: Mapping[str, Plan], outward: int) -> None:
        """All notebooks of one submission, each in its own process and with its share of the time:
        what one leaves over is for the next, what one wastes is its own.

        `own` are the runs that come with the submission; the worker forgets them after it.
        """
        left = self._limits.wall_seconds
        share = left / max(1, len(job["cells"]))
        for count, (notebook, listed) in enumerate(job["cells"].items()):
            began = time.monotonic()
            allowed = left - share * (len(job["cells"]) - count - 1)
            plan = self._plans[notebook]
            runs = {run.key: run for run in (*plan.runs, *own[notebook].runs)}
            order = [runs[key] for key in job["order"][notebook] if key in runs]
            plan = replace(plan, runs=tuple(order))
            trouble = self._notebook(plan, listed, outward, began + allowed)
            end = {"kind": "end", "notebook": notebook, "trouble": trouble}
            wire.write(outward, wire.frame(end))
            left -= time.monotonic() - began
        if self._walls is not None:
            self._walls.sweep()

    def _notebook(
        self, plan: Plan, listed: Sequence[Mapping[str, Any]], outward: int, deadline: float
    ) -> object:
        """The run that people look at, then the hidden ones; a cell that died or hung is not run again.
        Returns what the trouble was as a header holds it.
        """
        assert self._public is not None
        trouble, dead = self._public.run(plan.notebook, listed, deadline)
        if trouble:
            return trouble
        watch = self._watch(plan, [Cell(**cell) for cell in listed], outward, deadline)
        watch.dead.update(dead)
        return wire.of_note(watch.run())

    def _watch(self, plan: Plan, cells: Sequence[Cell], outward: int, deadline: float) -> Watch:
        for cell in cells:
            if cell.kind in ("given", "test"):
                self._compiled(cell)  # here, so that the next submission finds it made

        def start(watch: Watch, pipe: int) -> int:
            if self._walls is not None:
                self._walls.sweep()
            worker = os.getpid()
            pid = os.fork()
            if pid == 0:
                self._be_child(plan, cells, pipe, watch, worker)
            return pid

        def pass_on(key: str, sent: bytes) -> None:
            header = {"kind": "run", "notebook": plan.notebook, "run": key}
            wire.write(outward, wire.frame(header, sent))

        return Watch(
            [run.key for run in plan.runs],
            len(cells),
            self._limits,
            self._clock,
            deadline,
            start,
            pass_on,
            grouped=self._walls is None,
            scratch=None if self._walls is None or self._walls.mounted else self._walls.scratch,
        )

    def _be_child(
        self, plan: Plan, cells: Sequence[Cell], pipe: int, watch: Watch, worker: int
    ) -> None:
        """In the forked process: into the jail, run, and end. Does not return."""
        try:
            os.setsid()  # or a signal to the process group would reach the worker
            if watch.scratch is not None:
                signal.signal(signal.SIGUSR2, self._disk_is_full)
            if self._walls is not None:
                self._walls.enter(worker, pipe)
            else:
                jail.close_all_but(pipe)
                os.chdir(self._home)
            self._run(plan, cells, pipe, watch)
        except BaseException as error:
            # Not the student's cell, whose errors the runner keeps: the jail or the runner failed,
            # or a student reached into it. The worker sees which runs are missing.
            self._clock.say(f"{type(error).__name__}: {error}")
            self._clock.end()
            os._exit(3)
        os._exit(0)

    def _disk_is_full(self, _signal: int, _frame: object) -> None:
        """As the kernel would say, of a file system as large as the notebook's share."""
        position, *_ = self._clock.now()
        if position >= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _run(self, plan: Plan, cells: Sequence[Cell], pipe: int, watch: Watch) -> None:
        given = self._given[plan.notebook]
        # Here and not in the worker, so that nothing of one submission's is left there for the next.
        own = tuple(run for run in plan.runs if run.key not in given.starts)
        starts = dict(given.starts)
        if own:
            prefix = self._prefixes[plan.notebook]
            starts |= self._given_cells.prepare(replace(plan, runs=own), prefix).starts
        know_lines(cells)
        self._attempts.kinds = {cell.index: cell.kind for cell in cells}
        asked: frozenset[str] = frozenset()
        if not all(run.display for run in plan.runs):  # what is only shown needs no taps
            asked = asked.union(*plan.takes.values(), *(run.replace for run in plan.runs))
        lists = frozenset(next(iter(starts.values())).snapshot.lengths(asked))
        closely = any(changes_unseen(cell.source) for cell in cells if cell.kind in OWN)
        Runner(
            plan=plan,
            cells=[
                compiled(cell, asked, closely=closely or cell.keeps, lists=lists)
                if cell.kind in OWN
                else self._compiled(cell)
                for cell in cells
            ],
            limits=self._limits,
            shell=self._shell,
            module=given.module,
            starts=starts,
            clock=self._clock,
            attempts=self._attempts,
            send=lambda data: wire.write(pipe, data),
            dead=watch.dead,
        ).run_all(frozenset(watch.done))

    def _compiled(self, cell: Cell) -> CellCode:
        """Code of the release's own text, kept for the next submission; a student's never is."""
        code = self._code.get((cell.index, cell.source))
        if code is None or code.cell != cell:
            if len(self._code) > _MOST_CODE:
                self._code.clear()
            code = self._code[cell.index, cell.source] = compiled(cell)
        return code


def main(inward: int, outward: int) -> None:
    """Be a worker on these two descriptors."""
    # Before the grader has anything to say: it may be importing torch itself.
    torch.set_num_threads(1)
    prepare_figures()
    shell = start_shell()
    shell.shown(torch.zeros(1))  # makes IPython's formatters, here and not in every child
    try:
        setup, body = wire.read(inward, MOST_FRAME)
    except wire.Closed:
        return  # the grader changed its mind
    try:
        worker = Worker(setup, shell)
        worker.prepare(_plans(setup, wire.unpack(body)))
        worker.fork_public(inward, outward)
        hidden, body = wire.read(inward, MOST_FRAME)
        worker.prepare(_plans(hidden, wire.unpack(body)))
    except wire.Closed:
        return
    except GivenCellFailedError as error:
        wire.write(outward, wire.frame({"kind": "broken", "why": str(error)}))
        return
    worker.serve(inward, outward)
    os._exit(0)  # torch takes a while to tidy up, and nothing here is worth it


@dataclass(frozen=True, slots=True)
class _Public:
    """The second worker, seen from the first."""

    asked: int
    answering: int

    def run(
        self, notebook: str, cells: Sequence[Mapping[str, Any]], deadline: float
    ) -> tuple[object, dict[int, CellStatus]]:
        """Its run of one notebook: the trouble as a header holds it, and the cells that died or hung."""
        job = {"notebook": notebook, "cells": cells, "deadline": deadline}
        wire.write(self.asked, wire.frame(job))
        answer: Any = wire.read(self.answering, MOST_FRAME)[0]
        return answer["trouble"], dict(answer["dead"])


def _plans(table: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, Plan]:
    return {
        name: Plan(
            name,
            tuple(
                Run(
                    run["key"],
                    run["parameters"],
                    {v: tensors[f"{name}\n{run['key']}\n{v}"] for v in run["replace"]},
                    tuple(run["restore"]),
                    run["display"],
                )
                for run in plan["runs"]
            ),
            {grade_id: tuple(names) for grade_id, names in plan["takes"].items()},
        )
        for name, plan in table["plans"].items()
    }
