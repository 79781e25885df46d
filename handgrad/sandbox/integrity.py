"""What a person should look at in a notebook's text: uses of autograd, and of what lies behind it.

Read on the trusted side, from the cells as they were submitted: nothing that a notebook does while
it runs changes this list.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from handgrad.evidence import Attempt
from handgrad.jailed.attempts import LINE_LENGTH, MOST_ATTEMPTS
from handgrad.jailed.autograd_off import FUNCTIONAL, OTHER_ENGINES
from handgrad.plan import Cell

# Characters of one notebook's own code: a parser needs a few hundred bytes for each.
_MOST_CODE = 300_000

_HARMLESS = frozenset(["Variable", "profiler", "no_grad", "set_detect_anomaly"])

# Modules that no exercise needs: algebra, differences, the inside of torch, of Python and of this.
_MODULES = frozenset(
    ["functorch", "sympy", "numdifftools", "casadi", "pytensor", "ctypes", "handgrad"]
)
_TORCH_INSIDE = ("_C", "ops", "_decomp", "_refs", "_functorch", "_dynamo", "jit")
# A real function at a complex point gives its own derivative.
_COMPLEX = {"complex", "cfloat", "cdouble", "complex32", "complex64", "complex128", "polar",
            "view_as_complex"}  # fmt: skip
# The ways from an object to what somebody else keeps, and a library's own differences.
_INSIDE = {"_grading", "__closure__", "cell_contents", "__globals__", "__subclasses__", "_getframe",
           "f_back", "tb_frame", "get_objects", "get_referrers", "get_referents",
           "approx_fprime"}  # fmt: skip
_OURS = re.compile(r"handgrad(\.\w+)*")

# What stands in a cell that is IPython's and not Python: it is no code until it runs.
_MAGIC = re.compile(r"^([ \t]*)(?:[\w., ]+=[ \t]*)?(?:[%!?/,;].*|[\w.]+\?\??[ \t]*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Own:
    """What of `backward` and `grad` is of the student's own making.

    `classes` define such a name, by the name; `assigned` are the texts of what it was assigned to;
    `given` are variables of given cells that the student does not bind again.
    """

    classes: frozenset[tuple[str, str]]
    assigned: frozenset[tuple[str, str]]
    given: frozenset[str]

    @classmethod
    def of(cls, students: Sequence[ast.Module], given: Sequence[ast.Module]) -> "_Own":
        classes: set[tuple[str, str]] = set()
        assigned: set[tuple[str, str]] = set()
        for tree in students:
            for node in ast.walk(tree):
                match node:
                    case ast.ClassDef(name=name, body=body):
                        inner = (one for one in body if isinstance(one, ast.FunctionDef))
                        classes |= {(one.name, name) for one in inner}
                    case ast.Assign(targets=targets, value=value) if not _is_none(value):
                        for each in targets:
                            if isinstance(each, ast.Attribute):
                                assigned.add((each.attr, ast.dump(each.value)))
        bound = {name for tree in given for name in _bound(tree)}
        bound -= {name for tree in students for name in _bound(tree)}
        return cls(frozenset(classes), frozenset(assigned), frozenset(bound))

    def is_own(self, name: str, holder: ast.expr) -> bool:
        """Whether `holder.name` is the student's: a decoy elsewhere does not make `loss` so."""
        if (name, ast.dump(holder)) in self.assigned:
            return True
        if not any(name == each for each, _ in (*self.classes, *self.assigned)):
            return False
        match holder:
            case ast.Call(func=ast.Name(id=maker)) if (name, maker) in self.classes:
                return True
            case _:
                return self.given.isdisjoint(
                    node.id for node in ast.walk(holder) if isinstance(node, ast.Name)
                )


def listed_in(cells: Iterable[Cell]) -> tuple[Attempt, ...]:
    """Every use that the student's cells name, whether or not it ever runs; one for each line.

    Comments and strings are not code. `.backward()` and `.grad` are the student's own where a class
    of theirs defines them, or where they assign to them.
    """
    cells = tuple(cells)
    given = [tree for cell in cells if cell.kind == "given" if (tree := _tree(cell.source))]
    found: list[Attempt] = []
    trees: list[tuple[Cell, ast.Module]] = []
    room = _MOST_CODE
    for cell in cells:
        if cell.kind in ("answer", "other"):
            room -= len(cell.source)
            if room < 0:
                found.append(Attempt(cell.index, "too long to be searched", ""))
                break
            tree = _tree(cell.source)
            if tree is not None:
                trees.append((cell, tree))
    own = _Own.of([tree for _, tree in trees], given)
    for cell, tree in trees:
        found += _listed(cell, tree, own)
    return tuple(found[:MOST_ATTEMPTS])


def _listed(cell: Cell, tree: ast.Module, own: _Own) -> Iterator[Attempt]:
    lines = cell.source.splitlines()
    told: set[int] = set()
    for node in ast.walk(tree):
        number = getattr(node, "lineno", 0)
        if number not in told and (what := _use(node, own)):
            told.add(number)
            line = lines[number - 1].strip() if 0 < number <= len(lines) else ""
            yield Attempt(cell.index, what, line[:LINE_LENGTH])


def _tree(source: str) -> ast.Module | None:
    """The syntax tree; None where there is none, also without IPython's own lines."""
    for text in (source, _MAGIC.sub(r"\1pass", source)):
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
            continue
    return None


def _bound(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _use(node: ast.AST, own: _Own) -> str:
    """What a node uses, "" for nothing that is listed."""
    match node:
        case ast.Call(func=ast.Attribute(attr="backward", value=holder)):
            return "" if own.is_own("backward", holder) else "Tensor.backward"
        case ast.Attribute(attr="grad", ctx=ast.Load(), value=holder) if not _is_module(holder):
            return "" if own.is_own("grad", holder) else "Tensor.grad"
        case ast.Attribute():
            return _used_name(_dotted(node))
        case ast.Name(id=name) | ast.Constant(value=str(name)) if name in _INSIDE:
            return name
        case ast.Constant(value=str(text)) if _OURS.fullmatch(text):
            return text
        case ast.Constant(value=complex()):
            return "complex numbers"
        case ast.Import(names=names):
            return next((what for name in names if (what := _imported(name.name, ""))), "")
        case ast.ImportFrom(module=str(module), names=names):
            return next((what for name in names if (what := _imported(module, name.name))), "")
        case _:
            return ""


def _is_module(holder: ast.expr) -> bool:
    """Whether `holder.grad` is a function of torch's and no tensor's gradient."""
    return _dotted(holder).endswith((".autograd", "torch.func"))


def _dotted(node: ast.expr) -> str:
    """`a.b.c` as text; what is before the first name is left out."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join(reversed([*names, node.id if isinstance(node, ast.Name) else ""]))


def _used_name(dotted: str) -> str:
    first, *rest = dotted.split(".")
    last = rest[-1]
    if "autograd" in rest[:-1]:
        inner = rest[rest.index("autograd") + 1 :]
        return "" if inner[0] in _HARMLESS else ".".join(("torch.autograd", *inner))
    if last in _INSIDE:
        return last
    if first in ("torch", "np", "numpy") and last in _COMPLEX:
        return "complex numbers"
    if first == "torch" and rest[0] in _TORCH_INSIDE:
        return dotted
    if first == "torch" and rest[0] == "func":
        return dotted if last in FUNCTIONAL else ""
    if first == "torch" and "_backward" in last:
        return dotted
    return ""


def _imported(module: str, name: str) -> str:
    """What `import module` or `from module import name` brings in, "" for nothing that is listed."""
    first, *rest = module.split(".")
    whole = f"{module}.{name}" if name else module
    if first in OTHER_ENGINES | _MODULES:
        return module
    if name in _INSIDE:
        return whole
    if first != "torch":
        return ""
    if rest[:1] == ["autograd"] or whole == "torch.autograd":
        return "" if name in _HARMLESS else whole
    if rest == ["func"]:
        return whole if name in FUNCTIONAL | {"*", ""} else ""
    inner = rest[0] if rest else name
    if inner in _TORCH_INSIDE:
        return whole
    return "complex numbers" if name in _COMPLEX else ""
