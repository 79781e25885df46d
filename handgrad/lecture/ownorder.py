"""A lecture's own notebook as the course's: for each of these what it gives, and then the student's own
statements in their own order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from handgrad.lecture import look
from handgrad.lecture.choice import Answer, Choice
from handgrad.lecture.derivation import Derivation, Setup, in_the_look
from handgrad.lecture.look import Look
from handgrad.lecture.reading import Reading
from handgrad.lecture.syllabus import Lesson
from handgrad.lecture.training import backward
from handgrad.notebooks.submission import Piece, Prepared, in_own_order
from handgrad.plan import Cell
from handgrad.verdict import Note

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True, slots=True)
class OwnOrder:
    """One of the course's notebooks made of a lecture's. `doubts`: by variable, why an answer that is not
    right, or not there, may be none of the student's doing.
    """

    prepared: Prepared
    doubts: Mapping[str, Note] = field(default_factory=dict)


def to_look_at(reading: Reading, prefix: Sequence[Cell]) -> tuple[Cell, ...]:
    """The cells of the first run, which shows what the notebook's values are."""
    return look.cells(prefix, in_the_look(reading))


def in_order(
    reading: Reading, seen: Look, released: Mapping[str, "NotebookNode"]
) -> dict[str, OwnOrder]:
    """The course's notebooks by stem."""
    return _Writer(reading, seen).written(released)


class _Writer:
    """Puts one notebook's answers in order, lesson by lesson, and says what was found where."""

    def __init__(self, reading: Reading, seen: Look) -> None:
        self.reading, self.look = reading, seen
        self.choice = Choice(reading, seen)
        self.setup = Setup(reading, seen)
        self.first = reading.syllabus.step_by_step

    def written(self, released: Mapping[str, "NotebookNode"]) -> dict[str, OwnOrder]:
        found = {}
        for lesson in self.reading.syllabus.lessons:
            pieces, notes = self._training() if lesson.outline.function else self._derived(lesson)
            if lesson is self.first:
                notes = [*self._about_the_file(), *notes]
            told = _once([*_sources(pieces), *notes])
            prepared = in_own_order(released[lesson.notebook], pieces, told)
            found[lesson.notebook] = OwnOrder(prepared, dict(self._doubts(lesson)))
        return found

    def _training(self) -> tuple[list[Piece], list[Note]]:
        found = backward(self.reading, self.look)
        return found.pieces, found.notes

    def _derived(self, lesson: Lesson) -> tuple[list[Piece], list[Note]]:
        derivation = Derivation(self.choice, self.setup, lesson)
        answers = self.choice.answers[lesson.notebook]
        notes = [*self._about_names(answers), *self._about_the_exercise(lesson)]
        notes += self._about_other_attempts(answers)
        missing = [target for target in lesson.outline.answers if target not in answers]
        if missing:
            notes.append(Note("lecture_not_found", {"names": ", ".join(missing)}))
        notes += [
            Note("lecture_undefined", {"used": name}) for name in sorted(derivation.undefined)
        ]
        return list(derivation.pieces()), notes

    # ---- what is said

    def _about_the_file(self) -> Iterator[Note]:
        """Lines that are no Python, other names for what the course gives, and other formulas."""
        for line in self.reading.listing.unreadable:
            parts = {"cell": str(line.cell), "line": str(line.line), "text": line.text}
            yield Note("lecture_unreadable", parts)
        for used, name in self.reading.own.items():
            yield Note("lecture_value_as", {"name": name, "used": used})
        values = set(self.first.outline.values)
        for index, made in sorted(self.look.made.items()):
            for used, found in made.items():
                named = used not in self.first.outline.given and found.values & values
                if named and index < self.reading.first_answer:
                    yield Note("lecture_value_as", {"name": min(named), "used": used})
        for name, index in self.setup.formulas.items():
            yield self._formula(name, index)

    def _formula(self, name: str, index: int) -> Note:
        line = self.reading.statements[index].text
        parts = {"name": name, "cell": self.reading.at(index), "line": line}
        return Note("lecture_other_formula", parts)

    def _about_names(self, answers: Mapping[str, Answer]) -> Iterator[Note]:
        for answer in answers.values():
            if answer.how:
                parts = {"name": answer.target, "used": answer.name}
                yield Note(f"lecture_{answer.how}", parts)

    def _about_the_exercise(self, lesson: Lesson) -> Iterator[Note]:
        for code, found in (
            ("by_its_form", self.choice.by_form),
            ("counted_twice", self.choice.counted_twice),
        ):
            for one, name in found:
                if one is lesson:
                    yield Note(f"lecture_{code}", {"name": name})

    def _about_other_attempts(self, answers: Mapping[str, Answer]) -> Iterator[Note]:
        """Which answers do not count: those before the one that does, and later ones not compared."""
        told: dict[tuple[str, int], dict[str, list[int]]] = {}
        for answer in answers.values():
            if answer.how == "compared_as":  # one name may stand for many gradients
                continue
            number = self.choice.number[answer.at] or self.first.number
            for index in self.choice.makers(answer.name, self.reading.before_training):
                asked = self.choice.number[index] or self.first.number
                if asked != number or answer.first <= index <= answer.at:
                    continue
                code = "overwritten" if index < answer.at else "after_compare"
                if self.choice.is_borrowed(index, answer.name):
                    code = "borrowed"
                elif not self.choice.binds_anew(index, answer.name):
                    continue
                told.setdefault((code, answer.at), {}).setdefault(answer.target, []).append(index)
        yield from (self._attempts(*key, names) for key, names in told.items())

    def _attempts(self, code: str, counted: int, names: Mapping[str, list[int]]) -> Note:
        statements = self.reading.statements
        cell = statements[counted].cell
        cells = {statements[index].cell for each in names.values() for index in each} - {cell}
        parts = {"names": ", ".join(names), "counted": str(cell)}
        if not cells and code != "borrowed":
            return Note("lecture_again", parts)
        return Note(
            f"lecture_{code}", {**parts, "cells": ", ".join(map(str, sorted(cells or {cell})))}
        )

    # ---- what cannot be told

    def _doubts(self, lesson: Lesson) -> Iterator[tuple[str, Note]]:
        """Gradients through a line of the forward pass that is another one here, and those that are not
        found although something unknown is compared.
        """
        outline = self.first.outline
        if lesson.outline.function:  # whose forward pass is another one
            return
        for name, index in self.setup.formulas.items():
            for tensor in self._behind(name):
                yield self.reading.syllabus.gradient(tensor), self._formula(name, index)
        if lesson is self.first and self.choice.unknown:
            cells = sorted({int(self.reading.at(c.statement)) for c in self.choice.unknown})
            note = Note("lecture_unknown", {"cells": ", ".join(map(str, cells))})
            answers = self.choice.answers[lesson.notebook]
            yield from ((target, note) for target in outline.answers if target not in answers)

    def _behind(self, name: str) -> Iterator[str]:
        """What a value is made from in the course, through values that are not made here at all."""
        outline = self.first.outline
        there = {
            v for made in self.look.made.values() for each in made.values() for v in each.values
        }
        for tensor in outline.inputs.get(name, ()):
            yield tensor
            if tensor in outline.values and tensor not in there:
                yield from self._behind(tensor)


def _sources(pieces: Sequence[Piece]) -> Iterator[Note]:
    """Which answers came from where, those from the same cell in one sentence."""
    together: dict[int, list[str]] = {}
    for piece in pieces:
        if piece.source is not None:
            together.setdefault(piece.number, []).extend(piece.answers)
    for cell, names in together.items():
        if names:
            yield Note("lecture_taken", {"names": ", ".join(names), "cells": str(cell)})


def _once(notes: Sequence[Note]) -> list[Note]:
    return [note for at, note in enumerate(notes) if note not in notes[:at]]
