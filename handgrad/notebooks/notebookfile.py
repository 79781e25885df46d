"""A submitted notebook's bytes, which nobody has vouched for, as plain cells."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from handgrad.errors import UserError
from handgrad.limits import Limits, TooNestedError, check_nesting
from handgrad.verdict import Note

CellType = Literal["code", "markdown", "raw"]

MAX_DEPTH = 100
MAX_CONTAINERS = 1_000_000  # lists and objects: 50 MiB of "[]," would fill a gigabyte
MAX_CELLS = 5_000
MAX_SOURCE = 1_000_000  # characters in one cell

_CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SAVE_AGAIN = "Open it in Jupyter, save it there and submit it again."
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


class _Twice(ValueError):
    """A key that stands twice in one object; readers disagree about which one counts."""


def parse(data: bytes, limits: Limits, name: str) -> Parsed:
    """The cells of notebook file `name`; raises UserError where it is no notebook of format 3 or 4.

    Size, encoding and nesting are looked at before a parser sees the bytes. A single cell that makes
    no sense is left out with a note.
    """
    document = _document(_text(data, limits, name), name)
    if not isinstance(document, dict):
        raise UserError(name, "it holds JSON but no notebook", _SAVE_AGAIN)
    raw = _raw_cells(document, name)
    if len(raw) > MAX_CELLS:
        raise UserError(
            name,
            f"it has {len(raw)} cells, more than {MAX_CELLS}",
            "Delete the cells that do not belong to the assignment and submit it again.",
        )
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


def _text(data: bytes, limits: Limits, name: str) -> str:
    size = len(data) / 2**20
    if size > limits.notebook_mib:
        raise UserError(
            name,
            f"it is {size:.0f} MiB, over the limit of {limits.notebook_mib} MiB",
            "Clear its outputs (Edit > Clear Outputs of All Cells), save and submit it again.",
        )
    if not data.strip():
        raise UserError(name, "the file is empty", _SAVE_AGAIN)
    try:
        check_nesting(data, depth=MAX_DEPTH, containers=MAX_CONTAINERS)
    except TooNestedError as error:
        raise UserError(
            name, str(error), "Clear its outputs in Jupyter, save and submit it again."
        ) from None
    try:
        return data.decode("utf-8-sig")  # a byte order mark is harmless
    except UnicodeDecodeError as error:
        raise UserError(name, f"byte {error.start + 1} is not UTF-8 text", _SAVE_AGAIN) from None


def _document(text: str, name: str) -> object:
    try:
        # NaN and infinity are not JSON, yet Jupyter writes them in plots' outputs.
        loaded: object = json.loads(text, object_pairs_hook=_once, parse_constant=_constant)
        return loaded
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
            fact = "the file ends in the middle; it was cut off while it was saved or sent"
        else:
            fact = f"it is not valid JSON (line {error.lineno}, column {error.colno}: {error.msg})"
        raise UserError(name, fact, _SAVE_AGAIN) from None
    except _Twice as error:
        raise UserError(name, f"the key {error} stands twice in one object", _SAVE_AGAIN) from None
    except (ValueError, RecursionError, OverflowError) as error:  # a number of 5,000 digits
        raise UserError(name, f"it is not valid JSON ({_short(error)})", _SAVE_AGAIN) from None


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


def _raw_cells(document: Mapping[str, object], name: str) -> Sequence[object]:
    major = document.get("nbformat")
    if isinstance(major, int) and not isinstance(major, bool) and major > 4:
        raise UserError(
            name,
            f"it is of notebook format {str(major)[:10]}, newer than 4",
            "Save it with the Jupyter of this course and submit it again.",
        )
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
    raise UserError(name, "it holds JSON but no notebook (no list of cells)", _SAVE_AGAIN)


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
