"""Which mistake a wrong gradient is: hypotheses that the graph suggests, and the assignment's own.

Each hypothesis predicts a tensor. One that predicts the answer at every point where the answer was seen,
with other random numbers each time, is the mistake.
"""

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from handgrad.gradients.compare import TOLERANCE, distance, match_shape
from handgrad.gradients.exercise import Exercise
from handgrad.gradients.reference import Point, Wanted
from handgrad.gradients.steps import Graph, Step
from handgrad.verdict import Note

Hypothesis = tuple[Note, Tensor]
MOST_OFFERED = 3


@dataclass(frozen=True, slots=True)
class Sighting:
    """One wrong answer: `got` at a point where `wanted` was right. float64, any shape."""

    point: Point
    wanted: Wanted
    got: Tensor


class Diagnosis:
    """The hypotheses about one exercise; predictions are kept, as they do not depend on the student."""

    def __init__(self, exercise: Exercise, language: str) -> None:
        """`language` is the one in which the assignment's own questions are asked."""
        self._exercise = exercise
        self._language = language
        self._graph = exercise.graph
        self._kept: dict[tuple[str, int], tuple[Point, list[list[Hypothesis]]]] = {}

    def __call__(self, name: str, sightings: Sequence[Sighting]) -> tuple[Note, ...]:
        """What may have gone wrong with `d<name>`: one note is certain, several are offered.

        Where nothing fits, one `largest_error` or `shape` note says where to look.
        """
        if not all(bool(torch.isfinite(s.got).all()) for s in sightings):
            return (Note("not_finite"),)
        for tier in range(len(_TIERS)):
            fitting = self._fitting(name, sightings, tier)
            if fitting:
                return tuple(fitting[:MOST_OFFERED])
            # After the assignment's own mistakes, since a formula may be wrong and a constant.
            if (
                tier == 0
                and _same_whatever_the_data([s.got for s in sightings])
                and not _same_whatever_the_data([s.wanted.want for s in sightings])
            ):
                return (Note("constant"),)
        first = sightings[0]
        if match_shape(tuple(first.got.shape), tuple(first.wanted.want.shape)) == "other":
            shapes = {"got": _size(first.got), "want": _size(first.wanted.want)}
            return (Note("shape", shapes),)
        return (self._largest_error(name, first),)

    def _fitting(self, name: str, sightings: Sequence[Sighting], tier: int) -> list[Note]:
        each = [
            [h for h in self._predictions(name, sighting, tier) if _fits(sighting, h[1])]
            for sighting in sightings
        ]
        # What makes no difference at one point (a small eps) may explain the answer at another.
        telling = [
            note
            for found, sighting in zip(each, sightings, strict=True)
            for note, predicted in found
            if not _is_right(sighting.wanted, predicted)
        ]
        notes = [[note for note, _ in found] for found in each]
        if tier == len(_TIERS) - 1 and all(_permuted(sighting) for sighting in sightings):
            notes = [[*found, Note("reshaped")] for found in notes]
            telling.append(Note("reshaped"))
        fitting = [note for note in _unique(notes[0]) if all(note in found for found in notes)]
        return [note for note in fitting if note in telling]

    def _predictions(self, name: str, sighting: Sighting, tier: int) -> list[Hypothesis]:
        key = (name, id(sighting.point))
        if key not in self._kept:
            self._kept[key] = (sighting.point, [])  # holding the point keeps its id unique
        tiers = self._kept[key][1]
        while len(tiers) <= tier:
            case = _Case(self._exercise, self._language, name, sighting.point, sighting.wanted)
            tiers.append([*_TIERS[len(tiers)](case)])
        return tiers[tier]

    def _largest_error(self, name: str, sighting: Sighting) -> Note:
        want = sighting.wanted.want
        got = sighting.got
        if match_shape(tuple(got.shape), tuple(want.shape)) != "unspread":
            got = got.reshape(want.shape)
        place = int((got - want).abs().argmax())
        index = [int(i) for i in torch.unravel_index(torch.tensor(place), want.shape)]
        axes = self._exercise.axes.get(name) or tuple(f"axis {i}" for i in range(want.dim()))
        where = ", ".join(f"{axis} {i}" for axis, i in zip(axes[-len(index) :], index, strict=True))
        return Note("largest_error", {"where": where})


@dataclass(frozen=True, slots=True)
class _Case:
    """One gradient at one point, with the few things that every hypothesis needs."""

    exercise: Exercise
    language: str
    name: str
    point: Point
    wanted: Wanted

    @property
    def graph(self) -> Graph:
        return self.exercise.graph

    @property
    def consumers(self) -> tuple[Step, ...]:
        return self.graph.consumers[self.name]

    def instead(self, consumer: str, part: Tensor) -> Tensor:
        """The whole gradient with one consumer's part replaced."""
        return self.wanted.want - self.wanted.parts[consumer] + part

    def local(
        self,
        step: Step,
        *,
        upstream: Tensor | None = None,
        values: Mapping[str, Tensor] | None = None,
        constants: SimpleNamespace | None = None,
    ) -> Tensor:
        """The step's own part, with something of it replaced."""
        return self.graph.local(
            step,
            self.name,
            {**self.point.values, **(values or {})},
            upstream if upstream is not None else self.point.upstream.get(step.name),
            constants or self.point.constants,
        )


def _assignment(case: _Case) -> Iterator[Hypothesis]:
    """The assignment's own table of mistakes."""
    for mistake in case.exercise.mistakes:
        if mistake.step == case.name:
            predicted = mistake.rule(case.point.values, case.point.upstream, case.point.constants)
            name, question = mistake.name[case.language], mistake.question[case.language]
            yield Note("assignment", {"name": name, "question": question}), predicted


def _structure(case: _Case) -> Iterator[Hypothesis]:
    """Branches, signs, factors and axes: mistakes about the shape of the formula."""
    want, parts = case.wanted.want, case.wanted.parts
    yield Note("sign"), -want
    if len(parts) > 1:
        for consumer, part in parts.items():
            yield Note("missing_branch", {"consumer": consumer}), want - part
            yield Note("sign_branch", {"consumer": consumer}), want - 2 * part
    means = dict(_means(case))
    for axis, (consumer, part) in means.items():
        yield Note("mean_for_sum", {"axis": str(axis)}), case.instead(consumer, part)
    averaged = [case.instead(consumer, part) for consumer, part in means.values()]
    for label, factor in _factors(case.point.constants):
        predicted = want * factor
        if not any(_same(predicted, mean, case.wanted.scale) for mean in averaged):
            yield Note("factor", {"factor": label}), predicted
        if len(parts) > 1:
            for consumer, part in parts.items():
                note = Note("branch_factor", {"consumer": consumer, "factor": label})
                yield note, want + (factor - 1) * part
    yield from _while_it_works(_axes(case))
    if want.dim() == 2 and min(want.shape) > 1:
        yield Note("transposed"), want.T
    yield from _while_it_works(_overwritten(case))
    yield from _while_it_works(_constants_left_out(case))
    for step in case.consumers:
        if step.name in case.point.upstream and case.point.values[step.name].shape == want.shape:
            note = Note("no_local_factor", {"consumer": step.name})
            yield note, case.instead(step.name, case.point.upstream[step.name])
    ones = {s.name: torch.ones_like(case.point.values[s.name]) for s in case.consumers}
    yield (
        Note("no_upstream"),
        torch.stack([case.local(s, upstream=ones[s.name]) for s in case.consumers]).sum(0),
    )


def _substitution(case: _Case) -> Iterator[Hypothesis]:
    """One tensor taken for another, or a power that is off."""
    values, upstream = case.point.values, case.point.upstream
    for step in case.consumers:
        out = values[step.name]
        if step.name in upstream:
            mine = upstream[step.name]
            for other, gradient in upstream.items():
                if other != step.name and gradient.shape == mine.shape:
                    note = Note("other_gradient", {"used": "d" + other, "meant": "d" + step.name})
                    yield note, case.instead(step.name, case.local(step, upstream=gradient))
            for part in _earlier(case, step):
                note = Note("stale", {"value": "d" + step.name})
                yield note, case.instead(step.name, case.local(step, upstream=part))
            for other, value in values.items():
                if value.shape == mine.shape and value.is_floating_point():
                    note = Note("forward_value", {"value": other})
                    yield note, case.instead(step.name, case.local(step, upstream=value))
        for meant in step.inputs:
            for used, value in values.items():
                if used != meant and value.shape == values[meant].shape:
                    note = Note("other_value", {"used": used, "meant": meant})
                    yield note, case.instead(step.name, _with_value(case, step, meant, value))
            for used, gradient in upstream.items():
                if meant != case.name and gradient.shape == values[meant].shape:
                    note = Note("other_value", {"used": "d" + used, "meant": meant})
                    yield note, case.instead(step.name, _with_value(case, step, meant, gradient))
        yield from _other_factor(case, step)
        part = case.wanted.parts[step.name]
        for base, power in itertools.product({case.name, step.name}, (-2, -1, 1, 2)):
            number = values[base]
            if number.shape == part.shape == out.shape:
                note = Note("power", {"value": case.name})
                yield note, case.instead(step.name, part * number**power)
                yield note, case.instead(step.name, -part * number**power)


_TIERS: tuple[Callable[[_Case], Iterator[Hypothesis]], ...] = (
    _assignment,
    _structure,
    _substitution,
)


def _with_value(case: _Case, step: Step, meant: str, value: Tensor) -> Tensor:
    return case.local(step, values={meant: value})


def _other_factor(case: _Case, step: Step) -> Iterator[Hypothesis]:
    """Where the local derivative is itself a forward value (exp: its output), another in its place."""
    values, shape = case.point.values, case.wanted.want.shape
    if step.name not in case.point.upstream or values[step.name].shape != shape:
        return
    upstream = case.point.upstream[step.name]
    derivative = case.local(step, upstream=torch.ones_like(upstream))
    alike = [name for name, value in values.items() if value.shape == shape]
    for meant in alike:
        if _same(values[meant], derivative, float(derivative.abs().max())):
            for used in alike:
                note = Note("other_value", {"used": used, "meant": meant})
                yield note, case.instead(step.name, upstream * values[used])


def _earlier(case: _Case, step: Step) -> list[Tensor]:
    """What `step`'s own gradient was before one of its branches was added to it."""
    parts = case.graph.contributions(
        step.name, case.point.values, case.point.upstream, case.point.constants
    )
    return list(parts.values()) if len(parts) > 1 else []


def _factors(constants: SimpleNamespace) -> Iterator[tuple[str, float]]:
    """Constant factors that people lose or add, by the name they would write."""
    yield from (("2", 2.0), ("1/2", 0.5), ("-2", -2.0), ("-1/2", -0.5))
    for name, value in vars(constants).items():
        if isinstance(value, int) and not isinstance(value, bool) and value > 2:
            yield from (
                (name, float(value)),
                (f"1/{name}", 1 / value),
                (f"-{name}", -float(value)),
                (f"-1/{name}", -1 / value),
                (f"{name}-1", float(value - 1)),
                (f"1/({name}-1)", 1 / (value - 1)),
                (f"{name}/({name}-1)", value / (value - 1)),
                (f"({name}-1)/{name}", (value - 1) / value),
            )


def _while_it_works(hypotheses: Iterator[Hypothesis]) -> Iterator[Hypothesis]:
    """Those up to the first that cannot be computed: a library may refuse an input of another shape."""
    # They end by themselves; what a step raises is torch's and depends on the step.
    with contextlib.suppress(RuntimeError, ValueError, IndexError):
        yield from hypotheses


def _spread_axes(case: _Case, step: Step) -> list[int]:
    """The axes of the consumer's output along which `name` was broadcast."""
    have, out = case.point.values[case.name].shape, case.point.values[step.name].shape
    if match_shape(tuple(have), tuple(out)) != "unspread":
        return []
    padded = (1,) * (len(out) - len(have)) + tuple(have)
    return [axis for axis, size in enumerate(padded) if size == 1 and out[axis] > 1]


def _means(case: _Case) -> Iterator[tuple[int, tuple[str, Tensor]]]:
    for step in case.consumers:
        for axis in _spread_axes(case, step):
            size = case.point.values[step.name].shape[axis]
            yield axis, (step.name, case.wanted.parts[step.name] / size)


def _axes(case: _Case) -> Iterator[Hypothesis]:
    """The sum over a broadcast axis left out, or taken over another axis. Shapes then differ."""
    for step in case.consumers:
        right = _spread_axes(case, step)
        if not right:
            continue
        out = case.point.values[step.name]
        spread = {case.name: case.point.values[case.name].expand(out.shape)}
        unsummed = case.local(step, values=spread)
        yield Note("not_summed", {"axis": ", ".join(map(str, right))}), unsummed
        for count in range(1, out.dim() + 1):
            for axes in itertools.combinations(range(out.dim()), count):
                if list(axes) != right:
                    label = ", ".join(map(str, axes))
                    yield Note("wrong_axis", {"axis": label}), unsummed.sum(axes)


def _overwritten(case: _Case) -> Iterator[Hypothesis]:
    """A row used twice that kept only the last, or the first, gradient that reached it."""
    value = case.point.values[case.name]
    for step in case.consumers:
        if step.name not in case.point.upstream or len(step.inputs) != 1:
            continue
        places = torch.arange(value.numel(), dtype=torch.float64).reshape(value.shape)
        picked = step.compute(places, case.point.constants)
        upstream = case.point.upstream[step.name]
        if picked.shape != upstream.shape or not _selects(step, case, places, picked):
            continue
        index = picked.flatten().round().long()
        if len(set(index.tolist())) == len(index):
            continue
        for order in (torch.arange(len(index)), torch.arange(len(index)).flip(0)):
            result = torch.zeros(value.numel(), dtype=torch.float64)
            for place, number in zip(
                index[order].tolist(), upstream.flatten()[order].tolist(), strict=True
            ):
                result[place] = number
            yield Note("overwritten"), case.instead(step.name, result.reshape(value.shape))


def _selects(step: Step, case: _Case, places: Tensor, picked: Tensor) -> bool:
    """Whether the step only picks entries: permuting the source permutes what it gives."""
    whole = picked.round()
    if not torch.equal(whole, picked) or whole.min() < 0 or whole.max() >= places.numel():
        return False
    shuffled = (places * 7 + 3) % (places.numel() + 1.5)
    again = step.compute(shuffled, case.point.constants)
    return torch.equal(again, shuffled.flatten()[whole.long()])


def _constants_left_out(case: _Case) -> Iterator[Hypothesis]:
    """A small number such as epsilon forgotten."""
    for name, value in vars(case.point.constants).items():
        if isinstance(value, float) and value:
            without = copy.copy(case.point.constants)
            setattr(without, name, 0.0)
            for step in case.consumers:
                predicted = case.instead(step.name, case.local(step, constants=without))
                yield Note("eps", {"name": name}), predicted


def _fits(sighting: Sighting, predicted: Tensor) -> bool:
    if match_shape(tuple(sighting.got.shape), tuple(predicted.shape)) not in ("same", "flat"):
        return False
    # A prediction may be far larger than the right answer; its rounding then is too.
    scale = max(sighting.wanted.scale, float(predicted.abs().max()) if predicted.numel() else 0.0)
    return distance(sighting.got.reshape(predicted.shape), predicted, scale) <= TOLERANCE


def _same(left: Tensor, right: Tensor, scale: float) -> bool:
    return left.shape == right.shape and distance(left, right, scale) <= TOLERANCE


def _is_right(wanted: Wanted, predicted: Tensor) -> bool:
    """Whether a "mistake" makes no difference here, so that it explains nothing."""
    return _same(predicted, wanted.want, wanted.scale)


def _permuted(sighting: Sighting) -> bool:
    """The right numbers in another order."""
    got, want = sighting.got.flatten(), sighting.wanted.want.flatten()
    if got.numel() != want.numel() or got.numel() < 3:
        return False
    return distance(got.sort().values, want.sort().values, sighting.wanted.scale) <= TOLERANCE


def _same_whatever_the_data(answers: Sequence[Tensor]) -> bool:
    """Numbers, not all zero, that did not change when everything they depend on did: typed in."""
    first, *others = answers
    return bool(others) and bool(first.any()) and all(torch.equal(first, other) for other in others)


def _unique(notes: Sequence[Note]) -> list[Note]:
    kept: list[Note] = []
    for note in notes:
        if note not in kept:
            kept.append(note)
    return kept


def _size(tensor: Tensor) -> str:
    return "(" + ", ".join(map(str, tensor.shape)) + ("," if tensor.dim() == 1 else "") + ")"
