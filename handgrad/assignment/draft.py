"""An instructor's notebook, made from an author's plain cells by running them."""

import ast
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from torch import Tensor

from handgrad.assignment.declared import Declared
from handgrad.assignment.exercises import TAG, Read
from handgrad.assignment.givencells import GivenCells, Ran
from handgrad.assignment.graph import Forward
from handgrad.assignment.plaincells import PlainCell, read_cells
from handgrad.assignment.refusals import flaws, warnings
from handgrad.assignment.shapes import Shapes, Sizes
from handgrad.assignment.solution import Solved, cut
from handgrad.errors import UserError
from handgrad.gradients.exercise import Exercise, Parameters
from handgrad.notebooks.notebooknode import NotebookNode, from_dict

_TITLE = """\
# {name}, backward by hand

For each variable `X` below, write `dX`, the derivative of `{loss}` with respect to `X`.
The cell under it compares yours with autograd's."""
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
    given = [_as_given(cell) for cell in plain[:behind]]
    with _lines_of(path, plain):
        forward = Forward.read({cell.id: cell.source for cell in _tagged(given)})
        _refuse_no_steps(path, forward)
        solved = [_solved(cell, forward) for cell in plain[behind:]]
        asked = [variable for one in chain(*solved) for variable in one.variables]
        given = _with_leaves(given, path, forward, asked)
        sizes = _sizes(given, path, forward)
        answers = [*_answers(plain[behind:], solved, forward)]
        body = [*given, *_reference(given, forward, asked), *answers]
        exercise = Read(_run_by(body, path), Declared()).exercise(())
        for flaw in flaws(exercise, {}):
            raise flaw
    for cell in _tagged(given):
        cell.source = _with_shapes(cell.source, sizes)
    title = _TITLE.format(name=name, loss=exercise.graph.loss)
    whole = _notebook(
        [
            *([] if plain[0].prose else [_prose("title", title)]),
            *given[: plain[0].prose],
            _code("given_check", "from check import cmp, progress, skip"),
            *body[plain[0].prose :],
            _code("given_progress", f"progress({', '.join(map(repr, exercise.gradients))})"),
        ]
    )
    return Draft(whole, sizes.varied, [*_left(exercise, answers)])


def _left(exercise: Exercise, answers: Sequence[NotebookNode]) -> Iterator[str]:
    bare = sum(cell.id.startswith("about_") for cell in answers)
    if bare:
        yield f"prose: {bare} answers have nothing above them but the lines that they walk back"
    yield "points: every test cell has 1; weigh them there"
    rest = [name for name in exercise.graph.backward_order() if name not in exercise.gradients]
    if rest:
        names = ", ".join(f"d{name}" for name in rest)
        yield f"solution: no line makes {names}, so nobody is asked for it"
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
    names = {name for one in forward.statements for name in (*one.binds, *one.reads)}
    names -= {forward.statements[-1].binds[0]}  # the loss
    return [] if cell.prose else cut(cell.name, cell.source, {f"d{name}" for name in names})


def _with_leaves(
    given: list[NotebookNode], path: Path, forward: Forward, asked: Sequence[str]
) -> list[NotebookNode]:
    """With a cell that says of each leaf whose gradient is asked for that it requires one."""
    if not asked:
        raise UserError(
            path.name,
            "no line behind the forward pass makes the gradient of one of its values",
            "Write one for each that students are to find: `dX = ...`.",
        )
    values = _ran(given, path).namespace
    names = [variable.removeprefix("d") for variable in asked]
    made = {name for one in forward.statements for name in one.binds}
    leaves = [n for n in names if n not in made and _is_plain_float(values.get(n))]
    at = next(at for at, cell in enumerate(given) if cell in _tagged(given))
    told = f"for p in [{', '.join(leaves)}]:\n    p.requires_grad = True"
    return [*given[:at], *([_code("given_leaves", told)] if leaves else []), *given[at:]]


def _is_plain_float(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and not value.requires_grad


def _sizes(given: list[NotebookNode], path: Path, forward: Forward) -> Sizes:
    made = [name for one in forward.statements for name in one.binds]

    def shapes(parameters: Parameters) -> Shapes:
        values = _ran(given, path, parameters).namespace
        return {n: tuple(values[n].shape) for n in made if isinstance(values[n], Tensor)}

    return Sizes(shapes, _ran(given, path).public)


def _ran(cells: list[NotebookNode], path: Path, parameters: Parameters | None = None) -> Ran:
    run_by = _run_by(cells, path)
    return run_by.run(parameters or {}, len(run_by.cells))


def _run_by(cells: list[NotebookNode], path: Path) -> GivenCells:
    return GivenCells(_notebook(cells), path, {})


def _reference(
    given: list[NotebookNode], forward: Forward, asked: Sequence[str]
) -> Iterator[NotebookNode]:
    """The cell that has autograd's answers ready, unless the author wrote one."""
    if any(".backward(" in cell.source for cell in given):
        return
    made = {name for one in forward.statements for name in one.binds}
    kept = [name for variable in asked if (name := variable.removeprefix("d")) in made]
    retain = f"for t in [{', '.join(kept)}]:\n    t.retain_grad()\n" if kept else ""
    loss = forward.statements[-1].binds[0]
    told = f"{retain}{loss}.backward()  # autograd's answers, for comparison only"
    yield _code("given_reference", told)


def _answers(
    cells: Sequence[PlainCell], solved: Sequence[Sequence[Solved]], forward: Forward
) -> Iterator[NotebookNode]:
    """What stands behind the forward pass: each answer with its prose and its test cells."""
    said = False  # whether the author's own prose stands right above
    for cell, answers in zip(cells, solved, strict=True):
        for one in answers:
            name = "_".join(one.variables)
            if not said:
                yield _prose(f"about_{name}", _lines_walked_back(one, forward))
            yield from [_answer(name, one)] if one.call is None else _function(one, one.call)
            for variable in one.variables:
                yield _test(variable)
            said = False
        if not answers:
            yield _as_given(cell)
        said = cell.prose


def _lines_walked_back(one: Solved, forward: Forward) -> str:
    names = {variable.removeprefix("d") for variable in one.variables}
    lines = [f"`{s.text}`" for s in forward.statements if names & {*s.reads}]
    return ", ".join(lines)


def _with_shapes(source: str, sizes: Sizes) -> str:
    """The cell with the shape of each value behind the line that makes it."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], end_lineno=int(end)):
                shape = sizes.of(name)
                if shape and "#" not in lines[end - 1]:
                    lines[end - 1] += f"  # {shape}"
    return "\n".join(lines)


# ---------------------------------------------------------------------------- cells of a notebook


def _notebook(cells: list[NotebookNode]) -> NotebookNode:
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {
        "cells": cells,
        "metadata": {"kernelspec": python, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return from_dict(whole)  # type: ignore[no-any-return, no-untyped-call]


def _as_given(cell: PlainCell) -> NotebookNode:
    if cell.prose:
        return _prose(cell.name, cell.source)
    return _code(cell.name, cell.source, tags=[cell.role] if cell.role else [])


def _answer(name: str, one: Solved) -> NotebookNode:
    stub = "\n".join(f"{variable} = None" for variable in one.variables)
    source = f"{stub}\n### BEGIN SOLUTION\n{one.source}\n### END SOLUTION"
    return _code(name, source, locked=False, solution=True)


def _function(one: Solved, call: ast.Assign) -> Iterator[NotebookNode]:
    """The answer that is a function, without its body in the release, and the given cell that calls it."""
    lines = one.source.splitlines()
    function = ast.parse(one.source).body[-1]
    assert isinstance(function, ast.FunctionDef)  # `cut` ends with it
    told = ast.get_docstring(function, clean=False) is not None
    body = function.body[told] if len(function.body) > told else function.body[-1]
    head = lines[: body.lineno - 1]
    indent = " " * body.col_offset
    if not told:
        head.append(f'{indent}"""Return {", ".join(one.variables)}."""')
    solution = [
        f"{indent}### BEGIN SOLUTION",
        *lines[body.lineno - 1 :],
        f"{indent}### END SOLUTION",
    ]
    yield _code(function.name, "\n".join([*head, *solution]), locked=False, solution=True)
    yield _code(f"given_{function.name}", _call(one.variables, function.name, call))


def _call(variables: Sequence[str], function: str, call: ast.Assign) -> str:
    """The statement that calls a function, also for one that is not written, or returns too many."""
    target = call.targets[0]
    if not isinstance(target, ast.Tuple):
        return ast.unparse(call)
    count = len(target.elts)
    return f"""\
{" = ".join(variables)} = None
results = {ast.unparse(call.value)}
if results is not None:
    count = len(results) if isinstance(results, (list, tuple)) else 1
    if count != {count}:
        raise ValueError(f"`{function}` returned {{count}} results; it should return {count}.")
    {", ".join(map(ast.unparse, target.elts))} = results"""


def _test(variable: str) -> NotebookNode:
    name = variable.removeprefix("d")
    told = f"cmp({name!r}, {variable}, {name})"
    return _code(f"test_{variable}", told, grade=True, points=1)


def _code(name: str, source: str, tags: Sequence[str] = (), **flags: int) -> NotebookNode:
    about = {"grade": False, "locked": True, "schema_version": 3, "solution": False, "task": False}
    metadata = {"nbgrader": {**about, "grade_id": name, **flags}}
    return _cell(
        name,
        source,
        {**metadata, **({"tags": [*tags]} if tags else {})},
        cell_type="code",
        execution_count=None,
        outputs=[],
    )


def _prose(name: str, source: str) -> NotebookNode:
    return _cell(name, source, {}, cell_type="markdown")


def _cell(name: str, source: str, metadata: object, **more: object) -> NotebookNode:
    whole = {"id": name, "metadata": metadata, "source": source, **more}
    return from_dict(whole)  # type: ignore[no-any-return, no-untyped-call]


def _tagged(cells: Sequence[NotebookNode]) -> list[NotebookNode]:
    return [cell for cell in cells if TAG in cell.metadata.get("tags", ())]
