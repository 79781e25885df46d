"""Names of students as nbgrader's own pages may show them, which put them into HTML as they are."""

from typing import Any

from nbgrader.api import Student
from nbgrader.apps.api import NbGraderAPI
from sqlalchemy import event
from sqlalchemy.orm.attributes import set_committed_value

from handgrad.errors import UserError
from handgrad.plaintext import line, odd_name, plain_name

_NAMES = ("first_name", "last_name", "email")


def guard_names() -> None:
    """Let no name run as script in formgrader; for `nbgrader_config.py`, which is read several times.

    A name loses what is markup when it enters the gradebook, and when it comes out of one in which it
    already was. An id that is none is refused; a folder of such a name is listed nowhere.
    """
    if event.contains(Student, "load", _loaded):
        return
    event.listen(Student, "load", _loaded)
    event.listen(Student.id, "set", _id)
    for name in _NAMES:
        event.listen(getattr(Student, name), "set", _named, retval=True)
    listed = NbGraderAPI.get_submitted_students

    def without_odd_ones(api: NbGraderAPI, assignment_id: str) -> set[str]:
        return {student for student in listed(api, assignment_id) if not odd_name(student)}

    NbGraderAPI.get_submitted_students = without_odd_ones


def _loaded(student: Student, _: object) -> None:
    for name in _NAMES:
        shown = student.__dict__.get(name)
        if isinstance(shown, str):
            set_committed_value(student, name, plain_name(shown))


def _named(_: Student, value: Any, *__: object) -> Any:
    return plain_name(value) if isinstance(value, str) else value


def _id(_: Student, value: object, *__: object) -> None:
    wrong = odd_name(str(value))
    if wrong:
        raise UserError(
            line(str(value), 60), f"this cannot be a student's id: {wrong}", "Choose another id"
        )
