"""`%handgrad` in a real kernel: which notebook is judged, behind which walls, and what is shown."""

import os
from collections.abc import Callable
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from playwright.sync_api import Browser
from savedwork import SECONDS, Work

COLAB = """
import json, sys, types
def blocking_request(what, request, timeout_sec):
    assert what == "get_ipynb"
    return {"ipynb": json.load(open("my.ipynb"))}
google = types.ModuleType("google")
google.colab = types.ModuleType("google.colab")
google.colab._message = types.SimpleNamespace(blocking_request=blocking_request)
sys.modules |= {"google": google, "google.colab": google.colab}
"""

Run = Callable[..., list[list[NotebookNode]]]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """A notebook with one right answer and the two lines that judge it, as somebody works on it."""
    work = Work(tmp_path / "my.ipynb").answer("dlogprobs")
    for line in ("%load_ext handgrad", "%handgrad"):
        cell = nbformat.v4.new_code_cell(line)
        del cell["id"]
        work.book["cells"].append(cell)
    work.save()
    return work


@pytest.fixture
def run(tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs lines in a fresh kernel beside the notebook, and gives what each shows."""
    monkeypatch.chdir(tmp_path)

    def in_kernel(*lines: str, **environment: str) -> list[list[NotebookNode]]:
        book = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(line) for line in ("%load_ext handgrad", *lines)]
        )
        env = {**os.environ, "PYTHONWARNINGS": "ignore", "TMPDIR": str(tmp_path), **environment}
        NotebookClient(book, allow_errors=True, timeout=300, startup_timeout=300).execute(env=env)
        return [cell.outputs for cell in book.cells[1:]]

    return in_kernel


def told(outputs: list[NotebookNode]) -> str:
    """All the text of a cell's outputs."""
    return "\n".join(
        str(each.get("text") or each.get("data", {}).get("text/plain") or each.get("evalue"))
        for each in outputs
    )


WAYS = {
    "named": ("%handgrad my.ipynb", {}, "my.ipynb as it was saved at"),
    "of Jupyter's session": ("%handgrad", {"JPY_SESSION_NAME": "{path}"}, "as it was saved at"),
    "of VS Code": ("__vsc_ipynb_file__ = {path!r}\n%handgrad", {}, "as it was saved at"),
    "of Colab": (COLAB + "%handgrad", {}, "the notebook as it stands"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_notebook_is_found(
    way: tuple[str, dict[str, str], str], run: Run, work: Work, tmp_path: Path
) -> None:
    line, environment, which = way
    filled = {name: value.format(path=work.path) for name, value in environment.items()}
    (outputs,) = run(line.replace("{path!r}", repr(str(work.path))), **filled)
    said = told(outputs)
    assert which in said
    walls = "without a sandbox, as it does in this notebook" if "colab" in line else "in a sandbox"
    assert walls in said
    assert "What is there is right. Next: dprobs." in said
    assert "2 / 52" in said
    assert not [*tmp_path.glob("handgrad-notebook-*")]


def test_a_notebook_nobody_names_is_asked_for(run: Run) -> None:
    (outputs,) = run("%handgrad", JPY_SESSION_NAME="kernel-7")
    assert "nobody says which notebook this is. Name it: %handgrad my.ipynb" in told(outputs)


def test_a_file_that_is_none_is_said_in_one_line_and_the_next_try_works(
    run: Run, work: Work
) -> None:
    hide, bad, back, good = run(
        "import os; os.rename('my.ipynb', 'x')",
        "%handgrad my.ipynb",
        "os.rename('x', 'my.ipynb')",
        "%handgrad my.ipynb",
    )
    assert not hide + back
    assert "my.ipynb: it cannot be read" in told(bad)
    assert "Traceback" not in told(bad)
    assert "2 / 52" in told(good)


def test_where_there_is_no_sandbox_it_is_said_and_judged(run: Run) -> None:
    (outputs,) = run("%handgrad my.ipynb", HANDGRAD_SANDBOX="none here")
    assert "ran without a sandbox" in told(outputs)
    assert "2 / 52" in told(outputs)


def test_the_kernel_takes_all_it_started_along(run: Run) -> None:
    _, pids = run(
        "%handgrad my.ipynb",
        "import psutil; print(*(p.pid for p in psutil.Process().children(recursive=True)))",
    )
    family = [int(pid) for pid in told(pids).split()]
    assert family
    left = [psutil.Process(pid) for pid in family if psutil.pid_exists(pid)]
    assert psutil.wait_procs(left, timeout=SECONDS)[1] == []


def test_table_and_graph_are_shown_in_a_frame_where_nothing_runs(
    run: Run, work: Work, browser: Browser
) -> None:
    work.answer("dprobs", "raise ValueError('<script>top.hacked = 1</script>')").save()
    (outputs,) = run("%handgrad my.ipynb")
    (html,) = [each.data["text/html"] for each in outputs if "data" in each]
    page = browser.new_page()
    page.set_content(html)
    frame = page.frame_locator("iframe[sandbox='']")
    assert frame.locator("svg.graph .node.v-right").text_content() == "logprobs"
    frame.locator("tr[data-name=dprobs]").wait_for()
    assert frame.locator("script, .cell").count() == 0
    assert page.evaluate("window.hacked ?? null") is None
    page.close()
