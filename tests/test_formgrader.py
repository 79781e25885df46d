"""What a teaching assistant does in formgrader, by clicking, in a real browser on a real Jupyter server."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from coursedir import ASSIGNMENT, make_course, nbgrader, rows
from jupyterserver import JupyterServer, jupyter_server
from playwright.sync_api import Browser, Locator, Page, expect

from demo.classroom import ONE
from handgrad.store.course import Course
from handgrad.store.roster import odd_names

STUDENT = "writes"  # everything right; both written answers given, with an attack in them
GRADING_SECONDS = 60.0


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_course(tmp_path_factory.mktemp("formgrader") / "course", [STUDENT])


@pytest.fixture(scope="module")
def server(course: Path) -> Iterator[JupyterServer]:
    home = course.with_name("home")
    home.mkdir()
    with jupyter_server(course, home) as running:
        yield running


@pytest.fixture
def formgrader(browser: Browser, server: JupyterServer) -> Iterator[Page]:
    """Formgrader's first page. Whatever a student's notebook makes the browser say is a failure."""
    context = browser.new_context()
    page = context.new_page()
    said: list[str] = []
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.goto(server.page("formgrader/manage_assignments"))
    yield page
    context.close()
    assert said == []


def row(page: Page, text: str) -> Locator:
    return page.locator("#main-table tr", has_text=text)


def succeeded(page: Page) -> str:
    """Wait for the end of what was asked for, put the message away, and return it."""
    message = page.locator(".modal-dialog")
    message.wait_for(timeout=GRADING_SECONDS * 1000)
    text = message.inner_text()
    message.get_by_role("button", name="OK").click()
    message.wait_for(state="hidden")
    assert "Success" in text, text
    return text


def by_hand(course: Path) -> dict[str, object]:
    """The marks that a person gave, by grade id."""
    return {row[3]: row[6] for row in rows(course)["grade"] if row[6] is not None}  # type: ignore[misc]


def test_generate_makes_the_students_version(formgrader: Page, course: Path) -> None:
    released = course / "release" / ASSIGNMENT / f"{ONE}.ipynb"
    before = released.read_bytes()
    released.unlink()
    row(formgrader, ASSIGNMENT).locator(".assign a").click()
    assert f"created the student version of '{ASSIGNMENT}'" in succeeded(formgrader)
    assert released.read_bytes() == before


def test_a_submission_is_autograded_marked_by_hand_and_handed_back(
    formgrader: Page, course: Path
) -> None:
    row(formgrader, ASSIGNMENT).locator(".num-submissions a").click()
    mine = row(formgrader, STUDENT)
    expect(mine.locator(".status")).to_have_text("needs autograding")
    mine.locator(".autograde a").click()
    assert "Successfully autograded" in succeeded(formgrader)
    expect(mine.locator(".status")).to_have_text("needs manual grading")
    expect(mine.locator(".score")).to_have_text("92 / 100")

    formgrader.get_by_role("link", name="Manual Grading").click()
    row(formgrader, ASSIGNMENT).get_by_role("link", name=ASSIGNMENT).click()
    row(formgrader, ONE).get_by_role("link", name=ONE).click()
    expect(row(formgrader, "Submission #1")).to_contain_text("52 / 60")
    formgrader.get_by_role("link", name="Submission #1").click()
    waiting = formgrader.locator("input.score.needs_manual_grade")
    expect(waiting).to_have_count(2)
    for grade_id, points in (("bessel", "3"), ("why_db1_is_zero", "1.5")):
        mark = formgrader.locator(f"input.score#{grade_id}")
        mark.fill(points)
        mark.press("Tab")
    formgrader.locator("#bessel-comment").fill("Why not $n$?")
    formgrader.locator("#bessel-comment").blur()
    expect(waiting).to_have_count(0)
    formgrader.wait_for_load_state("networkidle")
    assert by_hand(course) == {"bessel": 3.0, "why_db1_is_zero": 1.5}

    formgrader.get_by_role("link", name=ONE).click()
    expect(row(formgrader, "Submission #1")).to_contain_text("56.5 / 60")

    formgrader.get_by_role("link", name="Manage Assignments").click()
    row(formgrader, ASSIGNMENT).locator(".num-submissions a").click()
    expect(mine.locator(".status")).to_have_text("graded")
    expect(mine.locator(".score")).to_have_text("96.5 / 100")
    mine.locator(".generate-feedback a").click()
    assert "Successfully generated feedback" in succeeded(formgrader)
    page = (course / "feedback" / STUDENT / ASSIGNMENT / f"{ONE}.html").read_text(encoding="utf-8")
    assert "56.5" in page
    assert "Why not" in page


ATTACK = '"><img src=x onerror=alert(1)>'
PAGES = (
    "manage_assignments",
    f"manage_submissions/{ASSIGNMENT}",
    "manage_students",
    f"manage_students/{STUDENT}",
    f"manage_students/{STUDENT}/{ASSIGNMENT}",
    "gradebook",
    f"gradebook/{ASSIGNMENT}",
    f"gradebook/{ASSIGNMENT}/{ONE}",
)


def test_no_name_of_a_student_runs_on_any_page(
    formgrader: Page, course: Path, server: JupyterServer
) -> None:
    """A folder and a roster that hold script, both from before anybody looked at them."""
    shutil.copytree(course / "submitted" / STUDENT, course / "submitted" / ATTACK)
    with closing(sqlite3.connect(course / "gradebook.db")) as database, database:
        database.execute(
            "UPDATE student SET first_name = ?, last_name = ? WHERE id = ?",
            ("<script>alert(2)</script>", "<img src=x onerror=alert(3)>", STUDENT),
        )
        query = "SELECT sn.id FROM submitted_notebook sn JOIN notebook n ON n.id = sn.notebook_id"
        submissions = [f"submissions/{row[0]}" for row in database.execute(query)]
    assert submissions
    for path in (*PAGES, *submissions):
        formgrader.goto(server.page(f"formgrader/{path}"))
        formgrader.wait_for_load_state("networkidle")
        assert formgrader.locator("img[src=x]").count() == 0, path
    formgrader.goto(server.page(f"formgrader/manage_submissions/{ASSIGNMENT}"))
    expect(row(formgrader, STUDENT)).to_have_count(1)
    expect(row(formgrader, ATTACK)).to_have_count(0)


def test_the_doctor_names_them(course: Path) -> None:
    (odd, named) = odd_names(Course(course))
    assert "onerror" in odd.where
    assert (named.where, named.fact) == (STUDENT, "the name in the roster holds markup")


def test_a_roster_loses_its_markup_on_the_way_in(course: Path) -> None:
    roster = course / "students.csv"
    roster.write_text("id,first_name,last_name\nann,<b>Ann</b>,O'Neil\n", encoding="utf-8")
    done = nbgrader(course, "db", "student", "import", str(roster))
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(course / "gradebook.db")) as database:
        names = database.execute("SELECT first_name, last_name FROM student WHERE id = 'ann'")
        assert names.fetchall() == [("‹b›Ann‹/b›", "O'Neil")]
    refused = nbgrader(course, "db", "student", "add", ATTACK)
    assert refused.returncode != 0
    assert "cannot be a student's id" in refused.stderr
