"""Names of a student's own for the leaves of the forward pass: its parameters, and the batch."""

import ast
from collections import Counter
from collections.abc import Iterator, Sequence

from handgrad.lecture.effects import pairs
from handgrad.lecture.statements import Statement
from handgrad.lecture.syllabus import Syllabus


def own_names(statements: Sequence[Statement], syllabus: Syllabus) -> dict[str, str]:
    """By a student's name for a leaf, the course's; only where nothing else has the course's name.

    The parameters are known by their places in the list that the notebook makes of them, if at least
    two there have the course's names; the batch by the data that it is taken from.
    """
    bound: set[str] = set()
    found: dict[str, str] = {}
    for statement in statements:
        for node in ast.walk(statement.node):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound.add(node.id)
            if isinstance(node, ast.Assign):
                found |= dict(_parameters(node, syllabus)) | dict(_batch(node, syllabus))
    meant = Counter(found.values())
    return {
        theirs: name for theirs, name in found.items() if name not in bound and meant[name] == 1
    }


def _parameters(node: ast.Assign, syllabus: Syllabus) -> Iterator[tuple[str, str]]:
    course = [syllabus.tensor(name) for name in syllabus.training.outline.returns]
    if isinstance(node.value, ast.List | ast.Tuple) and len(node.value.elts) == len(course):
        theirs = [each.id if isinstance(each, ast.Name) else "" for each in node.value.elts]
        same = [mine == name for mine, name in zip(theirs, course, strict=True)]
        others = [mine for mine, is_same in zip(theirs, same, strict=True) if not is_same]
        if sum(same) >= 2 and all(others) and not set(others) & set(course):
            yield from ((m, n) for m, n in zip(theirs, course, strict=True) if m != n)


def _batch(node: ast.Assign, syllabus: Syllabus) -> Iterator[tuple[str, str]]:
    taken = {data: name for name, data in syllabus.batch.items()}
    for theirs, value in pairs(node):
        if isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name):
            name = taken.get(value.value.id)
            if name is not None and name != theirs:
                yield theirs, name
