"""The class report as files: a page for people, CSV for spreadsheets, JSON for programs."""

import csv
import datetime
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from handgrad import atomic
from handgrad.pages.reportpage import html
from handgrad.pages.words import amount
from handgrad.plaintext import csv_field
from handgrad.statistics.changes import Snapshot, changes, verdicts
from handgrad.statistics.classreport import ClassReport
from handgrad.store.roster import ClassRecord
from handgrad.verdict import Verdict


def write(
    root: Path,
    assignment: str,
    records: Sequence[ClassRecord],
    language: str,
    made: datetime.datetime,
) -> tuple[Path, ClassReport]:
    """Write `reports/<assignment>.html`, compared with the last one; the path and the report.

    `reports/<assignment>.json` is what the next report is compared with. Both are replaced whole.
    Raises UserError where the disk refuses.
    """
    folder = root / "reports"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise atomic.refused(error, folder) from None
    page, data = folder / f"{assignment}.html", folder / f"{assignment}.json"
    base = _base(data, records)
    report = ClassReport(assignment, made, tuple(records), base.snapshot if base else None)
    earlier = replace(base, previous=None) if base else None
    table = {**as_json(report), "previous": msgspec.to_builtins(earlier)}
    atomic.write(page, html(report, language))
    atomic.write(data, json.dumps(table, ensure_ascii=False, indent=1))
    return page, report


@dataclass(frozen=True, slots=True)
class _Gradient:
    notebook: str
    name: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class _Student:
    student: str
    points: float | None
    gradients: tuple[_Gradient, ...]


@dataclass(frozen=True, slots=True)
class _Earlier:
    """What is read of an earlier report's JSON."""

    made: str
    students: tuple[_Student, ...]
    previous: "_Earlier | None" = None

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(
            self.made[:16].replace("T", " "),
            {one.student: one.points for one in self.students},
            {
                one.student: {(g.notebook, g.name): g.verdict for g in one.gradients}
                for one in self.students
            },
        )


def _base(path: Path, records: Sequence[ClassRecord]) -> _Earlier | None:
    """What a report of `records` is compared with: the last report that said something else.

    None where there is none, or none that this version can read. Whoever makes a report twice sees the
    same changes twice.
    """
    try:
        last = msgspec.convert(json.loads(path.read_text(encoding="utf-8")), _Earlier)
    except (OSError, ValueError, RecursionError, msgspec.ValidationError):
        return None
    same = not changes(records, last.snapshot)
    return last.previous if same and last.previous else last


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
        "mistakes": msgspec.to_builtins(report.mistakes),
        "needs a person": msgspec.to_builtins(report.errands),
        "integrity": msgspec.to_builtins(report.suspects),
        "students": [_student(record) for record in report.records],
    }


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
