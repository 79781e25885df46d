"""Which statement's value reaches which: the versions of every name through a list of statements."""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from handgrad.lecture.effects import Effects, Function, effects
from handgrad.lecture.statements import Statement


@dataclass(frozen=True, slots=True)
class Change:
    """A statement that changes a version's object in place, and the name it does so under."""

    statement: int
    name: str


@dataclass(eq=False, slots=True)
class Version:
    """One binding of a name: what `name = ...` made, until the name is bound again.

    `creator` is the statement's index. `changes` are in order, those through other names for the
    same object included.
    """

    name: str
    creator: int
    changes: list[Change] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Use:
    """A version as it is once the first `state` of its changes have happened."""

    version: Version
    state: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Uses and makings by statement; a name that nothing in the list has bound is in neither."""

    statements: tuple[Statement, ...]
    effects: tuple[Effects, ...]
    uses: tuple[Mapping[str, Use], ...]
    makes: tuple[Mapping[str, Version], ...]
    versions: tuple[Version, ...]  # in the order of their making
    of: Mapping[str, Sequence[Version]]  # the same by name
    names: Mapping[str, Version]  # after the last statement
    functions: Mapping[str, Function]


def flow(
    statements: Sequence[Statement],
    names: Mapping[str, Version] | None = None,
    functions: Mapping[str, Function] | None = None,
) -> Flow:
    """Follow the statements from top to bottom, starting from versions that others have made."""
    current = dict(names or {})
    known = dict(functions or {})
    same: dict[Version, list[Version]] = {}
    fixed: set[Version] = set()  # modules and functions: a call of theirs does not change them
    all_effects: list[Effects] = []
    uses: list[Mapping[str, Use]] = []
    makes: list[Mapping[str, Version]] = []
    versions: list[Version] = []
    for statement in statements:
        effect = effects(statement.node, known)
        known |= effect.functions
        all_effects.append(effect)
        uses.append(
            {
                name: Use(current[name], len(current[name].changes))
                for name in sorted(effect.reads)
                if name in current
            }
        )
        for name in sorted(effect.changes):
            version = current.get(name)
            if version is None or version in fixed:
                continue
            for twin in same.get(version, [version]):
                if not twin.changes or twin.changes[-1].statement != statement.index:
                    twin.changes.append(Change(statement.index, name))
        made = {name: Version(name, statement.index) for name in sorted(effect.binds)}
        after = current | made
        for first, second in effect.aliases:
            for names_then in (current, after):
                if first in after and second in names_then:
                    _join(same, after[first], names_then[second])
        if effect.imports or effect.functions:
            fixed |= set(made.values())
        current = after
        versions += made.values()
        makes.append(made)
    of: dict[str, list[Version]] = {}
    for version in versions:
        of.setdefault(version.name, []).append(version)
    return Flow(
        tuple(statements),
        tuple(all_effects),
        tuple(uses),
        tuple(makes),
        tuple(versions),
        of,
        current,
        known,
    )


def _join(same: dict[Version, list[Version]], one: Version, other: Version) -> None:
    if one is other:
        return
    group = same.setdefault(one, [one])
    others = same.setdefault(other, [other])
    if group is not others:
        group += others
        for version in others:
            same[version] = group


class Slices:
    """What has to run for a use to be as it is, where some versions are given and need nothing.

    `given` says of a version whether it is there without any statement of the list.
    `instead` replaces what a statement reads under a name by another use.
    """

    def __init__(self, through: Flow, given: Callable[[Version], bool]) -> None:
        self.flow = through
        self.given = given
        self.instead: dict[tuple[int, str], Use] = {}
        self._at = {statement.index: at for at, statement in enumerate(through.statements)}

    def uses(self, statement: int) -> dict[str, Use]:
        """What a statement reads, by the name it reads it under."""
        at = self._at.get(statement)
        if at is None:
            return {}
        return {
            name: self.instead.get((statement, name), use)
            for name, use in self.flow.uses[at].items()
        }

    def makers(self, use: Use) -> set[int]:
        """The statements that bind the version and change it up to the state, but for givens."""
        made = set() if self.given(use.version) else {use.version.creator}
        made |= {change.statement for change in use.version.changes[: use.state]}
        return made & self._at.keys()

    def behind(self, *uses: Use) -> set[int]:
        """All statements that the uses depend on, however far back."""
        found: set[int] = set()
        todo = [statement for use in uses for statement in self.makers(use)]
        while todo:
            statement = todo.pop()
            if statement in found:
                continue
            found.add(statement)
            for use in self.uses(statement).values():
                todo += self.makers(use) - found
        return found

    def arrange(
        self, answers: Sequence[Use], name_of: Callable[[Version], str]
    ) -> tuple[tuple[int, ...], ...] | None:
        """For each answer in turn the statements still to be run, in an order that changes no value.

        None where replaced uses have made a circle.
        """
        live = self.behind(*answers)
        before = self._before(live, name_of)
        if len(_ordered(live, before)) < len(live):
            return None
        done: set[int] = set()
        cells = []
        for answer in answers:
            wanted = _ancestors(self.makers(answer), before) - done
            done |= wanted
            cells.append(tuple(_ordered(wanted, before)))
        return tuple(cells)

    def _before(self, live: set[int], name_of: Callable[[Version], str]) -> dict[int, set[int]]:
        """For each live statement the live statements that must have run first."""
        before: dict[int, set[int]] = {statement: set() for statement in live}
        users: dict[Version, set[int]] = {}  # by the version's own name, not by another one

        def order(first: int, then: int) -> None:
            if first != then and first in before and then in before:
                before[then].add(first)

        for statement in live:
            for name, use in self.uses(statement).items():
                for maker in self.makers(use):
                    order(maker, statement)
                for change in use.version.changes[use.state :]:
                    order(statement, change.statement)
                if name == use.version.name:
                    users.setdefault(use.version, set()).add(statement)
        clashing: dict[str, list[Version]] = {}
        for version in self.flow.versions:
            if version.creator in live:
                users.setdefault(version, set()).add(version.creator)
        for version, its_users in users.items():
            for change in version.changes:
                if change.name == version.name and change.statement in live:
                    its_users.add(change.statement)
            clashing.setdefault(name_of(version), []).append(version)
        for versions in clashing.values():
            versions.sort(key=lambda version: (not self.given(version), version.creator))
            for at, later in enumerate(versions):
                if self.given(later):
                    continue
                for user in set().union(*(users[earlier] for earlier in versions[:at])):
                    order(user, later.creator)
        return before


def _ancestors(statements: Iterable[int], before: Mapping[int, set[int]]) -> set[int]:
    found: set[int] = set()
    todo = list(statements)
    while todo:
        statement = todo.pop()
        if statement not in found:
            found.add(statement)
            todo += before.get(statement, set())
    return found


def _ordered(statements: set[int], before: Mapping[int, set[int]]) -> list[int]:
    """The statements as near to their own order as `before` lets them; those in a circle are left out."""
    waiting = {s: len(before.get(s, set()) & statements) for s in statements}
    after: dict[int, list[int]] = {}
    for statement in statements:
        for first in before.get(statement, set()) & statements:
            after.setdefault(first, []).append(statement)
    ready = [s for s, count in waiting.items() if not count]
    heapq.heapify(ready)
    ordered = []
    while ready:
        statement = heapq.heappop(ready)
        ordered.append(statement)
        for later in after.get(statement, ()):
            waiting[later] -= 1
            if not waiting[later]:
                heapq.heappush(ready, later)
    return ordered
