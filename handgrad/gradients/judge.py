"""The verdict on every answer of one notebook, from its runs in the chain and alone.

A manual backward pass is a chain, so one slip makes every later number wrong. Each step is
therefore judged twice: as the notebook runs, and with random upstream gradients put in the place of
the student's own, so that it stands by itself. Right alone and wrong in the chain is a right step
with a wrong input.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from handgrad.evidence import Answer, Evidence
from handgrad.gradients.answersheet import AnswerSheet
from handgrad.gradients.compare import Comparison, compare, largest
from handgrad.gradients.diagnose import Diagnosis, Sighting
from handgrad.gradients.exercise import Exercise, Files, Scenario
from handgrad.gradients.reference import Point, Reference, Wanted, wanted
from handgrad.gradients.residual import residual
from handgrad.plan import Cell, Plan, Run
from handgrad.settings import Settings
from handgrad.verdict import ErrorPicture, Note, Verdict

PUBLIC = "public"
"""The key of the run on the notebook's own parameters: the one whose outputs people see."""

_NAMED_WHEN_INVISIBLE = ("missing_branch", "sign", "sign_branch", "constant", "assignment")


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said of one variable; `share` of its points, None where nobody could tell."""

    verdict: Verdict
    share: float | None
    error: float | None = None
    remarks: tuple[Note, ...] = ()
    diagnoses: tuple[Note, ...] = ()
    picture: ErrorPicture | None = None


def seed_for(secret: str, *what: str) -> int:
    """A seed in [0, 2**31) that only the holder of the secret can foretell."""
    text = "\n".join((secret, *what)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big") % 2**31


class Judge:
    """Judges one notebook of an assignment; references are computed once, for all students."""

    def __init__(
        self, notebook: str, exercise: Exercise, files: Files, settings: Settings, secret: str
    ) -> None:
        self.notebook = notebook
        self.exercise = exercise
        self._settings = settings
        self._diagnosis = Diagnosis(exercise, settings.language)
        self._references = {
            scenario.name: Reference(
                exercise,
                {**scenario.parameters, "seed": seed_for(secret, notebook, scenario.name)},
                files,
                seed_for(secret, notebook, scenario.name, "alone"),
            )
            for scenario in exercise.scenarios
        }
        self._deciding = [s.name for s in exercise.scenarios if s.decides]
        self._others = [s for s in exercise.scenarios if not s.decides]
        self._by_itself = len(exercise.gradients) > 1 and not exercise.stacked

    @property
    def _first(self) -> Reference:
        return self._references[self._deciding[0]]

    @property
    def variables(self) -> tuple[str, ...]:
        """Every variable that this notebook asks for."""
        return tuple(self._first.targets)

    def plan(self, takes: Mapping[str, tuple[str, ...]]) -> Plan:
        """The runs that `judge` needs, and the one to look at."""
        short = {name: self.exercise.public[name] for name in self.exercise.shortened}
        runs = [Run(PUBLIC, short, display=True)]
        for name, reference in self._references.items():
            parameters = {k: v for k, v in reference.parameters.items() if k in self._varied(name)}
            runs.append(Run(f"{name}/chain", parameters))
            if self._by_itself and name in self._deciding:
                runs.append(self._alone_run(f"{name}/alone", parameters, reference.replacements))
        if self._by_itself:
            first = self._deciding[0]
            varied = runs[1].parameters
            for upstream in self._redrawn():
                replacements = self._first.redrawn(upstream)
                key = f"{first}/alone/{upstream}"
                runs.append(self._alone_run(key, varied, replacements))
        return Plan(self.notebook, tuple(runs), takes)

    def _varied(self, scenario: str) -> set[str]:
        found = next(s for s in self.exercise.scenarios if s.name == scenario)
        return {"seed", *found.parameters, *self.exercise.shortened}

    def _alone_run(
        self, key: str, parameters: Mapping[str, int | float], replacements: Mapping[str, Tensor]
    ) -> Run:
        graph = self.exercise.graph
        given = [*graph.leaves, *(step.name for step in graph.steps)]
        constants = list(vars(self._first.draws[0].constants))
        return Run(
            key,
            parameters,
            {"d" + name: tensor for name, tensor in replacements.items()},
            (*given, *constants),
        )

    def _redrawn(self) -> list[str]:
        """The upstream gradients, by forward name, of all steps that the chain cannot fully see."""
        blind = [name for name in self.exercise.gradients if self._first.chain[name].blind]
        consumers = {c.name for name in blind for c in self.exercise.graph.consumers[name]}
        return [name for name in self.exercise.gradients if name in consumers]

    def judge(
        self, evidence: Evidence, cells: Sequence[Cell], untouched: Iterable[str]
    ) -> dict[str, Judged]:
        """A verdict for every variable. `untouched`: grade ids of answers that are the release's."""
        hand = AnswerSheet(evidence, cells, frozenset(untouched))
        return {variable: self._judge_one(variable, hand) for variable in self.variables}

    def _judge_one(self, variable: str, hand: AnswerSheet) -> Judged:
        chain = [hand.answer(f"{name}/chain", variable) for name in self._deciding]
        if hand.evidence.trouble or any(answer is None for answer in chain):
            trouble = hand.evidence.trouble or "a hidden run did not reach its test cell"
            return Judged(
                Verdict.COULD_NOT_TELL, None, diagnoses=(Note("trouble", {"why": trouble}),)
            )
        answers = [answer for answer in chain if answer is not None]
        if any(answer.kind == "skipped" for answer in answers):
            return Judged(Verdict.NOT_ATTEMPTED, 0.0, remarks=(Note("skipped"),))
        if all(answer.kind == "missing" for answer in answers) and (
            hand.untouched_answer(variable)
            or hand.failure(f"{self._deciding[0]}/chain", variable) is None
        ):
            return Judged(Verdict.NOT_ATTEMPTED, 0.0)

        targets = [self._references[name].targets[variable] for name in self._deciding]
        compared = [
            None if a.tensor is None else compare(a.tensor, t.want, t.scale, t.tolerance)
            for a, t in zip(answers, targets, strict=True)
        ]
        right = all(c is not None and c.right for c in compared)
        name = variable.removeprefix("d")
        if not self._by_itself or name not in self.exercise.gradients:
            return self._chain_only(variable, hand, answers, compared, right)
        if right:
            return self._right_in_the_chain(name, hand, answers, compared)
        return self._wrong_in_the_chain(name, hand, answers, compared)

    def _chain_only(
        self,
        variable: str,
        hand: AnswerSheet,
        answers: Sequence[Answer],
        compared: Sequence[Comparison | None],
        right: bool,
    ) -> Judged:
        if right:
            return self._right(variable, hand, answers, compared)
        name = variable.removeprefix("d")
        asked = name in self.exercise.gradients
        sightings = self._chain_sightings(name, answers) if asked else []
        key = f"{self._deciding[0]}/chain"
        return self._wrong(variable, hand, key, answers, compared, sightings)

    def _chain_sightings(self, name: str, answers: Sequence[Answer]) -> list[Sighting]:
        """Every draw of every deciding run, at the true upstream gradients."""
        found = []
        for scenario, answer in zip(self._deciding, answers, strict=True):
            points = self._references[scenario].points
            if answer.tensor is None:
                return []
            got = answer.tensor.double()
            if not self.exercise.stacked:
                got = got.unsqueeze(0)
            elif got.dim() == 0 or got.shape[0] != len(points):
                return []
            for point, one in zip(points, got, strict=True):
                found.append(
                    Sighting(point, wanted(self.exercise.graph, name, point, point.upstream), one)
                )
        return found

    def _right_in_the_chain(
        self,
        name: str,
        hand: AnswerSheet,
        answers: Sequence[Answer],
        compared: Sequence[Comparison | None],
    ) -> Judged:
        alone = [self._alone(scenario, name, hand) for scenario in self._deciding]
        verdict = self._right("d" + name, hand, answers, compared)
        if any(one is None for one in alone):
            return verdict  # the chain's word stands where the run alone gave no number
        seen = [one for one in alone if one is not None]
        if all(one.right for one in seen):
            return verdict
        chain = self._first.chain[name]
        if chain.blind:
            invisible = largest(chain.want) / chain.scale <= seen[0].comparison.tolerance
            if invisible and all(a.tensor is not None and not a.tensor.any() for a in answers):
                return _with_remark(verdict, Note("exact_zero"))
            notes = self._diagnosis(name, [one.sighting for one in seen])
            named = any(note.code in _NAMED_WHEN_INVISIBLE for note in notes)
            if named or self._answers_to_each_upstream(name, hand):
                return self._wrong_alone(name, hand, seen, notes)
        return _with_remark(verdict, Note("jumped"))

    def _wrong_in_the_chain(
        self,
        name: str,
        hand: AnswerSheet,
        answers: Sequence[Answer],
        compared: Sequence[Comparison | None],
    ) -> Judged:
        alone = [self._alone(scenario, name, hand) for scenario in self._deciding]
        if all(one is not None and one.right for one in alone):
            error = max(one.comparison.error for one in alone if one is not None)
            remarks = (Note("follow_through"), *self._shape_remarks(name, alone))
            return Judged(
                Verdict.RIGHT_STEP, self._settings.right_step_share, error, remarks=remarks
            )
        seen = [one for one in alone if one is not None]
        if len(seen) == len(alone):
            return self._wrong_alone(
                name, hand, seen, self._diagnosis(name, [one.sighting for one in seen])
            )
        key = f"{self._deciding[0]}/alone"
        return self._wrong("d" + name, hand, key, answers, compared, [])

    def _wrong_alone(
        self, name: str, hand: AnswerSheet, seen: Sequence["_Alone"], notes: tuple[Note, ...]
    ) -> Judged:
        unspread = all(
            one.comparison.value_right and one.comparison.shape != "other" for one in seen
        )
        first = max(seen, key=lambda one: one.comparison.error)
        right = first.sighting.wanted
        drawn = residual(first.sighting.got, right.want, right.scale)
        if unspread:
            return Judged(
                Verdict.WRONG,
                self._settings.unspread_share,
                first.comparison.error,
                diagnoses=(Note("unspread", _shapes(first.sighting)),),
            )
        error = first.comparison.error
        return Judged(Verdict.WRONG, 0.0, _finite(error), diagnoses=notes, picture=drawn)

    def _right(
        self,
        variable: str,
        hand: AnswerSheet,
        answers: Sequence[Answer],
        compared: Sequence[Comparison | None],
    ) -> Judged:
        remarks = []
        seen = [c for c in compared if c is not None]
        if any(c.shape == "flat" for c in seen):
            want = self._first.targets[variable].want
            got = answers[0].tensor
            assert got is not None  # a comparison was made of it
            remarks.append(Note("flat_shape", {"got": _size(got.shape), "want": _size(want.shape)}))
        if variable in hand.changed(f"{self._deciding[0]}/chain"):
            remarks.append(Note("aliased"))
        for scenario in self._others:
            if self._also_right(scenario, variable, hand):
                continue
            # Of a step below one that has the number, nothing is said: it only got what that one gave.
            later = self.exercise.graph.consumers.get(variable.removeprefix("d"), ())
            inherits = any(
                "d" + step.name in self.variables
                and not self._also_right(scenario, "d" + step.name, hand)
                for step in later
            )
            if not inherits:
                sizes = ", ".join(f"{k} {v}" for k, v in scenario.parameters.items())
                remarks.append(Note("one_batch_size", {"sizes": sizes}))
        error = max(c.error for c in seen)
        return Judged(Verdict.RIGHT, 1.0, error, remarks=tuple(remarks))

    def _also_right(self, scenario: Scenario, variable: str, hand: AnswerSheet) -> bool:
        answer = hand.answer(f"{scenario.name}/chain", variable)
        if answer is None:
            return True  # the run was not made: nothing is remarked
        target = self._references[scenario.name].targets[variable]
        if answer.tensor is None:
            return False
        return compare(answer.tensor, target.want, target.scale, target.tolerance).right

    def _wrong(
        self,
        variable: str,
        hand: AnswerSheet,
        key: str,
        answers: Sequence[Answer],
        compared: Sequence[Comparison | None],
        sightings: Sequence[Sighting],
    ) -> Judged:
        """A wrong answer of which there are only the chain's numbers, or not even all of those."""
        seen = [c for c in compared if c is not None]
        complete = len(seen) == len(compared)
        if complete and all(c.value_right and c.shape != "other" for c in seen):
            shapes = {
                "got": _size(answers[0].tensor.shape) if answers[0].tensor is not None else "",
                "want": _size(self._first.targets[variable].want.shape),
            }
            return Judged(
                Verdict.WRONG,
                self._settings.unspread_share,
                max(c.error for c in seen),
                diagnoses=(Note("unspread", shapes),),
            )
        error = _finite(max(c.error for c in seen)) if complete else None
        if sightings:
            name = variable.removeprefix("d")
            worst = max(range(len(seen)), key=lambda i: seen[i].error)
            target = self._references[self._deciding[worst]].targets[variable]
            got = answers[worst].tensor
            drawn = None if got is None else residual(got.double(), target.want, target.scale)
            return Judged(
                Verdict.WRONG, 0.0, error, diagnoses=self._diagnosis(name, sightings), picture=drawn
            )
        reason = hand.why_no_number(key, variable, answers)
        return Judged(Verdict.WRONG, 0.0, error, diagnoses=reason)

    def _alone(self, scenario: str, name: str, hand: AnswerSheet) -> "_Alone | None":
        key = f"{scenario}/alone"
        answer = hand.answer(key, "d" + name)
        if answer is None or answer.tensor is None:
            return None
        reference = self._references[scenario]
        return _Alone.at(reference.alone, reference.steps_alone[name], answer.tensor)

    def _answers_to_each_upstream(self, name: str, hand: AnswerSheet) -> bool:
        """Whether the answer changes with each of its upstream gradients: a local computation."""
        first = self._deciding[0]
        before = hand.answer(f"{first}/alone", "d" + name)
        consumers = [c.name for c in self.exercise.graph.consumers[name]]
        for consumer in consumers:
            after = hand.answer(f"{first}/alone/{consumer}", "d" + name)
            if before is None or after is None or before.tensor is None or after.tensor is None:
                return False
            if torch.equal(before.tensor, after.tensor):
                return False
        return bool(consumers)

    def _shape_remarks(self, name: str, alone: Sequence["_Alone | None"]) -> list[Note]:
        flat = [one for one in alone if one is not None and one.comparison.shape == "flat"]
        return [Note("flat_shape", _shapes(flat[0].sighting))] if flat else []


@dataclass(frozen=True, slots=True)
class _Alone:
    """One answer of a run "alone", against what it should be there."""

    comparison: Comparison
    sighting: Sighting

    @classmethod
    def at(cls, point: Point, want: Wanted, got: Tensor) -> "_Alone":
        return cls(compare(got, want.want, want.scale), Sighting(point, want, got.double()))

    @property
    def right(self) -> bool:
        return self.comparison.right


def _with_remark(judged: Judged, remark: Note) -> Judged:
    return Judged(
        judged.verdict, judged.share, judged.error, (*judged.remarks, remark), judged.diagnoses
    )


def _shapes(sighting: Sighting) -> dict[str, str]:
    return {"got": _size(sighting.got.shape), "want": _size(sighting.wanted.want.shape)}


def _size(shape: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def _finite(error: float) -> float | None:
    return error if error < float("inf") else None
