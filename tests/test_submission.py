"""A hostile, clever or unlucky file gives one clear error, or a notebook that is the release's again."""

import json
import os
import time
from collections.abc import Callable

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode

from handgrad.limits import Limits
from handgrad.notebooks.notebookfile import UnreadableError
from handgrad.notebooks.submission import Prepared, blank, prefix, read
from handgrad.pages.words import reason
from handgrad.verdict import Note

Document = dict[str, object]


def code(
    source: str, grade_id: str = "", *, tags: tuple[str, ...] = (), **flags: object
) -> NotebookNode:
    return _cell("code", source, grade_id, tags, flags)


def prose(source: str, grade_id: str = "", **flags: object) -> NotebookNode:
    return _cell("markdown", source, grade_id, (), flags)


def _cell(
    kind: str, source: str, grade_id: str, tags: tuple[str, ...], flags: dict[str, object]
) -> NotebookNode:
    make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
    cell = make(source, id=grade_id or f"c{abs(hash(source)) % 10**9}")
    if tags:
        cell.metadata.tags = list(tags)
    if grade_id:
        defaults = {"grade": False, "solution": False, "locked": False, "task": False}
        cell.metadata.nbgrader = nbformat.from_dict(
            {"schema_version": 3, "grade_id": grade_id, **defaults, **flags}
        )
    return cell


def release() -> NotebookNode:
    notebook = nbformat.v4.new_notebook(
        cells=[
            prose("# Every step"),
            code("import torch", "imports", locked=True),
            code("seed = 1", "parameters", locked=True, tags=("parameters",)),
            code("x = 2.0", "forward", locked=True),
            prose("## dx"),
            code("dx = None\n", "dx", solution=True),
            code("cmp('x', dx, x)", "test_dx", grade=True, locked=True, points=2),
            code("dy = None", "dy", solution=True),
            code("cmp('y', dy, y)", "test_dy", grade=True, locked=True, points=3),
            prose("Write here.", "why", solution=True, grade=True, points=1),
        ]
    )
    notebook.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    return notebook


def submitted(edit: Callable[[NotebookNode], None] = lambda _: None) -> bytes:
    notebook = release()
    at(notebook, "dx").source = "dx = torch.ones(2)"
    edit(notebook)
    return json.dumps(notebook).encode()


def at(notebook: NotebookNode, grade_id: str) -> NotebookNode:
    found = [
        c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id
    ]
    assert found, grade_id
    return found[0]


def index(notebook: NotebookNode, grade_id: str) -> int:
    return notebook.cells.index(at(notebook, grade_id))


def codes(prepared: Prepared) -> list[str]:
    return [" ".join([note.code, note.parts.get("cell", "")]).strip() for note in prepared.problems]


def shape(notebook: NotebookNode) -> list[str]:
    return [c.metadata.get("nbgrader", {}).get("grade_id", c.source[:12]) for c in notebook.cells]


# ------------------------------------------------------------------------------- files that are none


def deep(brackets: int) -> bytes:
    return b'{"cells": ' + b"[" * brackets + b"]" * brackets + b"}"


NO_NOTEBOOKS = {
    "empty": (b"", "the file is empty"),
    "only_spaces": (b" \n", "the file is empty"),
    "not_json": (b"print('hello')", "not valid JSON (line 1, column 1"),
    "truncated": (submitted()[:-40], "ends in the middle"),
    "truncated_in_a_string": (submitted()[:-300] + b'"abc', "JSON|ends in the middle"),
    "trailing_bytes": (submitted() + b"}", "not valid JSON"),
    "depth_100000": (deep(100_000), "nested more than 100 deep"),
    "depth_101": (deep(101), "nested more than 100 deep"),
    "two_million_lists": (b'{"cells": [' + b"[]," * 2_000_000 + b"[]]}", "more than 1000000"),
    "latin_1": (submitted().replace(b"Every", b"\xc9very"), "is not UTF-8"),
    "utf_16": (submitted().decode().encode("utf-16"), "is not UTF-8"),
    "a_picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is not UTF-8"),
    "duplicate_key": (b'{"cells": [], "nbformat": 4, "cells": []}', "the key 'cells' stands twice"),
    "duplicate_key_in_metadata": (
        submitted().replace(b'"grade": true', b'"grade": true, "grade": false', 1),
        "the key 'grade' stands twice",
    ),
    "a_list": (b"[1, 2]", "no notebook"),
    "a_number": (b"7", "no notebook"),
    "null": (b"null", "no notebook"),
    "no_cells": (b'{"nbformat": 4, "metadata": {}}', "no list of cells"),
    "cells_is_text": (b'{"nbformat": 4, "cells": "all"}', "no list of cells"),
    "format_5": (b'{"nbformat": 5, "cells": []}', "newer than 4"),
    "a_number_of_9999_digits": (b'{"cells": [], "a": ' + b"9" * 9999 + b"}", "not valid JSON"),
    "6000_cells": (json.dumps({"cells": [{}] * 6000}).encode(), "6000 cells"),
}


@pytest.mark.parametrize(("data", "fact"), NO_NOTEBOOKS.values(), ids=NO_NOTEBOOKS)
def test_what_is_no_notebook_gives_one_clear_error(data: bytes, fact: str) -> None:
    started = time.process_time()
    with pytest.raises(UnreadableError) as caught:
        read(data, release())
    said = reason(caught.value.why, "en")
    assert any(part in said for part in fact.split("|"))
    assert len(said) < 300
    assert "\n" not in said
    assert time.process_time() - started < 5


def test_a_file_of_200_mb_is_refused_before_it_is_parsed() -> None:
    started = time.process_time()
    with pytest.raises(UnreadableError) as caught:
        read(b"[" * (200 * 2**20), release())
    assert caught.value.why == Note("too_large_file", {"size": "200", "limit": "50"})
    assert time.process_time() - started < 1


def test_the_limit_of_size_is_the_assignments() -> None:
    with pytest.raises(UnreadableError) as caught:
        read(b" " * (2 * 2**20), release(), Limits(notebook_mib=1))
    assert caught.value.why.parts["limit"] == "1"


def test_an_unclosed_string_of_escapes_takes_no_time() -> None:
    started = time.process_time()
    with pytest.raises(UnreadableError):
        read(b'{"cells": "' + b'\\"' * (8 * 2**20), release())
    assert time.process_time() - started < 5


# ------------------------------------------------------------------------- files that can be put right

UNCHANGED: list[str] = shape(release())


def without_metadata(notebook: NotebookNode) -> None:
    notebook.metadata = NotebookNode()
    for cell in notebook.cells:
        cell.metadata = NotebookNode()


def older(minor: int) -> Callable[[NotebookNode], None]:
    def edit(notebook: NotebookNode) -> None:
        notebook.nbformat_minor = minor
        for cell in notebook.cells:
            del cell["id"]

    return edit


def duplicated(grade_id: str) -> Callable[[NotebookNode], None]:
    def edit(notebook: NotebookNode) -> None:
        copy = nbformat.from_dict(at(notebook, grade_id))
        copy.source = "later = 1"
        notebook.cells.insert(index(notebook, grade_id) + 1, copy)

    return edit


def deleted(*grade_ids: str) -> Callable[[NotebookNode], None]:
    def edit(notebook: NotebookNode) -> None:
        notebook.cells = [
            c
            for c in notebook.cells
            if c.metadata.get("nbgrader", {}).get("grade_id") not in grade_ids
        ]

    return edit


def text_of(grade_id: str, source: str) -> Callable[[NotebookNode], None]:
    return lambda notebook: at(notebook, grade_id).update(source=source)


def says(grade_id: str, **changes: object) -> Callable[[NotebookNode], None]:
    return lambda notebook: at(notebook, grade_id).metadata.nbgrader.update(changes)


def retyped(grade_id: str, cell_type: str) -> Callable[[NotebookNode], None]:
    def edit(notebook: NotebookNode) -> None:
        cell = at(notebook, grade_id)
        cell.cell_type = cell_type
        cell.pop("outputs", None)

    return edit


EDITS: dict[str, tuple[Callable[[NotebookNode], None], list[str]]] = {
    "untampered": (lambda _: None, []),
    "format_4_4_without_cell_ids": (older(4), []),
    "format_4_0": (older(0), []),
    "no_metadata": (without_metadata, []),
    "test_cell_deleted": (deleted("test_dx"), ["cell_deleted test_dx"]),
    "given_cells_deleted": (
        deleted("imports", "forward"),
        ["cell_deleted imports", "cell_deleted forward"],
    ),
    "test_cell_edited": (text_of("test_dx", "mine = 2"), ["cell_edited test_dx"]),
    "parameters_edited": (
        text_of("parameters", "mine = 0"),
        ["cell_edited parameters", "among_given"],
    ),
    "points_raised": (says("test_dx", points=1000), []),
    "points_are_nan": (says("test_dx", points=float("nan")), []),
    "checksum_forged": (says("test_dx", checksum="0"), []),
    "schema_version_of_the_future": (says("dx", schema_version=99), []),
    "test_cell_unlocked": (says("test_dx", locked=False), ["id_stolen test_dx"]),
    "answer_made_a_test": (says("dx", grade=True, points=50), ["id_stolen dx"]),
    "answer_is_markdown": (retyped("dx", "markdown"), ["cell_type_changed dx"]),
    "test_cell_is_raw": (retyped("test_dx", "raw"), ["cell_type_changed test_dx"]),
    "test_cell_moved_to_the_end": (
        lambda n: n.cells.append(n.cells.pop(index(n, "test_dx"))),
        [],
    ),
    "cells_in_reverse": (lambda n: n.cells.reverse(), []),
}


@pytest.mark.parametrize(("edit", "problems"), EDITS.values(), ids=EDITS)
def test_locked_text_points_ids_and_order_are_the_releases(
    edit: Callable[[NotebookNode], None], problems: list[str]
) -> None:
    prepared = read(submitted(edit), release())
    assert codes(prepared) == problems
    restored = [cell for cell in prepared.notebook.cells if not cell.source.startswith("mine")]
    prepared.notebook.cells = (
        restored  # what the student wrote into a locked cell runs as their own
    )
    assert shape(prepared.notebook) == UNCHANGED
    for cell, original in zip(restored, release().cells, strict=True):
        assert cell.metadata == original.metadata
        assert cell.cell_type == original.cell_type
        if not original.metadata.get("nbgrader", {}).get("solution"):
            assert cell.source == original.source
    assert at(prepared.notebook, "dx").source == "dx = torch.ones(2)"
    assert prepared.untouched == {"dy", "why"}
    assert prepared.notebook.metadata == release().metadata
    nbformat.validate(prepared.notebook)


def test_a_deleted_answer_comes_back_as_it_was_released() -> None:
    prepared = read(submitted(deleted("dx")), release())
    assert codes(prepared) == ["cell_deleted dx"]
    assert at(prepared.notebook, "dx").source == "dx = None\n"
    assert "dx" in prepared.untouched


def test_of_two_cells_with_one_id_the_first_is_the_answer_and_the_other_still_runs() -> None:
    prepared = read(submitted(duplicated("dx")), release())
    assert codes(prepared) == ["cell_duplicated dx"]
    assert at(prepared.notebook, "dx").source == "dx = torch.ones(2)"
    (other,) = [cell for cell in prepared.cells if cell.kind == "other"]
    assert (other.source, other.grade_id) == ("later = 1", "")
    assert other.index == index(prepared.notebook, "dx") + 1


def test_a_duplicated_test_cell_keeps_the_released_text() -> None:
    prepared = read(submitted(duplicated("test_dx")), release())
    assert codes(prepared) == ["cell_duplicated test_dx"]
    assert at(prepared.notebook, "test_dx").source == "cmp('x', dx, x)"


def test_a_stolen_id_costs_the_thief_only() -> None:
    def steal(notebook: NotebookNode) -> None:
        thief = code("dx = dx * 0 + 1", "test_dx", solution=True)
        notebook.cells.insert(index(notebook, "test_dx"), thief)

    prepared = read(submitted(steal), release())
    assert codes(prepared) == ["id_stolen test_dx"]
    assert at(prepared.notebook, "test_dx").source == "cmp('x', dx, x)"
    assert [c.source for c in prepared.cells if c.kind == "other"] == ["dx = dx * 0 + 1"]


def test_a_thief_alone_does_not_stand_in_for_the_test_cell() -> None:
    def steal(notebook: NotebookNode) -> None:
        deleted("test_dx")(notebook)
        notebook.cells.append(code("99", "test_dx", solution=True))

    prepared = read(submitted(steal), release())
    assert codes(prepared) == ["id_stolen test_dx", "cell_deleted test_dx"]
    assert at(prepared.notebook, "test_dx").source == "cmp('x', dx, x)"
    assert prepared.cells[-1].source == "99"
    assert prepared.cells[-1].kind == "other"


def test_an_id_of_no_cell_is_forgotten() -> None:
    def edit(notebook: NotebookNode) -> None:
        notebook.cells.append(code("1000", "bonus", grade=True, locked=True, points=1000))

    prepared = read(submitted(edit), release())
    assert prepared.notebook.cells[-1].metadata == {}
    assert prepared.cells[-1].kind == "other"


def test_cells_of_their_own_stay_behind_their_neighbours() -> None:
    def edit(notebook: NotebookNode) -> None:
        notebook.cells.insert(index(notebook, "test_dx"), code("before_test = 1"))
        notebook.cells.insert(index(notebook, "test_dx") + 1, prose("after the test"))
        notebook.cells.insert(0, code("top = 1"))
        notebook.cells.append(code("end = 1"))

    prepared = read(submitted(edit), release())
    names = shape(prepared.notebook)
    assert names[0] == "top = 1"
    assert names[-1] == "end = 1"
    around = names.index("dx")
    assert names[around : around + 4] == ["dx", "before_test ", "test_dx", "after the te"]
    assert codes(prepared) == ["among_given"]
    nbformat.validate(prepared.notebook)


def test_released_prose_that_was_edited_keeps_its_place() -> None:
    def edit(notebook: NotebookNode) -> None:
        notebook.cells[4].source = "## dx, my notes"

    prepared = read(submitted(edit), release())
    assert prepared.notebook.cells[4].source == "## dx, my notes"
    assert len(prepared.notebook.cells) == len(UNCHANGED)


def test_an_answer_whose_metadata_were_lost_is_found_by_its_cell_id() -> None:
    prepared = read(submitted(without_metadata), release())
    assert at(prepared.notebook, "dx").source == "dx = torch.ones(2)"


def test_a_notebook_of_format_3_is_read() -> None:
    notebook = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": ""},
        "worksheets": [
            {
                "cells": [
                    {"cell_type": "heading", "level": 2, "source": "mine", "metadata": {}},
                    {
                        "cell_type": "code",
                        "input": ["dx = 1\n", "dx"],
                        "language": "python",
                        "outputs": [],
                        "metadata": {"nbgrader": {"grade_id": "dx", "solution": True}},
                    },
                ]
            }
        ],
    }
    prepared = read(json.dumps(notebook).encode(), release())
    assert at(prepared.notebook, "dx").source == "dx = 1\ndx"
    assert prepared.notebook.cells[0].source == "## mine"
    nbformat.validate(prepared.notebook)


def test_a_byte_order_mark_is_harmless() -> None:
    prepared = read(b"\xef\xbb\xbf" + submitted(), release())
    assert at(prepared.notebook, "dx").source == "dx = torch.ones(2)"


def test_another_kernels_notebook_is_run_with_the_releases() -> None:
    def edit(notebook: NotebookNode) -> None:
        notebook.metadata.kernelspec = {"name": "ir", "display_name": "R", "language": "R"}

    prepared = read(submitted(edit), release())
    assert codes(prepared) == ["other_language"]
    assert prepared.notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize(
    "cell",
    [
        7,
        None,
        {},
        {"cell_type": "code"},
        {"cell_type": "prompt", "source": "x"},
        {"cell_type": "code", "source": 7},
        {"cell_type": "code", "source": ["a", 7]},
        {"cell_type": ["code"], "source": "x"},
        {"cell_type": "code", "source": "x" * 1_000_001},
    ],
    ids=[
        "number",
        "null",
        "empty",
        "no_source",
        "unknown_type",
        "source_7",
        "line_7",
        "type_list",
        "a_million_characters",
    ],
)
def test_a_cell_without_sense_costs_itself_only(cell: object) -> None:
    document = json.loads(submitted())
    document["cells"].append(cell)
    prepared = read(json.dumps(document).encode(), release())
    assert [note.code for note in prepared.problems] == ["cell_unreadable"]
    assert shape(prepared.notebook) == UNCHANGED


@pytest.mark.parametrize(
    "metadata",
    [7, None, [], {"nbgrader": 7}, {"nbgrader": {"grade_id": 7}}, {"nbgrader": {"grade_id": {}}}],
    ids=repr,
)
def test_metadata_of_any_kind_are_survived(metadata: object) -> None:
    document = json.loads(submitted())
    document["cells"][5]["metadata"] = metadata
    document["metadata"] = metadata
    prepared = read(json.dumps(document).encode(), release())
    assert at(prepared.notebook, "dx").source == "dx = torch.ones(2)"


def test_half_characters_and_nul_do_not_reach_the_file() -> None:
    prepared = read(submitted(text_of("dx", "dx = '\ud800\0'")), release())
    assert "\0" not in at(prepared.notebook, "dx").source
    json.dumps(prepared.notebook, ensure_ascii=False).encode("utf-8")


def test_old_outputs_are_not_kept() -> None:
    def edit(notebook: NotebookNode) -> None:
        output = {"output_type": "execute_result", "data": {"text/plain": "2"}, "metadata": {}}
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [output]

    prepared = read(submitted(edit), release())
    assert all(not cell.get("outputs") for cell in prepared.notebook.cells)


def test_written_answers_are_safe_to_show() -> None:
    prepared = read(submitted(text_of("why", "<script>alert(1)</script> a<b")), release())
    assert "<script" not in at(prepared.notebook, "why").source
    assert "why" not in prepared.untouched


def test_a_raw_cell_is_shown_as_code() -> None:
    def edit(notebook: NotebookNode) -> None:
        notebook.cells.append(nbformat.v4.new_raw_cell("<script>alert(1)</script>"))

    cell = read(submitted(edit), release()).notebook.cells[-1]
    assert (cell.cell_type, cell.source[:3]) == ("markdown", "```")


def test_cell_ids_are_unique_whatever_the_file_says() -> None:
    def edit(notebook: NotebookNode) -> None:
        for cell_id in ("dx", "dx", "a b", "", "x" * 100):
            cell = code("pass")
            cell.id = cell_id
            notebook.cells.append(cell)

    notebook = read(submitted(edit), release()).notebook
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    nbformat.validate(notebook)


# -------------------------------------------------------------------------------------- the release


def test_the_prefix_is_the_given_cells_before_the_first_answer() -> None:
    cells = prefix(release())
    assert [cell.grade_id for cell in cells] == ["imports", "parameters", "forward"]
    assert [cell.parameters for cell in cells] == [False, True, False]
    assert list(cells) == list(blank(release()).cells[:3])


def test_a_blank_notebook_is_the_release_untouched() -> None:
    prepared = blank(release())
    assert prepared.untouched == {"dx", "dy", "why"}
    assert [cell.kind for cell in prepared.cells] == [
        *["given"] * 3,
        *["answer", "test"] * 2,
    ]


def test_the_release_is_not_changed_by_reading() -> None:
    released = release()
    before = json.dumps(released)
    prepared = read(submitted(), released)
    prepared.notebook.cells[1].metadata.nbgrader.points = 7
    prepared.notebook.cells[1].source = "changed"
    assert json.dumps(released) == before


# --------------------------------------------------------------------------------------------- fuzz

_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
KEYS = st.sampled_from(
    """
    cells cell_type source metadata nbgrader grade_id grade solution locked points id outputs tags
    nbformat nbformat_minor worksheets input attachments language_info kernelspec name
    """.split()  # noqa: SIM905 (a table of words)
)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=12) | KEYS, inner, max_size=6)
    ),
    max_leaves=25,
)
_VALUES = st.sampled_from(
    ["code", "markdown", "raw", "dx", "test_dx", "why", True, False, 4, 3, "\ud800"]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A notebook with some of its values replaced by others, or some of its bytes."""
    document = json.loads(submitted())
    for _ in range(draw(st.integers(0, 4))):
        _replace(draw, document)
    data = json.dumps(document).encode()
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 20)))
        data = data[:start] + draw(st.binary(max_size=8)) + data[end:]
    return data


def _replace(draw: st.DrawFn, document: object) -> None:
    here = document
    while True:
        if isinstance(here, dict) and here:
            key: object = draw(st.sampled_from(sorted(here)))
        elif isinstance(here, list) and here:
            key = draw(st.integers(0, len(here) - 1))
        else:
            return
        inner = here[key]  # type: ignore[index, call-overload]
        if not isinstance(inner, dict | list) or draw(st.integers(0, 3)) == 0:
            here[key] = draw(_VALUES | _JSON)  # type: ignore[index, call-overload]
            return
        here = inner


def check_reading(data: bytes) -> None:
    """One clear error, or a valid notebook whose locked cells are the release's."""
    released = release()
    try:
        prepared = read(data, released)
    except UnreadableError as error:
        said = reason(error.why, "en")
    else:
        said = ""
    if said:
        assert "\n" not in said
        said.encode("utf-8")
        return
    nbformat.validate(prepared.notebook)
    nbformat.writes(prepared.notebook).encode("utf-8")
    for original in released.cells:
        if original.metadata.get("nbgrader", {}).get("locked"):
            restored = at(prepared.notebook, original.metadata.nbgrader.grade_id)
            assert (restored.source, restored.metadata) == (original.source, original.metadata)


# HANDGRAD_FUZZ=10000 pytest tests/test_submission.py -k crash takes two minutes.
_EXAMPLES = int(os.environ.get("HANDGRAD_FUZZ", "500"))
_RELAXED = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


@settings(_RELAXED, max_examples=_EXAMPLES * 3 // 5)
@given(damaged())
def test_no_damaged_notebook_crashes_the_reader(data: bytes) -> None:
    check_reading(data)


@settings(_RELAXED, max_examples=_EXAMPLES * 2 // 5)
@given(_JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    check_reading(data)
