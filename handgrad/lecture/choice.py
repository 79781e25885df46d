"""Which statement makes the answer that counts, by exercise and gradient."""

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial

from handgrad.lecture.effects import is_borrowed, is_placeholder, reads
from handgrad.lecture.look import Look
from handgrad.lecture.reading import Comparison, Reading
from handgrad.lecture.syllabus import Lesson


@dataclass(frozen=True, slots=True)
class Answer:
    """The variable that stands for a target once statement `at` has run; `how` says why where the name
    differs. `first` is the statement that bound it, before others changed it in place.
    """

    target: str
    name: str
    first: int
    at: int
    how: str = ""


class Choice:
    """The answers of a notebook that count, by the course's notebook and the gradient.

    The step-by-step lesson asks for every gradient, the others for one of them again, in one go.
    `counted_twice` are answers that were there once and stand in both places; `by_form` are those of
    exercises that no heading announced. `unknown` are comparisons that are about none of the gradients
    found: what they compare may be an answer.
    """

    def __init__(self, reading: Reading, look: Look) -> None:
        self.reading, self.look = reading, look
        self.first = reading.syllabus.step_by_step
        lessons = reading.syllabus.lessons
        self.others = [one for one in lessons if one is not self.first and not one.outline.function]
        self.about = {c: self._target(c) for c in reading.comparisons}
        self.begins = {lesson.number: self._begins(lesson) for lesson in self.others}
        self.number = tuple(self._numbered())
        self.counted_twice: list[tuple[Lesson, str]] = []
        self.by_form: list[tuple[Lesson, str]] = []
        self.answers: dict[str, dict[str, Answer]] = {
            lesson.notebook: dict(self._in_one_go(lesson)) for lesson in self.others
        }
        self.answers[self.first.notebook] = self._steps()
        self.unknown = [c for c, target in self.about.items() if not target]

    # ---- what is called what

    def _target(self, comparison: Comparison) -> str:
        """Which target a comparison is about; a gradient that has the course's name is its own."""
        syllabus, targets = self.reading.syllabus, self.reading.targets
        if comparison.name in targets and not self._is_shadowed(comparison.name):
            return comparison.name
        tensor, at = comparison.tensor, comparison.statement
        known = self.reading.own.get(tensor) or self.look.meaning(tensor, at) or tensor
        label = comparison.label
        meant = (syllabus.gradient(known), syllabus.gradient(label), label)
        return next((name for name in meant if name in targets), "")

    def _is_shadowed(self, target: str) -> bool:
        """Whether the tensor of a target is a student's name for something else."""
        return self.reading.syllabus.tensor(target) in self.reading.own

    def _names_of(self, target: str) -> Iterator[tuple[str, str]]:
        """Names that the gradient may go by, the likeliest first, and how one came to think so."""
        reading, tensor = self.reading, self.reading.syllabus.tensor(target)
        if not self._is_shadowed(target):
            yield target, ""
        compared = [c.name for c, about in self.about.items() if about == target]
        yield from ((name, "compared_as") for name in reversed(compared) if name)
        tensors = [tensor, *(own for own, meant in reading.own.items() if meant == tensor)]
        tensors += [
            name
            for made in self.look.made.values()
            for name, found in made.items()
            if tensor in found.values and name not in tensors
        ]
        for pattern in reading.syllabus.gradient_names:
            yield from ((pattern.format(each), "named_as") for each in dict.fromkeys(tensors))

    # ---- which of several counts

    def makers(self, name: str, allowed: Callable[[int], bool]) -> list[int]:
        """The allowed statements that make or change something of this name."""
        statements = self.reading.statements
        return [
            index
            for index, changes in enumerate(self.reading.changes)
            if name in changes
            and allowed(index)
            and not isinstance(statements[index].node, ast.FunctionDef | ast.Import | ast.Delete)
            and not is_placeholder(statements[index].node, name)
        ]

    def is_borrowed(self, index: int, name: str) -> bool:
        """Whether it is autograd's, as people go on with who are stuck or want exact zeros."""
        return is_borrowed(self.reading.statements[index].node, name)

    def answer(self, target: str, allowed: Callable[[int], bool]) -> Answer | None:
        """What was made before the last comparison; the last of all where nothing compares it."""
        for name, how in dict.fromkeys(self._names_of(target)):
            if how and name in self.reading.targets and not self._is_shadowed(name):
                continue
            makers = self.makers(name, allowed)
            makers = [i for i in makers if not self.is_borrowed(i, name)] or makers
            compared = [
                c.statement for c, about in self.about.items() if (about, c.name) == (target, name)
            ]
            found = [max(m for m in makers if m < c) for c in compared if makers and makers[0] < c]
            if not makers or (how == "compared_as" and not found):
                continue
            at = found[-1] if found else makers[-1]
            for later in (m for m in makers if m > at):  # a branch added after it was compared
                if not self._adds(later, at, name):
                    break
                at = later
            return Answer(target, name, self._bound(name, at, makers), at, how)
        return None

    def _adds(self, index: int, to: int, name: str) -> bool:
        match self.reading.statements[index].node:
            case ast.AugAssign(ast.Name(bound), ast.Add()):
                return bound == name and self.reading.exercise[index] == self.reading.exercise[to]
        return False

    def _bound(self, name: str, at: int, makers: Sequence[int]) -> int:
        """The last of the makers up to `at` that binds the name anew."""
        return max((m for m in makers if m <= at and self.binds_anew(m, name)), default=at)

    def binds_anew(self, index: int, name: str) -> bool:
        node = self.reading.statements[index].node
        return name in {n.id for n in _targets(node)} and name not in reads(node)

    # ---- the exercises

    def _begins(self, lesson: Lesson) -> int:
        """Where an exercise that no heading announces computes a value of the forward pass once more."""
        for index, made in sorted(self.look.made.items()):
            again = any(
                lesson.begins in found.values and name != lesson.begins
                for name, found in made.items()
            )
            if again and index > self.reading.first_answer and self.reading.before_training(index):
                return index
        return -1

    def _numbered(self) -> Iterator[int]:
        """The number of the exercise that each statement stands in, 0 before any is named."""
        number, before = 0, 0
        begins = {at: each for each, at in self.begins.items() if each not in self.reading.headed}
        for index in range(len(self.reading.statements)):
            headed = self.reading.exercise[index]
            number = begins.get(index, headed if headed != before else number)
            before = headed
            yield number

    def _has(self, lesson: Lesson) -> bool:
        return lesson.number in self.reading.headed or self.begins[lesson.number] >= 0

    def _in_one_go(self, lesson: Lesson) -> Iterator[tuple[str, Answer]]:
        """The answers to an exercise that asks for gradients once more."""
        reading = self.reading
        for target in lesson.outline.answers:
            found: Answer | None
            if self._has(lesson):
                found = self.answer(
                    target,
                    lambda i: self.number[i] == lesson.number and reading.before_training(i),
                )
            else:
                found = self._by_its_form(target)
                if found is not None:
                    self.by_form.append((lesson, target))
            if found is not None:
                yield target, found

    def _by_its_form(self, target: str) -> Answer | None:
        """The last attempt at a gradient, where it comes from fewer others than an earlier one."""
        last = self.answer(target, self.reading.before_training)
        if last is None:
            return None
        makers = self.makers(last.name, lambda i: i <= last.at)
        starts = [m for m in makers if self.binds_anew(m, last.name)] or makers[:1]
        counts = [
            self._count(last.name, [m for m in makers if start <= m < end])
            for start, end in zip(starts, [*starts[1:], last.at + 1], strict=True)
        ]
        leap = len(counts) == 1 and self._is_leap(target)
        if counts[-1] <= 1 and (leap or any(count > counts[-1] for count in counts[:-1])):
            return last
        return None

    def _count(self, name: str, attempt: Sequence[int]) -> int:
        """How many other gradients the statements of an attempt read."""
        read = frozenset().union(*(reads(self.reading.statements[i].node) for i in attempt))
        return len(read & self.reading.targets - {name})

    def _is_leap(self, target: str) -> bool:
        """Whether the step that leads up to a gradient is answered nowhere."""
        order = list(self.first.outline.answers)
        before = order[: order.index(target)]
        return bool(before) and self.answer(before[-1], self.reading.before_training) is None

    def _steps(self) -> dict[str, Answer]:
        """The answers to the exercise that goes step by step."""
        mine: dict[str, Answer] = {}
        elsewhere = {
            (answer.target, index)
            for found in self.answers.values()
            for answer in found.values()
            for index in range(answer.first, answer.at + 1)
        }
        for target in self.first.outline.answers:
            taken = {index for name, index in elsewhere if name == target}
            inside = self.answer(target, partial(self._inside, taken))
            found = inside or self.answer(target, partial(self._outside, taken, target))
            if found is not None:
                mine[target] = found
        for lesson in self.others:
            for target, answer in self.answers[lesson.notebook].items():
                if target not in mine and self._is_read(answer, mine.values()):
                    mine[target] = Answer(target, answer.name, answer.first, answer.at, answer.how)
                    self.counted_twice.append((lesson, target))
        return mine

    def _is_read(self, answer: Answer, by: Iterable[Answer]) -> bool:
        """Whether one of these answers is made from another one, behind it."""
        statements = self.reading.statements
        return any(e.at > answer.at and answer.name in reads(statements[e.at].node) for e in by)

    def _inside(self, taken: Set[int], index: int) -> bool:
        if index in taken:
            return False
        return self.number[index] in (0, self.first.number) and self.reading.before_training(index)

    def _outside(self, taken: Set[int], target: str, index: int) -> bool:
        """Whether a statement of another exercise may be a step: behind that exercise's own answer."""
        number = self.number[index]
        for lesson in self.others:
            if lesson.number == number:
                own = [answer.at for answer in self.answers[lesson.notebook].values()]
                if target in lesson.outline.answers or not own or index < max(own):
                    return False
        return index not in taken and self.reading.before_training(index)


def _targets(node: ast.stmt) -> Iterator[ast.Name]:
    """The names that a statement binds as a whole, where it is an assignment."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            for each in ast.walk(target):
                if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                    yield each
