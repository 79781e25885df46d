"""nbgrader's gradebook: what it knows of one assignment, and a transaction for each submission."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType

import sqlalchemy as sql
from nbgrader.api import (
    Assignment,
    BaseCell,
    Grade,
    GradeCell,
    Notebook,
    SolutionCell,
    SubmittedAssignment,
    SubmittedNotebook,
    TaskCell,
)
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError

from handgrad.errors import UserError
from handgrad.store.database import told
from handgrad.store.rows import Penalties, Rows, Sheet, parsed_time
from handgrad.store.structure import Structure

_LOCK_SECONDS = 30.0  # how long somebody else may write before we give up


class Gradebook:
    """One assignment's part of a gradebook, with one connection open; a context manager.

    Every method raises UserError where the database is missing, locked, damaged, full or read-only.
    """

    def __init__(self, db_url: str, assignment: str) -> None:
        self._url = _parsed(db_url)
        self._name = assignment
        self.path = database_file(db_url)
        self.where = str(self.path or self._url.render_as_string(hide_password=True))

    def __enter__(self) -> "Gradebook":
        if self.path is not None and not self.path.is_file():
            raise UserError(self.where, "there is no gradebook", self._generate)
        arguments = {} if self.path is None else {"timeout": _LOCK_SECONDS}
        try:
            self._engine = sql.create_engine(self._url, connect_args=arguments)
        except (ImportError, NoSuchModuleError) as error:
            raise UserError(
                self.where,
                f"nothing here can open it ({error})",
                "Write PostgreSQL's as `postgresql+psycopg2://...` and `pip install 'handgrad[dask]'`",
            ) from None
        if self.path is not None:
            sql.event.listen(self._engine, "connect", _no_implicit_begin)
            sql.event.listen(self._engine, "begin", _begin_immediately)
        try:
            self.structure  # noqa: B018 (read now, so that a damaged gradebook is found now)
        except BaseException:
            self._engine.dispose()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._engine.dispose()

    @property
    def _generate(self) -> str:
        return f"Run `nbgrader generate_assignment {self._name}` first"

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with told(self.where), self._engine.begin() as connection:
            yield connection

    @cached_property
    def structure(self) -> Structure:
        """What the gradebook knows of the assignment."""
        with self._transaction() as connection:
            row = connection.execute(
                sql.select(Assignment.id, Assignment.duedate).where(Assignment.name == self._name)
            ).one_or_none()
            if row is None:
                raise UserError(self.where, f"it has no assignment `{self._name}`", self._generate)
            notebooks = connection.execute(
                sql.select(Notebook.id, Notebook.name).where(Notebook.assignment_id == row.id)
            ).all()
            stems = {each.id: each.name for each in notebooks}
            cells = _cells(connection, list(stems))
        # Solution and grade cell of a written answer are two rows of the same name.
        graded = {
            (stems[cell.notebook_id], cell.name): cell
            for cell in cells
            if cell.type in (GradeCell.__name__, TaskCell.__name__)
        }
        commented = {
            (stems[cell.notebook_id], cell.name): cell
            for cell in cells
            if cell.type in (SolutionCell.__name__, TaskCell.__name__)
        }
        return Structure(
            row.id,
            row.duedate,
            {each.name: each.id for each in notebooks},
            {key: cell.id for key, cell in graded.items()},
            {key: cell.id for key, cell in commented.items()},
            {key: float(cell.points) for key, cell in graded.items()},
        )

    def agree(self, points: Mapping[tuple[str, str], float]) -> None:
        """Raise UserError unless the gradebook has just these grade cells, worth just these points."""
        known = self.structure.points
        for key in sorted({*known, *points}):
            if known.get(key) != points.get(key):
                stem, grade_id = key
                raise UserError(
                    self.where,
                    f"it has {_worth(known.get(key))} for `{grade_id}` of {stem}, "
                    f"and the release has {_worth(points.get(key))}",
                    f"Run `nbgrader generate_assignment {self._name} --force`",
                )

    def scores(self) -> dict[str, dict[tuple[str, str], float | None]]:
        """All automatic scores of the assignment by student, then by notebook and grade id."""
        cell_of = {cell: key for key, cell in self.structure.grades.items()}
        submission, notebook = SubmittedAssignment.__table__, SubmittedNotebook.__table__
        grade = Grade.__table__
        query = (
            sql.select(submission.c.student_id, grade.c.cell_id, grade.c.auto_score)
            .select_from(grade)
            .join(notebook, notebook.c.id == grade.c.notebook_id)
            .join(submission, submission.c.id == notebook.c.assignment_id)
            .where(submission.c.assignment_id == self.structure.assignment)
        )
        found: dict[str, dict[tuple[str, str], float | None]] = {}
        with self._transaction() as connection:
            for student, cell, score in connection.execute(query):
                if cell in cell_of:
                    found.setdefault(student, {})[cell_of[cell]] = score
        return found

    def save(
        self,
        student: str,
        timestamp: str,
        sheets: Mapping[str, Sheet],
        penalties: Penalties | None = None,
    ) -> None:
        """Write one submission's rows, all of them or none; see `rows`."""
        stamp = parsed_time(timestamp.strip(), student)
        self._write(student, lambda rows: rows.write(rows.enter(student, stamp), sheets, penalties))

    def enter(self, timestamps: Mapping[str, str]) -> None:
        """Enter students with ungraded submissions, all at once, and only those it does not know so."""
        stamps = {
            student: parsed_time(each.strip(), student) for student, each in timestamps.items()
        }
        table, scores = SubmittedAssignment.__table__, self.scores()
        query = sql.select(table.c.student_id, table.c.timestamp).where(
            table.c.assignment_id == self.structure.assignment
        )
        with self._transaction() as connection:
            known = {row.student_id: row.timestamp for row in connection.execute(query)}
        new = {
            student: stamp
            for student, stamp in stamps.items()
            if not scores.get(student, {}).keys() >= self.structure.grades.keys()
            or stamp not in (None, known[student])
        }
        if new:
            whose = ", ".join([*new][:5])
            self._write(whose, lambda rows: [rows.enter(*each) for each in new.items()])

    def _write(self, student: str, write: Callable[[Rows], object]) -> None:
        """Have `write` write rows, all of them or none."""
        for last in (False, True):
            try:
                with told(self.where, IntegrityError), self._engine.begin() as connection:
                    write(Rows(connection, self.structure))
                return
            except IntegrityError as error:
                # Somebody else entered the same student a moment ago: now they are there.
                if last:
                    raise UserError(
                        self.where,
                        f"it refuses the rows of {student} ({error.orig})",
                        "Run the same command again when no other grader is at work",
                    ) from None


def _cells(connection: Connection, notebooks: list[str]) -> list[sql.Row[tuple[object, ...]]]:
    base, grade, task = BaseCell.__table__, GradeCell.__table__, TaskCell.__table__
    points = sql.func.coalesce(grade.c.max_score, task.c.max_score).label("points")
    query = (
        sql.select(base.c.id, base.c.name, base.c.notebook_id, base.c.type, points)
        .select_from(base)
        .outerjoin(grade, grade.c.id == base.c.id)
        .outerjoin(task, task.c.id == base.c.id)
        .where(base.c.notebook_id.in_(notebooks))
    )
    return list(connection.execute(query))


def database_file(db_url: str) -> Path | None:
    """The file of a SQLite gradebook, None for a database server's."""
    url = _parsed(db_url)
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def _parsed(db_url: str) -> URL:
    try:
        return make_url(db_url)
    except ArgumentError:
        raise UserError(
            db_url,
            "it is no address of a database",
            "Set CourseDirectory.db_url to `sqlite:///gradebook.db`, or leave it out",
        ) from None


def _worth(points: float | None) -> str:
    return "nothing" if points is None else f"{points:g} points"


def _no_implicit_begin(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None


def _begin_immediately(connection: Connection) -> None:
    # Two writers that both begin by reading would otherwise lock each other out.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
