"""What a released notebook gives its reader before the first answer, and which answers it asks for."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handgrad.lecture.effects import changed, drawn, names_in, pairs
from handgrad.lecture.statements import opened
from handgrad.notebooks.matching import slots_of

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True, slots=True)
class Outline:
    """The names that are there when the first answer is written, and what its forward pass makes.

    `answers` are the solution cells' grade ids in order; `values` are made by the cells tagged `forward`,
    in order, from their `inputs`. `drawn` are the fresh tensors that are given, with their sizes as they are
    written. `function` is the head of the function that the answer is, where it is
    one, with its `parameters` and what it `returns`.
    """

    answers: tuple[str, ...]
    given: frozenset[str]
    values: tuple[str, ...]
    inputs: Mapping[str, frozenset[str]]
    drawn: Mapping[str, tuple[str, ...]]
    function: str = ""
    parameters: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()


def outline(released: "NotebookNode") -> Outline:
    """Read a released notebook; its text is trusted to be Python."""
    answers, given, stub = list[str](), set[str](), ""
    values: dict[str, frozenset[str]] = {}
    fresh: dict[str, tuple[str, ...]] = {}
    for slot in slots_of(released):
        if slot.cell_type != "code":
            continue
        if slot.kind == "answer":
            answers.append(slot.grade_id)
            stub = stub or slot.cell.source
        elif slot.kind == "given" and not answers:
            body = list(opened(ast.parse(slot.cell.source).body))
            given = given.union(*map(changed, body))
            fresh |= {name: sizes for node in body for name, sizes in drawn(node)}
            if "forward" in slot.cell.metadata.get("tags", []):
                values |= {name: names_in(value) for node in body for name, value in _made(node)}
    head, parameters, returns = _function(stub)
    return Outline(
        tuple(answers),
        frozenset(given | set(parameters)),
        tuple(values),
        values,
        fresh,
        head,
        parameters,
        returns,
    )


def _made(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    for each in node.body if isinstance(node, ast.FunctionDef) else [node]:
        yield from pairs(each)


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
