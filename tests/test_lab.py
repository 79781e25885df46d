"""What a student does in JupyterLab with the notebook that was released, in a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyterserver import JupyterServer, jupyter_server
from notebookpage import NotebookPage
from playwright.sync_api import Browser, expect

from demo.classroom import TWO

RELEASE = Path(__file__).parents[1] / "release" / "backprop"
WRONG = "dlogits = F.softmax(logits, 1)\ndlogits[range(n), Yb] -= 1"
RIGHT = f"{WRONG}\ndlogits /= n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "home").mkdir()
    (folder / "work").mkdir()
    with jupyter_server(folder / "work", folder / "home") as running:
        yield running


@pytest.fixture
def notebook(
    browser: Browser, server: JupyterServer, request: pytest.FixtureRequest
) -> Iterator[NotebookPage]:
    """The released notebook in a folder of a student's own, open, with nothing run yet."""
    student = request.node.name
    shutil.copytree(RELEASE, server.root / student)
    context = browser.new_context()
    yield NotebookPage(context.new_page(), server.page(f"lab/tree/{student}/{TWO}.ipynb"))
    context.close()


def test_a_student_fills_a_cell_runs_it_and_reads_what_is_wrong(
    notebook: NotebookPage, server: JupyterServer, request: pytest.FixtureRequest
) -> None:
    answer = notebook.cell("# YOUR CODE HERE")
    answer.locator(".cm-content").click()
    notebook.menu("Run", "Run All Above Selected Cell")
    notebook.write(answer, WRONG)
    notebook.run()
    notebook.run()
    said = notebook.cell("cmp('logits'").locator(".jp-OutputArea-output")
    expect(said).to_contain_text("off; yours is 32 times the target", timeout=60_000)

    notebook.write(notebook.cell("Yb] -= 1"), RIGHT)
    notebook.run()
    notebook.run()
    expect(said).to_contain_text("approximate: True")
    expect(said).to_contain_text("close: only rounding differs")

    notebook.page.keyboard.press("Escape")
    notebook.page.keyboard.press("Control+s")
    expect(notebook.page.locator(".lm-TabBar-tab.jp-mod-dirty")).to_have_count(0)  # it is saved
    notebook.page.get_by_role("button", name="Validate").click()
    verdict = notebook.page.locator(".jp-Dialog-content")
    expect(verdict).to_contain_text("Your notebook passes all the tests", timeout=60_000)
    saved = nbformat.read(server.root / request.node.name / f"{TWO}.ipynb", as_version=4)
    (cell,) = [
        c for c in saved.cells if c.metadata.get("nbgrader", {}).get("grade_id") == "dlogits"
    ]
    assert cell.source == RIGHT


def test_what_is_given_cannot_be_written_in(notebook: NotebookPage) -> None:
    given = notebook.cell("seed = 2147483647")
    before = given.inner_text()
    notebook.write(given, "seed = 1")
    assert given.inner_text() == before
