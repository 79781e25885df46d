"""Marks for Canvas and Moodle: each number is right, or it is not there and the reason is."""

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from coursedir import ASSIGNMENT, hand_in, make_course, nbgrader
from nbgrader.api import Gradebook

from demo.classroom import CLASS, ONE
from handgrad.batch.finalmarks import FinalMark, final_marks
from handgrad.batch.run import grade
from handgrad.errors import UserError
from handgrad.nbgrader.exporters import CanvasExporter, MoodleExporter
from handgrad.plaintext import plain_name
from handgrad.store.course import Course
from handgrad.store.roster import class_records

# Everything right but the written answers; nothing at all; two mistakes, late; half unreadable.
STUDENTS = ("writes", "blank", "late", "broken_json")
MARKED = {"bessel": 3.0, "why_db1_is_zero": 1.5}
NAME = '=HYPERLINK("http://evil.invalid","Ann")'


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course in which a person has marked what waited, but for what could not be graded."""
    root = make_course(tmp_path_factory.mktemp("export") / "course", STUDENTS)
    assert not grade(root, ASSIGNMENT, jobs=2).failed
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}") as gradebook:
        for student in ("writes", "late"):
            for grade_id, points in MARKED.items():
                cell = gradebook.find_grade(grade_id, ONE, ASSIGNMENT, student)
                cell.manual_score, cell.needs_manual_grade = points, False
        gradebook.update_or_create_student("writes", first_name=NAME, last_name="van Doe, Jr")
        gradebook.add_student("absent")
        gradebook.db.commit()
    return root


@pytest.fixture
def course(graded: Path, tmp_path: Path) -> Path:
    return shutil.copytree(graded, tmp_path / "course")


def marks(root: Path) -> Mapping[str, FinalMark]:
    return {mark.student: mark for mark in final_marks(root, ASSIGNMENT)}


def table(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_mark_holds_what_a_person_gave(course: Path) -> None:
    assert marks(course)["writes"] == FinalMark("writes", 92 + 4.5, 100.0)
    assert marks(course)["blank"] == FinalMark("blank", 0.0, 100.0)


def test_late_work_worth_nothing_stays_worth_nothing_when_a_person_has_marked_it(
    course: Path,
) -> None:
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        stored = gradebook.find_submission(ASSIGNMENT, "late")
        assert stored.score - stored.late_submission_penalty == 4.5  # what nbgrader would export
    assert marks(course)["late"] == FinalMark("late", 0.0, 100.0)


def test_a_deadline_that_was_moved_counts_at_once(course: Path) -> None:
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        gradebook.update_or_create_assignment(ASSIGNMENT, duedate="2026-03-01 14:00:00 UTC")
        raw = gradebook.find_submission(ASSIGNMENT, "late").score
    assert marks(course)["late"].points == raw > 50
    (record,) = [r for r in class_records(Course(course), ASSIGNMENT) if r.student == "late"]
    assert (record.score, record.late_penalty) == (raw, 0.0)
    grade(course, ASSIGNMENT, jobs=1)  # nothing is due, and nbgrader's own export is right again
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        stored = gradebook.find_submission(ASSIGNMENT, "late")
        assert stored.late_submission_penalty == 0


def test_the_class_report_has_the_same_number(course: Path) -> None:
    of_report = {r.student: r.points for r in class_records(Course(course), ASSIGNMENT)}
    for student, mark in marks(course).items():
        assert mark.points is None or mark.points == of_report[student]


@pytest.mark.parametrize(
    ("student", "why"),
    [("absent", "has not handed in"), ("broken_json", "test_trained")],
)
def test_an_unfinished_mark_is_none(course: Path, student: str, why: str) -> None:
    mark = marks(course)[student]
    assert mark.points is None
    assert why in mark.why[0]


def test_who_handed_in_again_is_to_be_graded_again(course: Path) -> None:
    hand_in(course, "blank", CLASS["perfect"])
    assert marks(course)["blank"].why == ("is to be graded again",)


def test_who_was_dropped_is_in_no_report(course: Path) -> None:
    shutil.rmtree(course / "submitted" / "blank")
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        gradebook.remove_student("blank")
    known = {record.student for record in class_records(Course(course), ASSIGNMENT)}
    assert known == {"absent", "broken_json", "late", "writes"}


def test_a_folder_that_is_refused_is_in_the_report(course: Path) -> None:
    (course / "submitted" / "<b>" / ASSIGNMENT).mkdir(parents=True)
    (odd,) = [r for r in class_records(Course(course), ASSIGNMENT) if r.refused]
    assert odd.student.endswith("<b>")


def test_who_is_not_graded_yet_has_no_mark(course: Path) -> None:
    hand_in(course, "new", CLASS["blank"])
    assert marks(course)["new"].why == ("is not graded",)


def test_graders_that_changed_have_not_marked_anybody(course: Path) -> None:
    path = course / "graders" / ASSIGNMENT / "seed"
    path.write_text("another")
    assert all(mark.points is None for mark in marks(course).values())


def test_a_submission_that_was_put_away_keeps_its_mark(course: Path) -> None:
    shutil.rmtree(course / "submitted" / "writes")
    assert marks(course)["writes"].points == 96.5


# ------------------------------------------------------------------------------- by nbgrader's command


def export(root: Path, exporter: str, *arguments: str) -> str:
    done = nbgrader(
        root, "export", f"--exporter=handgrad.nbgrader.exporters.{exporter}", *arguments
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_canvas_gets_its_columns_and_nobody_unfinished(course: Path) -> None:
    with (course / "nbgrader_config.py").open("a", encoding="utf-8") as settings:
        settings.write('\nc.CanvasExporter.students_are = "SIS Login ID"\n')
        settings.write('c.CanvasExporter.column = "Backprop by hand (4711)"\n')
    said = export(course, "CanvasExporter", "--to", "marks.csv")
    head = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Backprop by hand (4711)"]
    assert table(course / "marks.csv") == [
        head,
        ["    Points Possible", "", "", "", "", "100"],
        ["", "", "", "blank", "", "0"],
        ["", "", "", "late", "", "0"],
        [f"van Doe, Jr, {plain_name(NAME)}", "", "", "writes", "", "96.5"],
    ]
    out = table(course / "marks-left-out.csv")
    assert [row[0] for row in out] == ["student", "absent", "broken_json"]
    assert "absent is left out: has not handed in" in said
    assert "Traceback" not in said


def test_moodle_gets_a_file_for_its_gradebook_and_no_formula(course: Path) -> None:
    with (course / "nbgrader_config.py").open("a", encoding="utf-8") as settings:
        settings.write('\nc.MoodleExporter.students_are = "Username"\n')
    export(course, "MoodleExporter", "--to", "marks.csv", '--student=["writes"]')
    assert table(course / "marks.csv") == [
        ["Username", "Full name", ASSIGNMENT],
        ["writes", f"'{plain_name(NAME)} van Doe, Jr", "96.5"],
    ]
    assert not (course / "marks-left-out.csv").exists()


def test_what_cannot_be_exported_is_said_in_a_sentence(course: Path) -> None:
    done = nbgrader(course, "export", "--exporter=handgrad.nbgrader.exporters.CanvasExporter")
    assert done.returncode != 0
    assert "blank: this is no ID of Canvas" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (course / f"{ASSIGNMENT}.csv").exists()


# ------------------------------------------------------------------------------------------ the lines


def test_canvas_own_numbers_are_ids() -> None:
    lines = list(CanvasExporter().rows("backprop", [FinalMark("4711", 1.25, 2.0)], {}))
    assert lines[0][:2] == ("Student", "ID")
    assert lines[2] == ("", "4711", "", "", "", "1.25")


def test_moodles_participants_get_a_grading_worksheet() -> None:
    lines = list(MoodleExporter().rows("backprop", [FinalMark("1234", 1.25, 2.0)], {}))
    assert lines == [
        ("Identifier", "Full name", "Grade", "Maximum Grade", "Last modified (grade)"),
        ("Participant 1234", "", "1.25", "2", "-"),
    ]


@pytest.mark.parametrize("exporter", [CanvasExporter, MoodleExporter], ids=["canvas", "moodle"])
@pytest.mark.parametrize("student", ["ann", "-1", "١٢", "1.5", "1 "])
def test_what_is_no_number_of_the_platform_is_refused(
    exporter: type[CanvasExporter | MoodleExporter], student: str
) -> None:
    with pytest.raises(UserError, match="students_are"):
        list(exporter().rows("backprop", [FinalMark(student, 1.0, 2.0)], {}))
