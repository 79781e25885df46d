"""A table of students, as spreadsheets and platforms save it, entered into the gradebook."""

import csv
import io
from pathlib import Path

from nbgrader.api import Gradebook as Book

from handgrad.errors import UserError
from handgrad.plaintext import line, odd_name, plain_name
from handgrad.store.course import Course
from handgrad.store.database import told

COLUMNS = ("id", "first_name", "last_name", "email", "lms_user_id")
_SAVE = "Save it as `CSV UTF-8`"


def read_roster(path: Path) -> dict[str, dict[str, str]]:
    """The students of a CSV file by id, each with the gradebook's columns that the file fills.

    Fields are parted by commas, semicolons or tabs, whichever the first line holds most of; a byte order
    mark does no harm. Raises UserError for the first line that cannot be a student.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise UserError(str(path), f"it cannot be read ({error.strerror})", "Name a file") from None
    except UnicodeDecodeError:
        raise UserError(str(path), "it is not text in UTF-8", _SAVE) from None
    header = text.partition("\n")[0]
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True
    )
    fields = [name.strip().lower() for name in reader.fieldnames or ()]
    if "id" not in fields:
        fact = f"its first line names no column `id`, but {line(header, 60)!r}"
        raise UserError(str(path), fact, f"Name the columns: {', '.join(COLUMNS)}")
    reader.fieldnames = fields
    students: dict[str, dict[str, str]] = {}
    try:
        for row in reader:
            student = (row.pop("id") or "").strip()
            wrong = odd_name(student) or ("it is there twice" if student in students else "")
            if wrong:
                where = f"{path}, line {reader.line_num}"
                raise UserError(
                    where, f"{line(student, 60)!r} cannot be an id: {wrong}", "Mend the line"
                )
            students[student] = {
                name: plain_name(value.strip())
                for name, value in row.items()
                if name in COLUMNS and value
            }
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num}", f"it is no CSV ({error})", _SAVE
        ) from None
    return students


def enter(course: Course, students: dict[str, dict[str, str]]) -> None:
    """Write the students into the course's gradebook; those that are there get the file's columns."""
    with told(course.db_url), Book(course.db_url) as book:
        for student, columns in students.items():
            book.update_or_create_student(student, **columns)
