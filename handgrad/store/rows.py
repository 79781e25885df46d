"""The rows of one submission in nbgrader's gradebook, written in one transaction."""

import datetime
import re
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sql
from nbgrader.api import (
    Comment,
    Grade,
    Student,
    SubmittedAssignment,
    SubmittedNotebook,
    new_uuid,
)
from sqlalchemy.engine import Connection

from handgrad.errors import UserError
from handgrad.store.structure import Structure


@dataclass(frozen=True, slots=True)
class Sheet:
    """What the gradebook is to hold of one notebook.

    `scores` are by grade id, None where a person has to look. `comments` are nbgrader's own remarks
    by the grade id of the answer. A notebook that is `absent` has neither comments nor late penalty.
    """

    scores: Mapping[str, float | None]
    comments: Mapping[str, str | None]
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Late:
    """How late a submission is, and what one of its notebooks scored: what a penalty is made of."""

    student: str
    score: float
    seconds: float


class Penalties:
    """A course's rule for late submissions."""

    def of(self, late: Late) -> float | None:
        """The points to take off a notebook, None where there is nothing to say."""
        raise NotImplementedError


class Rows:
    """Writes the rows of submissions of one assignment over an open connection.

    A person's own scores, comments and extra credit stay as they are.
    """

    def __init__(self, connection: Connection, structure: Structure) -> None:
        self._connection = connection
        self._structure = structure

    def enter(self, student: str, stamp: datetime.datetime | None) -> "Entry":
        """Enter student and submission where they are not; without a stamp the old one stays."""
        structure, connection = self._structure, self._connection
        known = sql.select(Student.id).where(Student.id == student)
        if connection.execute(known).one_or_none() is None:
            connection.execute(sql.insert(Student.__table__).values(id=student))
        table = SubmittedAssignment.__table__
        row = connection.execute(
            sql.select(table.c.id, table.c.timestamp, table.c.extension).where(
                table.c.assignment_id == structure.assignment, table.c.student_id == student
            )
        ).one_or_none()
        submission = new_uuid() if row is None else row.id
        if row is None:
            connection.execute(
                sql.insert(table).values(
                    id=submission,
                    assignment_id=structure.assignment,
                    student_id=student,
                    timestamp=stamp,
                )
            )
        elif stamp is not None:
            connection.execute(
                sql.update(table).where(table.c.id == submission).values(timestamp=stamp)
            )
        else:
            stamp = row.timestamp
        extension = None if row is None else row.extension
        notebooks = self._enter_notebooks(submission)
        grades = self._enter_cells(
            Grade.__table__,
            notebooks,
            self._structure.grades,
            ("manual_score", "extra_credit"),
            {"needs_manual_grade": True},
        )
        comments = self._enter_cells(Comment.__table__, notebooks, self._structure.comments, (), {})
        return Entry(student, self._late(stamp, extension), notebooks, grades, comments)

    def _late(self, stamp: datetime.datetime | None, extension: datetime.timedelta | None) -> float:
        due = self._structure.duedate
        if due is None or stamp is None:
            return 0.0
        return max(0.0, (stamp - due - (extension or datetime.timedelta())).total_seconds())

    def _enter_notebooks(self, submission: str) -> dict[str, str]:
        table = SubmittedNotebook.__table__
        there = sql.select(table.c.id, table.c.notebook_id).where(
            table.c.assignment_id == submission
        )
        found = {row.notebook_id: row.id for row in self._connection.execute(there)}
        new = [
            {
                "id": new_uuid(),
                "assignment_id": submission,
                "notebook_id": notebook,
                "flagged": False,
            }
            for notebook in self._structure.notebooks.values()
            if notebook not in found
        ]
        self._many(sql.insert(table), new)
        found.update({row["notebook_id"]: row["id"] for row in new})
        return {stem: found[notebook] for stem, notebook in self._structure.notebooks.items()}

    def _enter_cells(
        self,
        table: sql.Table,
        notebooks: Mapping[str, str],
        cells: Mapping[tuple[str, str], str],
        columns: Sequence[str],
        blank: Mapping[str, object],
    ) -> dict[tuple[str, str], "Standing"]:
        """The rows of the cells, by notebook and grade id.

        Those that are not there are entered: of a new submission, or of a cell released later.
        """
        query = sql.select(
            table.c.id, table.c.notebook_id, table.c.cell_id, *(table.c[name] for name in columns)
        ).where(table.c.notebook_id.in_(list(notebooks.values())))
        there = {
            (row[1], row[2]): Standing(row[0], *row[3:]) for row in self._connection.execute(query)
        }
        found, new = {}, []
        for key, cell in cells.items():
            notebook = notebooks[key[0]]
            row = there.get((notebook, cell))
            if row is None:
                row = Standing(new_uuid())
                new.append({"id": row.id, "notebook_id": notebook, "cell_id": cell, **blank})
            found[key] = row
        self._many(sql.insert(table), new)
        return found

    def write(
        self, entry: "Entry", sheets: Mapping[str, Sheet], penalties: Penalties | None
    ) -> None:
        """Write notebooks' sheets, by stem; without `penalties` those stay as they are."""
        grades: list[dict[str, object]] = []
        comments: list[dict[str, object]] = []
        taken_off: list[dict[str, object]] = []
        for stem, sheet in sheets.items():
            total = 0.0
            for grade_id, score in sheet.scores.items():
                row = entry.grades[stem, grade_id]
                # nbgrader's rule: who once scored by hand looks again after a regrade.
                again = row.manual_score is not None and not sheet.absent
                grades.append({"row": row.id, "score": score, "manual": again or score is None})
                counted = row.manual_score if row.manual_score is not None else score
                total += 0.0 if counted is None else counted + (row.extra_credit or 0.0)
            for grade_id, comment in sheet.comments.items():
                comments.append({"row": entry.comments[stem, grade_id].id, "comment": comment})
            if penalties is not None and not sheet.absent:
                late = Late(entry.student, total, entry.seconds_late)
                penalty = penalties.of(late) if late.seconds > 0 else None
                taken_off.append({"row": entry.notebooks[stem], "penalty": penalty})
        self._change(Grade.__table__, grades, auto_score="score", needs_manual_grade="manual")
        self._change(Comment.__table__, comments, auto_comment="comment")
        self._change(SubmittedNotebook.__table__, taken_off, late_submission_penalty="penalty")

    def _change(
        self, table: sql.Table, changes: Sequence[Mapping[str, object]], **columns: str
    ) -> None:
        """Set `columns` of the rows of a table to what `changes` call them."""
        values: dict[str, object] = {
            column: sql.bindparam(name) for column, name in columns.items()
        }
        statement = sql.update(table).where(table.c.id == sql.bindparam("row")).values(values)
        self._many(statement, changes)

    def _many(
        self, statement: sql.Insert | sql.Update, rows: Sequence[Mapping[str, object]]
    ) -> None:
        if rows:  # an empty list would mean "once, with nothing filled in"
            self._connection.execute(statement, rows)


@dataclass(frozen=True, slots=True)
class Standing:
    """A row as it is, with what a person entered there."""

    id: str
    manual_score: float | None = None
    extra_credit: float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A submission that is in the gradebook: how late it is, and its rows.

    `notebooks` are ids by stem; grades and comments are by stem and grade id.
    """

    student: str
    seconds_late: float
    notebooks: Mapping[str, str]
    grades: Mapping[tuple[str, str], Standing]
    comments: Mapping[tuple[str, str], Standing]


# A day and a time; then nothing, UTC, an offset, or the place whose clock it is.
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)\s*"
    r"(|Z|UTC|GMT|[+-]\d\d(?::?\d\d)?|[A-Z]\w+/[\w/+-]+)"
)


def parsed_time(timestamp: str, student: str) -> datetime.datetime | None:
    """The time stamp as UTC, without a zone as nbgrader keeps it; None for "".

    Raises UserError where it is no time, or may be several: 01.03.2026, 19:30 IST, an hour that a clock
    shows twice. Without a zone it is UTC, as in nbgrader.
    """
    if not timestamp:
        return None
    found = _TIME.fullmatch(timestamp)
    try:
        if found is None:
            raise ValueError(timestamp)
        local = datetime.datetime.fromisoformat(found[1]).replace(tzinfo=_zone(found[2]))
        if local.utcoffset() != local.replace(fold=1).utcoffset():
            raise ValueError(timestamp)
        return local.astimezone(datetime.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError, KeyError):
        raise UserError(
            f"{student}/timestamp.txt",
            f"{timestamp[:40]!r} is not a time, or may be several",
            "Write when the submission came in, like 2026-03-01 18:00:00 UTC or "
            "2026-03-01 19:00:00 +0100, or delete the file",
        ) from None


def _zone(name: str) -> datetime.tzinfo:
    if name in ("", "Z", "UTC", "GMT"):
        return datetime.UTC
    if "/" in name:
        return zoneinfo.ZoneInfo(name)
    hours, minutes = int(name[1:3]), int(name[3:].removeprefix(":") or 0)
    if hours > 14 or minutes > 59:
        raise ValueError(name)
    offset = datetime.timedelta(hours=hours, minutes=minutes)
    return datetime.timezone(-offset if name[0] == "-" else offset)
