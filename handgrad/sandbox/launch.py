"""Chooses the sandbox and starts its worker; imports no torch, so that both can import it at once."""

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from handgrad.errors import UserError
from handgrad.jailed.jail import empty
from handgrad.sandbox import bubblewrap, unprivileged
from handgrad.sandbox.shown import ENVIRONMENT, PACKAGE, START, Command

SETTING = "HANDGRAD_SANDBOX"
SANDBOXES = ("bubblewrap", "landlock")
Sandbox = Literal["bubblewrap", "landlock", "none"]
_LEFT = "handgrad-scratch-"


@dataclass(frozen=True, slots=True)
class Scratch:
    """A folder for the notebooks of one worker, locked for as long as this process lives."""

    path: Path
    lock: int

    @classmethod
    def made(cls) -> "Scratch":
        """Make one; those of processes that were killed go first."""
        cls.sweep()
        here = _temporary()
        fresh = Path(tempfile.mkdtemp(prefix="handgrad-", dir=here))
        with suppress(OSError):  # a disk that knows no locks: then nobody can sweep it either
            made = cls._locked(fresh)
            # Under this name only now, or another process could take it for one that was left.
            return cls(fresh.rename(here / fresh.name.replace("handgrad-", _LEFT)), made.lock)
        return cls(fresh, -1)

    @classmethod
    def sweep(cls) -> None:
        """Remove the folders of processes that were killed: the kernel has let go of their locks."""
        for left in _temporary().glob(f"{_LEFT}*"):
            with suppress(OSError):
                cls._locked(left).remove()

    @classmethod
    def _locked(cls, path: Path) -> "Scratch":
        """Raises OSError where it is somebody's, or no folder."""
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_uid != os.geteuid():
                raise PermissionError(f"{path} is another user's")
        except OSError:
            os.close(lock)
            raise
        return cls(path, lock)

    def remove(self) -> None:
        """Delete it with all that is in it."""
        empty(self.path)
        self.path.rmdir()
        if self.lock >= 0:
            os.close(self.lock)


def _temporary() -> Path:
    return Path(tempfile.gettempdir()).resolve()


@dataclass(frozen=True, slots=True)
class Launched:
    """A worker that was started and waits to be told what to do, and the two pipes to it.

    It ends when `outward` is closed, and at the latest with this process. `scratch` is the folder that
    its notebooks may write to, None where the sandbox has one of its own.
    """

    process: "subprocess.Popen[bytes]"
    inward: int
    outward: int
    complaints: BinaryIO  # its stderr
    sandbox: Sandbox
    uid: int | None
    reach: Mapping[str, Sequence[str]]
    scratch: Scratch | None

    @property
    def sandboxed(self) -> bool:
        """Whether there are walls at all."""
        return self.sandbox != "none"


def chosen() -> Sandbox:
    """The sandbox that the environment variable HANDGRAD_SANDBOX names, else the first that works.

    Raises UserError where none can, or the name is none.
    """
    named = os.environ.get(SETTING, "")
    if named in SANDBOXES:
        return cast(Sandbox, named)
    if named:
        raise UserError(
            SETTING, f"there is no sandbox {named!r}", f"Say {' or '.join(SANDBOXES)}, or nothing"
        )
    why = bubblewrap.trouble()
    if not why:
        return "bubblewrap"
    if lacking := unprivileged.trouble():
        raise UserError(
            "sandbox",
            f"bubblewrap cannot work here ({why}), nor can Landlock ({lacking})",
            "Run `handgrad doctor`, which says what is missing",
        )
    return "landlock"


def in_words() -> str:
    """Which sandbox runs notebooks, and why where it is the second best; "" where there is none."""
    try:
        sandbox = chosen()
    except UserError:
        return ""
    why = "" if os.environ.get(SETTING) else bubblewrap.trouble()
    return f"the sandbox is {sandbox}{why and f', since bubblewrap cannot work here: {why}'}"


def launch(*, sandboxed: bool = True) -> Launched:
    """Start a worker. Raises UserError where there can be no sandbox, OSError where no process."""
    sandbox = chosen() if sandboxed else "none"
    complaints = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (closed by whoever stops it)
    scratch = None
    to_read, outward = os.pipe()
    inward, to_write = os.pipe()
    try:
        if sandbox == "bubblewrap":
            command = bubblewrap.jailed(to_read, to_write)
        else:
            scratch = Scratch.made()
            command = (
                unprivileged.confined(to_read, to_write, scratch.path)
                if sandbox == "landlock"
                else _unjailed(to_read, to_write)
            )
        process = subprocess.Popen(
            command.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            env=command.environment,
            pass_fds=(to_read, to_write),
            start_new_session=True,
        )
    except BaseException:
        complaints.close()
        if scratch is not None:
            scratch.remove()
        os.close(outward)
        os.close(inward)
        raise
    finally:
        os.close(to_read)
        os.close(to_write)
    return Launched(
        process, inward, outward, complaints, sandbox, command.uid, command.reach, scratch
    )


def _unjailed(inward: int, outward: int) -> Command:
    """The same worker without walls, for submissions that a person vouches for."""
    code = START.format(path=[str(PACKAGE.parent)], first="", inward=inward, outward=outward)
    environment = {**os.environ, **{k: v for k, v in ENVIRONMENT.items() if "THREADS" in k}}
    environment |= {"MPLBACKEND": "Agg", "HANDGRAD_GRADING": "1"}
    return Command((sys.executable, "-B", "-c", code), environment)
