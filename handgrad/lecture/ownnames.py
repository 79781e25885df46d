"""Names of a student's own for the leaves of the forward pass: its parameters, and the batch."""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from handgrad.lecture.effects import drawn, pairs
from handgrad.lecture.statements import Statement
from handgrad.lecture.syllabus import Syllabus


def own_names(statements: Sequence[Statement], syllabus: Syllabus) -> dict[str, str]:
    """By a student's name for a leaf, the course's; only where nothing else has the course's name.

    The parameters are known by their places in the list that the notebook makes of them, if at least
    two there have the course's names, or all have sizes like theirs; the batch by the data that it is
    taken from.
    """
    bound: set[str] = set()
    found: dict[str, str] = {}
    sizes: dict[str, tuple[str, ...]] = {}
    for statement in statements:
        sizes |= dict(drawn(statement.node))
        for node in ast.walk(statement.node):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound.add(node.id)
            if isinstance(node, ast.Assign):
                found |= dict(_parameters(node, syllabus, sizes)) | dict(_batch(node, syllabus))
    meant = Counter(found.values())
    return {
        theirs: name for theirs, name in found.items() if name not in bound and meant[name] == 1
    }


def _parameters(
    node: ast.Assign, syllabus: Syllabus, sizes: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, str]]:
    course = [syllabus.tensor(name) for name in syllabus.training.outline.returns]
    if isinstance(node.value, ast.List | ast.Tuple) and len(node.value.elts) == len(course):
        theirs = [each.id if isinstance(each, ast.Name) else "" for each in node.value.elts]
        same = [mine == name for mine, name in zip(theirs, course, strict=True)]
        others = [mine for mine, is_same in zip(theirs, same, strict=True) if not is_same]
        if all(others) and not set(others) & set(course):
            known = syllabus.step_by_step.outline.drawn
            alike = _are_alike(
                [sizes.get(n, ()) for n in theirs], [known.get(n, ()) for n in course]
            )
            if sum(same) >= 2 or alike:
                yield from ((m, n) for m, n in zip(theirs, course, strict=True) if m != n)


def _are_alike(mine: Sequence[tuple[str, ...]], course: Sequence[tuple[str, ...]]) -> bool:
    """Whether sizes differ only in how they are written, each in one way everywhere."""
    if not all((*mine, *course)) or [*map(len, mine)] != [*map(len, course)]:
        return False
    pairs = {*zip(chain(*mine), chain(*course), strict=True)}
    return len({m for m, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)


def _batch(node: ast.Assign, syllabus: Syllabus) -> Iterator[tuple[str, str]]:
    taken = {data: name for name, data in syllabus.batch.items()}
    for theirs, value in pairs(node):
        if isinstance(value, ast.Subscript) and isinstance(value.value, ast.Name):
            name = taken.get(value.value.id)
            if name is not None and name != theirs:
                yield theirs, name
