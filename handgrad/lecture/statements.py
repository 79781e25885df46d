"""A notebook's code cells as Python statements, read one by one and never run."""

import ast
import bisect
import io
import re
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from handgrad.jailed.cellcode import as_ipython
from handgrad.notebooks.notebookfile import RawCell

MAX_LOST_LINES = 100  # in one cell; more than that is prose, or an attack
MAX_DEPTH = 100  # of a statement's tree: a long sum is a deep one
MAX_PARSED = 5_000_000  # characters, all attempts at one cell together

# Cell magics whose body is ordinary Python that the notebook's later cells may need.
_PYTHON_MAGICS = frozenset({"time", "timeit", "capture", "prun", "memit", "mprun", "script"})
_SPACED = re.compile(r"(?<=\d) (?=\d{3}\b)")  # `20 000`
_EXPECTED_BLOCK = re.compile(r"expected an indented block after .* on line (\d+)")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a cell; `with torch.no_grad():` and its like are opened, other blocks are one.

    `cell` is the cell's number as a person counts, `line` the line in that cell's (transformed) text.
    """

    index: int
    cell: int
    line: int
    node: ast.stmt
    text: str  # dedented


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is no Python; the rest of its cell is read without it."""

    cell: int
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment, or a line of a markdown cell: people write there which exercise comes next."""

    cell: int
    line: int  # 0 for markdown
    text: str


@dataclass(frozen=True, slots=True)
class Listing:
    """All that the code cells say, in their order."""

    statements: tuple[Statement, ...]
    unreadable: tuple[Unreadable, ...]
    remarks: tuple[Remark, ...]


def listing(cells: Sequence[RawCell]) -> Listing:
    """The statements, comments and unreadable lines of a notebook's cells."""
    statements: list[Statement] = []
    unreadable: list[Unreadable] = []
    remarks: list[Remark] = []
    for cell in cells:
        if cell.cell_type == "markdown":
            remarks += [Remark(cell.number, 0, line) for line in cell.source.splitlines()]
        if cell.cell_type != "code":
            continue
        source = python(cell.source.replace("\r", "\n"))
        tree, kept, lost = _parse(source)
        unreadable += [Unreadable(cell.number, line, text) for line, text in lost]
        remarks += [Remark(cell.number, line, text) for line, text in _comments(source)]
        for node in opened(tree.body):
            if _depth(node) > MAX_DEPTH:
                unreadable.append(Unreadable(cell.number, node.lineno, "(nested too deep)"))
                continue
            statements.append(
                Statement(len(statements), cell.number, node.lineno, node, kept.of(node))
            )
    return Listing(tuple(statements), tuple(unreadable), tuple(remarks))


def python(source: str) -> str:
    """The cell as IPython would compile it.

    The body of `%%time` and its like is Python too, and takes the place of the magic.
    """
    try:
        plain = as_ipython(source)
    except (SyntaxError, RecursionError):
        return source
    try:
        body = ast.parse(plain).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return plain
    match body:
        case [
            ast.Expr(
                ast.Call(
                    func=ast.Attribute(attr="run_cell_magic"),
                    args=[ast.Constant(str(magic)), _, ast.Constant(str(inner))],
                )
            )
        ] if magic in _PYTHON_MAGICS:
            return python(inner)
    return plain


def _parse(source: str) -> tuple[ast.Module, "Source", list[tuple[int, str]]]:
    """The tree of the text, its text, and the lines left out for the rest to be readable.

    Only where Python itself gives up: the line it names is taken out (`pass` in its place, so that a
    block does not lose its only line), and the rest is tried again.
    """
    lines = source.split("\n")
    lost: list[tuple[int, str]] = []
    emptied: set[int] = set()
    attempts = min(2 * MAX_LOST_LINES, 1 + MAX_PARSED // (1 + len(source)))
    for _ in range(attempts):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "invalid escape sequence" is not our business
                text = "\n".join(lines)
                return ast.parse(text), Source(text), lost
        except SyntaxError as error:
            at = _culprit(error, lines)
        except (
            ValueError,
            RecursionError,
            MemoryError,
        ):  # NUL, or nested beyond the parser's depth
            break
        if at is None:
            break
        joined = _SPACED.sub("_", lines[at])
        if joined != lines[at]:
            lines[at] = joined
        elif at in emptied:
            lines[at] = ""
            emptied.discard(at)
        else:
            lost.append((at + 1, lines[at].strip()))
            lines[at] = _indent(lines[at]) + "pass"
            emptied.add(at)
    return ast.Module([], []), Source(""), [(1, source.strip().split("\n")[0])]


def _culprit(error: SyntaxError, lines: Sequence[str]) -> int | None:
    """The line to take out, counted from 0; None where there is nothing left to take out."""
    block = _EXPECTED_BLOCK.search(error.msg)
    named = int(block.group(1)) if block else error.lineno or len(lines)
    for at in range(min(named, len(lines)) - 1, -1, -1):
        if lines[at].strip():
            return at
    return None


def _depth(node: ast.AST) -> int:
    """How deep the tree is, counted without recursion since it may be a stranger's."""
    depth, layer = 0, [node]
    while layer and depth <= MAX_DEPTH:
        depth += 1
        layer = [child for parent in layer for child in ast.iter_child_nodes(parent)]
    return depth


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _comments(source: str) -> list[tuple[int, str]]:
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                found.append((token.start[0], token.string.lstrip("#! ")))
    except (tokenize.TokenError, SyntaxError):  # an unclosed bracket: the comments before it count
        pass
    return found


def opened(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a block, with those of `with` blocks that bind nothing and of `if True`."""
    for node in body:
        match node:
            case ast.With(items=items) if all(item.optional_vars is None for item in items):
                yield from opened(node.body)
            case ast.If(test=ast.Constant(value)) if value:
                yield from opened(node.body)
            case _:
                yield node


class Source:
    """A cell's text, from which the text of single nodes is cut by their positions."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._text = text
        starts = [0]
        for line in self._lines:
            starts.append(starts[-1] + len(line) + 1)
        self._starts = starts

    def offset(self, line: int, column: int) -> int:
        """Where a position of `ast` (line from 1, column in UTF-8 bytes) is in the text."""
        text = self._lines[line - 1]
        if not text.isascii():
            column = len(text.encode()[:column].decode(errors="ignore"))
        return self._starts[line - 1] + column

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        end_line, end_column = node.end_lineno, node.end_col_offset
        assert end_line is not None
        assert end_column is not None
        return self.offset(node.lineno, node.col_offset), self.offset(end_line, end_column)

    def of(self, node: ast.stmt) -> str:
        """The statement's text at column 0, its decorators included."""
        decorators = getattr(node, "decorator_list", [])
        start, end = self.span(node)
        if decorators:
            start = min(self.span(decorator)[0] for decorator in decorators) - 1  # the @
        line_start = self._starts[bisect.bisect_right(self._starts, start) - 1]
        before = self._text[line_start:start]
        if before and not before.isspace():  # behind a semicolon
            return self._text[start:end]
        # Not what all lines share: a comment or a closing bracket may stand at the margin.
        return "\n".join(line.removeprefix(before) for line in self._text[start:end].split("\n"))
