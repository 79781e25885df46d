"""The cells of an instructor's notebook, with what nbgrader keeps of each."""

import ast
from collections.abc import Iterator, Sequence

from handgrad.assignment.exercises import TAG
from handgrad.assignment.plaincells import PlainCell
from handgrad.assignment.shapes import Sizes
from handgrad.assignment.solution import Solved
from handgrad.notebooks.notebooknode import (
    NotebookNode,
    new_code_cell,
    new_markdown_cell,
    new_notebook,
)

_PYTHON = {"display_name": "Python 3", "language": "python", "name": "python3"}


def notebook(cells: list[NotebookNode]) -> NotebookNode:
    metadata = {"kernelspec": _PYTHON, "language_info": {"name": "python"}}
    return new_notebook(cells=cells, metadata=metadata)  # type: ignore[no-any-return, no-untyped-call]


def prose(name: str, source: str) -> NotebookNode:
    return new_markdown_cell(source, id=name)  # type: ignore[no-any-return, no-untyped-call]


def code(name: str, source: str, tags: Sequence[str] = (), **flags: int) -> NotebookNode:
    """A code cell, which is given unless `flags` say otherwise."""
    about = {"grade": False, "locked": True, "schema_version": 3, "solution": False, "task": False}
    metadata: dict[str, object] = {"nbgrader": {**about, "grade_id": name, **flags}}
    if tags:
        metadata["tags"] = [*tags]
    return new_code_cell(source, id=name, metadata=metadata)  # type: ignore[no-any-return, no-untyped-call]


def as_given(cell: PlainCell) -> NotebookNode:
    """An author's cell as it stands."""
    if cell.prose:
        return prose(cell.name, cell.source)
    return code(cell.name, cell.source, tags=[cell.role] if cell.role else [])


def tagged(cells: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Those of the forward pass."""
    return [cell for cell in cells if TAG in cell.metadata.get("tags", ())]


def plain_answer(name: str, one: Solved) -> NotebookNode:
    """The answer of plain lines, for students with its stub only."""
    stub = "\n".join(f"{variable} = None" for variable in one.variables)
    source = f"{stub}\n### BEGIN SOLUTION\n{one.source}\n### END SOLUTION"
    return code(name, source, locked=False, solution=True)


def function_answer(one: Solved, call: ast.Assign) -> Iterator[NotebookNode]:
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
    yield code(function.name, "\n".join([*head, *solution]), locked=False, solution=True)
    yield code(f"given_{function.name}", _call(one.variables, function.name, call))


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


def test_of(variable: str) -> NotebookNode:
    """The test cell of a gradient, with one point."""
    name = variable.removeprefix("d")
    told = f"cmp({name!r}, {variable}, {name})"
    return code(f"test_{variable}", told, grade=True, points=1)


def with_shapes(source: str, sizes: Sizes) -> str:
    """A cell's text with the shape of each value behind the line that makes it."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], end_lineno=int(end)):
                shape = sizes.of(name)
                if shape and "#" not in lines[end - 1]:
                    lines[end - 1] += f"  # {shape}"
    return "\n".join(lines)
