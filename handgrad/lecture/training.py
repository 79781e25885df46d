"""The backward pass inside a training loop, as the function that the course asks for."""

import ast
import builtins
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from handgrad.lecture.candidate import is_placeholder, matched
from handgrad.lecture.extract import Extraction, called
from handgrad.lecture.flow import Flow, Slices, Use, flow
from handgrad.lecture.likeness import DRAWS
from handgrad.lecture.outline import Outline, pairs
from handgrad.lecture.renaming import renamed
from handgrad.lecture.statements import Statement
from handgrad.lecture.syllabus import Syllabus
from handgrad.lecture.trainingloop import Loop
from handgrad.verdict import Note


@dataclass(frozen=True, slots=True)
class Backward:
    """The function's code, and what there is to say; `code` is "" where there is no backward pass."""

    code: str
    notes: tuple[Note, ...]


def backward(
    loop: Loop, outer: Flow, outline: Outline, syllabus: Syllabus, of_a_batch: frozenset[str]
) -> Backward:
    """The loop's backward pass as the outline's function.

    `outer` is the flow up to the loop. `of_a_batch` are names of values and gradients of one batch:
    what the loop reads of them without making it is left over from an earlier exercise.
    """
    body = list(_without_left_open(loop.body))
    inner = flow(body, outer.names, outer.functions)
    forward = matched(body, inner, outline, syllabus.numbers)
    first = _first_gradient(body, inner, outline, syllabus)
    extraction = Extraction(inner, outline, forward, lambda statement: statement < first)
    extraction.name_forward()
    results = _results(inner, outer, outline, syllabus)
    uses = [
        use
        for result in results.values()
        if result is not None
        for use in _uses(result, inner).values()
    ]
    missing = [name for name, result in results.items() if result is None]
    notes = [Note("lecture_not_found", {"names": ", ".join(missing)})] if missing else []
    if not any(use.version.creator >= body[0].index for use in uses):
        return Backward("", tuple(notes))
    order = sorted(extraction.slices.behind(*uses))
    for index in order:
        statement = extraction.statement(index)
        if called(statement.node) & DRAWS:
            parts = {"name": "backward", "used": ast.unparse(statement.node)[:60]}
            notes.append(Note("lecture_not_understood", {**parts, "cell": str(loop.cell)}))
            return Backward("", tuple(notes))
    helpers, left_over = _from_outside(order, extraction, outer, of_a_batch)
    notes += [
        Note("lecture_left_over", {"used": name, "cell": str(loop.cell)}) for name in left_over
    ]
    _name_locals(order, extraction)
    lines = [*(outer.statements[at].text for at in helpers)]
    lines += ["", ""] if lines else []
    lines.append(outline.function)
    for name in left_over:  # so that what does not lean on it can be marked
        if syllabus.tensor(name) in outline.parameters:
            lines.append(f"    {name} = 0 * {syllabus.tensor(name)}  # left over, not made here")
    lines += [textwrap.indent(extraction.text(extraction.statement(at)), "    ") for at in order]
    lines.append(f"    return [{', '.join(_texts(results, inner, extraction))}]")
    return Backward("\n".join(lines), tuple(notes))


def _without_left_open(body: Sequence[Statement]) -> Iterator[Statement]:
    """The lecture's own line of several `None`, left below the answers that it stood for, does nothing."""
    made: set[str] = set()
    for statement in body:
        node = statement.node
        named = [name for name, _ in pairs(node)] if isinstance(node, ast.Assign) else []
        empty = {name for name in named if is_placeholder(node, name)}
        if len(empty) > 1 and empty == set(named) <= made:
            yield replace(statement, node=ast.Pass(), text="pass")
        else:
            made |= set(named) - empty
            yield statement


def _first_gradient(
    body: Sequence[Statement], inner: Flow, outline: Outline, syllabus: Syllabus
) -> int:
    """The statement with which the backward pass begins."""
    gradients = {
        pattern.format(tensor) for tensor in outline.given for pattern in syllabus.gradient_names
    } - outline.given
    for at, statement in enumerate(body):
        for name in inner.makes[at].keys() & gradients:
            if not is_placeholder(statement.node, name):
                return statement.index
    return body[-1].index + 1


def _results(
    inner: Flow, outer: Flow, outline: Outline, syllabus: Syllabus
) -> dict[str, ast.expr | None]:
    """For each result that the outline asks for the expression that is it; None where there is none."""
    found: dict[str, ast.expr | None] = dict.fromkeys(outline.returns)
    listed = inner.names.get(syllabus.gradients)
    order = _parameters(outer, inner, syllabus) or [
        syllabus.tensor(name) for name in outline.returns
    ]
    if listed is not None and listed.creator >= inner.statements[0].index:
        node = inner.statements[listed.creator - inner.statements[0].index].node
        for value in (
            [v for n, v in pairs(node) if n == syllabus.gradients]
            if isinstance(node, ast.Assign)
            else []
        ):
            if isinstance(value, ast.List | ast.Tuple):
                for tensor, element in zip(order, value.elts, strict=False):
                    if syllabus.gradient(tensor) in found:
                        found[syllabus.gradient(tensor)] = element
            elif isinstance(value, ast.Call):
                for at, tensor in enumerate(order):
                    element = ast.parse(f"{syllabus.gradients}[{at}]", mode="eval").body
                    found[syllabus.gradient(tensor)] = element
    return {name: _result(name, element, inner, syllabus) for name, element in found.items()}


def _result(
    name: str, element: ast.expr | None, inner: Flow, syllabus: Syllabus
) -> ast.expr | None:
    """The listed expression where it is one; a variable of the gradient's name where nothing is listed."""
    match element:
        case None:
            return _by_name(name, inner, syllabus)
        case ast.Constant():
            return None
        case ast.Name(used) if _is_empty(used, inner):
            return None
    return element


def _parameters(outer: Flow, inner: Flow, syllabus: Syllabus) -> list[str]:
    """The names in the notebook's own list of parameters, in its order."""
    version = outer.names.get(syllabus.parameters) or inner.names.get(syllabus.parameters)
    for through in (outer, inner):
        for at, statement in enumerate(through.statements):
            if version is None or through.makes[at].get(syllabus.parameters) is not version:
                continue
            if isinstance(statement.node, ast.Assign) and isinstance(
                statement.node.value, ast.List | ast.Tuple
            ):
                elements = statement.node.value.elts
                return [each.id if isinstance(each, ast.Name) else "" for each in elements]
    return []


def _by_name(name: str, inner: Flow, syllabus: Syllabus) -> ast.expr | None:
    """The variable that the loop makes under one of the gradient's usual names."""
    for pattern in syllabus.gradient_names:
        used = pattern.format(syllabus.tensor(name))
        version = inner.names.get(used)
        made = version is not None and version.creator >= inner.statements[0].index
        if made and not _is_empty(used, inner):
            return ast.Name(used, ast.Load())
    return None


def _is_empty(name: str, inner: Flow) -> bool:
    version = inner.names.get(name)
    at = version.creator - inner.statements[0].index if version is not None else -1
    if version is None or at < 0:
        return False
    return is_placeholder(inner.statements[at].node, name) and not version.changes


def _uses(result: ast.expr, inner: Flow) -> Mapping[str, Use]:
    names = {node.id for node in ast.walk(result) if isinstance(node, ast.Name)}
    return {
        name: Use(inner.names[name], len(inner.names[name].changes))
        for name in sorted(names)
        if name in inner.names
    }


def _texts(
    results: Mapping[str, ast.expr | None], inner: Flow, extraction: Extraction
) -> Iterator[str]:
    for result in results.values():
        if result is None:
            yield "None"
        else:
            names = {n: extraction.name_of(use.version) for n, use in _uses(result, inner).items()}
            yield renamed(ast.unparse(result), names, {})


def _from_outside(
    order: Sequence[int], extraction: Extraction, outer: Flow, of_a_batch: frozenset[str]
) -> tuple[list[int], list[str]]:
    """Statements before the loop that it needs (functions, imports, constants), and what it may not."""
    outline = extraction.outline
    slices = Slices(outer, lambda version: version.name in outline.given)
    helpers: set[int] = set()
    left_over: set[str] = set()
    mine = {statement.index for statement in extraction.flow.statements}
    for index in order:
        effect = extraction.flow.effects[extraction.at[index]]
        uses = extraction.slices.uses(index)
        left_over |= {
            name
            for name in effect.reads - uses.keys() - outline.given - set(dir(builtins))
            if name in of_a_batch
        }
        for name, use in uses.items():
            if use.version.creator in mine or extraction.given(use.version):
                continue
            needed = slices.behind(use)
            made = {made for at in needed for made in outer.effects[at].binds}
            draws = any(called(outer.statements[at].node) & DRAWS for at in needed)
            if draws or made & (of_a_batch - outline.given):
                left_over.add(name)
            else:
                helpers |= needed
    return sorted(helpers), sorted(left_over)


def _name_locals(order: Sequence[int], extraction: Extraction) -> None:
    """A global that the pass reads and later binds would be a local unbound; theirs is renamed."""
    outline = extraction.outline
    for version in extraction.flow.versions:
        name = version.name
        if version.creator not in order or name in outline.parameters:
            continue
        for index in order:
            use = extraction.slices.uses(index).get(name)
            if use is not None and use.version is not version and name in outline.given:
                extraction.rename(version, f"own_{name}")
                break
