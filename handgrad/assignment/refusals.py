"""What an author's notebook cannot be, each with the line, the fact and the cure.

`refuse_cells` and `refuse` look at what the reading of a notebook knows anyway; `flaws` draws a few times
more, for `handgrad selfcheck`.
"""

import re
from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from handgrad.assignment.graph import (
    as_tensor,
    is_numpy,
    parsed,
    requires_gradient,
    statement_of,
)
from handgrad.errors import UserError
from handgrad.gradients.exercise import Exercise, Files, Mistake
from handgrad.gradients.reference import Reference, free_entries

if TYPE_CHECKING:
    from handgrad.assignment.exercises import Read
    from handgrad.assignment.givencells import GivenCells

_STOPS = re.compile(r"\.detach\(|\.data\b|\.item\(|no_grad|\.tolist\(|\.numpy\(")


def refuse_cells(cells: "GivenCells") -> None:
    """Raises UserError where cells cannot be run as they stand: looks at their kinds and tags."""
    tagged = cells.tagged("parameters")
    if len(tagged) != 1:
        raise UserError(
            cells.file.name,
            f"{len(tagged)} code cells are tagged `parameters`",
            "Tag the one cell with the numbers that a hidden run may set.",
        )
    for cell in cells.cells[: cells.first("answer", "test")]:
        if cell.kind == "other":
            raise UserError(
                f"cell {cell.name}, line 1",
                "it is not read-only, and the forward pass may rest on it",
                "Lock it: kind Read-only in the Create Assignment toolbar.",
            )


def refuse(read: "Read", mistakes: tuple[Mistake, ...]) -> None:
    """Raises UserError where a notebook cannot be an exercise, for the first reason found."""
    for check in (_runs, _statements, _functions, _rebound, _loss, _tests, _grads, _either):
        check(read)
    for mistake in mistakes:
        if mistake.step not in read.graph.backward_order():
            raise UserError(
                "mistakes.py",
                f"a mistake is about `{mistake.step}`, which is no value of the forward pass",
                f"Known: {', '.join(read.graph.backward_order())}.",
            )


def _runs(read: "Read") -> None:
    where, declared = "assignment.toml", read.declared
    if "seed" not in read.public:
        raise UserError(
            f"cell {read.cells.tagged('parameters')[0].name}, line 1",
            "it does not set `seed`, which every hidden run sets anew",
            "Write `seed = 1` there, and seed the generator with it.",
        )
    named = {*declared.parameters, *(name for run in declared.runs for name in run.parameters)}
    for name in sorted(named - {*read.public}):
        raise UserError(
            where,
            f"a run sets `{name}`, which is no number of the cell tagged `parameters`",
            f"Known: {', '.join(read.public)}.",
        )
    if not any(run.decides for run in declared.runs):
        raise UserError(where, "no run decides, so that nothing could be wrong", "Let two decide.")
    for name in declared.tolerance:
        if name not in read.tests:
            raise UserError(
                where, f"a tolerance is of `{name}`, which no test cell asks for", "Correct it."
            )


def _statements(read: "Read") -> None:
    made = {name for one in read.forward.statements for name in one.binds}
    if not made & read.carried:
        raise UserError(
            read.forward.statements[0].where if read.forward.statements else "the forward pass",
            "no value from here on carries a gradient",
            "Set `requires_grad = True` on the leaves before the forward pass.",
        )
    for name in read.forward.lists & read.carried:
        entries = read.values[name]
        alike = isinstance(entries, list) and all(
            isinstance(one, Tensor) and one.shape == entries[0].shape for one in entries
        )
        if not alike:
            raise UserError(
                _where(read, name),
                f"a loop makes something else of `{name}` than a list of tensors of one shape",
                f"Write `{name} = []` and fill that; in NumPy write the loop within a function.",
            )
    loops = [one.loop for one in read.forward.statements if one.loop]
    own = {name for loop in loops if read.carried & {*loop.fills} for name in loop.own}
    for name in read.forward.lists - made:
        raise UserError(
            _where(read, name),
            f"`{name}` is filled by a loop and made elsewhere",
            f"Write `{name} = []` above the loop.",
        )
    for statement in read.forward.statements:
        differentiable = [n for n in statement.binds if n in read.carried]
        for name in {*statement.reads} & own:
            raise UserError(
                statement.where,
                f"it reads `{name}`, which is a loop's own",
                "Read the list that the loop fills: `hs[-1]`.",
            )
        if differentiable and not statement.assigns:
            raise UserError(
                statement.where,
                f"`{differentiable[0]}` is made by a statement that is no plain assignment",
                "Write each step as `name = ...`; what is changed in place or in a loop is no step.",
            )
        reads = [n for n in statement.reads if n in read.carried]
        if statement.assigns and reads and not differentiable and _STOPS.search(statement.text):
            raise UserError(
                statement.where,
                f"the gradient of `{reads[0]}` stops here",
                "Leave `.detach()` and `no_grad` away, or compute this in a given cell of its own.",
            )
        for name in statement.reads:
            hides = name not in read.forward.lists and _hides_gradients(read.values.get(name))
            if (differentiable or statement.loop) and hides:
                raise UserError(
                    statement.where,
                    f"`{name}` holds tensors that require a gradient and have no name here",
                    "Give each of them a name of its own, and read it by that name.",
                )


def _functions(read: "Read") -> None:
    """A function must be handed the values that it differentiates."""
    names = {*read.graph.backward_order()}
    for statement in read.forward.statements:
        for name in statement.reads:
            value = read.values.get(name)
            if isinstance(value, FunctionType) and (inside := names & {*value.__code__.co_names}):
                raise UserError(
                    statement.where,
                    f"the function `{name}` reads `{min(inside)}` from outside",
                    "Hand it over as an argument, so that the step is seen to read it.",
                )


def _rebound(read: "Read") -> None:
    if read.forward.function:
        return  # its names are its own
    bound = {name for statement in read.forward.statements for name in statement.binds}
    tagged = read.cells.tagged("forward")
    for cell in read.cells.cells[read.cells.cells.index(tagged[0]) : read.until]:
        for node in parsed(cell.source, cell.name).body if cell not in tagged else ():
            statement = statement_of(node, cell.name)
            for name in bound & {*statement.binds}:
                raise UserError(
                    statement.where,
                    f"`{name}` of the forward pass is bound for a second time",
                    "Take another name there.",
                )


def _loss(read: "Read") -> None:
    loss = as_tensor(read.values[read.graph.loss])
    if loss.numel() != 1:
        raise UserError(
            _where(read, read.graph.loss),
            f"the loss `{read.graph.loss}` has shape {tuple(loss.shape)}, and is no single number",
            "End the forward pass with a sum or a mean.",
        )


def _tests(read: "Read") -> None:
    known = {"d" + name for name in read.graph.backward_order()}
    for cell in read.cells.cells:
        if cell.kind == "answer" and cell.name in known - {*read.tests}:
            raise UserError(
                f"cell {cell.name}, line 1",
                "this answer has no test cell, and so no points",
                f"Write a test cell with the id `test_{cell.name}` under it.",
            )
    read_or_made = {n for one in read.forward.statements for n in (*one.binds, *one.reads)}
    for variable, cell in read.tests.items():
        name = variable.removeprefix("d")
        if variable not in known and variable.startswith("d") and name in read_or_made:
            fact, cure = _why_not(read, name)
            raise UserError(
                _where(read, name), f"{cell.name} asks for `{variable}`, but {fact}", cure
            )


def _why_not(read: "Read", name: str) -> tuple[str, str]:
    """Why a name of the forward pass has no gradient."""
    value = read.values.get(name)
    if name in read.carried:
        return f"`{name}` does not reach the loss", "Use it, or ask for something else."
    if isinstance(value, Tensor) and not value.is_floating_point():
        return f"`{name}` holds no floats ({value.dtype})", "Make it a tensor of floats."
    if any(name in one.binds for one in read.forward.statements):
        return f"`{name}` carries no gradient", "Compute it from what does, or do not ask for it."
    return (
        f"`{name}` does not require a gradient",
        f"Write `{name}.requires_grad = True` before the forward pass.",
    )


def _grads(read: "Read") -> None:
    """What `cmp` needs: that autograd has run, and kept what is asked for."""
    if read.forward.function:
        return
    tagged = read.cells.tagged("forward")
    if is_numpy(read.values[read.graph.loss]) and len(tagged) > 1:
        raise UserError(
            f"cell {tagged[1].name}, line 1",
            "it is a second cell of a forward pass in NumPy",
            "Put all of it into one: `differences()` runs its own cell.",
        )
    names = [variable.removeprefix("d") for variable in read.tests if variable.startswith("d")]
    asked = {name: [*_tensors(read, name)] for name in names}
    asked = {name: tensors for name, tensors in asked.items() if tensors}
    for name, tensors in asked.items():
        if not all(value.is_leaf or value.retains_grad for value in tensors):
            raise UserError(
                _where(read, name),
                f"{read.tests['d' + name].name} compares with `{name}.grad`, which is not kept",
                f"Write `{name}.retain_grad()` in a given cell before `backward`.",
            )
    lacking = [name for name, each in asked.items() if any(one.grad is None for one in each)]
    if lacking and len(lacking) == len(asked):
        raise UserError(
            _where(read, lacking[0]),
            f"no given cell before the answers calls `{read.graph.loss}.backward()`",
            "Add one: students compare with what it leaves.",
        )
    if lacking:
        raise UserError(
            _where(read, lacking[0]),
            f"`{lacking[0]}` got no gradient when `{read.graph.loss}.backward()` ran",
            "Look for a `.detach()` between it and the loss, or do not ask for it.",
        )


def _tensors(read: "Read", name: str) -> Iterator[Tensor]:
    """A value that autograd follows; of a list that a loop fills, its entries."""
    value = read.values.get(name)
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, Tensor) and requires_gradient(one):
            yield one


def _either(read: "Read") -> None:
    for name, words in read.declared.either.items():
        where = f"assignment.toml, either.{name}"
        if name not in read.graph.backward_order():
            known = ", ".join(read.graph.backward_order())
            raise UserError(where, f"`{name}` is no value of the forward pass", f"Known: {known}.")
        try:
            free_entries(words, name, read.values)
        except Exception as error:  # the words may be anything
            fact = f"`{words}` raises {type(error).__name__}: {error}"
            raise UserError(where, fact, f"Write what holds of entries: `{name} == 0`.") from None


def _where(read: "Read", name: str) -> str:
    """The line that makes a name, or the first that reads it."""
    statements = read.forward.statements
    made = [one.where for one in statements if name in one.makes]
    used = [one.where for one in statements if name in one.reads]
    return [*made, *used][0]


def _hides_gradients(value: Any) -> bool:
    if isinstance(value, torch.nn.Module):
        return any(p.requires_grad for p in value.parameters())
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list | tuple) and any(requires_gradient(one) for one in value)


def flaws(exercise: Exercise, files: Files) -> Iterator[UserError]:
    """What draws and steps show only when they are made again."""
    seed = {**exercise.public, "seed": 1}
    first, again, other = (
        exercise.draw(parameters, files)[0].leaves
        for parameters in (seed, seed, {**seed, "seed": 2})
    )
    for name, leaf in first.items():
        if not torch.equal(leaf, again[name]):
            fact = f"`{name}` is another at each draw with one seed"
            yield UserError("the given cells", fact, "Draw it from a generator with `seed`.")
    if all(torch.equal(leaf, other[name]) for name, leaf in first.items()):
        fact = "the leaves are the same whatever `seed` is"
        yield UserError("the given cells", fact, "Seed the generator with it.")
    for scenario in exercise.scenarios:
        try:
            exercise.draw({**exercise.public, **scenario.parameters, "seed": 1}, files)
        except UserError as error:
            yield UserError(f"in the run {scenario.name!r}: {error.where}", error.fact, error.cure)
    yield from _steps(exercise, files)


def _steps(exercise: Exercise, files: Files) -> Iterator[UserError]:
    (draw, *_) = exercise.draw({**exercise.public, "seed": 1}, files)
    values = {name: leaf.double() for name, leaf in draw.leaves.items()}
    for step in exercise.graph.steps:
        inputs = {name: values[name].clone() for name in step.inputs if name in values}
        versions = {name: one._version for name, one in inputs.items()}
        made, again = (step.at({**values, **inputs}, draw.constants) for _ in range(2))
        for name, one in inputs.items():
            if one._version != versions[name] or not torch.equal(one, values[name]):
                fact = f"`{step.name}` changes `{name}` in place"
                yield UserError(step.where, fact, "Make a new value.")
                return
        if not torch.equal(made, again):
            fact = f"`{step.name}` is another each time"
            yield UserError(step.where, fact, "Draw what is random in a given cell before.")
        values[step.name] = made


def warnings(exercise: Exercise, files: Files) -> Iterator[str]:
    """What is allowed and hides mistakes."""
    sizes: Mapping[str, int] = {
        name: value
        for name, value in exercise.public.items()
        if isinstance(value, int) and value > 1
    }
    seen: dict[int, str] = {}
    for name, value in sizes.items():
        if value in seen and "seed" not in (name, seen[value]):
            yield f"`{seen[value]}` and `{name}` are both {value}: shapes cannot tell them apart"
        seen.setdefault(value, name)
    reference = Reference(exercise, {"seed": 1}, files, 1)
    for name in exercise.gradients:
        alone = reference.wanted_alone(name, frozenset(reference.exchanged))
        if reference.chain[name].vanishes and all(one.vanishes for one in alone):
            yield f"`d{name}` is 0 whatever comes from above: nothing in it can be got wrong"
