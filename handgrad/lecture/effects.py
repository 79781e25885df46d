"""Which names a statement binds, changes and reads, and which statements some names need: by their text,
and cautiously: rather one too many.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence, Set

from handgrad.jailed.placing import base, made, own_scope
from handgrad.lecture.statements import Statement

# What makes data of its own.
DRAWS = frozenset({"randint", "randn", "rand", "random", "randperm", "manual_seed", "seed"})
DRAWS |= {"Generator", "open", "read_csv", "urlopen"}
_FRESH = frozenset({"randn", "rand", "zeros", "ones", "empty"})
_CONTAINER_CHANGES = frozenset(
    {"append", "extend", "insert", "update", "setdefault", "pop", "remove", "add"}
)
_VIEWS = frozenset(
    {"view", "view_as", "reshape", "flatten", "squeeze", "unsqueeze", "transpose", "permute", "t"}
    | {"expand", "expand_as", "detach", "contiguous", "narrow", "select", "diagonal", "numpy"}
)
_MODULES = frozenset({"torch", "nn", "init", "np", "F"})
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def names_in(node: ast.AST) -> frozenset[str]:
    """All names in a piece of text, those in functions included."""
    return frozenset(each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def changed(node: ast.stmt, functions: Set[str] = frozenset()) -> frozenset[str]:
    """The names that a statement binds or whose objects it may change.

    `functions` are the notebook's own: a call that is a statement may change whatever it is given.
    """
    found = set(made([node]))
    for each in own_scope([node]):
        match each:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.add(each.name)
            case ast.alias():
                found.add((each.asname or each.name).partition(".")[0])
            case ast.Call(ast.Attribute(owner, method)) if method in _CONTAINER_CHANGES:
                found.add(base(owner))
            case ast.Call(ast.Attribute(owner, method), [first, *_]) if base(
                owner
            ) in _MODULES and (method == "at" or method.endswith("_")):
                found |= names_in(first)  # np.add.at(t, ...), nn.init.zeros_(t)
            case ast.Expr(ast.Call(ast.Name(name), arguments)) if name in functions:
                found = found.union(*map(names_in, arguments))
    return frozenset(found - {""})


def reads(node: ast.stmt) -> frozenset[str]:
    """The names whose values from before a statement may matter to it."""
    loaded = {
        each.id
        for each in ast.walk(node)
        if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)
    }
    added = (each.target for each in ast.walk(node) if isinstance(each, ast.AugAssign))
    return frozenset(loaded | {base(target) for target in added} - {""})


def bound(node: ast.stmt) -> frozenset[str]:
    """All names that are bound anywhere in a statement, functions' arguments and loops' variables too."""
    found = set(changed(node))
    for each in ast.walk(node):
        match each:
            case ast.Name(name, ast.Store()) | ast.arg(name) | ast.ExceptHandler(name=str(name)):
                found.add(name)
            case ast.FunctionDef(name=name):
                found.add(name)
    return frozenset(found)


def needed(
    statements: Sequence[Statement], names: Iterable[str], functions: Set[str]
) -> tuple[Statement, ...]:
    """Of the statements those that the values of the names may come from, however far back."""
    wanted, kept = set(names), list[Statement]()
    shared = [pair for statement in statements for pair in _sharing(statement.node)]
    before = -1
    while before < len(wanted):
        before = len(wanted)
        kept = [s for s in statements if changed(s.node, functions) & wanted]
        wanted.update(*(reads(s.node) for s in kept))
        wanted |= {other for other, name in shared if name in wanted}
    return tuple(kept)


def _sharing(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Pairs of names of which the first may be the second's object, or a view of it."""
    for each in own_scope([node]):
        match each:
            case ast.Assign(targets, value):
                owner = _root(value)
                yield from ((name, owner) for t in targets for name in names_in(t) if owner)
            case ast.For(target, iterated):
                changes = frozenset().union(*map(changed, each.body)) & names_in(target)
                yield from ((name, owner) for name in changes for owner in names_in(iterated))


def _root(value: ast.expr) -> str:
    while True:
        match value:
            case ast.Name(name):
                return name
            case ast.Subscript(inner) | ast.Attribute(inner, "T" | "mT" | "data" | "H"):
                value = inner
            case ast.Call(ast.Attribute(inner, method)) if method in _VIEWS:
                value = inner
            case _:
                return ""


def pairs(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """The single names of an assignment and what each is bound to: `a, b = x, y` is two of them."""
    if not isinstance(node, ast.Assign):
        return
    for target in node.targets:
        match target, node.value:
            case ast.Name(name), value:
                yield name, value
            case ast.Tuple(targets) | ast.List(targets), ast.Tuple(values) | ast.List(values) if (
                len(targets) == len(values)
            ):
                for each, its_value in zip(targets, values, strict=True):
                    if isinstance(each, ast.Name):
                        yield each.id, its_value


def drawn(node: ast.stmt) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The names that a statement binds to fresh tensors, with the sizes of their axes as they are written."""
    for name, value in pairs(node):
        for each in ast.walk(value):
            match each:
                case ast.Call(ast.Attribute(_, maker), [ast.Tuple(sizes) | ast.List(sizes)]) | (
                    ast.Call(ast.Attribute(_, maker), sizes)
                ) if maker in _FRESH and sizes:
                    yield name, tuple(map(ast.unparse, sizes))
                    break


def is_placeholder(node: ast.stmt, name: str) -> bool:
    """Whether the statement binds the name to nothing: `dlogits = None`, `= ...`, `= "your code"`."""
    values = [value for bound, value in pairs(node) if bound == name]
    return bool(values) and all(
        isinstance(value, ast.Constant) and not isinstance(value.value, int | float | complex)
        for value in values
    )


def is_constant(node: ast.stmt) -> bool:
    """Whether the statement binds names to numbers that are written there: `n, eps = 32, 1e-5`."""
    values = [value for _, value in pairs(node)]
    return bool(values) and all(isinstance(value, ast.Constant) for value in values)


def is_borrowed(node: ast.stmt, name: str) -> bool:
    """Whether the name is bound to what autograd found: `dh = h.grad`, `dh = h.grad.clone()`."""
    for bound, value in pairs(node):
        while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            value = value.func.value
        if bound == name and isinstance(value, ast.Attribute) and value.attr == "grad":
            return True
    return False


def draws(node: ast.stmt) -> bool:
    """Whether the statement draws or reads data; what it only defines is not run."""
    if isinstance(node, _DEFINITIONS):
        return False
    for each in ast.walk(node):
        match each:
            case ast.Call(ast.Attribute(_, name) | ast.Name(name)) if name in DRAWS:
                return True
    return False
