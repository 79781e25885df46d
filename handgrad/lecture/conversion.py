"""A lecture's own notebook, one long one, as the course's notebooks with their cells filled."""

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handgrad.lecture.candidate import Answer
from handgrad.lecture.choice import Choice
from handgrad.lecture.extract import Extraction, Taken
from handgrad.lecture.flow import Version, flow
from handgrad.lecture.reading import Reading
from handgrad.lecture.syllabus import Lesson, Syllabus
from handgrad.lecture.training import backward
from handgrad.notebooks.matching import slots_of
from handgrad.notebooks.notebookfile import RawCell
from handgrad.verdict import Note

if TYPE_CHECKING:
    from nbformat import NotebookNode

# How many values of the pass, with how many gradients, make a notebook one of the lecture. A network
# of the same kind has half of the values, by the same names, and no gradients.
MANY_VALUES, SOME_VALUES, FEW_GRADIENTS = 14, 6, 3


@dataclass(frozen=True, slots=True)
class Extracted:
    """Code for the course's cells, by notebook and grade id.

    `cells` are the numbers of the cells that each answer was taken from. `notes` say by notebook what
    was found where, and what was not; those under "" are about the whole file.
    """

    code: Mapping[str, Mapping[str, str]]
    cells: Mapping[str, Mapping[str, tuple[int, ...]]]
    notes: Mapping[str, tuple[Note, ...]]


def recognise(cells: Sequence[RawCell], syllabus: Syllabus) -> bool:
    """Whether this is the lecture's notebook: it computes its values, and has gradients of them.

    A notebook of the course itself is not; neither is a file that only has the name.
    """
    known = {answer for lesson in syllabus.lessons for answer in lesson.outline.answers}
    if any(cell.grade_id in known for cell in cells):
        return False
    reading = Reading(cells, syllabus)
    first = syllabus.step_by_step
    made = {version.name for version in reading.flow.versions}
    if reading.loop is not None:
        made |= {name for each in flow(reading.loop.body).makes for name in each}
    meant = set(reading.forward[first.notebook].values())
    steps = set(map(syllabus.tensor, first.outline.answers)) & set(first.outline.values)
    values = len((made | meant) & steps)
    gradients = len(made & reading.targets) + len({c.target for c in reading.comparisons})
    return values >= MANY_VALUES or (values >= SOME_VALUES and gradients >= FEW_GRADIENTS)


def extract(cells: Sequence[RawCell], syllabus: Syllabus) -> Extracted:
    """The answers to all exercises of a lecture notebook's cells."""
    return _Reader(cells, syllabus).extracted()


def convert(
    cells: Sequence[RawCell], syllabus: Syllabus, released: Mapping[str, "NotebookNode"]
) -> tuple[dict[str, "NotebookNode"], Extracted]:
    """The released notebooks with the answers in them; what was not found stays as released."""
    extracted = extract(cells, syllabus)
    return filled(released, extracted), extracted


def filled(
    released: Mapping[str, "NotebookNode"], extracted: Extracted
) -> dict[str, "NotebookNode"]:
    """Copies of the released notebooks with the code put in the solution cells."""
    notebooks = {}
    for name, notebook in released.items():
        notebooks[name] = deepcopy(notebook)
        code = extracted.code.get(name, {})
        for slot in slots_of(notebooks[name]):
            if slot.kind == "answer" and slot.cell_type == "code" and slot.grade_id in code:
                slot.cell.source = code[slot.grade_id]
    return notebooks


def written(notebooks: Mapping[str, "NotebookNode"]) -> dict[str, bytes]:
    """The notebooks as files, by stem."""
    return {
        stem: json.dumps(notebook, ensure_ascii=False, indent=1).encode() + b"\n"
        for stem, notebook in notebooks.items()
    }


class _Reader:
    """Takes one notebook's answers lesson by lesson; those before see to what those after may read."""

    def __init__(self, cells: Sequence[RawCell], syllabus: Syllabus) -> None:
        self.syllabus = syllabus
        self.reading = Reading(cells, syllabus)
        self.first = syllabus.step_by_step
        self.choice = Choice(self.reading, syllabus)
        self.notes: dict[str, list[Note]] = {lesson.notebook: [] for lesson in syllabus.lessons}
        self.notes[""] = []

    def extracted(self) -> Extracted:
        reading = self.reading
        for line in reading.listing.unreadable:
            parts = {"cell": str(line.cell), "line": str(line.line), "text": line.text}
            self.notes[""].append(Note("lecture_unreadable", parts))
        self._say_forward()
        for lesson, name in self.choice.by_form:
            self._note("lecture_by_its_form", lesson, name=name)
        for lesson, name in self.choice.counted_twice:
            self._note("lecture_counted_twice", lesson, name=name)
        code: dict[str, Mapping[str, str]] = {}
        cells: dict[str, Mapping[str, tuple[int, ...]]] = {}
        for lesson in self.syllabus.lessons:
            if lesson.outline.function:
                name = lesson.outline.answers[0]
                text = self._training(lesson)
                code[lesson.notebook] = {name: text} if text else {}
                at = reading.loop.cell if reading.loop is not None else 0
                cells[lesson.notebook] = {name: (at,)} if text else {}
            else:
                taken = self._taken(lesson)
                code[lesson.notebook] = taken.code
                cells[lesson.notebook] = taken.cells
        notes = {name: (*_sources(cells.get(name, {})), *each) for name, each in self.notes.items()}
        return Extracted(code, cells, notes)

    def _say_forward(self) -> None:
        """Say which values of the forward pass have other names here, and which other formulas."""
        reading, lesson = self.reading, self.first
        for used, name in reading.own_names.items():
            self._note("lecture_value_as", lesson, name=name, used=used)
        meant = reading.forward[lesson.notebook]
        before = {
            statement.index
            for statement in reading.statements[: reading.first_answer]
            if reading.exercise[statement.index] in (0, lesson.number)
        }
        for version, name in meant.items():
            if version.name != name and version.creator in before:
                self._note("lecture_value_as", lesson, name=name, used=version.name)
        for name in lesson.outline.values:
            versions = [v for v in reading.flow.of.get(name, ()) if v.creator in before]
            if versions and not any(v in meant for v in versions):
                statement = reading.statements[versions[-1].creator]
                parts = {"name": name, "cell": str(statement.cell), "line": statement.text}
                self._note("lecture_other_formula", lesson, **parts)

    def _taken(self, lesson: Lesson) -> Taken:
        extraction = self.choice.extraction(lesson)
        answers = self.choice.answers[lesson.notebook]
        taken = extraction.code(list(answers.values()))
        for note in taken.notes:
            self._note(note.code, lesson, **note.parts)
        self._say_overwritten(extraction, answers, lesson)
        missing = [target for target in lesson.outline.answers if target not in answers]
        if missing:
            self._note("lecture_not_found", lesson, names=", ".join(missing))
        for used in sorted(taken.undefined):
            self._note("lecture_undefined", lesson, used=used)
        return taken

    def _say_overwritten(
        self, extraction: Extraction, answers: Mapping[str, Answer], lesson: Lesson
    ) -> None:
        """Say which answers do not count: those before the one that does, and later ones not compared."""
        reading = self.reading
        told: dict[tuple[str, int], dict[str, list[int]]] = {}
        for answer in answers.values():
            if answer.how == "compared_as":  # one name may stand for many gradients
                continue
            behind = extraction.slices.behind(answer.use)
            for version in reading.versions(answer.version.name, reading.before_training):
                other = self._asked(version) != self._asked(answer.version)
                if other or version.creator in behind:
                    continue
                code = (
                    "overwritten" if version.creator < answer.version.creator else "after_compare"
                )
                if reading.is_borrowed(version):
                    code = "borrowed"
                key = (code, self._cell(answer.version))
                told.setdefault(key, {}).setdefault(answer.target, []).append(self._cell(version))
        for (code, counted), names in told.items():
            cells = sorted({cell for each in names.values() for cell in each} - {counted})
            parts = {"names": ", ".join(names), "counted": str(counted)}
            if cells or code == "borrowed":
                cells = cells or [counted]
                self._note(f"lecture_{code}", lesson, cells=", ".join(map(str, cells)), **parts)
            else:
                self._note("lecture_again", lesson, **parts)

    def _cell(self, version: Version) -> int:
        return self.reading.statements[version.creator].cell

    def _asked(self, version: Version) -> int:
        """The exercise that a version answers; the first one before any is named."""
        return self.reading.exercise[version.creator] or self.first.number

    def _training(self, lesson: Lesson) -> str:
        reading = self.reading
        if reading.loop is None:
            self._note("lecture_not_found", lesson, names=", ".join(lesson.outline.returns))
            return ""
        outer = flow(reading.statements[: reading.loop.statement])
        of_a_batch = reading.targets | self.first.outline.forward
        found = backward(reading.loop, outer, lesson.outline, self.syllabus, of_a_batch)
        for note in found.notes:
            self._note(note.code, lesson, **note.parts)
        return found.code

    def _note(self, code: str, lesson: Lesson, **parts: str | Note) -> None:
        note = Note(code, parts)
        if note not in self.notes[lesson.notebook]:
            self.notes[lesson.notebook].append(note)


def _sources(cells: Mapping[str, tuple[int, ...]]) -> Iterator[Note]:
    """Which answers came from where, those from the same cells in one sentence."""
    together: dict[tuple[int, ...], list[str]] = {}
    for name, its_cells in cells.items():
        together.setdefault(its_cells, []).append(name)
    for its_cells, names in together.items():
        numbers = ", ".join(map(str, its_cells))
        yield Note("lecture_taken", {"names": ", ".join(names), "cells": numbers})
