"""One submission from its bytes to its report: read, run in the sandbox, graded."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import torch

from handgrad.assignment.assignment import Assignment
from handgrad.errors import UserError
from handgrad.evidence import Evidence
from handgrad.gradients.judge import PUBLIC
from handgrad.grading.grade import Graders, Sheet, judge_sheets
from handgrad.grading.pytest_plugin import Judgements
from handgrad.notebooks.display import clean_outputs
from handgrad.notebooks.intake import take
from handgrad.notebooks.submission import Prepared, blank, prefix, read
from handgrad.sandbox.execute import Executor
from handgrad.sandbox.launch import Launched
from handgrad.verdict import Note, Report

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True, slots=True)
class Marked:
    """A report, and every released notebook as it ran, by stem, with outputs that are safe to show."""

    report: Report
    notebooks: Mapping[str, "NotebookNode"]


class Marker:
    """Marks submissions of one assignment; start-up is paid once.

    Entering begins it, `wait` waits for its end, and so does the first `mark`: whoever has something
    else to do meanwhile may.
    """

    def __init__(
        self, assignment: Assignment, *, sandboxed: bool = True, launched: Launched | None = None
    ) -> None:
        """`launched` is a worker that was started before (see `launch`)."""
        # Every tensor here is small: with more threads torch spends its time handing them over.
        torch.set_num_threads(1)
        self.assignment = assignment
        self._executor = executor(assignment, sandboxed=sandboxed, launched=launched)
        self._graders = Graders(assignment)

    def __enter__(self) -> "Marker":
        self._executor.__enter__()
        self._graders.__enter__()  # they are collected while the sandbox gets ready
        return self

    def wait(self) -> None:
        """Wait until the sandbox is ready. Raises UserError where it cannot be."""
        self._executor.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._graders.__exit__(kind, error, traceback)
        self._executor.__exit__(kind, error, traceback)

    def mark(self, student: str, files: Mapping[str, bytes]) -> Marked:
        """Mark the notebooks of one submission.

        `files` are the notebooks' bytes by stem; one that is not there counts as not attempted, one
        that cannot be read gets no mark at all. The same bytes and assignment give the same report.
        """
        reader = _Reader(self.assignment, files)
        evidence = self._executor.run({stem: one.cells for stem, one in reader.prepared.items()})
        report = self._graders.grade(
            student, reader.sheets(evidence), digest_of(self.assignment, files)
        )
        return Marked(
            report,
            {stem: _shown(one, evidence.get(stem)) for stem, one in reader.prepared.items()},
        )


class _Reader:
    """The notebooks of one submission, each put back on the release."""

    def __init__(self, assignment: Assignment, files: Mapping[str, bytes]) -> None:
        self.prepared: dict[str, Prepared] = {}
        self._problems: dict[str, tuple[Note, ...]] = dict.fromkeys(assignment.exercises, ())
        self._unreadable: dict[str, str] = {}
        for stem in assignment.exercises:
            self.prepared[stem] = self._read(assignment, stem, files.get(stem))

    def _read(self, assignment: Assignment, stem: str, data: bytes | None) -> Prepared:
        released = assignment.release[stem]
        if data is None:
            self._problems[stem] = (Note("missing"),)
            return blank(released)
        try:
            return read(data, released, assignment.settings.limits, f"{stem}.ipynb")
        except UserError as error:
            self._unreadable[stem] = error.fact
            return blank(released)

    def sheets(self, evidence: Mapping[str, Evidence]) -> dict[str, Sheet]:
        """What the graders get of each notebook."""
        found = {}
        for stem, one in self.prepared.items():
            notes = (*self._problems[stem], *one.problems)
            seen = evidence.get(stem, Evidence(stem, trouble="it was not run"))
            if stem in self._unreadable:
                notes = (*notes, Note("unreadable", {"why": self._unreadable[stem]}))
                seen = Evidence(stem, trouble=self._unreadable[stem])
            found[stem] = Sheet(seen, one.cells, one.untouched, notes)
        return found


def executor(
    assignment: Assignment, *, sandboxed: bool = True, launched: Launched | None = None
) -> Executor:
    """The sandbox that runs this assignment's notebooks."""
    return Executor(
        assignment.files,
        assignment.plans,
        {stem: prefix(assignment.release[stem]) for stem in assignment.exercises},
        assignment.settings.limits,
        sandboxed=sandboxed,
        launched=launched,
    )


def judge_folder(assignment: Assignment, folder: Path) -> Judgements:
    """Judgements on a submission's folder, for a pytest session that a person started."""
    torch.set_num_threads(1)
    limits = assignment.settings.limits
    reader = _Reader(assignment, take(folder, assignment.release, assignment.files, limits).files)
    with executor(assignment) as running:
        evidence = running.run({stem: one.cells for stem, one in reader.prepared.items()})
    return judge_sheets(assignment, reader.sheets(evidence))


def digest_of(assignment: Assignment, files: Mapping[str, bytes]) -> str:
    """Names the submission, the graders, the release, the settings and the engine of a mark."""
    total = hashlib.sha256(assignment.digest.encode())
    for stem in sorted(files):
        total.update(stem.encode() + b"\0" + hashlib.sha256(files[stem]).digest())
    return total.hexdigest()


def _shown(prepared: Prepared, evidence: Evidence | None) -> "NotebookNode":
    """The notebook with the outputs of the run on its own parameters."""
    notebook = prepared.notebook
    public = evidence.runs.get(PUBLIC) if evidence is not None else None
    for result in public.cells if public is not None else ():
        notebook.cells[result.index].outputs = clean_outputs(result.outputs)
    return notebook
