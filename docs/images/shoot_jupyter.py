"""Pictures of formgrader and of a notebook in JupyterLab, for the documentation.

    python docs/images/shoot_jupyter.py COURSE     COURSE is a graded course, as for shoot.py

The same server and the same hands as in the tests; the course is only looked at.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from playwright.sync_api import Page, expect, sync_playwright
from shoot import DESKTOP, save

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from jupyterserver import JupyterServer, jupyter_server  # noqa: E402 (after the path to it)
from notebookpage import NotebookPage  # noqa: E402

from demo.classroom import CLASS, ONE, Course, edited, solutions  # noqa: E402

STUDENT = "two_mistakes"
WRONG = {"dhpreact": CLASS[STUDENT].answers[ONE]["dhpreact"]}
LOOK = "cmp('hpreact', dhpreact, hpreact, show=True)"


def submissions(page: Page, server: JupyterServer) -> None:
    """All submissions, after autograding."""
    page.goto(server.page("formgrader/manage_assignments"))  # the cookie is for what is beside it
    page.goto(f"{server.url}formgrader/manage_submissions/backprop")
    expect(page.locator("#main-table tr")).to_have_count(len(CLASS), timeout=60_000)


def submission(page: Page, server: JupyterServer) -> None:
    """One submission, at a gradient that was wrong."""
    page.goto(server.page("formgrader/manage_assignments"))
    page.goto(f"{server.url}formgrader/manage_students/{STUDENT}/backprop")
    page.locator("#main-table a", has_text=ONE).click()
    answer = page.locator("#test_dhpreact")
    answer.wait_for()
    page.wait_for_load_state("networkidle")
    answer.evaluate("e => window.scrollTo(0, e.getBoundingClientRect().top + scrollY - 470)")


def halfway(page: Page, server: JupyterServer) -> None:
    """A notebook with eleven gradients right and the twelfth looked at."""
    notebook = NotebookPage(page, server.page(f"lab/tree/backprop/{ONE}.ipynb"))
    page.keyboard.press("Control+b")  # the file browser goes away
    look = notebook.cell(LOOK)
    look.locator(".cm-content").click()
    notebook.menu("Run", "Run All Above Selected Cell")
    look.locator(".cm-content").click()
    notebook.run()
    look.locator("img").wait_for(timeout=60_000)
    page.wait_for_timeout(1000)
    above = look.bounding_box()
    assert above is not None, "the cell is in sight"
    page.mouse.wheel(0, above["y"] - 430)  # the question and the answer are above it


def worked_in(folder: Path) -> None:
    """What a student has who is at the twelfth gradient."""
    course = Course.read(ROOT, "backprop")
    shutil.copytree(ROOT / "release" / "backprop", folder)
    right = solutions(course.source[ONE])
    here = list(right).index("dhpreact")
    notebook = edited(course.release[ONE], {**dict(list(right.items())[:here]), **WRONG})
    ids = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells]
    notebook.cells.insert(ids.index("test_dhpreact") + 1, nbformat.v4.new_code_cell(LOOK))
    nbformat.write(notebook, folder / f"{ONE}.ipynb")


def main(course: Path) -> int:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        print("no Chromium on PATH: install it and run again", file=sys.stderr)
        return 1
    if not (course / "autograded" / STUDENT).is_dir():
        print(f"{course}: it is not graded. Run `python -m demo` first", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        student = Path(scratch, "student")
        worked_in(student / "backprop")
        for root, home, shots in (
            (course, "ta", {"formgrader": submissions, "formgrader-submission": submission}),
            (student, "home", {"lab": halfway}),
        ):
            Path(scratch, home).mkdir()
            with jupyter_server(root.resolve(), Path(scratch, home)) as server:
                for name, show in shots.items():
                    context = browser.new_context(
                        viewport={"width": DESKTOP[0], "height": DESKTOP[1]}
                    )
                    page = context.new_page()
                    show(page, server)
                    page.wait_for_timeout(1000)  # tables and pages slide into place
                    size = save(page.screenshot(), name).stat().st_size
                    print(f"{size / 1024:6.0f} KiB  {name}.png")
                    context.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo")))
