"""What may stand for an answer or for a given value, under whatever name."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from handgrad.lecture.flow import Flow, Use, Version
from handgrad.lecture.likeness import Numbers, form
from handgrad.lecture.outline import Outline, pairs
from handgrad.lecture.statements import Statement


@dataclass(frozen=True, slots=True)
class Comparison:
    """A call that compares a gradient with autograd's: which target it is about, and what it is given.

    `name` is the variable compared, at `use`; "" where an expression is.
    """

    statement: int
    target: str
    name: str
    use: Use | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The version of a variable that stands for a target; `how` says why where the name differs."""

    target: str
    use: Use
    how: str = ""

    @property
    def version(self) -> Version:
        return self.use.version


def matched(
    statements: Sequence[Statement],
    through: Flow,
    outline: Outline,
    numbers: Numbers,
) -> dict[Version, str]:
    """The versions that a line of the forward pass makes, whatever the student calls them."""
    names = dict(outline.same)
    found: dict[Version, str] = {}
    for at, statement in enumerate(statements):
        if not isinstance(statement.node, ast.Assign):
            continue
        lines = [(name, form(value, names, numbers)) for name, value in pairs(statement.node)]
        for name, shape in lines:
            meant = outline.forms.get(shape)
            if meant is None and shape == ("name", name):
                continue
            names.pop(name, None)
            if name in outline.same:
                names[name] = outline.same[name]
            elif shape[0] == "name" and isinstance(shape[1], str):  # `size = 32`, `e = emb`
                names[name] = shape[1]
            if meant is not None and name in through.makes[at]:
                names[name] = meant
                found[through.makes[at][name]] = meant
    return found


def is_placeholder(node: ast.stmt, name: str) -> bool:
    """Whether the statement binds the name to nothing: `dlogits = None`, `= ...`, `= "your code"`."""
    if not isinstance(node, ast.Assign):
        return False
    values = [value for bound, value in pairs(node) if bound == name]
    return bool(values) and all(
        isinstance(value, ast.Constant) and not isinstance(value.value, int | float | complex)
        for value in values
    )


def is_borrowed(node: ast.stmt, name: str) -> bool:
    """Whether the name is bound to what autograd found: `dh = h.grad`, `dh = h.grad.clone()`."""
    if not isinstance(node, ast.Assign):
        return False
    for bound, value in pairs(node):
        while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            value = value.func.value
        if bound == name and isinstance(value, ast.Attribute) and value.attr == "grad":
            return True
    return False
