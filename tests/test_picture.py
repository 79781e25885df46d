"""The picture of an error says where and in which direction, in squares and in words."""

import base64
import io

import pytest
import torch
from PIL import Image

from handgrad.gradients.residual import residual
from handgrad.pages.picture import describe, draw_error
from handgrad.verdict import ErrorPicture

Rows = list[list[float]]


def picture(rows: Rows, step: tuple[int, int] = (1, 1)) -> ErrorPicture:
    values = tuple(tuple(row) for row in rows)
    return ErrorPicture(values, len(rows) * step[0], len(rows[0]) * step[1], step)


def pixels(rows: Rows) -> Image.Image:
    source = draw_error("dx", picture(rows), "en").source
    head, _, body = source.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(body))).convert("L")


ONE_ROW = [[0.0] * 8, [0.1 * (i + 1) for i in range(8)], [0.0] * 8]
SOME = [[0.3 if (3 * i + 5 * j) % 7 < 3 else 0.0 for j in range(8)] for i in range(8)]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([[0.2] * 8] * 8, "The error is the same everywhere."),
        ([[0.1 * (i + 1)] * 8 for i in range(8)], "The error is the same along each row."),
        ([[0.1 * (i + 1) for i in range(8)]] * 8, "The error is the same down each column."),
        (ONE_ROW, "Whole rows are off, others are not: 1."),
        ([list(c) for c in zip(*ONE_ROW, strict=True)], "Whole columns are off, others are not: 1"),
        ([[0.0] * 8] * 7 + [[0.0] * 7 + [0.5]], "Only 1 of 64 entries are off."),
        ([[0.1 + i * j for j in range(8)] for i in range(8)], "Nearly every entry is off."),
        (SOME, "% of the entries are off, in no obvious pattern."),
    ],
    ids=["constant", "row stripes", "column stripes", "a row", "a column", "one", "all", "some"],
)
def test_the_pattern_is_told_in_words(rows: Rows, told: str) -> None:
    assert told in describe(picture(rows), "en")[0]


def test_more_than_two_axes_are_named_in_the_reader_s_language() -> None:
    values = torch.ones(2, 3, 4)
    axes = ("example", "position", "embedding")
    drawn = residual(values, 0 * values, 1.0, axes)
    assert "example, position, embedding" in draw_error("demb", drawn, "en").key
    assert "样本, " in draw_error("demb", drawn, "zh").key
    assert not residual(values[0], 0 * values[0], 1.0, axes[1:]).axes


def test_one_sign_is_told() -> None:
    assert "All of them are too large." in describe(picture([[0.1, 0.2], [0.3, 0.4]]), "en")
    assert "All of them are too small." in describe(picture([[-0.1, -0.2], [-0.3, -0.4]]), "en")


def test_the_worst_entry_is_named_as_tensors_count() -> None:
    assert describe(picture([[0.0, 0.1], [0.0, -0.9]]), "en")[-1] == (
        "The largest error is in row 1, column 1."
    )


def test_a_pooled_picture_names_ranges() -> None:
    told = describe(picture([[0.0, 0.1], [0.0, -0.9]], (4, 2)), "en")
    assert told[-1] == "The largest error is in row 4-7, column 2-3."
    key = draw_error("dx", picture([[0.0, 0.1]], (4, 2)), "en").key
    assert "One square stands for 4 by 2 entries." in key


def test_too_large_is_light_and_too_small_is_dark() -> None:
    image = pixels([[1.0, 0.0, -1.0]])
    width, height = image.size
    high, none, low = (image.getpixel((width * i // 6, height // 2)) for i in (1, 3, 5))
    assert isinstance(high, int)
    assert isinstance(none, int)
    assert isinstance(low, int)
    assert high - none > 60
    assert none - low > 60


def test_a_larger_error_is_a_larger_square() -> None:
    image = pixels([[1.0, 0.25, 0.01]])
    background = image.getpixel((image.width - 1, 0))
    third = image.width // 3
    inked = [
        sum(
            image.getpixel((x, y)) != background
            for x in range(i * third, (i + 1) * third)
            for y in range(image.height)
        )
        for i in range(3)
    ]
    assert inked[0] > inked[1] > inked[2] > 0


def test_infinite_and_undefined_errors_are_drawn_as_the_largest() -> None:
    rows = [[float("nan"), 0.1], [float("inf"), float("-inf")]]
    assert describe(picture(rows), "en")
    assert pixels(rows).size[0] > 0
    assert pixels([[float("nan")]]).size[0] > 0


def test_nothing_off_says_nothing() -> None:
    assert describe(picture([[0.0, 0.0]]), "en") == []
    assert pixels([[0.0, 0.0]]).size[0] > 0
