"""A course is one grader's at a time, and a disk that cannot promise this is refused."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from handgrad.errors import UserError
from handgrad.store.lock import only_one


@pytest.mark.parametrize(
    "number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP], ids=errno.errorcode.get
)
def test_a_disk_without_locks_is_refused_with_the_cure(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)  # the kernel's answer on such a disk
    with pytest.raises(UserError, match="no file locks") as caught, only_one(tmp_path):
        pass
    assert "local disk" in caught.value.cure


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_one(tmp_path):
        raise ZeroDivisionError
    with only_one(tmp_path):
        assert (tmp_path / "reports" / ".lock").read_text() == str(os.getpid())
