"""Where marks are kept: gradebook rows, notebooks in `autograded/`, and the record of what they rest on."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from handgrad import atomic
from handgrad.assignment.source import Described
from handgrad.grading.graded import Graded
from handgrad.notebooks.intake import SECRET, TIMESTAMP, Submission, unjudged
from handgrad.store.course import Course
from handgrad.store.gradebook import Gradebook
from handgrad.store.records import Record, Records
from handgrad.store.rows import Sheet
from handgrad.verdict import Report

_NO_RESPONSE = "No response."  # nbgrader's word for an answer that was left as it was released


class Ledger:
    """Keeps the marks of one assignment; only one process may, at a time.

    The record is written last. Whatever cuts `record` short, at any moment, leaves the submission without
    a record that fits, and so to be marked again; all it wrote is then written once more, the same.
    """

    def __init__(self, course: Course, gradebook: Gradebook, described: Described) -> None:
        self.records = Records(course.root, described.name)
        self._course = course
        self._gradebook = gradebook
        self._described = described
        self._source_files = course.source_files(described.name)
        self._scores = gradebook.scores()
        for left_over in course.autograded_everywhere(
            atomic.beside(Path(described.name), "*").name
        ):
            shutil.rmtree(left_over)  # of a run that was killed just then

    def standing(self, student: str, submission: Submission) -> Report | None:
        """The report that still holds for what was handed in; None where it is to be marked."""
        record = self.records.read(student)
        if record is None or record.due != due_of(self._described, submission):
            return None
        scores = self._scores.get(student)
        if scores is None or not all(
            scores.get((finding.notebook, finding.grade_id)) == finding.points
            for finding in record.report.findings
        ):
            return None  # the gradebook was changed, or an older one put in its place
        folder = self._course.autograded(student, self._described.name)
        present = set(self._described.release) - submission.absent
        return record.report if record.lies_in(folder, present) else None

    def record(self, student: str, submission: Submission, graded: Graded) -> None:
        """Write rows, notebooks and record of one submission, in this order.

        The traceback of a fault of ours is kept beside the record.

        Raises UserError where one of them cannot be written.
        """
        folder = self._course.autograded(student, self._described.name)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with atomic.replacing(folder) as new:
                self._prepare(new, submission, graded)
                self._gradebook.save(
                    student,
                    submission.timestamp,
                    sheets_of(self._described, submission, graded),
                    self._course.penalties,
                )
            due = "" if graded.crashed else due_of(self._described, submission)
            sizes = {stem: len(text.encode()) for stem, text in graded.notebooks.items()}
            self.records.write(Record(graded.report, due, sizes), graded.traceback)
        except OSError as error:
            raise atomic.refused(error, folder) from None

    def enter(self, submissions: Mapping[str, Submission]) -> None:
        """Enter submissions in the gradebook that nothing can be marked of, as nbgrader does."""
        if submissions:
            self._gradebook.enter({each: one.timestamp for each, one in submissions.items()})

    def _prepare(self, new: Path, submission: Submission, graded: Graded) -> None:
        """Write all files of the submission into a new folder."""
        files = dict(self._source_files)
        if submission.timestamp:
            files[TIMESTAMP] = submission.timestamp.encode()
        if submission.secret:
            files[SECRET] = submission.secret.encode()
        for stem, text in graded.notebooks.items():
            files[f"{stem}.ipynb"] = text.encode()
        for name, data in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(self._course.permissions)


def due_of(described: Described, submission: Submission) -> str:
    """A name for all that the marks of a submission rest on."""
    return hashlib.sha256(f"{described.digest} {submission.digest}".encode()).hexdigest()


def sheets_of(described: Described, submission: Submission, graded: Graded) -> dict[str, Sheet]:
    """What the gradebook is to hold of a marked submission, by notebook.

    As nbgrader has it: a notebook that is missing scores 0, a written answer left as it was released 0,
    any other waits for a person. What nobody could judge waits for a person too.
    """
    findings = {(f.notebook, f.grade_id): f.points for f in graded.report.findings}
    waiting = unjudged(graded.report)
    sheets = {}
    for stem in described.release:
        ids = [grade_id for (of, grade_id) in described.points if of == stem]
        answers = described.answers[stem]
        untouched = graded.untouched.get(stem, frozenset())
        if graded.crashed or stem in waiting:
            scores: dict[str, float | None] = dict.fromkeys(ids)
            comments: dict[str, str | None] = dict.fromkeys(answers)
        elif stem in submission.absent:
            scores, comments = dict.fromkeys(ids, 0.0), {}
        else:
            written = {grade_id: 0.0 if grade_id in untouched else None for grade_id in ids}
            scores = {each: findings.get((stem, each), written[each]) for each in ids}
            comments = {each: _NO_RESPONSE if each in untouched else None for each in answers}
        sheets[stem] = Sheet(scores, comments, absent=stem in submission.absent)
    return sheets
