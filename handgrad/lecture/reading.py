"""A lecture's notebook read as a whole: its exercises, what it compares, which answer counts."""

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from handgrad.lecture.candidate import Answer, Comparison, is_borrowed, is_placeholder, matched
from handgrad.lecture.flow import Change, Flow, Use, Version, flow
from handgrad.lecture.likeness import form
from handgrad.lecture.outline import pairs
from handgrad.lecture.ownnames import own_names, with_course_names
from handgrad.lecture.statements import Listing, Statement, listing
from handgrad.lecture.syllabus import Lesson, Syllabus
from handgrad.lecture.trainingloop import Loop, find_loop
from handgrad.notebooks.notebookfile import RawCell

_COMPARING = frozenset({"allclose", "equal", "isclose", "assert_close", "assert_allclose"})


class Reading:
    """The statements of a notebook with what a syllabus makes of them.

    `forward` holds, by lesson, the versions that are values of its forward pass under whatever name.
    `exercise` is a statement's exercise number, 0 where none has been named yet.
    """

    def __init__(self, cells: Sequence[RawCell], syllabus: Syllabus) -> None:
        self.syllabus = syllabus
        self.listing: Listing = listing(cells)
        self.own_names = own_names(self.listing.statements, syllabus)
        if self.own_names:
            self.listing = listing(with_course_names(cells, self.own_names, syllabus))
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
        self.flow: Flow = flow(self.statements)
        self.loop: Loop | None = find_loop(self.statements, syllabus)
        self.forward = {
            lesson.notebook: matched(self.statements, self.flow, lesson.outline, syllabus.numbers)
            for lesson in syllabus.lessons
        }
        self.comparisons = tuple(self._comparisons())
        self.first_answer = self._first_answer()
        self.exercise = self._exercises()

    # ---- where the exercises are

    def _exercises(self) -> dict[int, int]:
        events = []
        numbers = {lesson.number for lesson in self.syllabus.lessons}
        for remark in self.listing.remarks:
            found = self.syllabus.heading.match(remark.text)
            if found and int(found.group(1)) in numbers:
                events.append((remark.cell, remark.line, int(found.group(1))))
        headed = {number for _, _, number in events}
        for lesson in self.syllabus.lessons:
            if lesson.number not in headed and lesson.begins:
                events += self._beginnings(lesson)
        events.sort()
        exercise, at, number = {}, 0, 0
        for statement in self.statements:
            while at < len(events) and events[at][:2] <= (statement.cell, statement.line):
                number = events[at][2]
                at += 1
            exercise[statement.index] = number
        return exercise

    def _beginnings(self, lesson: Lesson) -> Iterator[tuple[int, int, int]]:
        """Where a notebook without headings computes what only this exercise does."""
        same, numbers = lesson.outline.same, self.syllabus.numbers
        for statement in self.statements:
            if statement.index <= self.first_answer or not isinstance(statement.node, ast.Assign):
                continue
            if any(
                form(value, same, numbers) in lesson.begins for _, value in pairs(statement.node)
            ):
                yield statement.cell, statement.line, lesson.number

    def _first_answer(self) -> int:
        """The statement from which on the backward pass has begun."""
        compared = {c.use.version for c in self.comparisons if c.use is not None}
        for at, statement in enumerate(self.statements):
            for name, version in self.flow.makes[at].items():
                is_answer = name in self.targets or version in compared
                if is_answer and not is_placeholder(statement.node, name):
                    return statement.index
        return len(self.statements)

    def has(self, number: int) -> bool:
        """Whether the notebook says anywhere that an exercise begins."""
        return number in self.exercise.values()

    def before_training(self, statement: int) -> bool:
        return self.loop is None or statement < self.loop.statement

    # ---- what is compared with what

    def _comparisons(self) -> Iterator[Comparison]:
        for at, statement in enumerate(self.statements):
            for label, gradient, tensor in self._compared(statement.node):
                if not isinstance(gradient, ast.Name):
                    continue
                target = self._target(at, label, gradient, tensor)
                if target:
                    use = self.flow.uses[at].get(gradient.id)
                    yield Comparison(statement.index, target, gradient.id, use)

    def _compared(self, node: ast.stmt) -> Iterator[tuple[str, ast.expr, ast.expr]]:
        """Label, gradient and tensor of every comparison that is a statement of its own."""
        if not isinstance(node, ast.Expr | ast.Assert):
            return
        for each in ast.walk(node):
            match each:
                case ast.Call(func=ast.Name(function), args=arguments) if (
                    function in self.comparers and len(arguments) >= 3
                ):
                    tensor = arguments[self.comparers[function] % len(arguments)]
                    others = [a for a in arguments if a is not tensor]
                    labels = [a.value for a in others if isinstance(a, ast.Constant)]
                    gradients = [
                        a for a in others if not isinstance(a, ast.Constant | ast.JoinedStr)
                    ]
                    if gradients:
                        yield str(labels[0]) if labels else "", gradients[-1], tensor
                case (
                    ast.Call(
                        func=ast.Attribute(attr=function),
                        args=[gradient, ast.Attribute(value=tensor, attr="grad"), *_],
                    )
                    | ast.Call(
                        func=ast.Attribute(attr=function),
                        args=[ast.Attribute(value=tensor, attr="grad"), gradient, *_],
                    )
                ) if function in _COMPARING:
                    yield "", gradient, tensor

    def _target(self, at: int, label: str, gradient: ast.Name, tensor: ast.expr) -> str:
        """Which target a comparison is about; a gradient that has the course's name is its own."""
        if gradient.id in self.targets:
            return gradient.id
        first = self.syllabus.step_by_step
        if isinstance(tensor, ast.Name):
            use = self.flow.uses[at].get(tensor.id)
            known = self.forward[first.notebook].get(use.version) if use is not None else None
            meant = self.syllabus.gradient(known or tensor.id)
            if meant in self.targets:
                return meant
        for meant in (self.syllabus.gradient(label), label):
            if meant in self.targets:
                return meant
        return ""

    def _with_compared_expressions(self, statements: Sequence[Statement]) -> Iterator[Statement]:
        """`cmp('h', dlogits @ W2.T, h)` where nothing else is called `dh` says what `dh` is."""
        bound = {
            node.id
            for statement in statements
            for node in ast.walk(statement.node)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for statement in statements:
            yield statement
            for label, gradient, tensor in self._compared(statement.node):
                if isinstance(gradient, ast.Name | ast.Constant):
                    continue
                name = tensor.id if isinstance(tensor, ast.Name) else label
                target = self.syllabus.gradient(name)
                if target in self.targets and target not in bound:
                    text = f"{target} = {ast.unparse(gradient)}"
                    node = ast.parse(text).body[0]
                    yield replace(statement, node=node, text=text)

    # ---- which answer counts

    def names_of(self, target: str) -> Iterator[tuple[str, str]]:
        """Names that the gradient may go by, the likeliest first, and how one came to think so."""
        yield target, ""
        compared = [c for c in self.comparisons if c.target == target and c.name != target]
        yield from ((c.name, "compared_as") for c in reversed(compared))
        tensor = self.syllabus.tensor(target)
        forward = self.forward[self.syllabus.step_by_step.notebook]
        tensors = [tensor, *(v.name for v, meant in forward.items() if meant == tensor)]
        for pattern in self.syllabus.gradient_names:
            for each in dict.fromkeys(tensors):
                yield pattern.format(each), "named_as"

    def versions(self, name: str, allowed: Callable[[int], bool]) -> list[Version]:
        """The versions of a name that answer something, made by allowed statements."""
        found = []
        for version in self.flow.of.get(name, ()):
            statement = self.statements[version.creator]
            empty = is_placeholder(statement.node, name) and not version.changes
            a_name_of_another_kind = isinstance(statement.node, ast.FunctionDef | ast.Import)
            if allowed(version.creator) and not empty and not a_name_of_another_kind:
                found.append(version)
        return found

    def is_borrowed(self, version: Version) -> bool:
        """Whether the version is autograd's, as people go on with who are stuck or want exact zeros."""
        return is_borrowed(self.statements[version.creator].node, version.name)

    def answer(self, target: str, allowed: Callable[[int], bool]) -> Answer | None:
        """The last version before its last comparison; the last one of all where nothing compares it."""
        for name, how in self.names_of(target):
            if how and name in self.targets:
                continue
            versions = self.versions(name, allowed)
            versions = [v for v in versions if not self.is_borrowed(v)] or versions
            if how == "compared_as":
                meant = [c.use.version for c in self._about(target, name) if c.use is not None]
                versions = [version for version in versions if version in meant]
            if versions:
                return self._last(target, name, how, versions)
        return None

    def _about(self, target: str, name: str) -> list[Comparison]:
        return [c for c in self.comparisons if c.target == target and c.name == name]

    def _last(self, target: str, name: str, how: str, versions: list[Version]) -> Answer:
        compared = [
            c.use
            for c in self._about(target, name)
            if c.use is not None and c.use.version in versions
        ]
        chosen = compared[-1] if compared else Use(versions[-1], len(versions[-1].changes))
        state = 0
        for count, change in enumerate(chosen.version.changes[: chosen.state], start=1):
            # `dlogits = dnorm_logits`, then `dlogits += ...`: that is dlogits' doing, and dnorm_logits
            # is looked at before it.
            foreign = change.name != name and change.name in self.targets
            if not foreign and self.before_training(change.statement):
                state = count
        for change in chosen.version.changes[
            chosen.state :
        ]:  # a branch added after it was compared
            if not self._adds(change, name, chosen.version):
                break
            state += 1
        return Answer(target, Use(chosen.version, state), how)

    def _adds(self, change: Change, name: str, version: Version) -> bool:
        node = self.statements[change.statement].node
        return (
            isinstance(node, ast.AugAssign)
            and isinstance(node.op, ast.Add)
            and change.name == name
            and self.before_training(change.statement)
            and self.exercise[change.statement] == self.exercise[version.creator]
        )


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
