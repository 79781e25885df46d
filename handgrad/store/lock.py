"""One grader at a time in one course."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from handgrad.errors import UserError

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP}


@contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Hold the course at `root`; raises UserError while another process does, or where nobody can.

    The kernel lets go of it with the process, however that ends: no lock is ever left over.
    """
    path = root / "reports" / ".lock"
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        who = path.read_text(encoding="ascii", errors="replace")[:20].strip()
        raise UserError(
            str(root),
            f"another grader is at work there (process {who})",
            "Let it finish, then run the same command again",
        ) from None
    except OSError as error:
        raise _cannot_be_held(path, error) from None
    try:
        path.write_text(str(os.getpid()), encoding="ascii")
        yield
    finally:
        lock.release()


def _cannot_be_held(path: Path, error: OSError) -> UserError:
    if error.errno in _NO_LOCKS:
        return UserError(
            str(path),
            "its disk has no file locks, and two graders at once would spoil each other's marks",
            "Move the course to a local disk, or mount this one with locks (NFS: without `nolock`)",
        )
    return UserError(
        str(path.parent),
        f"it cannot be written to ({os.strerror(error.errno or 0).lower()})",
        "Make the course's folder writable for you and run the same command again",
    )
