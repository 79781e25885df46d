"""Whatever cuts a write short, the file is the old one or the new one."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from handgrad import atomic
from handgrad.errors import UserError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    atomic.write(path, "old")

    def fails() -> None:
        with atomic.replacing(path) as part:
            part.write_text("half of the new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["marks.json"]


def test_a_folder_takes_the_place_of_a_full_one(tmp_path: Path) -> None:
    path = tmp_path / "marked"
    for name in ("old", "new"):
        with atomic.replacing(path) as part:
            part.mkdir()
            (part / name).write_text(name)
    assert names(path) == ["new"]
    assert names(tmp_path) == ["marked"]


def test_text_is_utf8_and_keeps_its_line_ends(tmp_path: Path) -> None:
    atomic.write(tmp_path / "a.csv", "名\r\n")
    assert (tmp_path / "a.csv").read_bytes() == "名\r\n".encode()


def test_of_many_who_create_a_file_one_does_and_all_read_its_content(tmp_path: Path) -> None:
    path = tmp_path / "seed"

    def made(at: int) -> tuple[bool, str]:
        first = atomic.create(path, str(at).encode() * 32, 0o600)
        return first, path.read_text()

    with ThreadPoolExecutor(16) as pool:
        seen = list(pool.map(made, range(10, 74)))
    assert sum(first for first, _ in seen) == 1
    assert len({text for _, text in seen}) == 1
    assert len(seen[0][1]) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["seed"]


@pytest.mark.parametrize("how", [atomic.write, atomic.create])
def test_a_disk_that_refuses_is_one_sentence_with_its_cure(how: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder for it\. Check the path"):
        how(tmp_path / "gone" / "file", b"")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "Make some space"),
        (errno.EDQUOT, "Make some space"),
        (errno.EROFS, "Mount it for writing"),
        (errno.EACCES, "Make its folder writable"),
        (errno.EIO, "Look after the disk"),
    ],
    ids=errno.errorcode.get,
)
def test_what_a_disk_says_becomes_what_to_do(number: int, cure: str) -> None:
    told = atomic.refused(OSError(number, os.strerror(number)), Path("file"))
    assert cure in str(told)
