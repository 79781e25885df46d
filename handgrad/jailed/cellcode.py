"""One notebook cell as code: transformed as IPython would, compiled once, shared by all runs."""

import ast
import asyncio
import inspect
import linecache
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from types import CodeType
from typing import Any, cast

from handgrad.jailed.placing import Tap, place
from handgrad.plan import Cell

_FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_UNSEEN = re.compile(
    r"\b(?:globals?|exec|eval|vars|locals|setattr|get_ipython|__dict__)\b|^\s*%", re.M
)
_PREFIX = "<cell "

Namespace = dict[str, object]


@dataclass(frozen=True, slots=True)
class CellCode:
    """`last` is the last expression, whose value a notebook shows; `error` is why there is no code.

    `hidden_writes`: the code names an attribute through which a tensor can be written to without
    torch counting it (`.data`, `.numpy()`), so a look at the version counters is not enough.
    `taps` were put behind its statements.
    """

    cell: Cell
    body: CodeType | None = None
    last: CodeType | None = None
    error: Exception | None = None
    hidden_writes: bool = False
    taps: tuple[Tap, ...] = ()

    def execute(self, namespace: Namespace) -> object:
        """Run in `namespace`; the last expression's value, None where there is none to show."""
        if self.error is not None:
            raise self.error.with_traceback(None)
        if self.body is not None:
            evaluate(self.body, namespace)
        return None if self.last is None else evaluate(self.last, namespace)


def compiled(
    cell: Cell,
    asked: frozenset[str] = frozenset(),
    *,
    closely: bool = False,
    lists: frozenset[str] = frozenset(),
) -> CellCode:
    """The cell as code, with taps for the variables `asked` (see `place`). Never raises for what the
    cell says: a syntax error is kept, to be raised when its turn comes.
    """
    name = filename(cell.index)
    taps: tuple[Tap, ...] = ()
    try:
        body, last = _parted(cell.source, name)
        if asked:
            taps = place(body, last, cell.index, cell.grade_id, asked, closely, lists)
        code = _compiled(body, last, name)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return CellCode(cell, error=error)
    doors = {"data", "numpy", "from_numpy", "asarray", "set_"}
    hidden = any(not doors.isdisjoint(each.co_names) for each in _all_code(*code))
    return CellCode(cell, *code, hidden_writes=hidden, taps=taps)


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
    return _compiled(*_parted(source, name), name)


def _parted(source: str, name: str) -> tuple[list[ast.stmt], ast.expr | None]:
    """All statements but a last expression, and that expression."""
    body = parse(source, name).body
    if body and isinstance(body[-1], ast.Expr):
        return body[:-1], body[-1].value
    return body, None


def _compiled(
    body: list[ast.stmt], last: ast.expr | None, name: str
) -> tuple[CodeType | None, CodeType | None]:
    return (
        compile(ast.Module(body, []), name, "exec", flags=_FLAGS) if body else None,
        None if last is None else compile(ast.Expression(last), name, "eval", flags=_FLAGS),
    )


def parse(source: str, name: str = "<cell>") -> ast.Module:
    """The syntax tree. IPython's transformation costs five compilations, so it is tried second:
    what is Python already is left as it is by it.
    """
    try:
        return _tree(source, name)
    except SyntaxError:
        return _tree(as_ipython(source), name)


def as_ipython(source: str) -> str:
    """The cell as IPython turns it into Python: magics and shell lines are calls, prompts are gone.

    As IPython up to 8 does, the first line's indentation is taken off all lines that have it. Later ones
    only take off what every line has, be it a comment at the margin.
    """
    first = source.lstrip("\n")
    indent = first[: len(first) - len(first.lstrip(" \t"))]
    lines = (line.removeprefix(indent) for line in source.splitlines(keepends=True))
    return cast(str, _transformer().transform_cell("".join(lines)))


def changes_unseen(source: str) -> bool:
    """Whether the code may bind notebook variables in ways that the other cells' trees do not show."""
    return _UNSEEN.search(source) is not None


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


@cache
def _transformer() -> Any:
    # Here, as the trusted side knows this module and need not wait for IPython.
    from IPython.core.inputtransformer2 import TransformerManager

    return cast(Any, TransformerManager)()


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
