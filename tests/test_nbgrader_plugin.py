"""nbgrader's own commands, stock: the same marks, one line a failure, and no one's file trusted."""

import logging
import os
import shutil
from pathlib import Path

import nbformat
import pytest
from coursedir import (
    ASSIGNMENT,
    STUDENTS,
    autograded,
    graded_class,
    make_course,
    nbgrader,
    rows,
    scores,
)

from demo.classroom import ONE, TWO
from handgrad.batch.session import Session, session
from handgrad.errors import UserError
from handgrad.nbgrader.onelog import OneLine
from handgrad.store.records import Records

PEOPLE = sorted(STUDENTS)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class with a few accidents, graded by `nbgrader autograde`; what it said is in `said`."""
    root = make_course(tmp_path_factory.mktemp("nbgrader") / "a course")
    submitted = root / "submitted"
    accidents = submitted / "accidents" / ASSIGNMENT
    shutil.copytree(submitted / "in_time" / ASSIGNMENT, accidents)
    (accidents / f"{ONE}.ipynb").unlink()
    (accidents / f"{ONE}.ipynb").mkdir()
    (accidents / f"{TWO}.ipynb").unlink()
    (accidents / f"{TWO}.ipynb").symlink_to(submitted / "in_time" / ASSIGNMENT / f"{TWO}.ipynb")
    (accidents / "gradebook.txt").symlink_to(root / "gradebook.db")
    (accidents / "zeros.bin").symlink_to("/dev/zero")
    os.mkfifo(accidents / "pipe.txt")
    (accidents / "conftest.py").write_text("raise SystemExit")
    shutil.copytree(submitted / "in_time", submitted / "timeless")
    (submitted / "timeless" / ASSIGNMENT / "timestamp.txt").write_text("yesterday, I think")
    nowhere = submitted / "all_renamed" / ASSIGNMENT
    shutil.copytree(submitted / "blank" / ASSIGNMENT, nowhere)
    for path in nowhere.glob("*.ipynb"):
        path.rename(path.with_name(f"my {path.name}"))
    (submitted / "eve").symlink_to("in_time")
    done = nbgrader(root, "autograde", ASSIGNMENT)
    (root / "said").write_text(done.stdout + done.stderr)
    return root


def said(course: Path) -> str:
    return (course / "said").read_text()


def test_the_log_says_which_sandbox_once(course: Path) -> None:
    assert said(course).count("the sandbox is ") == 1


def test_both_doors_write_the_same_rows_and_files(course: Path) -> None:
    ours, theirs = rows(graded_class().root), rows(course)
    for table, listed in ours.items():
        known = [row for row in theirs[table] if table == "course" or set(row) & set(PEOPLE)]
        assert known == listed, table
    files = autograded(course)
    of_class = {name: each for name, each in files.items() if name.split("/")[0] in PEOPLE}
    ours_by_name = autograded(graded_class().root)
    assert of_class.keys() == ours_by_name.keys()
    # Names only: pytest would work for minutes on the difference of two long rows of bytes.
    assert [name for name, each in of_class.items() if each != ours_by_name[name]] == []


def test_both_doors_keep_the_same_reports(course: Path) -> None:
    ours, theirs = Records(graded_class().root, ASSIGNMENT), Records(course, ASSIGNMENT)
    for student in PEOPLE:
        assert theirs.read(student) == ours.read(student), student


def test_a_cell_shows_the_reason_and_the_points(course: Path) -> None:
    notebook = nbformat.read(
        course / "autograded/forgot_a_branch" / ASSIGNMENT / f"{ONE}.ipynb", as_version=4
    )
    cells = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in notebook.cells}
    reason, mark = cells["test_dcounts"].outputs
    assert reason.data["text/markdown"].startswith("**wrong**")
    assert (mark.output_type, mark.data["text/plain"]) == ("execute_result", "0.0")
    assert cells["test_dprobs"].outputs[1].data["text/plain"] == "2.0"
    nbformat.validate(notebook)


def test_notebooks_of_other_names_are_graded_as_those_they_are(course: Path) -> None:
    assert scores(course, "all_renamed") == scores(course, "blank")
    assert "It was handed in as `my 1_every_step.ipynb`" in said(course)


def test_the_late_penalty_is_nbgraders_own(course: Path) -> None:
    for root in (course, graded_class().root):
        taken_off = {(row[0], row[1]): row[3] for row in rows(root)["submitted_notebook"]}
        scored = dict.fromkeys(_stems(), 0.0)
        for (stem, _), (score, _) in scores(root, "late").items():
            scored[stem] += score or 0.0
        assert {stem: taken_off["late", stem] for stem in scored} == scored
        assert sum(scored.values()) > 50
        assert taken_off["in_time", ONE] is None


def test_what_fails_is_one_line_with_its_cure_and_no_traceback(course: Path) -> None:
    lines = said(course).splitlines()
    assert not [line for line in lines if "Traceback" in line or 'File "' in line]
    assert not [line for line in lines if "Warning:" in line]
    for part in (
        "'yesterday, I think' is not a time, or may be several. Write when",
        "it is a link to another place. Rename the folder",
        "The other submissions are graded.",
        "broken_json, 4_training: The notebook cannot be read",
        "No submitted file: ",
    ):
        assert sum(part in line for line in lines) >= 1, part


def test_folders_links_and_devices_are_neither_read_nor_copied(course: Path) -> None:
    files = {name for name in autograded(course) if name.startswith("accidents/")}
    assert files == {
        f"accidents/{ASSIGNMENT}/{name}"
        for name in ("check.py", "names.txt", "timestamp.txt", *(f"{s}.ipynb" for s in _stems()))
    }
    told = scores(course, "accidents")
    assert {score for (stem, _), score in told.items() if stem in (ONE, TWO)} == {(None, True)}
    assert (2.0, False) in told.values()


def _stems() -> list[str]:
    return list(graded_class().described.release)


def test_feedback_is_generated_stock(course: Path) -> None:
    done = nbgrader(course, "generate_feedback", ASSIGNMENT, "--student", "writes")
    assert done.returncode == 0, done.stderr
    page = (course / "feedback/writes" / ASSIGNMENT / f"{ONE}.html").read_text()
    assert "right" in page
    assert "<img src=x" not in page


def test_formgrader_shows_no_heading_as_a_score_box(course: Path) -> None:
    from nbconvert.exporters import HTMLExporter
    from nbgrader.apps.baseapp import NbGrader
    from nbgrader.server_extensions.formgrader import handlers
    from traitlets.config import Application

    app = NbGrader()
    Application.load_config_file(app, "nbgrader_config.py", path=str(course))
    app.config.HTMLExporter.template_name = "formgrade"
    app.config.HTMLExporter.extra_template_basedirs = [handlers.template_path]
    path = course / "autograded/writes" / ASSIGNMENT / f"{ONE}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("# test_dC"))
    about = dict.fromkeys(("base_url", "submission_id", "notebook_id", "assignment_id"), "")
    about |= dict.fromkeys(("student", "last_name", "first_name", "notebook_path"), "")
    html, _ = HTMLExporter(config=app.config).from_notebook_node(
        notebook, resources={**about, "index": 0, "total": 1}
    )
    assert html.count('id="test_dC"') == 1
    assert "onerror=alert" not in html.replace("&lt;img src=x onerror=alert", "")


def test_a_released_notebook_validates_stock(course: Path) -> None:
    folder = course / "release" / ASSIGNMENT
    done = nbgrader(folder, "validate", f"{TWO}.ipynb")
    assert done.returncode == 0, done.stderr
    assert "not attempted yet" in done.stdout


def test_a_misspelt_assignment_is_one_line_with_the_right_name(course: Path) -> None:
    done = nbgrader(course, "autograde", "bakprop")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"Did you mean: {course}/submitted/" in done.stderr


def test_without_a_gradebook_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    root = make_course(tmp_path / "c", ["in_time"])
    (root / "gradebook.db").unlink()
    done = nbgrader(root, "autograde", ASSIGNMENT)
    assert done.returncode == 1
    assert "Run `nbgrader generate_assignment` for it first." in done.stderr
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------------------------------- the parts


def record_of(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("x", logging.ERROR, "", 0, message, args, None)


def test_a_log_line_is_one_line_without_escape_sequences() -> None:
    record = record_of("Skipping unknown notebook: %s", "a\x1b[2J\nb.ipynb")
    assert OneLine(debug=False).filter(record)
    assert record.getMessage() == (
        "Skipping unknown notebook: a b.ipynb. It is graded only under the name it was released with."
    )


def test_a_traceback_stays_with_debug_and_is_a_sentence_without() -> None:
    text = "Traceback (most recent call last):\n  File x\nUserError: a: b. c"
    for debug in (True, False):
        record = record_of(text)
        try:
            raise UserError("a", "b", "c")
        except UserError:
            assert OneLine(debug=debug).filter(record)
        assert record.getMessage() == (text if debug else "a: b. c")


def test_a_session_is_kept_until_what_it_rests_on_changes(tmp_path: Path) -> None:
    root = make_course(tmp_path / "c", ())
    first = session(root, ASSIGNMENT)
    assert session(root, ASSIGNMENT) is first
    settings = root / "graders" / ASSIGNMENT / "assignment.toml"
    settings.write_text('feedback = "full"\n')
    assert session(root, ASSIGNMENT) is not first


def test_a_session_without_a_sandbox_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_course(tmp_path / "c", ["in_time"])
    monkeypatch.setenv("HANDGRAD_SANDBOX", "bubblewrap")  # or the other one would do
    monkeypatch.setenv("HANDGRAD_BWRAP", "/bin/false")
    broken = Session(root, ASSIGNMENT)
    try:
        with pytest.raises(UserError, match="bubblewrap"):
            broken.notebook("in_time", root / "submitted/in_time" / ASSIGNMENT, ONE)
    finally:
        broken.close()
