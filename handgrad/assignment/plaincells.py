"""An author's plain cells: a Python file in the percent format of editors, or a notebook."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from handgrad.errors import UserError
from handgrad.notebooks.notebooknode import nbjson

_HEAD = re.compile(r"^# ?%%(.*)\n*", re.MULTILINE)
_ROLES = ("parameters", "forward")


@dataclass(frozen=True, slots=True)
class PlainCell:
    """One cell: `head` is what stands behind its `# %%`, or a notebook cell's tags."""

    head: str
    source: str
    line: int = 0  # how many lines of the file stand before its text; 0 in a notebook
    name: str = ""  # one of its own: "given_draw"

    @property
    def prose(self) -> bool:
        return "[markdown]" in self.head

    @property
    def role(self) -> str:
        """ "parameters" or "forward", or "" for any other cell."""
        return next((role for role in _ROLES if role in re.findall("[a-z]+", self.head)), "")


def read_cells(path: Path) -> list[PlainCell]:
    """The cells at `path` that hold something. Raises UserError where it is no such file."""
    try:
        text = path.read_text(encoding="utf-8")
        cells = [*(_of_notebook(text) if path.suffix == ".ipynb" else _of_text(text))]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(str(path), f"it cannot be read ({error})", "Name another file.") from None
    cells = [*_named(cell for cell in cells if cell.source.strip())]
    for cell in cells:
        _refuse_no_python(path, cell)
    for role in _ROLES:
        if not any(cell.role == role for cell in cells):
            raise UserError(
                str(path),
                f"no cell is called `{role}`",
                f"Write `# %% {role}` above it; in a notebook give it that tag.",
            )
    return cells


def _of_text(text: str) -> Iterator[PlainCell]:
    heads = [*_HEAD.finditer(text)]
    ends = [*(head.start() for head in heads), len(text)]
    yield PlainCell("", text[: ends[0]])
    for head, end in zip(heads, ends[1:], strict=True):
        cell = PlainCell(head[1], text[head.end() : end].strip(), text.count("\n", 0, head.end()))
        plain = re.sub("^# ?", "", cell.source, flags=re.MULTILINE)
        yield replace(cell, source=plain) if cell.prose else cell


def _of_notebook(text: str) -> Iterator[PlainCell]:
    for cell in nbjson.reads(text).cells:  # type: ignore[no-untyped-call]
        tags = " ".join(cell.metadata.get("tags", ()))
        yield PlainCell("[markdown]" if cell.cell_type == "markdown" else tags, cell.source)


def _named(cells: Iterator[PlainCell]) -> Iterator[PlainCell]:
    names: set[str] = set()
    for cell in cells:
        words = re.findall(r"\w+", cell.head.replace("[markdown]", "prose"))
        given = [] if cell.prose or cell.role == "parameters" else ["given"]
        name = "_".join([*given, *words])
        while name in names:
            name += "_"
        names.add(name)
        yield replace(cell, name=name)


def _refuse_no_python(path: Path, cell: PlainCell) -> None:
    try:
        ast.parse("" if cell.prose else cell.source)
    except SyntaxError as error:
        raise UserError(
            f"{path.name}, line {cell.line + (error.lineno or 0)}",
            f"this is no Python ({error.msg})",
            "Mend the line.",
        ) from None
