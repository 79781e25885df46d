"""What a notebook is run with: the runs, their parameters, and what is taken from each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

PUBLIC = "public"
"""The key of the run on the notebook's own parameters: the one whose outputs people see."""

LOOK = "first look"
"""In the place of a notebook's name: the first run of one that is to be run in its own order."""

CellKind = Literal["given", "answer", "test", "other"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One code cell as the sandbox runs it.

    `given` and `test` cells carry the release's text (they were restored from it); `answer` is a
    solution cell of the assignment; `other` is a cell that the student added.
    `untouched` is an answer cell that is still as it was released: it binds a name only where nothing
    above has given it a value. `keeps` is a cell of a notebook that is run in its own order: what it
    makes of given tensors stays.
    """

    index: int  # position among all cells of the notebook, markdown included
    grade_id: str  # "" where there is none
    kind: CellKind
    source: str
    parameters: bool = False  # the cell tagged `parameters`
    untouched: bool = False
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a notebook from top to bottom in a fresh namespace.

    `parameters` are assigned right after the cell tagged `parameters` has run.
    `replace` holds, by variable name, the tensor put in the variable's place behind the statement that
    gave it the value which its test cell takes, or at the test cell, whatever the student computed: the
    random upstream gradients of the run "alone". Where a function is called at several draws, their
    tensors are stacked, and variables of the function that no test cell takes may be among them.
    `restore` names given tensors and numbers; they, and the replaced variables, are put back to pristine
    copies after each cell that is not given, as some notebooks change them.
    `display` keeps outputs for people to look at; other runs keep none.
    `own` is a run on numbers drawn for this hand-in: the sandbox is told it with the cells.
    """

    key: str
    parameters: Mapping[str, int | float] = field(default_factory=dict)
    replace: Mapping[str, Tensor] = field(default_factory=dict)
    restore: tuple[str, ...] = ()
    display: bool = False
    own: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """All runs of one notebook; `takes` maps a test cell's grade id to the variables taken there."""

    notebook: str
    runs: tuple[Run, ...]
    takes: Mapping[str, tuple[str, ...]]
