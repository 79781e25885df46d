"""Marks for Canvas and for Moodle, by way of `nbgrader export`.

    nbgrader export --exporter=handgrad.nbgrader.exporters.CanvasExporter --to marks.csv
    nbgrader export --exporter=handgrad.nbgrader.exporters.MoodleExporter --to marks.csv

Who has no final mark is not in the file: an empty field would delete what the platform has. They are
listed beside it, in `marks-left-out.csv`, each with the reason.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook
from nbgrader.apps.baseapp import NbGrader
from nbgrader.plugins import ExportPlugin
from traitlets import Enum, Unicode

from handgrad import atomic
from handgrad.batch.finalmarks import FinalMark, final_marks
from handgrad.errors import UserError
from handgrad.pages.words import amount
from handgrad.plaintext import csv_field

Row = Sequence[str]


class _Exporter(ExportPlugin):  # type: ignore[misc]
    """One assignment's marks as one file."""

    def export(self, gradebook: Gradebook) -> None:
        """Write the file, and the list of those who are not in it; stop with a sentence otherwise."""
        try:
            self._export(gradebook)
        except UserError as error:
            if not isinstance(self.parent, NbGrader):
                raise
            self.parent.fail(str(error))

    def _export(self, gradebook: Gradebook) -> None:
        name = self._assignment([each.name for each in gradebook.assignments])
        root = Path(self.parent.coursedir.root).resolve()
        chosen = {str(each) for each in self.student}
        marks = [mark for mark in final_marks(root, name) if not chosen or mark.student in chosen]
        unknown = sorted(chosen - {mark.student for mark in marks})
        if unknown:
            raise UserError(
                "--student", f"the course knows no {', '.join(unknown)}", "Check the spelling"
            )
        students = {each.id: each for each in gradebook.students}
        target = Path(self.to or f"{name}.csv")
        final = [mark for mark in marks if not mark.why]
        left_out = [mark for mark in marks if mark.why]
        _write(target, self.rows(name, final, students))
        beside = target.with_name(f"{target.stem}-left-out.csv")
        beside.unlink(missing_ok=True)
        if left_out:
            _write(beside, [("student", "why"), *((m.student, "; ".join(m.why)) for m in left_out)])
        for mark in left_out:
            self.log.warning("%s is left out: %s", mark.student, "; ".join(mark.why))
        self.log.info("%d marks in %s, %d students left out", len(final), target, len(left_out))

    def _assignment(self, known: Sequence[str]) -> str:
        """The one assignment to export; an empty field in a second one's column would delete a mark."""
        chosen = [str(each) for each in self.assignment] or list(known)
        if len(chosen) != 1 or chosen[0] not in known:
            raise UserError(
                "--assignment",
                f"it has to name one assignment ({', '.join(known) or 'the gradebook has none'})",
                'Write it like `--assignment=["backprop"]`',
            )
        return chosen[0]

    def rows(
        self, name: str, marks: Sequence[FinalMark], students: Mapping[str, Any]
    ) -> Iterator[Row]:
        """The lines of the file, the headings first."""
        raise NotImplementedError


class CanvasExporter(_Exporter):
    """What Canvas reads under Grades, *Import*."""

    students_are = Enum(
        ("ID", "SIS User ID", "SIS Login ID"),
        "ID",
        help="The column of Canvas that the gradebook's student ids are from. `CanvasCollector` names "
        "students by Canvas's own number, which is its ID.",
    ).tag(config=True)
    column = Unicode(
        "",
        help="The assignment's name in Canvas, as its own export has it: `Backprop by hand (4711)`. "
        "Without it the name is nbgrader's, and Canvas asks which assignment that is.",
    ).tag(config=True)

    def rows(
        self, name: str, marks: Sequence[FinalMark], students: Mapping[str, Any]
    ) -> Iterator[Row]:
        if self.students_are == "ID":
            for mark in marks:
                if not (mark.student.isascii() and mark.student.isdigit()):
                    raise UserError(
                        mark.student,
                        "this is no ID of Canvas, which is a number",
                        "Say what your students' ids are: "
                        'c.CanvasExporter.students_are = "SIS Login ID" in nbgrader_config.py',
                    )
        columns = ("ID", "SIS User ID", "SIS Login ID")
        yield ("Student", *columns, "Section", self.column or name)
        if marks:
            yield ("    Points Possible", "", "", "", "", amount(marks[0].max_points))
        for mark in marks:
            ids = (mark.student if column == self.students_are else "" for column in columns)
            yield (_full_name(students.get(mark.student), ", "), *ids, "", _points(mark))


class MoodleExporter(_Exporter):
    """What Moodle reads: an assignment's grading worksheet, or a file for the gradebook's import."""

    students_are = Enum(
        ("Identifier", "Username", "ID number", "Email address"),
        "Identifier",
        help="What the gradebook's student ids are in Moodle. `MoodleCollector` names students by the "
        "number of the worksheet's column Identifier: the file is then such a worksheet. The others "
        "are for the gradebook's own import.",
    ).tag(config=True)

    def rows(
        self, name: str, marks: Sequence[FinalMark], students: Mapping[str, Any]
    ) -> Iterator[Row]:
        worksheet = self.students_are == "Identifier"
        extra = ("Maximum Grade", "Last modified (grade)") if worksheet else ()
        yield (self.students_are, "Full name", "Grade" if worksheet else name, *extra)
        for mark in marks:
            who = f"Participant {mark.student}" if worksheet else mark.student
            if worksheet and not (mark.student.isascii() and mark.student.isdigit()):
                raise UserError(
                    mark.student,
                    "this is no number of a participant in Moodle",
                    "Say what your students' ids are: "
                    'c.MoodleExporter.students_are = "Username" in nbgrader_config.py',
                )
            name_of = _full_name(students.get(mark.student), " ")
            values = (amount(mark.max_points), "-") if worksheet else ()
            yield (who, name_of, _points(mark), *values)


def _points(mark: FinalMark) -> str:
    assert mark.points is not None, "only final marks are written"
    return amount(mark.points)


def _full_name(student: Any, between: str) -> str:
    """The name in the gradebook: the last name first where a comma is between; "" for nobody."""
    names = [getattr(student, "first_name", ""), getattr(student, "last_name", "")]
    return between.join(filter(None, names[::-1] if "," in between else names))


def _write(path: Path, rows: Sequence[Row] | Iterator[Row]) -> None:
    """Write a file whole or not at all; no field of it is a formula to any spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180
    writer.writerows([csv_field(field) for field in row] for row in rows)
    atomic.write(path, out.getvalue())
