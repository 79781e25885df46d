"""A function of NumPy arrays as one of tensors: its vector-Jacobian product is by central differences."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
_RELATIVE = 1e-6  # the step, relative to the entry
_LEAST = 1e-2  # of the array's own size: an entry near 0 takes this for its size
_KEPT = 32


def by_differences(function: Callable[..., Any]) -> Callable[..., Tensor]:
    """`function(*arrays, constants)` of float64 arrays, as one of float64 tensors that autograd follows.

    Its Jacobians are kept for the last few inputs, since each step is asked for many products at one
    point. At a kink a difference gives the mean of both sides.
    """
    jacobians: dict[tuple[object, ...], tuple[Any, Array]] = {}

    def jacobian(at: int, arrays: Sequence[Array], constants: Any) -> Array:
        key = (at, id(constants), *((one.shape, one.tobytes()) for one in arrays))
        if key not in jacobians:
            while len(jacobians) >= _KEPT:
                del jacobians[next(iter(jacobians))]
            # With the constants, so that their id stays theirs.
            jacobians[key] = constants, _jacobian(function, at, arrays, constants)
        return jacobians[key][1]

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, constants: Any, *tensors: Tensor) -> Tensor:
            ctx.constants = constants
            ctx.arrays = [tensor.detach().double().numpy() for tensor in tensors]
            return torch.from_numpy(_computed(function, ctx.arrays, constants)).clone()

        @staticmethod
        def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
            above = upstream[0].numpy().reshape(-1)
            parts = [
                torch.from_numpy(above @ jacobian(at, ctx.arrays, ctx.constants)).reshape(one.shape)
                if ctx.needs_input_grad[at + 1]
                else None
                for at, one in enumerate(ctx.arrays)
            ]
            return None, *parts

    def compute(*tensors_and_constants: Any) -> Tensor:
        *tensors, constants = tensors_and_constants
        made: Tensor = Product.apply(constants, *(tensor.double() for tensor in tensors))  # type: ignore[no-untyped-call]
        return made

    return compute


def _computed(function: Callable[..., Any], arrays: Sequence[Array], constants: Any) -> Array:
    # `[()]` makes a number of an array without axes, as NumPy's own functions give one.
    made = function(*(one[()] for one in arrays), constants)
    return np.array(made, dtype=np.float64)


def _jacobian(
    function: Callable[..., Any], at: int, arrays: Sequence[Array], constants: Any
) -> Array:
    """The derivative of each entry of the result by each entry of the input `at`; both flattened."""
    moved = [one.copy() for one in arrays]
    entries = moved[at]
    finite = np.where(np.isfinite(entries), entries, 0.0)  # a mask's infinities stay where they are
    size = float(np.sqrt(np.mean(finite**2))) if entries.size else 0.0
    columns = []
    for index in np.ndindex(entries.shape):
        here = float(entries[index])
        step = _RELATIVE * (max(abs(float(finite[index])), _LEAST * size) or 1.0)
        entries[index] = here + step
        up, above = _computed(function, moved, constants), float(entries[index])
        entries[index] = here - step
        down, below = _computed(function, moved, constants), float(entries[index])
        entries[index] = here
        with np.errstate(invalid="ignore"):
            columns.append(np.where(up == down, 0.0, (up - down) / (above - below)).reshape(-1))
    rows = _computed(function, arrays, constants).size
    return np.stack(columns, 1) if columns else np.zeros((rows, 0))
