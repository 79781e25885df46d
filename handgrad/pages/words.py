"""Codes become sentences of the reader's language, all of them kept in `words/<language>.toml`."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from string import Formatter

from handgrad.plaintext import line
from handgrad.settings import FeedbackLevel
from handgrad.verdict import Finding, Note, Verdict

LANGUAGES = ("en", "zh")

_LONGEST_PART = 300  # an error message of a student's may be of any length


@cache
def _table(language: str) -> Mapping[str, str]:
    """All sentences of a language by dotted key ("diagnosis.sign.ask"); KeyError on a stranger."""
    if language not in LANGUAGES:
        raise KeyError(f"no words in {language!r}; there are: {', '.join(LANGUAGES)}")
    source = (
        files("handgrad.pages").joinpath("words", f"{language}.toml").read_text(encoding="utf-8")
    )
    flat: dict[str, str] = {}
    _flatten(tomllib.loads(source), "", flat)
    return flat


def _flatten(table: Mapping[str, object], prefix: str, into: dict[str, str]) -> None:
    for key, value in table.items():
        if isinstance(value, Mapping):
            _flatten(value, f"{prefix}{key}.", into)
        else:
            into[prefix + key] = str(value)


def keys(language: str) -> Mapping[str, frozenset[str]]:
    """Every key of a language with the names in braces of its sentence."""
    return {
        key: frozenset(name for _, name, _, _ in Formatter().parse(text) if name is not None)
        for key, text in _table(language).items()
    }


def text(key: str, language: str, /, **parts: object) -> str:
    """The sentence of a dotted key, filled in; KeyError on an unknown key or a missing part.

    Parts may come from a student's cell and sentences go to terminals, pages and spreadsheets, so
    each part becomes one line without control characters.
    """
    sentence = _table(language).get(key)
    if sentence is None:
        raise KeyError(f"no words for {key!r} in {language!r}")
    shown = {name: _part(value, language) for name, value in parts.items()}
    if "where" in shown:
        shown["where"] = _place(shown["where"], language)
    return sentence.format_map(shown)


def _part(value: object, language: str) -> str:
    """A part of a sentence: a reason in words, anything else as it is."""
    said = reason(value, language) if isinstance(value, Note) else str(value)
    return line(said, _LONGEST_PART)


def reason(why: Note, language: str) -> str:
    """A reason as part of a sentence: "the file is empty"."""
    return text(f"why.{why.code}", language, **why.parts)


def _place(where: str, language: str) -> str:
    """A place such as "row 3, column 7" with the names of its axes in the reader's language."""
    prefix = "axes."
    names = {
        key.removeprefix(prefix): word
        for key, word in _table(language).items()
        if key.startswith(prefix)
    }
    return re.sub("|".join(map(re.escape, names)), lambda match: names[match[0]], where)


def codes() -> frozenset[str]:
    """Every code that `say` has words for."""
    kinds = ("diagnosis", "remark", "problem")
    return frozenset(key.split(".")[1] for key in _table("en") if key.split(".")[0] in kinds)


def known(code: str) -> bool:
    """Whether `say` has words for a code."""
    return code in codes()


def fact(note: Note, language: str) -> str:
    """What a diagnosis names: "What comes back through `a` is missing." """
    return text(f"diagnosis.{note.code}.fact", language, **note.parts)


def ask(note: Note, language: str) -> str:
    """What a diagnosis asks, without naming the mistake."""
    # A cell that was stopped, say, is a fact with nothing to ask.
    return _question(note, language) or say(note, language)


def _question(note: Note, language: str) -> str:
    """What a diagnosis asks; "" where it has nothing to ask."""
    table, key = _table(language), f"diagnosis.{note.code}.ask"
    for part, value in note.parts.items():
        special = f"{key}_when.{part}.{value}"
        if special in table:
            return text(special, language, **note.parts)
    return text(key, language, **note.parts) if key in table else ""


def say(note: Note, language: str) -> str:
    """Everything there is to say about a note. Raises KeyError on a code without words."""
    for kind in ("remark", "problem"):
        if f"{kind}.{note.code}" in _table(language):
            return text(f"{kind}.{note.code}", language, **note.parts)
    return joined((fact(note, language), ask(note, language)), language)


def joined(sentences: Iterable[str], language: str) -> str:
    """Sentences one after the other; Chinese has no space between them."""
    return ("" if language == "zh" else " ").join(sentences)


def name_of(verdict: Verdict, language: str) -> str:
    """The verdict as the reader sees it: "right step"."""
    return text(f"verdict.{verdict.name.lower()}", language)


def meaning_of(verdict: Verdict, language: str) -> str:
    """One sentence on what the verdict says."""
    return text(f"meaning.{verdict.name.lower()}", language)


def tell(
    finding: Finding, level: FeedbackLevel, language: str, *, brief: bool = False
) -> tuple[str, ...]:
    """The sentences that go with a verdict, as many as the instructor's level lets through.

    "verdict" says nothing more; "question" asks; "full" names the mistake as well and asks. An error of
    the student's own line is no mistake with a name: it is told with the question about it. Several
    diagnoses are possibilities, and are introduced as such. `brief` leaves out what the verdict's own
    name says to whoever sees many of them.
    """
    if level == "verdict":
        return ()
    told = tuple(
        dict.fromkeys(
            (say if level == "full" or note.code == "raised" else ask)(note, language)
            for note in finding.diagnoses
        )
    )
    if len(told) > 1:
        told = (text("page.perhaps", language), *told)
    remarks = [n for n in finding.remarks if not (brief and n.code == "follow_through")]
    return told + tuple(say(note, language) for note in remarks)


def in_steps(
    finding: Finding, level: FeedbackLevel, language: str
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """What goes with a verdict in three parts, each for who has thought about the one before: what is said
    at once, the questions, and the names of mistakes. The level lets as much through as in `tell`.
    """
    if level == "verdict":
        return (), (), ()
    open_ = [n for n in finding.diagnoses if n.code == "raised" or not _question(n, language)]
    riddles = [note for note in finding.diagnoses if note not in open_]
    asked = dict.fromkeys(ask(note, language) for note in riddles)
    named = dict.fromkeys(fact(note, language) for note in riddles if level == "full")
    perhaps = (text("page.perhaps", language),)
    return (
        tuple(say(note, language) for note in (*open_, *finding.remarks)),
        (*(perhaps if len(asked) > 1 else ()), *asked),
        (*(perhaps if len(named) > 1 else ()), *named),
    )


def told_of(finding: Finding, level: FeedbackLevel, language: str) -> str:
    """The verdict and what goes with it as one text, for whoever shows one a gradient."""
    told = tell(finding, level, language) or (meaning_of(finding.verdict, language),)
    return "\n".join((name_of(finding.verdict, language), *told))


def noted(notes: Mapping[str, Iterable[Note]], language: str) -> Iterator[str]:
    """Each note by itself, with the notebook that it is about before it."""
    for where, each in notes.items():
        yield from (
            f"{where}: {say(note, language)}" if where else say(note, language) for note in each
        )


def amount(points: float) -> str:
    """Points as people write them: 1, 0.5, 12.25."""
    return f"{points:.2f}".rstrip("0").rstrip(".")
