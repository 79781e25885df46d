"""Looks for texts whose cost outside the sandbox grows faster than their size.

    python benchmarks/growth.py

Each piece is repeated to two sizes and given to whatever reads a stranger's text there; printed is what
takes more than a tenth of a second, with how much longer twice the text takes: 2 is as it should be.
"""

import time
from collections.abc import Callable, Mapping

from handgrad.limits import Limits
from handgrad.notebooks.display import clean_html, clean_markdown
from handgrad.notebooks.notebookfile import UnreadableError, parse
from handgrad.pages import inert
from handgrad.pages.formula import formula
from handgrad.plaintext import last_states, line, plain

SIZE = 10_000  # characters; then twice as many
PIECES = (
    *(
        "[](",
        "[",
        "![",
        "*",
        "_",
        "`",
        " \n",
        "\n",
        " ",
        "\t",
        "<",
        "<a>",
        "&lt;",
        "> ",
        "- ",
        "~",
        "#",
    ),
    *(
        "$",
        "$$",
        "\\(",
        "\\begin{a}",
        "{",
        "^",
        "\\frac",
        '"\\N{',
        "\\N{",
        "\x1b[",
        "\x1b]",
        "\r",
        "|",
    ),
    *(
        "|-\n",
        "1. ",
        "[a]: b\n",
        "<!--",
        "](",
        "**a",
        "[^1]",
        "http://",
        "(",
        "*a _a ",
        "'",
        '"',
        "\\",
    ),
    *("{},", '{"a":', "[[", "0", "\ud800", "\u202e", "é"),
)


def _formula(text: str) -> object:
    return formula(text, block=False)


def _stream(text: str) -> object:
    return inert.outputs([{"output_type": "stream", "name": "stdout", "text": text}], "en")


def _notebook(text: str) -> object:
    try:
        return parse(text.encode("utf-8", "replace"), Limits())
    except UnreadableError as error:
        return error


READERS: Mapping[str, Callable[[str], object]] = {
    "Markdown of a cell": clean_markdown,
    "Markdown on a page": inert.markdown,
    "HTML": lambda text: clean_html(plain(text)),
    "code": lambda text: inert.code(text, "en"),
    "output": _stream,
    "formula": _formula,
    "plain": plain,
    "last_states": last_states,
    "line": line,
    "notebook file": _notebook,
}


def seconds(reader: Callable[[str], object], text: str) -> float:
    began = time.perf_counter()
    reader(text)
    return time.perf_counter() - began


def main() -> None:
    worst = 0.0
    for name, reader in READERS.items():
        reader("warm")
        for piece in PIECES:
            once, twice = (seconds(reader, piece * (n * SIZE // len(piece))) for n in (1, 2))
            if twice > 0.1:
                print(f"{name:20} {piece!r:14} {once:7.3f} s {twice:7.3f} s  x{twice / once:.1f}")
            worst = max(worst, twice)
    print(f"the longest took {worst:.2f} s")


if __name__ == "__main__":
    main()
