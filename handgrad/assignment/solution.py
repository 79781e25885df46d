"""An author's solution cut into answers: which statements make which gradient."""

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from handgrad.errors import UserError


@dataclass(frozen=True, slots=True)
class Solved:
    """The lines that make one answer, or several at once; `start` lines of the cell stand before them."""

    variables: tuple[str, ...]
    source: str
    start: int


def cut(cell: str, source: str, asked: Collection[str]) -> list[Solved]:
    """The cell's answers in their order; none where it makes no name of `asked`.

    What a statement needs stands before it, and what changes an answer in place (`dC[i] += row`) belongs
    to it. Raises UserError where an answer is made in two places.
    """
    ends: list[tuple[tuple[str, ...], int]] = []  # what was made, and the last line that makes it
    for statement in ast.parse(source).body:
        made = tuple(dict.fromkeys(name for name in _made(statement) if name in asked))
        end = statement.end_lineno or statement.lineno
        if ends and made and {*made} <= {*ends[-1][0]}:
            ends[-1] = (ends[-1][0], end)
        elif made:
            if again := {*made} & {name for before, _ in ends for name in before}:
                raise UserError(
                    f"cell {cell}, line {statement.lineno}",
                    f"`{min(again)}` is made in a second place",
                    "Write all that makes an answer in one place.",
                )
            ends.append((made, end))
    lines = source.splitlines()
    found, start = [], 0
    for made, end in ends:
        last = len(lines) if (made, end) == ends[-1] else end
        found.append(Solved(made, "\n".join(lines[start:last]).strip("\n"), start))
        start = end
    return found


def _made(node: ast.AST) -> Iterator[str]:
    """The names that a statement binds, or whose value it changes in place; not within a function."""
    match node:
        case ast.FunctionDef() | ast.ClassDef() | ast.Lambda():
            return
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store()):
            yield name
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name)))):
            yield name
    for child in ast.iter_child_nodes(node):
        yield from _made(child)
