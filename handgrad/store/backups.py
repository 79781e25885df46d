"""Copies of a SQLite gradebook: one before each run, and the way back to it."""

import datetime
import glob
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from handgrad import atomic
from handgrad.errors import UserError
from handgrad.store.database import in_words

_KEPT = 5
_COMPANIONS = ("-journal", "-wal", "-shm")  # a stale journal would be played into another database


def backup(gradebook: Path) -> Path:
    """Copy `gradebook` beside itself, and let go of the oldest copies; the copy's path.

    Raises UserError where the gradebook is damaged, or the copy cannot be written: then nothing may be
    written into the gradebook either.
    """
    now = datetime.datetime.now(tz=datetime.UTC)
    number = max(map(_number, copies(gradebook)), default=0) + 1
    copy = gradebook.with_name(f"{gradebook.name}.bak-{number:06}-{now:%Y%m%d-%H%M%S}")
    try:
        # "rw": after a power cut SQLite first takes back what a transaction left half done.
        with atomic.replacing(copy) as part, closing(_opened(gradebook, "rw")) as source:
            _check(source)
            with closing(sqlite3.connect(part)) as target:
                source.backup(target)
    except sqlite3.Error as error:
        raise in_words(str(gradebook), error) from None
    for old in copies(gradebook)[_KEPT:]:
        old.unlink()
    return copy


def copies(gradebook: Path) -> list[Path]:
    """The copies of a gradebook, the newest first: by their number, as a clock may have been wrong."""
    found = gradebook.parent.glob(f"{glob.escape(gradebook.name)}.bak-*")
    return sorted(found, key=lambda path: (_number(path), path.name), reverse=True)


def _number(copy: Path) -> int:
    found = re.search(r"\.bak-(\d{6,})-\d{8}-\d{6}$", copy.name)
    return int(found[1]) if found else 0  # of a version that wrote times only


def restore(gradebook: Path, copy: Path | None = None) -> tuple[Path, Path | None]:
    """Put a copy in the gradebook's place, by default the newest one that is sound.

    Gives the copy and where the gradebook as it was is now, None where there was none. Raises UserError
    where there is no sound copy.
    """
    sound = copy if copy is not None else next(filter(is_sound, copies(gradebook)), None)
    if sound is None or not sound.is_file() or not is_sound(sound):
        raise UserError(
            str(sound or gradebook),
            "it is no sound copy of a gradebook" if sound else "there is no sound copy of it",
            f"Look for {gradebook.name}.bak-* in {gradebook.parent}",
        )
    now = datetime.datetime.now(tz=datetime.UTC)
    aside = gradebook.with_name(f"{gradebook.name}.damaged-{now:%Y%m%d-%H%M%S}")
    was_there = gradebook.exists()
    with atomic.replacing(gradebook) as part:
        shutil.copyfile(sound, part)
        for companion in _COMPANIONS:
            path = gradebook.with_name(gradebook.name + companion)
            if path.exists():
                path.rename(aside.with_name(aside.name + companion))
        if was_there:
            gradebook.rename(aside)
    return sound, aside if was_there else None


def is_sound(path: Path) -> bool:
    """Whether a file is a database without damage, with an assignment table in it."""
    try:
        with closing(_opened(path, "ro")) as database:
            _check(database)
            database.execute("SELECT count(*) FROM assignment")
    except sqlite3.Error:
        return False
    return True


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=30)


def _check(database: sqlite3.Connection) -> None:
    (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise sqlite3.DatabaseError(f"database disk image is malformed: {said}")
