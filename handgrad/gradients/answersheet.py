"""One student's answers to one notebook, looked up in the way that a judge asks for them."""

from collections.abc import Sequence
from dataclasses import dataclass

from handgrad.evidence import Answer, CellResult, Evidence, RunResult
from handgrad.plan import Cell
from handgrad.verdict import Note


@dataclass(frozen=True, slots=True)
class AnswerSheet:
    """One student's evidence, with the look-ups that judging needs."""

    evidence: Evidence
    cells: Sequence[Cell]
    untouched: frozenset[str]

    def run(self, key: str) -> RunResult | None:
        return self.evidence.runs.get(key)

    def answer(self, key: str, variable: str) -> Answer | None:
        run = self.run(key)
        return None if run is None else run.answers.get(variable)

    def changed(self, key: str) -> frozenset[str]:
        run = self.run(key)
        return frozenset() if run is None else run.changed

    def answer_cell(self, variable: str) -> Cell | None:
        """The cell that should compute it: the one named after it, else the last one before."""
        found = None
        for cell in self.cells:
            if cell.kind == "answer":
                if cell.grade_id == variable:
                    return cell
                found = cell
            if cell.grade_id == "test_" + variable.removeprefix("test_"):
                break
        return found

    def untouched_answer(self, variable: str) -> bool:
        cell = self.answer_cell(variable)
        return cell is not None and cell.grade_id in self.untouched

    def failure(self, key: str, variable: str) -> CellResult | None:
        """How the variable's own cell, or one between it and its test, failed in that run, if any did."""
        run, cell = self.run(key), self.answer_cell(variable)
        if run is None or cell is None:
            return None
        tests = (c.index for c in self.cells if c.grade_id == f"test_{variable}")
        last = next(tests, cell.index)
        return next(
            (r for r in run.cells if cell.index <= r.index <= last and r.status != "ok"), None
        )

    def why_no_number(self, key: str, variable: str, answers: Sequence[Answer]) -> tuple[Note, ...]:
        """Why there is nothing to compare: what was answered instead, or how its cell failed."""
        answer = self.answer(key, variable) or answers[0]
        if answer.kind == "unusable":
            return (Note("unusable", {"why": answer.why}),)
        failure = self.failure(key, variable)
        if failure is None:
            return ()
        if failure.status == "raised":
            return (Note("raised", {"ename": failure.ename, "evalue": failure.evalue[:200]}),)
        return (Note(failure.status.replace(" ", "_"), {"cell": variable}),)
