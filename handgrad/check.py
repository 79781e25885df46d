"""One notebook, marked on its own: no gradebook, no course needed."""

import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from handgrad.assignment import Assignment
from handgrad.errors import UserError
from handgrad.mark import Marked, Marker
from handgrad.matching import slots_of
from handgrad.notebookfile import parse
from handgrad.verdict import Report
from handgrad.words import say, tell, text

ASSIGNMENT = "backprop"  # what the package brings for those who have no course


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found: the report, the notebooks as they ran, and under which settings."""

    assignment: Assignment
    marked: Marked

    @property
    def report(self) -> Report:
        return self.marked.report


def check(notebook: Path, course: Path | None, *, sandboxed: bool = True) -> Checked:
    """Grade one notebook file; which of the course's notebooks it is, its cells tell.

    Raises UserError where the file cannot be read, or is no notebook of any assignment.
    """
    try:
        data = notebook.read_bytes()
    except OSError as error:
        raise UserError(str(notebook), f"it cannot be read ({error.strerror})", "Check the path") from None
    assignment, stem = _belonging(data, notebook, _assignments(course))
    if not sandboxed:
        Console(stderr=True).print(
            "[bold red]No sandbox:[/] this notebook's code runs with all your rights."
        )
    with Marker(assignment.only(stem), sandboxed=sandboxed) as marker:
        return Checked(assignment, marker.mark(notebook.stem, {stem: data}))


def _assignments(course: Path | None) -> list[Assignment]:
    if course is None:
        return [Assignment.packaged(ASSIGNMENT)]
    names = sorted(p.parent.name for p in course.glob("graders/*/forward.py"))
    if not names:
        raise UserError(str(course), "no assignment has graders here", "Name a course with --course")
    return [Assignment.load(course, name) for name in names]


def _belonging(data: bytes, path: Path, known: list[Assignment]) -> tuple[Assignment, str]:
    """The assignment and released notebook that shares most cells with this one."""
    cells = parse(data, known[0].settings.limits, str(path)).cells
    ids = {cell.grade_id for cell in cells if cell.grade_id}
    best: tuple[int, Assignment, str] | None = None
    for assignment in known:
        for stem in assignment.exercises:
            its = {slot.grade_id for slot in slots_of(assignment.release[stem]) if slot.grade_id}
            # The stem decides between notebooks with the same cells.
            shared = 2 * len(ids & its) - len(its - ids) + (path.stem == stem)
            if ids & its and (best is None or shared > best[0]):
                best = (shared, assignment, stem)
    if best is None:
        raise UserError(
            str(path),
            "none of its cells belongs to an assignment",
            "Check a notebook that was released, or one of the lecture",
        )
    return best[1], best[2]


def as_json(checked: Checked) -> dict[str, object]:
    """The report for machines: a list `gradients`, and totals."""
    report, settings = checked.report, checked.assignment.settings
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
                "remark": " ".join(tell(finding, settings.feedback, settings.language)),
            }
            for finding in report.findings
        ],
        "points": report.points,
        "max_points": report.max_points,
        "problems": {
            stem: [say(note, settings.language) for note in notes]
            for stem, notes in report.problems.items()
        },
        "integrity": [
            {"notebook": one.notebook, "cell": one.cell, "what": one.what, "line": one.line}
            for one in report.integrity
        ],
    }


def print_table(checked: Checked) -> None:
    """The report for a person: one line a gradient, then the sum."""
    settings = checked.assignment.settings
    console = Console(file=sys.stdout)
    from handgrad.table import table
    console.print(table(checked.report, settings.feedback, settings.language))
    for stem, notes in checked.report.problems.items():
        for note in notes:
            console.print(f"{stem}: {say(note, settings.language)}", markup=False)
    if checked.report.integrity:
        console.print(text("report.integrity_about", settings.language), markup=False)
    for line in checked.report.integrity:
        console.print(f"  {line.notebook}: {line.what}: {line.line}", markup=False)
