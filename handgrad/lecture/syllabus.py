"""What an assignment says of the lecture it follows: `graders/<name>/lecture.toml` and its releases."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from handgrad.errors import UserError
from handgrad.lecture.outline import Outline, outline

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True, slots=True)
class Lesson:
    """One exercise of the lecture, and the released notebook that it became.

    `begins` is a value of the forward pass that this exercise computes once more, under another name:
    where a notebook without headings does so, the exercise begins.
    """

    notebook: str
    number: int
    outline: Outline
    begins: str


@dataclass(frozen=True, slots=True)
class Syllabus:
    """The lessons in order, and the lecture's names.

    `compare(label, gradient, tensor)` checks an answer. `gradients` is the list at the end of the
    training loop's backward pass, in the order of `parameters`. `heading` finds an exercise's number
    at the beginning of a comment or a line of text. `gradient_names` are patterns; the course's own
    is the first. `batch`: by the name of a part of a minibatch, the data it is taken from.
    """

    compare: str
    gradients: str
    parameters: str
    heading: re.Pattern[str]
    gradient_names: tuple[str, ...]
    batch: Mapping[str, str]
    lessons: tuple[Lesson, ...]

    @classmethod
    def read(cls, path: Path, released: Mapping[str, "NotebookNode"]) -> "Syllabus":
        """Raises UserError where the table cannot be used."""
        try:
            return cls.parse(path.read_text(encoding="utf-8"), released)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(
                str(path), f"it is not valid TOML ({error})", "Mend that line."
            ) from None
        except (KeyError, TypeError, ValueError, SyntaxError, re.error) as error:
            raise UserError(
                str(path), f"it cannot be used ({error!r})", "Mend that entry."
            ) from None

    @classmethod
    def parse(cls, text: str, released: Mapping[str, "NotebookNode"]) -> "Syllabus":
        """The syllabus of a table's text; KeyError and the like where it is not one."""
        table = tomllib.loads(text)
        lessons = [
            Lesson(
                entry["notebook"],
                int(entry["heading"]),
                outline(released[entry["notebook"]]),
                str(entry.get("begins", "")),
            )
            for entry in table["exercise"]
        ]
        return cls(
            compare=str(table["compare"]),
            gradients=str(table["gradients"]),
            parameters=str(table["parameters"]),
            heading=re.compile(r"[\W_]*" + table["heading"], re.IGNORECASE),
            gradient_names=tuple(map(str, table["gradient_names"])),
            batch={str(name): str(data) for name, data in table["batch"].items()},
            lessons=tuple(lessons),
        )

    @property
    def step_by_step(self) -> Lesson:
        """The lesson with the most answers, one for every step."""
        return max(self.lessons, key=lambda lesson: len(lesson.outline.answers))

    @property
    def training(self) -> Lesson:
        """The lesson whose answer is a function of all parameters."""
        return max(self.lessons, key=lambda lesson: len(lesson.outline.returns))

    def gradient(self, tensor: str) -> str:
        """The course's name for the gradient of a tensor: `dlogits` of `logits`."""
        return self.gradient_names[0].format(tensor)

    def tensor(self, gradient: str) -> str:
        """The inverse of `gradient`; "" where the name is none of a gradient."""
        before, after = self.gradient_names[0].split("{}")
        if gradient.startswith(before) and gradient.endswith(after) and gradient != before + after:
            return gradient[len(before) : len(gradient) - len(after)]
        return ""
