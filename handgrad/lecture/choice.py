"""Which answer belongs to which exercise, where one gradient is asked for more than once."""

from collections.abc import Callable, Mapping

from handgrad.lecture.candidate import Answer
from handgrad.lecture.extract import Extraction
from handgrad.lecture.flow import Slices, Use, Version
from handgrad.lecture.reading import Reading
from handgrad.lecture.syllabus import Lesson, Syllabus


class Choice:
    """The answers of a notebook that count, by the course's notebook and the gradient.

    The step-by-step lesson asks for every gradient, the others for one of them again, in one go.
    `counted_twice` are answers that were there once and stand in both places; `by_form` are those of
    exercises that no heading announced.
    """

    def __init__(self, reading: Reading, syllabus: Syllabus) -> None:
        self.reading = reading
        self.first = syllabus.step_by_step
        self.others = [
            lesson
            for lesson in syllabus.lessons
            if lesson is not self.first and not lesson.outline.function
        ]
        self.counted_twice: list[tuple[Lesson, str]] = []
        self.by_form: list[tuple[Lesson, str]] = []
        self.answers = self._choose()

    def _choose(self) -> dict[str, dict[str, Answer]]:
        """By notebook and target the answers that count."""
        chosen: dict[str, dict[str, Answer]] = {lesson.notebook: {} for lesson in self.others}
        chosen[self.first.notebook] = {}
        elsewhere: set[Version] = set()
        for lesson in self.others:
            for target in lesson.outline.answers:
                answer = self._in_one_go(lesson, target)
                if answer is not None:
                    chosen[lesson.notebook][target] = answer
                    elsewhere.add(answer.version)
        mine = chosen[self.first.notebook]
        helping = self._behind(chosen)
        for target in self.first.outline.answers:
            inside, outside = self._is_step(target, elsewhere, helping)
            answer = self.reading.answer(target, inside) or self.reading.answer(target, outside)
            if answer is not None:
                mine[target] = answer
        for lesson in self.others:
            for target, answer in chosen[lesson.notebook].items():
                if target not in mine and self._is_read(answer, mine):
                    mine[target] = Answer(target, answer.use, answer.how)
                    self.counted_twice.append((lesson, target))
        return chosen

    def _behind(self, chosen: Mapping[str, Mapping[str, Answer]]) -> set[int]:
        """All that the answers to the later exercises are made from, down to what those give."""
        helping: set[int] = set()
        for lesson in self.others:
            uses = [answer.use for answer in chosen[lesson.notebook].values()]
            helping |= self._extraction(lesson, {}).slices.behind(*uses)
        return helping

    def _is_step(
        self, target: str, elsewhere: set[Version], helping: set[int]
    ) -> tuple[Callable[[int], bool], Callable[[int], bool]]:
        """Whether what a statement makes may answer the exercise that goes step by step.

        First of those where that exercise is, then of those behind: some go on with it later. There,
        what only serves the answer to a later exercise is none to this one.
        """
        reading = self.reading
        again = [lesson.number for lesson in self.others if target in lesson.outline.answers]
        taken = {version.creator for version in elsewhere}

        def inside(statement: int) -> bool:
            mine = reading.exercise[statement] in (0, self.first.number)
            return mine and reading.before_training(statement) and statement not in taken

        def outside(statement: int) -> bool:
            other = reading.exercise[statement] not in again
            return other and reading.before_training(statement) and statement not in taken | helping

        return inside, outside

    def _in_one_go(self, lesson: Lesson, target: str) -> Answer | None:
        """The answer to an exercise that asks for a gradient once more."""
        reading = self.reading
        if reading.has(lesson.number):
            return reading.answer(
                target,
                lambda s: reading.exercise[s] == lesson.number and reading.before_training(s),
            )
        answers = reading.versions(target, reading.before_training)
        if not answers:
            return None
        *earlier, last = answers
        steps = self._steps(last, lesson, target)
        again = any(self._steps(each, lesson, target) > steps for each in earlier)
        if steps <= 1 and (again or (not earlier and self._is_leap(target))):
            self.by_form.append((lesson, target))
            return Answer(target, Use(last, len(last.changes)))
        return None

    def _is_leap(self, target: str) -> bool:
        """Whether the step that leads up to a gradient is answered nowhere."""
        order = list(self.first.outline.answers)
        before = order[: order.index(target)]
        return bool(before) and not self.reading.versions(before[-1], self.reading.before_training)

    def _steps(self, version: Version, lesson: Lesson, target: str) -> int:
        """How many other gradients are made on the way to one, from those that the exercise gives."""
        slices = self._extraction(lesson, {}).slices
        behind = slices.behind(Use(version, len(version.changes)))
        made = {name for at in behind for name in self.reading.flow.effects[at].binds}
        return len(made & self.reading.targets - {target})

    def _is_read(self, answer: Answer, by: Mapping[str, Answer]) -> bool:
        slices = Slices(self.reading.flow, lambda version: False)
        return answer.version.creator in slices.behind(*(each.use for each in by.values()))

    def extraction(self, lesson: Lesson) -> Extraction:
        """What takes a lesson's answers out of the notebook, once they are chosen."""
        steps = {} if lesson is self.first else self.answers[self.first.notebook]
        return self._extraction(lesson, steps)

    def _extraction(self, lesson: Lesson, steps: Mapping[str, Answer]) -> Extraction:
        """`steps` are answers of another exercise; what this one gives of them is given."""
        reading = self.reading
        forward = dict(reading.forward[lesson.notebook])
        for target, answer in steps.items():
            if target in lesson.outline.given:
                forward[answer.version] = target

        def also_given(version: Version) -> bool:
            return (
                version.name in reading.targets & lesson.outline.given
                and reading.exercise[version.creator] != lesson.number
            )

        return Extraction(
            reading.flow,
            lesson.outline,
            forward,
            lambda statement: statement < reading.first_answer,
            also_given,
        )
