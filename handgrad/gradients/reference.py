"""What the answers of one notebook should be under one set of parameters: autograd's word, in float64."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace

import torch
from torch import Tensor

from handgrad.gradients.compare import TOLERANCE, largest
from handgrad.gradients.exercise import Draw, Exercise, Files, Parameters, Target
from handgrad.gradients.steps import Graph, Values

_TINY = 1e-30


@dataclass(frozen=True, slots=True)
class Wanted:
    """A gradient at given upstream gradients: `parts` by consumer, their sum, and the error's scale."""

    parts: Mapping[str, Tensor]
    want: Tensor
    scale: float

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
    """Forward values and upstream gradients (by forward name) at which steps are judged, in float64."""

    values: Values
    upstream: Values
    constants: SimpleNamespace


class Reference:
    """The reference of one exercise under one set of parameters; computed on demand, then kept."""

    def __init__(self, exercise: Exercise, parameters: Parameters, files: Files, seed: int) -> None:
        """`seed` draws the random upstream gradients of the run "alone"."""
        self.exercise = exercise
        self.graph = exercise.graph
        self.parameters = {**exercise.public, **parameters}
        self._files = files
        self._seed = seed
        self._redrawn: dict[str, dict[str, Tensor]] = {}

    @cached_property
    def draws(self) -> list[Draw]:
        """The inputs in float64, exactly the float32 numbers that the notebook draws."""
        return [
            Draw({name: leaf.double() for name, leaf in draw.leaves.items()}, draw.constants)
            for draw in self.exercise.draw(self.parameters, self._files)
        ]

    @cached_property
    def points(self) -> list[Point]:
        """One point a draw, with the true gradients as upstream gradients."""
        points = []
        for draw in self.draws:
            values = self.graph.forward(draw.leaves, draw.constants)
            truth = self.graph.reference(draw.leaves, draw.constants)
            points.append(Point(values, truth, draw.constants))
        return points

    @cached_property
    def targets(self) -> Mapping[str, Target]:
        """What every variable should be when the notebook runs as it stands, by variable name."""
        found = {}
        for name in self.exercise.gradients:
            each = [wanted(self.graph, name, point, point.upstream) for point in self.points]
            want = torch.stack([w.want for w in each]) if self.exercise.stacked else each[0].want
            found["d" + name] = Target(want, max(w.scale for w in each), TOLERANCE)
        return {**found, **self.exercise.more(self.parameters, self._files)}

    @cached_property
    def chain(self) -> Mapping[str, Wanted]:
        """By gradient, its parts at the true upstream gradients of the first draw."""
        point = self.points[0]
        return {
            name: wanted(self.graph, name, point, point.upstream)
            for name in self.exercise.gradients
        }

    @cached_property
    def replacements(self) -> dict[str, Tensor]:
        """By forward name, the random float32 gradient put in each answer's place, in the run "alone".

        Each is of the size its own step would give at the random gradients above it, so that no branch
        drowns in another, and keeps the structural zeros, which honest answers make use of.
        """
        return self._random(self._seed)

    def redrawn(self, name: str) -> dict[str, Tensor]:
        """The replacements with the one of `name` drawn afresh."""
        if name not in self._redrawn:
            again = self._random(self._seed + 1)
            self._redrawn[name] = {**self.replacements, name: again[name]}
        return self._redrawn[name]

    def _random(self, seed: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        point = self.points[0]
        asked = set(self.exercise.gradients)
        drawn: dict[str, Tensor] = {}
        upstream: dict[str, Tensor] = {}
        for name in self.graph.backward_order():
            parts = self.graph.contributions(name, point.values, upstream, point.constants)
            natural = torch.stack(list(parts.values())).sum(0)
            if name in asked:
                nonzero = natural != 0
                size = natural[nonzero].square().mean().sqrt() if nonzero.any() else 1.0
                noise = torch.randn(natural.shape, generator=generator, dtype=torch.float64)
                drawn[name] = (noise * nonzero * size).float()
                upstream[name] = drawn[name].double()
            else:
                upstream[name] = natural
        return drawn

    def alone_point(self, replacements: Mapping[str, Tensor]) -> Point:
        """The point at which every asked gradient is `replacements`' and the others follow from them."""
        point = self.points[0]
        upstream: dict[str, Tensor] = {}
        for name in self.graph.backward_order():
            if name in replacements:
                upstream[name] = replacements[name].double()
            else:
                parts = self.graph.contributions(name, point.values, upstream, point.constants)
                upstream[name] = torch.stack(list(parts.values())).sum(0)
        return Point(point.values, upstream, point.constants)

    @cached_property
    def alone(self) -> Point:
        return self.alone_point(self.replacements)

    @cached_property
    def steps_alone(self) -> Mapping[str, Wanted]:
        """By gradient, what it should be at the random upstream gradients."""
        return {
            name: wanted(self.graph, name, self.alone, self.alone.upstream)
            for name in self.exercise.gradients
        }


def wanted(graph: Graph, name: str, point: Point, upstream: Values) -> Wanted:
    """`name`'s gradient at `upstream`; the scale is its vector-Jacobian product on absolute values."""
    parts = graph.contributions(name, point.values, upstream, point.constants)
    sizes = graph.contributions(
        name, point.values, {k: v.abs() for k, v in upstream.items()}, point.constants
    )
    scale = largest(torch.stack([size.abs() for size in sizes.values()]).sum(0))
    return Wanted(parts, torch.stack(list(parts.values())).sum(0), max(scale, _TINY))
