"""Which mistake a wrong gradient is: hypotheses that the graph suggests, and the assignment's own.

Each hypothesis predicts a tensor. One that predicts the answer at every point where the answer was seen,
with other random numbers each time, is the mistake.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import EllipsisType

import torch
from torch import Tensor

from handgrad.gradients import hypotheses
from handgrad.gradients.compare import TOLERANCE, distance, match_shape
from handgrad.gradients.factors import constants, ratio_of
from handgrad.gradients.hypotheses import Case, Hypothesis, Scaled, same
from handgrad.gradients.reference import Point, Wanted
from handgrad.gradients.scenarios import Scenarios
from handgrad.verdict import Note

MOST_OFFERED = 3
_TIERS: tuple[
    tuple[Callable[[Case], Iterator[Hypothesis]], Callable[[Case], Iterator[Scaled]]], ...
] = (
    (hypotheses.assignment, lambda _: iter(())),
    (hypotheses.structure, hypotheses.scaled),
    (hypotheses.substitution, hypotheses.confused),
)
_NEAR = 1e-3  # of a factor: what may be the same number with a rounded answer


@dataclass(frozen=True, slots=True)
class Sighting:
    """One wrong answer: `got` at a point where `wanted` was right. float64, any shape."""

    point: Point
    wanted: Wanted
    got: Tensor


class Diagnosis:
    """The hypotheses about one exercise; predictions are kept, as they do not depend on the student."""

    def __init__(self, scenarios: Scenarios, language: str) -> None:
        """`language` is the one in which the assignment's own questions are asked."""
        self._scenarios = scenarios
        self._exercise = scenarios.exercise
        self._language = language
        self._kept: dict[tuple[str, int], tuple[Point, list[_Predictions]]] = {}

    def __call__(
        self, name: str, sightings: Sequence[Sighting], elsewhere: Sequence[Sighting] = ()
    ) -> tuple[Note, ...]:
        """What may have gone wrong with `d<name>`: one note is certain, several are offered.

        Sizes that are equal by coincidence make two explanations agree. `elsewhere`, at other sizes, has
        its say then: what fits there too is believed first.
        Where nothing fits, one `largest_error` or `shape` note says where to look.
        """
        if not all(bool(torch.isfinite(s.got).all()) for s in sightings):
            return (Note("not_finite"),)
        if not all(s.got.numel() for s in sightings):
            return (self._where(name, sightings[0]),)
        if not any(bool(s.got.any()) for s in sightings):
            return (Note("all_zeros"),)
        fallback: list[Note] = []
        for tier in range(len(_TIERS)):
            fitting = self._fitting(name, sightings, tier)
            believed = self._believed(name, fitting, elsewhere, tier)
            if believed:
                return tuple(believed[:MOST_OFFERED])
            fallback = fallback or fitting
            # After the assignment's own mistakes, since a formula may be wrong and a constant.
            if (
                tier == 0
                and _same_whatever_the_data([s.got for s in sightings])
                and not _same_whatever_the_data([s.wanted.want for s in sightings])
            ):
                fallback = fallback or [Note("constant")]
                break
        return tuple(fallback[:MOST_OFFERED]) or (self._where(name, sightings[0]),)

    def _fitting(self, name: str, sightings: Sequence[Sighting], tier: int) -> list[Note]:
        """The notes of a tier that explain every answer."""
        each = [_explaining(s, self._predictions(name, s, tier), tier) for s in sightings]
        # What makes no difference at one point (a small eps) may explain the answer at another.
        telling = [note for found in each for note in found.telling]
        notes = _unique(each[0].notes)
        return [n for n in notes if n in telling and all(n in found.notes for found in each)]

    def _believed(
        self, name: str, fitting: list[Note], elsewhere: Sequence[Sighting], tier: int
    ) -> list[Note]:
        """Those that explain the answers at other sizes too, whose points are one student's own."""
        for seen in elsewhere if fitting else ():
            found = _explaining(seen, self._predicted(name, seen, tier), tier).notes
            fitting = [note for note in fitting if note in found]
        return fitting

    def _predictions(self, name: str, sighting: Sighting, tier: int) -> "_Predictions":
        key = (name, id(sighting.point))
        if key not in self._kept:
            self._kept[key] = (sighting.point, [])  # holding the point keeps its id unique
        tiers = self._kept[key][1]
        while len(tiers) <= tier:
            tiers.append(self._predicted(name, sighting, len(tiers)))
        return tiers[tier]

    def _predicted(self, name: str, sighting: Sighting, tier: int) -> "_Predictions":
        case = Case(
            self._exercise, self._language, name, sighting.point, sighting.wanted, self._aliases
        )
        exact, scaled = _TIERS[tier]
        return _Predictions([*exact(case)], [*scaled(case)])

    @cached_property
    def _aliases(self) -> frozenset[str]:
        """Parameters that are always the same as a number of the forward pass, though both vary."""
        runs = [*self._scenarios.references.values()]
        known = [constants(run.draws[0].constants) for run in runs]
        return frozenset(
            name
            for name in self._exercise.public
            for numbers in ([run.parameters[name] for run in runs],)
            if len({*numbers}) > 1
            for other in known[0]
            if other != name and [each.get(other) for each in known] == numbers
        )

    def _where(self, name: str, sighting: Sighting) -> Note:
        """What there is to say of a mistake without a name: its shape, or where it is largest."""
        want, got = sighting.wanted.want, sighting.got
        match match_shape(tuple(got.shape), tuple(want.shape)):
            case "other":
                return Note("shape", {"got": _size(got), "want": _size(want)})
            case "same" | "flat":
                got = got.reshape(want.shape)
        place = int((got - want).abs().argmax())
        index = [int(i) for i in torch.unravel_index(torch.tensor(place), want.shape)]
        axes = self._exercise.axes_of(name, len(index))
        where = ", ".join(f"{axis} {i}" for axis, i in zip(axes, index, strict=True))
        return Note("largest_error", {"where": where})


@dataclass(frozen=True, slots=True)
class _Predictions:
    """What is thought of together about one gradient at one point."""

    exact: list[Hypothesis]
    scaled: list[Scaled]


@dataclass(frozen=True, slots=True)
class _Explaining:
    """The notes that explain one answer; those that are `telling` say more than that it is right."""

    notes: list[Note]
    telling: list[Note]


def _explaining(sighting: Sighting, predictions: _Predictions, tier: int) -> _Explaining:
    """The notes of a tier that explain one answer."""
    found = _Explaining([], [])
    scaled = (one for each in predictions.scaled for one in _at_its_factor(each, sighting))
    for note, predicted in itertools.chain(predictions.exact, scaled):
        if predicted is not None and _fits(sighting, predicted):
            found.notes.append(note)
            if not same(predicted, sighting.wanted.want, sighting.wanted.scale):
                found.telling.append(note)
    if tier == len(_TIERS) - 1 and _permuted(sighting):
        found.notes.append(Note("reshaped"))
        found.telling.append(Note("reshaped"))
    if any(note.code == "mean_for_sum" for note in found.notes):  # a factor as well
        return _Explaining(*(_without_factors(notes) for notes in (found.notes, found.telling)))
    return found


def _without_factors(notes: Sequence[Note]) -> list[Note]:
    return [note for note in notes if note.code not in ("factor", "branch_factor")]


def _unique(notes: Sequence[Note]) -> list[Note]:
    return [note for at, note in enumerate(notes) if note not in notes[:at]]


def _at_its_factor(family: Scaled, sighting: Sighting) -> Iterator[tuple[Note, Tensor]]:
    """Of hypotheses that differ in a number, those whose number is the one that was seen."""
    if sighting.got.numel() != family.part.numel():
        return
    got = sighting.got.reshape(family.part.shape)
    wrong = _wrong_entries(sighting, got)
    seen = ratio_of((got - family.rest)[wrong], family.part[wrong])
    for label, number in family.factors.items():
        if abs(number - seen) <= _NEAR * abs(seen):
            yield family.named(label), family.rest + number * family.part


def _fits(sighting: Sighting, predicted: Tensor) -> bool:
    if match_shape(tuple(sighting.got.shape), tuple(predicted.shape)) not in ("same", "flat"):
        return False
    got = sighting.got.reshape(predicted.shape)
    wrong = _wrong_entries(sighting, got)
    got, predicted = got[wrong], predicted[wrong]
    # A prediction may be far larger than the right answer; its rounding then is too.
    scale = max(sighting.wanted.scale, float(predicted.abs().max()) if predicted.numel() else 0.0)
    return distance(got, predicted, scale) <= TOLERANCE


def _wrong_entries(sighting: Sighting, got: Tensor) -> list[int] | EllipsisType:
    """Where a mistake is to be seen: in a list's wrong entries, in all of anything else."""
    want, scale = sighting.wanted.want, sighting.wanted.scale
    if not sighting.wanted.listed or got.shape != want.shape:
        return ...
    pairs = enumerate(zip(got, want, strict=True))
    return [at for at, (mine, right) in pairs if not same(mine, right, scale)]


def _permuted(sighting: Sighting) -> bool:
    """The right numbers in another order."""
    got, want = sighting.got.flatten(), sighting.wanted.want.flatten()
    if got.numel() != want.numel() or got.numel() < 3:
        return False
    return distance(got.sort().values, want.sort().values, sighting.wanted.scale) <= TOLERANCE


def _same_whatever_the_data(answers: Sequence[Tensor]) -> bool:
    """Numbers that did not change when everything they depend on did: typed in."""
    first, *others = answers
    return bool(others) and all(torch.equal(first, other) for other in others)


def _size(tensor: Tensor) -> str:
    return "(" + ", ".join(map(str, tensor.shape)) + ("," if tensor.dim() == 1 else "") + ")"
