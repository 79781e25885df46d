"""Translations of notebooks: complete, of the text that is there now, with the same formulas and code."""

import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest

from handgrad.errors import UserError
from handgrad.notebooks.prose import fingerprint_of, translated

ROOT = Path(__file__).parents[1]
FILES = sorted(ROOT.glob("graders/*/prose/*/*.md"))
# What a translation has to repeat as it is. Each is taken out before the next is looked for.
KEPT = {
    "fenced code": r"```.*?```",
    "formulas": r"\$\$.+?\$\$|\$[^$\n]+\$",
    "code": r"`[^`\n]+`",
    "addresses": r"(?<=\]\()[^)\s]+",
    "headings": r"^#+(?= )",
    "items of lists": r"^(?:\d+\.|-) ",
    "shapes": r"\(\d+,(?: \d+)*\)",
    "numbers": r"(?<![\w.,])\d[\d,._]*\b",
}
TEXTS = {"title": "# Title\n\nOne.", "end": "Done."}


def original(path: Path) -> dict[str, str]:
    """The prose that a translation is of, by cell."""
    name = path.parents[2].name
    notebook = nbformat.read(ROOT / "source" / name / f"{path.stem}.ipynb", as_version=4)
    return {cell.id: cell.source for cell in notebook.cells if cell.cell_type == "markdown"}


def kept(text: str) -> dict[str, Counter[str]]:
    found = {}
    for what, pattern in KEPT.items():
        flags = re.DOTALL if what == "fenced code" else re.MULTILINE
        found[what] = Counter(re.findall(pattern, text, flags))
        text = re.sub(pattern, "", text, flags=flags)
    return found


def named(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def test_each_notebook_of_the_course_is_translated() -> None:
    stems = [path.stem for path in sorted((ROOT / "source" / "backprop").glob("*.ipynb"))]
    assert [path.stem for path in FILES if path.parent.name == "zh"] == stems


@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_cell_is_translated_and_its_text_has_not_changed_since(path: Path) -> None:
    """The message says which cell it is, and what to write when its translation is right again."""
    translated(original(path), path)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_translation_keeps_every_formula_line_of_code_address_and_number(path: Path) -> None:
    texts, found = original(path), translated(original(path), path)
    differ = [
        f"{cell}: {what}: {sorted((kept(texts[cell])[what] - has).elements())} became "
        f"{sorted((has - kept(texts[cell])[what]).elements())}"
        for cell in texts
        for what, has in kept(found[cell]).items()
        if has != kept(texts[cell])[what]
    ]
    assert differ == []


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_sentence_is_left_in_the_other_language(path: Path) -> None:
    """Five English words on end are a sentence; a menu's or a lecture's name in its own tongue is none."""
    for cell, text in translated(original(path), path).items():
        for pattern in KEPT.values():
            text = re.sub(pattern, "", text, flags=re.DOTALL)
        text = re.sub(r"“[^”]+”|\[[^]]+\]|（Restart Kernel[^）]*）", "", text)
        assert not re.findall(r"(?:\b[a-zA-Z]+\b[ ,.]*){5}", text), cell


@pytest.mark.parametrize("path", FILES, ids=named)
def test_bold_text_ends_where_markdown_sees_its_end(path: Path) -> None:
    """`**是。**否` stays as it is: between a full stop and a character no emphasis can end."""
    for cell, text in translated(original(path), path).items():
        for bold in re.finditer(r"\*\*([^*\n]+)\*\*(.?)", text):
            inside, after = bold[1][-1], bold[2]
            assert inside.isalnum() or not after.isalnum(), f"{cell}: {bold[0]}"


def written(path: Path, *sections: tuple[str, str, str]) -> Path:
    path.write_text(
        "About this file.\n\n"
        + "\n".join(f"<!-- {cell}: {mark} -->\n{text}\n" for cell, mark, text in sections),
        encoding="utf-8",
    )
    return path


TITLE = ("title", fingerprint_of(TEXTS["title"]), "# 标题\n\n一。")
END = ("end", fingerprint_of(TEXTS["end"]), "\n完。\n")


def test_cells_are_read_by_their_headings_in_any_order(tmp_path: Path) -> None:
    path = written(tmp_path / "a.md", END, TITLE)
    assert translated(TEXTS, path) == {"title": "# 标题\n\n一。", "end": "完。"}


@pytest.mark.parametrize(
    ("sections", "fact", "cure"),
    [
        ((TITLE,), "the cell end is not translated", f"<!-- end: {END[1]} -->"),
        ((), "the cells title, end are not translated", f"<!-- title: {TITLE[1]} -->"),
        ((TITLE, ("end", END[1], "")), "the cell end is not translated", END[1]),
        ((TITLE, END, END), "the cell end is there twice", "Delete"),
        ((TITLE, END, ("ende", END[1], "完。")), "the cell ende is no prose", "correct"),
        (
            (TITLE, ("end", "00000000", "完。")),
            "the cell end is translated from another text than the notebook has now",
            f"<!-- end: {END[1]} -->",
        ),
    ],
    ids=["a cell missing", "nothing there", "empty", "twice", "unknown", "changed since"],
)
def test_what_does_not_fit_the_notebook_is_named_with_the_line_to_write(
    tmp_path: Path, sections: tuple[tuple[str, str, str], ...], fact: str, cure: str
) -> None:
    path = written(tmp_path / "a.md", *sections)
    with pytest.raises(UserError) as raised:
        translated(TEXTS, path)
    assert raised.value.where == str(path)
    assert raised.value.fact.startswith(fact)
    assert cure in raised.value.cure


def test_a_notebook_without_a_file_is_one_without_any_cell_translated(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="title, end are not translated"):
        translated(TEXTS, tmp_path / "a.md")
