"""The rows of one submission in nbgrader's gradebook, written in one transaction."""

import datetime
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
from nbgrader.utils import parse_utc
from sqlalchemy.engine import Connection

from handgrad.errors import UserError
from handgrad.gradebook import Structure


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
        return Entry(student, self._late(stamp, extension), self._enter_notebooks(submission))

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
        if new:
            self._connection.execute(sql.insert(table), new)
            found.update({row["notebook_id"]: row["id"] for row in new})
        ids = {stem: found[notebook] for stem, notebook in self._structure.notebooks.items()}
        self._enter_cells(
            Grade.__table__, ids, self._structure.grades, {"needs_manual_grade": True}
        )
        self._enter_cells(Comment.__table__, ids, self._structure.comments, {})
        return ids

    def _enter_cells(
        self,
        table: sql.Table,
        notebooks: Mapping[str, str],
        cells: Mapping[tuple[str, str], str],
        blank: Mapping[str, object],
    ) -> None:
        """Enter the rows that are not there: of a new submission, or of a cell released later."""
        query = sql.select(table.c.notebook_id, table.c.cell_id).where(
            table.c.notebook_id.in_(list(notebooks.values()))
        )
        there = {(row.notebook_id, row.cell_id) for row in self._connection.execute(query)}
        wanted = ((notebooks[stem], cell) for (stem, _), cell in cells.items())
        new = [
            {"id": new_uuid(), "notebook_id": notebook, "cell_id": cell, **blank}
            for notebook, cell in wanted
            if (notebook, cell) not in there
        ]
        if new:
            self._connection.execute(sql.insert(table), new)

    def write(
        self, entry: "Entry", sheets: Mapping[str, Sheet], penalties: Penalties | None
    ) -> None:
        """Write notebooks' sheets, by stem; without `penalties` those stay as they are."""
        for stem, sheet in sheets.items():
            notebook = entry.notebooks[stem]
            score = self._write_scores(stem, notebook, sheet)
            if sheet.absent:
                continue
            self._write_comments(stem, notebook, sheet)
            if penalties is not None:
                late = Late(entry.student, score, entry.seconds_late)
                penalty = penalties.of(late) if late.seconds > 0 else None
                table = SubmittedNotebook.__table__
                self._connection.execute(
                    sql.update(table)
                    .where(table.c.id == notebook)
                    .values(late_submission_penalty=penalty)
                )

    def _write_scores(self, stem: str, notebook: str, sheet: Sheet) -> float:
        """Write a notebook's automatic scores; what it scores with a person's own."""
        table = Grade.__table__
        query = sql.select(table).where(table.c.notebook_id == notebook)
        rows = {row.cell_id: row for row in self._connection.execute(query)}
        changes: list[dict[str, object]] = []
        total = 0.0
        for grade_id, score in sheet.scores.items():
            row = rows[self._structure.grades[stem, grade_id]]
            # nbgrader's rule: who once scored by hand looks again after a regrade.
            again = row.manual_score is not None and not sheet.absent
            changes.append({"row": row.id, "score": score, "manual": again or score is None})
            counted = row.manual_score if row.manual_score is not None else score
            if counted is not None:
                total += counted + (row.extra_credit or 0.0)
        self._update(
            sql.update(table)
            .where(table.c.id == sql.bindparam("row"))
            .values(auto_score=sql.bindparam("score"), needs_manual_grade=sql.bindparam("manual")),
            changes,
        )
        return total

    def _write_comments(self, stem: str, notebook: str, sheet: Sheet) -> None:
        table = Comment.__table__
        self._update(
            sql.update(table)
            .where(table.c.notebook_id == notebook, table.c.cell_id == sql.bindparam("cell"))
            .values(auto_comment=sql.bindparam("comment")),
            [
                {"cell": self._structure.comments[stem, grade_id], "comment": comment}
                for grade_id, comment in sheet.comments.items()
            ],
        )

    def _update(self, statement: sql.Update, changes: Sequence[Mapping[str, object]]) -> None:
        if changes:  # an empty list would mean "once, with nothing filled in"
            self._connection.execute(statement, changes)


@dataclass(frozen=True, slots=True)
class Entry:
    """A submission that is in the gradebook: how late it is, and its notebooks' ids by stem."""

    student: str
    seconds_late: float
    notebooks: Mapping[str, str]


def parsed_time(timestamp: str, student: str) -> datetime.datetime | None:
    """nbgrader's time stamp as UTC; None for ""; UserError where it is no time."""
    if not timestamp:
        return None
    try:
        stamp: datetime.datetime = parse_utc(timestamp)
    except (ValueError, OverflowError):
        raise UserError(
            f"{student}/timestamp.txt",
            f"{timestamp[:40]!r} is not a time",
            "Write when the submission came in, like 2026-03-01 18:00:00 UTC, or delete the file",
        ) from None
    return stamp
