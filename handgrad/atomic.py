"""Files and folders that appear whole or not at all, and what a disk says where they cannot."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from handgrad.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A free path beside `path`, for a file or a folder that takes its place when the block ends well.

    Until then `path` is as it was, and afterwards nothing else is left. What is written is not flushed
    to the disk: after a power cut a file may be empty, so that whoever reads it looks at its content.
    """
    part = beside(path, str(os.getpid()))
    _remove(part)
    try:
        yield part
        if path.is_dir() and not path.is_symlink():  # no rename puts a folder over a full one
            old = beside(path, f"{os.getpid()}.old")
            _remove(old)
            path.rename(old)
            part.rename(path)
            _remove(old)
        else:
            part.replace(path)
    finally:
        _remove(part)


def beside(path: Path, mark: str) -> Path:
    """The hidden neighbour of `path` that is written before it; "*" as `mark` is a pattern for all."""
    return path.with_name(f".{path.name}.{mark}.part")


def write(path: Path, content: str | bytes) -> None:
    """Replace a file by one with this content, text as UTF-8; UserError where the disk refuses."""
    try:
        with replacing(path) as part:
            part.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise refused(error, path) from None


def create(path: Path, content: bytes, mode: int = 0o666) -> bool:
    """Write a new file whole, and to the disk; False where one is there already, which stays as it is.

    Of several processes that do this at once one wins. Raises UserError where the disk refuses.
    """
    part = beside(path, secrets.token_hex(4))
    try:
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(part, path)  # unlike a rename, it never replaces what is there
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if path.exists():
                return False
            part.replace(path)
    except OSError as error:
        raise refused(error, path) from None
    finally:
        part.unlink(missing_ok=True)
    return True


_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}  # disks without hard links


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


_REASONS: Mapping[int, tuple[str, str]] = {
    errno.ENOSPC: ("there is no space left on its disk", "Make some space"),
    errno.EDQUOT: ("your quota of the disk is used up", "Make some space"),
    errno.EACCES: ("it cannot be written to", "Make its folder writable for you"),
    errno.EPERM: ("it cannot be written to", "Make its folder writable for you"),
    errno.EROFS: ("it is on a disk that is read-only", "Mount it for writing"),
    errno.ENOENT: ("there is no folder for it", "Check the path"),
}


def refused(error: OSError, path: Path) -> UserError:
    """What the disk said when `path` was written, with its cure."""
    said = os.strerror(error.errno).lower() if error.errno else str(error)
    fact, cure = _REASONS.get(
        error.errno or 0, (f"it cannot be written ({said})", "Look after the disk")
    )
    return UserError(
        str(path), fact, f"{cure} and run the same command again; what is done is kept"
    )
