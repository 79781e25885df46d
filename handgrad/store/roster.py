"""The class as gradebook and stored results together know it; nothing is run again."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from nbgrader.api import (
    Assignment,
    BaseCell,
    Grade,
    Notebook,
    Student,
    SubmittedAssignment,
    SubmittedNotebook,
)
from nbgrader.api import Gradebook as Book

from handgrad.errors import UserError
from handgrad.plaintext import line, odd_name, plain_name
from handgrad.store.course import Course
from handgrad.store.database import told
from handgrad.store.gradebook import database_file
from handgrad.store.records import Records
from handgrad.store.rows import Late, Penalties
from handgrad.verdict import Report


@dataclass(frozen=True, slots=True)
class ClassRecord:
    """One student of the class: the stored report, and what the gradebook adds to it.

    `report` is None where nothing was graded. `score` is the gradebook's total, with what was marked by
    hand and the late penalty in it; None where there is no gradebook. `waiting` are the grade ids of
    the written answers that nobody has marked. `refused` is a folder that cannot be a student's.
    """

    student: str
    report: Report | None = None
    name: str = ""
    handed_in: bool = True
    score: float | None = None
    max_score: float | None = None
    late_seconds: float = 0.0
    late_penalty: float = 0.0
    waiting: tuple[str, ...] = ()
    refused: bool = False

    @property
    def points(self) -> float | None:
        """The points so far; None where nothing was graded."""
        if self.score is not None or self.report is None:
            return self.score
        return sum(f.points for f in self.report.findings if f.points is not None)

    @property
    def max_points(self) -> float:
        if self.max_score is not None or self.report is None:
            return self.max_score or 0.0
        return self.report.max_points

    @property
    def share(self) -> float | None:
        """The points as a share of all points, within [0, 1]."""
        if self.points is None or self.max_points <= 0:
            return None
        return min(1.0, max(0.0, self.points / self.max_points))


def class_records(course: Course, assignment: str) -> list[ClassRecord]:
    """Everybody who handed in or has a mark, by student; scores hold manual marks and late penalties.

    Raises UserError where there is no gradebook, or where it does not know the assignment.
    """
    reports = {
        record.report.student: record.report for record in Records(course.root, assignment).all()
    }
    path = database_file(course.db_url)
    if path is not None and not path.is_file():
        raise UserError(
            str(path),
            "there is no gradebook",
            f"Run `nbgrader generate_assignment {assignment}` first",
        )
    with told(str(path or "gradebook")), Book(course.db_url) as book:
        known = [each.name for each in book.assignments]
        if assignment not in known:
            raise UserError(
                assignment,
                "the gradebook knows no assignment of this name",
                f"Known: {', '.join(known) or 'none'}",
            )
        rows = {row["student"]: row for row in book.submission_dicts(assignment)}
        names = {
            student.id: " ".join(filter(None, (student.first_name, student.last_name)))
            for student in book.students
        }
        waiting = _waiting(book, assignment)
        late = {
            submission.student_id: (
                submission.total_seconds_late,
                sum(late_penalty(course.penalties, submission, n) for n in submission.notebooks),
            )
            for submission in book.assignment_submissions(assignment)
        }
    there, odd = course.students(assignment)
    handed_in = {*rows, *there}
    # A report of somebody who is in neither is of a student who was dropped.
    known = [
        _record(student, reports.get(student), names, rows.get(student), waiting, late, handed_in)
        for student in sorted({*handed_in, *names})
    ]
    return known + [ClassRecord(each.where, refused=True) for each in odd]


def odd_names(course: Course) -> list[UserError]:
    """The students, by folder or roster, whose names nbgrader's pages must not show as they are."""
    odd = course.odd_folders()
    path = database_file(course.db_url)
    if path is not None and not path.is_file():
        return odd
    with told(str(path or "gradebook")), Book(course.db_url) as book:
        # By column: what nbgrader makes a Student of may be cleaned on the way.
        columns = (Student.id, Student.first_name, Student.last_name)
        for student, *names in book.db.query(*columns).order_by(Student.id):
            wrong = odd_name(student)
            if wrong:
                cure = "Run `nbgrader db student remove` for it"
                odd.append(
                    UserError(line(student, 60), f"it cannot be a student's id: {wrong}", cure)
                )
            elif any(name and plain_name(name) != name for name in names):
                cure = f"Write it anew with `nbgrader db student add {student}`"
                odd.append(UserError(student, "the name in the roster holds markup", cure))
    return odd


def settle_penalties(course: Course, assignment: str) -> None:
    """Write into the gradebook what lateness costs by the deadline, extension and rule of now."""
    with told(course.db_url), Book(course.db_url) as book:
        penalty = SubmittedNotebook.late_submission_penalty
        fined = {
            of
            for (of,) in book.db.query(SubmittedNotebook.assignment_id).filter(penalty.is_not(None))
        }
        for submission in book.assignment_submissions(assignment):
            late = submission.total_seconds_late > 0
            for notebook in submission.notebooks if late or submission.id in fined else ():
                notebook.late_submission_penalty = (
                    late_penalty(course.penalties, submission, notebook) if late else None
                )
        book.db.commit()


def late_penalty(
    penalties: Penalties, submission: SubmittedAssignment, notebook: SubmittedNotebook
) -> float:
    """What lateness costs a notebook by the course's rule, as things stand now.

    The gradebook holds what it cost when the notebook was graded: before a person marked the written
    answers, and before a deadline was moved.
    """
    seconds = submission.total_seconds_late
    if seconds <= 0:
        return 0.0
    return penalties.of(Late(submission.student_id, notebook.score, seconds)) or 0.0


def _record(
    student: str,
    report: Report | None,
    names: Mapping[str, str],
    row: Mapping[str, object] | None,
    waiting: Mapping[str, list[str]],
    late: Mapping[str, tuple[float, float]],
    handed_in: set[str],
) -> ClassRecord:
    if row is None:
        return ClassRecord(student, report, names.get(student, ""), student in handed_in)
    seconds, penalty = late.get(student, (0.0, 0.0))
    return ClassRecord(
        student,
        report,
        names.get(student, ""),
        True,
        max(0.0, _number(row["score"]) - penalty),
        _number(row["max_score"]),
        seconds,
        penalty,
        tuple(waiting.get(student, ())),
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _waiting(book: Book, assignment: str) -> dict[str, list[str]]:
    """By student, the grade ids of the written answers that wait for a person."""
    found = (
        book.db.query(SubmittedAssignment.student_id, BaseCell.name)
        .select_from(Grade)
        .join(BaseCell, Grade.cell_id == BaseCell.id)
        .join(SubmittedNotebook, Grade.notebook_id == SubmittedNotebook.id)
        .join(SubmittedAssignment, SubmittedNotebook.assignment_id == SubmittedAssignment.id)
        .join(Assignment, SubmittedAssignment.assignment_id == Assignment.id)
        .join(Notebook, SubmittedNotebook.notebook_id == Notebook.id)
        .filter(Assignment.name == assignment, Grade.needs_manual_grade)
        .order_by(Notebook.name, BaseCell.name)
        .all()
    )
    waiting: dict[str, list[str]] = defaultdict(list)
    for student, name in found:
        waiting[student].append(name)
    return waiting
