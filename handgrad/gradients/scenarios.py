"""The hidden runs of one notebook: what is right in each, and the plan by which a sandbox makes them."""

import hashlib
from collections.abc import Mapping
from functools import cached_property

from torch import Tensor

from handgrad.gradients.exercise import Exercise, Files, Scenario
from handgrad.gradients.reference import Reference
from handgrad.plan import PUBLIC, Plan, Run


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
        self.references: Mapping[str, Reference] = {
            scenario.name: Reference(
                exercise,
                {**scenario.parameters, "seed": seed_for(secret, notebook, scenario.name)},
                files,
                seed_for(secret, notebook, scenario.name, "alone"),
            )
            for scenario in exercise.scenarios
        }
        self.deciding: tuple[str, ...] = tuple(s.name for s in exercise.scenarios if s.decides)
        self.others: tuple[Scenario, ...] = tuple(s for s in exercise.scenarios if not s.decides)

    @property
    def first(self) -> Reference:
        """The reference of the first run that decides."""
        return self.references[self.deciding[0]]

    @property
    def alone(self) -> bool:
        """Whether steps are also run with random upstream gradients, each by itself."""
        return not self.exercise.stacked

    @cached_property
    def steps(self) -> Mapping[str, str]:
        """Every variable that the notebook asks for; by it, the step it is the gradient of, or ""."""
        gradients = {f"d{name}": name for name in self.exercise.gradients}
        return {variable: gradients.get(variable, "") for variable in self.first.targets}

    def plan(self, takes: Mapping[str, tuple[str, ...]]) -> Plan:
        """The runs that judging needs, and the public one; `takes` names variables by test cell."""
        short = {name: self.exercise.public[name] for name in self.exercise.shortened}
        runs = [Run(PUBLIC, short, display=True)]
        for name, reference in self.references.items():
            varied = self._varied(name)
            runs.append(Run(f"{name}/chain", varied))
            if self.alone and name in self.deciding:
                runs.append(self._alone_run(f"{name}/alone", varied, reference.replacements))
        if self.alone:
            first = self.deciding[0]
            for upstream in self._redrawn():
                key, replaced = f"{first}/alone/{upstream}", self.first.redrawn(upstream)
                runs.append(self._alone_run(key, self._varied(first), replaced))
        return Plan(self.notebook, tuple(runs), takes)

    def _varied(self, name: str) -> dict[str, int | float]:
        scenario = next(s for s in self.exercise.scenarios if s.name == name)
        varied = {"seed", *scenario.parameters, *self.exercise.shortened}
        return {k: v for k, v in self.references[name].parameters.items() if k in varied}

    def _alone_run(
        self, key: str, parameters: Mapping[str, int | float], replacements: Mapping[str, Tensor]
    ) -> Run:
        graph = self.exercise.graph
        given = [*graph.leaves, *(step.name for step in graph.steps)]
        constants = list(vars(self.first.draws[0].constants))
        replace = {f"d{name}": tensor for name, tensor in replacements.items()}
        return Run(key, parameters, replace, (*given, *constants, *self.exercise.public))

    def _redrawn(self) -> list[str]:
        """The upstream gradients, by step, of all gradients that are undetectable in the chain."""
        hidden = [n for n in self.exercise.gradients if self.first.chain[n].undetectable]
        consumers = {c.name for name in hidden for c in self.exercise.graph.consumers[name]}
        return [name for name in self.exercise.gradients if name in consumers]
