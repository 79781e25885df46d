"""A submitted notebook's bytes, which nobody has vouched for, as plain cells."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from handgrad.limits import Limits, TooNestedError, check_nesting
from handgrad.verdict import Note

CellType = Literal["code", "markdown", "raw"]

MAX_DEPTH = 100
MAX_CONTAINERS = 1_000_000  # lists and objects: 50 MiB of "[]," would fill a gigabyte
MAX_CELLS = 5_000
MAX_SOURCE = 1_000_000  # characters in one cell

_CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_V3_TYPES: Mapping[str, CellType] = {
    "code": "code",
    "markdown": "markdown",
    "html": "markdown",
    "heading": "markdown",
    "raw": "raw",
}


@dataclass(frozen=True, slots=True)
class Flags:
    """What nbgrader's metadata say of a cell."""

    grade: bool
    solution: bool
    locked: bool


@dataclass(frozen=True, slots=True)
class RawCell:
    """One cell of the student's file: its text and what it claims to be."""

    number: int  # counted from 1, as a person counts
    cell_type: CellType
    source: str
    cell_id: str = ""  # nbformat's own id, "" where absent or malformed
    grade_id: str = ""
    flags: Flags = Flags(False, False, False)
    attachments: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parsed:
    """The file's cells in order; outputs and the rest of its metadata are not kept."""

    cells: tuple[RawCell, ...]
    problems: tuple[Note, ...]


class UnreadableError(Exception):
    """A file is no notebook; `why` is a reason with words of its own, such as Note("cut_off")."""

    def __init__(self, code: str, **parts: object) -> None:
        super().__init__(code)
        self.why = Note(code, {name: str(part) for name, part in parts.items()})


class _Twice(ValueError):
    """A key that stands twice in one object; readers disagree about which one counts."""


def parse(data: bytes, limits: Limits) -> Parsed:
    """The cells of a notebook file; raises UnreadableError where it is no notebook of format 3 or 4.

    Size, encoding and nesting are looked at before a parser sees the bytes. A single cell that makes
    no sense is left out with a note.
    """
    document = _document(_text(data, limits))
    if not isinstance(document, dict):
        raise UnreadableError("no_notebook")
    raw = _raw_cells(document)
    if len(raw) > MAX_CELLS:
        raise UnreadableError("too_many_cells", count=len(raw), most=MAX_CELLS)
    cells, problems = [], []
    for number, entry in enumerate(raw, start=1):
        cell = _cell(entry, number)
        if cell is None:
            problems.append(Note("cell_unreadable", {"number": str(number)}))
        else:
            cells.append(cell)
    language = _language(document)
    if language not in ("", "python"):
        problems.append(Note("other_language", {"language": language[:40]}))
    return Parsed(tuple(cells), tuple(problems))


def _text(data: bytes, limits: Limits) -> str:
    size = len(data) / 2**20
    if size > limits.notebook_mib:
        raise UnreadableError("too_large_file", size=f"{size:.0f}", limit=limits.notebook_mib)
    if not data.strip():
        raise UnreadableError("empty")
    try:
        check_nesting(data, depth=MAX_DEPTH, containers=MAX_CONTAINERS)
    except TooNestedError as error:
        raise UnreadableError(error.of, most=error.most) from None
    try:
        return data.decode("utf-8-sig")  # a byte order mark is harmless
    except UnicodeDecodeError as error:
        raise UnreadableError("not_utf8", number=error.start + 1) from None


def _document(text: str) -> object:
    try:
        # NaN and infinity are not JSON, yet Jupyter writes them in plots' outputs.
        loaded: object = json.loads(text, object_pairs_hook=_once, parse_constant=_constant)
        return loaded
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
            raise UnreadableError("cut_off") from None
        where = {"line": error.lineno, "column": error.colno}
        raise UnreadableError("not_json_at", problem=error.msg, **where) from None
    except _Twice as error:
        raise UnreadableError("key_twice", key=error) from None
    except (ValueError, RecursionError, OverflowError) as error:  # a number of 5,000 digits
        raise UnreadableError("not_json", problem=_short(error)) from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Twice(ascii(key[:40]))
            seen.add(key)
    return table


def _constant(_: str) -> None:
    return None


def _raw_cells(document: Mapping[str, object]) -> Sequence[object]:
    major = document.get("nbformat")
    if isinstance(major, int) and not isinstance(major, bool) and major > 4:
        raise UnreadableError("newer_format", version=str(major)[:10])
    cells = document.get("cells")
    if isinstance(cells, list):
        return cells
    worksheets = document.get("worksheets")  # format 3 and older: cells in worksheets
    if cells is None and isinstance(worksheets, list):
        return [
            cell
            for sheet in worksheets
            if isinstance(sheet, dict) and isinstance(sheet.get("cells"), list)
            for cell in sheet["cells"]
        ]
    raise UnreadableError("no_cells")


def _cell(entry: object, number: int) -> RawCell | None:
    """The cell, or None where its type or text is not one; too long a text counts as none."""
    if not isinstance(entry, dict):
        return None
    cell_type = _V3_TYPES.get(_string(entry.get("cell_type")))
    source = _joined(entry.get("source", entry.get("input")))  # format 3 calls code "input"
    if cell_type is None or source is None or len(source) > MAX_SOURCE:
        return None
    if entry.get("cell_type") == "heading":
        level = entry.get("level")
        hashes = level if isinstance(level, int) and 1 <= level <= 6 else 1
        source = f"{'#' * hashes} {source}"
    metadata = _table(entry.get("metadata"))
    nbgrader = _table(metadata.get("nbgrader"))
    cell_id = _string(entry.get("id"))
    return RawCell(
        number=number,
        cell_type=cell_type,
        source=source,
        cell_id=cell_id if _CELL_ID.fullmatch(cell_id) else "",
        grade_id=_string(nbgrader.get("grade_id"))[:128],
        flags=Flags(
            grade=nbgrader.get("grade") is True,
            solution=nbgrader.get("solution") is True,
            locked=nbgrader.get("locked") is True,
        ),
        attachments=_table(entry.get("attachments")),
    )


def _language(document: Mapping[str, object]) -> str:
    metadata = _table(document.get("metadata"))
    info = _string(_table(metadata.get("language_info")).get("name"))
    return (info or _string(_table(metadata.get("kernelspec")).get("language"))).lower()


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _string(value: object) -> str:
    return clean(value) if isinstance(value, str) else ""


def _joined(value: object) -> str | None:
    """Text of a string or a list of strings, as notebooks write it; None for anything else."""
    if isinstance(value, list):
        if not all(isinstance(line, str) for line in value):
            return None
        value = "".join(value)
    return clean(value).replace("\r\n", "\n") if isinstance(value, str) else None


def clean(text: str) -> str:
    """`text` without half characters (JSON can spell them, UTF-8 cannot) and without NUL."""
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _short(error: Exception) -> str:
    return str(error).split(";")[0][:100]
