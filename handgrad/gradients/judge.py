"""The verdict on one gradient: how it stands in the chain and alone, looked up in a table.

A manual backward pass is a chain, so one slip makes every later number wrong. Each step is therefore
looked at twice: as the notebook runs, and with random upstream gradients in the place of the student's
own, so that it stands by itself. Right alone and wrong in the chain is a right step with a wrong input.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property

import torch
from torch import Tensor

from handgrad.evidence import Answer
from handgrad.gradients.compare import Comparison, compare, shaped
from handgrad.gradients.diagnose import Diagnosis, Sighting
from handgrad.gradients.lookup import Answers
from handgrad.gradients.reference import Point, wanted
from handgrad.gradients.residual import residual
from handgrad.gradients.scenarios import Scenarios
from handgrad.settings import Settings
from handgrad.verdict import Finding, Gradient, Note, Verdict

# Mistakes that are believed of a gradient although the chain cannot show them.
_NAMED_WHEN_UNDETECTABLE = ("missing_branch", "sign", "sign_branch", "constant", "assignment")


class Judge:
    """Judges the gradients of one notebook; what it rests on is computed once for all students."""

    def __init__(self, scenarios: Scenarios, settings: Settings) -> None:
        self.scenarios = scenarios
        self._settings = settings
        self._diagnosis = Diagnosis(scenarios, settings.language)

    def finding(self, gradient: Gradient, answers: Answers) -> Finding:
        """What is said of `gradient` in one student's `answers`."""
        scenarios = self.scenarios.drawn(answers.draw)
        case = _Case(scenarios, self._settings, self._diagnosis, gradient, answers)
        found, doubt = case.finding(), answers.doubts.get(gradient.variable)
        if doubt is None or found.verdict not in (Verdict.WRONG, Verdict.NOT_ATTEMPTED):
            return found
        return gradient.finding(Verdict.COULD_NOT_TELL, None, diagnoses=(doubt,))


class _Standing(Enum):
    """How a gradient stands in the chain, or alone: in all the deciding runs together."""

    RIGHT = auto()
    WRONG = auto()
    NO_NUMBER = auto()  # nothing that could be compared, in at least one of them
    NOT_ATTEMPTED = auto()
    UNKNOWN = auto()  # nobody's fault but the grader's


@dataclass(frozen=True)
class _Case:
    """One gradient of one student."""

    scenarios: Scenarios
    settings: Settings
    diagnosis: Diagnosis
    gradient: Gradient
    answers: Answers

    def finding(self) -> Finding:
        match self.in_the_chain, self.alone:
            case _Standing.UNKNOWN, _:
                return self._could_not_tell()
            case _Standing.NOT_ATTEMPTED, _:
                return self._not_attempted()
            case _Standing.RIGHT, (_Standing.RIGHT | _Standing.NO_NUMBER):
                return self._right()
            case _Standing.RIGHT, _:
                return self._right_in_the_chain_only()
            case _, _Standing.RIGHT:
                return self._right_step()
            case _, _Standing.WRONG:
                return self._wrong_alone(self._named_alone)
            case _:
                return self._wrong_in_the_chain()

    @cached_property
    def in_the_chain(self) -> _Standing:
        chain = self._chain
        if (
            self.answers.unjudged
            or self.answers.evidence.trouble
            or len(chain) < len(self.scenarios.deciding)
            or self._excuse
        ):
            return _Standing.UNKNOWN
        if any(answer.kind == "skipped" for answer in chain):
            return _Standing.NOT_ATTEMPTED
        if all(answer.kind == "missing" for answer in chain) and (
            self.answers.is_untouched(self.gradient)
            or self.answers.failure(self._key("chain"), self.gradient) is None
        ):
            return _Standing.NOT_ATTEMPTED
        if len(self._compared) < len(chain):
            return _Standing.NO_NUMBER
        return _Standing.RIGHT if all(c.right for c in self._compared) else _Standing.WRONG

    @cached_property
    def _excuse(self) -> Note | None:
        """Why an answer that is not there may be none of the student's doing."""
        if any(answer.kind == "late" for answer in self._chain):
            return Note("after_its_check")
        missing = any(answer.kind == "missing" for answer in self._chain)
        if missing and self.alone is not _Standing.RIGHT:
            return self.answers.lacking(self._key("chain"), self.gradient)
        return None

    @cached_property
    def alone(self) -> _Standing:
        if not self._alone:
            return _Standing.NO_NUMBER
        return _Standing.RIGHT if all(c.right for c, _ in self._alone) else _Standing.WRONG

    @cached_property
    def _chain(self) -> list[Answer]:
        """The answers in the chain, one a deciding run; fewer where a run did not come to its test."""
        keys = (f"{name}/chain" for name in self.scenarios.deciding)
        found = (self.answers.get(key, self.gradient) for key in keys)
        return [answer for answer in found if answer is not None]

    @cached_property
    def _compared(self) -> list[Comparison]:
        """Of those answers, the numbers against what is wanted; fewer where one is no number."""
        return [
            compare(answer.tensor, target.want, target.scale, target.tolerance, target.free)
            for name, answer in zip(self.scenarios.deciding, self._chain, strict=True)
            for target in (self.scenarios.references[name].targets[self.gradient.variable],)
            if answer.tensor is not None
        ]

    @cached_property
    def _alone(self) -> list[tuple[Comparison, Sighting]]:
        """The numbers of the runs alone against what the step gives at their upstream gradients; none
        unless every deciding run gave some.
        """
        return self._alone_of(self._step_alone) if self.gradient.step else []

    @cached_property
    def _step_alone(self) -> str:
        """The step that is looked at alone: one on the way here that is wrong by itself, else this one."""
        for step in self.scenarios.answers_for(self.gradient.step):
            if any(not comparison.right for comparison, _ in self._alone_of(step)):
                return step
        return self.gradient.step

    def _alone_of(self, step: str) -> list[tuple[Comparison, Sighting]]:
        found: list[tuple[Comparison, Sighting]] = []
        variable = self.scenarios.on_the_way.get(step, self.gradient.variable)
        gradient = replace(self.gradient, variable=variable)
        for name in self.scenarios.deciding:
            run = self.answers.evidence.runs.get(f"{name}/alone")
            answer = self.answers.get(f"{name}/alone", gradient)
            if run is None or answer is None or answer.tensor is None:
                return []
            reference = self.scenarios.references[name]
            on_the_way = self.scenarios.on_the_way.items()
            exchanged = frozenset(reference.exchanged) - {
                other for other, made in on_the_way if made not in run.answers
            }
            draws = self._by_draw(answer.tensor.double(), len(reference.points))
            if not draws:
                return []
            for point, want, got in zip(
                reference.alone(exchanged),
                reference.wanted_alone(step, exchanged),
                draws,
                strict=True,
            ):
                compared = compare(got, want.want, want.scale, free=want.free)
                found.append((compared, Sighting(point, want, got)))
        return found

    def _by_draw(self, got: Tensor, draws: int) -> list[Tensor]:
        """The answers at each draw; none where they are not stacked as they should be."""
        if not self.scenarios.exercise.stacked:
            return [got]
        return list(got) if got.dim() > 0 and got.shape[0] == draws else []

    @cached_property
    def _named_alone(self) -> tuple[Note, ...]:
        """The mistake by name; where the cell stopped with an error, that: the value is but half made."""
        stopped = self.answers.why_no_number(self._key("alone"), self._chain[0], self.gradient)
        seen = [sighting for _, sighting in self._alone]
        return stopped or self.diagnosis(self._step_alone, seen, [*self._elsewhere()])

    def _elsewhere(self) -> Iterator[Sighting]:
        """The answers at other sizes, where all is there that they could be made from."""
        step, exercise = self.gradient.step, self.scenarios.exercise
        if exercise.stacked or step != self._step_alone:
            return
        above = {consumer.name for consumer in exercise.graph.consumers[step]}
        for scenario in self.scenarios.others:
            key = f"{scenario.name}/chain"
            answer = self.answers.get(key, self.gradient)
            if answer is None or answer.tensor is None:
                continue
            (point,) = self.scenarios.references[scenario.name].points
            own = self._own_gradients(key, point)
            if above & point.upstream.keys() <= own.keys():
                at = point.with_upstream({**point.upstream, **own})
                yield Sighting(at, wanted(exercise, step, at), answer.tensor.double())

    def _own_gradients(self, key: str, point: Point) -> dict[str, Tensor]:
        """By step, the gradients that the student has in a run, as far as they have their shape."""
        found = {}
        for step in self.scenarios.exercise.gradients:
            answer = self.answers.get(key, self._sibling(step))
            if answer is not None and answer.tensor is not None:
                own = shaped(answer.tensor, point.upstream[step])
                if own is not None:
                    found[step] = own
        return found

    def _could_not_tell(self) -> Finding:
        why = self.answers.evidence.trouble or Note("not_reached")
        note = self.answers.unjudged or self._excuse or Note("trouble", {"why": why})
        return self.gradient.finding(Verdict.COULD_NOT_TELL, None, diagnoses=(note,))

    def _not_attempted(self) -> Finding:
        skipped = any(answer.kind == "skipped" for answer in self._chain)
        return self.gradient.finding(
            Verdict.NOT_ATTEMPTED, 0.0, remarks=(Note("skipped"),) * skipped
        )

    def _right(self, *more: Note) -> Finding:
        remarks = []
        if any(c.shape == "flat" for c in self._compared):
            remarks.append(_flat(self._shapes_in_the_chain()))
        if self.answers.changed_later(self._key("chain"), self.gradient):
            remarks.append(Note("aliased"))
        remarks += self._other_sizes()
        error = max(c.error for c in self._compared)
        return self.gradient.finding(Verdict.RIGHT, 1.0, error, remarks=(*remarks, *more))

    def _right_in_the_chain_only(self) -> Finding:
        """A short cut that takes no notice of its input; or a mistake that the chain cannot show."""
        chain = self.scenarios.first.chain[self.gradient.step]
        if chain.undetectable:
            if chain.vanishes and all(_is_zero(answer) for answer in self._chain):
                return self._right(Note("exact_zero"))
            named = any(note.code in _NAMED_WHEN_UNDETECTABLE for note in self._named_alone)
            if named or self._answers_to_each_upstream():
                return self._wrong_alone(self._named_alone)
        # In a function of their own people choose their steps; nobody leaps over what is not there.
        leapt = not self.scenarios.exercise.functions and self._has_upstream
        return self._right(*[Note("jumped")] * leapt)

    @property
    def _has_upstream(self) -> bool:
        """Whether there is an answer to every gradient that this one could be made from."""
        consumers = self.scenarios.exercise.graph.consumers[self.gradient.step]
        above = (self._sibling(consumer.name) for consumer in consumers)
        answers = (self.answers.get(self._key("chain"), one) for one in above if one.variable)
        return all(answer is not None and answer.tensor is not None for answer in answers)

    def _right_step(self) -> Finding:
        error = max(comparison.error for comparison, _ in self._alone)
        flat = [sighting for comparison, sighting in self._alone if comparison.shape == "flat"]
        remarks = [Note("follow_through")]
        if flat:
            remarks.append(_flat(_shapes(flat[0].got, flat[0].wanted.want)))
        share = self.settings.right_step_share
        return self.gradient.finding(Verdict.RIGHT_STEP, share, error, remarks=tuple(remarks))

    def _wrong_alone(self, named: tuple[Note, ...]) -> Finding:
        worst, seen = max(self._alone, key=lambda one: one[0].error)
        if all(_is_unspread(comparison) for comparison, _ in self._alone):
            return self._unspread(worst.error, _shapes(seen.got, seen.wanted.want))
        want = seen.wanted.want
        axes = self.scenarios.exercise.axes_of(self._step_alone, want.dim())
        picture = residual(seen.got, want, seen.wanted.scale, axes)
        above = self.scenarios.on_the_way.get(self._step_alone)
        remarks = (Note("slip_above", {"name": above}),) if above else ()
        return replace(self._wrong(worst.error, named), picture=picture, remarks=remarks)

    def _wrong_in_the_chain(self) -> Finding:
        """A wrong answer of which there are only the chain's numbers, or not even all of those."""
        by_itself = bool(self.gradient.step) and not self.scenarios.exercise.stacked
        reasons = self.answers.why_no_number(
            self._key("alone" if by_itself else "chain"), self._chain[0], self.gradient
        )
        if self.in_the_chain is _Standing.NO_NUMBER:
            return self._wrong(None, reasons)
        error = max(c.error for c in self._compared)
        if all(_is_unspread(c) for c in self._compared):
            return self._unspread(error, self._shapes_in_the_chain())
        sightings = [] if by_itself else self._sightings_in_the_chain()
        if not sightings:
            return replace(self._wrong(error, reasons), remarks=self._waits_for())
        worst = max(range(len(self._compared)), key=lambda at: self._compared[at].error)
        reference = self.scenarios.references[self.scenarios.deciding[worst]]
        target, got = reference.targets[self.gradient.variable], self._chain[worst].tensor
        assert got is not None  # it was compared
        exercise = self.scenarios.exercise
        axes = exercise.axes_of(self.gradient.step, target.want.dim() - exercise.stacked)
        axes = (*["draw"] * exercise.stacked, *axes)
        picture = residual(got.double(), target.want, target.scale, axes)
        wrong = self._wrong(error, reasons or self.diagnosis(self.gradient.step, sightings))
        return replace(wrong, picture=picture)

    def _waits_for(self) -> tuple[Note, ...]:
        """Of what follows from the gradients: which of those are wrong."""
        name = self.scenarios.deciding[0]
        wrong = [
            other.variable
            for other in map(self._sibling, self.scenarios.exercise.gradients)
            if not (self.gradient.step or self._also_right(self._key("chain"), name, other))
        ]
        return (Note("waits_for", {"names": ", ".join(wrong)}),) if wrong else ()

    def _sightings_in_the_chain(self) -> list[Sighting]:
        """Every draw of every deciding run, at the true upstream gradients."""
        exercise, found = self.scenarios.exercise, list[Sighting]()
        if not self.gradient.step:
            return []
        for name, answer in zip(self.scenarios.deciding, self._chain, strict=True):
            points = self.scenarios.references[name].points
            assert answer.tensor is not None  # all were compared
            draws = self._by_draw(answer.tensor.double(), len(points))
            if not draws:
                return []
            for point, one in zip(points, draws, strict=True):
                at = wanted(exercise, self.gradient.step, point)
                found.append(Sighting(point, at, one))
        return found

    def _other_sizes(self) -> list[Note]:
        """A remark for each run with other sizes that this answer, and none above it, is wrong in."""
        notes = []
        for scenario in self.scenarios.others:
            key = f"{scenario.name}/chain"
            wrong = not self._also_right(key, scenario.name, self.gradient)
            if wrong and not any(
                step.name == other.step and not self._also_right(key, scenario.name, other)
                for step in self.scenarios.exercise.graph.consumers.get(self.gradient.step, ())
                for other in (self._sibling(step.name),)
            ):
                sizes = ", ".join(f"{k} {v}" for k, v in scenario.parameters.items())
                if self.answers.counts_classes(self.gradient):
                    notes.append(Note("classes_counted"))
                elif self.answers.has_a_size(self.gradient):
                    notes.append(Note("one_batch_size", {"sizes": sizes}))
        return notes

    def _sibling(self, step: str) -> Gradient:
        """The gradient of another step of the same notebook; of no step where it is not asked for."""
        variables = {name: variable for variable, name in self.scenarios.steps.items() if name}
        known = step in variables
        return replace(self.gradient, step=step if known else "", variable=variables.get(step, ""))

    def _also_right(self, key: str, scenario: str, gradient: Gradient) -> bool:
        answer = self.answers.get(key, gradient)
        if answer is None:
            return True  # the run was not made: nothing is remarked
        target = self.scenarios.references[scenario].targets[gradient.variable]
        if answer.tensor is None:
            return False
        return compare(
            answer.tensor, target.want, target.scale, target.tolerance, target.free
        ).right

    def _answers_to_each_upstream(self) -> bool:
        """Whether the answer changes with each of its upstream gradients: a computation of this step."""
        before = self.answers.get(self._key("alone"), self.gradient)
        consumers = self.scenarios.exercise.graph.consumers[self.gradient.step]
        for consumer in consumers:
            after = self.answers.get(self._key(f"alone/{consumer.name}"), self.gradient)
            if before is None or after is None or before.tensor is None or after.tensor is None:
                return False
            if torch.equal(before.tensor, after.tensor):
                return False
        return bool(consumers)

    def _key(self, run: str) -> str:
        return f"{self.scenarios.deciding[0]}/{run}"

    def _shapes_in_the_chain(self) -> dict[str, str]:
        got, want = self._chain[0].tensor, self.scenarios.first.targets[self.gradient.variable].want
        assert got is not None  # it was compared
        stacked = self.scenarios.exercise.stacked and got.dim() > 0
        return _shapes(got[0], want[0]) if stacked else _shapes(got, want)

    def _unspread(self, error: float, shapes: dict[str, str]) -> Finding:
        share, note = self.settings.unspread_share, Note("unspread", shapes)
        return self.gradient.finding(Verdict.WRONG, share, error, diagnoses=(note,))

    def _wrong(self, error: float | None, diagnoses: tuple[Note, ...]) -> Finding:
        finite = error if error is not None and error < float("inf") else None
        return self.gradient.finding(Verdict.WRONG, 0.0, finite, diagnoses=diagnoses)


def _is_zero(answer: Answer) -> bool:
    return answer.tensor is not None and not answer.tensor.any()


def _is_unspread(comparison: Comparison) -> bool:
    """Whether the value is right, but not there for every entry along an axis."""
    return comparison.value_right and comparison.shape != "other"


def _flat(shapes: Mapping[str, str]) -> Note:
    """The remark on an answer that has axes of size 1 too few, or too many."""
    fewer = shapes["got"].count(",") < shapes["want"].count(",") or shapes["got"].endswith(",)")
    return Note("flat_shape" if fewer else "kept_axis", shapes)


def _shapes(got: Tensor, want: Tensor) -> dict[str, str]:
    return {"got": _size(got.shape), "want": _size(want.shape)}


def _size(shape: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
