"""What a database says, in words of what a person can do."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy.exc import DatabaseError, OperationalError

from handgrad.errors import UserError


@contextmanager
def told(where: str, *but: type[Exception]) -> Iterator[None]:
    """What a database says turned into what a person can do; exceptions of kinds `but` pass."""
    try:
        yield
    except but:
        raise
    except DatabaseError as error:
        raise in_words(where, error) from None


_CURES: Sequence[tuple[str, str, str]] = (
    (
        "locked",
        "another program is writing in it",
        "Let it finish, or close formgrader, and run the same command again; what is done is kept",
    ),
    (
        "readonly",
        "it cannot be written to",
        "Make the file and its folder writable for you, and run the same command again",
    ),
    (
        "unable to open",
        "it cannot be opened",
        "Make the file and its folder readable and writable for you",
    ),
    (
        "full",
        "there is no space left on its disk",
        "Make some space and run the same command again; what is done is kept",
    ),
    (
        "no such table",
        "it is not a gradebook of this nbgrader",
        "Run `nbgrader db upgrade`, after a copy of the file was made",
    ),
    (
        "no such column",
        "it was made by another version of nbgrader",
        "Run `nbgrader db upgrade`, after a copy of the file was made",
    ),
    ("malformed", "it is damaged", "Run `handgrad restore` to go back to the last good copy"),
    (
        "not a database",
        "it is no database any more",
        "Run `handgrad restore` to go back to the last good copy",
    ),
    ("disk i/o", "its disk cannot be read or written", "Look after the disk, then run it again"),
)


def in_words(where: str, error: DatabaseError | sqlite3.Error) -> UserError:
    """A database's error as one that names its cure."""
    said = str(error.orig) if isinstance(error, DatabaseError) else str(error)
    for sign, fact, cure in _CURES:
        if sign in said.lower():
            return UserError(where, fact, cure)
    kind = "cannot be reached" if isinstance(error, OperationalError) else "refuses"
    return UserError(where, f"it {kind} ({said.splitlines()[0][:200]})", "Look after the gradebook")
