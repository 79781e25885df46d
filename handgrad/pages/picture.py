"""Where a wrong gradient is off: a small picture of squares, and the same in words."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from handgrad.gradients.compare import TOLERANCE
from handgrad.pages.words import joined, text
from handgrad.verdict import ErrorPicture

_SIDE = 512  # pixels of the longer side, about
_PALETTE = bytes.fromhex("8d9299 fff1cc 10233f")  # nothing, too large, too small
_NAMED = 6  # how many rows or columns are listed before "..."
_SAME = 1e-3  # of the largest error: what still counts as the same error


@dataclass(frozen=True, slots=True)
class Drawn:
    """The picture as a data URI with its size in pixels, what it shows, and how to read it."""

    source: str
    width: int
    height: int
    alt: str
    key: str


def draw_error(name: str, picture: ErrorPicture, language: str) -> Drawn:
    """A square per entry: light where the answer is too large, dark where it is too small.

    The area of a square goes with the size of the error, so neither sign nor size needs colour.
    """
    values = _finite(picture.values)
    image = _squares(values)
    largest = max(abs(v) for row in values for v in row)
    key = text("picture.key", language, largest=f"{largest:.2g}")
    if picture.step != (1, 1):
        rows, columns = picture.step
        key = joined((key, text("picture.covers", language, rows=rows, columns=columns)), language)
    if picture.axes:
        key = joined((key, text("picture.axes", language, where=", ".join(picture.axes))), language)
    return Drawn(
        source=_data_uri(image),
        width=image.width,
        height=image.height,
        alt=text(
            "picture.alt",
            language,
            name=name,
            rows=picture.rows,
            columns=picture.columns,
        ),
        key=key,
    )


def describe(picture: ErrorPicture, language: str) -> list[str]:
    """What there is to see: stripes, whole rows or columns, one sign, and where it is worst."""
    values = _finite(picture.values)
    flat = [v for row in values for v in row]
    off = [v for v in flat if abs(v) > TOLERANCE]
    if not off:
        return []
    told = [_shape(values, picture, len(off), language)]
    if len(off) > 1 and min(off) > 0:
        told.append(text("picture.too_large", language))
    elif len(off) > 1 and max(off) < 0:
        told.append(text("picture.too_small", language))
    worst = max(range(len(flat)), key=lambda i: abs(flat[i]))
    row, column = divmod(worst, len(values[0]))
    return [
        *told,
        text(
            "picture.where",
            language,
            row=_span(row, picture.step[0], picture.rows),
            column=_span(column, picture.step[1], picture.columns),
        ),
    ]


def _shape(
    values: Sequence[Sequence[float]], picture: ErrorPicture, count: int, language: str
) -> str:
    turned = list(zip(*values, strict=True))
    largest = max(abs(v) for row in values for v in row)
    whole_rows = _whole(values)
    whole_columns = _whole(turned)
    if count == len(values) * len(turned):
        flat_rows = all(max(row) - min(row) <= _SAME * largest for row in values)
        flat_columns = all(max(row) - min(row) <= _SAME * largest for row in turned)
        if flat_rows and flat_columns:
            return text("picture.constant", language)
        if flat_rows and len(turned) > 1:
            return text("picture.row_stripes", language)
        if flat_columns and len(values) > 1:
            return text("picture.column_stripes", language)
        return text("picture.every", language)
    if whole_rows and len(turned) > 1:
        which = _listed(whole_rows, picture.step[0], picture.rows)
        return text("picture.rows", language, which=which)
    if whole_columns and len(values) > 1:
        which = _listed(whole_columns, picture.step[1], picture.columns)
        return text("picture.columns", language, which=which)
    everything = len(values) * len(turned)
    if picture.step == (1, 1) and count <= max(1, everything // 20):
        return text("picture.few", language, count=count, all=everything)
    if count >= 0.95 * everything:
        return text("picture.every", language)
    return text("picture.scattered", language, share=round(100 * count / everything))


def _whole(rows: Sequence[Sequence[float]]) -> list[int]:
    """Indices of rows that are off from end to end, where the others are not off at all."""
    whole = []
    for i, row in enumerate(rows):
        off = sum(abs(v) > TOLERANCE for v in row)
        if off == len(row):
            whole.append(i)
        elif off:
            return []
    return whole if len(whole) < len(rows) else []


def _listed(indices: Sequence[int], step: int, size: int) -> str:
    named = [_span(i, step, size) for i in indices[:_NAMED]]
    return ", ".join(named) + (", ..." if len(indices) > _NAMED else "")


def _span(index: int, step: int, size: int) -> str:
    """The entries that one square stands for, counted from 0 as tensors are."""
    first, last = index * step, min((index + 1) * step, size) - 1
    return str(first) if last <= first else f"{first}-{last}"


def _finite(values: Sequence[Sequence[float]]) -> list[list[float]]:
    """Infinite and undefined errors count as twice the largest finite one."""
    known = [abs(v) for row in values for v in row if math.isfinite(v)]
    beyond = 2 * max(known, default=0.0) or 1.0
    return [
        [v if math.isfinite(v) else math.copysign(beyond, v) if v == v else beyond for v in row]
        for row in values
    ]


def _squares(values: Sequence[Sequence[float]]) -> Image.Image:
    rows, columns = len(values), len(values[0])
    cell = max(7, min(24, _SIDE // max(rows, columns)))
    largest = max(abs(v) for row in values for v in row) or 1.0
    image = Image.new("P", (columns * cell, rows * cell))
    image.putpalette(_PALETTE)
    draw = ImageDraw.Draw(image)
    for i, row in enumerate(values):
        for j, v in enumerate(row):
            if abs(v) > TOLERANCE:
                side = max(1, round((cell - 1) * math.sqrt(abs(v) / largest)))
                top, left = i * cell + (cell - side) // 2, j * cell + (cell - side) // 2
                square = (left, top, left + side - 1, top + side - 1)
                draw.rectangle(square, fill=1 if v > 0 else 2)
    return image


def _data_uri(image: Image.Image) -> str:
    png = io.BytesIO()
    image.save(png, "PNG", bits=2, optimize=True)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
