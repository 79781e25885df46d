"""Runs inside the jail: imports torch once, runs the given cells once, forks for each notebook.

The worker itself never runs a line of a student's. It forks a child into the inner jail (`jail`),
watches it from outside, kills it when its time is up, and passes on what it sent, unread: the
frame's header is the worker's word, the body is the child's and may be forged.
"""

import gc
import importlib
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from handgrad import autograd_off, figures, jail, wire
from handgrad.cellcode import CellCode, compiled
from handgrad.limits import Limits
from handgrad.namespace import Snapshot
from handgrad.plan import Cell, Plan, Run
from handgrad.runner import Clock, Runner, Start, Status
from handgrad.shell import Shell, use
from handgrad.shell import start as start_shell
from handgrad.tape import Output, Tape, describe

MOST_FRAME = 1 << 30  # from the grader, which is trusted
_MOST_DEATHS = 3
_TICK = 0.1  # seconds between two looks at the clock
_GRACE = 1.0  # seconds between the signal and the kill


@dataclass(frozen=True, slots=True)
class _Warm:
    """The given leading cells of one notebook, compiled, and the state that each run starts from."""

    module: ModuleType
    cells: Sequence[CellCode]
    starts: Mapping[str, Start]  # by key of the run
    empty: Snapshot

    def begins(self, cells: Sequence[Cell]) -> bool:
        """Whether these cells start with the given leading cells, untouched."""
        own = [(code.cell.source, code.cell.parameters) for code in self.cells]
        return own == [(cell.source, cell.parameters) for cell in cells[: len(own)]]


class _GivenCellFailed(Exception):
    """The course's own text does not run: nothing can be graded."""


class Worker:
    """Everything that is made once and then only forked."""

    def __init__(
        self, setup: Mapping[str, Any], files: Mapping[str, bytes], plans: Mapping[str, Plan]
    ):
        self.limits = Limits(**setup["limits"])
        self.files = files
        self.plans = plans
        self.sandboxed = bool(setup["sandboxed"])
        self.identity = jail.Identity(setup["uid"])
        self.doors = autograd_off.Doors()
        self.clock = Clock()
        torch.set_num_threads(1)
        figures.prepare()
        self.shell: Shell = start_shell()
        autograd_off.shut(self.doors)
        autograd_off.refuse_input()
        home = jail.HOME if self.sandboxed else Path(setup["home"])
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        jail.lay_out(files, home)
        sys.path.insert(0, str(home))
        if "check.py" in files:
            importlib.import_module("check")  # once, here, as every notebook does
        self._code: dict[tuple[int, str], CellCode] = {}
        self._families: dict[tuple[str, ...], tuple[ModuleType, Snapshot, list[list[Output]]]] = {}
        self.warm = {
            name: self._warm_up(name, [Cell(**cell) for cell in cells])
            for name, cells in setup["prefixes"].items()
        }
        gc.collect()
        gc.freeze()  # so that a collection in a child does not touch, and copy, every page

    def _warm_up(self, notebook: str, prefix: Sequence[Cell]) -> _Warm:
        """Run the given leading cells, for every run of the plan; what comes before the parameters
        is run once for all notebooks that have the same text there.
        """
        self.doors.kinds = {cell.index: cell.kind for cell in prefix}
        codes = [self._compiled(cell) for cell in prefix]
        at = next((i for i, cell in enumerate(prefix) if cell.parameters), len(prefix))
        family = tuple(cell.source for cell in prefix[:at])
        if family not in self._families:
            module = ModuleType("__main__")
            use(self.shell, module)
            shown = [self._run_given(notebook, code) for code in codes[:at]]
            self._families[family] = module, Snapshot(vars(module)), shown
        module, before, shown = self._families[family]
        use(self.shell, module)
        made: dict[tuple[tuple[str, float], ...], Start] = {}
        starts: dict[str, Start] = {}
        for run in self.plans[notebook].runs:
            key = tuple(sorted(run.parameters.items()))
            if key not in made:
                namespace = before.restore(module)
                after: list[list[Output]] = []
                for code in codes[at:]:
                    after.append(self._run_given(notebook, code))
                    if code.cell.parameters:
                        namespace.update(run.parameters)
                made[key] = Start(len(codes), Snapshot(namespace), [*shown, *after])
            starts[run.key] = made[key]
        return _Warm(module, codes, starts, Snapshot({}))

    def _run_given(self, notebook: str, code: CellCode) -> list[Output]:
        tape = Tape(self.limits.output_kib << 10)
        self.shell.show(tape)
        try:
            value = code.execute(self.shell.user_ns)
            if value is not None and not code.cell.source.rstrip().endswith(";"):
                tape.data("execute_result", *self.shell.shown(value))
            figures.show_figures(tape)
        except Exception as error:
            name, text = describe(error)
            raise _GivenCellFailed(
                f"{notebook}, cell {code.cell.index}: given cell raised {name}: {text}"
            ) from error
        finally:
            self.shell.show(None)
        return tape.finish()

    def _compiled(self, cell: Cell) -> CellCode:
        """Code of the release's own text is kept for the next submission, students' never is."""
        code = self._code.get((cell.index, cell.source))
        if code is None or code.cell != cell:
            code = self._code[cell.index, cell.source] = compiled(cell)
        return code

    def serve(self, inward: int, outward: int) -> None:
        """Take jobs until the grader hangs up."""
        wire.write(outward, wire.frame({"kind": "ready"}))
        while True:
            try:
                job, _ = wire.read(inward, MOST_FRAME)
            except wire.Closed:
                return
            self._submission(job, outward)
            wire.write(outward, wire.frame({"kind": "done"}))

    def _submission(self, job: Mapping[str, Any], outward: int) -> None:
        """All notebooks of one submission, each in its own process and with its share of the time:
        what one leaves over is for the next, what one wastes is its own.
        """
        left = self.limits.wall_seconds
        share = left / max(1, len(job["cells"]))
        for count, (notebook, listed) in enumerate(job["cells"].items()):
            began = time.monotonic()
            cells = [Cell(**cell) for cell in listed]
            for cell in cells:
                if cell.kind in ("given", "test"):
                    self._compiled(cell)
            allowed = left - share * (len(job["cells"]) - count - 1)
            trouble = _Notebook(self, notebook, cells, outward, began + allowed).run()
            wire.write(
                outward, wire.frame({"kind": "end", "notebook": notebook, "trouble": trouble})
            )
            left -= time.monotonic() - began

    def child(self, notebook: str, cells: Sequence[Cell], pipe: int, dead: dict[int, Status],
              done: frozenset[str]) -> None:  # fmt: skip
        """In the forked process: into the jail, and run. Does not return."""
        os.setsid()  # or a signal to the process group would reach the worker
        jail.close_all_but(pipe)
        if self.sandboxed:
            jail.enter(self.identity, self.limits, self.files)
        else:
            os.chdir(self.home)
        for cell in cells:
            if cell.kind in ("answer", "other"):
                for attempt in autograd_off.seen_in(cell.index, cell.source):
                    self.doors.note(attempt)
        codes = [
            self._compiled(cell) if cell.kind in ("given", "test") else compiled(cell)
            for cell in cells
        ]
        self.doors.kinds = {cell.index: cell.kind for cell in cells}
        warm = self.warm[notebook]
        untouched = warm.begins(cells)

        def start(run: Run) -> Start:
            return warm.starts[run.key] if untouched else Start(0, warm.empty)

        Runner(
            plan=self.plans[notebook],
            cells=codes,
            limits=self.limits,
            shell=self.shell,
            module=warm.module,
            start=start,
            clock=self.clock,
            doors=self.doors,
            send=lambda data: wire.write(pipe, data),
            dead=dead,
        ).run_all(done)


class _Notebook:
    """One notebook in the hands of the worker: its process, and the next one if that dies."""

    def __init__(
        self, worker: Worker, name: str, cells: Sequence[Cell], outward: int, deadline: float
    ) -> None:
        self.worker = worker
        self.name = name
        self.cells = cells
        self.outward = outward
        self.deadline = deadline
        self.dead: dict[int, Status] = {}
        self.done: list[str] = []
        limits = worker.limits
        self.most = (limits.tensor_mib << 20) + (limits.notebook_mib << 20)

    def run(self) -> str:
        """Run to the end of the plan; what the trouble was, "" if there was none."""
        keys = [run.key for run in self.worker.plans[self.name].runs]
        for _ in range(_MOST_DEATHS + 1):
            why = self._once()
            if len(self.done) == len(keys):
                return ""
            position, _seconds = self.worker.clock.now()
            if why == "wall":
                return "the time for this notebook ran out"
            for slow in self.worker.clock.slow(len(self.cells)):
                self.dead[slow] = "timed out"
            if not 0 <= position < len(self.cells) or position in self.dead:
                return why or "the process that ran it ended early"
            self.dead[position] = "killed"
        return f"its process died {_MOST_DEATHS + 1} times"

    def _once(self) -> str:
        """One process, until it ends or is ended; says why if that was not its own doing."""
        worker = self.worker
        worker.clock.reset()
        reading, writing = os.pipe()
        pid = jail.fork() if worker.sandboxed else os.fork()
        if pid == 0:
            _in_child(worker, self, reading, writing)
        os.close(writing)
        try:
            return self._watch(pid, reading)
        finally:
            os.close(reading)
            _end(pid)

    def _watch(self, pid: int, reading: int) -> str:
        received = bytearray()
        total = 0
        asked_at = -1
        while True:
            ready, _, _ = select.select([reading], [], [], _TICK)
            if ready:
                part = os.read(reading, 1 << 20)
                if not part:
                    return ""
                received += part
                try:
                    while (found := wire.split(received, self.most)) is not None:
                        total += len(found[0]) + len(found[1])
                        if len(self.done) >= len(worker_runs(self)) or total > 8 * self.most:
                            return "it sent more than a notebook has to say"
                        self._pass_on(found)
                except wire.WireError as error:
                    return f"it sent {error}"
            position, seconds = self.worker.clock.now()
            if time.monotonic() > self.deadline:
                return "wall"
            if position >= 0 and seconds > self.worker.limits.cell_seconds + _GRACE:
                return "a cell would not stop"
            if position >= 0 and seconds > self.worker.limits.cell_seconds and asked_at != position:
                asked_at = position
                os.kill(pid, signal.SIGUSR1)

    def _pass_on(self, found: tuple[bytes, bytes]) -> None:
        """Header and body together become the body: the grader reads them, not the worker."""
        key = worker_runs(self)[len(self.done)]
        self.done.append(key)
        header, body = found
        wire.write(
            self.outward,
            wire.frame(
                {"kind": "run", "notebook": self.name, "run": key},
                struct.pack("<I", len(header)) + header + body,
            ),
        )


def worker_runs(notebook: _Notebook) -> list[str]:
    """The keys of a notebook's runs, in order."""
    return [run.key for run in notebook.worker.plans[notebook.name].runs]


def _in_child(worker: Worker, job: _Notebook, reading: int, writing: int) -> None:
    try:
        os.close(reading)
        worker.child(job.name, job.cells, writing, job.dead, frozenset(job.done))
    except BaseException:
        # Not the student's cell, which a runner catches: the jail or the runner itself failed, and
        # the worker reads that from the runs that are missing.
        worker.clock.end()
        os._exit(3)
    os._exit(0)


def _end(pid: int) -> None:
    """Kill the process, and with it, as it is process 1 of its namespace, all that it started."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def main(inward: int, outward: int) -> None:
    """Be a worker on these two descriptors."""
    setup, body = wire.read(inward, MOST_FRAME)
    try:
        worker = _made(setup, wire.unpack(body))
    except _GivenCellFailed as error:
        wire.write(outward, wire.frame({"kind": "broken", "why": str(error)}))
        return
    worker.serve(inward, outward)


def _made(setup: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Worker:
    files = {name: text.encode("latin-1") for name, text in setup["files"].items()}
    plans = {
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
        for name, plan in setup["plans"].items()
    }
    return Worker(setup, files, plans)
