"""The constant factors that people lose or add, by what they would write for them."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from types import SimpleNamespace

from torch import Tensor

from handgrad.gradients.steps import Step, Values

Numbers = Mapping[str, float]


def constants(known: SimpleNamespace | Mapping[str, object]) -> dict[str, float]:
    """The numbers among what the forward pass knows, without those that are their own square."""
    every = known if isinstance(known, Mapping) else vars(known)
    return {
        name: value
        for name, value in every.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and value not in (0, 1)
    }


def summed(steps: Iterable[Step], values: Values) -> list[tuple[str, int]]:
    """The axes that these steps sum or average over, as `value.shape[axis]`, with their sizes."""
    return [
        (f"{name}.shape[{axis}]", size)
        for step in steps
        for name in step.inputs
        for axis, size in enumerate(values[name].shape)
        if values[step.name].shape[axis : axis + 1] != (size,)
    ]


def sizes(axes: Iterable[tuple[str, int]], known: Numbers) -> dict[str, float]:
    """The sizes of axes under the names that the notebook has for them, else as they are given."""
    found: dict[str, float] = {}
    for label, size in axes:
        named = [name for name, value in known.items() if value == size]
        if size > 2 and (named or size not in found.values()):
            found |= dict.fromkeys(named or [label], float(size))
    return found


def factors(numbers: Numbers) -> dict[str, float]:
    """By label, what one is off by who loses or adds one of these numbers, the simplest first.

    Whole numbers are sizes: they come as products, as square roots, and less one (Bessel's correction).
    """
    found: dict[str, float] = {}
    for label, inverse, value in _positive(numbers):
        for name, number in ((label, value), (inverse, 1 / value)):
            found.setdefault(name, number)
            found.setdefault(f"-{name}", -number)
    return found


def _positive(numbers: Numbers) -> Iterator[tuple[str, str, float]]:
    yield "2", "1/2", 2.0
    whole = {name: n for name, n in numbers.items() if float(n).is_integer() and n > 2}
    for name, n in numbers.items():
        yield name, f"1/{name}", n
    for name, n in whole.items():
        yield f"{name}-1", f"1/({name}-1)", n - 1
        yield f"{name}/({name}-1)", f"({name}-1)/{name}", n / (n - 1)
        yield f"{name}**0.5", f"1/{name}**0.5", n**0.5
        yield f"{name}/2", f"2/{name}", n / 2
    for count in (2, 3):
        for names in itertools.combinations(whole, count):
            product = "*".join(names)
            yield product, f"1/({product})", math.prod(whole[name] for name in names)


def ratios(numbers: Numbers) -> dict[str, float]:
    """By label, what one is off by who takes one of these numbers for another."""
    pairs = itertools.permutations(numbers.items(), 2)
    return {f"{a}/{b}": one / other for (a, one), (b, other) in pairs if one != other}


def ratio_of(got: Tensor, part: Tensor) -> float:
    """By how much `part` must be multiplied to come closest to `got`; nan where it is all zeros."""
    size = float((part * part).sum())
    return float((got * part).sum()) / size if size else math.nan
