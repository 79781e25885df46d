"""One grader at a time in one course."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handgrad.errors import UserError


@contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Hold the course at `root`; raises UserError while another process holds it.

    The kernel lets go of it with the process, however that ends: no lock is ever left over.
    """
    path = root / "reports" / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    except OSError as error:
        raise UserError(
            str(path.parent),
            f"it cannot be written to ({os.strerror(error.errno or 0).lower()})",
            "Make the course's folder writable for you and run the same command again",
        ) from None
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                yield  # a disk that knows no locks, as some network disks: the gradebook has its own
                return
            who = os.read(fd, 20).decode("ascii", "replace").strip()
            raise UserError(
                str(root),
                f"another grader is at work there (process {who})",
                "Let it finish, then run the same command again",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)
