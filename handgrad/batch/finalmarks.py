"""The marks that may leave the course: of whom a number is right, and of whom there is none and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handgrad.assignment.assignment import Assignment
from handgrad.assignment.source import Described, described
from handgrad.batch.ledger import Ledger
from handgrad.errors import UserError
from handgrad.notebooks.intake import take
from handgrad.store.course import Course
from handgrad.store.gradebook import Gradebook
from handgrad.store.lock import only_one
from handgrad.store.roster import ClassRecord, class_records


@dataclass(frozen=True, slots=True)
class FinalMark:
    """One student's mark; `points` is None exactly where `why` says what is in its way."""

    student: str
    points: float | None
    max_points: float
    why: tuple[str, ...] = ()


def final_marks(root: Path, name: str) -> list[FinalMark]:
    """Everybody whom the gradebook or `submitted/` knows, by student.

    Points hold what people marked, extra credit and the late penalty. Raises UserError where there is
    nothing to go by, and while somebody grades.
    """
    course, about = Course(root), described(Assignment.load(root, name))
    with only_one(root):
        records = class_records(course, name)
        stale = _stale(course, about, [record for record in records if record.score is not None])
    most = sum(about.points.values())
    return [_final(record, most, stale.get(record.student, "")) for record in records]


def _final(record: ClassRecord, most: float, stale: str) -> FinalMark:
    if not record.handed_in:
        why: tuple[str, ...] = ("has not handed in",)
    elif record.score is None:
        why = ("is not graded",)
    else:
        waiting = f"waits for a person: {', '.join(record.waiting)}" if record.waiting else ""
        why = tuple(filter(None, (stale, waiting)))
    return FinalMark(record.student, None if why else record.score, most, why)


def _stale(course: Course, about: Described, graded: list[ClassRecord]) -> Mapping[str, str]:
    """Whose marks are not of what they handed in, or not by these graders, and which it is."""
    found: dict[str, str] = {}
    with Gradebook(course.db_url, about.name) as gradebook:
        gradebook.agree(about.points)
        ledger = Ledger(course, gradebook, about)
        for record in graded:
            folder = course.submitted(record.student, about.name)
            if not folder.exists():
                # Put away since: nothing newer can be in it. A row alone is no mark, though.
                if record.report is None:
                    found[record.student] = "has no report"
                continue
            try:
                taken = take(folder, about.release, about.files, about.settings.limits)
            except UserError as error:
                found[record.student] = error.fact
                continue
            if ledger.standing(record.student, taken) is None:
                found[record.student] = "is to be graded again"
    return found
