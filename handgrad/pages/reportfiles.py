"""The class report as files: a page for people, CSV for spreadsheets, JSON for programs."""

import csv
import datetime
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from handgrad import atomic
from handgrad.pages.report import ClassRecord, ClassReport, Snapshot, verdicts
from handgrad.pages.reportpage import html
from handgrad.pages.words import amount
from handgrad.plaintext import csv_field
from handgrad.verdict import Note, Verdict


def write(
    root: Path,
    assignment: str,
    records: Sequence[ClassRecord],
    language: str,
    made: datetime.datetime,
) -> tuple[Path, ClassReport]:
    """Write `reports/<assignment>.html`, compared with the last one; the path and the report.

    `reports/<assignment>.json` is what the next report is compared with. Both are replaced whole.
    """
    folder = root / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    page, data = folder / f"{assignment}.html", folder / f"{assignment}.json"
    report = ClassReport(assignment, made, tuple(records), _last(data))
    for path, content in (
        (page, html(report, language)),
        (data, json.dumps(as_json(report), ensure_ascii=False, indent=1)),
    ):
        atomic.write(path, content)
    return page, report


def _last(path: Path) -> Snapshot | None:
    """The last report; None where there is none, or none that this version can read."""
    try:
        return snapshot(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def snapshot(table: Mapping[str, object]) -> Snapshot:
    """What a later report needs of `as_json`'s table; KeyError, TypeError or ValueError otherwise."""
    students = cast(Sequence[Mapping[str, object]], table["students"])
    points: dict[str, float | None] = {}
    seen: dict[str, Mapping[tuple[str, str], Verdict]] = {}
    for each in students:
        student = str(each["student"])
        of_it = each["points"]
        points[student] = None if of_it is None else float(cast(float, of_it))
        gradients = cast(Sequence[Mapping[str, object]], each["gradients"])
        seen[student] = {
            (str(one["notebook"]), str(one["name"])): Verdict(str(one["verdict"]))
            for one in gradients
        }
    return Snapshot(str(table["made"])[:16].replace("T", " "), points, seen)


def as_json(report: ClassReport) -> dict[str, object]:
    """Everything the page shows, as lists and dictionaries of plain values."""
    return {
        "assignment": report.assignment,
        "made": report.made.isoformat(),
        "marks": {
            "mean": report.mean,
            "median": report.median,
            "bins": list(report.bins),
        },
        "gradients": [
            {
                "notebook": one.notebook,
                "name": one.name,
                **{str(v): one.counts.get(v, 0) for v in Verdict},
            }
            for one in report.difficulty
        ],
        "mistakes": [
            {
                "notebook": one.notebook,
                "name": one.name,
                **_note(one.what),
                "certain": list(one.certain),
                "possible": list(one.possible),
            }
            for one in report.mistakes
        ],
        "needs a person": [
            {"student": one.student, "code": one.code, "parts": dict(one.parts)}
            for one in report.errands
        ],
        "integrity": [
            {
                "student": one.student,
                "notebook": one.notebook,
                "cell": one.cell,
                "what": one.what,
                "line": one.line,
            }
            for one in report.suspects
        ],
        "students": [_student(record) for record in report.records],
    }


def _note(note: Note) -> dict[str, object]:
    return {"code": note.code, "parts": dict(note.parts)}


def _student(record: ClassRecord) -> dict[str, object]:
    findings = record.report.findings if record.report else ()
    return {
        "student": record.student,
        "name": record.name,
        "points": record.points,
        "max_points": record.max_points,
        "handed_in": record.handed_in,
        "graded": record.report is not None,
        "late_seconds": record.late_seconds,
        "late_penalty": record.late_penalty,
        "waiting": list(record.waiting),
        "gradients": [
            {
                "notebook": f.notebook,
                "name": f.name,
                "verdict": str(f.verdict),
                "points": f.points,
            }
            for f in findings
        ],
    }


def as_csv(report: ClassReport) -> str:
    """A line a student, a column a gradient; no field is a formula to any spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180
    columns = [f"{notebook}/{name}" for notebook, name in report.gradients]
    facts = ["student", "name", "points", "max_points", "late_seconds", "late_penalty", "waiting"]
    writer.writerow([csv_field(field) for field in [*facts, *columns]])
    for record in report.records:
        of_it = verdicts(record)
        fields = [
            record.student,
            record.name,
            "" if record.points is None else amount(record.points),
            amount(record.max_points),
            f"{record.late_seconds:.0f}",
            amount(record.late_penalty),
            " ".join(record.waiting),
            *(str(of_it.get(key, "")) for key in report.gradients),
        ]
        writer.writerow([csv_field(field) for field in fields])
    return out.getvalue()
