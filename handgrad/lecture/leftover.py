"""Names that a function of the course's own reads and nothing makes: left over from before, or misspelt."""

import ast
import builtins
from collections.abc import Iterator, Sequence
from dataclasses import replace

from handgrad.lecture.effects import bound, reads
from handgrad.notebooks.submission import Prepared
from handgrad.verdict import Note

_STAND_IN = "\n{name} = __import__('torch').tensor(0.7390851)  # left over, not made here"


def with_stand_ins(restored: Prepared) -> Prepared:
    """The notebook, in which each such name is an odd number, so that the step that reads it is wrong and
    no other.

    The line stands behind the function, whose own lines keep their numbers.
    """
    try:
        bodies = [ast.parse(cell.source).body for cell in restored.cells]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return restored  # what is bound there is not known
    known = set(dir(builtins)).union(*(bound(each) for body in bodies for each in body))
    cells, notes = list(restored.cells), list(restored.problems)
    for at, (cell, body) in enumerate(zip(cells, bodies, strict=True)):
        for name in sorted(set(_values_read(body)) - known) if cell.kind == "answer" else ():
            cells[at] = replace(cells[at], source=cells[at].source + _STAND_IN.format(name=name))
            notes.append(Note("lecture_left_over", {"used": name, "cell": cell.grade_id}))
    return replace(restored, cells=tuple(cells), problems=tuple(notes))


def _values_read(body: Sequence[ast.stmt]) -> Iterator[str]:
    """The names that functions read, without those that they call."""
    for node in body:
        if isinstance(node, ast.FunctionDef):
            calls = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
            yield from reads(node) - {each.id for each in calls if isinstance(each, ast.Name)}
