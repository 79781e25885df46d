"""The secret that seeds an assignment's hidden runs: from the environment, else from a file of the course."""

import os
import secrets
from pathlib import Path

from handgrad import atomic
from handgrad.errors import UserError

VARIABLE = "HANDGRAD_SEED"


def secret_of(graders: Path) -> str:
    """What the environment variable HANDGRAD_SEED holds, else `seed` in the folder of graders.

    The first who asks for the file makes it, and everybody else reads it. Raises UserError where it is empty.
    """
    return _given() or _kept(graders / "seed")


def fresh() -> str:
    """What the environment variable holds, else a new one each time."""
    return _given() or secrets.token_hex(16)


def _given() -> str:
    return os.environ.get(VARIABLE, "").strip()


def _kept(path: Path) -> str:
    if not path.exists():
        atomic.create(path, secrets.token_hex(16).encode() + b"\n", 0o600)
    secret = path.read_text(encoding="ascii").strip()
    if not secret:
        raise UserError(str(path), "the secret seed is empty", "Delete the file: it is made anew.")
    return secret
