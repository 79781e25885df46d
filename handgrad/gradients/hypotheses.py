"""What a wrong gradient may be: hypotheses that the graph suggests, each with the tensor that it predicts."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import torch
from torch import Tensor

from handgrad.gradients.compare import TOLERANCE, distance, match_shape
from handgrad.gradients.exercise import Exercise
from handgrad.gradients.factors import constants, factors, ratios, sizes, summed
from handgrad.gradients.reference import Point, Wanted
from handgrad.gradients.steps import Graph, Step
from handgrad.verdict import Note

Hypothesis = tuple[Note, Tensor | None]
"""A mistake and what it predicts; None where that cannot be computed, which explains nothing."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """Hypotheses that differ in a number: `rest + factor * part`, of which `named(label)` tells.

    `factors` are the numbers by label.
    """

    code: str
    parts: Mapping[str, str]
    rest: Tensor
    part: Tensor
    factors: Mapping[str, float]

    def named(self, label: str) -> Note:
        """The note on the factor of that label."""
        return Note(self.code, {**self.parts, "factor": label})


def same(left: Tensor, right: Tensor, scale: float) -> bool:
    """Whether two tensors agree as an answer must with what is wanted."""
    return left.shape == right.shape and distance(left, right, scale) <= TOLERANCE


@dataclass(frozen=True, slots=True)
class Case:
    """One gradient at one point, with the few things that every hypothesis needs.

    `aliases` are parameters that the forward pass knows under another name.
    """

    exercise: Exercise
    language: str
    name: str
    point: Point
    wanted: Wanted
    aliases: frozenset[str]

    @property
    def graph(self) -> Graph:
        return self.exercise.graph

    @property
    def consumers(self) -> tuple[Step, ...]:
        return self.graph.consumers[self.name]

    def upstream(self, step: Step) -> Tensor | None:
        """The gradient that reaches `step` from above; None for the loss."""
        return self.point.upstream.get(step.name)

    def instead(self, step: Step, part: Tensor | None) -> Tensor | None:
        """The whole gradient with one consumer's part replaced."""
        if part is None or part.shape != self.wanted.want.shape:
            return None
        return self.wanted.want - self.wanted.parts[step.name] + part

    def local(
        self,
        step: Step,
        *,
        upstream: Tensor | None = None,
        values: Mapping[str, Tensor] | None = None,
        constants: Mapping[str, object] | None = None,
    ) -> Tensor | None:
        """The step's own part, with something of it replaced; None where it then cannot be computed."""
        known = SimpleNamespace(**{**vars(self.point.constants), **(constants or {})})
        return tried(
            lambda: self.graph.local(
                step,
                self.name,
                {**self.point.values, **(values or {})},
                upstream if upstream is not None else self.upstream(step),
                known,
            )
        )

    def with_operand(self, step: Step, meant: str, used: Tensor) -> Tensor | None:
        """The whole gradient with another tensor in the place of what a consumer reads as `meant`."""
        if meant in self.point.values:
            return self.instead(step, self.local(step, values={meant: used}))
        return self.instead(step, self.local(step, constants={meant: used}))

    def operands(self, step: Step) -> dict[str, Tensor]:
        """What the step may read besides: its inputs, and the tensors that are not differentiated."""
        return {name: self.point.values[name] for name in step.inputs} | self.fixed

    @property
    def fixed(self) -> dict[str, Tensor]:
        """The float tensors of the forward pass that are not differentiated."""
        every = vars(self.point.constants).items()
        return {n: t for n, t in every if isinstance(t, Tensor) and t.is_floating_point()}


def tried(rule: Callable[[], Tensor | None]) -> Tensor | None:
    """What a rule predicts, if it can be computed."""
    # The lines are the author's and a library's, so that anything may be raised.
    with contextlib.suppress(Exception):
        return rule()
    return None


def assignment(case: Case) -> Iterator[Hypothesis]:
    """The assignment's own table of mistakes."""
    at = case.point.values, case.point.upstream, case.point.constants
    for mistake in case.exercise.mistakes:
        if mistake.step == case.name:
            name, question = mistake.name[case.language], mistake.question[case.language]
            note = Note("assignment", {"name": name, "question": question})
            yield note, tried(partial(mistake.rule, *at))


def structure(case: Case) -> Iterator[Hypothesis]:
    """Branches, signs, axes: mistakes about the shape of the formula."""
    want, parts = case.wanted.want, case.wanted.parts
    yield Note("sign"), -want
    for consumer, part in parts.items() if len(parts) > 1 else ():
        yield Note("missing_branch", {"consumer": consumer}), want - part
        yield Note("sign_branch", {"consumer": consumer}), want - 2 * part
    for consumer, part in parts.items() if len(parts) > 2 else ():
        yield Note("only_branch", {"consumer": consumer}), part
    yield from _means(case)
    yield from _axes(case)
    if want.dim() == 2 and min(want.shape) > 1:
        yield Note("transposed"), want.T
    yield from _not_transposed(case)
    for step in case.consumers:
        yield from _overwritten(case, step)
        yield from _spread_mask(case, step)
    yield from _left_out(case)


def _means(case: Case) -> Iterator[Hypothesis]:
    for step in case.consumers:
        for axis in _spread_axes(case, step):
            part = case.wanted.parts[step.name] / case.point.values[step.name].shape[axis]
            yield Note("mean_for_sum", {"axis": str(axis)}), case.instead(step, part)


def _left_out(case: Case) -> Iterator[Hypothesis]:
    """A small number such as epsilon, this line's own derivative, the gradient from above."""
    for name, value in vars(case.point.constants).items():
        if isinstance(value, float) and value:
            for step in case.consumers:
                without = case.local(step, constants={name: 0.0})
                yield Note("eps", {"name": name}), case.instead(step, without)
    for step in case.consumers:
        note = Note("no_local_factor", {"consumer": step.name})
        yield note, case.instead(step, case.upstream(step))
    ones = [torch.ones_like(case.point.values[step.name]) for step in case.consumers]
    parts = [case.local(s, upstream=one) for s, one in zip(case.consumers, ones, strict=True)]
    known = [part for part in parts if part is not None]
    yield Note("no_upstream"), torch.stack(known).sum(0) if len(known) == len(ones) else None


def _not_transposed(case: Case) -> Iterator[Hypothesis]:
    """A square operand of a product the other way round."""
    for step in case.consumers:
        above = case.upstream(step)
        if above is not None and _is_square(above):
            note = Note("not_transposed", {"operand": "d" + step.name})
            yield note, case.instead(step, case.local(step, upstream=above.mT))
        for name, value in case.operands(step).items():
            if name != case.name and _is_square(value):
                note = Note("not_transposed", {"operand": name})
                yield note, case.with_operand(step, name, value.mT)


def _is_square(value: Tensor) -> bool:
    return value.dim() > 1 and value.shape[-1] == value.shape[-2] > 1


def _spread_axes(case: Case, step: Step) -> list[int]:
    """The axes of the consumer's output along which `name` was broadcast."""
    have, out = case.point.values[case.name].shape, case.point.values[step.name].shape
    if match_shape(tuple(have), tuple(out)) != "unspread":
        return []
    padded = (1,) * (len(out) - len(have)) + tuple(have)
    return [axis for axis, size in enumerate(padded) if size == 1 and out[axis] > 1]


def _axes(case: Case) -> Iterator[Hypothesis]:
    """The sum over a broadcast axis left out, or taken over another axis. Shapes then differ."""
    for step in case.consumers:
        right = _spread_axes(case, step)
        out = case.point.values[step.name]
        spread = {case.name: case.point.values[case.name].expand(out.shape)} if right else {}
        unsummed = case.local(step, values=spread)
        if not right or unsummed is None:
            continue
        yield Note("not_summed", {"axis": ", ".join(map(str, right))}), unsummed
        for count in range(1, out.dim() + 1):
            for axes in itertools.combinations(range(out.dim()), count):
                if list(axes) != right:
                    label = ", ".join(map(str, axes))
                    yield Note("wrong_axis", {"axis": label}), unsummed.sum(axes)


def _overwritten(case: Case, step: Step) -> Iterator[Hypothesis]:
    """A row used twice that kept only the last, or the first, gradient that reached it."""
    value, upstream = case.point.values[case.name], case.upstream(step)
    index = tried(lambda: _picked(case, step))
    if upstream is None or index is None or index.shape != upstream.shape:
        return
    places, numbers = index.flatten().tolist(), upstream.flatten().tolist()
    if len(set(places)) == len(places):
        return
    for each in (zip(places, numbers, strict=True), zip(places[::-1], numbers[::-1], strict=True)):
        result = torch.zeros(value.numel(), dtype=torch.float64)
        for place, number in each:
            result[place] = number
        yield Note("overwritten"), case.instead(step, result.reshape(value.shape))


def _picked(case: Case, step: Step) -> Tensor | None:
    """Of a step that only picks entries: the number of the entry behind each that it gives."""
    value = case.point.values[case.name]
    if len(step.inputs) != 1:
        return None
    places = torch.arange(value.numel(), dtype=torch.float64).reshape(value.shape)
    picked = step.at({**case.point.values, case.name: places}, case.point.constants)
    whole = picked.round()
    if not torch.equal(whole, picked) or whole.min() < 0 or whole.max() >= places.numel():
        return None
    # Permuting the source permutes what it gives.
    shuffled = (places * 7 + 3) % (places.numel() + 1.5)
    again = step.at({**case.point.values, case.name: shuffled}, case.point.constants)
    return whole.long() if torch.equal(again, shuffled.flatten()[whole.long()]) else None


def _spread_mask(case: Case, step: Step) -> Iterator[Hypothesis]:
    """A mask of whole rows where it should be one of entries: any of a row let through, or all of it."""
    above, want = case.upstream(step), case.wanted.want
    ones = torch.ones_like(case.point.values[step.name])
    mask = case.local(step, upstream=ones)
    seed = tried(lambda: (ones if above is None else above).expand(want.shape))
    if mask is None or seed is None or not mask.any() or mask.all():
        return
    size = mask.abs().max()
    if not bool(((mask == 0) | (mask.abs() == size)).all()) or want.dim() < 2:
        return
    if not same(mask * seed, case.wanted.parts[step.name], case.wanted.scale):
        return
    for axis in range(want.dim()):
        for whole in filter(
            Tensor.any, (mask.amax(axis, keepdim=True), mask.amin(axis, keepdim=True))
        ):
            yield Note("mask", {"axis": str(axis)}), case.instead(step, seed * whole)


def substitution(case: Case) -> Iterator[Hypothesis]:
    """One tensor taken for another, or a power that is off."""
    for step in case.consumers:
        yield from _other_upstream(case, step)
        for meant, right in case.operands(step).items():
            gradients = {} if meant == case.name else case.point.upstream
            for used, value in _alike(right, {**case.point.values, **case.fixed}, gradients):
                if used != meant:
                    note = Note("other_value", {"used": used, "meant": meant})
                    yield note, case.with_operand(step, meant, value)
        yield from _other_factor(case, step)
        part = case.wanted.parts[step.name]
        for base, power in itertools.product({case.name, step.name}, (-2, -1, 1, 2)):
            number = case.point.values[base]
            if number.shape == part.shape == case.point.values[step.name].shape:
                note = Note("power", {"value": case.name})
                yield note, case.instead(step, part * number**power)
                yield note, case.instead(step, -part * number**power)


def _alike(
    like: Tensor, values: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """The values and gradients of one shape, under the names that a student has for them."""
    named = {**values, **{"d" + name: gradient for name, gradient in gradients.items()}}
    for name, tensor in named.items():
        if tensor.shape == like.shape and tensor.is_floating_point():
            yield name, tensor


def _other_upstream(case: Case, step: Step) -> Iterator[Hypothesis]:
    """Another gradient, an earlier one or a value in the place of the gradient from above."""
    mine = case.upstream(step)
    if mine is None:
        return
    for other, gradient in _alike(mine, {}, case.point.upstream):
        if other != "d" + step.name:
            note = Note("other_gradient", {"used": other, "meant": "d" + step.name})
            yield note, case.instead(step, case.local(step, upstream=gradient))
    for part in _earlier(case, step):
        note = Note("stale", {"value": "d" + step.name})
        yield note, case.instead(step, case.local(step, upstream=part))
    for other, value in _alike(mine, case.point.values, {}):
        note = Note("forward_value", {"value": other})
        yield note, case.instead(step, case.local(step, upstream=value))


def _other_factor(case: Case, step: Step) -> Iterator[Hypothesis]:
    """Where the local derivative is itself a forward value (exp: its output), another in its place."""
    want, upstream = case.wanted.want, case.upstream(step)
    if upstream is None or upstream.shape != want.shape:
        return
    derivative = case.local(step, upstream=torch.ones_like(upstream))
    alike = dict(_alike(want, case.point.values, {}))
    for meant in alike:
        if derivative is not None and same(alike[meant], derivative, float(derivative.abs().max())):
            for used in alike:
                note = Note("other_value", {"used": used, "meant": meant})
                yield note, case.instead(step, upstream * alike[used])


def _earlier(case: Case, step: Step) -> list[Tensor]:
    """What `step`'s own gradient was before one of its branches was added to it."""
    point = case.point
    parts = case.graph.contributions(step.name, point.values, point.upstream, point.constants)
    return list(parts.values()) if len(parts) > 1 else []


def scaled(case: Case) -> Iterator[Scaled]:
    """The gradient, or one of its branches, off by a number that the forward pass knows."""
    known = constants(case.point.constants)
    axes = summed(case.consumers, case.point.values)
    yield from _each_part(case, factors(known | sizes(axes, known | _own(case))))


def confused(case: Case) -> Iterator[Scaled]:
    """The gradient, or one of its branches, off as where one size was taken for another."""
    known = constants(case.point.constants)
    shapes = {
        name: case.point.values[name].shape
        for step in case.consumers
        for name in (step.name, *step.inputs)
    }
    axes = [(f"{n}.shape[{axis}]", size) for n in shapes for axis, size in enumerate(shapes[n])]
    numbers = known | sizes(axes, known | _own(case))
    yield from _each_part(case, {**factors(numbers), **ratios(numbers)})


def _own(case: Case) -> dict[str, float]:
    """The notebook's own parameters, which name the sizes of its axes."""
    every = constants(case.point.parameters)
    return {name: number for name, number in every.items() if name not in case.aliases}


def _each_part(case: Case, by_label: Mapping[str, float]) -> Iterator[Scaled]:
    want, parts = case.wanted.want, case.wanted.parts
    yield Scaled("factor", {}, torch.zeros_like(want), want, by_label)
    for consumer, part in parts.items() if len(parts) > 1 else ():
        yield Scaled("branch_factor", {"consumer": consumer}, want - part, part, by_label)
