"""Maps the files of a bulk download from Canvas or Moodle to students, for `nbgrader zip_collect`.

    nbgrader zip_collect backprop --collector=handgrad.nbgrader.collectors.CanvasCollector
    nbgrader zip_collect backprop --collector=handgrad.nbgrader.collectors.MoodleCollector

The platform writes the student's number into the name of a file or folder; the rest of that name is the
student's own choice, and so are all names within. So a number counts only where the platform put it,
and a name that can be read in two ways is nobody's.
"""

import re
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from nbgrader.plugins import FileNameCollectorPlugin

from handgrad.plaintext import line, odd_name

_NOTEBOOK = ".ipynb"
_KINDS = (_NOTEBOOK, f"{_NOTEBOOK}.json")
_ARCHIVES = (".zip", ".gz", ".tgz", ".tar")  # what was in them is listed itself
# What Canvas and browsers append to the name of a file that was there before: -1, (1).
_AGAIN = re.compile(r"(?:-\d+| ?\(\d+\))+$")


@dataclass(frozen=True, slots=True)
class Owned:
    """One file with the student who handed it in: its own name, and whether the platform calls it late."""

    student: str
    name: str
    late: bool = False


def stem_of(name: str, stems: frozenset[str]) -> str:
    """The notebook that a file of this name is meant as; "" where it is none of the assignment."""
    own = name.removesuffix(_NOTEBOOK)
    if own == name:
        return ""
    plain = own if own in stems else _AGAIN.sub("", own)
    return plain if plain in stems else ""


# Name, perhaps LATE, the student's number, the file's: and then whatever the student called it. Canvas
# takes `_12_` out of people's names, but not `_12` at their end; a name all of signs is empty.
_CANVAS = re.compile(r"(?=_(?P<late>LATE_)?(?P<student>\d+)_\d+_)")

_ANONYMOUS = ("anon_", "LATE_anon_")  # graded without names: there is no number of anybody


def canvas(parts: tuple[str, ...], stems: frozenset[str]) -> Owned | None:
    """The student of a file at this path in a download of Canvas; None where that is not certain."""
    for depth, part in enumerate(parts):
        readings = [
            (found["student"], bool(found["late"]), _rest(part, found))
            for found in _CANVAS.finditer(part)
        ]
        if part.startswith(_ANONYMOUS):
            return None
        if not readings:
            continue
        student, late, rest = readings[0]
        last = depth == len(parts) - 1
        certain = len({reading[0] for reading in readings}) == 1
        if not certain and not (last and rest.startswith(tuple(stems))):
            return None
        return Owned(student, rest if last else parts[-1], late)
    return None


def _rest(part: str, found: re.Match[str]) -> str:
    """What follows the two numbers."""
    tail = part[found.start() + len(f"_{found['late'] or ''}{found['student']}_") :]
    return tail.partition("_")[2]


# Full name, participant's number, the kind of submission. Moodle takes `_` out of the name.
_MOODLE = re.compile(r"[^_]*_(?P<student>\d+)_assignsubmission_file(?:_(?P<rest>.*))?", re.DOTALL)


def moodle(parts: tuple[str, ...], stems: frozenset[str]) -> Owned | None:
    """The student of a file at this path in a download of Moodle, with folders or without them."""
    for depth, part in enumerate(parts):
        found = _MOODLE.fullmatch(part)
        if found:
            last = depth == len(parts) - 1
            return Owned(found["student"], (found["rest"] or "") if last else parts[-1])
    return None


class _Collector(FileNameCollectorPlugin):  # type: ignore[misc]
    """Tells `nbgrader zip_collect` the student and the notebook of each extracted file."""

    def owner(self, parts: tuple[str, ...]) -> Owned | None:
        """The student of the file at this path below the extracted folder."""
        raise NotImplementedError

    def collect(self, submitted_file: str) -> dict[str, str] | None:
        """nbgrader's question, asked once a file; None leaves the file alone."""
        self._mend_the_app()
        path = Path(submitted_file)
        if self._hidden(path) or path.suffix in _ARCHIVES or path.name.endswith(self._known):
            return None
        if not path.name.endswith(_KINDS):
            self._left[path] = "it is no notebook"
            return None
        owned = self._owned(path)
        if owned is None:
            self._left[path] = (
                "its name does not say for certain whose it is; rename it as the platform names "
                "files, or put it into submitted/ yourself"
            )
            return None
        if owned.late and owned.student not in self._told:
            self._told.add(owned.student)
            self.log.warning(
                "%s is late, and Canvas does not say by how much: write the time to %s, or lateness "
                "costs nothing",
                owned.student,
                f"submitted/{owned.student}/{self._assignment}/timestamp.txt",
            )
        return {"student_id": owned.student, "file_id": self._names[path]}

    def _mend_the_app(self) -> None:
        """Have nbgrader keep what an earlier download brought, and end with what it left alone.

        With `--force` it deletes a student's folder before it copies what is new, though a platform gives
        only the files of the last attempt.
        """
        if "_left" in vars(self):
            return
        self._left: dict[Path, str] = {}
        transfer = self.parent._transfer_files

        def transfer_all(collected: dict[str, dict[str, Any]]) -> None:
            with tempfile.TemporaryDirectory() as kept:
                for number, (student, data) in enumerate(collected.items()):
                    self._keep_older(student, data, Path(kept, str(number)))
                transfer(collected)
            for path, why in self._left.items():
                name = line(str(path.relative_to(self._folder)))
                self.log.warning("Handed in, and not taken: %s: %s", name, why)

        self.parent._transfer_files = transfer_all

    def _keep_older(self, student: str, data: dict[str, Any], kept: Path) -> None:
        """Add the notebooks that were there before, and are not among the new ones, to these."""
        for path in sorted(Path(data["dest_files"][0]).parent.glob(f"*{_NOTEBOOK}")):
            if path.name in data["file_ids"] or path.is_symlink() or not path.is_file():
                continue
            kept.mkdir(exist_ok=True)
            shutil.copy(path, kept / path.name)
            data["src_files"].append(str(kept / path.name))
            data["dest_files"].append(str(path))
            data["file_ids"].append(path.name)
            self.log.warning(
                "%s: %s is not in this download; the one from before stays",
                student,
                line(path.name),
            )

    def _hidden(self, path: Path) -> bool:
        """Whether it is what a system keeps for itself: checkpoints, macOS's resource forks."""
        parts = path.relative_to(self._folder).parts
        return any(part.startswith(".") or part == "__MACOSX" for part in parts)

    def _owned(self, path: Path) -> Owned | None:
        owned = self.owner(path.relative_to(self._folder).parts)
        return None if owned is None or path.is_symlink() or odd_name(owned.name) else owned

    @cached_property
    def _names(self) -> dict[Path, str]:
        """The name that each file is handed in under: the notebook's, where one file is meant as it.

        Which of several counts is not guessed: under other names they wait for a person.
        """
        claims: dict[tuple[str, str], list[Path]] = {}
        for path in sorted(each for kind in _KINDS for each in self._folder.rglob(f"*{kind}")):
            owned = None if self._hidden(path) else self._owned(path)
            if owned is not None:
                stem = stem_of(owned.name, self._stems)
                wanted = f"{stem}{_NOTEBOOK}" if stem else owned.name
                claims.setdefault((owned.student, wanted), []).append(path)
        names = {paths[0]: name for (_, name), paths in claims.items() if len(paths) == 1}
        taken = set(claims)  # nbgrader stops altogether where a student has a name twice
        for (student, wanted), paths in claims.items():
            for path in paths if len(paths) > 1 else ():
                name = f"one of {len(paths)} {wanted}"
                while (student, name) in taken:
                    name = f"another {name}"
                taken.add((student, name))
                names[path] = name
        return names

    @cached_property
    def _told(self) -> set[str]:
        return set()

    @cached_property
    def _assignment(self) -> str:
        return str(self.parent.coursedir.assignment_id)

    @cached_property
    def _folder(self) -> Path:
        """Where nbgrader put what it extracted."""
        app = self.parent
        return Path(
            app.coursedir.root,
            app.collect_directory_structure.format(
                downloaded=app.downloaded_directory,
                assignment_id=self._assignment,
                collect_step=app.extracted_directory,
            ),
        )

    @cached_property
    def _known(self) -> tuple[str, ...]:
        """What was released beside the notebooks: every student has it."""
        directory = self.parent.coursedir
        released = directory.format_path(directory.release_directory, ".", self._assignment)
        names = (path.name for path in Path(released).glob("*"))
        return tuple(name for name in names if not name.endswith(_NOTEBOOK))

    @cached_property
    def _stems(self) -> frozenset[str]:
        """The assignment's notebooks."""
        directory = self.parent.coursedir
        released = directory.format_path(directory.release_directory, ".", self._assignment)
        return frozenset(PurePath(path).stem for path in Path(released).glob(f"*{_NOTEBOOK}"))


class CanvasCollector(_Collector):
    """For the zip file that Canvas gives for *Download Submissions*; a student is Canvas's number."""

    def owner(self, parts: tuple[str, ...]) -> Owned | None:
        return canvas(parts, self._stems)


class MoodleCollector(_Collector):
    """For Moodle's *Download all submissions*; a student is the number of the grading worksheet."""

    def owner(self, parts: tuple[str, ...]) -> Owned | None:
        return moodle(parts, self._stems)
