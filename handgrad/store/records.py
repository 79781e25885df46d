"""What is remembered of every mark: the report as JSON, and what it was made from."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handgrad import atomic
from handgrad.verdict import ErrorPicture, Finding, IntegrityLine, Note, Report, Verdict

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """A report, and `due`: the digest of all it was made from, "" where it must be made again.

    `sizes` are those of the notebooks that were written with it, in bytes by stem.
    """

    report: Report
    due: str
    sizes: Mapping[str, int] = field(default_factory=dict)

    def lies_in(self, folder: Path, stems: Iterable[str]) -> bool:
        """Whether these graded notebooks are there; by size, as a power cut may leave an empty file."""
        return all(_size(folder / f"{stem}.ipynb") == self.sizes.get(stem) for stem in stems)


class Records:
    """The records of one assignment, a file a student, beside the reports."""

    def __init__(self, root: Path, assignment: str) -> None:
        self.folder = root / "reports" / ".results" / assignment

    def read(self, student: str) -> Record | None:
        """The student's record; None where there is none, or where it cannot be read any more."""
        try:
            data = self._path(student).read_bytes()
        except OSError:
            return None
        try:
            table = json.loads(data.decode("utf-8"))
            if table["version"] != _VERSION:
                return None
            sizes = {str(stem): int(size) for stem, size in table["sizes"].items()}
            return Record(report_from_json(table["report"]), str(table["due"]), sizes)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None  # cut off by a full disk, or written by another version: it is made again

    def write(self, record: Record, traceback: str = "") -> None:
        """Keep a record; whoever reads meanwhile finds the old one or the new one, whole.

        `traceback` is that of a fault of ours, for a developer, in a file of its own beside it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        table = {
            "version": _VERSION,
            "due": record.due,
            "sizes": dict(record.sizes),
            "report": report_to_json(record.report),
        }
        text = json.dumps(table, ensure_ascii=False)
        path = self._path(record.report.student)
        atomic.write(path, text)
        told = path.with_suffix(".traceback.txt")
        if traceback:
            atomic.write(told, traceback)
        else:
            told.unlink(missing_ok=True)

    def all(self) -> Iterator[Record]:
        """Every record that can be read, by student."""
        if self.folder.is_dir():
            for path in sorted(self.folder.glob("*.json")):
                record = self.read(path.name.removesuffix(".json"))
                if record is not None:
                    yield record

    def _path(self, student: str) -> Path:
        return self.folder / f"{student}.json"


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def report_to_json(report: Report) -> dict[str, object]:
    """`report` as lists and dictionaries of plain values; pictures to four digits."""
    return {
        "student": report.student,
        "assignment": report.assignment,
        "findings": [_finding_to_json(finding) for finding in report.findings],
        "problems": {stem: _notes_to_json(notes) for stem, notes in report.problems.items()},
        "integrity": [
            {"notebook": each.notebook, "cell": each.cell, "what": each.what, "line": each.line}
            for each in report.integrity
        ],
    }


def _finding_to_json(finding: Finding) -> dict[str, object]:
    picture = finding.picture
    return {
        "notebook": finding.notebook,
        "name": finding.name,
        "grade_id": finding.grade_id,
        "verdict": str(finding.verdict),
        "points": finding.points,
        "max_points": finding.max_points,
        "error": finding.error,
        "remarks": _notes_to_json(finding.remarks),
        "diagnoses": _notes_to_json(finding.diagnoses),
        "picture": picture
        and {
            "values": [[float(f"{value:.4g}") for value in row] for row in picture.values],
            "rows": picture.rows,
            "columns": picture.columns,
            "step": list(picture.step),
        },
    }


def _notes_to_json(notes: tuple[Note, ...]) -> list[dict[str, object]]:
    return [{"code": note.code, "parts": dict(note.parts)} for note in notes]


# JSON has no types of its own: what is read here is `Any` until a dataclass has it.
def report_from_json(table: Mapping[str, Any]) -> Report:
    """The report that `report_to_json` made a table of; KeyError, TypeError or ValueError otherwise."""
    return Report(
        student=str(table["student"]),
        assignment=str(table["assignment"]),
        findings=tuple(_finding(each) for each in table["findings"]),
        problems={str(stem): _notes(notes) for stem, notes in table["problems"].items()},
        integrity=tuple(
            IntegrityLine(
                str(each["notebook"]), int(each["cell"]), str(each["what"]), str(each["line"])
            )
            for each in table["integrity"]
        ),
    )


def _finding(table: Mapping[str, Any]) -> Finding:
    return Finding(
        notebook=str(table["notebook"]),
        name=str(table["name"]),
        grade_id=str(table["grade_id"]),
        verdict=Verdict(table["verdict"]),
        points=None if table["points"] is None else float(table["points"]),
        max_points=float(table["max_points"]),
        error=None if table["error"] is None else float(table["error"]),
        remarks=_notes(table["remarks"]),
        diagnoses=_notes(table["diagnoses"]),
        picture=None if table["picture"] is None else _picture(table["picture"]),
    )


def _notes(listed: list[Mapping[str, Any]]) -> tuple[Note, ...]:
    return tuple(
        Note(str(each["code"]), {str(k): str(v) for k, v in each["parts"].items()})
        for each in listed
    )


def _picture(table: Mapping[str, Any]) -> ErrorPicture:
    rows, columns = table["step"]
    return ErrorPicture(
        values=tuple(tuple(float(value) for value in row) for row in table["values"]),
        rows=int(table["rows"]),
        columns=int(table["columns"]),
        step=(int(rows), int(columns)),
    )
