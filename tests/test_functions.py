"""An answer may be a function that returns several gradients: each is judged by itself."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from coursedir import empty_course, released
from pool import Grader, grader

from handgrad.assignment.new import new
from handgrad.grading.outcomes import Outcome
from handgrad.grading.selfcheck import edited, selfcheck
from handgrad.pages.words import say

ROOT = Path(__file__).parents[1]
NAME = "layernorm"
ASKED = {"dx", "dgain", "dbias"}


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = empty_course(tmp_path_factory.mktemp("functions") / "course")
    new(root, NAME, ROOT / "examples" / f"{NAME}.py")
    return released(root, NAME)


@pytest.fixture(scope="module")
def by(course: Path) -> Iterator[Grader]:
    with grader(course, NAME) as started:
        yield started


def found(by: Grader, course: Path, old: str, new: str) -> Mapping[str, object]:
    """The findings by variable, for the solution with some of its text changed."""
    source = json.loads((course / "source" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8"))
    (cell,) = [c for c in source["cells"] if c["id"] == "layernorm_backward"]
    code = "".join(cell["source"])
    assert old in code
    report = by.report({NAME: edited(source, {cell["id"]: code.replace(old, new)})})
    return {finding.name: finding for finding in report.findings}


def verdicts(findings: Mapping[str, object]) -> dict[str, str]:
    return {name: str(one.verdict) for name, one in findings.items()}


def test_the_body_is_not_released_and_what_calls_it_is(course):
    released = json.loads((course / "release" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8"))
    text = {cell["id"]: "".join(cell["source"]) for cell in released["cells"]}
    assert text["layernorm_backward"].splitlines() == [
        "def layernorm_backward(dout, cache):",
        '    """Return dx, dgain, dbias."""',
        "    # YOUR CODE HERE",
    ]
    assert "results = layernorm_backward(dout, cache)" in text["given_layernorm_backward"]


@pytest.fixture(scope="module")
def outcomes(course: Path) -> list[Outcome]:
    return [*selfcheck(course, NAME)]


def test_the_assignment_proves_itself_and_each_mutant_costs_one_gradient(outcomes):
    assert [f"{o.label}: {o.complaint}" for o in outcomes if o.complaint] == []
    assert sum(o.kind == "mutant" for o in outcomes) >= 25


@pytest.mark.parametrize(
    ("old", "new", "costs", "named"),
    [
        ("dnormed = dout * gain", "dnormed = dout", "dx", "no_local_factor"),
        ("dgain = (normed * dout)", "dgain = -(normed * dout)", "dgain", "sign"),
        ("dbias = dout.sum(0)", "dbias = dout.mean(0)", "dbias", "mean_for_sum"),
    ],
    ids=["a slip on the way", "a sign", "a mean"],
)
def test_a_slip_within_it_costs_one_gradient(by, course, old, new, costs, named):
    findings = found(by, course, old, new)
    assert {name for name, verdict in verdicts(findings).items() if verdict == "wrong"} == {costs}
    assert [note.code for note in findings[costs].diagnoses] == [named]


RETURNED = {
    "too few": (
        "return dx, dgain, dbias",
        "return dx, dgain",
        "returned 2 results; it should return 3",
    ),
    "one tensor": (
        "return dx, dgain, dbias",
        "return dx",
        "returned 1 results; it should return 3",
    ),
    "an error": ("dbias = dout.sum(0)", "dbias = dout.sum(9)", "IndexError"),
}


@pytest.mark.parametrize(("old", "new", "said"), RETURNED.values(), ids=RETURNED.keys())
def test_a_function_that_gives_something_else_is_told_so_in_one_sentence(
    by, course, old, new, said
):
    findings = found(by, course, old, new)
    assert {*verdicts(findings).values()} == {"wrong"}
    for finding in findings.values():
        (note,) = finding.diagnoses
        assert said in say(note, "en")


def test_a_function_that_returns_nothing_is_not_attempted(by, course):
    findings = found(by, course, "return dx, dgain, dbias", "return None")
    assert verdicts(findings) == dict.fromkeys(ASKED, "not attempted")


def test_none_among_the_results_costs_that_one_only(by, course):
    findings = found(by, course, "return dx, dgain, dbias", "return dx, None, dbias")
    assert verdicts(findings) == {"dx": "right", "dgain": "not attempted", "dbias": "right"}
