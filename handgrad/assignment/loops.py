"""Lists that a loop of a forward pass fills, an entry a turn: each list is a step, which may read itself."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handgrad.errors import UserError


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop that fills lists: by list, the names that its entries are made from.

    `own` are the other names that it binds, which are its own.
    """

    fills: Mapping[str, tuple[str, ...]]
    own: frozenset[str]


def loop_of(node: ast.stmt, cell: str) -> Loop | None:
    """What a statement is as a loop; None for one that fills no list.

    Raises UserError where a turn reads what an earlier one left in a name of the loop's own: then the
    entries rest on each other in a way that no list shows.
    """
    if not isinstance(node, ast.For):
        return None
    own = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    made: dict[str, list[str]] = {name: [] for name in _names(node.target)}
    fills: dict[str, list[str]] = {}
    for statement in _statements(node.body):
        targets, values = _parts(statement)
        read: list[str] = []
        for name in (name for value in values for name in _names(value)):
            if name in own and name not in made:
                raise UserError(
                    f"cell {cell}, line {statement.lineno}",
                    f"`{name}` is carried from one turn of the loop to the next",
                    "Keep it in a list, and read the list's last entry: `hs[-1]`.",
                )
            read += made.get(name, [name])
        for target in targets:
            match target:
                case ast.Name(name):
                    made[name] = read
                case ast.Subscript(ast.Name(name)):
                    fills[name] = [*fills.get(name, []), *read]
    if not fills:
        return None
    return Loop({name: tuple(dict.fromkeys(read)) for name, read in fills.items()}, frozenset(own))


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        yield statement
        for block in ("body", "orelse"):
            yield from _statements(getattr(statement, block, []))


def _parts(statement: ast.stmt) -> tuple[Sequence[ast.expr], Sequence[ast.AST]]:
    """What a statement binds or fills, and what it reads for that."""
    match statement:
        case ast.Assign([ast.Tuple(targets)], value):
            return targets, [value]
        case ast.Assign(targets, value):
            return targets, [value]
        case ast.AugAssign(target, _, value):
            return [target], [target, value]
        case ast.Expr(ast.Call(ast.Attribute(ast.Name() as name, "append"), [value])):
            return [ast.Subscript(name, value)], [value]  # some entry of it
        case ast.If(test) | ast.While(test) | ast.For(iter=test):
            return [], [test]
    return [], [statement]


def _names(node: ast.AST) -> list[str]:
    return [one.id for one in ast.walk(node) if isinstance(one, ast.Name)]


class Held(list[Any]):
    """A list in a loop that reads entries as they are `held`, whatever the loop makes of them.

    So each turn is computed by itself. `made` is what the loop made; with nothing held that is read.
    """

    def __init__(self, made: Sequence[Any], held: Sequence[Any]) -> None:
        """`made` is what stands in the list before the loop."""
        super().__init__(held[: len(made)] or made)
        self.made = list(made)
        self._held = held

    def append(self, entry: Any) -> None:
        self.made.append(entry)
        super().append(self._held[len(self)] if self._held else entry)

    def __setitem__(self, at: Any, entry: Any) -> None:
        self.made[at] = entry
        if not self._held:
            super().__setitem__(at, entry)
