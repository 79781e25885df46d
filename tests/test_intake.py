"""Of a student's folder only the notebooks of the assignment are read, and nothing in it is followed."""

import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from coursedir import ASSIGNMENT, ROOT
from nbformat import NotebookNode

from handgrad.errors import UserError
from handgrad.limits import Limits
from handgrad.notebooks import intake
from handgrad.notebooks.intake import Submission, take, timestamp
from handgrad.plaintext import line
from handgrad.verdict import Note

ONE, TWO = "1_every_step", "2_cross_entropy"


def release() -> dict[str, NotebookNode]:
    folder = ROOT / "release" / ASSIGNMENT
    return {stem: nbformat.read(folder / f"{stem}.ipynb", as_version=4) for stem in (ONE, TWO)}


RELEASE = release()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with both notebooks and what every student has beside them."""
    submitted = tmp_path / "alice" / ASSIGNMENT
    submitted.mkdir(parents=True)
    for stem, notebook in RELEASE.items():
        nbformat.write(notebook, submitted / f"{stem}.ipynb")
    (submitted / "check.py").write_text("")
    (submitted / "timestamp.txt").write_text("2026-03-01 12:00:00 UTC\n")
    return submitted


def taken(folder: Path, limits: Limits | None = None) -> Submission:
    return take(folder, RELEASE, ["check.py"], limits or Limits())


def test_the_notebooks_are_taken_as_they_are(folder: Path) -> None:
    found = taken(folder)
    assert found.files == {stem: (folder / f"{stem}.ipynb").read_bytes() for stem in RELEASE}
    assert (found.problems, found.ignored) == ({}, ())
    assert found.timestamp == "2026-03-01 12:00:00 UTC\n"


def a_folder(path: Path) -> None:
    path.mkdir()


def a_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def a_link_to_nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


def a_link_to_a_neighbour(path: Path) -> None:
    path.symlink_to(path.with_name(f"{TWO}.ipynb"))


def an_endless_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def a_file_of_200_mib(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(200 * 2**20)


@pytest.mark.parametrize(
    ("put", "why"),
    [
        (a_folder, Note("folder")),
        (a_link, Note("link")),
        (a_link_to_nowhere, Note("link")),
        (a_link_to_a_neighbour, Note("link")),
        (an_endless_device, Note("link")),
        (a_pipe, Note("pipe")),
        (a_socket, Note("socket")),
        (a_file_of_200_mib, Note("too_large_file", {"size": "200", "limit": "50"})),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_no_regular_file_is_named_and_not_opened(
    folder: Path, put: Callable[[Path], None], why: Note
) -> None:
    (folder / f"{ONE}.ipynb").unlink()
    put(folder / f"{ONE}.ipynb")
    started = time.process_time()
    found = taken(folder)
    assert time.process_time() - started < 1
    assert list(found.files) == [TWO]
    assert found.problems == {ONE: (Note("unreadable", {"why": why}),)}
    assert found.absent == frozenset()


def test_a_device_is_not_opened() -> None:
    directory = os.open("/dev", os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert intake._read(directory, "zero", 1) == Note("device")
    finally:
        os.close(directory)


def test_a_missing_notebook_is_missing(folder: Path) -> None:
    (folder / f"{ONE}.ipynb").unlink()
    found = taken(folder)
    assert found.problems == {ONE: (Note("missing"),)}
    assert found.absent == {ONE}


def written(source: str = "mine = 1", *, stem: str = ONE, kept: bool = True) -> bytes:
    """The notebook with a cell of the student's own, and perhaps without any metadata."""
    notebook = deepcopy(RELEASE[stem])
    notebook.cells.append(nbformat.v4.new_code_cell(source))
    for number, cell in enumerate([] if kept else notebook.cells):
        cell.metadata, cell.id = NotebookNode(), f"new-{number}"
    return nbformat.writes(notebook).encode()


def only_answers() -> bytes:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("dlogits = h")])
    return nbformat.writes(notebook).encode()


FOUND_AS: Mapping[str, Mapping[str, bytes]] = {
    "Colab's copy": {f"Copy of {ONE}.ipynb": written()},
    "a browser's second": {f"{ONE} (1).ipynb": written()},
    "the student's name in it": {f"{ONE}_Ann Roe.ipynb": written()},
    "another name altogether": {"my homework\n.IPYNB": written()},
    "another name, metadata lost": {"homework.ipynb": written(kept=False)},
    "nothing but answers left": {f"Ann-{ONE}.ipynb": only_answers()},
    "what a platform appends": {f"{ONE}.ipynb.json": written()},
    "one folder deeper": {f"work/{ONE}.ipynb": written()},
    "twice the same": dict.fromkeys((f"{ONE} (1).ipynb", f"{ONE} (2).ipynb"), written()),
    "once with answers": {f"{ONE} (1).ipynb": written(), f"{ONE}_blank.ipynb": written("")},
    "as released": {"x.ipynb": written("")},
}
NOT_GUESSED: Mapping[str, Mapping[str, bytes]] = {
    "two with other answers": {"a.ipynb": written(), "b.ipynb": written("mine = 2")},
    "an export": {f"{ONE}.html": b"<html>"},
    "a printed one": {"homework.pdf": b"%PDF"},
    "an archive": {"all.7z": b"7z"},
    "one that is cut off": {"homework.ipynb": written()[:-9]},
    "a script of its name": {f"{ONE}.py": b"dlogits = h"},
}


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.mark.parametrize("files", FOUND_AS.values(), ids=FOUND_AS)
def test_a_notebook_of_another_name_is_taken_where_only_one_can_be_meant(
    folder: Path, files: Mapping[str, bytes]
) -> None:
    (folder / f"{ONE}.ipynb").unlink()
    put(folder, files)
    found = taken(folder)
    name, data = next(iter(files.items()))
    assert found.files[ONE] == data
    assert found.problems == {ONE: (Note("found_as", {"found": line(name)}),)}
    assert found.absent == frozenset()


@pytest.mark.parametrize("files", NOT_GUESSED.values(), ids=NOT_GUESSED)
def test_what_may_be_the_missing_notebook_is_named_and_not_guessed(
    folder: Path, files: Mapping[str, bytes]
) -> None:
    (folder / f"{ONE}.ipynb").unlink()
    put(folder, files)
    found = taken(folder)
    parts = {"found": ", ".join(files), "expected": f"{ONE}.ipynb"}
    assert found.problems == {ONE: (Note("renamed", parts),)}
    assert (list(found.files), found.absent, found.ignored) == ([TWO], {ONE}, tuple(files))


def test_a_notebook_as_released_beside_a_copy_with_answers_is_not_guessed_to_be_the_one(
    folder: Path,
) -> None:
    put(folder, {f"{ONE} (1).ipynb": written()})
    note = Note("two_copies", {"found": f"{ONE} (1).ipynb"})
    assert taken(folder).problems == {ONE: (note,)}
    put(folder, {f"{ONE}.ipynb": written("other = 1")})
    assert taken(folder).problems == {}


def test_a_copy_beside_the_notebook_is_ignored(folder: Path) -> None:
    shutil.copy(folder / f"{ONE}.ipynb", folder / f"{ONE}-Copy1.ipynb")
    found = taken(folder)
    assert (found.problems, found.ignored) == ({}, (f"{ONE}-Copy1.ipynb",))


def test_a_stranger_notebook_is_not_mistaken_for_a_missing_one(folder: Path) -> None:
    (folder / f"{ONE}.ipynb").unlink()
    (folder / "notes.ipynb").write_bytes(only_answers())
    (folder / "notes.txt").write_text("dlogits")
    assert taken(folder).problems == {ONE: (Note("missing"),)}


def test_modules_and_links_beside_the_notebooks_are_ignored(folder: Path) -> None:
    for name in ("torch.py", "conftest.py", "sitecustomize.py", "evil.pth", "pytest.ini"):
        (folder / name).write_text("raise SystemExit")
    (folder / "a\x1b[2Jb").symlink_to("/etc/passwd")
    (folder / ".ipynb_checkpoints").mkdir()
    found = taken(folder)
    assert found.ignored == (
        "ab",
        "conftest.py",
        "evil.pth",
        "pytest.ini",
        "sitecustomize.py",
        "torch.py",
    )
    assert set(found.files) == {ONE, TWO}


def test_a_million_files_are_listed_and_not_opened(folder: Path) -> None:
    for number in range(3000):
        (folder / f"{number}.ipynb").write_text("{")
    (folder / f"{ONE}.ipynb").unlink()
    started = time.process_time()
    taken(folder)
    assert time.process_time() - started < 2


def test_a_folder_that_is_a_link_is_refused(folder: Path) -> None:
    link = folder.parent / "other"
    link.symlink_to(folder)
    with pytest.raises(UserError, match="it is a link, not a folder"):
        taken(link)


def test_a_folder_that_is_none_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="it cannot be read"):
        taken(folder / "check.py")
    with pytest.raises(UserError, match="it cannot be read"):
        taken(folder / "nowhere")


def test_a_time_stamp_is_read_from_a_regular_file_only(folder: Path) -> None:
    assert timestamp(folder) == "2026-03-01 12:00:00 UTC\n"
    (folder / "timestamp.txt").write_bytes(b"\xef\xbb\xbf2026-03-01 12:00:00 UTC\n")
    assert timestamp(folder) == "2026-03-01 12:00:00 UTC\n"
    (folder / "timestamp.txt").unlink()
    assert timestamp(folder) == ""
    (folder / "timestamp.txt").symlink_to("/dev/zero")
    assert timestamp(folder) == "?link"
    assert timestamp(folder / "nowhere") == ""


def test_the_digest_changes_with_every_byte_that_counts(folder: Path) -> None:
    digests = {taken(folder).digest}
    (folder / "notes.txt").write_text("nobody reads this")
    assert {taken(folder).digest} == digests
    (folder / "timestamp.txt").write_text("2026-03-02 12:00:00 UTC\n")
    digests.add(taken(folder).digest)
    with (folder / f"{ONE}.ipynb").open("a") as file:
        file.write(" ")
    digests.add(taken(folder).digest)
    (folder / f"{ONE}.ipynb").rename(folder / "x.ipynb")
    digests.add(taken(folder).digest)
    (folder / "x.ipynb").unlink()
    digests.add(taken(folder).digest)
    assert len(digests) == 5
