"""Cells are read statement by statement, and what is no Python does not hide what is."""

import ast
from pathlib import Path

import pytest

from handgrad.doors.opened import opened
from handgrad.errors import UserError
from handgrad.jailed.cellcode import parse
from handgrad.lecture.statements import Listing, listing
from handgrad.limits import Limits
from handgrad.notebooks.notebookfile import RawCell


def read(*sources: str) -> Listing:
    return listing([RawCell(at, "code", source) for at, source in enumerate(sources, start=1)])


def texts(*sources: str) -> list[str]:
    return [statement.text for statement in read(*sources).statements]


WHOLE = {
    "one after the other": ("a = 1\nb = 2", ["a = 1", "b = 2"]),
    "two in a line": ("a = 1; b = 2", ["a = 1", "b = 2"]),
    "over several lines": ("a = (\n  1 +\n  2)", ["a = (\n  1 +\n  2)"]),
    "under no_grad": (
        "with torch.no_grad():\n    a = 1\n    for i in x:\n        b = i",
        ["a = 1", "for i in x:\n    b = i"],
    ),
    "under a name": ("with open(f) as g:\n    a = g", ["with open(f) as g:\n    a = g"]),
    "under if True": ("if True:\n\ta = 1", ["a = 1"]),
    "decorated": ("@torch.no_grad()\ndef f():\n    pass", ["@torch.no_grad()\ndef f():\n    pass"]),
    "beyond ASCII": ("é = '…'; b = é", ["é = '…'", "b = é"]),
    "a timed cell": ("%%time\na = 1", ["a = 1"]),
    "a prompt": (">>> a = 1", ["a = 1"]),
    "indented": ("  a = 1\n  b = 2", ["a = 1", "b = 2"]),
    "indented at first": ("  a = 1\nb = 2", ["a = 1", "b = 2"]),
    "a comment at the margin": ("  a = 1\n# now\n  b = 2", ["a = 1", "b = 2"]),
    "one in an opened block": (
        "with torch.no_grad():\n    for i in x:\n        a = i\n# now\n        b = i",
        ["for i in x:\n    a = i\n# now\n    b = i"],
    ),
    "text at the margin": ('if True:\n    a = """\nx\n"""', ['a = """\nx\n"""']),
    "thousands": ("for i in range(20 000):\n    a = i", ["for i in range(20_000):\n    a = i"]),
    "old line ends": ("a = 1\rb = 2", ["a = 1", "b = 2"]),
}


@pytest.mark.parametrize(("source", "wanted"), WHOLE.values(), ids=WHOLE)
def test_a_cell_is_its_statements(source: str, wanted: list[str]) -> None:
    assert texts(source) == wanted
    assert not read(source).unreadable


BROKEN = {
    "nothing behind the sign": ("a = 1\nb =\nc = 3", ["a = 1", "c = 3"], ["b ="]),
    "prose": ("a = 1\nnow the second one\nb = 2", ["a = 1", "b = 2"], ["now the second one"]),
    "Python 2": ("a = 1\nprint a\nb = 2", ["a = 1", "b = 2"], ["print a"]),
    "a loop without a body": ("for i in x:\n    # later\na = 1", ["a = 1"], ["for i in x:"]),
    "in a block": ("for i in x:\n    a =\nb = 2", ["for i in x:\n    pass", "b = 2"], ["a ="]),
    "a pasted tensor": (
        "a = 1\ntensor([[ 0.1, 0.2],\n        [ 0.3, 0.4]], grad_fn=<SubBackward0>)\nb = 2",
        ["a = 1", "b = 2"],
        ["[ 0.3, 0.4]], grad_fn=<SubBackward0>)", "tensor([[ 0.1, 0.2],"],
    ),
    "what cmp said": (
        "a = 1\nh     | exact: True  | approximate: True  | maxdiff: 0.0\nb = 2",
        ["a = 1", "b = 2"],
        ["h     | exact: True  | approximate: True  | maxdiff: 0.0"],
    ),
    "what the loop said": (
        "a = 1\n      0/ 200000: 3.8\n  10000/ 200000: 2.2\nb = 2",
        ["a = 1", "b = 2"],
        ["0/ 200000: 3.8", "10000/ 200000: 2.2"],
    ),
    "an open bracket": ("a = f(\nb = 2", ["b = 2"], ["a = f("]),
    "no colon": ("for i in x\n    a = i\nb = 2", ["b = 2"], ["for i in x", "a = i"]),
}


@pytest.mark.parametrize(("source", "wanted", "lost"), BROKEN.values(), ids=BROKEN)
def test_a_broken_line_costs_itself_only(source: str, wanted: list[str], lost: list[str]) -> None:
    found = read(source)
    assert [s.text for s in found.statements if s.text != "pass"] == wanted
    assert [line.text for line in found.unreadable] == lost


def test_so_is_a_cell_of_the_course_where_python_gives_up() -> None:
    assert ast.unparse(parse("  a = 1\n# now\n  b = 2")) == "a = 1\nb = 2"


def test_a_script_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "answers.py").write_text("a = 1")
    with pytest.raises(UserError, match="a Python script, not a notebook"):
        opened(tmp_path / "answers.py", Limits())


def test_a_broken_cell_leaves_the_others_alone() -> None:
    assert texts("a = 1", "b = = 2", "c = 3")[0] == "a = 1"
    assert texts("a = 1", "b = = 2", "c = 3")[-1] == "c = 3"


def test_a_cell_of_prose_is_given_up() -> None:
    found = read("\n".join(f"line {i} of a long story" for i in range(500)))
    assert found.statements == ()
    assert len(found.unreadable) == 1


@pytest.mark.parametrize("source", ["%matplotlib inline", "!ls", "%%bash\nls", "x?", "%%html\n<b>"])
def test_what_is_for_the_shell_binds_nothing(source: str) -> None:
    assert all("=" not in text.split("(")[0] for text in texts(source))


def test_comments_and_text_are_kept_with_their_place() -> None:
    cells = [
        RawCell(1, "markdown", "# Notes\n## Exercise 1"),
        RawCell(2, "code", "a = 1\n# Exercise 2"),
    ]
    assert [(r.cell, r.line, r.text) for r in listing(cells).remarks] == [
        (1, 0, "# Notes"),
        (1, 0, "## Exercise 1"),
        (2, 2, "Exercise 2"),
    ]
