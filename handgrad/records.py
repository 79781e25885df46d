"""What is remembered of every mark: the report as JSON, and what it was made from."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from handgrad.verdict import ErrorPicture, Finding, IntegrityLine, Note, Report, Verdict

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """A report, and `due`: the digest of all it was made from, "" where it must be made again."""

    report: Report
    due: str


class Records:
    """The records of one assignment, a file a student, beside the reports."""

    def __init__(self, root: Path, assignment: str) -> None:
        self.folder = root / "reports" / ".results" / assignment

    def read(self, student: str) -> Record | None:
        """The student's record; None where there is none, or where it cannot be read any more."""
        try:
            text = self._path(student).read_text(encoding="utf-8")
        except OSError:
            return None
        try:
            table = json.loads(text)
            if table["version"] != _VERSION:
                return None
            return Record(report_from_json(table["report"]), str(table["due"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None  # cut off by a full disk, or written by another version: it is made again

    def write(self, record: Record) -> None:
        """Keep a record; whoever reads meanwhile finds the old one or the new one, whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(record.report.student)
        part = path.with_name(f".{path.name}.part")
        table = {
            "version": _VERSION,
            "due": record.due,
            "report": report_to_json(record.report),
        }
        with part.open("w", encoding="utf-8") as file:
            json.dump(table, file, ensure_ascii=False, allow_nan=True)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def all(self) -> Iterator[Record]:
        """Every record that can be read, by student."""
        if self.folder.is_dir():
            for path in sorted(self.folder.glob("*.json")):
                record = self.read(path.name.removesuffix(".json"))
                if record is not None:
                    yield record

    def _path(self, student: str) -> Path:
        return self.folder / f"{student}.json"


def report_to_json(report: Report) -> dict[str, object]:
    """`report` as lists and dictionaries of plain values."""
    table: dict[str, object] = asdict(report)
    return table


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
        digest=str(table["digest"]),
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
