"""Wrong answers made from an instructor's right ones, and whether any number of theirs is another."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handgrad.assignment.beside import quietly_in
from handgrad.assignment.givencells import GivenCell, GivenCells
from handgrad.assignment.graph import as_tensor
from handgrad.assignment.mutations import changed
from handgrad.gradients.compare import compare, largest
from handgrad.gradients.exercise import Parameters

_Names = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mutant:
    """An answer cell with one thing wrong; `changes` is whether any of its numbers is another."""

    cell: str
    variables: tuple[str, ...]  # what the cell answers
    what: str  # "a factor left out"
    was: str  # the operation that was there
    code: str
    changes: bool
    function: bool  # then `changes` is of its results, and not of what it makes on its way


def mutants(source: GivenCells, parameters: Parameters) -> Iterator[Mutant]:
    """Of each answer of an instructor's notebook, its mutants that run; those of equal numbers once.

    Whether a number changes is seen at random upstream gradients, at two draws with these `parameters`.
    """
    walks = (_walk(source, parameters, seed) for seed in (1, 2))
    for (at, one), (_, two) in zip(*walks, strict=True):
        yield from _of_cell(source, at, (one, two))


def _of_cell(source: GivenCells, at: int, places: tuple[_Names, _Names]) -> Iterator[Mutant]:
    cell, below = source.cells[at], source.cells[at + 1 :]
    variables = _asked(below)
    function = cell.name not in ("_".join(variables), *variables)
    called = _given(below) if function else ""

    def values(code: str) -> list[Any]:
        return [_values(source, f"{code}\n{called}", place, variables) for place in places]

    right = values(cell.source)
    seen: list[list[Any]] = []
    for what, was, code in () if None in right else changed(cell.source):
        got = values(code)
        if None not in got and not any(_alike(got, other) for other in seen):
            changes = not _alike(got, right)
            seen += [got] * changes
            yield Mutant(cell.name, variables, what, was, code, changes, function)


def _walk(source: GivenCells, parameters: Parameters, seed: int) -> Iterator[tuple[int, _Names]]:
    """By answer cell, the names in front of it: each gradient above is exchanged for a random one."""
    generator = torch.Generator().manual_seed(seed)
    first = source.first("answer")
    namespace = dict(source.run({**parameters, "seed": seed}, first).namespace)
    for at, cell in enumerate(source.cells[first:], first):
        if cell.kind == "test":
            continue
        if cell.kind == "answer":
            yield at, namespace
        if not _runs(source, cell.source, namespace):
            return  # which the solution's own report says
        for name in _asked(source.cells[at + 1 :]):
            if isinstance(value := namespace.get(name), list) and value:
                noise_of = torch.randn(len(value), *value[0].shape, generator=generator)
                namespace[name] = [*noise_of]
            elif isinstance(value, Tensor | np.ndarray):
                drawn = torch.randn(value.shape, generator=generator)
                noise = drawn if isinstance(value, Tensor) else drawn.double().numpy()
                namespace[name] = noise * (value != 0)  # honest answers use that it is zero there


def _asked(below: Sequence[GivenCell]) -> tuple[str, ...]:
    """The variables of the test cells before the next answer."""
    own = takewhile(lambda cell: cell.kind != "answer", below)
    return tuple(cell.name.removeprefix("test_") for cell in own if cell.kind == "test")


def _given(below: Sequence[GivenCell]) -> str:
    """The given cells before the next answer, up to the last test: what calls a function."""
    own = [*takewhile(lambda cell: cell.kind != "answer", below)]
    last = max((at for at, cell in enumerate(own) if cell.kind == "test"), default=0)
    return "\n".join(cell.source for cell in own[:last] if cell.kind != "test")


def _runs(source: GivenCells, code: str, names: _Names) -> bool:
    """Run code of the instructor's, or made of it, among these names: whether it raises nothing."""
    try:
        with quietly_in(source.file.parent):
            exec(compile(code, "<answer>", "exec"), names)
    except Exception:
        return False
    return True


def _values(
    source: GivenCells, code: str, around: _Names, variables: Sequence[str]
) -> list[Tensor] | None:
    """What code gives there, float64; None where it does not run."""
    names = dict(around)
    for name in {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}:
        if isinstance(value := names.get(name), Tensor | np.ndarray):
            # Which the cell may change in place.
            names[name] = value.detach().clone() if isinstance(value, Tensor) else value.copy()
    if not _runs(source, code, names):
        return None
    found = [names.get(variable) for variable in variables]
    tensors = [as_tensor(value).double() for value in found if _is_number(value)]
    return tensors if len(tensors) == len(found) else None


def _is_number(value: object) -> bool:
    if isinstance(value, list):
        shapes = {getattr(entry, "shape", None) for entry in value}
        return len(shapes) == 1 and None not in shapes
    return isinstance(value, Tensor | np.ndarray | np.generic | bool | int | float)


def _alike(left: list[Any], right: list[Any]) -> bool:
    """Whether two lists of answers, one a draw, hold the same numbers in the same shapes."""
    return all(
        got.shape == want.shape and compare(got, want, largest(want) or 1.0).right
        for one, other in zip(left, right, strict=True)
        for got, want in zip(one, other, strict=True)
    )
