"""The hidden runs of one notebook: what is right in each, and the plan by which a sandbox makes them."""

import hashlib
import hmac
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property

from torch import Tensor

from handgrad.errors import UserError
from handgrad.gradients.exercise import Exercise, Files, Scenario
from handgrad.gradients.reference import Reference
from handgrad.plan import PUBLIC, Cell, Plan, Run

DRAWS = 16
"""How many sets of numbers hand-ins are spread over.

Each costs a grading process about 50 ms, once, and 3 MiB. A set for every hand-in would cost each of them a
seventh more; these cost a class of a hundred 4 %.
"""
_ATTEMPTS = 300  # at draws of which one in three will do


def seed_for(secret: str, *what: str) -> int:
    """A seed in [0, 2**31) that only the holder of the secret can foretell."""
    text = "\n".join((secret, *what)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:4], "big") % 2**31


class Scenarios:
    """The scenarios of one notebook, each with its reference; references are computed on demand."""

    def __init__(self, notebook: str, exercise: Exercise, files: Files, secret: str) -> None:
        """`secret` seeds all that is drawn; `files` are what the given cells read."""
        self.notebook = notebook
        self.exercise = exercise
        self._files = files
        self._secret = secret
        self._drawn: dict[int, Scenarios] = {}
        self.deciding: tuple[str, ...] = tuple(s.name for s in exercise.scenarios if s.decides)
        self.others: tuple[Scenario, ...] = tuple(s for s in exercise.scenarios if not s.decides)
        self.references: Mapping[str, Reference] = {
            scenario.name: self._reference(scenario) for scenario in exercise.scenarios
        }

    def _reference(self, scenario: Scenario, *draw: str) -> Reference:
        seed = self._seed(scenario, *draw)
        noise = seed_for(self._secret, self.notebook, scenario.name, *draw, "alone")
        return Reference(self.exercise, {**scenario.parameters, "seed": seed}, self._files, noise)

    def _seed(self, scenario: Scenario, *draw: str) -> int:
        """The first seed at which holds what must. Raises UserError where there seems to be none."""
        for attempt in range(_ATTEMPTS):
            again = (f"attempt {attempt}",) if attempt else ()
            seed = seed_for(self._secret, self.notebook, scenario.name, *draw, *again)
            drawn = {**self.exercise.public, **scenario.parameters, "seed": seed}
            if not scenario.holds or self.exercise.holds(drawn, scenario.holds):
                return seed
        raise UserError(
            f"{self.notebook}, run {scenario.name}",
            f"`{scenario.holds}` is true in none of {_ATTEMPTS} draws",
            "Change `holds` in assignment.toml.",
        )

    @property
    def own(self) -> str:
        """The scenario whose numbers depend on what was handed in: the last that decides.

        As a right answer is right in all that decide, numbers typed in for the others earn nothing.
        """
        return self.deciding[-1]

    def draw_of(self, cells: Sequence[Cell]) -> int:
        """Which draw this code is graded with, in [0, DRAWS): the same code, the same draw."""
        code = json.dumps([self.notebook, *(cell.source for cell in cells)])
        digest = hmac.digest(self._secret.encode(), code.encode(), "sha256")
        return int.from_bytes(digest[:8], "big") % DRAWS

    def drawn(self, draw: int) -> "Scenarios":
        """These scenarios with the own numbers of that draw; they themselves are draw 0."""
        if draw and draw not in self._drawn:
            made = self._drawn[draw] = copy(self)
            scenario = next(s for s in self.exercise.scenarios if s.name == self.own)
            own = self._reference(scenario, str(draw))
            made.references = {**self.references, self.own: own}
        return self._drawn[draw] if draw else self

    @property
    def first(self) -> Reference:
        """The reference of the first run that decides."""
        return self.references[self.deciding[0]]

    @cached_property
    def steps(self) -> Mapping[str, str]:
        """Every variable that the notebook asks for; by it, the step it is the gradient of, or ""."""
        gradients = {f"d{name}": name for name in self.exercise.gradients}
        return {variable: gradients.get(variable, "") for variable in self.first.targets}

    @cached_property
    def on_the_way(self) -> Mapping[str, str]:
        """By step, the gradients that nobody asks for and that a function makes on its way to those."""
        asked = set(self.exercise.gradients)
        return {name: f"d{name}" for name in self.first.exchanged if name not in asked}

    def answers_for(self, step: str) -> tuple[str, ...]:
        """The steps on the way whose mistakes are laid to the gradient of `step`, first in the way back.

        Each is laid to one gradient only: the nearest that is made from it.
        """
        distances = {name: self._distances(name) for name in self.exercise.gradients}

        def nearest(name: str) -> str:
            return min(distances, key=lambda asked: distances[asked].get(name, math.inf))

        found = (n for n in self.on_the_way if n in distances[step] and nearest(n) == step)
        return tuple(found)

    def _distances(self, step: str) -> dict[str, int]:
        """By step on the way, how many steps above this one it is."""
        found = {step: 0}
        for name, distance in (queue := list(found.items())):
            for consumer in self.exercise.graph.consumers[name]:
                if consumer.name in self.on_the_way and consumer.name not in found:
                    found[consumer.name] = distance + 1
                    queue.append((consumer.name, distance + 1))
        return found

    def plan(self, takes: Mapping[str, tuple[str, ...]]) -> Plan:
        """The runs that judging needs, and the public one; `takes` names variables by test cell."""
        short = {name: self.exercise.public[name] for name in self.exercise.shortened}
        read = tuple(self._read_by_functions())
        runs = [Run(PUBLIC, short, restore=read, display=True)]
        for name, reference in self.references.items():
            varied = self._varied(name)
            runs.append(Run(f"{name}/chain", varied, restore=read, own=name == self.own))
            if name in self.deciding and reference.exchanged:
                runs.append(self._alone_run(name, "", varied | short, reference.replacements))
        if not self.exercise.stacked:
            first = self.deciding[0]
            for upstream in self._redrawn():
                replaced = self.first.redrawn(upstream)
                runs.append(self._alone_run(first, f"/{upstream}", self._varied(first), replaced))
        return Plan(self.notebook, tuple(runs), takes)

    def _read_by_functions(self) -> Iterator[str]:
        """The numbers that given functions read: put back in every run, lest an own cell change them."""
        yield from self.exercise.public
        if self.exercise.stacked:
            constants = vars(self.first.draws[0].constants)
            yield from (name for name, value in constants.items() if isinstance(value, int | float))

    def _varied(self, name: str) -> dict[str, int | float]:
        scenario = next(s for s in self.exercise.scenarios if s.name == name)
        varied = {"seed", *scenario.parameters, *self.exercise.shortened}
        return {k: v for k, v in self.references[name].parameters.items() if k in varied}

    def _alone_run(
        self,
        name: str,
        redrawn: str,
        parameters: Mapping[str, int | float],
        replacements: Mapping[str, Tensor],
    ) -> Run:
        graph = self.exercise.graph
        given = [*graph.leaves, *(step.name for step in graph.steps)]
        constants = list(vars(self.first.draws[0].constants))
        replace = {f"d{name}": tensor for name, tensor in replacements.items()}
        # A function is handed its values: another cell could change the numbers only.
        values = () if self.exercise.stacked else (*given, *constants)
        return Run(
            f"{name}/alone{redrawn}",
            parameters,
            replace,
            (*values, *self._read_by_functions()),
            own=name == self.own,
        )

    def _redrawn(self) -> list[str]:
        """The upstream gradients, by step, of all gradients that are undetectable in the chain."""
        hidden = [n for n in self.exercise.gradients if self.first.chain[n].undetectable]
        consumers = {c.name for name in hidden for c in self.exercise.graph.consumers[name]}
        return [name for name in self.exercise.gradients if name in consumers]
