"""One notebook, marked on its own: no gradebook, no course needed."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from handgrad.assignment.assignment import Assignment, names
from handgrad.errors import UserError
from handgrad.grading.graded import Graded
from handgrad.grading.pipeline import Pipeline, with_pipeline
from handgrad.notebooks.intake import Submission
from handgrad.notebooks.matching import meant, slots_of
from handgrad.notebooks.notebookfile import RawCell, parse
from handgrad.notebooks.notebooknode import nbjson
from handgrad.pages.table import table
from handgrad.pages.words import say, tell, text
from handgrad.sandbox.launch import Launched
from handgrad.verdict import Note, Report

if TYPE_CHECKING:
    from handgrad.lecture.syllabus import Syllabus

PACKAGED = "backprop"  # what the package brings for those who have no course


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found.

    `sources` says, for a lecture's notebook, what was taken from where.
    """

    assignment: Assignment
    graded: Graded
    sources: Mapping[str, tuple[Note, ...]] = field(default_factory=dict)

    @property
    def report(self) -> Report:
        return self.graded.report


def check(
    notebook: Path,
    course: Path | None,
    *,
    sandboxed: bool = True,
    launched: Launched | None = None,
) -> Checked:
    """Grade one notebook file: one of a course, or the lecture's own; its cells tell which.

    Raises UserError where the file cannot be read, or is no notebook of any assignment.
    """
    try:
        data = notebook.read_bytes()
    except OSError as error:
        raise UserError(
            str(notebook), f"it cannot be read ({error.strerror})", "Check the path"
        ) from None
    known = _assignments(course)
    cells = parse(data, known[0].settings.limits, str(notebook)).cells
    if not sandboxed:
        Console(stderr=True).print(
            "[bold red]No sandbox:[/] this notebook's code runs with all your rights."
        )
    sources: Mapping[str, tuple[Note, ...]] = {}
    belonging = _belonging(cells, notebook, known)
    if belonging is not None:
        whole, stem = belonging
        assignment = whole.only(stem)

        def use(pipeline: Pipeline) -> Graded:
            return pipeline.grade(notebook.stem, Submission({stem: data}, {}))
    else:
        assignment, syllabus = _of_the_lecture(cells, notebook, known)

        def use(pipeline: Pipeline) -> Graded:
            nonlocal sources
            # While the sandbox gets ready: both take their time.
            from handgrad.lecture.conversion import convert, written

            notebooks, extracted = convert(cells, syllabus, assignment.release)
            sources = extracted.notes
            return pipeline.grade(notebook.stem, Submission(written(notebooks), {}))

    graded = with_pipeline(assignment, use, sandboxed=sandboxed, launched=launched)
    return Checked(assignment, graded, sources)


def _assignments(course: Path | None) -> list[Assignment]:
    if course is None:
        return [Assignment.packaged(PACKAGED)]
    known = names(course)
    if not known:
        raise UserError(
            str(course), "no assignment has graders here", "Name a course with --course"
        )
    return [Assignment.load(course, name) for name in known]


def _belonging(
    cells: tuple[RawCell, ...], path: Path, known: list[Assignment]
) -> tuple[Assignment, str] | None:
    """The assignment and released notebook that shares most cells with this one, if any does."""
    ids = {cell.grade_id for cell in cells if cell.grade_id}
    best: tuple[int, Assignment, str] | None = None
    for assignment in known:
        for stem in assignment.exercises:
            its = {slot.grade_id for slot in slots_of(assignment.release[stem]) if slot.grade_id}
            # The stem decides between notebooks with the same cells.
            shared = 2 * len(ids & its) - len(its - ids) + (path.stem == stem)
            if ids & its and (best is None or shared > best[0]):
                best = (shared, assignment, stem)
    if best is not None:
        return best[1], best[2]
    for assignment in known:  # its metadata are lost
        slots = {stem: slots_of(assignment.release[stem]) for stem in assignment.exercises}
        if stem := meant(path.name, cells, slots):
            return assignment, stem
    return None


def _of_the_lecture(
    cells: tuple[RawCell, ...], path: Path, known: list[Assignment]
) -> "tuple[Assignment, Syllabus]":
    """The assignment whose lecture this is a notebook of, and what is asked for there."""
    # Here, as most notebooks are a course's own and should not wait for it.
    from handgrad.lecture.conversion import recognise
    from handgrad.lecture.syllabus import Syllabus

    for assignment in known:
        table_of_names = assignment.graders / "lecture.toml"
        if not table_of_names.is_file():
            continue
        syllabus = Syllabus.read(table_of_names, assignment.release)
        if recognise(cells, syllabus):
            return assignment, syllabus
    raise UserError(
        str(path),
        "it is neither a notebook of an assignment nor one of the lecture",
        "Check a notebook that was released, or the lecture's own with your answers in it",
    )


def as_json(checked: Checked) -> dict[str, object]:
    """The report for machines: a list `gradients`, and totals."""
    report, settings = checked.report, checked.assignment.settings
    language = settings.language
    return {
        "assignment": report.assignment,
        "gradients": [
            {
                "notebook": finding.notebook,
                "name": finding.name,
                "verdict": finding.verdict.value,
                "points": finding.points,
                "max_points": finding.max_points,
                "error": finding.error,
                "remark": " ".join(tell(finding, settings.feedback, language)),
            }
            for finding in report.findings
        ],
        "points": report.points,
        "max_points": report.max_points,
        "problems": _said(report.problems, language),
        "sources": _said(checked.sources, language),
        "integrity": [
            {"notebook": one.notebook, "cell": one.cell, "what": one.what, "line": one.line}
            for one in report.integrity
        ],
    }


def as_html(checked: Checked) -> str:
    """The report as the page a student of a course would get."""
    from handgrad.pages.feedback import edges_of, page

    assignment = checked.assignment
    return page(
        checked.report,
        {
            stem: nbjson.reads(text)  # type: ignore[no-untyped-call]
            for stem, text in checked.graded.notebooks.items()
        },
        edges_of(assignment.exercises),
        language=assignment.settings.language,
        level=assignment.settings.feedback,
    )


def print_table(checked: Checked) -> None:
    """The report for a person: one line a gradient, then the sum."""
    settings = checked.assignment.settings
    console = Console(file=sys.stdout)
    for where, notes in checked.sources.items():
        for note in notes:
            sentence = say(note, settings.language)
            console.print(f"{where}: {sentence}" if where else sentence, markup=False, style="dim")
    console.print(table(checked.report, settings.feedback, settings.language))
    for where, notes in checked.report.problems.items():
        for note in notes:
            console.print(f"{where}: {say(note, settings.language)}", markup=False)
    if checked.report.integrity:
        console.print(text("report.integrity_about", settings.language), markup=False)
    for line in checked.report.integrity:
        console.print(f"  {line.notebook}: {line.what}: {line.line}", markup=False)


def _said(notes: Mapping[str, tuple[Note, ...]], language: str) -> dict[str, list[str]]:
    return {where: [say(note, language) for note in each] for where, each in notes.items()}
