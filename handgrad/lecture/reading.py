"""A lecture's notebook read as a whole, before any of it is run: its statements, exercises, comparisons."""

import ast
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from handgrad.lecture.effects import changed, is_placeholder
from handgrad.lecture.ownnames import own_names
from handgrad.lecture.statements import Listing, Statement, listing
from handgrad.lecture.syllabus import Syllabus
from handgrad.lecture.trainingloop import Loop, find_loop
from handgrad.notebooks.notebookfile import RawCell

_COMPARING = frozenset({"allclose", "equal", "isclose", "assert_close", "assert_allclose"})

# How many values of the pass, with how many gradients, make a notebook one of the lecture. A network
# of the same kind has half of the values, by the same names, and no gradients.
MANY_VALUES, SOME_VALUES, FEW_GRADIENTS = 14, 6, 3


@dataclass(frozen=True, slots=True)
class Comparison:
    """A call that compares a gradient with autograd's; `tensor` is the variable it is the gradient of."""

    statement: int
    label: str
    gradient: ast.expr
    tensor: str

    @property
    def name(self) -> str:
        """The variable compared; "" where an expression is."""
        return self.gradient.id if isinstance(self.gradient, ast.Name) else ""


class Reading:
    """The statements of a notebook with what a syllabus makes of their text.

    `own` are a student's names for the course's leaves, `functions` those that the notebook defines;
    `changes` are by statement the names it binds or changes; `exercise` is a statement's exercise number,
    0 where none has been named yet.
    """

    def __init__(self, cells: Sequence[RawCell], syllabus: Syllabus) -> None:
        self.syllabus = syllabus
        self.listing: Listing = listing(cells)
        self.own = own_names(self.listing.statements, syllabus)
        self.targets = frozenset(
            target
            for lesson in syllabus.lessons
            if not lesson.outline.function
            for target in lesson.outline.answers
        )
        self.comparers = {syllabus.compare: 2} | _comparers(self.listing.statements)
        kept = [s for s in self.listing.statements if not _is_idle(s.node)]
        self.statements = tuple(
            replace(statement, index=at)
            for at, statement in enumerate(self._with_compared_expressions(kept))
        )
        self.functions = frozenset(
            s.node.name for s in self.statements if isinstance(s.node, ast.FunctionDef)
        ).difference(self.comparers)
        self.changes = tuple(changed(s.node, self.functions) for s in self.statements)
        self.loop: Loop | None = find_loop(self.statements, syllabus)
        self.comparisons = tuple(
            comparison for s in self.statements for comparison in self._compared(s)
        )
        self.first_answer = self._first_answer()
        self._headings = sorted(self._found_headings())
        self.exercise = {s.index: self._exercise(s) for s in self.statements}

    @property
    def is_of_the_lecture(self) -> bool:
        """Whether the notebook computes the lecture's values, and has gradients of them.

        A network of the same kind has not; neither has a file that only has the name.
        """
        outline = self.syllabus.step_by_step.outline
        made = frozenset().union(*self.changes)
        if self.loop is not None:
            made = made.union(*(changed(s.node) for s in self.loop.body))
        steps = set(map(self.syllabus.tensor, outline.answers)) & set(outline.values)
        compared = {(c.label, c.name) for c in self.comparisons}
        gradients = len(made & self.targets) + len(compared)
        values = len(made & steps)
        return values >= MANY_VALUES or (values >= SOME_VALUES and gradients >= FEW_GRADIENTS)

    @property
    def headed(self) -> frozenset[int]:
        """The exercises that the notebook says begin somewhere."""
        return frozenset(number for *_, number in self._headings)

    def before_training(self, statement: int) -> bool:
        return self.loop is None or statement < self.loop.statement

    def at(self, statement: int) -> str:
        """The number of a statement's cell."""
        return str(self.statements[statement].cell)

    # ---- where the exercises are

    def _found_headings(self) -> Iterator[tuple[int, int, int]]:
        numbers = {lesson.number for lesson in self.syllabus.lessons}
        for remark in self.listing.remarks:
            found = self.syllabus.heading.match(remark.text)
            if found and int(found.group(1)) in numbers:
                yield remark.cell, remark.line, int(found.group(1))

    def _exercise(self, statement: Statement) -> int:
        places = [(cell, line) for cell, line, _ in self._headings]
        before = bisect_right(places, (statement.cell, statement.line))
        return self._headings[before - 1][2] if before else 0

    def _first_answer(self) -> int:
        """The statement from which on the backward pass has begun."""
        gradients = self.targets | {
            pattern.format(name) for name in self.own for pattern in self.syllabus.gradient_names
        }
        gradients = (gradients | {c.name for c in self.comparisons}) - {""}
        for statement in self.statements:
            made = self.changes[statement.index] & gradients
            if any(not is_placeholder(statement.node, name) for name in made):
                return statement.index
        return len(self.statements)

    # ---- what is compared with what

    def _compared(self, statement: Statement) -> Iterator[Comparison]:
        """Every comparison that is a statement of its own."""
        if not isinstance(statement.node, ast.Expr | ast.Assert):
            return
        for each in ast.walk(statement.node):
            match each:
                case ast.Call(ast.Name(function), arguments) if (
                    function in self.comparers and len(arguments) >= 3
                ):
                    tensor = arguments[self.comparers[function] % len(arguments)]
                    others = [a for a in arguments if a is not tensor]
                    labels = [a.value for a in others if isinstance(a, ast.Constant)]
                    gradients = [
                        a for a in others if not isinstance(a, ast.Constant | ast.JoinedStr)
                    ]
                    label = str(labels[0]) if labels else ""
                    if gradients:
                        yield Comparison(statement.index, label, gradients[-1], _name(tensor))
                case ast.Call(
                    ast.Attribute(_, function),
                    [gradient, ast.Attribute(tensor, "grad"), *_]
                    | [ast.Attribute(tensor, "grad"), gradient, *_],
                ) if function in _COMPARING:
                    yield Comparison(statement.index, "", gradient, _name(tensor))

    def _with_compared_expressions(self, statements: Sequence[Statement]) -> Iterator[Statement]:
        """`cmp('h', dlogits @ W2.T, h)` where nothing else is called `dh` says what `dh` is."""
        bound = {name for statement in statements for name in changed(statement.node)}
        for statement in statements:
            yield statement
            for one in self._compared(statement):
                target = self.syllabus.gradient(one.tensor or one.label)
                told = one.name or isinstance(one.gradient, ast.Constant)
                if not told and target in self.targets and target not in bound:
                    text = f"{target} = {ast.unparse(one.gradient)}"
                    yield replace(statement, node=ast.parse(text).body[0], text=text)


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _comparers(statements: Sequence[Statement]) -> dict[str, int]:
    """Functions of the notebook's own that look at a parameter's `.grad`, and which one it is."""
    found = {}
    for statement in statements:
        if not isinstance(statement.node, ast.FunctionDef):
            continue
        names = [argument.arg for argument in statement.node.args.args]
        for node in ast.walk(statement.node):
            match node:
                case ast.Attribute(value=ast.Name(owner), attr="grad") if owner in names:
                    if len(names) >= 3:
                        found[statement.node.name] = names.index(owner)
                    break
    return found


def _is_idle(node: ast.stmt) -> bool:
    """`dlogits = dlogits  # TODO`"""
    match node:
        case ast.Assign(targets=[ast.Name(name)], value=ast.Name(value)):
            return name == value
    return False
