"""Submissions: the notebooks in a student's folder that the assignment names, as bytes."""

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from handgrad.errors import UserError
from handgrad.limits import Limits
from handgrad.notebooks.matching import slots_of
from handgrad.notebooks.notebookfile import parse
from handgrad.plaintext import line
from handgrad.verdict import Note, Report

if TYPE_CHECKING:
    from nbformat import NotebookNode

TIMESTAMP = "timestamp.txt"  # nbgrader's: when the student handed in
SECRET = "submission_secret.txt"  # nbgrader's: what only this student can fetch the feedback with
_CANDIDATES = 10  # notebooks of other names that are looked into
_UNTOLD = frozenset({TIMESTAMP, SECRET, ".ipynb_checkpoints", "__pycache__", ".DS_Store"})
# Why a notebook is judged by nobody: it is there, and it is not the student's fault alone.
UNJUDGED = frozenset({"renamed", "unreadable"})


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

    Nothing is followed, opened or copied but regular files with the names of released notebooks, and
    nbgrader's time stamp and secret. Raises UserError where the folder is none.
    """
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(
            str(folder),
            "it is a link, not a folder" if folder.is_symlink() else _reason(error),
            "Put the submission itself there and grade again",
        ) from None
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208 (of the opened folder, not of a path)
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
        missing = [stem for stem, notes in problems.items() if notes[0].code == "missing"]
        others = [n for n in names if n.removesuffix(".ipynb") not in release or n[-6:] != ".ipynb"]
        if missing:
            for stem, name in _renamed(directory, missing, others, release, limits).items():
                parts = {"found": line(name), "expected": f"{stem}.ipynb"}
                problems[stem] = (Note("renamed", parts),)
        stamp = _stamp(directory) if TIMESTAMP in names else ""
        secret = _read(directory, SECRET, 200) if SECRET in names else b""
    finally:
        os.close(directory)
    untold = {*_UNTOLD, *known}
    return Submission(
        files,
        problems,
        tuple(line(name) for name in others if name not in untold),
        stamp,
        secret.decode("utf-8", "replace") if isinstance(secret, bytes) else "",
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
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else f"?{found}"


def _read(directory: int, name: str, most: int) -> bytes | str:
    """The bytes of a regular file, or why there are none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would never open
    try:
        fd = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        return "it is a link" if stat.S_ISLNK(mode) else _kind(mode) or _reason(error)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)  # a folder cannot even be made a file object of
        return _kind(status.st_mode) or "it is no file"
    with os.fdopen(fd, "rb") as file:
        if status.st_size > most:
            return f"it is {status.st_size / 2**20:.0f} MiB, over the limit of {most >> 20} MiB"
        try:
            return file.read(most + 1)
        except OSError as error:
            return _reason(error)


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "it is a folder"),
        (stat.S_ISFIFO, "it is a pipe"),
        (stat.S_ISSOCK, "it is a socket"),
        (stat.S_ISCHR, "it is a device"),
        (stat.S_ISBLK, "it is a device"),
    )
    return next((text for test, text in kinds if test(mode)), "")


def _reason(error: OSError) -> str:
    return f"it cannot be read ({error.strerror})"


def _renamed(
    directory: int,
    missing: list[str],
    others: list[str],
    release: "Mapping[str, NotebookNode]",
    limits: Limits,
) -> dict[str, str]:
    """By missing notebook, the files of other names that hold its cells: which counts is not guessed."""
    wanted = {
        stem: frozenset(slot.grade_id for slot in slots_of(release[stem]) if slot.grade_id)
        for stem in release
    }
    found: dict[str, list[str]] = {}
    for name in [n for n in others if n.lower().endswith(".ipynb")][:_CANDIDATES]:
        data = _read(directory, name, limits.notebook_mib << 20)
        if not isinstance(data, bytes):
            continue
        try:
            cells = parse(data, limits, name).cells
        except UserError:
            continue  # whatever it is, it is not the notebook
        ids = frozenset(cell.grade_id for cell in cells if cell.grade_id)
        likeness = {stem: len(ids & its) / max(1, len(ids | its)) for stem, its in wanted.items()}
        best = max(likeness, key=lambda stem: likeness[stem])
        if likeness[best] > 0.5 and best in missing:
            found.setdefault(best, []).append(name)
    return {stem: ", ".join(names) for stem, names in found.items()}


def unjudged(report: Report) -> frozenset[str]:
    """The notebooks that were handed in and that nobody could judge."""
    return frozenset(
        stem
        for stem, notes in report.problems.items()
        if any(note.code in UNJUDGED for note in notes)
    )
