"""From bytes to a report, with the sandbox and the graders that people will use."""

import json
from pathlib import Path

import psutil
import pytest
from pool import grader

from handgrad.grading.selfcheck import edited
from handgrad.verdict import Verdict

ROOT = Path(__file__).parents[1]
STEMS = ("1_every_step", "2_cross_entropy", "3_batch_norm", "4_training")


@pytest.fixture(scope="module")
def sources() -> dict[str, dict[str, object]]:
    folder = ROOT / "source" / "backprop"
    return {s: json.loads((folder / f"{s}.ipynb").read_text(encoding="utf-8")) for s in STEMS}


@pytest.fixture(scope="module")
def graded():
    with grader(ROOT, "backprop") as one:
        yield one


def solved(sources, **cells: str) -> dict[str, bytes]:
    """All four notebooks; keyword arguments replace cells of the first."""
    return {s: edited(sources[s], cells if s == STEMS[0] else {}) for s in STEMS}


def finding(report, name, notebook=STEMS[0]):
    return next(f for f in report.findings if (f.notebook, f.name) == (notebook, name))


def test_the_same_bytes_give_the_same_report(graded, sources):
    files = solved(sources, dlogits="dlogits = dnorm_logits")
    assert graded.report(files) == graded.report(files)


def test_a_submission_whose_sandbox_was_lost_is_graded_in_another(graded, sources):
    (process,) = (psutil.Process(pid) for pid in graded.pids)
    for child in process.children():  # the rest of the sandbox dies with the first of it
        child.kill()
    assert {one.verdict for one in graded.report(solved(sources)).findings} == {Verdict.RIGHT}
    assert process.is_running()


def test_numbers_pasted_from_the_public_seed_earn_nothing(graded, sources):
    files = solved(sources, dprobs="dprobs = torch.full((32, 27), 0.5)", dh="dh = h * 0 + 1")
    report = graded.report(files)
    assert finding(report, "dprobs").points == 0
    assert finding(report, "dh").points == 0


def test_a_missing_notebook_is_not_attempted_and_said_to_be_missing(graded, sources):
    files = solved(sources)
    del files["2_cross_entropy"]
    report = graded.report(files)
    assert finding(report, "dlogits", "2_cross_entropy").verdict is Verdict.NOT_ATTEMPTED
    assert [note.code for note in report.problems["2_cross_entropy"]] == ["missing"]
    assert finding(report, "dhprebn", "3_batch_norm").verdict is Verdict.RIGHT


def test_an_unreadable_notebook_gets_no_mark_and_no_zero_and_costs_no_other(graded, sources):
    files = {**solved(sources), "3_batch_norm": b'{"cells": ['}
    report = graded.report(files)
    assert finding(report, "dhprebn", "3_batch_norm").verdict is Verdict.COULD_NOT_TELL
    assert finding(report, "dhprebn", "3_batch_norm").points is None
    assert report.points is None
    assert finding(report, "dlogits", "2_cross_entropy").verdict is Verdict.RIGHT


def test_a_skipped_gradient_earns_nothing_and_those_after_it_are_graded_fairly(graded, sources):
    report = graded.report(solved(sources, dlogits='dlogits = skip("logits")'))
    skipped = finding(report, "dlogits")
    assert skipped.verdict is Verdict.NOT_ATTEMPTED
    assert [note.code for note in skipped.remarks] == ["skipped"]
    later = [f for f in report.findings if f.notebook == STEMS[0] and f.name != "dlogits"]
    assert all(f.points == f.max_points for f in later)


def test_a_gradient_that_changes_after_it_was_checked_earns_a_remark(graded, sources):
    code = (
        "dlogits = dnorm_logits\n"
        "dlogits += F.one_hot(logits.max(1).indices, logits.shape[1]) * dlogit_maxes"
    )
    # In the chain dlogit_maxes is rounding noise, so that noise is what changes.
    report = graded.report(solved(sources, dlogits=code))
    assert finding(report, "dnorm_logits").verdict is Verdict.RIGHT
    assert [note.code for note in finding(report, "dnorm_logits").remarks] == ["aliased"]


def test_a_batch_size_in_numbers_is_right_with_a_remark(graded, sources):
    code = "dlogprobs = torch.zeros_like(logprobs); dlogprobs[range(32), Yb] = -1.0 / 32"
    report = graded.report(solved(sources, dlogprobs=code))
    assert {found.verdict for found in report.findings} == {Verdict.RIGHT}
    said = {
        found.name
        for found in report.findings
        if any(note.code == "one_batch_size" for note in found.remarks)
    }
    assert said == {"dlogprobs"}  # and of no step below it


def test_autograd_is_refused_in_the_cell_and_listed_with_its_line(graded, sources):
    code = "(dh,) = torch.autograd.grad(loss, h)"
    report = graded.report(solved(sources, dh=code))
    assert finding(report, "dh").points == 0
    assert any(line.line == code for line in report.integrity)


def test_a_backward_that_raises_is_wrong_with_its_error_and_not_taken_for_blank(graded, sources):
    code = "def backward(**values):\n    return values['no_such_value']"
    files = {**solved(sources), "4_training": edited(sources["4_training"], {"backward": code})}
    found = finding(graded.report(files), "dW2", "4_training")
    assert found.verdict is Verdict.WRONG
    assert found.diagnoses[0].parts["ename"] == "KeyError"
