"""What a released notebook gives its reader before the first answer, and which answers it asks for."""

import ast
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handgrad.lecture.effects import effects
from handgrad.lecture.likeness import DRAWS, Form, form
from handgrad.lecture.statements import listing, opened
from handgrad.notebooks.matching import slots_of
from handgrad.notebooks.notebookfile import RawCell

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True, slots=True)
class Outline:
    """The names that are there when the first answer is written, and the formulas they came from.

    `answers` are the solution cells' grade ids in order. `forms` leads from a formula to the name of
    what it makes; `same` holds names that stand for others (`n = batch_size`). `function` is the head
    of the function that the answer is, where it is one, and `parameters` its parameters.
    """

    answers: tuple[str, ...]
    given: frozenset[str]
    forms: Mapping[Form, str]
    same: Mapping[str, str]
    function: str = ""
    parameters: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()

    @property
    def forward(self) -> frozenset[str]:
        """The names that a formula makes."""
        return frozenset(self.forms.values())

    @property
    def values(self) -> tuple[str, ...]:
        """The names that a formula makes from others, in order; what is drawn at random is not."""
        return tuple(dict.fromkeys(name for shape, name in self.forms.items() if not _draws(shape)))


def outline(released: "NotebookNode") -> Outline:
    """Read a released notebook; its text is trusted to be Python."""
    answers = []
    given: list[ast.stmt] = []
    drawn = 0  # where the parameters cell stands: what comes before it is data, not forward pass
    answer_source = ""
    for slot in slots_of(released):
        if slot.cell_type != "code":
            continue
        if slot.kind == "answer":
            answers.append(slot.grade_id)
            answer_source = answer_source or slot.cell.source
        elif slot.kind == "given" and not answers:
            cell = RawCell(1, "code", slot.cell.source)
            if "parameters" in slot.cell.metadata.get("tags", []):
                drawn = len(given)
            given += [statement.node for statement in listing([cell]).statements]
    names: set[str] = set()
    for node in given:
        names |= effects(node, {}).binds
    head, parameters, returns = _function(answer_source)
    names |= set(parameters)
    forms, same = _forms(given[drawn:], names)
    return Outline(
        tuple(answers),
        frozenset(names),
        forms,
        same,
        head,
        parameters,
        returns,
    )


def _draws(shape: object) -> bool:
    if not isinstance(shape, tuple):
        return False
    return (shape[:1] == ("call",) and shape[1] in DRAWS) or any(map(_draws, shape))


def _forms(given: Sequence[ast.stmt], names: Set[str]) -> tuple[dict[Form, str], dict[str, str]]:
    """The formulas that made these names, and names that are nothing but another name."""
    lines = [(name, value) for name, value in _lines(given) if name in names]
    same = {value.id: name for name, value in lines if isinstance(value, ast.Name)}
    return {
        form(value, same): name
        for name, value in lines
        if not isinstance(value, ast.Name) and form(value, same)[0] not in ("number", "tuple")
    }, same


def _lines(body: Sequence[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Every `name = formula` of the statements and of the functions they define."""
    for node in opened(body):
        if isinstance(node, ast.FunctionDef):
            yield from _lines(node.body)
        elif isinstance(node, ast.Assign):
            yield from pairs(node)


def pairs(node: ast.Assign) -> Iterator[tuple[str, ast.expr]]:
    """The single names and what each is bound to: `a, b = x, y` is two of them."""
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


def _function(source: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The head of the function that the answer is, with what it takes and what it returns."""
    match ast.parse(source).body:
        case [
            ast.FunctionDef(args=arguments, body=[*_, ast.Return(ast.List(results))]) as function
        ]:
            lines = source.split("\n")[: function.body[0].lineno - 1]
            taken = tuple(argument.arg for argument in arguments.args)
            return "\n".join(lines), taken, tuple(ast.unparse(result) for result in results)
    return "", (), ()
