"""Which cell of a student's file is which released cell: by grade id, cell id, or text and order."""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from handgrad.notebooks.notebookfile import CellType, Flags, RawCell
from handgrad.verdict import Note

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from handgrad.plan import CellKind  # which imports torch

_LIKE = 0.5  # of a released notebook, that a file must hold at least to be meant as it


@dataclass(frozen=True, slots=True)
class Slot:
    """One released cell and what it is for; `theirs` is a cell whose text students write."""

    cell: "NotebookNode"
    cell_type: CellType
    grade_id: str
    cell_id: str
    flags: Flags
    kind: "CellKind"
    theirs: bool


@dataclass(slots=True)
class Match:
    """Which submitted cell stands for which slot, and where the others stand: after which slot."""

    chosen: dict[int, RawCell] = field(default_factory=dict)
    extras: dict[int, list[RawCell]] = field(default_factory=dict)
    problems: list[Note] = field(default_factory=list)


def slots_of(released: "NotebookNode") -> tuple[Slot, ...]:
    return tuple(_slot(cell) for cell in released.cells)


def _slot(cell: "NotebookNode") -> Slot:
    nbgrader = cell.metadata.get("nbgrader", {})
    flags = Flags(
        grade=nbgrader.get("grade", False),
        solution=nbgrader.get("solution", False),
        locked=nbgrader.get("locked", False),
    )
    kind: CellKind = "other"
    if flags.solution:
        kind = "answer"
    elif flags.grade:
        kind = "test"
    elif flags.locked:
        kind = "given"
    return Slot(
        cell=cell,
        cell_type=cell.cell_type,
        grade_id=nbgrader.get("grade_id", "") if kind != "other" else "",
        cell_id=cell.get("id", ""),
        flags=flags,
        kind=kind,
        theirs=kind in ("answer", "other"),
    )


def match(slots: Sequence[Slot], cells: Sequence[RawCell]) -> Match:
    """Each submitted cell is a slot's or the student's own.

    Own cells stand behind the neighbour they stood behind, whatever cells were moved around them. A
    locked cell whose text was changed is an own cell as well, just before the released one: what the
    student added to it is there, and what it changed is not.
    """
    found = Match()
    by_grade_id = {slot.grade_id: at for at, slot in enumerate(slots) if slot.grade_id}
    claims: dict[str, list[RawCell]] = {}
    for cell in cells:
        if cell.grade_id in by_grade_id:
            claims.setdefault(cell.grade_id, []).append(cell)
    for grade_id, claimants in claims.items():
        at = by_grade_id[grade_id]
        best = _best(slots[at], claimants)
        if best is not None:
            found.chosen[at] = best
        found.problems += _about(slots[at], claimants, best)
    _match_the_nameless(slots, [c for c in cells if c.grade_id not in claims], found)
    for at, slot in enumerate(slots):
        if slot.grade_id and at not in found.chosen:
            found.problems.append(Note("cell_deleted", {"cell": slot.grade_id}))
    _place_the_others(slots, cells, found)
    return found


def _best(slot: Slot, claimants: list[RawCell]) -> RawCell | None:
    """The claimant that is the cell itself: the first that says it is of the slot's kind.

    A given or test cell is best with the released text, an answer with another.
    """
    of_its_kind = [cell for cell in claimants if cell.flags == slot.flags]
    for cell in of_its_kind if slot.theirs else claimants:
        if same(cell.source, slot.cell.source) != slot.theirs:
            return cell
    if of_its_kind:
        return of_its_kind[0]
    # The metadata lie about themselves. An answer is looked at all the same; a text that was to pass
    # for a given or test cell is run as the student's own.
    return claimants[0] if slot.theirs else None


def _about(slot: Slot, claimants: list[RawCell], best: RawCell | None) -> list[Note]:
    parts = {"cell": slot.grade_id}
    notes = []
    others = [cell for cell in claimants if cell is not best]
    if any(cell.flags == slot.flags for cell in others):
        notes.append(Note("cell_duplicated", parts))
    if any(cell.flags != slot.flags for cell in claimants):
        notes.append(Note("id_stolen", parts))
    if best is not None:
        if best.cell_type != slot.cell_type:
            notes.append(Note("cell_type_changed", {**parts, "found": best.cell_type}))
        if not slot.theirs and not same(best.source, slot.cell.source):
            notes.append(Note("cell_edited", parts))
    return notes


def _match_the_nameless(slots: Sequence[Slot], cells: Iterable[RawCell], found: Match) -> None:
    """Find what has no grade id: released prose, and cells whose metadata a program threw away."""
    by_cell_id: dict[str, int] = {}
    by_text: dict[tuple[str, str], list[int]] = {}
    for at, slot in enumerate(slots):
        if at not in found.chosen:
            by_cell_id.setdefault(slot.cell_id, at)
            by_text.setdefault((slot.cell_type, _bare(slot.cell.source)), []).append(at)
    for cell in cells:
        named = by_cell_id.get(cell.cell_id, -1) if cell.cell_id else -1
        alike = by_text.get((cell.cell_type, _bare(cell.source)), [])
        at = next((each for each in (named, *alike) if each not in {-1, *found.chosen}), -1)
        if at < 0:
            continue
        found.chosen[at] = cell
        if not slots[at].theirs and not same(cell.source, slots[at].cell.source):
            found.problems.append(Note("cell_edited", {"cell": slots[at].grade_id}))


def _place_the_others(slots: Sequence[Slot], cells: Sequence[RawCell], found: Match) -> None:
    slot_of = {cell.number: at for at, cell in found.chosen.items()}
    in_order = _longest_increasing([slot_of[c.number] for c in cells if c.number in slot_of])
    after = -1
    for cell in cells:
        at = slot_of.get(cell.number)
        if at is None:
            if cell.source.strip() or cell.attachments:
                found.extras.setdefault(after, []).append(cell)
            continue
        slot = slots[at]
        if not slot.theirs and cell.cell_type == "code" and not same(cell.source, slot.cell.source):
            found.extras.setdefault(at - 1, []).append(cell)
        if at in in_order:
            after = at


def _longest_increasing(numbers: Sequence[int]) -> Collection[int]:
    """The most of `numbers`, all distinct, that stand in increasing order (patience sorting)."""
    ends: list[int] = []
    before: dict[int, int] = {}
    for number in numbers:
        at = bisect_left(ends, number)
        ends[at : at + 1] = [number]
        before[number] = ends[at - 1] if at else -1
    kept, number = set(), ends[-1] if ends else -1
    while number >= 0:
        kept.add(number)
        number = before[number]
    return kept


def meant(name: str, cells: Sequence[RawCell], notebooks: Mapping[str, Sequence[Slot]]) -> str:
    """The stem of the released notebook that a file of this name and these cells is; "" for none."""
    like = {stem: _likeness(slots, cells) for stem, slots in notebooks.items()}
    best = max(like, key=lambda stem: (like[stem], named(stem, name)), default="")
    if best and like[best] > _LIKE:
        return best
    return next((stem for stem in notebooks if named(stem, name)), "")


def named(stem: str, name: str) -> bool:
    """Whether the notebook's name is part of the file's, up to case and signs."""
    plain, wanted = (re.sub(r"[\W_]+", "_", each.lower()) for each in (name, stem))
    return wanted in plain


def _likeness(slots: Sequence[Slot], cells: Sequence[RawCell]) -> float:
    """How much of a released notebook a file holds, from 0 to 1: by grade ids, or by released text.

    Notebooks of one assignment share cells, so what a file holds beyond the released ones counts too.
    """
    ids = {slot.grade_id for slot in slots if slot.grade_id}
    texts = {_bare(slot.cell.source) for slot in slots if slot.kind != "answer"}
    found_ids = {cell.grade_id for cell in cells if cell.grade_id}
    found_texts = {_bare(cell.source) for cell in cells}
    return max(
        len(ids & found_ids) / max(1, len(ids | found_ids)),
        len(texts & found_texts) / max(1, len(texts)),
    )


def is_blank(slots: Sequence[Slot], cells: Sequence[RawCell]) -> bool:
    """Whether a student has written nothing at all: every text is a released one."""
    released = {_bare(slot.cell.source) for slot in slots}
    return all(_bare(cell.source) in released for cell in cells if cell.source.strip())


def _bare(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def same(one: str, other: str) -> bool:
    return one == other or _bare(one) == _bare(other)
