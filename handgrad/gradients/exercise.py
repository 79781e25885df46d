"""What an assignment declares about one notebook: its graph, its inputs, and what a hidden run varies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

from torch import Tensor

from handgrad.gradients.steps import Graph, Values

Parameters = Mapping[str, int | float]
Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Draw:
    """The inputs of one forward pass, as the notebook's given cells draw them.

    `leaves` are float tensors by name; `constants` is what the steps read besides (n, eps, indices).
    """

    leaves: Mapping[str, Tensor]
    constants: SimpleNamespace


@dataclass(frozen=True, slots=True)
class Scenario:
    """A hidden run: the notebook with a fresh seed, and with `parameters` in place of its own.

    Only a scenario that `decides` can make an answer wrong; another one earns a remark. `holds` is what
    must be true of what is drawn, in names of the given cells, lest a verdict hang on the seed.
    """

    name: str
    parameters: Parameters = field(default_factory=dict)
    decides: bool = True
    holds: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """What a variable should be: `want` in float64, and the `scale` and `tolerance` of its error.

    `free` are the entries at which anything is right.
    """

    want: Tensor
    scale: float
    tolerance: float
    free: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Mistake:
    """A known wrong answer: `rule(values, upstream, constants)` predicts what it gives for `d<step>`.

    `values` holds the forward values and `upstream` the gradients by forward name ("logits"), float64.
    `name` and `question` are by language; a question asks and does not hand over the line.
    """

    step: str
    name: Mapping[str, str]
    rule: Callable[[Values, Values, SimpleNamespace], Tensor]
    question: Mapping[str, str]


def nothing_more(_parameters: Parameters, _files: Files) -> Mapping[str, Target]:
    """An exercise that asks for gradients only."""
    return {}


def always(_parameters: Parameters, _condition: str) -> bool:
    """An exercise whose draws are taken as they come."""
    return True


@dataclass(frozen=True)
class Exercise:
    """One notebook of an assignment.

    `gradients` are the forward names asked for, in the notebook's order. `draw(parameters, files)`
    repeats the notebook's given cells: one Draw, or several where the notebook stacks the gradients of
    several draws (`stacked`, answers then have a leading axis). `public` are the notebook's own
    parameters. `more` gives targets for variables that are not gradients. `axes` names the axes of a
    value for people ("example", "character"); a stacked answer has one axis more in front. `shortened`
    are parameters whose value in `public` is not the notebook's but that of hidden runs, so that these
    are short. `functions` is whether students write functions, in which they choose their own steps.
    `either` says of a value, in names of the forward pass, at which entries any gradient is right.
    `holds(parameters, condition)` is whether a condition is true before the forward pass.
    """

    graph: Graph
    gradients: tuple[str, ...]
    draw: Callable[[Parameters, Files], list[Draw]]
    public: Parameters
    scenarios: tuple[Scenario, ...]
    stacked: bool = False
    functions: bool = False
    either: Mapping[str, str] = field(default_factory=dict)
    more: Callable[[Parameters, Files], Mapping[str, Target]] = nothing_more
    mistakes: tuple[Mistake, ...] = ()
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shortened: tuple[str, ...] = ()
    holds: Callable[[Parameters, str], bool] = always

    def axes_of(self, name: str, count: int) -> tuple[str, ...]:
        """What people call the axes of a value that has so many."""
        return (*self.axes.get(name, ()), *(f"axis {axis}" for axis in range(count)))[:count]
