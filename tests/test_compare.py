"""Comparison: relative to a scale, honest about shapes, and never fooled by what is not a number."""

import math

import pytest
import torch

from handgrad.gradients.compare import TOLERANCE, compare, match_shape

WANT = torch.arange(6, dtype=torch.float64).reshape(2, 3) + 1

SHAPES = {
    "the same": ((2, 3), (2, 3), "same"),
    "without keepdim": ((64,), (1, 64), "flat"),
    "with an axis too many": ((1, 64), (64,), "flat"),
    "a column for a row": ((64, 1), (1, 64), "flat"),
    "one row for many": ((1, 64), (32, 64), "unspread"),
    "a vector for many rows": ((64,), (32, 64), "unspread"),
    "a scalar for a matrix": ((), (2, 3), "unspread"),
    "transposed": ((3, 2), (2, 3), "other"),
    "too many axes": ((2, 2, 3), (2, 3), "other"),
    "a column of the wrong length": ((32,), (32, 64), "other"),
}


@pytest.mark.parametrize(("got", "want", "found"), SHAPES.values(), ids=SHAPES.keys())
def test_shapes(got, want, found):
    assert match_shape(got, want) == found


def test_an_error_just_inside_the_tolerance_is_right_and_just_outside_is_wrong():
    scale = 6.0
    assert compare(WANT + 0.99 * TOLERANCE * scale, WANT, scale).right
    assert not compare(WANT + 1.01 * TOLERANCE * scale, WANT, scale).right


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_infinitely_far_off(bad):
    got = WANT.clone()
    got[1, 1] = bad
    assert compare(got, WANT, 6.0).error == math.inf


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int64, torch.uint8])
def test_whole_numbers_compare_in_any_dtype(dtype):
    assert compare(WANT.to(dtype), WANT, 6.0).right


def test_a_value_that_broadcasts_is_never_right():
    one_row = torch.ones(1, 3, dtype=torch.float64)
    found = compare(one_row, one_row.expand(2, 3), 1.0)
    assert found.value_right
    assert not found.right
