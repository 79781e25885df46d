"""The backward pass inside a training loop, as the function that the course asks for."""

import ast
import builtins
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from handgrad.lecture.effects import (
    bound,
    changed,
    draws,
    is_placeholder,
    names_in,
    needed,
    pairs,
    reads,
)
from handgrad.lecture.look import Look
from handgrad.lecture.outline import Outline
from handgrad.lecture.reading import Reading
from handgrad.lecture.statements import Statement
from handgrad.lecture.trainingloop import Loop
from handgrad.notebooks.submission import Piece
from handgrad.verdict import Note


@dataclass(slots=True)
class Backward:
    """The cells that the loop's backward pass comes to, none where there is no such pass; and what there
    is to say.
    """

    pieces: list[Piece] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def backward(reading: Reading, look: Look) -> Backward:
    """The loop's backward pass as the course's function, behind what it needs from before the loop."""
    outline = reading.syllabus.training.outline
    if reading.loop is None:
        return Backward(notes=[Note("lecture_not_found", {"names": ", ".join(outline.returns)})])
    return _Pass(reading, look, reading.loop, outline).written()


class _Pass:
    """What one round of the loop does for the gradients, from the first of them on."""

    def __init__(self, reading: Reading, look: Look, loop: Loop, outline: Outline) -> None:
        self.reading, self.look, self.loop, self.outline = reading, look, loop, outline
        self.outer = reading.statements[: loop.statement]
        self.results = _Results(reading, loop).found
        listed = frozenset().union(*(names_in(each) for each in self.results.values() if each))
        self.body = list(self._body(listed))
        self.inside = needed(self.body, listed, reading.functions)

    def written(self) -> Backward:
        missing = [name for name, result in self.results.items() if result is None]
        notes = [Note("lecture_not_found", {"names": ", ".join(missing)})] if missing else []
        if not self.inside:
            return Backward(notes=notes)
        outside, left_over = self._from_outside()
        cell = str(self.loop.cell)
        notes += [Note("lecture_left_over", {"used": name, "cell": cell}) for name in left_over]
        lines = [*self._leaves(), *filter(None, map(self._stand_in, left_over))]
        lines += [line for statement in self.inside for line in self._lines(statement)]
        texts = (ast.unparse(each) if each else "None" for each in self.results.values())
        lines.append(f"return [{', '.join(texts)}]")
        code = "\n".join([self.outline.function, *(textwrap.indent(e, "    ") for e in lines)])
        pieces = [Piece(statement.text, statement.cell) for statement in outside]
        pieces.append(Piece(code, self.loop.cell, self.outline.answers))
        return Backward(pieces, notes)

    def _body(self, listed: frozenset[str]) -> Iterator[Statement]:
        """The round's statements without its forward pass, as far as they make what is listed."""
        body, functions = self.loop.body, self.reading.functions
        makers = [s.index for s in body if changed(s.node, functions) & listed]
        first = self._first_gradient()
        for statement in body:
            names = changed(statement.node, functions)
            only_given = names <= self.outline.given | self.reading.own.keys()
            if statement.index > max(makers, default=-1):
                return
            if draws(statement.node) or (only_given and statement.index < first):
                continue
            if not all(is_placeholder(statement.node, name) for name in names):
                yield statement

    def _first_gradient(self) -> int:
        """The statement with which the backward pass begins."""
        patterns = self.reading.syllabus.gradient_names
        tensors = self.outline.given | self.reading.own.keys()
        gradients = {p.format(t) for t in tensors for p in patterns} - self.outline.given
        for statement in self.loop.body:
            made = changed(statement.node) & gradients
            if any(not is_placeholder(statement.node, name) for name in made):
                return statement.index
        return self.loop.body[-1].index + 1

    def _leaves(self) -> list[str]:
        """The course's leaves under the student's own names."""
        read = frozenset().union(*(reads(s.node) for s in self.inside))
        own = self.reading.own.items()
        return [f"{theirs} = {name}" for theirs, name in sorted(own) if theirs in read]

    def _lines(self, statement: Statement) -> Iterator[str]:
        """A statement; where it makes a gradient under another name than the course's, that name too."""
        yield statement.text
        syllabus = self.reading.syllabus
        made = {name for name, _ in pairs(statement.node)}
        for tensor in sorted(self.outline.given):
            for pattern in syllabus.gradient_names[1:]:
                name, target = pattern.format(tensor), syllabus.gradient(tensor)
                if name in made and not self._makes(target):
                    yield f"{target} = {name}"
                    yield f"{name} = {target}"

    def _makes(self, name: str) -> bool:
        return any(name in changed(s.node) for s in self.inside)

    # ---- what stands before the loop

    def _from_outside(self) -> tuple[Sequence[Statement], list[str]]:
        """Statements before the loop that it needs (functions, imports, constants), and what it may not."""
        first = self.reading.syllabus.step_by_step.outline
        of_a_batch = self.reading.targets | set(first.values) | self._own_values()
        known = self.outline.given | set(dir(builtins)) | self.reading.own.keys()
        wanted: set[str] = set()
        made = set(known)
        for statement in self.inside:
            inner = bound(statement.node) - changed(statement.node)
            wanted |= reads(statement.node) - made - inner - self._bound_first(statement.node)
            made |= changed(statement.node, self.reading.functions)
        left_over = sorted(wanted & of_a_batch)
        usable = [
            s
            for s in self.outer
            if not (draws(s.node) or self.reading.changes[s.index] & (of_a_batch | known))
        ]
        helpers = needed(usable, wanted - of_a_batch, self.reading.functions)
        return helpers, left_over

    def _bound_first(self, node: ast.stmt) -> frozenset[str]:
        """Names of a compound statement's own: a loop's variables, what its body binds before it reads."""
        if isinstance(node, ast.Assign | ast.AugAssign | ast.Expr | ast.AnnAssign):
            return frozenset()
        return changed(node)

    def _own_values(self) -> frozenset[str]:
        """The student's own names for values of the forward pass."""
        return frozenset(
            name for made in self.look.made.values() for name, found in made.items() if found.values
        )

    def _stand_in(self, name: str) -> str:
        """A line that gives a name a tensor of its shape, so that what does not lean on it can be marked:
        zeros for a gradient, ones for a value, by which people divide.
        """
        tensor = self.reading.syllabus.tensor(name)
        if tensor in self.outline.parameters:
            return f"{name} = 0 * {tensor}  # left over, not made here"
        like = self._of_its_shape(name)
        return f"{name} = torch.ones_like({like})  # left over, not made here" if like else ""

    def _of_its_shape(self, name: str) -> str:
        """A part of one of the function's values that had the shape of this one where they were made."""
        shapes = {n: each.shape for made in self.look.made.values() for n, each in made.items()}
        wanted = shapes.get(name, ())
        for parameter in reversed(self.outline.parameters):  # the batch, of whole numbers, is first
            there = shapes.get(parameter, ())
            sizes = list(zip(wanted, there, strict=False))
            if len(there) == len(wanted) and all(size in (1, whole) for size, whole in sizes):
                parts = (":" if size == whole else ":1" for size, whole in sizes)
                return f"{parameter}[{', '.join(parts)}]"
        return ""


class _Results:
    """For each result that the function returns the expression that is it; None where there is none."""

    def __init__(self, reading: Reading, loop: Loop) -> None:
        self._syllabus = reading.syllabus
        self._body = list(_without_left_open(loop.body))
        self._statements = [*reading.statements[: loop.statement], *self._body]
        self._own = {name: theirs for theirs, name in reading.own.items()}
        returns = reading.syllabus.training.outline.returns
        listed = self._listed()
        self.found = {name: self._result(name, listed.get(name)) for name in returns}

    def _listed(self) -> dict[str, ast.expr]:
        """What the list of gradients holds, by the course's names, in the order of the parameters."""
        name, value = (
            self._syllabus.gradients,
            self._value_of(self._syllabus.gradients, inside=True),
        )
        found: dict[str, ast.expr] = {}
        for at, tensor in enumerate(self._parameters()):
            if isinstance(value, ast.List | ast.Tuple) and at < len(value.elts):
                found[self._syllabus.gradient(tensor)] = value.elts[at]
            elif isinstance(value, ast.Call):
                element = ast.parse(f"{name}[{at}]", mode="eval").body
                found[self._syllabus.gradient(tensor)] = element
        return found

    def _parameters(self) -> list[str]:
        """The course's names for the parameters, in the order of the notebook's own list."""
        returns = self._syllabus.training.outline.returns
        match self._value_of(self._syllabus.parameters):
            case ast.List(elements) | ast.Tuple(elements):
                meant = {theirs: name for name, theirs in self._own.items()}
                names = [each.id if isinstance(each, ast.Name) else "" for each in elements]
                return [meant.get(name, name) for name in names]
        return [self._syllabus.tensor(name) for name in returns]

    def _value_of(self, name: str, inside: bool = False) -> ast.expr | None:
        """What a name is bound to last."""
        for statement in reversed(self._body if inside else self._statements):
            for bound_name, value in pairs(statement.node):
                if bound_name == name:
                    return value
        return None

    def _result(self, name: str, element: ast.expr | None) -> ast.expr | None:
        """The listed expression; a variable of the gradient's name where nothing is listed."""
        match element:
            case None:
                return self._by_name(name)
            case ast.Constant():
                return None
            case ast.Name(used) if self._is_empty(used):
                return None
        return element

    def _by_name(self, name: str) -> ast.expr | None:
        tensor = self._syllabus.tensor(name)
        for pattern in self._syllabus.gradient_names:
            for each in (tensor, self._own.get(tensor, tensor)):
                used = pattern.format(each)
                if self._makers(used) and not self._is_empty(used):
                    return ast.Name(used, ast.Load())
        return None

    def _is_empty(self, name: str) -> bool:
        makers = self._makers(name)
        return bool(makers) and is_placeholder(makers[-1].node, name)

    def _makers(self, name: str) -> list[Statement]:
        return [s for s in self._body if name in changed(s.node)]


def _without_left_open(body: Sequence[Statement]) -> Iterator[Statement]:
    """The lecture's own line of several `None`, left below the answers that it stood for, does nothing."""
    made: set[str] = set()
    for statement in body:
        names = changed(statement.node)
        empty = {name for name in names if is_placeholder(statement.node, name)}
        if not (len(empty) > 1 and empty == names <= made):
            made |= names - empty
            yield statement
