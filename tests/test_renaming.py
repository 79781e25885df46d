"""Names are replaced where they are meant, and nothing else is touched."""

import ast

import pytest

from handgrad.lecture.renaming import can_rename, renamed

ROWS = {
    "where it is read": ("b = a + a  # a", "b = x + x  # a"),
    "where it is added to": ("a += 1", "x += 1"),
    "where an entry is set": ("a[0] = a[1]", "x[0] = x[1]"),
    "not where it is bound": ("a = a + 1", "a = x + 1"),
    "not in a string": ("b = 'a' + f'{a}' + a", "b = 'a' + f'{a}' + x"),
    "not as an attribute": ("b = c.a + a.T", "b = c.a + x.T"),
    "beyond ASCII": ("é = 'ü' * a", "é = 'ü' * x"),
    "over lines": ("b = (a +\n     a)", "b = (x +\n     x)"),
}


@pytest.mark.parametrize(("text", "wanted"), ROWS.values(), ids=ROWS)
def test_a_name_that_is_read_is_replaced(text: str, wanted: str) -> None:
    assert renamed(text, {"a": "x"}, {}) == wanted


def test_what_is_bound_may_get_another_name_than_what_is_read() -> None:
    assert renamed("a = a / b", {"a": "x"}, {"a": "y"}) == "y = x / b"


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("a = a + 1", True),
        ("for i in a:\n  b[i] = a", True),
        ("for a in b:\n  c = a", False),
        ("b = [a for a in c]", False),
        ("b = f(c)", False),
        ("b = lambda: a", True),
    ],
    ids=[
        "simple",
        "read in a loop",
        "bound in a loop",
        "bound in a comprehension",
        "read by f",
        "read",
    ],
)
def test_only_what_can_be_told_apart_is_renamed(text: str, possible: bool) -> None:
    assert can_rename(ast.parse(text).body[0], "a") is possible
