"""The error of a wrong gradient, entry by entry, pooled until it is small enough to draw."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from handgrad.gradients.compare import match_shape
from handgrad.verdict import ErrorPicture

SIDE = 64


def residual(got: Tensor, want: Tensor, scale: float, axes: tuple[str, ...]) -> ErrorPicture | None:
    """(got - want) / scale as rows and columns, at most 64 each; None where shapes do not compare.

    Axes beyond the first are folded into the columns; a vector is one row. `axes` names them.
    Where several entries share a cell it shows the one that is furthest off, with its sign.
    """
    if match_shape(tuple(got.shape), tuple(want.shape)) not in ("same", "flat"):
        return None
    error = (got.double().reshape(want.shape) - want) / scale
    error = torch.nan_to_num(error, nan=0.0, posinf=1e6, neginf=-1e6)
    flat = error.reshape(1, -1) if error.dim() < 2 else error.reshape(error.shape[0], -1)
    rows, columns = flat.shape
    step = (math.ceil(rows / SIDE), math.ceil(columns / SIDE))
    pooled = _furthest(flat, step)
    values = tuple(tuple(float(f"{x:.3g}") for x in row) for row in pooled.tolist())
    return ErrorPicture(values, rows, columns, step, axes if error.dim() > 2 else ())


def _furthest(flat: Tensor, step: tuple[int, int]) -> Tensor:
    padded = F.pad(flat, (0, -flat.shape[1] % step[1], 0, -flat.shape[0] % step[0]))
    blocks = padded.unfold(0, step[0], step[0]).unfold(1, step[1], step[1]).flatten(2)
    return blocks.gather(2, blocks.abs().argmax(2, keepdim=True)).squeeze(2)
