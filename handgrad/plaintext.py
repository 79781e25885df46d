"""Text that strangers wrote, made safe for a terminal, a spreadsheet and a folder's name."""

import re
import unicodedata

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor movement
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # titles, links, the clipboard
    r"|\x1b[ -/]*[0-~]?"
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
# Turn text around, or hide it: what is read is then not what is there.
_FORMAT = "\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff"
_CONTROLS = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff{_FORMAT}]")


def plain(text: str) -> str:
    """`text` without escape sequences and control characters; line ends and tabs stay."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))


def last_states(text: str) -> str:
    """Text as a terminal leaves it: of a line that was written over, its last state."""
    if "\r" not in text:
        return text
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(each.rstrip("\r").rpartition("\r")[2] for each in lines)


def line(text: str, longest: int = 200) -> str:
    """`text` as one line of at most `longest` characters, for a terminal or a log."""
    flat = " ".join(plain(text.replace("\r", " ")).split())
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"


def csv_field(value: str) -> str:
    """`value` such that no spreadsheet takes it for a formula."""
    text = plain(value)
    if text.lstrip()[:1] in tuple("=+-@|%＝＋－＠") and not _NUMBER.fullmatch(text):
        return "'" + text
    return text if text[:1] != "\t" else "'" + text


_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)


_IN_NAMES = " .,_-@+~=()'"  # nothing that a pattern, a page or a shell would take for its own


def plain_name(name: str) -> str:
    """A person's name without what a page would take for markup: nbgrader's pages show it as it is."""
    return plain(name).translate(_LOOKALIKES)


_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "&": "＆", '"': "”", "`": "’", "{": "(", "}": ")"})


def odd_name(name: str) -> str:
    """What is wrong with a name as that of a student's folder; "" where nothing is.

    A good one is a single path component that means the same to nbgrader's globs, to its pages, which
    do not escape it, to a gradebook column of 128 characters and to a person who reads it.
    """
    if name in ("", ".", ".."):
        return "it is no name"
    if len(name) > 128:
        return f"it has {len(name)} characters, more than the gradebook's 128"
    if len(name.encode("utf-8", "surrogatepass")) > 200:
        return "it is longer than 200 bytes, and files are named after it"
    for character in name:
        if character in "/\\":
            return f"it holds {character!r}, which leads out of its folder"
        if unicodedata.category(character)[0] not in "LMN" and character not in _IN_NAMES:
            shown = repr(character) if character.isprintable() else f"U+{ord(character):04X}"
            return f"it holds {shown}; letters, digits and {_IN_NAMES.strip()} are allowed"
    if name != name.strip():
        return "it begins or ends with a space"
    return "it begins with a dot" if name.startswith(".") else ""
