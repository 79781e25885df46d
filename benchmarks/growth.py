"""Looks for texts whose cost outside the sandbox grows faster than their size.

    python benchmarks/growth.py

Each piece is repeated to two sizes and given to whatever reads a stranger's text there. Printed is, by
reader, the piece that takes the processor longest, and how much longer twice of it takes: 2 is as it
should be.
"""

import time
from collections.abc import Callable, Mapping

from handgrad.limits import Limits
from handgrad.notebooks.display import clean_html, clean_markdown
from handgrad.notebooks.notebookfile import UnreadableError, parse
from handgrad.notebooks.tex import is_odd_tex
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
    "TeX": is_odd_tex,
    "notebook file": _notebook,
}


def seconds(reader: Callable[[str], object], text: str) -> float:
    """Processor time of reading the text; the shorter of two tries."""
    tries = []
    for _ in range(2):
        began = time.process_time()
        reader(text)
        tries.append(time.process_time() - began)
    return min(tries)


def main() -> None:
    print(f"| reader | longest piece | {SIZE:,} characters | {2 * SIZE:,} | times |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name, reader in READERS.items():
        reader("warm")
        found = {
            piece: [seconds(reader, piece * (n * SIZE // len(piece))) for n in (1, 2)]
            for piece in PIECES
        }
        piece, (once, twice) = max(found.items(), key=lambda each: each[1][1])
        shown = repr(piece).replace("|", "\\|")
        grown = f"{twice / once:.1f}" if twice > 0.01 else ""
        print(f"| {name} | `{shown}` | {once:.3f} s | {twice:.3f} s | {grown} |")


if __name__ == "__main__":
    main()
