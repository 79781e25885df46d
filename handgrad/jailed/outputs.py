"""What a cell shows, as nbformat outputs of bounded size: for people, never for a mark."""

import base64
import io
import json
import sys
import traceback
from collections.abc import Mapping
from typing import Any, TextIO, cast

from handgrad.jailed.cellcode import index_of

_MOST_OUTPUTS = 1_000
_MOST_TRACEBACK_LINES = 40
_MOST_VALUE = 2_000
_MOST_PIXELS = 4_000_000
_MOST_FIGURES = 20

Output = dict[str, object]


class Outputs:
    """The outputs of one cell, in order; beyond `limit` bytes they are cut, and a line says so."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._room = limit
        self.listed: list[Output] = []
        self._texts: list[str] = []  # of the open stream, the last output
        self._cut = False
        self._wipe = False

    def used(self) -> int:
        """Characters in it."""
        return self.limit - self._room

    def stream(self, name: str, text: str) -> None:
        """Text on stdout or stderr; neighbours on the same stream become one output."""
        self._begin()
        if self._cut or not text:
            return
        continues = bool(self._texts) and self.listed[-1]["name"] == name
        if len(text) > self._room or (not continues and len(self.listed) >= _MOST_OUTPUTS):
            self._append(name, text[: max(0, self._room)])
            self._cut_here()
            return
        self._room -= len(text)
        self._append(name, text)

    def data(
        self,
        kind: str,
        data: Mapping[str, object],
        metadata: Mapping[str, object],
        display_id: str = "",
    ) -> None:
        """A bundle of MIME types: "display_data" or "execute_result"."""
        self._begin()
        if self._cut:
            return
        bundle = _plain(data)
        size = sum(len(mime) + _length(part) for mime, part in bundle.items())
        if size > self._room or len(self.listed) >= _MOST_OUTPUTS:
            self._cut_here()
            return
        self._close()
        self._room -= size
        output: Output = {"output_type": kind, "data": bundle, "metadata": _metadata(metadata)}
        if kind == "execute_result":
            output["execution_count"] = None
        if display_id:
            output["display_id"] = display_id
        self.listed.append(output)

    def update(self, display_id: str, data: Mapping[str, object]) -> None:
        """Replace what was shown under this id in this cell, if anything was."""
        bundle = _plain(data)
        if sum(map(_length, bundle.values())) > self._room:
            return
        for output in self.listed:
            if output.get("display_id") == display_id:
                output["data"] = bundle

    def error(self, error: BaseException, name: str, value: str) -> None:
        """A short traceback: the student's own lines, and what went wrong (see `describe`)."""
        self._close()
        lines = [*_frames(error), f"{name}: {value}" if value else name]
        self.listed.append(
            {"output_type": "error", "ename": name, "evalue": value, "traceback": lines}
        )

    def clear(self, wait: bool = False) -> None:
        """`clear_output`: at once, or when the next output comes."""
        if wait:
            self._wipe = True
            return
        self._close()
        self.listed.clear()
        self._room, self._cut, self._wipe = self.limit, False, False

    def finish(self) -> list[Output]:
        """The outputs, as nbformat wants them."""
        self._close()
        for output in self.listed:
            output.pop("display_id", None)
        return self.listed

    def _begin(self) -> None:
        if self._wipe:
            self.clear()

    def _append(self, name: str, text: str) -> None:
        last = self.listed[-1] if self.listed else {}
        if not (self._texts and last.get("name") == name):
            self._close()
            self.listed.append({"output_type": "stream", "name": name, "text": ""})
        self._texts.append(text)
        # A progress bar writes its line over and over: keep only what would be left on a screen.
        if "\r" in text and "\n" not in text:
            before = "".join(self._texts)
            after = _overwritten(before)
            self._room += len(before) - len(after)
            self._texts[:] = [after]

    def _close(self) -> None:
        if self._texts:
            self.listed[-1]["text"] = _overwritten("".join(self._texts))
            self._texts.clear()

    def _cut_here(self) -> None:
        self._cut = True
        self._room = 0
        self._append(
            "stderr",
            f"\n[The output of this cell was cut here: it is over {self.limit >> 10} KiB.]\n",
        )


class Stream(io.TextIOBase):
    """Stands where stdout or stderr was; writes to the outputs of the cell that runs, or nowhere."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.outputs: Outputs | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def write(self, text: str, /) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if self.outputs is not None:
            self.outputs.stream(self.name, text)
        return len(text)

    def as_text(self) -> TextIO:
        """Itself, under the type that `sys.stdout` is declared with."""
        return cast(TextIO, self)


def prepare_figures() -> None:
    """Import matplotlib once, if it is there, drawing into memory; `plt.show()` does nothing."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def show(*_arguments: object, **_keywords: object) -> None:
        return None

    plt.show = show


def show_figures(outputs: Outputs) -> None:
    """Show the open figures, as a notebook does at the end of a cell."""
    plt: Any = sys.modules.get("matplotlib.pyplot")
    if plt is None or not plt.get_fignums():
        return
    for number in plt.get_fignums()[:_MOST_FIGURES]:
        figure = plt.figure(number)
        width, height = figure.get_size_inches()
        dpi = min(float(figure.dpi), (_MOST_PIXELS / max(width * height, 1e-9)) ** 0.5)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=dpi, bbox_inches="tight")
        outputs.data(
            "display_data",
            {"image/png": picture.getvalue(), "text/plain": f"a figure, {width:g} by {height:g}"},
            {},
        )
    plt.close("all")


def close_figures() -> None:
    """Throw open figures away."""
    plt: Any = sys.modules.get("matplotlib.pyplot")
    if plt is not None and plt.get_fignums():
        plt.close("all")


def describe(error: BaseException) -> tuple[str, str]:
    """An exception's name and text, whatever its own `__str__` does."""
    name = str(type(error).__name__)[:200]
    try:
        value = str(error)[:_MOST_VALUE]
    except Exception as inner:
        value = f"(its text cannot be shown: {type(inner).__name__})"
    return name, value


def _frames(error: BaseException) -> list[str]:
    if isinstance(error, SyntaxError):
        where = index_of(error.filename or "")
        if where is not None and error.text:
            return [f"line {error.lineno}:", f"    {error.text.strip()[:200]}"]
        return []
    found: list[str] = []
    for frame in traceback.extract_tb(error.__traceback__, limit=-200):
        if index_of(frame.filename) is not None:
            inside = "" if frame.name == "<module>" else f" in {frame.name}"
            found += [f"line {frame.lineno}{inside}:", f"    {(frame.line or '')[:200]}"]
    return found[-_MOST_TRACEBACK_LINES:]


def _overwritten(text: str) -> str:
    if "\r" not in text:
        return text
    text = text.replace("\r\n", "\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def _plain(data: Mapping[str, object]) -> dict[str, object]:
    """A MIME bundle of text and JSON only; pictures as base64, as nbformat has them."""
    bundle: dict[str, object] = {}
    for mime, value in data.items():
        if isinstance(value, bytes):
            bundle[str(mime)] = base64.b64encode(value).decode()
        elif isinstance(value, str):
            bundle[str(mime)] = value
        elif mime == "application/json" or mime.endswith("+json"):
            bundle[str(mime)] = _json(value)
        else:
            bundle[str(mime)] = str(value)
    return bundle


def _json(value: object) -> object:
    """The value if JSON can hold it, else None."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return None


def _metadata(value: Mapping[str, object]) -> object:
    """Small metadata (the size of a picture), or none."""
    made = _json(value)
    return made if isinstance(made, dict) and _length(made) < _MOST_VALUE else {}


def _length(part: object) -> int:
    return len(part) if isinstance(part, str) else len(json.dumps(part))
