"""The given cells of a released notebook, run in this process: the one source of what is drawn.

Only the release's own text runs here, the untouched answer cells included; a student's never does.
"""

import ast
import inspect
import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch

from handgrad.assignment.beside import quietly_in
from handgrad.assignment.graph import parsed
from handgrad.errors import UserError
from handgrad.gradients.exercise import Parameters
from handgrad.notebooks.matching import slots_of
from handgrad.notebooks.notebooknode import NotebookNode
from handgrad.plan import CellKind

_RandomStates = tuple[Any, torch.Tensor, Any]
Families = dict[tuple[str, ...], "Family"]
_MAGIC = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class GivenCell:
    """One code cell of the release."""

    name: str  # its grade id
    kind: CellKind
    source: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """What the cells before the parameters leave behind, for all notebooks with the same text there."""

    namespace: dict[str, Any]
    random_states: _RandomStates

    def fresh(self) -> dict[str, Any]:
        """The names, with the cells' own functions bound to this very namespace."""
        names = dict(self.namespace)
        for name, value in self.namespace.items():
            if isinstance(value, FunctionType) and value.__globals__ is self.namespace:
                names[name] = again = FunctionType(
                    value.__code__, names, name, value.__defaults__, value.__closure__
                )
                again.__kwdefaults__ = value.__kwdefaults__
        return names


@dataclass(frozen=True, slots=True)
class Ran:
    """The names behind the cells that were run, and the arguments of each call of the forward function."""

    namespace: Mapping[str, Any]
    calls: tuple[Mapping[str, Any], ...]
    public: Mapping[str, int | float]  # what the cell tagged `parameters` itself binds


class GivenCells:
    """The code cells of one released notebook."""

    def __init__(self, notebook: NotebookNode, file: Path, families: Families) -> None:
        """`file` is where the notebook lies; `families` are kept from one notebook to the next."""
        self.file = file
        self._families = families
        self.cells = tuple(
            GivenCell(
                slot.cell.metadata.get("nbgrader", {}).get("grade_id") or slot.cell_id,
                slot.kind,
                _MAGIC.sub(r"\1pass", slot.cell.source),
                tuple(slot.cell.metadata.get("tags", ())),
            )
            for slot in slots_of(notebook)
            if slot.cell_type == "code"
        )

    def tagged(self, tag: str) -> tuple[GivenCell, ...]:
        return tuple(cell for cell in self.cells if tag in cell.tags)

    @property
    def tests(self) -> tuple[GivenCell, ...]:
        return tuple(cell for cell in self.cells if cell.kind == "test")

    def first(self, *kinds: CellKind) -> int:
        """The position of the first cell of these kinds; behind the last one where there is none."""
        found = (at for at, cell in enumerate(self.cells) if cell.kind in kinds)
        return next(found, len(self.cells))

    @cached_property
    def _at_parameters(self) -> int:
        found = [at for at, cell in enumerate(self.cells) if "parameters" in cell.tags]
        return found[0] if found else len(self.cells)

    @cached_property
    def _codes(self) -> list[CodeType]:
        return [compile(parsed(c.source, c.name), f"<{c.name}>", "exec") for c in self.cells]

    def run(self, parameters: Parameters, until: int, function: str = "") -> Ran:
        """Run the cells before position `until` with these parameters in place of the notebook's own.

        `function` names the forward function, whose calls are kept. Raises UserError where a cell raises.
        """
        calls: list[Mapping[str, Any]] = []
        public: dict[str, int | float] = {}
        with quietly_in(self.file.parent):
            family = self._family()
            namespace = family.fresh()
            with _random_states(family.random_states), torch.enable_grad():
                for at in range(self._at_parameters, until):
                    self._execute(at, namespace)
                    if at == self._at_parameters:
                        public = self._numbers(namespace)
                        namespace.update(parameters)
                    if function and "forward" in self.cells[at].tags:
                        namespace[function] = _kept(namespace[function], calls)
        return Ran(namespace, tuple(calls), public)

    def _numbers(self, namespace: Mapping[str, Any]) -> dict[str, int | float]:
        """What the cell tagged `parameters` has just bound."""
        cell = self.cells[self._at_parameters]
        names = [n.id for n in ast.walk(parsed(cell.source, cell.name)) if isinstance(n, ast.Name)]
        return {n: namespace[n] for n in names if type(namespace.get(n)) in (int, float)}

    def _family(self) -> Family:
        key = tuple(cell.source for cell in self.cells[: self._at_parameters])
        if key not in self._families:
            namespace: dict[str, Any] = {"__name__": "__main__"}
            with _random_states(_states()):
                for at in range(self._at_parameters):
                    self._execute(at, namespace)
                states = _states()
            self._families[key] = Family(namespace, states)
        return self._families[key]

    def _execute(self, at: int, namespace: dict[str, Any]) -> None:
        try:
            exec(self._codes[at], namespace)  # the release's own text
        except Exception as error:
            raise UserError(
                f"{self.file.name}, cell {self.cells[at].name}{_line(error)}",
                f"it raises {type(error).__name__}: {error}",
                "Mend that line.",
            ) from error


def _kept(function: FunctionType, calls: list[Mapping[str, Any]]) -> Callable[..., Any]:
    """The function, with the arguments of each call written down."""
    signature = inspect.signature(function)

    def forward(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        calls.append(dict(bound.arguments))
        return function(*args, **kwargs)

    return forward


def _line(error: BaseException) -> str:
    """Which line of the cell raised."""
    lines = []
    traceback = error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename.startswith("<"):
            lines.append(traceback.tb_lineno)
        traceback = traceback.tb_next
    return f", line {lines[0]}" if lines else ""


def _states() -> _RandomStates:
    return random.getstate(), torch.get_rng_state(), np.random.get_state()


def _put(states: _RandomStates) -> None:
    random.setstate(states[0])
    torch.set_rng_state(states[1])
    np.random.set_state(states[2])


@contextmanager
def _random_states(states: _RandomStates) -> Iterator[None]:
    """The generators of Python, torch and NumPy in these states, and as they were afterwards."""
    before = _states()
    _put(states)
    try:
        yield
    finally:
        _put(before)
