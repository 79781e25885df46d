"""Submissions: the notebooks of an assignment in a student's folder, as bytes, whatever they are called."""

import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from handgrad.errors import UserError
from handgrad.limits import Limits
from handgrad.notebooks.matching import Slot, is_blank, meant, named, slots_of
from handgrad.notebooks.notebookfile import UnreadableError, parse
from handgrad.plaintext import line
from handgrad.verdict import Note, Report

if TYPE_CHECKING:
    from nbformat import NotebookNode

TIMESTAMP = "timestamp.txt"  # nbgrader's: when the student handed in
SECRET = "submission_secret.txt"  # nbgrader's: what only this student can fetch the feedback with
_CANDIDATES = 10  # notebooks of other names that are looked into
_IN_A_FOLDER = 200  # names that are looked at there
_UNTOLD = frozenset({TIMESTAMP, SECRET, ".ipynb_checkpoints", "__pycache__", ".DS_Store"})
# Why a notebook is judged by nobody: it is there, and it is not the student's fault alone.
UNJUDGED = frozenset({"renamed", "unreadable", "two_copies"})
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A missing notebook may be in one of these.
_CONTAINERS = (".7z", ".gz", ".htm", ".html", ".pdf", ".rar", ".tar", ".tgz", ".zip")


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission: its notebooks by stem, what is odd about them, and what was left alone."""

    files: Mapping[str, bytes]
    problems: Mapping[str, tuple[Note, ...]]
    ignored: tuple[str, ...] = ()
    timestamp: str = ""
    secret: str = ""

    @property
    def absent(self) -> frozenset[str]:
        """The notebooks that are not there under their own names; nbgrader does not see those."""
        return frozenset(
            stem
            for stem, notes in self.problems.items()
            if any(note.code in ("missing", "renamed") for note in notes)
        )

    @property
    def digest(self) -> str:
        """Changes with every byte that has a say in the marks."""
        return digest(self.files, self.problems, self.timestamp)


def digest(
    files: Mapping[str, bytes], problems: Mapping[str, tuple[Note, ...]], timestamp: str
) -> str:
    """A name for what was handed in."""
    sha = hashlib.sha256(timestamp.encode())
    for stem in sorted(files):
        sha.update(f"\n{stem} {len(files[stem])}\n".encode())
        sha.update(files[stem])
    for stem in sorted(problems):
        for note in problems[stem]:
            sha.update(f"\n{stem} {note.code} {sorted(note.parts.items())}".encode())
    return sha.hexdigest()


def take(
    folder: Path, release: "Mapping[str, NotebookNode]", known: Iterable[str], limits: Limits
) -> Submission:
    """Read a student's folder; `known` are files that every student has and that say nothing.

    Nothing is followed, and no more is opened than regular files that can be a notebook, here and one
    folder deeper, and nbgrader's time stamp and secret. A notebook under another name is taken where
    only one file can be meant. Raises UserError where the folder is none.
    """
    try:
        directory = os.open(folder, _FOLDER)
    except OSError as error:
        raise UserError(
            str(folder),
            "it is a link, not a folder"
            if folder.is_symlink()
            else f"it cannot be read ({error.strerror})",
            "Put the submission itself there and grade again",
        ) from None
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208 (of the opened folder, not of a path)
        untold = {*_UNTOLD, *known}
        files: dict[str, bytes] = {}
        problems: dict[str, tuple[Note, ...]] = {}
        for stem in release:
            name = f"{stem}.ipynb"
            if name not in names:
                problems[stem] = (Note("missing"),)
                continue
            found = _read(directory, name, limits.notebook_mib << 20)
            if isinstance(found, bytes):
                files[stem] = found
            else:
                problems[stem] = (Note("unreadable", {"why": found}),)
        others = [
            name
            for name in names
            if name not in untold and name not in {f"{stem}.ipynb" for stem in release}
        ]
        lost = _Lost(directory, others, release, limits)
        for stem in release:
            if problems.get(stem, (Note(""),))[0].code != "unreadable":
                lost.look_for(stem, files, problems)
        stamp = _stamp(directory) if TIMESTAMP in names else ""
        secret = _read(directory, SECRET, 200) if SECRET in names else b""
    finally:
        os.close(directory)
    return Submission(
        files,
        problems,
        tuple(line(name) for name in others if name not in lost.taken),
        stamp,
        secret.decode("utf-8", "replace") if isinstance(secret, bytes) else "",
    )


def nothing_there(
    submission: Submission, release: "Mapping[str, NotebookNode]", where: str
) -> UserError | None:
    """What to say of a folder that holds none of the released notebooks; None where it does."""
    if set(release) - submission.absent:
        return None
    there = f", but {', '.join(submission.ignored[:5])}" if submission.ignored else ""
    fact = f"no notebook of the assignment is there{there}"
    return UserError(
        where, fact, f"It should hold {', '.join(f'{stem}.ipynb' for stem in release)}"
    )


def timestamp(folder: Path) -> str:
    """nbgrader's time stamp in a folder of anybody's, "" where there is none."""
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return _stamp(directory) if TIMESTAMP in os.listdir(directory) else ""  # noqa: PTH208
    finally:
        os.close(directory)


def _stamp(directory: int) -> str:
    found = _read(directory, TIMESTAMP, 200)
    return found.decode("utf-8-sig", "replace") if isinstance(found, bytes) else f"?{found.code}"


def _read(directory: int, name: str, most: int) -> bytes | Note:
    """The bytes of a regular file, or why there are none; `name` may lie one folder deeper."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would never open
    try:
        fd = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        return _kind(mode) or _reason(error)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)  # a folder cannot even be made a file object of
        return _kind(status.st_mode) or Note("no_file")
    with os.fdopen(fd, "rb") as file:
        if status.st_size > most:
            size = {"size": f"{status.st_size / 2**20:.0f}", "limit": str(most >> 20)}
            return Note("too_large_file", size)
        try:
            return file.read(most + 1)
        except OSError as error:
            return _reason(error)


def _kind(mode: int) -> Note | None:
    kinds = (
        (stat.S_ISLNK, "link"),
        (stat.S_ISDIR, "folder"),
        (stat.S_ISFIFO, "pipe"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISCHR, "device"),
        (stat.S_ISBLK, "device"),
    )
    return next((Note(code) for test, code in kinds if test(mode)), None)


def _reason(error: OSError) -> Note:
    return Note("unreadable_file", {"reason": str(error.strerror)})


class _Lost:
    """The files of a folder that are not called as a released notebook is."""

    def __init__(
        self,
        directory: int,
        others: Sequence[str],
        release: "Mapping[str, NotebookNode]",
        limits: Limits,
    ) -> None:
        self.taken: set[str] = set()  # of `others`: what a notebook was taken from
        self._release = release
        self._limits = limits
        self._names = [name for each in others for name in (each, *_below(directory, each))]
        self._meant: dict[str, dict[str, bytes]] = {}  # by stem
        self._closed: list[str] = []  # what cannot be looked into
        notebooks = [n for n in self._names if ".ipynb" in n.lower() or n.endswith(".json")]
        for name in notebooks[:_CANDIDATES]:
            data = _read(directory, name, limits.notebook_mib << 20)
            if isinstance(data, bytes):
                self._look_into(name, data)
        self._closed += [name for name in self._names if name.lower().endswith(_CONTAINERS)]

    @cached_property
    def _slots(self) -> dict[str, tuple[Slot, ...]]:
        return {stem: slots_of(notebook) for stem, notebook in self._release.items()}

    def _look_into(self, name: str, data: bytes) -> None:
        try:
            cells = parse(data, self._limits).cells
        except UnreadableError:
            self._closed.append(name)
            return
        stem = meant(name, cells, self._slots)
        if stem:
            self._meant.setdefault(stem, {})[name] = data

    def look_for(
        self, stem: str, files: dict[str, bytes], problems: dict[str, tuple[Note, ...]]
    ) -> None:
        """Take the notebook from the one file that can be meant; say so, or which ones may be meant."""
        found = self._meant.get(stem, {})
        written = {name: data for name, data in found.items() if not self._is_blank(stem, data)}
        if stem in files:
            if written and self._is_blank(stem, files[stem]):
                problems[stem] = (Note("two_copies", {"found": _listed(written)}),)
            return
        claims = written or found
        if len(set(claims.values())) == 1:
            name, files[stem] = next(iter(claims.items()))
            self.taken |= {each.partition("/")[0] for each in claims}
            problems[stem] = (Note("found_as", {"found": line(name)}),)
            return
        may_be = [*claims, *(name for name in self._names if named(stem, name))]
        may_be = may_be or self._closed
        if may_be:
            parts = {"found": _listed(may_be), "expected": f"{stem}.ipynb"}
            problems[stem] = (Note("renamed", parts),)

    def _is_blank(self, stem: str, data: bytes) -> bool:
        try:
            return is_blank(self._slots[stem], parse(data, self._limits).cells)
        except UnreadableError:
            return False


def _listed(names: Iterable[str]) -> str:
    return ", ".join(line(name, 80) for name in list(dict.fromkeys(names))[:5])


def _below(directory: int, name: str) -> list[str]:
    """What lies in the folder `name`, with its name before it; nothing where it is none."""
    try:
        folder = os.open(name, _FOLDER, dir_fd=directory)
    except OSError:
        return []
    try:
        inner = sorted(itertools.islice(os.listdir(folder), _IN_A_FOLDER))  # noqa: PTH208
    finally:
        os.close(folder)
    return [f"{name}/{each}" for each in inner]


def unjudged(report: Report) -> frozenset[str]:
    """The notebooks that were handed in and that nobody could judge."""
    return frozenset(
        stem
        for stem, notes in report.problems.items()
        if any(note.code in UNJUDGED for note in notes)
    )
