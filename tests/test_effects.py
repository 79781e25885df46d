"""What a statement reads, binds and changes, whatever way it is written."""

import ast

import pytest

from handgrad.lecture.effects import Effects, effects

F = frozenset


def of(source: str) -> Effects:
    """The effects of the last statement, after those before it."""
    *before, last = ast.parse(source).body
    functions = {}
    for node in before:
        functions |= effects(node, functions).functions
    return effects(last, functions)


ROWS = {
    "an assignment": ("a = b + c", "b c", "a", ""),
    "itself": ("a = a + b", "a b", "a", ""),
    "two at once": ("a, b = c, d", "c d", "a b", ""),
    "added to": ("a += b", "a b", "", "a"),
    "an entry": ("a[i] = b", "a b i", "", "a"),
    "an entry added to": ("a[i] += b", "a b i", "", "a"),
    "a transposed entry": ("a.T[i] = b", "a b i", "", "a"),
    "data": ("a.data -= b", "a b", "", "a"),
    "grad": ("a.grad = None", "a", "", ""),
    "a method in place": ("a.add_(b)", "a b", "", "a"),
    "a method in place of a view": ("a.view(-1).add_(b)", "a b", "", "a"),
    "a method in place of a copy": ("a.clone().add_(b)", "a b", "", ""),
    "requires_grad_": ("a.requires_grad_()", "a", "", ""),
    "out": ("torch.mul(a, b, out=c)", "a b c torch", "", "c"),
    "a list": ("a.append(b)", "a b", "", "a"),
    "numpy": ("np.add.at(a.numpy(), i, b)", "a b i np", "", "a"),
    "a loop": ("for i in a:\n  j = b[i]\n  c[j] += d", "a b c d", "i j", "c"),
    "a loop over two": ("for x, y in zip(a, b):\n  x += y", "a b zip", "x y", "a"),
    "a loop over numbered ones": (
        "for i, x in enumerate(a):\n  x += b[i]",
        "a b enumerate",
        "i x",
        "a",
    ),
    "a comprehension": ("a = [f(x) for x in b]", "b f", "a", ""),
    "a lambda": ("a = lambda x: x + b", "b", "a", ""),
    "one branch": ("if a:\n  b = 1", "a b", "b", ""),
    "both branches": ("if a:\n  b = 1\nelse:\n  b = 2", "a", "b", ""),
    "a try": ("try:\n  a = b\nexcept E:\n  a = c", "b c", "a", ""),
    "a condition": ("a = b if c else d", "b c d", "a", ""),
    "an alias changed inside": ("for i in a:\n  r = b[i]\n  r += 1", "a b", "i r", "b"),
    "a function": ("def f(x):\n  return x + a", "", "f", ""),
    "a call": ("def f(x):\n  return x + a\ny = f(b)", "a b f", "y", ""),
    "a call that changes an argument": ("def f(x, y):\n  x += y\nf(a, b)", "a b f", "", "a"),
    "a call that changes a keyword": ("def f(x, y):\n  x += y\nf(y=a, x=b)", "a b f", "", "b"),
    "a call that changes what is around": ("def f(i):\n  a[i] = 1\nf(b)", "a b f", "", "a"),
    "a call that binds a global": ("def f():\n  global a\n  a = b\nf()", "b f", "a", ""),
    "a call of a call": ("def f():\n  return a\ndef g():\n  return f()\nb = g()", "a f g", "b", ""),
    "a walrus": ("print(a := b)", "b print", "a", ""),
    "an import": ("import numpy as np, os.path", "", "np os", ""),
    "a class": ("class A(B):\n  def f(self):\n    return c", "B c", "A", ""),
}


@pytest.mark.parametrize(("source", "reads", "binds", "changes"), ROWS.values(), ids=ROWS)
def test_the_effects_are_these(source: str, reads: str, binds: str, changes: str) -> None:
    found = of(source)
    assert (found.reads, found.binds, found.changes) == (
        F(reads.split()),
        F(binds.split()),
        F(changes.split()),
    )


@pytest.mark.parametrize(
    ("source", "aliases"),
    [
        ("a = b", {("a", "b")}),
        ("a = b.view(2, 3).T", {("a", "b")}),
        ("a = b[0]", {("a", "b")}),
        ("a = b.clone()", set()),
        ("a = b.view_as(c)", {("a", "b")}),
        ("a = torch.transpose(b, 0, 1)", {("a", "b")}),
        ("a = b + 0", set()),
        ("a, b = c, d.clone()", {("a", "c")}),
        ("a = b if c else d", {("a", "b"), ("a", "d")}),
    ],
)
def test_a_second_name_for_the_same_memory_is_noticed(
    source: str, aliases: set[tuple[str, str]]
) -> None:
    assert of(source).aliases == aliases
