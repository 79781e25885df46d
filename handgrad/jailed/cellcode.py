"""One notebook cell as code: transformed as IPython would, compiled once, shared by all runs."""

import ast
import asyncio
import inspect
import linecache
from collections.abc import Iterable
from dataclasses import dataclass
from types import CodeType
from typing import Any, cast

from IPython.core.inputtransformer2 import TransformerManager

from handgrad.plan import Cell

_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_PREFIX = "<cell "
_transformer = cast(Any, TransformerManager)()

Namespace = dict[str, object]


@dataclass(frozen=True, slots=True)
class CellCode:
    """`last` is the last expression, whose value a notebook shows; `error` is why there is no code.

    `hidden_writes`: the code names an attribute through which a tensor can be written to without
    torch counting it (`.data`, `.numpy()`), so a look at the version counters is not enough.
    """

    cell: Cell
    body: CodeType | None = None
    last: CodeType | None = None
    error: Exception | None = None
    hidden_writes: bool = False

    def execute(self, namespace: Namespace) -> object:
        """Run in `namespace`; the last expression's value, None where there is none to show."""
        if self.error is not None:
            raise self.error.with_traceback(None)
        if self.body is not None:
            evaluate(self.body, namespace)
        return None if self.last is None else evaluate(self.last, namespace)


def compiled(cell: Cell) -> CellCode:
    """The cell as code. Never raises for what the cell says: a syntax error is kept, to be raised
    when its turn comes.
    """
    name = filename(cell.index)
    try:
        body, last = compile_source(cell.source, name)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return CellCode(cell, error=error)
    doors = {"data", "numpy", "from_numpy", "asarray", "set_"}
    hidden = any(not doors.isdisjoint(code.co_names) for code in _all_code(body, last))
    return CellCode(cell, body, last, hidden_writes=hidden)


def know_lines(cells: Iterable[Cell]) -> None:
    """Let tracebacks find the lines of these cells; another notebook's are forgotten."""
    for name in [name for name in linecache.cache if name.startswith(_PREFIX)]:
        del linecache.cache[name]
    for cell in cells:
        name = filename(cell.index)
        lines = [line + "\n" for line in cell.source.splitlines()]
        linecache.cache[name] = (len(cell.source), None, lines, name)


def compile_source(source: str, name: str) -> tuple[CodeType | None, CodeType | None]:
    """Everything but the last expression, and the last expression; raises as `compile` does."""
    tree = parse(source, name)
    last: CodeType | None = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        expression = tree.body.pop()
        assert isinstance(expression, ast.Expr)
        last = compile(ast.Expression(expression.value), name, "eval", flags=_FLAGS)
    body = compile(tree, name, "exec", flags=_FLAGS) if tree.body else None
    return body, last


def parse(source: str, name: str = "<cell>") -> ast.Module:
    """The syntax tree. IPython's transformation costs five compilations, so it is tried second:
    what is Python already is left as it is by it.
    """
    try:
        return _tree(source, name)
    except SyntaxError:
        return _tree(_transformer.transform_cell(source), name)


def shows_nothing(source: str) -> bool:
    """Whether a closing semicolon asks not to show the last value."""
    return source.rstrip().endswith(";")


def filename(index: int) -> str:
    """The name that the code of cell `index` is known by in tracebacks and frames."""
    return f"{_PREFIX}{index}>"


def index_of(name: str) -> int | None:
    """The cell a code's file name belongs to, None for any other file."""
    if not name.startswith(_PREFIX):
        return None
    number = name[len(_PREFIX) : -1]
    return int(number) if number.isascii() and number.isdigit() else None


def _tree(source: str, name: str) -> ast.Module:
    tree = compile(source, name, "exec", flags=_FLAGS | ast.PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    return tree


_loop: asyncio.AbstractEventLoop | None = None


def evaluate(code: CodeType, namespace: Namespace) -> object:
    """Run code, to its end where it awaits; the value of an expression."""
    value = eval(code, namespace)
    if code.co_flags & inspect.CO_COROUTINE:
        global _loop
        if _loop is None:
            _loop = asyncio.new_event_loop()
            asyncio.set_event_loop(_loop)
        return _loop.run_until_complete(value)
    return value


def _all_code(*codes: object) -> list[CodeType]:
    found = [code for code in codes if isinstance(code, CodeType)]
    for code in found:
        found += [part for part in code.co_consts if isinstance(part, CodeType)]
    return found
