"""A student's notebook put back on the released one: their answers, and nothing else counts."""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from handgrad.limits import Limits
from handgrad.notebooks.display import Budget, clean_attachments, clean_markdown, fenced, node
from handgrad.notebooks.matching import Match, Slot, match, same, slots_of
from handgrad.notebooks.notebookfile import RawCell, parse
from handgrad.plan import Cell, CellKind
from handgrad.verdict import Note

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True, slots=True)
class Prepared:
    """A notebook that is the release's but for the student's answers and the cells they added.

    `notebook` is valid nbformat 4.5 without outputs, and its Markdown is safe to show. `cells` are
    its code cells in order. `problems` say what had to be put right. `untouched` are the grade ids of
    the answers that are still as they were released; of written ones, where no prose was put beside it.
    `numbers` are those that cells have in the student's file, where it is another.
    """

    notebook: "NotebookNode"
    cells: tuple[Cell, ...]
    problems: tuple[Note, ...]
    untouched: frozenset[str]
    numbers: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Piece:
    """A statement of a notebook that is run in its own order, from cell `number` of the student's file.

    `answers` are the released answer cells that it fills, None in the place of the text leaves one as it
    was released.
    """

    source: str | None
    number: int
    answers: tuple[str, ...] = ()


def read(data: bytes, released: "NotebookNode", limits: Limits | None = None) -> Prepared:
    """The submitted bytes, restored from `released`; raises UnreadableError where they are no notebook.

    Text, points, ids, types and order of given and test cells are the release's, whatever the file
    says. Answers are found by grade id (by nbformat's cell id, or their text, where that was lost).
    Deleted cells are put back, cells of the student's own stay behind the neighbour they stood behind.
    """
    parsed = parse(data, limits or Limits())
    slots = slots_of(released)
    return _assembled(released, slots, match(slots, parsed.cells), parsed.problems)


def blank(released: "NotebookNode", problems: Iterable[Note] = ()) -> Prepared:
    """The released notebook itself, in the place of one that is missing or cannot be read."""
    return _assembled(released, slots_of(released), Match(), tuple(problems))


def in_own_order(
    released: "NotebookNode", pieces: Iterable[Piece], problems: Iterable[Note] = ()
) -> Prepared:
    """What the release gives, then these pieces, each answer with its test cell, then the rest of it."""
    made = _InOwnOrder(released)
    first = next(
        at
        for at, slot in enumerate(made.slots)
        if slot.kind == "answer" and slot.cell_type == "code"
    )
    for at in range(first):
        made.add_slot(at)
    for piece in pieces:
        made.add_piece(piece)
    for at in range(first, len(made.slots)):
        made.add_slot(at)
    return Prepared(
        made.notebook(), tuple(made.cells), tuple(problems), made.untouched, made.numbers
    )


class _InOwnOrder:
    """A notebook that is put together from slots of a release and pieces of a student's."""

    def __init__(self, released: "NotebookNode") -> None:
        self.released, self.slots = released, slots_of(released)
        self.nodes: list[NotebookNode] = []
        self.cells: list[Cell] = []
        self.numbers: dict[int, int] = {}
        self._at = {s.grade_id: at for at, s in enumerate(self.slots) if s.kind == "answer"}
        self._left = set(range(len(self.slots)))
        self._filled: set[str] = set()

    @property
    def untouched(self) -> frozenset[str]:
        return frozenset(self._at) - self._filled

    def add_slot(self, at: int, source: str | None = None) -> None:
        """Add a released cell, with another text where one is given, unless it is there already."""
        if at not in self._left:
            return
        self._left.discard(at)
        slot, cell = self.slots[at], _released(self.slots[at], at)
        if source is not None:
            cell.source = source
            self._filled.add(slot.grade_id)
        stub = slot.kind == "answer" and source is None
        self._add(cell, slot.kind, slot.grade_id, stub, keeps=source is not None)

    def add_piece(self, piece: Piece) -> None:
        """Add a statement, and behind it the test cells of what it answers."""
        places = [self._at[name] for name in piece.answers]
        for at in places[:-1]:
            self.add_slot(at, f"# with {piece.answers[-1]}, below")
        if places:
            self.add_slot(places[-1], piece.source)
        else:
            self._add(
                _own_code(f"added-{len(self.nodes)}", piece.source or ""), "other", keeps=True
            )
        self.numbers[len(self.nodes) - 1] = piece.number
        for at in places:
            test = self._test_of(at)
            if test is not None:
                self.add_slot(test)

    def _test_of(self, at: int) -> int | None:
        """The test cell that is the next code cell behind an answer, if it is one."""
        codes = (i for i in range(at + 1, len(self.slots)) if self.slots[i].cell_type == "code")
        following = next(codes, None)
        is_test = following is not None and self.slots[following].kind == "test"
        return following if is_test else None

    def _add(
        self,
        cell: "NotebookNode",
        kind: CellKind,
        grade_id: str = "",
        stub: bool = False,
        keeps: bool = False,
    ) -> None:
        if cell.cell_type == "code":
            made = _cell(len(self.nodes), cell, kind, grade_id, stub)
            self.cells.append(replace(made, keeps=keeps))
        self.nodes.append(cell)

    def notebook(self) -> "NotebookNode":
        return _notebook(self.released, self.nodes)


def prefix(released: "NotebookNode") -> tuple[Cell, ...]:
    """The given code cells before the first cell that students write in or are tested by."""
    cells: list[Cell] = []
    for index, slot in enumerate(slots_of(released)):
        if slot.theirs or slot.kind == "test":
            if slot.cell_type == "code" or slot.grade_id:
                break
            continue  # prose of no consequence
        if slot.cell_type == "code":
            cells.append(_cell(index, slot.cell, slot.kind, slot.grade_id))
    return tuple(cells)


def _assembled(
    released: "NotebookNode", slots: tuple[Slot, ...], found: Match, problems: tuple[Note, ...]
) -> Prepared:
    nodes: list[NotebookNode] = []
    cells: list[Cell] = []
    untouched: set[str] = set()
    used = {slot.cell_id for slot in slots}
    budget = Budget()
    stubs = {slot.cell.source.strip() for slot in slots if slot.kind == "answer"}

    def add(cell: "NotebookNode", kind: CellKind, grade_id: str = "") -> None:
        if cell.cell_type == "code":
            stub = kind in ("answer", "other") and cell.source.strip() in stubs
            cells.append(_cell(len(nodes), cell, kind, grade_id, stub))
        nodes.append(cell)

    def add_extras(after: int) -> None:
        for mine in found.extras.get(after, ()):
            add(_extra(mine, used, budget), "other")

    add_extras(-1)
    for at, slot in enumerate(slots):
        mine = found.chosen.get(at)
        cell = _released(slot, at)
        if slot.theirs and mine is not None and not same(mine.source, slot.cell.source):
            _write(cell, mine, budget)
        elif slot.kind == "answer" and not _prose_beside(slots, found, at):
            untouched.add(slot.grade_id)
        add(cell, slot.kind, slot.grade_id)
        add_extras(at)
    if _among_given(slots, found):
        found.problems.append(Note("among_given"))
    notebook = _notebook(released, nodes)
    return Prepared(notebook, tuple(cells), problems + tuple(found.problems), frozenset(untouched))


def _own_code(cell_id: str, source: str) -> "NotebookNode":
    table: dict[str, object] = {"id": cell_id, "cell_type": "code", "metadata": {}}
    return node({**table, "source": source, "execution_count": None, "outputs": []})


def _notebook(released: "NotebookNode", nodes: "list[NotebookNode]") -> "NotebookNode":
    metadata = {
        key: released.metadata[key]
        for key in ("kernelspec", "language_info")
        if key in released.metadata
    }
    notebook = node({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": []})
    notebook.cells = nodes
    return notebook


def _prose_beside(slots: tuple[Slot, ...], found: Match, at: int) -> bool:
    """Whether the student wrote prose between the graded or given cells around a written answer."""
    if slots[at].cell_type == "code":
        return False
    named = [-1, *(i for i, slot in enumerate(slots) if slot.grade_id and i != at), len(slots)]
    first = max(i for i in named if i < at)
    last = min(i for i in named if i > at)
    own = [cell for i in range(first, last) for cell in found.extras.get(i, ())]
    own += [
        found.chosen[i]
        for i in range(first + 1, last)
        if i in found.chosen and not same(found.chosen[i].source, slots[i].cell.source)
    ]
    return any(cell.cell_type != "code" for cell in own)


def _among_given(slots: tuple[Slot, ...], found: Match) -> bool:
    """Whether code of the student's own stands before the last given cell that leads to the answers."""
    codes = [(at, slot.kind) for at, slot in enumerate(slots) if slot.cell_type == "code"]
    leading = [at for at, _ in itertools.takewhile(lambda each: each[1] == "given", codes)]
    own = [i for i, cells in found.extras.items() if any(c.cell_type == "code" for c in cells)]
    return bool(leading) and any(i < leading[-1] for i in own)


def _released(slot: Slot, at: int) -> "NotebookNode":
    table: dict[str, object] = {
        "id": slot.cell_id or f"released-{at}",
        "cell_type": slot.cell_type,
        "metadata": slot.cell.metadata,
        "source": slot.cell.source,
    }
    if slot.cell_type == "code":
        table |= {"execution_count": None, "outputs": []}
    elif "attachments" in slot.cell:
        table["attachments"] = slot.cell.attachments
    return node(table)


def _write(cell: "NotebookNode", mine: RawCell, budget: Budget) -> None:
    """Put the student's text in a cell."""
    cell.source = mine.source
    if cell.cell_type == "code":
        return
    cell.pop("attachments", None)
    if mine.cell_type == "raw":  # nbconvert would hand raw HTML through
        cell.source = fenced(mine.source)
        return
    attachments = clean_attachments(mine.attachments)
    if attachments:
        cell.attachments = node(attachments)
    cell.source = clean_markdown(mine.source, attachments, budget)


def _extra(mine: RawCell, used: set[str], budget: Budget) -> "NotebookNode":
    """A cell of the student's own; `used` are the cell ids that are taken."""
    cell_id = mine.cell_id
    if not cell_id or cell_id in used:
        cell_id = f"added-{mine.number}"
        while cell_id in used:
            cell_id += "-"
    used.add(cell_id)
    table: dict[str, object] = {"id": cell_id, "metadata": {}, "source": ""}
    if mine.cell_type == "code":
        table |= {"cell_type": "code", "execution_count": None, "outputs": []}
    else:
        table["cell_type"] = "markdown"
    cell = node(table)
    _write(cell, mine, budget)
    return cell


def _cell(
    index: int, cell: "NotebookNode", kind: CellKind, grade_id: str, untouched: bool = False
) -> Cell:
    tags = cell.metadata.get("tags", [])
    return Cell(
        index=index,
        grade_id=grade_id,
        kind=kind,
        source=cell.source,
        parameters=kind == "given" and "parameters" in tags,
        untouched=untouched,
    )
