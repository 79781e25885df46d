"""Rows of the gradebook: entered once, a person's own kept, and every refusal named."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from coursedir import ASSIGNMENT, make_course, rows, scores

from handgrad.errors import UserError
from handgrad.store import backups
from handgrad.store.course import Course
from handgrad.store.database import in_words
from handgrad.store.gradebook import Gradebook
from handgrad.store.roster import settle_penalties
from handgrad.store.rows import Late, Penalties, Sheet, parsed_time

ONE = "1_every_step"


class Tenth(Penalties):
    """Takes off a tenth, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Late] = []

    def of(self, late: Late) -> float | None:
        self.asked.append(late)
        return late.score / 10


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_course(tmp_path / "course", ())


@pytest.fixture
def book(root: Path) -> Iterator[Gradebook]:
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}", ASSIGNMENT) as gradebook:
        yield gradebook


def sheet(**changes: float | None) -> dict[str, Sheet]:
    return {ONE: Sheet({"test_dC": 2.0, "test_db1": None, **changes}, {"dC": "No response."})}


def change(root: Path, statement: str) -> None:
    with closing(sqlite3.connect(root / "gradebook.db")) as database, database:
        database.execute(statement)


def test_a_submission_is_entered_with_all_its_cells(root: Path, book: Gradebook) -> None:
    book.save("alice", "", {})
    tables = rows(root)
    assert len(tables["submitted_notebook"]) == 4
    assert len(tables["grade"]) == len(book.structure.grades)
    assert len(tables["comment"]) == len(book.structure.comments)
    assert set(scores(root, "alice").values()) == {(None, True)}


def test_saving_twice_enters_nothing_twice(root: Path, book: Gradebook) -> None:
    book.save("alice", "", sheet())
    once = rows(root)
    book.save("alice", "", sheet())
    assert rows(root) == once
    assert scores(root, "alice")[ONE, "test_dC"] == (2.0, False)
    assert scores(root, "alice")[ONE, "test_db1"] == (None, True)
    assert book.scores() == {
        "alice": {key: 2.0 if key == (ONE, "test_dC") else None for key in book.structure.grades}
    }


def test_a_cell_that_was_released_later_is_entered(root: Path, book: Gradebook) -> None:
    book.save("alice", "", {})
    change(root, "DELETE FROM grade WHERE rowid IN (SELECT rowid FROM grade LIMIT 5)")
    book.save("alice", "", sheet())
    assert len(rows(root)["grade"]) == len(book.structure.grades)


def test_folders_that_hold_nothing_are_entered_together_and_once(
    root: Path, book: Gradebook
) -> None:
    empty = {f"s{number}": "" for number in range(20)}
    book.enter({**empty, "late": "2026-03-01 12:00:00 UTC"})
    assert {row[0] for row in rows(root)["student"]} >= {*empty, "late"}
    assert set(scores(root, "s7").values()) == {(None, True)}
    once = (root / "gradebook.db").read_bytes()
    book.enter({**empty, "late": "2026-03-01 12:00:00 UTC"})
    assert (root / "gradebook.db").read_bytes() == once  # not even a transaction
    book.enter({**empty, "late": "2026-03-01 13:00:00 UTC"})
    assert (root / "gradebook.db").read_bytes() != once


def test_penalties_are_settled_without_a_look_at_each_submission_that_is_in_time(
    root: Path, book: Gradebook
) -> None:
    asked: list[str] = []
    sqlalchemy.event.listen(
        sqlalchemy.Engine, "before_cursor_execute", lambda *args: asked.append(args[2])
    )
    counts = []
    for more in (("one",), [f"s{number}" for number in range(20)]):
        book.enter(dict.fromkeys(more, "2026-02-28 12:00:00 UTC"))
        asked.clear()
        settle_penalties(Course(root), ASSIGNMENT)
        counts.append(len(asked))
    assert counts[0] == counts[1]


def test_lateness_counts_from_the_due_date_and_the_extension(root: Path, book: Gradebook) -> None:
    rule = Tenth()
    book.save("alice", "2026-03-01 13:00:00 UTC", sheet(), rule)
    change(root, "UPDATE submitted_assignment SET extension = '1970-01-01 00:30:00.000000'")
    book.save("alice", "2026-03-01 13:00:00 UTC", sheet(), rule)
    book.save("alice", "", sheet(), rule)  # without a stamp the old one stays
    book.save("alice", "2026-03-01 11:00:00 UTC", sheet(), rule)
    assert [late.seconds for late in rule.asked] == [3600, 1800, 1800]
    assert [late.score for late in rule.asked] == [2.0, 2.0, 2.0]
    assert {row[3] for row in rows(root)["submitted_notebook"]} == {None}


def test_a_penalty_is_taken_off_what_a_person_gave_too(root: Path, book: Gradebook) -> None:
    book.save("alice", "2026-03-01 13:00:00 UTC", sheet())
    change(
        root,
        """UPDATE grade SET manual_score = 1.0, extra_credit = 0.5 WHERE cell_id IN
        (SELECT id FROM base_cell WHERE name = 'test_dC')""",
    )
    rule = Tenth()
    book.save("alice", "2026-03-01 13:00:00 UTC", sheet(), rule)
    assert [late.score for late in rule.asked] == [1.5]
    found = {row[1]: row[3] for row in rows(root)["submitted_notebook"]}
    assert found[ONE] == pytest.approx(0.15)


def test_nothing_is_written_when_something_fails(root: Path, book: Gradebook) -> None:
    class Broken(Penalties):
        def of(self, late: Late) -> float | None:
            raise ZeroDivisionError

    before = rows(root)
    with pytest.raises(ZeroDivisionError):
        book.save("alice", "2026-03-01 13:00:00 UTC", sheet(), Broken())
    assert rows(root) == before


STAMPS = {
    "utc": ("2026-03-01 12:00:00 UTC", "2026-03-01 12:00:00"),
    "offset": ("2026-03-01T14:00:00+02:00", "2026-03-01 12:00:00"),
    "fraction": ("2026-03-01 12:00:00.250000 UTC", "2026-03-01 12:00:00.250000"),
    "offset after a space": ("2026-03-01 19:30:00 +0200", "2026-03-01 17:30:00"),
    "offset to the west": ("2026-03-01 19:30 -05:30", "2026-03-02 01:00:00"),
    "place": ("2026-03-01 19:30:00 Europe/Berlin", "2026-03-01 18:30:00"),
    "place in summer": ("2026-07-01 19:30:00 Europe/Berlin", "2026-07-01 17:30:00"),
    "no zone": ("2026-03-01 12:00:00", "2026-03-01 12:00:00"),
}


@pytest.mark.parametrize(("text", "utc"), STAMPS.values(), ids=STAMPS)
def test_time_stamps_are_read_as_they_are_meant(text: str, utc: str) -> None:
    assert str(parsed_time(text, "alice")) == utc


@pytest.mark.parametrize(
    "text",
    [
        *("yesterday", "2026-13-01", "9" * 40, "?it is a link", "01.03.2026 19:30", "2026-03-01"),
        *("2026-03-01 19:30:00 IST", "2026-03-01 19:30:00 EDT", "2026-03-01 25:00:00 UTC"),
        *("2026-10-25 02:30:00 Europe/Berlin", "2026-03-01 19:30:00 +9900", "2026-03-01 1:00 A/B"),
    ],
)
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(
        UserError, match=r"alice/timestamp\.txt: .* is not a time, or may be several\. Write when"
    ):
        parsed_time(text, "alice")


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ("database is locked", "Let it finish"),
        ("attempt to write a readonly database", "writable"),
        ("unable to open database file", "readable and writable"),
        ("database or disk is full", "Make some space"),
        ("no such column: student.lms_user_id", "nbgrader db upgrade"),
        ("database disk image is malformed", "handgrad restore"),
        ("file is not a database", "handgrad restore"),
        ("disk I/O error", "Look after the disk"),
        ("something new", "Look after the gradebook"),
    ],
)
def test_what_a_database_says_becomes_what_to_do(said: str, part: str) -> None:
    error = in_words("gradebook.db", sqlite3.OperationalError(said))
    assert error.where == "gradebook.db"
    assert part in error.cure


def test_settings_that_do_not_load_are_named(root: Path) -> None:
    (root / "nbgrader_config.py").write_text("c = get_config()\nc.Autograde.x = undefined\n")
    with pytest.raises(UserError, match=r"nbgrader_config\.py: it cannot be used .*undefined"):
        Course(root)


def test_excluded_students_are_left_out(root: Path) -> None:
    for name in ("alice", "bob", "carol"):
        (root / "submitted" / name / ASSIGNMENT).mkdir(parents=True)
    with (root / "nbgrader_config.py").open("a") as file:
        file.write("c.CourseDirectory.student_id_exclude = 'bob,nobody'\n")
    found, odd = Course(root).students(ASSIGNMENT)
    assert (found, odd) == (("alice", "carol"), ())


def test_copies_are_ordered_by_their_number_and_the_newest_is_never_deleted(root: Path) -> None:
    """A clock that once ran ahead left copies "of the future", which each new one vanished behind."""
    file = root / "gradebook.db"
    for year in range(2090, 2100):
        (root / f"gradebook.db.bak-{year}0101-000000").write_bytes(b"")
    made = [backups.backup(file) for _ in range(3)]
    assert backups.copies(file)[:3] == made[::-1]
    assert len(backups.copies(file)) == 5
    assert backups.restore(file)[0] == made[-1]
