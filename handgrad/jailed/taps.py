"""Taps: the places behind a student's statements at which the value of a gradient may be taken.

A chain run watches behind which statement each gradient came to the value that is checked. A run alone
takes its answer there, and puts the run's replacement in its place, so that every later statement meets
the replacement, in the same cell and in the same function too.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from handgrad.jailed import answers
from handgrad.jailed.cellcode import CellCode, Namespace
from handgrad.jailed.placing import END, Site

WHOLE = -1  # in the place of a draw's number: the answer is not stacked
_MOST_HITS = 64  # of one tap in a function whose values are kept for comparison

Hit = tuple[Site, int]  # a tap, and how many times it had been reached, from 1


class Reach(Protocol):
    """What a tap calls: behind a top-level statement with its site only, within a function with the
    variable's name and value, and the variable is bound to what comes back.
    """

    def __call__(self, cell: int, number: int, name: str = "", value: object = None) -> object: ...


def unwatched(cell: int, number: int, name: str = "", value: object = None) -> object:
    """A tap in a run that neither watches nor exchanges."""
    return value


@dataclass(slots=True)
class Found:
    """Where the chain run gave each gradient its value.

    `top`: by variable, and of a list by entry ("dhs[2]"), the top-level taps at which it was bound to
    that value. `inside`: by a tap in a function, which calls gave the value that was checked, each with
    its draw. `calls`: the same by function, for gradients nobody checks.
    """

    top: dict[str, list[Hit]] = field(default_factory=dict)
    inside: dict[Site, dict[int, int]] = field(default_factory=dict)
    calls: dict[Site, dict[int, int]] = field(default_factory=dict)


class Taps:
    """The taps of one notebook's cells.

    `checked_in`: by variable, the index of its test cell; `lists` are the variables whose entries are taken
    one by one.
    """

    def __init__(
        self,
        codes: Iterable[CellCode],
        checked_in: Mapping[str, int],
        lists: frozenset[str] = frozenset(),
    ) -> None:
        codes = list(codes)
        self.taps = {tap.site: tap for code in codes for tap in code.taps}
        self.hidden_writes = {code.cell.index for code in codes if code.hidden_writes}
        self.checked_in = checked_in
        self.lists = lists
        self.found: Found | None = None  # once a chain run was watched

    def learn(self, found: Found) -> None:
        """Take over what a watched run found; of a later one, where lists get their entries."""
        if self.found is None:
            self.found = found
            return
        whole = {key: hits for key, hits in self.found.top.items() if not key.endswith("]")}
        entries = {key: hits for key, hits in found.top.items() if key.endswith("]")}
        self.found.top = whole | entries

    def last_written(self, name: str) -> list[Hit]:
        """The last top-level tap before the variable's check that its syntax tree says changes it."""
        before = self.checked_in.get(name, 0)
        sites = [
            site
            for site, tap in self.taps.items()
            if name in tap.made and not tap.name and site[0] < before
        ]
        return [(max(sites, key=_in_order), 1)] if sites else []


@dataclass(slots=True)
class _Seen:
    value: object
    version: int
    copy: Tensor | None


class Watching:
    """A chain run, in which it is noted where the gradients get their values."""

    def __init__(self, taps: Taps, namespace: Namespace, then: Reach = unwatched) -> None:
        """`then` is what a tap calls besides."""
        self._taps = taps
        self._then = then
        self._namespace = namespace
        self._open = set(taps.checked_in)
        self._seen: dict[str, _Seen] = {}
        self._hits: Counter[Site] = Counter()
        self._given: dict[str, list[tuple[Hit, Tensor]]] = {}
        self._latest: Hit | None = None  # at which any gradient was made or changed
        self.found = Found()

    def reach(self, cell: int, number: int, name: str = "", value: object = None) -> object:
        """See `Reach`."""
        if self._open:
            self._note_hit((cell, number), name, value)
        return self._then(cell, number, name, value)

    def _note_hit(self, site: Site, name: str, value: object) -> None:
        self._hits[site] += 1
        hit = (site, self._hits[site])
        if not name:
            self._look(hit)
        elif name in self._open and hit[1] <= _MOST_HITS:
            copy = answers.copy_of(value)
            if copy is not None:
                self._given.setdefault(name, []).append((hit, copy))

    def _look(self, hit: Hit) -> None:
        counted = hit[0][0] not in self._taps.hidden_writes
        for name, value in [*self._values()]:
            seen = self._seen.get(name)
            version = value._version if type(value) is Tensor else 0
            unchanged = seen is not None and value is seen.value and version == seen.version
            if unchanged and counted and type(value) is Tensor:  # what NumPy changes it counts not
                continue
            copy = None if value is None else answers.copy_of(value)
            was = None if seen is None else seen.copy
            kept = copy is not None and was is not None and answers.equal(copy, was)
            self._seen[name] = _Seen(value, version, copy)
            if value is None:
                self.found.top.pop(name, None)
            elif not (unchanged and kept) or self._writes(hit[0], name, value):
                self._made(name, hit, kept and seen is not None and value is not seen.value)

    def _values(self) -> Iterator[tuple[str, object]]:
        """The gradients that are not checked yet; of a list its entries, by "dhs[2]"."""
        for name in self._open:
            entries = answers.entries_of(self._namespace, name)
            if entries is None:
                yield name, self._namespace.get(name)
                continue
            self.found.top.pop(name, None)  # of what it was before it had its entries
            yield from ((f"{name}[{at}]", entry) for at, entry in enumerate(entries))

    def _writes(self, site: Site, name: str, value: object) -> bool:
        """Whether the statement writes to an array, by its text: NumPy counts no versions."""
        tap = self._taps.taps.get(site)
        return type(value) is not Tensor and tap is not None and name in tap.made

    def _made(self, name: str, hit: Hit, again: bool) -> None:
        """The gradient is whole from here on. Below a mistake all may be zeros, so a value that stayed
        says nothing: `dx += 0` may be what finishes it. Of one bound `again`, another gradient
        may have been made meanwhile, and then it counts as it was.
        """
        hits = self.found.top.get(name, [])
        self.found.top[name] = [*hits, hit] if again and hits[-1:] != [self._latest] else [hit]
        self._latest = hit

    def checked(self, name: str) -> None:
        """The variable's test cell is reached: what it holds is what counts."""
        self._open.discard(name)
        written = self._taps.last_written(name)
        if written and not self._hits[written[0][0]]:
            self.found.top.pop(
                name, None
            )  # an error came before the statement that would finish it
        value = answers.copy_of(self._namespace.get(name))
        if value is None:
            return
        for (site, count), copy in self._given.pop(name, ()):
            if answers.equal(copy, value):
                self._note(site, count, WHOLE)
            elif value.dim() == copy.dim() + 1:
                taken = self.found.inside.get(site, {}).values()
                fits = (
                    i
                    for i, each in enumerate(value)
                    if i not in taken and answers.equal(copy, each)
                )
                draw = next(fits, None)
                if draw is not None:
                    self._note(site, count, draw)

    def _note(self, site: Site, count: int, draw: int) -> None:
        self.found.inside.setdefault(site, {})[count] = draw
        function = self._taps.taps[site].function
        self.found.calls.setdefault(function, {})[count] = draw


class Exchanging:
    """A run alone: at the taps found, answers are taken and replacements put in their place."""

    def __init__(
        self,
        taps: Taps,
        replace: Mapping[str, Tensor],
        take: Callable[[str], None],
        exchange: Callable[[str], None],
        take_value: Callable[[object], Tensor | None],
        exchange_entry: Callable[[str, int], Tensor | None],
        watched: bool,
    ) -> None:
        """`take` and `exchange` are for a variable of the notebook, `take_value` for a function's, and
        `exchange_entry` does both for an entry of a list. In a run that is `watched` for these they stay.
        """
        self._taps = taps
        self._found = taps.found or Found()
        self._replace = replace
        self._take, self._exchange, self._take_value = take, exchange, take_value
        self._exchange_entry = exchange_entry
        self._hits: Counter[Site] = Counter()
        self._taken: set[str] = set()
        self.parts: dict[str, dict[int, Tensor | None]] = {}
        self._due: dict[Hit, list[str]] = {}
        for name in replace:
            top = {} if watched else self._found.top
            entries = {k: hits for k, hits in top.items() if k.startswith(f"{name}[")}
            written = [] if name in taps.lists else taps.last_written(name)
            whole = {name: self._found.top.get(name) or written}
            for key, hits in (entries or whole).items():
                for hit in hits:
                    self._due.setdefault(hit, []).append(key)

    def reach(self, cell: int, number: int, name: str = "", value: object = None) -> object:
        """See `Reach`."""
        site = (cell, number)
        self._hits[site] += 1
        count = self._hits[site]
        if name:
            return self._inside(site, count, name, value)
        for due in self._due.get((site, count), ()):
            variable, _, at = due.rstrip("]").partition("[")
            if at:
                taken = self._exchange_entry(variable, int(at))
                self.parts.setdefault(variable, {}).setdefault(int(at), taken)
                continue
            if due not in self.parts and due not in self._taken:
                self._taken.add(due)
                self._take(due)
            self._exchange(due)
        return None

    def _inside(self, site: Site, count: int, name: str, value: object) -> object:
        replacement = self._replace.get(name)
        draw = self._draw(site, count, name)
        if replacement is None or draw is None:
            return value
        if draw != WHOLE and draw >= len(
            replacement
        ):  # this run has fewer draws than the watched one
            return value
        parts = self.parts.setdefault(name, {})
        if draw not in parts:
            parts[draw] = self._take_value(value)
        return answers.like(value, replacement if draw == WHOLE else replacement[draw])

    def _draw(self, site: Site, count: int, name: str) -> int | None:
        if name in self._taps.checked_in:
            return self._found.inside.get(site, {}).get(count)
        return self._found.calls.get(self._taps.taps[site].function, {}).get(count)

    def within(self) -> dict[str, Tensor | None]:
        """The answers taken within functions, stacked where there are several draws; None for one
        that is not whole.
        """
        return {name: self._whole(name, parts) for name, parts in self.parts.items()}

    def _whole(self, name: str, parts: Mapping[int, Tensor | None]) -> Tensor | None:
        if WHOLE in parts:
            return parts[WHOLE]
        tensors = [each for _, each in sorted(parts.items()) if each is not None]
        alike = len({each.shape for each in tensors}) == 1
        return torch.stack(tensors) if alike and len(tensors) == len(self._replace[name]) else None


def _in_order(site: Site) -> tuple[int, float]:
    cell, number = site
    return cell, math.inf if number == END else number
