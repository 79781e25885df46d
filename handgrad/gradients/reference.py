"""What the answers of one notebook should be under one set of parameters: autograd's word, in float64."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from handgrad.gradients.compare import TOLERANCE, largest
from handgrad.gradients.exercise import Draw, Exercise, Files, Parameters, Target
from handgrad.gradients.steps import Values, total

_TINY = 1e-30
_ROUNDINGS = 50  # how much more than autograd a right formula may lose to rounding


@dataclass(frozen=True, slots=True)
class Wanted:
    """A gradient at given upstream gradients: `parts` by consumer, their sum, and the error's scale."""

    parts: Mapping[str, Tensor]
    want: Tensor
    scale: float
    free: Tensor | None = None  # the entries at which anything is right
    listed: bool = False  # whether it is of a list, whose entries are stacked

    @property
    def vanishes(self) -> bool:
        """Whether all of it is below the tolerance: then a wrong sign is rounding noise as well."""
        return largest(self.want) / self.scale <= TOLERANCE

    @property
    def undetectable(self) -> bool:
        """Whether some mistake cannot be seen here: in one of several branches, or in all of it."""
        parts = [largest(part) / self.scale for part in self.parts.values()]
        return self.vanishes or (len(parts) > 1 and min(parts) <= TOLERANCE)


@dataclass(frozen=True, slots=True)
class Point:
    """Forward values and upstream gradients (by forward name) at which steps are judged, in float64.

    `rounded` is the same as the notebook's own type, float32, makes it, and the very same where that is
    float64; `parameters` are those of the run.
    """

    values: Values
    upstream: Values
    constants: SimpleNamespace
    parameters: Parameters
    rounded: tuple[Values, Values]

    def with_upstream(self, upstream: Values) -> "Point":
        """The same forward values at other upstream gradients."""
        exact = self.rounded[0] is self.values
        rounded = (self.rounded[0], upstream if exact else _rounded(upstream))
        return replace(self, upstream=upstream, rounded=rounded)


class Reference:
    """The reference of one exercise under one set of parameters; computed on demand, then kept."""

    def __init__(self, exercise: Exercise, parameters: Parameters, files: Files, seed: int) -> None:
        """`seed` draws the random upstream gradients of the run "alone"."""
        self.exercise = exercise
        self.graph = exercise.graph
        self.parameters = {**exercise.public, **parameters}
        self._files = files
        self._seed = seed
        self._alone: dict[frozenset[str], list[Point]] = {}
        self._wanted: dict[tuple[str, frozenset[str]], list[Wanted]] = {}

    @cached_property
    def draws(self) -> list[Draw]:
        """The inputs in float64, exactly the numbers that the notebook draws."""
        return [
            Draw({name: leaf.double() for name, leaf in draw.leaves.items()}, draw.constants)
            for draw in self._drawn
        ]

    @cached_property
    def _drawn(self) -> list[Draw]:
        return self.exercise.draw(self.parameters, self._files)

    @property
    def _exact(self) -> bool:
        """Whether the notebook itself works in float64."""
        return all(leaf.dtype is torch.float64 for leaf in self._drawn[0].leaves.values())

    @cached_property
    def points(self) -> list[Point]:
        """One point a draw, with the true gradients as upstream gradients."""
        points = []
        for draw in self.draws:
            values = self.graph.forward(draw.leaves, draw.constants)
            truth = self.graph.reference(draw.leaves, draw.constants)
            rounded: tuple[Values, Values] = (values, truth)
            if not self._exact:
                single = _rounded(draw.leaves)
                rounded = (
                    self.graph.forward(single, draw.constants),
                    self.graph.reference(single, draw.constants),
                )
            points.append(Point(values, truth, draw.constants, self.parameters, rounded))
        return points

    @cached_property
    def targets(self) -> Mapping[str, Target]:
        """What every variable should be when the notebook runs as it stands, by variable name."""
        found = {}
        for name in self.exercise.gradients:
            each = self._in_the_chain[name]
            stacked = self.exercise.stacked
            want = torch.stack([w.want for w in each]) if stacked else each[0].want
            masks = [w.free for w in each if w.free is not None]
            free = (torch.stack(masks) if stacked else masks[0]) if masks else None
            found["d" + name] = Target(want, max(w.scale for w in each), TOLERANCE, free)
        return {**found, **self.exercise.more(self.parameters, self._files)}

    @cached_property
    def chain(self) -> Mapping[str, Wanted]:
        """By gradient, its parts at the true upstream gradients of the first draw."""
        return {name: each[0] for name, each in self._in_the_chain.items()}

    @cached_property
    def _in_the_chain(self) -> Mapping[str, list[Wanted]]:
        """By gradient, what it should be at each draw."""
        return {
            name: [wanted(self.exercise, name, point) for point in self.points]
            for name in self.exercise.gradients
        }

    @cached_property
    def exchanged(self) -> tuple[str, ...]:
        """The forward names whose gradients are exchanged in the run "alone", in backward order.

        All that are asked for, but where they are stacked; and where the notebook asks for a function,
        the gradients that it makes on its way to those, if it gives them their usual names.
        """
        asked = {*self.exercise.gradients}
        between = {step.name for step in self.graph.steps} - asked
        names = set() if self.exercise.stacked else asked
        if self.exercise.functions:
            names = names | between
        return tuple(name for name in self.graph.backward_order() if name in names)

    @cached_property
    def replacements(self) -> dict[str, Tensor]:
        """By forward name, the random float32 gradient put in each answer's place, in the run "alone".

        Each is of the size its own step would give at the random gradients above it, so that no branch
        drowns in another, and keeps the structural zeros, which honest answers make use of. Several
        draws are stacked.
        """
        return self._random(self._seed)

    def redrawn(self, name: str) -> dict[str, Tensor]:
        """The replacements with the one of `name` drawn afresh."""
        return {**self.replacements, name: self._again[name]}

    @cached_property
    def _again(self) -> dict[str, Tensor]:
        return self._random(self._seed + 1)

    def _random(self, seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        each = [self._random_at(point, generator) for point in self.points]
        if not self.exercise.stacked:
            return each[0]
        return {name: torch.stack([drawn[name] for drawn in each]) for name in each[0]}

    def _random_at(self, point: Point, generator: torch.Generator) -> dict[str, Tensor]:
        drawn: dict[str, Tensor] = {}
        upstream = dict(point.upstream)  # in a loop, what stands above may be drawn later
        for name in self.graph.backward_order():
            natural = self._natural(name, point, upstream)
            upstream[name] = natural
            if name in self.exchanged:
                nonzero = natural != 0
                size = natural[nonzero].square().mean().sqrt() if nonzero.any() else 1.0
                noise = torch.randn(natural.shape, generator=generator, dtype=torch.float64)
                drawn[name] = (noise * nonzero * size).float()
                upstream[name] = drawn[name].double()
        return drawn

    def _natural(self, name: str, point: Point, upstream: Values) -> Tensor:
        parts = self.graph.contributions(name, point.values, upstream, point.constants)
        return total([*parts.values()])

    def alone(self, exchanged: frozenset[str]) -> list[Point]:
        """One point a draw, at which the gradients `exchanged` are random, and the others follow."""
        if exchanged not in self._alone:
            self._alone[exchanged] = [
                self._alone_at(draw, point, exchanged) for draw, point in enumerate(self.points)
            ]
        return self._alone[exchanged]

    def _alone_at(self, draw: int, point: Point, exchanged: frozenset[str]) -> Point:
        given = {name: self.replacements[name].double() for name in exchanged}
        if self.exercise.stacked:
            given = {name: random[draw] for name, random in given.items()}
        upstream = self.graph.backward(point.values, given, point.constants)
        return point.with_upstream(upstream)

    def wanted_alone(self, name: str, exchanged: frozenset[str]) -> list[Wanted]:
        """What the gradient of `name` should be at each of these points."""
        key = (name, exchanged)
        if key not in self._wanted:
            self._wanted[key] = [
                wanted(self.exercise, name, point) for point in self.alone(exchanged)
            ]
        return self._wanted[key]


def wanted(exercise: Exercise, name: str, point: Point) -> Wanted:
    """`name`'s gradient there; the scale is its vector-Jacobian product on absolute values.

    A step that cancels within itself (softmax where one weight is nearly 1) loses more to rounding than
    that shows. So the scale is at least what makes float32's own loss a fiftieth of the tolerance.
    """
    graph = exercise.graph
    parts: dict[str, Tensor] = {}
    sizes: list[Tensor] = []
    for step in graph.consumers[name]:
        product = graph.product(step, name, point.values, point.constants)
        above = point.upstream.get(step.name)
        parts[step.name] = product(above)
        size = parts[step.name] if above is None else product(above.abs())
        sizes.append(size.abs())
    want = total([*parts.values()])
    rounded = graph.contributions(name, *point.rounded, point.constants)
    lost = largest(total([*rounded.values()]) - want)
    noise = _ROUNDINGS * lost / TOLERANCE if math.isfinite(lost) else 0.0
    free = free_entries(
        exercise.either.get(name, ""), name, {**vars(point.constants), **point.values}
    )
    listed = any(step.loop for step in graph.steps if step.name == name)
    return Wanted(parts, want, max(largest(total(sizes)), noise, _TINY), free, listed)


def free_entries(where: str, name: str, values: Mapping[str, Any]) -> Tensor | None:
    """The entries of `name` at which an author's words, evaluated among these values, hold."""
    if not where:
        return None
    held = torch.as_tensor(eval(where, {"torch": torch, **values}))  # the author's own words
    return held.bool().expand(values[name].shape)


def _rounded(values: Values) -> dict[str, Tensor]:
    return {name: value.float() for name, value in values.items()}
