"""A hidden run's result with the words of the run that people see: its own could tell its numbers."""

import builtins
from collections.abc import Mapping
from dataclasses import replace

from handgrad.evidence import Answer, CellResult, RunResult
from handgrad.verdict import Note

_ERRORS = frozenset(
    name
    for name, value in vars(builtins).items()
    if isinstance(value, type) and issubclass(value, BaseException)
) | {"DerivativesByHandError", "CellTimeout", "Killed"}
_UNUSABLE = Note("no_numbers")


def wordless(result: RunResult, shown: RunResult | None) -> RunResult:
    """`result` as people may read of it; `shown` is the run on the notebook's own numbers.

    What failed there in the same way is told in the words of there. Else an error is its type, where
    that is Python's own, and an answer that is no tensor just that.
    """
    cells = {cell.index: cell for cell in shown.cells} if shown is not None else {}
    answers = shown.answers if shown is not None else {}
    return replace(
        result,
        cells=tuple(_cell(cell, cells.get(cell.index)) for cell in result.cells),
        answers={name: _answer(name, one, answers) for name, one in result.answers.items()},
    )


def _cell(cell: CellResult, shown: CellResult | None) -> CellResult:
    if cell.status == "ok":
        return CellResult(cell.index, "ok")
    if shown is not None and (shown.status, shown.ename) == (cell.status, cell.ename):
        return replace(cell, evalue=shown.evalue, outputs=())
    name = cell.ename if cell.ename in _ERRORS else "Exception"
    return CellResult(cell.index, cell.status, name)


def _answer(name: str, answer: Answer, shown: Mapping[str, Answer]) -> Answer:
    if answer.kind != "unusable":
        return replace(answer, why=None)
    there = shown.get(name)
    return replace(
        answer, why=there.why if there is not None and there.kind == "unusable" else _UNUSABLE
    )
