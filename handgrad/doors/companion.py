"""Judges a notebook at every save, and shows how it stands in the terminal and on a page of this machine."""

import asyncio
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from handgrad.doors import warm
from handgrad.doors.pageserver import PageServer
from handgrad.doors.warm import Seen
from handgrad.errors import UserError
from handgrad.grading.workers import CallFailed, WorkerDied, Workers
from handgrad.pages.table import table
from handgrad.pages.words import joined, say, text
from handgrad.verdict import Note, Report, Verdict

_POLL_SECONDS = 0.05
_SETTLE_SECONDS = 0.3  # what cannot be read may be half written: it is looked at again
_GOOD = (Verdict.RIGHT, Verdict.RIGHT_STEP)

Names = tuple[tuple[str, str], ...]
"""Gradients as (notebook, name)."""


@dataclass(frozen=True, slots=True)
class State:
    """How things stand: what was seen last, and what has been said of the file since."""

    name: str
    seen: Seen
    version: int = 1
    at: float = 0.0  # when what was seen had been saved
    judging: bool = False
    trouble: Note | None = None
    lit: Names = ()  # what has turned right with what was seen
    lost: Names = ()  # what is right no longer

    def after(self, outcome: Seen | Note, at: float) -> "State":
        """The state that follows when a save was judged; where it could not be, the last good one stays."""
        if isinstance(outcome, Note):
            return replace(self, judging=False, trouble=outcome)
        before, now = _good(self.seen.report), _good(outcome.report)
        return State(
            self.name,
            outcome,
            self.version + 1,
            at,
            lit=tuple(each for each in now if each not in before),
            lost=tuple(each for each in before if each not in now),
        )

    @property
    def line(self) -> str:
        """What is going on."""
        if self.judging:
            return text("watch.judging", self.seen.language, name=self.name)
        when = time.strftime("%H:%M:%S", time.localtime(self.at))
        return text("watch.judged", self.seen.language, name=self.name, time=when)

    @property
    def said(self) -> str:
        """What changed and what is next, or what is the trouble."""
        language = self.seen.language
        if self.trouble is not None:
            told = [say(self.trouble, language), text("watch.before", language)]
        else:
            told = [*self._changes(language), self.seen.next_step]
        return joined(filter(None, told), language).replace("`", "")

    def _changes(self, language: str) -> Iterator[str]:
        for key, those in (("now_right", self.lit), ("now_wrong", self.lost)):
            if those:
                names = ", ".join(name for _, name in those)
                yield text(f"watch.{key}", language, names=names)

    def event(self) -> Mapping[str, object]:
        """What a browser is told."""
        return {
            "version": self.version,
            "lit": self.lit,
            "state": self.line,
            "said": self.said,
            "trouble": self.trouble is not None,
            "judging": self.judging,
            "seconds": self.seen.seconds,
        }


def _good(report: Report) -> dict[tuple[str, str], None]:
    return {(f.notebook, f.name): None for f in report.findings if f.verdict in _GOOD}


def signature(path: Path) -> tuple[tuple[str, int, int, int], ...]:
    """Changes with every save of the file, or of a notebook in the folder; empty where there is none."""
    files = sorted(path.glob("*.ipynb")) if path.is_dir() else [path]
    return tuple(_signatures(files))


def _signatures(files: list[Path]) -> Iterator[tuple[str, int, int, int]]:
    for file in files:
        try:
            status = file.stat()
        except OSError:
            continue
        yield file.name, status.st_mtime_ns, status.st_size, status.st_ino


async def follow(path: Path, workers: Workers, tell: Callable[[State], None]) -> None:
    """Judge what `path` holds now and after each save, and tell of it, until cancelled.

    Raises UserError where it cannot be judged to begin with.
    """
    looked = signature(path)
    first = await asyncio.wrap_future(workers.submit(warm.judge, path, live=True))
    if isinstance(first, Note):
        raise UserError(str(path), say(first, "en").rstrip("."), "Save it and try again")
    state = State(path.name, first, at=_saved(looked))
    while True:
        tell(state)
        while (now := signature(path)) == looked:
            await asyncio.sleep(_POLL_SECONDS)
        looked = now
        tell(replace(state, judging=True))
        outcome = await _judged(path, workers)
        if isinstance(outcome, Note):
            await asyncio.sleep(_SETTLE_SECONDS)
            if signature(path) != looked:
                continue
        state = state.after(outcome, _saved(looked))


async def _judged(path: Path, workers: Workers) -> Seen | Note:
    try:
        return await asyncio.wrap_future(workers.submit(warm.judge, path, live=True))
    except (WorkerDied, CallFailed) as error:
        return Note("unjudged", {"why": str(error)})


def _saved(looked: tuple[tuple[str, int, int, int], ...]) -> float:
    return max((mtime for _, mtime, _, _ in looked), default=0) / 1e9


async def watch(
    path: Path, course: Path | None, name: str, *, sandboxed: bool, browser: bool
) -> None:
    """Follow `path` until cancelled; `browser` opens the page. Nothing it started is left behind."""
    path = path.absolute()
    workers = Workers(1, warm.host, (path, course, name, sandboxed))
    server = PageServer()
    with ExitStack() as stack:
        stack.callback(workers.shutdown)
        stack.callback(workers.kill)  # first: what is in hand is of no use to anybody now
        show = _Terminal(server.address, stack)

        def tell(state: State) -> None:
            server.tell(state.event(), state.seen.page)
            show(state)
            if state.version == 1 and browser and not state.judging:
                webbrowser.open(server.address)

        server.start()
        try:
            await follow(path, workers, tell)
        finally:
            await server.stop()


class _Terminal:
    """The table in place where there is a terminal, else one after the other."""

    def __init__(self, address: str, stack: ExitStack) -> None:
        self._address = address
        self._console = Console(file=sys.stdout)
        self._live: Live | None = None
        self._stack = stack

    def __call__(self, state: State) -> None:
        if not self._console.is_terminal:
            if not state.judging:
                self._console.print(self._drawn(state))
        elif self._live is None:
            live = Live(self._drawn(state), console=self._console, auto_refresh=False)
            self._live = self._stack.enter_context(live)
        else:
            self._live.update(self._drawn(state), refresh=True)

    def _drawn(self, state: State) -> RenderableType:
        seen = state.seen
        return Group(
            Text(self._address, style="underline", no_wrap=True, overflow="ignore"),
            Text(state.line, style="dim"),
            Text(state.said, style="bold red" if state.trouble else "bold"),
            table(seen.report, seen.level, seen.language),
        )
