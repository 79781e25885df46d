"""nbgrader's own `generate_feedback` hands back this project's page, with a person's marks on it."""

import os
import re
import stat
from pathlib import Path

import pytest
from coursedir import ASSIGNMENT, hand_in, make_course, nbgrader
from nbgrader.api import Gradebook

from demo.classroom import CLASS, ONE
from handgrad.batch.run import grade
from handgrad.store.records import Records

LATE = "late"  # two mistakes, handed in an hour and a half after the assignment was due


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with one student, graded, then looked at by a person in formgrader."""
    root = make_course(tmp_path_factory.mktemp("feedback") / "course", [LATE])
    assert not grade(root, ASSIGNMENT, jobs=1).failed
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}") as gradebook:
        marked = gradebook.find_grade("test_dhpreact", ONE, ASSIGNMENT, LATE)
        marked.manual_score = 1.25
        marked.needs_manual_grade = False
        answer = gradebook.find_comment("dhpreact", ONE, ASSIGNMENT, LATE)
        answer.manual_comment = "Nearly. **Which** of the two is squared? <script>1</script>"
        gradebook.db.commit()
    return root


@pytest.fixture(scope="module")
def pages(course: Path) -> dict[str, str]:
    done = nbgrader(course, "generate_feedback", ASSIGNMENT)
    assert done.returncode == 0, done.stderr
    folder = course / "feedback" / LATE / ASSIGNMENT
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.html")}


def row(html: str, name: str) -> str:
    rows = re.findall(r'<tr role="row".*?</tr>', html, re.DOTALL)
    texts = [" ".join(re.sub(r"<[^>]+>", " ", r).split()) for r in rows]
    (found,) = [text for text in texts if text.split()[0] == name]
    return found


def test_every_notebook_has_its_page(course: Path, pages: dict[str, str]) -> None:
    assert set(pages) == {path.stem for path in (course / "release" / ASSIGNMENT).glob("*.ipynb")}
    assert all("Content-Security-Policy" in html for html in pages.values())
    assert not any("<script" in html for html in pages.values())


def test_the_graders_verdicts_are_on_it(pages: dict[str, str]) -> None:
    assert row(pages[ONE], "dh").startswith("dh right 2 / 2")
    assert "wrong" in row(pages[ONE], "dC")
    assert 'class="graph"' in pages[ONE]


def test_a_persons_mark_and_comment_are_on_it(pages: dict[str, str]) -> None:
    assert "1.25 / 2 points set by hand" in row(pages[ONE], "dhpreact")
    assert "Nearly. <strong>Which</strong> of the two is squared?" in pages[ONE]


def test_a_written_answer_waits_until_a_person_marks_it(pages: dict[str, str]) -> None:
    assert "a person has not marked this yet" in row(pages[ONE], "bessel")
    assert "points so far" in pages[ONE]


def test_the_page_is_written_as_nbgrader_writes_feedback(
    course: Path, pages: dict[str, str]
) -> None:
    path = course / "feedback" / LATE / ASSIGNMENT / f"{ONE}.html"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o644  # noqa: PTH116


def test_a_submission_without_a_report_is_said_to_be_so(
    course: Path, pages: dict[str, str]
) -> None:
    (stored,) = Records(course, ASSIGNMENT).folder.glob("*.json")
    stored.rename(stored.with_suffix(".away"))
    done = nbgrader(course, "generate_feedback", ASSIGNMENT, "--force")
    stored.with_suffix(".away").rename(stored)
    assert done.returncode != 0
    assert f"Run `handgrad grade {ASSIGNMENT} --student {LATE}` first" in done.stderr


def test_a_mark_that_changed_is_on_the_next_page_without_any_time_stamp(
    course: Path, pages: dict[str, str]
) -> None:
    hand_in(course, "untimed", CLASS["blank"])
    assert not grade(course, ASSIGNMENT, jobs=1, students=["untimed"]).failed
    assert nbgrader(course, "generate_feedback", ASSIGNMENT).returncode == 0
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as gradebook:
        gradebook.find_grade("test_dh", ONE, ASSIGNMENT, "untimed").manual_score = 1.75
        gradebook.db.commit()
    assert nbgrader(course, "generate_feedback", ASSIGNMENT).returncode == 0
    page = course / "feedback" / "untimed" / ASSIGNMENT / f"{ONE}.html"
    assert "1.75 / 2" in row(page.read_text(encoding="utf-8"), "dh")
