"""An author's solution cut into answers: which statements, or which function, make which gradients."""

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from handgrad.errors import UserError


@dataclass(frozen=True, slots=True)
class Solved:
    """The lines that make one answer, or several at once.

    Of a function, `source` ends with its definition, and `call` is the statement that calls it.
    """

    variables: tuple[str, ...]
    source: str
    call: ast.Assign | None = None


def cut(cell: str, source: str, asked: Collection[str]) -> list[Solved]:
    """The cell's answers in their order; none where it makes no name of `asked`.

    What a statement needs stands before it, and what changes an answer in place (`dC[i] += row`) belongs
    to it. Raises UserError where an answer is made in two places.
    """
    groups: list[_Group] = []
    functions: dict[str, ast.FunctionDef] = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef):
            functions[statement.name] = statement
        made = tuple(dict.fromkeys(name for name in _made(statement) if name in asked))
        end = statement.end_lineno or statement.lineno
        begun: list[str] = []  # by the statements right above: `dhs = [None] * T` before their loop
        while made and groups and {*groups[-1].variables} <= {*made} - {*begun}:
            begun = [*groups.pop().variables, *begun]
        made = (*begun, *(name for name in made if name not in begun))
        if groups and made and {*made} <= {*groups[-1].variables}:
            groups[-1].end = end
        elif made:
            if again := {*made} & {name for group in groups for name in group.variables}:
                raise UserError(
                    f"cell {cell}, line {statement.lineno}",
                    f"`{min(again)}` is made in a second place",
                    "Write all that makes an answer in one place.",
                )
            groups.append(_Group(made, end, *_called(statement, functions)))
    return [*_cut(source.splitlines(), groups)]


@dataclass(slots=True)
class _Group:
    variables: tuple[str, ...]
    end: int  # the last line that makes them
    function: ast.FunctionDef | None = None
    call: ast.Assign | None = None


def _called(
    statement: ast.stmt, functions: dict[str, ast.FunctionDef]
) -> tuple[ast.FunctionDef, ast.Assign] | tuple[()]:
    """The function of the author's own whose results a statement binds, and that statement."""
    match statement:
        case ast.Assign(value=ast.Call(func=ast.Name(id=name))) if name in functions:
            return functions[name], statement
    return ()


def _cut(lines: list[str], groups: list[_Group]) -> Iterator[Solved]:
    start = 0
    for group in groups:
        last = len(lines) if group is groups[-1] else group.end
        if group.function is not None:
            last = group.function.end_lineno or last
        source = "\n".join(lines[start:last]).strip("\n")
        yield Solved(group.variables, source, group.call)
        start = group.end


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
