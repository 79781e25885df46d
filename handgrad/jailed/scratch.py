"""A notebook's own folder, where no file system of bounded size can be mounted for it."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path


def filled(folder: Path, pid: int, most: int) -> tuple[int, int]:
    """Bytes and number of the files that process `pid` keeps in `folder`, deleted ones that it has
    open or mapped included. Stops to count at `most` files, and takes a tree too deep to look at for
    more than that.
    """
    size = count = 0
    folders = [str(folder)]
    while folders and count <= most:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    count += 1
                    size += _bytes(entry.path)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except OSError as error:
            count += most * (error.errno == errno.ENAMETOOLONG)
    return size + _deleted(pid), count


def _bytes(path: str) -> int:
    with suppress(OSError):
        return os.lstat(path).st_blocks * 512
    return 0


def _deleted(pid: int) -> int:
    """Bytes of deleted files that the process has open or mapped."""
    size = 0
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found = link.stat()
                if stat.S_ISREG(found.st_mode) and not found.st_nlink:
                    size += found.st_blocks * 512
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if line.endswith(" (deleted)"):
                start, _, end = line.split(maxsplit=1)[0].partition("-")
                size += int(end, 16) - int(start, 16)
    return size


def empty(folder: Path) -> None:
    """Delete all that is in `folder`, however deep; `shutil.rmtree` gives up at a thousand levels."""
    here, above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY), list[str]()
    while True:
        inner = _unlink_all(here)
        if inner is not None:
            os.chmod(inner, 0o700, dir_fd=here)
            below = os.open(inner, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            above.append(inner)
        elif above:
            below = os.open("..", os.O_RDONLY, dir_fd=here)
            os.rmdir(above.pop(), dir_fd=below)
        else:
            os.close(here)
            return
        os.close(here)
        here = below


def _unlink_all(fd: int) -> str | None:
    """Delete a folder's files; the name of one folder that is left, None for none."""
    left = None
    for name in os.listdir(fd):
        try:
            os.unlink(name, dir_fd=fd)
        except (IsADirectoryError, PermissionError):
            left = name
    return left
