"""Starts the sandbox's worker; imports no torch, so that both can import it at the same time."""

import os
import subprocess
import tempfile
from dataclasses import dataclass
from typing import BinaryIO, cast

from handgrad.sandbox import bubblewrap


@dataclass(frozen=True, slots=True)
class Launched:
    """A worker that was started and waits to be told what to do, and the two pipes to it.

    It ends when `outward` is closed, and at the latest with this process.
    """

    process: "subprocess.Popen[bytes]"
    inward: int
    outward: int
    complaints: BinaryIO  # its stderr
    uid: int | None
    sandboxed: bool


def launch(*, sandboxed: bool = True) -> Launched:
    """Start a worker. Raises UserError where there can be no sandbox, OSError where no process."""
    complaints = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (closed by whoever stops it)
    to_read, outward = os.pipe()
    inward, to_write = os.pipe()
    try:
        command = (bubblewrap.jailed if sandboxed else bubblewrap.unjailed)(to_read, to_write)
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
        os.close(outward)
        os.close(inward)
        raise
    finally:
        os.close(to_read)
        os.close(to_write)
    return Launched(process, inward, outward, complaints, command.uid, sandboxed)
