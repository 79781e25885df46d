"""Where marks are kept: gradebook rows, notebooks in `autograded/`, and the record of what they rest on."""

import errno
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from handgrad.batch.marking import Described, Outcome
from handgrad.errors import UserError
from handgrad.notebooks.intake import SECRET, TIMESTAMP, Submission, unjudged
from handgrad.store.course import Course
from handgrad.store.gradebook import Gradebook
from handgrad.store.records import Record, Records
from handgrad.store.rows import Sheet
from handgrad.verdict import Report

_NEW, _OLD = ".new", ".old"
_NO_RESPONSE = "No response."  # nbgrader's word for an answer that was left as it was released


class Ledger:
    """Keeps the marks of one assignment; only one process may, at a time.

    The record is written last. Whatever cuts `keep` short, at any moment, leaves the submission without
    a record that fits, and so to be marked again; all it wrote is then written once more, the same.
    """

    def __init__(self, course: Course, gradebook: Gradebook, described: Described) -> None:
        self.records = Records(course.root, described.name)
        self._course = course
        self._gradebook = gradebook
        self._described = described
        self._source_files = course.source_files(described.name)
        self._scores = gradebook.scores()
        for ending in (_NEW, _OLD):  # of a run that was killed just then
            for left_over in course.autograded_everywhere(f".{described.name}{ending}"):
                shutil.rmtree(left_over)

    def standing(self, student: str, taken: Submission) -> Report | None:
        """The report that still holds for what was handed in; None where it is to be marked."""
        record = self.records.read(student)
        if record is None or record.due != due_of(self._described, taken):
            return None
        scores = self._scores.get(student)
        if scores is None or not all(
            scores.get((finding.notebook, finding.grade_id)) == finding.points
            for finding in record.report.findings
        ):
            return None  # the gradebook was changed, or an older one put in its place
        folder = self._course.autograded(student, self._described.name)
        present = set(self._described.release) - taken.absent
        return record.report if record.lies_in(folder, present) else None

    def keep(self, student: str, taken: Submission, outcome: Outcome) -> None:
        """Write rows, notebooks and record of one submission, in this order.

        Raises UserError where one of them cannot be written.
        """
        folder = self._course.autograded(student, self._described.name)
        try:
            prepared = self._prepared(folder, taken, outcome)
            self._gradebook.save(
                student,
                taken.timestamp,
                sheets_of(self._described, taken, outcome),
                self._course.penalties,
            )
            _exchanged(prepared, folder)
            due = "" if outcome.crashed else due_of(self._described, taken)
            sizes = {stem: len(text.encode()) for stem, text in outcome.notebooks.items()}
            self.records.write(Record(outcome.report, due, sizes))
        except OSError as error:
            raise _in_words(error, folder) from None

    def enter(self, student: str, taken: Submission) -> None:
        """Enter a submission in the gradebook that nothing can be marked of, as nbgrader does."""
        self._gradebook.save(student, taken.timestamp, {})

    def _prepared(self, folder: Path, taken: Submission, outcome: Outcome) -> Path:
        """All files of the submission in a new folder beside the one they are for."""
        new = folder.with_name(f".{folder.name}{_NEW}")
        if new.exists():
            shutil.rmtree(new)
        new.mkdir(parents=True)
        files = dict(self._source_files)
        if taken.timestamp:
            files[TIMESTAMP] = taken.timestamp.encode()
        if taken.secret:
            files[SECRET] = taken.secret.encode()
        for stem, text in outcome.notebooks.items():
            files[f"{stem}.ipynb"] = text.encode()
        for name, data in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(self._course.permissions)
        return new


def due_of(described: Described, taken: Submission) -> str:
    """A name for all that the marks of a submission rest on."""
    return hashlib.sha256(f"{described.digest} {taken.digest}".encode()).hexdigest()


def _exchanged(new: Path, folder: Path) -> None:
    """Put `new` in the place of `folder`."""
    old = folder.with_name(f".{folder.name}{_OLD}")
    if old.exists():
        shutil.rmtree(old)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    if old.exists():
        shutil.rmtree(old)


def nothing_there(described: Described, taken: Submission) -> UserError | None:
    """What to say of a folder that holds none of the assignment's notebooks; None where it does."""
    if set(described.release) - taken.absent:
        return None
    renamed = [
        f"{note.parts['found']} is {note.parts['expected']}"
        for notes in taken.problems.values()
        for note in notes
        if note.code == "renamed"
    ]
    if renamed:
        fact, cure = f"its notebooks have other names ({', '.join(renamed)})", "Rename them"
    else:
        names = ", ".join(f"{stem}.ipynb" for stem in described.release)
        fact, cure = "no notebook of the assignment is there", f"It should hold {names}"
    return UserError(described.name, fact, cure)


def sheets_of(described: Described, taken: Submission, outcome: Outcome) -> dict[str, Sheet]:
    """What the gradebook is to hold of a marked submission, by notebook.

    As nbgrader has it: a notebook that is missing scores 0, a written answer left as it was released 0,
    any other waits for a person. What nobody could judge waits for a person too.
    """
    findings = {(f.notebook, f.grade_id): f.points for f in outcome.report.findings}
    waiting = unjudged(outcome.report)
    sheets = {}
    for stem in described.release:
        ids = [grade_id for (of, grade_id) in described.points if of == stem]
        answers = described.answers[stem]
        untouched = outcome.untouched.get(stem, frozenset())
        if outcome.crashed or stem in waiting:
            scores: dict[str, float | None] = dict.fromkeys(ids)
            comments: dict[str, str | None] = dict.fromkeys(answers)
        elif stem in taken.absent:
            scores, comments = dict.fromkeys(ids, 0.0), {}
        else:
            written = {grade_id: 0.0 if grade_id in untouched else None for grade_id in ids}
            scores = {each: findings.get((stem, each), written[each]) for each in ids}
            comments = {each: _NO_RESPONSE if each in untouched else None for each in answers}
        sheets[stem] = Sheet(scores, comments, absent=stem in taken.absent)
    return sheets


_REASONS: Mapping[int, tuple[str, str]] = {
    errno.ENOSPC: ("there is no space left on its disk", "Make some space"),
    errno.EDQUOT: ("your quota of the disk is used up", "Make some space"),
    errno.EACCES: ("it cannot be written to", "Make the folder writable for you"),
    errno.EPERM: ("it cannot be written to", "Make the folder writable for you"),
    errno.EROFS: ("it is on a disk that is read-only", "Mount it for writing"),
}


def _in_words(error: OSError, folder: Path) -> UserError:
    fact, cure = _REASONS.get(
        error.errno or 0, (os.strerror(error.errno or 0).lower(), "Look after the disk")
    )
    where = str(error.filename or folder)
    return UserError(where, fact, f"{cure} and run the same command again; what is done is kept")
