"""The pure function of the whole project: one submission's bytes in, report and notebooks out."""

import atexit
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from handgrad.notebooks.intake import Submission, settled
from handgrad.settings import Settings
from handgrad.verdict import Finding, Note, Report, Verdict

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from handgrad.assignment.assignment import Assignment
    from handgrad.grading.mark import Marker


@dataclass(frozen=True, slots=True)
class Source:
    """Where an assignment is read from."""

    root: Path
    name: str
    sandboxed: bool = True


@dataclass(frozen=True, slots=True)
class Described:
    """What the one who hands out and keeps the marks must know of an assignment.

    That process need not import torch, nor the graders. `digest` changes with everything that has a
    say in the marks; `files` are the names of what students get beside the notebooks. `points` are
    those of every grade cell, those that people mark too, by notebook and grade id; `answers` the
    grade ids of what students write, by notebook.
    """

    name: str
    digest: str
    release: "Mapping[str, NotebookNode]"
    files: tuple[str, ...]
    settings: Settings
    points: Mapping[tuple[str, str], float]
    answers: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One marked submission.

    `notebooks` are the texts of the notebook files by stem, `untouched` the grade ids of the answers
    that are as they were released. `digest` is that of the assignment it was marked with. `crashed`
    says why nothing could be marked at all.
    """

    report: Report
    digest: str
    notebooks: Mapping[str, str] = field(default_factory=dict)
    untouched: Mapping[str, frozenset[str]] = field(default_factory=dict)
    crashed: str = ""


# One process marks with one warm Marker; which one it is, is all that it remembers.
_warm: "dict[Source, Marker]" = {}


def warm(source: Source) -> None:
    """Make ready to mark from `source`; the next `mark` of this process is then quick.

    Raises UserError where the assignment cannot be graded.
    """
    if source in _warm:
        return
    from handgrad.assignment.assignment import Assignment
    from handgrad.grading.mark import Marker

    cool()
    marker = Marker(Assignment.load(source.root, source.name), sandboxed=source.sandboxed)
    marker.__enter__()
    _warm[source] = marker
    atexit.register(cool)
    try:
        marker.wait()
    except BaseException:
        cool()
        raise


def cool() -> None:
    """Let go of the warm Marker and its sandbox."""
    while _warm:
        _, marker = _warm.popitem()
        marker.__exit__(None, None, None)


def describe(source: Source) -> Described:
    """What there is to know of the assignment, as this process marks with it."""
    warm(source)
    return described(_warm[source].assignment)


def described(assignment: "Assignment") -> Described:
    """What there is to know of an assignment that this process has loaded."""
    return Described(
        assignment.name,
        assignment.digest,
        assignment.release,
        tuple(assignment.files),
        assignment.settings,
        {
            (stem, about.grade_id): float(about.points)
            for stem, notebook in assignment.release.items()
            for about in _nbgrader(notebook)
            if about.grade
        },
        {
            stem: tuple(about.grade_id for about in _nbgrader(notebook) if about.solution)
            for stem, notebook in assignment.release.items()
        },
    )


def _nbgrader(notebook: "NotebookNode") -> "Iterator[NotebookNode]":
    """nbgrader's metadata of the cells that have some."""
    return (cell.metadata.nbgrader for cell in notebook.cells if "nbgrader" in cell.metadata)


def mark(source: Source, student: str, taken: Submission) -> Outcome:
    """Mark one submission; the same bytes and assignment give the same outcome."""
    from handgrad.pages.annotate import annotated, serialised

    warm(source)
    marker = _warm[source]
    assignment = marker.assignment
    marked = marker.mark(student, taken.files)
    report = settled(marked.report, taken)
    shown = {
        stem: annotated(notebook, stem, report, assignment.settings)
        for stem, notebook in _with_ungraded(assignment, marked.notebooks, taken).items()
        if stem not in taken.absent
    }
    return Outcome(
        report,
        assignment.digest,
        {stem: serialised(notebook) for stem, notebook in shown.items()},
        {stem: _untouched(notebook, assignment.release[stem]) for stem, notebook in shown.items()},
    )


def _with_ungraded(
    assignment: "Assignment", notebooks: "Mapping[str, NotebookNode]", taken: Submission
) -> "dict[str, NotebookNode]":
    """`notebooks`, and those of the release that no grader looks at, for people to mark."""
    from handgrad.errors import UserError
    from handgrad.notebooks.submission import blank, read

    shown = dict(notebooks)
    for stem, released in assignment.release.items():
        if stem not in shown:
            try:
                data = taken.files.get(stem, b"")
                shown[stem] = read(data, released, assignment.settings.limits).notebook
            except UserError:
                shown[stem] = blank(released).notebook
    return shown


def _untouched(notebook: "NotebookNode", released: "NotebookNode") -> frozenset[str]:
    texts = {
        cell.metadata.nbgrader.grade_id: cell.source
        for cell in released.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }
    return frozenset(
        cell.metadata.nbgrader.grade_id
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
        and cell.source == texts[cell.metadata.nbgrader.grade_id]
    )


def given_up(described: Described, student: str, taken: Submission, why: str) -> Outcome:
    """The outcome of a submission that broke whoever marked it: no mark, no zero, a person told.

    Its notebooks are shown as released: what the student's do to a program is not known.
    """
    from handgrad.notebooks.submission import blank
    from handgrad.pages.annotate import annotated, serialised

    note = Note("trouble", {"why": why})
    findings = tuple(
        Finding(
            notebook=stem,
            name=grade_id.removeprefix("test_"),
            grade_id=grade_id,
            verdict=Verdict.COULD_NOT_TELL,
            points=None,
            max_points=most,
            diagnoses=(note,),
        )
        for (stem, grade_id), most in described.points.items()
        if grade_id.startswith("test_")
    )
    report = settled(
        Report(student, described.name, findings, dict.fromkeys(described.release, (note,))), taken
    )
    notebooks = {
        stem: annotated(blank(released).notebook, stem, report, described.settings)
        for stem, released in described.release.items()
        if stem not in taken.absent
    }
    texts = {stem: serialised(notebook) for stem, notebook in notebooks.items()}
    return Outcome(report, described.digest, texts, crashed=why)
