"""A notebook's prose in another language: one Markdown file a notebook, a heading for each cell."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from handgrad.errors import UserError

# A comment, so that the file reads as the notebook will: <!-- title: 4f9c0a1e -->
_HEADING = re.compile(r"^<!-- ([a-zA-Z0-9_-]+): ([0-9a-f]{8}) -->$", re.MULTILINE)


def translated(original: Mapping[str, str], path: Path) -> dict[str, str]:
    """The translation at `path` of a notebook's Markdown cells, each by the id of its cell.

    Raises UserError unless the file has every cell, each made from the very text in `original`, and no
    other: a notebook is never in two languages, nor in one that says something else.
    """
    found: dict[str, str] = {}
    made_from: dict[str, str] = {}
    for cell, fingerprint, text in _sections(path):
        if cell in found:
            raise UserError(
                str(path), f"the cell {cell} is there twice", "Delete one of the two translations."
            )
        found[cell], made_from[cell] = text, fingerprint
    missing = [cell for cell in original if not found.get(cell)]
    if missing:
        raise UserError(
            str(path),
            f"{_named(missing)} not translated",
            f"Write the translation of each under its heading:\n{_headings(original, missing)}",
        )
    strange = [cell for cell in found if cell not in original]
    if strange:
        raise UserError(
            str(path),
            f"{_named(strange)} no prose of the notebook",
            "Delete the translation, or correct the cell's name in its heading.",
        )
    changed = [cell for cell in original if made_from[cell] != fingerprint_of(original[cell])]
    if changed:
        raise UserError(
            str(path),
            f"{_named(changed)} translated from another text than the notebook has now",
            f"Translate what changed, then write over it:\n{_headings(original, changed)}",
        )
    return found


def fingerprint_of(text: str) -> str:
    """Eight characters that are others when the text is another."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _sections(path: Path) -> Iterator[tuple[str, str, str]]:
    """Cell, fingerprint and translation; none where there is no file. What comes first is a remark."""
    if not path.exists():
        return
    _, *pieces = _HEADING.split(path.read_text(encoding="utf-8"))
    for cell, fingerprint, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
        yield cell, fingerprint, text.strip()


def _named(cells: Iterable[str]) -> str:
    """The subject of a sentence: "the cells a, b are"."""
    names = list(cells)
    return f"the cell {names[0]} is" if len(names) == 1 else f"the cells {', '.join(names)} are"


def _headings(original: Mapping[str, str], cells: Iterable[str]) -> str:
    return "\n".join(f"<!-- {cell}: {fingerprint_of(original[cell])} -->" for cell in cells)
