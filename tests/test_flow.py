"""The statements behind a value, and an order in which each answer is whole when it is asked for."""

import pytest

from handgrad.lecture.flow import Flow, Slices, Use, flow
from handgrad.lecture.statements import listing
from handgrad.notebooks.notebookfile import RawCell


def through(source: str) -> Flow:
    return flow(listing([RawCell(1, "code", source)]).statements)


def last(found: Flow, name: str) -> Use:
    version = found.names[name]
    return Use(version, len(version.changes))


BEHIND = {
    "what it is made from": ("a = 1\nb = 2\nc = a", "c", [0, 2]),
    "nothing that was overwritten": ("a = 1\na = 2\nb = a", "b", [1, 2]),
    "what was added": ("a = 1\na += b\nc = a", "c", [0, 1, 2]),
    "nothing that was added later": ("a = 1\nc = a * 1\na += b", "c", [0, 1]),
    "what was added to its other name later": ("a = 1\nc = a\na += b", "c", [0, 1, 2]),
    "changes by another name": ("a = x\nb = a\nb += 1\nc = a", "c", [0, 1, 2, 3]),
    "changes by another name before it": ("b = a = x()\nb[0] = 1\nc = a", "c", [0, 1, 2]),
    "a loop and what it reads": (
        "a = 1\nb = 2\nfor i in b:\n  a[i] += 1\nc = a",
        "c",
        [0, 1, 2, 3],
    ),
    "a function and what it calls": (
        "def f():\n  return g()\ndef g():\n  return a\na = 1\nb = f()",
        "b",
        [0, 1, 2, 3],
    ),
    "not a loop variable's earlier life": ("i = 1\nfor i in x:\n  a = i\nb = a", "b", [1, 2]),
}


@pytest.mark.parametrize(("source", "name", "wanted"), BEHIND.values(), ids=BEHIND)
def test_behind_a_value_stands(source: str, name: str, wanted: list[int]) -> None:
    found = through(source)
    assert sorted(Slices(found, lambda v: False).behind(last(found, name))) == wanted


def test_what_is_given_needs_nothing_but_its_changes() -> None:
    found = through("a = 1\nb = a\nb += 1\nc = b")
    slices = Slices(found, lambda version: version.name == "b")
    assert sorted(slices.behind(last(found, "c"))) == [2, 3]


ARRANGED = {
    "each where it is asked for": ("a = 1\nb = a\nc = b", "a b c", [[0], [1], [2]]),
    "not before it is asked for": ("a = 1\nx = 2\nc = x", "a c", [[0], [1, 2]]),
    "in another order than written": ("a = 1\nc = a\nb = a", "a b c", [[0], [2], [1]]),
    "a part of the later one before": ("b = x\na = 1\nb += a", "a b", [[1], [0, 2]]),
    "a reader before the change": ("b = x\na = b * 1\nb += a", "a b", [[0, 1], [2]]),
    "a reader of a temporary before it is used again": (
        "t = 1\na = t\nt = 2\nb = t",
        "b a",
        [[0, 1, 2, 3], []],
    ),
    "two at once": ("a, b = 1, 2\nc = b", "a b c", [[0], [], [1]]),
}


@pytest.mark.parametrize(("source", "names", "wanted"), ARRANGED.values(), ids=ARRANGED)
def test_statements_are_arranged(source: str, names: str, wanted: list[list[int]]) -> None:
    found = through(source)
    slices = Slices(found, lambda version: False)
    uses = [last(found, name) for name in names.split()]
    cells = slices.arrange(uses, lambda version: version.name)
    assert cells is not None
    assert [list(cell) for cell in cells] == wanted


def test_a_circle_of_replaced_uses_is_refused() -> None:
    found = through("a = x\nb = a\na = b")
    first, again = found.of["a"]
    slices = Slices(found, lambda version: False)
    slices.instead[1, "a"] = Use(again, 0)
    assert first is not again
    assert slices.arrange([last(found, "a")], lambda version: version.name) is None
