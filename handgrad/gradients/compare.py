"""One tensor against another: how far apart, relative to what, and whether the shapes agree."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

TOLERANCE = 1e-5
"""Largest error that still counts as right.

Of 16,113 right float32 answers the worst was off by 1.3e-6 and of the catalogued mistakes the smallest by
1.1e-2, so the place of the line between them is not delicate.
"""

ShapeMatch = Literal["same", "flat", "unspread", "other"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`error` is max |got - want| / scale after the shapes were made to agree, inf if they cannot be.

    `shape`: "same"; "flat", equal but for axes of size 1; "unspread", one value where several were
    wanted, all of them equal; "other", not comparable.
    """

    error: float
    shape: ShapeMatch
    tolerance: float = TOLERANCE

    @property
    def value_right(self) -> bool:
        return self.error <= self.tolerance

    @property
    def right(self) -> bool:
        return self.value_right and self.shape in ("same", "flat")


def largest(tensor: Tensor) -> float:
    """The largest absolute entry; 0 for an empty tensor, nan if one is there."""
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def distance(got: Tensor, want: Tensor, scale: float) -> float:
    """max |got - want| / scale for equal shapes; inf for anything that is not finite, or off from 0."""
    error = largest(got - want) / max(scale, math.ulp(0.0))
    return error if math.isfinite(error) else math.inf


def match_shape(got: tuple[int, ...], want: tuple[int, ...]) -> ShapeMatch:
    """How a shape relates to the wanted one."""
    if got == want:
        return "same"
    if [size for size in got if size != 1] == [size for size in want if size != 1]:
        return "flat"
    if len(got) <= len(want):
        padded = (1,) * (len(want) - len(got)) + got
        if all(g in (1, w) for g, w in zip(padded, want, strict=True)):
            return "unspread"
    return "other"


def shaped(got: Tensor, want: Tensor) -> Tensor | None:
    """`got` as float64 in the shape of `want`, expanded if need be; None where it cannot be."""
    match match_shape(tuple(got.shape), tuple(want.shape)):
        case "same":
            return got.to(torch.float64)
        case "flat":
            return got.to(torch.float64).reshape(want.shape)
        case "unspread":
            return got.to(torch.float64).expand(want.shape)
        case "other":
            return None


def compare(
    got: Tensor,
    want: Tensor,
    scale: float,
    tolerance: float = TOLERANCE,
    free: Tensor | None = None,
) -> Comparison:
    """Compare an answer with the reference.

    `want` is float64; `scale` > 0 is what the error is measured against: the largest entry of the
    step's vector-Jacobian product on absolute values, so that cancellation is not held against anyone.
    `free` are the entries at which anything is right.
    """
    shape = match_shape(tuple(got.shape), tuple(want.shape))
    fitted = shaped(got, want)
    if fitted is not None and free is not None:
        fitted = torch.where(free, want, fitted)
    error = math.inf if fitted is None else distance(fitted, want, scale)
    return Comparison(error, shape, tolerance)
