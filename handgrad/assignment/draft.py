"""An instructor's notebook, made from an author's plain cells by running them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from torch import Tensor

from handgrad.assignment.cells import (
    as_given,
    code,
    function_answer,
    notebook,
    plain_answer,
    prose,
    tagged,
    test_of,
    with_shapes,
)
from handgrad.assignment.declared import Declared
from handgrad.assignment.exercises import TAG, Read
from handgrad.assignment.givencells import GivenCells, Ran
from handgrad.assignment.graph import Forward, Namespace, is_numpy
from handgrad.assignment.plaincells import PlainCell, read_cells
from handgrad.assignment.refusals import flaws, warnings
from handgrad.assignment.shapes import Shapes, Sizes
from handgrad.assignment.solution import Solved, cut
from handgrad.errors import UserError
from handgrad.gradients.exercise import Exercise, Parameters
from handgrad.notebooks.notebooknode import NotebookNode

_TITLE = """\
# {name}, backward by hand

For each variable `X` below, write `dX`, the derivative of `{loss}` with respect to `X`.
The cell under it compares yours with {reference}."""
_IN_A_CELL = re.compile(r"(?:\S+, )?cell (\w+), line (\d+)")


@dataclass(frozen=True, slots=True)
class Draft:
    """An instructor's notebook, and what is left to its author.

    `varied` are other sizes at which its cells run.
    """

    notebook: NotebookNode
    varied: Parameters
    left: Sequence[str]


def draft(name: str, path: Path) -> Draft:
    """The notebook `name` of the cells at `path`.

    Raises UserError, with the line of the file, where they cannot be an exercise.
    """
    plain = read_cells(path)
    behind = 1 + max(at for at, cell in enumerate(plain) if cell.role == TAG)
    given = [as_given(cell) for cell in plain[:behind]]
    with _lines_of(path, plain):
        forward = Forward.read({cell.id: cell.source for cell in tagged(given)})
        _refuse_no_steps(path, forward)
        solved = [_solved(cell, forward) for cell in plain[behind:]]
        asked = [variable for one in chain(*solved) for variable in one.variables]
        ran = _ran(given, path)
        values = ran.namespace
        given = _with_leaves(given, path, forward, asked, values)
        sizes = _sizes(given, path, forward, ran.public)
        answers = [*_answers(plain[behind:], solved, forward)]
        body = [*given, *_reference(given, forward, asked, values), *answers]
        read = Read(_run_by(body, path), Declared())
        exercise, loss = read.exercise(()), read.graph.loss
        for flaw in flaws(exercise, {}):
            raise flaw
    for cell in tagged(given):
        cell.source = with_shapes(cell.source, sizes)
    numpy = is_numpy(read.values[loss])
    varied: Parameters = sizes.varied
    if numpy:
        varied = _slightly_larger(given, path, {name: int(ran.public[name]) for name in varied})
        # This does here what `backward` does for torch.
        tagged(given)[-1].source += f"\ndifferences({loss!r})  # for comparison only"
    reference = "central differences" if numpy else "autograd's"
    title = _TITLE.format(name=name, loss=loss, reference=reference)
    imported = "cmp, differences, progress, skip" if numpy else "cmp, progress, skip"
    whole = notebook(
        [
            *([] if plain[0].prose else [prose("title", title)]),
            *given[: plain[0].prose],
            code("given_check", f"from check import {imported}"),
            *body[plain[0].prose :],
            code("given_progress", f"progress({', '.join(map(repr, exercise.gradients))})"),
        ]
    )
    return Draft(whole, varied, [*_left(exercise, answers, values)])


def _left(exercise: Exercise, answers: Sequence[NotebookNode], values: Namespace) -> Iterator[str]:
    """What only the author knows; `values` is what is given."""
    bare = sum(cell.id.startswith("about_") for cell in answers)
    if bare:
        yield f"prose: {bare} answers have nothing above them but the lines that they walk back"
    yield "points: every test cell has 1; weigh them there"
    names = {name: f"d{name}" for name in exercise.graph.backward_order()}
    rest = [names[n] for n in names if n not in exercise.gradients and names[n] not in values]
    if rest:
        yield f"solution: no line makes {', '.join(rest)}, so nobody is asked for it"
    yield from warnings(exercise, {})


@contextmanager
def _lines_of(path: Path, cells: Sequence[PlainCell]) -> Iterator[None]:
    """Errors name lines of the author's file, and not of the notebook's cells."""
    starts = {cell.name: cell.line for cell in cells}

    def line(found: re.Match[str]) -> str:
        start = starts.get(found[1])
        return f"{path.name}, line {start + int(found[2])}" if start else found[0]

    try:
        yield
    except UserError as error:
        raise UserError(_IN_A_CELL.sub(line, error.where), error.fact, error.cure) from None


def _refuse_no_steps(path: Path, forward: Forward) -> None:
    if forward.function or not forward.statements or not forward.statements[-1].binds:
        raise UserError(
            path.name,
            "the forward pass does not end in a statement that binds the loss",
            "Write its steps in the cell itself, a line each, and not within a function.",
        )


def _solved(cell: PlainCell, forward: Forward) -> list[Solved]:
    """The answers in a cell behind the forward pass; none where it is a given one."""
    names = {*forward.made, *(name for one in forward.statements for name in one.reads)}
    names -= {forward.last}  # the loss
    return [] if cell.prose else cut(cell.name, cell.source, {f"d{name}" for name in names})


def _with_leaves(
    given: list[NotebookNode],
    path: Path,
    forward: Forward,
    asked: Sequence[str],
    values: Namespace,
) -> list[NotebookNode]:
    """With a cell that says of each leaf whose gradient is asked for that it requires one."""
    if not asked:
        raise UserError(
            path.name,
            "no line behind the forward pass makes the gradient of one of its values",
            "Write one for each that students are to find: `dX = ...`.",
        )
    names = [variable.removeprefix("d") for variable in asked]
    leaves = [n for n in names if n not in forward.made and _is_plain_float(values.get(n))]
    at = next(at for at, cell in enumerate(given) if cell in tagged(given))
    told = f"for p in [{', '.join(leaves)}]:\n    p.requires_grad = True"
    return [*given[:at], *([code("given_leaves", told)] if leaves else []), *given[at:]]


def _is_plain_float(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and not value.requires_grad


def _sizes(given: list[NotebookNode], path: Path, forward: Forward, public: Parameters) -> Sizes:
    def shapes(parameters: Parameters) -> Shapes:
        values = _ran(given, path, parameters).namespace
        return {
            n: tuple(values[n].shape)
            for n in forward.made
            if isinstance(values[n], Tensor | np.ndarray)
        }

    return Sizes(shapes, public)


def _slightly_larger(given: list[NotebookNode], path: Path, sizes: Mapping[str, int]) -> Parameters:
    """Other sizes for arrays, since each entry costs two forward passes; none where these do not go."""
    varied = {name: size + 1 for name, size in sizes.items()}
    try:
        _ran(given, path, varied)
    except UserError:
        return {}
    return varied


def _ran(cells: list[NotebookNode], path: Path, parameters: Parameters | None = None) -> Ran:
    run_by = _run_by(cells, path)
    return run_by.run(parameters or {}, len(run_by.cells))


def _run_by(cells: list[NotebookNode], path: Path) -> GivenCells:
    return GivenCells(notebook(cells), path, {})


def _reference(
    given: list[NotebookNode], forward: Forward, asked: Sequence[str], values: Namespace
) -> Iterator[NotebookNode]:
    """The cell that has autograd's answers ready, unless the author wrote one, or works in NumPy."""
    loss = forward.last
    if any(".backward(" in cell.source for cell in given) or is_numpy(values.get(loss)):
        return
    kept = [name for variable in asked if (name := variable.removeprefix("d")) in forward.made]
    kept = [f"*{name}" if name in forward.lists else name for name in kept]
    retain = f"for t in [{', '.join(kept)}]:\n    t.retain_grad()\n" if kept else ""
    told = f"{retain}{loss}.backward()  # autograd's answers, for comparison only"
    yield code("given_reference", told)


def _answers(
    cells: Sequence[PlainCell], solved: Sequence[Sequence[Solved]], forward: Forward
) -> Iterator[NotebookNode]:
    """What stands behind the forward pass: each answer with its prose and its test cells."""
    said = False  # whether the author's own prose stands right above
    for cell, answers in zip(cells, solved, strict=True):
        for one in answers:
            name = "_".join(one.variables)
            if not said:
                yield prose(f"about_{name}", _lines_walked_back(one, forward))
            yield from (
                [plain_answer(name, one)] if one.call is None else function_answer(one, one.call)
            )
            for variable in one.variables:
                yield test_of(variable)
            said = False
        if not answers:
            yield as_given(cell)
        said = cell.prose


def _lines_walked_back(one: Solved, forward: Forward) -> str:
    names = {variable.removeprefix("d") for variable in one.variables}
    lines = [f"`{s.text}`" for s in forward.statements if names & {*s.reads}]
    return ", ".join(lines)
