"""A graded notebook shows what the graders decided, and a mark that is none never leaves."""

import dataclasses
import json

import nbformat
import pytest
from nbformat import NotebookNode

from handgrad.pages.annotate import annotated, checked_points, serialised
from handgrad.settings import Settings
from handgrad.verdict import Finding, Note, Report, Verdict

FINDING = Finding("one", "dx", "test_dx", Verdict.WRONG, 0.5, 2.0, diagnoses=(Note("sign"),))


def notebook() -> NotebookNode:
    test = nbformat.v4.new_code_cell("cmp('x', dx, x)", id="test_dx")
    test.metadata.nbgrader = nbformat.from_dict({"grade_id": "test_dx", "grade": True})
    test.outputs = [nbformat.v4.new_output("stream", text="2.0")]
    prose = nbformat.v4.new_markdown_cell("# title\n\nprose\n", id="title")
    prose.attachments = {"a.png": {"image/png": "iVBORw0KGgo="}}
    other = nbformat.v4.new_code_cell("print(1)", id="other")
    other.outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="1\n2\n"),
        nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo=", "text/plain": "F\ng"}),
        nbformat.v4.new_output("error", ename="E", evalue="v", traceback=["a\nb"]),
    ]
    return nbformat.v4.new_notebook(cells=[prose, test, other])


def report(finding: Finding = FINDING, **problems: tuple[Note, ...]) -> Report:
    return Report("alice", "x", (finding,), problems)


def outputs(finding: Finding, settings: Settings | None = None) -> list[NotebookNode]:
    marked = annotated(notebook(), "one", report(finding), settings or Settings())
    nbformat.validate(marked)
    return list(marked.cells[1].outputs)


def test_a_test_cell_shows_the_reason_and_the_points_only() -> None:
    reason, mark = outputs(FINDING)
    assert reason.data["text/markdown"].startswith("**wrong**\n\nCount the minus signs")
    assert (mark.output_type, mark.data) == ("execute_result", {"text/plain": "0.5"})


def test_where_the_graders_could_not_tell_there_is_no_result() -> None:
    note = Note("trouble", {"why": "no sandbox"})
    (reason,) = outputs(
        dataclasses.replace(FINDING, verdict=Verdict.COULD_NOT_TELL, points=None, diagnoses=(note,))
    )
    assert "could not tell" in reason.data["text/markdown"]
    assert reason.output_type == "display_data"


def test_the_instructors_level_and_language_are_kept() -> None:
    quiet, _ = outputs(FINDING, Settings(feedback="verdict"))
    assert quiet.data["text/markdown"] == "**wrong**"
    full, _ = outputs(FINDING, Settings(feedback="full", language="zh"))
    assert full.data["text/markdown"].startswith("**错误**") or "错" in full.data["text/markdown"]


@pytest.mark.parametrize("points", [float("nan"), float("inf"), -0.5, 2.5, -float("inf")], ids=str)
def test_a_mark_that_is_none_never_leaves(points: float) -> None:
    with pytest.raises(ValueError, match="is not a mark"):
        checked_points(dataclasses.replace(FINDING, points=points))
    with pytest.raises(ValueError, match="is not a mark"):
        outputs(dataclasses.replace(FINDING, points=points))


def test_what_a_student_wrote_comes_out_as_text() -> None:
    note = Note(
        "raised", {"ename": "<b>E</b>", "evalue": "`<img src=x onerror=y>[a](javascript:b)"}
    )
    reason, _ = outputs(dataclasses.replace(FINDING, diagnoses=(note,)), Settings(feedback="full"))
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    page = markdown2html_mistune(reason.data["text/markdown"])
    assert "<img" not in page
    assert "<b>" not in page
    assert "<a " not in page


def test_what_is_odd_about_the_file_stands_on_top() -> None:
    problem = Note("cell_deleted", {"cell": "dx"})
    marked = annotated(notebook(), "one", report(one=(problem,)), Settings())
    nbformat.validate(marked)
    assert "The cell `dx` had been deleted" in marked.cells[0].source
    assert len(marked.cells) == 4
    assert len(annotated(notebook(), "one", report(two=(problem,)), Settings()).cells) == 3


def test_the_notebook_that_is_annotated_is_left_alone() -> None:
    original = notebook()
    before = json.dumps(original)
    annotated(original, "one", report(one=(Note("missing"),)), Settings())
    assert json.dumps(original) == before


def test_a_notebook_is_written_as_nbformat_writes_it_but_for_the_indentation() -> None:
    marked = annotated(notebook(), "one", report(), Settings())
    text = serialised(marked)
    assert json.loads(text) == json.loads(nbformat.writes(marked, version=4))
    assert nbformat.reads(text, as_version=4) == marked
    assert len(text.splitlines()) == len(marked.cells) + 3
