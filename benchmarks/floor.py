"""The bare arithmetic: the same cells and runs, in one warm process, without jail, graders or files.

python benchmarks/floor.py COURSE STUDENT...      prints JSON: seconds by student
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import torch

from benchmarks.classroom import ASSIGNMENT, files_of
from handgrad.assignment.assignment import Assignment
from handgrad.jailed.cellcode import CellCode, compiled
from handgrad.notebooks.submission import prefix, read
from handgrad.plan import Run

_REPEAT = 5


def main(root: Path, students: Sequence[str]) -> None:
    said, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115, PTH123 (till the end)
    torch.set_num_threads(1)
    assignment = Assignment.load(root, ASSIGNMENT)
    _ = assignment.plans  # autograd's part of it, before that is switched off
    torch.set_grad_enabled(False)
    # What given cells call to fill `.grad` for the student's own comparison.
    for name in ("backward", "retain_grad"):
        setattr(torch.Tensor, name, lambda *_arguments, **_keywords: None)
    os.chdir(root / "release" / ASSIGNMENT)
    sys.path.insert(0, "")
    notebooks = {stem: _Notebook(assignment, stem) for stem in assignment.exercises}
    seconds = {}
    for student in students:
        files = files_of(root, student)
        seconds[student] = sum(notebooks[stem].seconds(data) for stem, data in files.items())
    json.dump(seconds, said)


class _Notebook:
    """One notebook of the assignment, its data built once."""

    def __init__(self, assignment: Assignment, stem: str) -> None:
        self._released = assignment.release[stem]
        self._runs = assignment.plans[stem].runs
        self._check = importlib.import_module("check")
        self._warm: dict[str, object] = {}
        self._before = 0
        for cell in prefix(self._released):
            if cell.parameters:
                break
            compiled(cell).execute(self._warm)
            self._before += 1

    def seconds(self, data: bytes) -> float:
        """Processor seconds of all runs of a submission, the best of several."""
        codes = [compiled(cell) for cell in read(data, self._released).cells][self._before :]
        return min(self._once(codes) for _ in range(_REPEAT))

    def _once(self, codes: Sequence[CellCode]) -> float:
        began = time.process_time()
        for run in self._runs:
            self._run(run, codes)
        return time.process_time() - began

    def _run(self, run: Run, codes: Sequence[CellCode]) -> None:
        names = dict(self._warm)
        self._check._grading = SimpleNamespace(skip=lambda name: torch.zeros_like(names[name]))
        for code in codes:
            if code.cell.kind == "test" and not run.display:
                continue
            try:
                code.execute(names)
            except Exception:
                continue  # a student's; the cells below it run all the same
            finally:
                if code.cell.parameters:
                    names.update(run.parameters)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
