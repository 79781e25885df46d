"""The training loop among a notebook's statements: the last one that makes gradients of parameters."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from handgrad.lecture.effects import pairs
from handgrad.lecture.statements import Source, Statement, opened
from handgrad.lecture.syllabus import Syllabus


@dataclass(frozen=True, slots=True)
class Loop:
    """A training loop: the notebook's statement it is in, and what one round of it does."""

    statement: int
    cell: int
    body: tuple[Statement, ...]


def find_loop(statements: Sequence[Statement], syllabus: Syllabus) -> Loop | None:
    """The last loop that makes two or more gradients of parameters, or the list of them."""
    for statement in reversed(statements):
        body = ast.parse(statement.text).body  # for positions in the dedented text
        for before, nodes in reversed(list(_rounds(body[0]))):
            if _makes_gradients(nodes, syllabus):
                source = Source(statement.text)
                return Loop(
                    statement.index,
                    statement.cell,
                    tuple(
                        Statement(
                            len(statements) + at,
                            statement.cell,
                            statement.line + node.lineno - 1,
                            node,
                            source.of(node),
                        )
                        for at, node in enumerate([*before, *nodes])
                    ),
                )
    return None


def _rounds(
    node: ast.stmt, before: Sequence[ast.stmt] = ()
) -> Iterator[tuple[Sequence[ast.stmt], list[ast.stmt]]]:
    """The body of every loop in the statement, outer loops first, after what stands before it inside."""
    if not isinstance(node, ast.For | ast.While | ast.FunctionDef | ast.If | ast.Try | ast.With):
        return
    inside = list(opened(node.body))
    if isinstance(node, ast.For | ast.While):
        yield before, inside
    for at, each in enumerate(inside):
        yield from _rounds(each, [*before, *inside[:at]])


def _makes_gradients(nodes: Sequence[ast.stmt], syllabus: Syllabus) -> bool:
    lesson = next((each for each in syllabus.lessons if each.outline.function), None)
    if lesson is None:
        return False
    wanted = {
        pattern.format(syllabus.tensor(name))
        for name in lesson.outline.returns
        for pattern in syllabus.gradient_names
    }
    bound = {
        name
        for node in nodes
        if isinstance(node, ast.Assign)
        for name, value in pairs(node)
        if not (isinstance(value, ast.Constant) and value.value is None)
    }
    return len(bound & wanted) >= 2 or syllabus.gradients in bound
