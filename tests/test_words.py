"""Both languages say everything, and nothing in the engine is left without words."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from handgrad.assignment.assignment import Assignment
from handgrad.evidence import TROUBLE, UNUSABLE
from handgrad.pages import words
from handgrad.verdict import Finding, Note, Verdict

PACKAGE = Path(words.__file__).parents[1]


def emitted() -> Iterator[tuple[str, frozenset[str] | None]]:
    """Every literal code of a note or a reason in the engine, with its parts if they are literal."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called == "UnreadableError" and isinstance(node.args[0], ast.Constant):
                names = [keyword.arg for keyword in node.keywords]
                yield node.args[0].value, None if None in names else frozenset(names)
            if not called.endswith("Note"):
                continue
            given = [*node.args, *(k.value for k in node.keywords)]
            parts: frozenset[str] | None = frozenset()
            for table in given[1:2]:
                literal = isinstance(table, ast.Dict) and all(
                    isinstance(key, ast.Constant) for key in table.keys
                )
                parts = frozenset(ast.literal_eval(k) for k in table.keys) if literal else None
            choices = [given[0]] if given else []
            while choices:
                code = choices.pop()
                if isinstance(code, ast.IfExp):
                    choices += [code.body, code.orelse]
                elif isinstance(code, ast.JoinedStr):  # a family of codes: f"lecture_{how}"
                    begin = code.values[0]
                    assert isinstance(begin, ast.Constant), ast.unparse(node)
                    family = [c for c in words.codes() if c.startswith(begin.value)]
                    assert family, f"no words for any code that begins with {begin.value}"
                elif isinstance(code, ast.Constant) and code.value:  # "" is said of nothing
                    yield code.value, parts


def finding(*diagnoses: Note, remarks: tuple[Note, ...] = ()) -> Finding:
    return Finding(
        "1", "dlogits", "test_dlogits", Verdict.WRONG, 0.0, 1.0, None, remarks, diagnoses
    )


def test_both_languages_have_the_same_sentences_with_the_same_parts() -> None:
    assert words.keys("en") == words.keys("zh")


def test_no_sentence_is_left_empty_or_in_the_other_language() -> None:
    english, chinese = words._table("en"), words._table("zh")
    assert all(english.values())
    assert all(chinese.values())
    same = {key for key in english if english[key] == chinese[key]}
    assert same == {"diagnosis.assignment.ask", "report.percent", "problem.asserted"}


def test_every_code_the_engine_emits_has_words_and_is_given_its_parts() -> None:
    keys = words.keys("en")
    for code, parts in emitted():
        assert words.known(code) or f"why.{code}" in keys, code
        if parts is None:
            continue
        wanted = {
            name
            for key, names in keys.items()
            if key.split(".")[0] in ("diagnosis", "remark", "problem", "why")
            and key.split(".")[1] == code
            for name in names
        }
        assert wanted <= parts, code


def test_every_verdict_has_a_name_and_a_meaning() -> None:
    for language in words.LANGUAGES:
        names = {words.name_of(verdict, language) for verdict in Verdict}
        assert len(names) == len(Verdict)
        assert all(words.meaning_of(verdict, language) for verdict in Verdict)
    assert [words.name_of(verdict, "en") for verdict in Verdict] == [str(v) for v in Verdict]


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_an_unknown_code_is_an_error(language: str) -> None:
    with pytest.raises(KeyError, match="no_such_code"):
        words.say(Note("no_such_code"), language)


def test_an_unknown_language_is_an_error() -> None:
    with pytest.raises(KeyError, match="'de'"):
        words.say(Note("sign"), "de")


def test_a_missing_part_is_an_error() -> None:
    with pytest.raises(KeyError, match="consumer"):
        words.say(Note("missing_branch"), "en")


def test_a_question_does_not_name_the_mistake() -> None:
    note = Note("missing_branch", {"consumer": "counts_sum"})
    assert "counts_sum" in words.fact(note, "en")
    assert "counts_sum" not in words.ask(note, "en")
    for key, parts in words.keys("en").items():
        if (
            key.startswith("diagnosis.")
            and ".ask" in key
            and not key.startswith("diagnosis.assignment.")
        ):
            assert not parts, key


def test_a_known_factor_gets_its_own_question() -> None:
    asked = {words.ask(Note("factor", {"factor": f}), "en") for f in ("n", "1/n", "2", "3.7")}
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("level", "told"),
    [("verdict", 0), ("question", 1), ("full", 1)],
    ids=["verdict", "question", "full"],
)
def test_the_level_decides_how_much_is_told(level: words.FeedbackLevel, told: int) -> None:
    sentences = words.tell(finding(Note("sign")), level, "en")
    assert len(sentences) == told
    assert any("opposite" in s for s in sentences) == (level == "full")


def test_an_error_is_told_with_the_question_about_it() -> None:
    note = Note("raised", {"ename": "NameError", "evalue": "name 'dhh' is not defined"})
    (told,) = words.tell(finding(note), "question", "en")
    assert "NameError: name 'dhh' is not defined" in told
    assert told.endswith(words.ask(note, "en"))


def test_several_diagnoses_are_offered_as_possibilities() -> None:
    told = words.tell(finding(Note("sign"), Note("transposed")), "full", "en")
    assert told[0] == "It may be one of these:"
    assert len(told) == 3


def test_remarks_come_after_the_diagnosis() -> None:
    told = words.tell(finding(Note("sign"), remarks=(Note("exact_zero"),)), "question", "zh")
    assert told[-1] == words.say(Note("exact_zero"), "zh")


def test_what_a_student_wrote_cannot_break_out_of_its_sentence() -> None:
    hostile = "\x1b[2J{0.__class__}\nMARK: 100\u202e" + "x" * 5000
    told = words.say(Note("raised", {"ename": "Error", "evalue": hostile}), "en")
    assert "\x1b" not in told
    assert "\n" not in told
    assert "\u202e" not in told
    assert "{0.__class__}" in told
    assert len(told) < 700


def test_every_reason_of_a_sandbox_has_words_for_its_parts() -> None:
    for code, parts in {**UNUSABLE, **TROUBLE}.items():
        note = Note("unreadable", {"why": Note(code, dict.fromkeys(parts, "7"))})
        assert "7" in words.say(note, "zh") or not parts
        for language in words.LANGUAGES:
            assert words.keys(language)[f"why.{code}"] == parts


def test_every_reason_is_given_by_somebody() -> None:
    written = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    codes = [key.removeprefix("why.") for key in words.keys("en") if key.startswith("why.")]
    assert [code for code in codes if f'"{code}"' not in written] == []


def test_a_reason_is_part_of_the_sentence_in_the_readers_language() -> None:
    note = Note("unreadable", {"why": Note("key_twice", {"key": "'{0.__class__}'"})})
    assert words.say(note, "en") == (
        "The notebook cannot be read: the key '{0.__class__}' stands twice in one object."
    )
    assert "'{0.__class__}'" in words.say(note, "zh")
    assert "stands twice" not in words.say(note, "zh")
    assert "boom" in words.say(Note("trouble", {"why": "boom"}), "zh")


def test_every_mistake_of_an_assignment_has_its_name_and_its_question_in_both_languages() -> None:
    for exercise in Assignment.packaged("backprop").exercises.values():
        for mistake in exercise.mistakes:
            assert {*mistake.name} == {*mistake.question} == {*words.LANGUAGES}


def test_no_heading_is_left_over() -> None:
    """Every sentence of a page is asked for by name somewhere, in Python or in a template."""
    sources = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.j2"), *PACKAGE.rglob("*.js")]
    written = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    unused = [
        key
        for key in words.keys("en")
        if key.split(".")[0] in ("page", "picture", "report", "table")
        and not re.search(rf"\b{re.escape(key)}\b|\"{re.escape(key.split('.')[1])}\"", written)
    ]
    unused = [key for key in unused if not key.startswith("report.group_")]  # made of _ALIKE
    assert unused == []
