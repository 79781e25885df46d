"""Doors to autograd that a student's code names, whether or not it ever runs."""

import ast
from collections.abc import Iterable, Sequence

from handgrad.evidence import Attempt
from handgrad.jailed.cellcode import parse
from handgrad.plan import Cell

_LINE_LENGTH = 200

# Other makers of derivatives, should one of them be installed.
OTHER_ENGINES = frozenset(
    {
        "jax",
        "autograd",
        "tensorflow",
        "tinygrad",
        "mxnet",
        "paddle",
        "micrograd",
        "theano",
        "aesara",
    }
)
FUNC_DOORS = frozenset(
    {"grad", "grad_and_value", "vjp", "jvp", "jacrev", "jacfwd", "hessian", "linearize"}
)
_HARMLESS = frozenset({"Variable", "profiler", "no_grad", "set_detect_anomaly", "graph"})


def seen_in(cells: Iterable[Cell]) -> list[Attempt]:
    """Every door named in the cells that the student wrote; one for each line.

    Comments and strings are not code. `.backward()` and `.grad` are the student's own where a class
    of theirs defines them, or where they assign a `.grad` themselves.
    """
    trees: list[tuple[Cell, ast.Module]] = []
    for cell in cells:
        if cell.kind in ("answer", "other"):
            try:
                trees.append((cell, parse(cell.source)))
            except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
                continue
    own = {name for _, tree in trees for name in _defined(tree)}
    found: list[Attempt] = []
    for cell, tree in trees:
        lines = cell.source.splitlines()
        told: set[int] = set()
        for node in ast.walk(tree):
            door = _door(node, own)
            number = getattr(node, "lineno", 0)
            if door and number not in told:
                told.add(number)
                found.append(Attempt(cell.index, door, _line(lines, number)))
    return found


def _line(lines: Sequence[str], number: int) -> str:
    return lines[number - 1].strip()[:_LINE_LENGTH] if 0 < number <= len(lines) else ""


def _defined(tree: ast.Module) -> set[str]:
    """Which of `backward` and `grad` are attributes of the student's own making."""
    own: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(body=body):
                own |= {inner.name for inner in body if isinstance(inner, ast.FunctionDef)}
            case ast.Assign(targets=targets, value=value) if not _is_none(value):
                own |= {target.attr for target in targets if isinstance(target, ast.Attribute)}
            case _:
                continue
    return own & {"backward", "grad"}


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _door(node: ast.AST, own: set[str]) -> str:
    match node:
        case ast.Call(func=ast.Attribute(attr="backward")) if "backward" not in own:
            return "Tensor.backward"
        case ast.Attribute(attr=name, value=ast.Attribute(attr="autograd")):
            return "" if name in _HARMLESS else f"torch.autograd.{name}"
        case ast.Attribute(attr=name, value=ast.Attribute(attr="func", value=ast.Name(id="torch"))):
            return f"torch.func.{name}" if name in FUNC_DOORS else ""
        case ast.Attribute(attr="grad", ctx=ast.Load()) if "grad" not in own:
            return "Tensor.grad"
        case ast.Import(names=names):
            return next((door for name in names if (door := _imported(name.name, ""))), "")
        case ast.ImportFrom(module=str(module), names=names):
            return next((door for name in names if (door := _imported(module, name.name))), "")
        case _:
            return ""


def _imported(module: str, name: str) -> str:
    """The door that `import module` or `from module import name` opens."""
    if module.split(".")[0] in OTHER_ENGINES | {"functorch"}:
        return module
    whole = f"{module}.{name}" if name else module
    if whole == "torch.autograd" or module.startswith("torch.autograd"):
        return "" if name in _HARMLESS else whole
    if module == "torch.func":
        return whole if name in FUNC_DOORS | {"*", ""} else ""
    return ""
