"""What a statement changes and reads is told from its text, and what an answer comes from is not left out."""

import ast

import pytest

from handgrad.lecture.effects import changed, draws, needed, reads
from handgrad.lecture.statements import listing
from handgrad.notebooks.notebookfile import RawCell

CHANGED = {
    "bound": ("a = b", "a"),
    "two": ("a, (b, *c) = d", "a b c"),
    "an entry": ("a[0] = b", "a"),
    "an entry of an attribute": ("a.b[0] += c", "a"),
    "in place": ("a.mul_(b)", "a"),
    "a list": ("a.append(b)", "a"),
    "within a loop": ("for i in b:\n    a.append(i)", "a i"),
    "by numpy": ("np.add.at(a, b, c)", "a"),
    "written out": ("torch.mul(b, c, out=a)", "a"),
    "by a function of the notebook": ("own(a, b)", "a b"),
    "by another's function": ("print(a)", ""),
    "a value of a call": ("a = own(b)", "a"),
    "a function": ("def a():\n    b = 1", "a"),
    "a lambda's argument": ("a = lambda b: b", "a"),
    "a comprehension": ("a = [b for b in c]", "a"),
    "an import": ("import a.b, c as d", "a d"),
}


@pytest.mark.parametrize(("text", "names"), CHANGED.values(), ids=CHANGED)
def test_what_a_statement_changes(text: str, names: str) -> None:
    assert changed(ast.parse(text).body[0], {"own"}) == set(names.split())


READ = {
    "a value": ("a = b + c.d", "b c"),
    "what is added to": ("a += b", "a b"),
    "an entry's owner": ("a[i] = b", "a b i"),
    "within a function": ("def f(x):\n    return x + y", "x y"),
}


@pytest.mark.parametrize(("text", "names"), READ.values(), ids=READ)
def test_what_a_statement_reads(text: str, names: str) -> None:
    assert reads(ast.parse(text).body[0]) == set(names.split())


NEEDED = {
    "a chain": ("a = 1\nb = a\nc = 2\nx = b", "a = 1|b = a|x = b"),
    "a later change": ("x = [0]\nx.append(1)\ny = x", "x = [0]|x.append(1)|y = x"),
    "through another name": ("x = a\ny = x\ny += 1", "x = a|y = x|y += 1"),
    "through a view": ("x = a\ny = x.view(-1)\ny[0] = 1", "x = a|y = x.view(-1)|y[0] = 1"),
    "through a loop's variable": (
        "x = a\nfor r in x:\n    r += 1",
        "x = a|for r in x:\n    r += 1",
    ),
    "a loop that only looks": ("x = a\nfor r in x:\n    r.retain_grad()", "x = a"),
    "a function that is called": (
        "def f():\n    return k\nk = 1\nx = f()",
        "def f():\n    return k|k = 1|x = f()",
    ),
}


@pytest.mark.parametrize(("text", "kept"), NEEDED.values(), ids=NEEDED)
def test_what_an_answer_comes_from(text: str, kept: str) -> None:
    statements = listing([RawCell(1, "code", text)]).statements
    assert [s.text for s in needed(statements, ["x"], frozenset())] == kept.split("|")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a = torch.randn(3)", True),
        ("a = b[torch.randint(0, 3, (2,))]", True),
        ("def f():\n    return torch.randn(3)", False),
        ("a = b.sum(0)", False),
    ],
)
def test_data_of_its_own_is_known(text: str, wanted: bool) -> None:
    assert draws(ast.parse(text).body[0]) is wanted
