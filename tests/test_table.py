"""The table in the terminal: a line a gradient, and nothing in it obeys a student."""

import io

import pytest
from rich.console import Console

from handgrad.pages.table import table
from handgrad.pages.words import LANGUAGES, FeedbackLevel
from handgrad.verdict import Finding, Note, Report, Verdict


def finding(notebook: str, name: str, verdict: Verdict, *notes: Note) -> Finding:
    points = None if verdict == Verdict.COULD_NOT_TELL else float(verdict == Verdict.RIGHT)
    return Finding(notebook, name, f"test_{name}", verdict, points, 1.0, diagnoses=notes)


def lines(*findings: Finding, language: str = "en", level: FeedbackLevel = "question") -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    console.print(table(Report("ada", "backprop", findings), level, language))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_every_gradient_has_a_line_with_its_verdict_and_points() -> None:
    told = lines(
        *(finding("1", f"d{i}", verdict) for i, verdict in enumerate(Verdict)), level="verdict"
    )
    assert told[1].split() == ["d0", "✓", "right", "1", "/", "1"]
    assert told[2].split() == ["d1", "↓", "right", "step", "0", "/", "1"]
    assert told[3].split() == ["d2", "✗", "wrong", "0", "/", "1"]
    assert told[4].split() == ["d3", "–", "not", "attempted", "0", "/", "1"]
    assert told[5].split() == ["d4", "?", "could", "not", "tell", "?", "/", "1"]
    assert told[6].split() == ["total", "1?", "/", "5"]


def test_a_wrong_gradient_is_asked_about() -> None:
    told = " ".join(lines(finding("1", "dh", Verdict.WRONG, Note("sign"))))
    assert "Count the minus signs" in told


def test_several_notebooks_are_told_apart() -> None:
    told = lines(finding("1_a", "dh", Verdict.RIGHT), finding("2_b", "dh", Verdict.RIGHT))
    assert [line for line in told if line in ("1_a", "2_b")] == ["1_a", "2_b"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_speaks_both_languages(language: str) -> None:
    told = lines(finding("1", "dh", Verdict.WRONG), language=language)[0]
    assert told.split()[0] == {"en": "gradient", "zh": "梯度"}[language]


def test_markup_and_escape_codes_of_a_student_stay_text() -> None:
    note = Note("raised", {"ename": "[red]E[/red]", "evalue": "\x1b[2J[link=x]y[/link]"})
    told = " ".join(lines(finding("1", "dh", Verdict.WRONG, note), level="full"))
    assert "[red]E[/red]" in told
    assert "\x1b" not in told
