"""What is remembered of every mark: the report as JSON, and what it was made from."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from handgrad import atomic
from handgrad.verdict import ErrorPicture, Report

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Record:
    """A report, and `due`: the digest of all it was made from, "" where it must be made again.

    `sizes` are those of the notebooks that were written with it, in bytes by stem.
    """

    report: Report
    due: str
    sizes: Mapping[str, int] = field(default_factory=dict)

    def lies_in(self, folder: Path, stems: Iterable[str]) -> bool:
        """Whether these graded notebooks are there; by size, as a power cut may leave an empty file."""
        return all(_size(folder / f"{stem}.ipynb") == self.sizes.get(stem) for stem in stems)


class Records:
    """The records of one assignment, a file a student, beside the reports."""

    def __init__(self, root: Path, assignment: str) -> None:
        self.folder = root / "reports" / ".results" / assignment

    def read(self, student: str) -> Record | None:
        """The student's record; None where there is none, or where it cannot be read any more."""
        try:
            data = self._path(student).read_bytes()
            table = json.loads(data.decode("utf-8"))
            if table["version"] != _VERSION:
                return None
            return msgspec.convert(table, Record)
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None  # cut off by a full disk, or written by another version: it is made again
        except msgspec.ValidationError:
            return None

    def write(self, record: Record, traceback: str = "") -> None:
        """Keep a record; whoever reads meanwhile finds the old one or the new one, whole.

        `traceback` is that of a fault of ours, for a developer, in a file of its own beside it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        # JSON as Python writes it: the error of a gradient may be infinite, which msgspec's own has not.
        table = {"version": _VERSION, **msgspec.to_builtins(_short(record))}
        text = json.dumps(table, ensure_ascii=False)
        path = self._path(record.report.student)
        atomic.write(path, text)
        told = path.with_suffix(".traceback.txt")
        if traceback:
            atomic.write(told, traceback)
        else:
            told.unlink(missing_ok=True)

    def all(self) -> Iterator[Record]:
        """Every record that can be read, by student."""
        if self.folder.is_dir():
            for path in sorted(self.folder.glob("*.json")):
                record = self.read(path.name.removesuffix(".json"))
                if record is not None:
                    yield record

    def _path(self, student: str) -> Path:
        return self.folder / f"{student}.json"


def _short(record: Record) -> Record:
    """The record with its pictures to four digits, which is more than they show."""
    findings = tuple(
        finding if finding.picture is None else replace(finding, picture=_rounded(finding.picture))
        for finding in record.report.findings
    )
    return replace(record, report=replace(record.report, findings=findings))


def _rounded(picture: ErrorPicture) -> ErrorPicture:
    values = tuple(tuple(float(f"{v:.4g}") for v in row) for row in picture.values)
    return replace(picture, values=values)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
