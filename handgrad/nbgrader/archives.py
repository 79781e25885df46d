"""Unpacks what students handed in, member by member and within a budget, for `nbgrader zip_collect`."""

import gzip
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from nbgrader.plugins import ExtractorPlugin

from handgrad.plaintext import line

_ARCHIVES = (".zip", ".gz", ".tgz", ".tar")
_MOST_BYTES = (
    200 << 20
)  # of all that one archive of a student's unpacks to, archives in it included
_MOST_DOWNLOADED = 20 << 30  # the platform's own archive holds a class
_MOST_FILES = 2_000
_DEEPEST = 3  # archives within archives
_BROKEN = (OSError, EOFError, ValueError, RuntimeError, NotImplementedError)


class SafeExtractor(ExtractorPlugin):  # type: ignore[misc] # nbgrader is untyped
    """One broken, climbing or huge archive costs its own student a note, and nobody else anything."""

    def extract(self, archive_path: str, extracted_path: str) -> None:
        """nbgrader's call: everything below `archive_path`, unpacked below `extracted_path`."""
        root = Path(archive_path)
        for path in sorted(each for each in root.rglob("*") if each.is_file()):
            target = Path(extracted_path) / path.relative_to(root)
            if path.suffix in _ARCHIVES:
                self._unpack(path, target.with_suffix(""), _Budget(_MOST_DOWNLOADED, 10**6), 0)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)

    def _unpack(self, archive: Path, into: Path, budget: "_Budget", depth: int) -> None:
        """Each member on its own; the archives among them with a budget of their own, or what is left."""
        found: list[Path] = []
        try:
            for name, source in _members(archive):
                target = _inside(into, name)
                if target is None:
                    self._tell(archive, f"{name} would lie outside of it")
                    continue
                with source as file:
                    budget.copy(file, target)
                if target.suffix in _ARCHIVES:
                    found.append(target)
        except (*_BROKEN, zipfile.BadZipFile, tarfile.TarError, zlib.error) as error:
            self._tell(archive, str(error) or type(error).__name__)
        for inner in found:
            if depth == _DEEPEST:
                self._tell(inner, "it lies too deep in other archives")
                continue
            own = _Budget(_MOST_BYTES, _MOST_FILES) if depth == 0 else budget
            self._unpack(inner, inner.with_suffix(""), own, depth + 1)

    def _tell(self, archive: Path, why: str) -> None:
        self.log.warning(
            "%s is not unpacked whole: %s. Ask the student for the notebooks themselves",
            line(archive.name),
            line(why),
        )


class _Budget:
    """How much may still be written."""

    def __init__(self, size: int, files: int) -> None:
        self._size = size
        self._files = files

    def copy(self, source: IO[bytes], target: Path) -> None:
        """Write a file; ValueError where there is no room for it, and then nothing of it is left."""
        self._files -= 1
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with target.open("xb") as file:
                while block := source.read(1 << 16):
                    self._size -= len(block)
                    if self._size < 0 or self._files < 0:
                        raise ValueError("it unpacks to more than a submission may hold")
                    file.write(block)
        except ValueError:
            target.unlink()
            raise


def _members(archive: Path) -> Iterator[tuple[str, "IO[bytes]"]]:
    """The regular files of an archive, opened one after the other; no links and no devices."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            for each in packed.infolist():
                if not each.is_dir():
                    yield each.filename, packed.open(each)
    elif archive.suffix == ".gz" and not archive.stem.endswith(".tar"):
        yield archive.stem, cast(IO[bytes], gzip.open(archive))  # noqa: SIM115 (its user closes it)
    else:
        with tarfile.open(archive, "r|*") as tape:
            for member in tape:
                file = tape.extractfile(member) if member.isreg() else None
                if file is not None:
                    yield member.name, file


def _inside(folder: Path, name: str) -> Path | None:
    """Where a member of this name goes; None where that is outside of the folder, or no name."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    odd = not parts or parts[0].startswith("/") or ".." in parts or "\0" in name
    return (
        None
        if odd or any(len(os.fsencode(part)) > 200 for part in parts)
        else folder / Path(*parts)
    )
