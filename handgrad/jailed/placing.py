"""Puts taps into a cell's syntax tree: behind statements that bind or change the gradients asked for."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Site = tuple[int, int]  # the cell's index, and a number within it
TAP = "__tap__"
"""The builtin that taps call."""
END = -1
"""The number of the tap behind a whole cell, in no tree; an error keeps it from being reached."""

_SCOPES = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)
_FILL = ("append", "insert")
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
# Behind these nothing has changed, and an import from __future__ must come first.
_SILENT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Tap:
    """A call put behind a statement that binds or changes the variables `made`.

    Within a function, `name` is the one variable that it hands through, and `function` says which.
    """

    site: Site
    made: frozenset[str]
    name: str = ""
    function: Site = (END, END)


def place(
    body: list[ast.stmt],
    last: ast.expr | None,
    cell: int,
    own: str,
    asked: frozenset[str],
    closely: bool,
    lists: frozenset[str] = frozenset(),
) -> tuple[Tap, ...]:
    """Put taps into the statements of a cell, in place; those that were put.

    Behind the cell's `last` expression stands the tap at its end, which is in no tree.

    A cell that changes its `own` variable only gets none at its top level: the end of the cell says
    as much. `closely`: something in the notebook changes variables that no syntax tree shows. `lists` are
    the variables whose entries are taken one by one: what fills one gets taps within its loop too.
    """
    placing = _Placing(cell, asked, lists)
    for node in list(ast.walk(ast.Module(body, []))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            placing.function(node)
    whole = body if last is None else [*body, ast.Expr(last)]
    changed = _made(whole, asked)
    if closely or changed & lists or not changed <= {own}:
        at_end = frozenset() if last is None else _made([ast.Expr(last)], asked)
        body[:] = placing.top(body)
        if at_end:
            placing.taps.append(Tap((cell, END), at_end))
    return tuple(placing.taps)


@dataclass(slots=True)
class _Placing:
    cell: int
    asked: frozenset[str]
    lists: frozenset[str]
    taps: list[Tap] = field(default_factory=list)

    def top(self, body: Sequence[ast.stmt]) -> list[ast.stmt]:
        """These statements with a tap behind each."""
        placed: list[ast.stmt] = []
        for statement in body:
            placed.append(statement)
            if isinstance(statement, _SILENT):
                continue
            made = _made([statement], self.asked)
            if len(made) > 1 or made & self.lists:
                for block in _blocks(statement):
                    block[:] = self.top(block)
            tap = self._tap(made)
            call = ast.Expr(_call(tap.site))
            placed.append(ast.fix_missing_locations(ast.copy_location(call, statement)))
        return placed

    def function(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Taps for the gradients that the function makes under names of its own, if several."""
        arguments = function.args
        local = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        for node in own_scope(function.body):
            match node:
                case ast.Name(id, ast.Store()):
                    local.add(id)
                case ast.Global(declared) | ast.Nonlocal(declared):
                    local.update(declared)
        names = _made(function.body, self.asked) & local
        if len(names) > 1:
            self._within(function.body, names, (self.cell, function.lineno))

    def _within(self, body: list[ast.stmt], names: frozenset[str], function: Site) -> None:
        last = {
            name: at
            for at, statement in enumerate(body)
            for name in names & _made([statement], self.asked)
        }
        for at in sorted(set(last.values()), reverse=True):
            here = frozenset(name for name in last if last[name] == at)
            statement = body[at]
            inner = here & _fresh(statement) if len(here) > 1 else frozenset()
            for block in _blocks(statement) if inner else ():
                self._within(block, inner, function)
            body[at + 1 : at + 1] = [
                self._through(name, statement, function) for name in sorted(here - inner)
            ]

    def _through(self, name: str, behind: ast.stmt, function: Site) -> ast.stmt:
        tap = self._tap(frozenset({name}), name, function)
        call = _call(tap.site, ast.Constant(name), ast.Name(name, ast.Load()))
        made: ast.stmt = ast.Assign([ast.Name(name, ast.Store())], call)
        if next(_blocks(behind), None) is not None:  # it may have been left unbound
            nothing = ast.ExceptHandler(ast.Name("NameError", ast.Load()), None, [ast.Pass()])
            made = ast.Try([made], [nothing], [], [])
        return ast.fix_missing_locations(ast.copy_location(made, behind))

    def _tap(self, made: frozenset[str], name: str = "", function: Site = (END, END)) -> Tap:
        tap = Tap((self.cell, len(self.taps)), made, name, function)
        self.taps.append(tap)
        return tap


def _call(site: Site, *more: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(TAP, ast.Load()), [*map(ast.Constant, site), *more], [])


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The lists of statements in a compound statement."""
    for name in _BLOCKS:
        for part in getattr(statement, name, None) or ():
            if not isinstance(part, ast.stmt):  # a handler of `try`, a case of `match`
                yield part.body
        block = getattr(statement, name, None)
        if block and isinstance(block[0], ast.stmt):
            yield block


def _fresh(statement: ast.stmt) -> frozenset[str]:
    """The names that may be exchanged inside a compound statement; those that a loop adds up may not."""
    bound = {
        node.id
        for part in own_scope([statement])
        if isinstance(part, ast.Assign | ast.AnnAssign)
        for node in ast.walk(part)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    return frozenset(bound)


def _made(body: Sequence[ast.stmt], asked: frozenset[str]) -> frozenset[str]:
    return made(body) & asked


def made(body: Sequence[ast.stmt]) -> frozenset[str]:
    """The variables that the statements bind, or change in place under their own name."""
    found: set[str] = set()
    for node in own_scope(body):
        match node:
            case ast.Name(id, ast.Store() | ast.Del()):
                found.add(id)
            case ast.Subscript(value, _, ast.Store()) | ast.Attribute(value, _, ast.Store()):
                found.add(base(value))
            case ast.Call(ast.Attribute(value, method)) if method.endswith("_") or method in _FILL:
                found.add(base(value))
            case ast.keyword("out", value):
                found.update(n.id for n in ast.walk(value) if isinstance(n, ast.Name))
    return frozenset(found)


def base(node: ast.expr) -> str:
    """The variable that `a[i].b` begins with."""
    while isinstance(node, ast.Subscript | ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def own_scope(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of these statements, without those of functions, classes and comprehensions in them."""
    left = list(body)
    for node in left:
        yield node
        if not isinstance(node, _SCOPES):
            left.extend(ast.iter_child_nodes(node))
