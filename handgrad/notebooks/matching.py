"""Which cell of a student's file is which released cell, by grade id, cell id or text."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from handgrad.notebooks.notebookfile import CellType, Flags, RawCell
from handgrad.verdict import Note

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from handgrad.plan import CellKind  # which imports torch


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


def match(slots: tuple[Slot, ...], cells: tuple[RawCell, ...]) -> Match:
    found = Match()
    taken: dict[int, int] = {}  # number of the submitted cell -> slot
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
            taken[best.number] = at
        found.problems += _about(slots[at], claimants, best)
    _match_by_cell_id(slots, cells, found, taken)
    for at, slot in enumerate(slots):
        if slot.grade_id and at not in found.chosen:
            found.problems.append(Note("cell_deleted", {"cell": slot.grade_id}))
    after = -1
    for cell in cells:
        if cell.number in taken:
            after = taken[cell.number]
        elif cell.source.strip() or cell.attachments:
            found.extras.setdefault(after, []).append(cell)
    return found


def _best(slot: Slot, claimants: list[RawCell]) -> RawCell | None:
    """The claimant that is the cell itself: the first that says it is of the slot's kind.

    For a given or test cell one with the released text comes before all others.
    """
    if not slot.theirs:
        for cell in claimants:
            if same(cell.source, slot.cell.source):
                return cell
    for cell in claimants:
        if cell.flags == slot.flags:
            return cell
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


def _match_by_cell_id(
    slots: tuple[Slot, ...], cells: tuple[RawCell, ...], found: Match, taken: dict[int, int]
) -> None:
    """Find what has no grade id: released prose, and cells whose metadata a program threw away."""
    by_cell_id: dict[str, int] = {}
    by_text: dict[tuple[str, str], int] = {}
    for at, slot in enumerate(slots):
        if at in found.chosen:
            continue
        if slot.cell_id:
            by_cell_id.setdefault(slot.cell_id, at)
        by_text.setdefault((slot.cell_type, _bare(slot.cell.source)), at)
    for cell in cells:
        if cell.number in taken or cell.grade_id:
            continue
        at = by_cell_id.get(cell.cell_id, -1) if cell.cell_id else -1
        if at < 0 or at in found.chosen:
            at = by_text.get((cell.cell_type, _bare(cell.source)), -1)
        if at < 0 or at in found.chosen:
            continue
        slot = slots[at]
        found.chosen[at] = cell
        taken[cell.number] = at
        if not slot.theirs and not same(cell.source, slot.cell.source):
            found.problems.append(Note("cell_edited", {"cell": slot.grade_id}))


def _bare(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def same(one: str, other: str) -> bool:
    return one == other or _bare(one) == _bare(other)
