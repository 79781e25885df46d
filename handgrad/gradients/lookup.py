"""One student's answers to one notebook, looked up in the way that judging asks for them."""

import ast
import contextlib
import difflib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from handgrad.evidence import Answer, CellResult, Evidence
from handgrad.plan import PUBLIC, Cell
from handgrad.verdict import Gradient, Note

_NO_MODULE = re.compile(r"No module named '(\w+)")


@dataclass(frozen=True, slots=True)
class Answers:
    """What the runs of one notebook gave, and the notebook's code cells.

    `untouched` are the grade ids of answer cells that are as they were released. `unjudged` is why
    nobody may judge the notebook, whatever it gave. `draw` says with which of the notebook's own numbers
    it was run. `doubts` are, by variable, why an answer that is not right may be none of the student's
    doing.
    """

    evidence: Evidence
    cells: Sequence[Cell] = ()
    untouched: frozenset[str] = frozenset()
    unjudged: Note | None = None
    draw: int = 0
    doubts: Mapping[str, Note] = field(default_factory=dict)

    def get(self, key: str, gradient: Gradient) -> Answer | None:
        """The answer in the run called `key`; None where the run or its test cell was not reached."""
        run = self.evidence.runs.get(key)
        answer = None if run is None else run.answers.get(gradient.variable)
        tensor = None if answer is None else answer.tensor
        if tensor is not None and tensor.dtype is torch.bool and gradient.step:  # no gradient
            return Answer("unusable", why=Note("booleans"))
        return answer

    def changed_later(self, key: str, gradient: Gradient) -> bool:
        """Whether the variable had other values at the end of the run than when it was taken."""
        run = self.evidence.runs.get(key)
        return run is not None and gradient.variable in run.changed

    def is_untouched(self, gradient: Gradient) -> bool:
        cell = self._cell(gradient)
        return cell is not None and cell.grade_id in self.untouched

    def failure(self, key: str, gradient: Gradient) -> CellResult | None:
        """How the gradient's own cell, or one between it and its test, failed in that run, if any did."""
        run, cell = self.evidence.runs.get(key), self._cell(gradient)
        if run is None or cell is None:
            return None
        tests = (c.index for c in self.cells if c.grade_id == gradient.grade_id)
        last = next(tests, cell.index)
        return next(
            (r for r in run.cells if cell.index <= r.index <= last and r.status != "ok"), None
        )

    def lacking(self, key: str, gradient: Gradient) -> Note | None:
        """The package for want of which the gradient's cell failed, where it may be one that exists."""
        failed = self.failure(key, gradient)
        run = self.evidence.runs.get(PUBLIC)
        if (
            failed is None
            or run is None
            or failed.ename not in ("ModuleNotFoundError", "NameError")
        ):
            return None
        for cell in run.cells:
            found = _NO_MODULE.search(cell.evalue) if cell.index <= failed.index else None
            if found and cell.ename == "ModuleNotFoundError" and not _is_misspelt(found[1]):
                return Note("no_package", {"package": found[1]})
        return None

    def why_no_number(self, key: str, chain: Answer, gradient: Gradient) -> tuple[Note, ...]:
        """Why a run gave nothing to compare: what was answered instead, or how the cell failed.

        `chain` is the answer in the chain, for a run that did not come to the gradient's test.
        """
        answer = self.get(key, gradient) or chain
        if answer.why is not None:
            return (Note("unusable", {"why": answer.why}),)
        failure = self.failure(key, gradient)
        if failure is None:
            return ()
        if failure.status == "raised":
            said = failure.evalue[:200] or "…"  # a hidden run's own words are not told
            return (Note("raised", {"ename": failure.ename, "evalue": said}),)
        return (Note(failure.status.replace(" ", "_"), {"cell": gradient.variable}),)

    def has_a_size(self, gradient: Gradient) -> bool:
        """Whether a number that may be a size is written in what leads up to the gradient."""
        return any(
            isinstance(node, ast.Constant)
            and isinstance(node.value, int | float)
            and node.value > 2
            for node in self._written(gradient)
        )

    def counts_classes(self, gradient: Gradient) -> bool:
        """Whether a `one_hot` there is not told how many columns it has."""
        return any(
            isinstance(node, ast.Call)
            and ast.unparse(node.func).rpartition(".")[2] == "one_hot"
            and len(node.args) + len(node.keywords) == 1
            for node in self._written(gradient)
        )

    def _written(self, gradient: Gradient) -> Iterator[ast.AST]:
        """All of the student's own text up to the gradient's cell."""
        cell = self._cell(gradient)
        for each in self.cells:
            if cell is not None and each.index <= cell.index and each.kind in ("answer", "other"):
                with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
                    yield from ast.walk(ast.parse(each.source))

    def _cell(self, gradient: Gradient) -> Cell | None:
        """The cell that should compute it: the one named after it, else the last one before its test."""
        found = None
        for cell in self.cells:
            if cell.kind == "answer":
                if cell.grade_id == gradient.variable:
                    return cell
                found = cell
            if cell.grade_id == gradient.grade_id:
                break
        return found


def _is_misspelt(package: str) -> bool:
    """Whether a name is nearly that of a module that is there: a mistake, which costs what it costs."""
    there = {name.partition(".")[0] for name in sys.modules} | sys.stdlib_module_names
    return bool(difflib.get_close_matches(package, there, 1, 0.85))
