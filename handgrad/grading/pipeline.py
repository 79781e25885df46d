"""One submission from its files to its report: read, run, judge. What comes of it is recorded elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import torch

from handgrad.assignment.assignment import Assignment
from handgrad.evidence import Evidence
from handgrad.gradients.lookup import Answers
from handgrad.grading.graded import Graded
from handgrad.grading.graders import Find, in_session
from handgrad.notebooks.display import Budget, clean_outputs
from handgrad.notebooks.intake import UNJUDGED, Submission
from handgrad.notebooks.matching import meant, slots_of
from handgrad.notebooks.notebookfile import UnreadableError, parse
from handgrad.notebooks.submission import Prepared, blank, prefix, read
from handgrad.pages.annotate import shown
from handgrad.plan import LOOK, PUBLIC, Plan, Run
from handgrad.sandbox.execute import Executor
from handgrad.sandbox.launch import Launched
from handgrad.verdict import IntegrityLine, Note, Report

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from handgrad.lecture.reading import Reading
    from handgrad.lecture.syllabus import Syllabus

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Notebook:
    """One notebook of a submission, put back on the release, and all that is odd about it.

    `unjudged` is why nobody may judge it although it is there; `doubts` are of single variables;
    `lecture` is whether it is the lecture's own.
    """

    restored: Prepared
    problems: tuple[Note, ...]
    unjudged: Note | None = None
    doubts: Mapping[str, Note] = field(default_factory=dict)
    lecture: bool = False


class Pipeline:
    """Grades submissions of one assignment, one after the other; what takes long was made before."""

    def __init__(self, assignment: Assignment, sandbox: Executor, find: Find) -> None:
        """`find` has the graders look at the answers (see `graders.in_session`)."""
        self.assignment = assignment
        self._sandbox = sandbox
        self._find = find
        self._lecture = Lecture(assignment)

    def wait(self) -> None:
        """Wait until the sandbox is ready. Raises UserError where it cannot be."""
        self._sandbox.wait()

    def grade(self, student: str, submission: Submission) -> Graded:
        """The same submission and assignment give the same report.

        Raises LostError where the sandbox is lost on the way, and UserError where it cannot be started.
        """
        notebooks = read_all(self.assignment, submission) | dict(self._of_the_lecture(submission))
        answers = answers_of(self.assignment, notebooks, self._sandbox)
        evidence = {stem: each.evidence for stem, each in answers.items()}
        findings = self._find(answers)
        report = Report(
            student,
            self.assignment.name,
            findings,
            {stem: one.problems for stem, one in notebooks.items() if one.problems},
            tuple(_integrity(notebooks, evidence)),
        )
        present = {stem: one for stem, one in notebooks.items() if stem not in submission.absent}
        budget = Budget()
        ran = {stem: _as_it_ran(one, evidence.get(stem), budget) for stem, one in present.items()}
        return Graded(
            report,
            self.assignment.digest,
            shown(ran, report, self.assignment.settings),
            {stem: one.restored.untouched for stem, one in present.items()},
        )

    def _of_the_lecture(self, submission: Submission) -> Iterator[tuple[str, Notebook]]:
        """By stem the notebooks that are the lecture's own, whose cells run in their own order.

        They are run once before, to see which of its values are the course's.
        """
        release = self.assignment.release
        for data in dict.fromkeys(submission.files.values()):
            reading = self._lecture.reading(data)
            if reading is None:
                continue
            # Here, as most submissions are the course's own notebooks.
            from handgrad.lecture.look import seen
            from handgrad.lecture.ownorder import in_order, to_look_at

            first = release[reading.syllabus.step_by_step.notebook]
            listed = to_look_at(reading, prefix(first))
            look = seen(listed, self._sandbox.run({LOOK: listed})[LOOK])
            for stem, own in in_order(reading, look, release).items():
                if submission.files.get(stem) == data:
                    problems = (*submission.problems.get(stem, ()), *own.prepared.problems)
                    yield stem, Notebook(own.prepared, problems, doubts=own.doubts, lecture=True)


class Lecture:
    """Tells whether a file is the notebook of the lecture that an assignment follows; made once for many."""

    def __init__(self, assignment: Assignment) -> None:
        self._syllabus = lecture_of(assignment)
        self._limits = assignment.settings.limits
        self._slots = {stem: slots_of(each) for stem, each in assignment.release.items()}
        self._known = {slot.grade_id for each in self._slots.values() for slot in each} - {""}

    def reading(self, data: bytes) -> "Reading | None":
        """A file's bytes as the lecture's own notebook; None where they are not that."""
        if self._syllabus is None:
            return None
        try:
            cells = parse(data, self._limits).cells
        except UnreadableError:
            return None  # it is said where the notebook is read as the course's
        if {cell.grade_id for cell in cells} & self._known or meant("", cells, self._slots):
            return None
        from handgrad.lecture.reading import Reading

        reading = Reading(cells, self._syllabus)
        return reading if reading.is_of_the_lecture else None


def lecture_in(data: bytes, assignment: Assignment) -> "Reading | None":
    """A file's bytes as the lecture's own notebook; None where they are not that."""
    return Lecture(assignment).reading(data)


def lecture_of(assignment: Assignment) -> "Syllabus | None":
    """What the assignment says of a lecture that it follows; None where it follows none."""
    path = assignment.graders / "lecture.toml"
    if not path.is_file():
        return None
    from handgrad.lecture.syllabus import Syllabus

    return Syllabus.read(path, assignment.release)


def read_all(assignment: Assignment, submission: Submission) -> dict[str, Notebook]:
    """Each notebook by stem; the released one itself where the student's cannot be read."""
    return {stem: _read(assignment, stem, submission) for stem in assignment.notebooks}


def _read(assignment: Assignment, stem: str, submission: Submission) -> Notebook:
    released, data = assignment.release[stem], submission.files.get(stem)
    problems = submission.problems.get(stem, ())
    restored = blank(released)
    if data is not None:
        try:
            restored = read(data, released, assignment.settings.limits)
            if stem in assignment.exercises and assignment.exercises[stem].functions:
                # Here, as it reads the whole notebook as Python.
                from handgrad.lecture.leftover import with_stand_ins

                restored = with_stand_ins(restored)
        except UnreadableError as error:
            problems = (*problems, Note("unreadable", {"why": error.why}))
    elif not problems:
        problems = (Note("missing"),)
    problems = (*problems, *restored.problems)
    unjudged = next((note for note in problems if note.code in UNJUDGED), None)
    return Notebook(restored, problems, unjudged)


def answers_of(
    assignment: Assignment, notebooks: Mapping[str, Notebook], sandbox: Executor
) -> dict[str, Answers]:
    """What the graders are shown: by notebook, its code cells, and the evidence that comes of them.

    Each notebook is run with numbers of its own, which its code alone decides. Raises as `Executor.run`.
    """
    cells = {stem: notebooks[stem].restored.cells for stem in assignment.exercises}
    draws = {stem: assignment.judges[stem].scenarios.draw_of(cells[stem]) for stem in cells}
    evidence = sandbox.run(cells, {stem: assignment.plan(stem, draws[stem]) for stem in cells})
    return {
        stem: Answers(
            evidence[stem],
            cells[stem],
            notebooks[stem].restored.untouched,
            notebooks[stem].unjudged,
            draws[stem],
            notebooks[stem].doubts,
        )
        for stem in cells
    }


# The lecture has autograd compute beside every answer. There only who reads a gradient is listed.
_BESIDE = frozenset({"Tensor.backward", "Tensor.requires_grad", "Tensor.requires_grad_"})


def _integrity(
    notebooks: Mapping[str, Notebook], evidence: Mapping[str, Evidence]
) -> Iterator[IntegrityLine]:
    for stem, seen in evidence.items():
        for attempt in seen.attempts:
            if notebooks[stem].lecture and attempt.what in _BESIDE:
                continue
            cell = notebooks[stem].restored.numbers.get(attempt.cell, attempt.cell)
            yield IntegrityLine(stem, cell, attempt.what, attempt.line)


def _as_it_ran(notebook: Notebook, evidence: Evidence | None, budget: Budget) -> "NotebookNode":
    """The notebook with the outputs of the run on its own parameters."""
    book = notebook.restored.notebook
    public = evidence.runs.get(PUBLIC) if evidence is not None else None
    for result in public.cells if public is not None else ():
        book.cells[result.index].outputs = clean_outputs(result.outputs, budget)
    return book


def sandbox_of(
    assignment: Assignment, *, sandboxed: bool = True, launched: Launched | None = None
) -> Executor:
    """The sandbox that runs this assignment's notebooks; `launched` is a worker started before."""
    # Every tensor here is small: with more threads torch spends its time handing them over.
    torch.set_num_threads(1)
    plans = dict(assignment.plans)
    prefixes = {stem: prefix(assignment.release[stem]) for stem in assignment.exercises}
    syllabus = lecture_of(assignment)
    if syllabus is not None:
        first = assignment.release[syllabus.step_by_step.notebook]
        plans[LOOK], prefixes[LOOK] = Plan(LOOK, (Run(PUBLIC, display=True),), {}), prefix(first)
    return Executor(
        assignment.files,
        plans,
        prefixes,
        assignment.settings.limits,
        sandboxed=sandboxed,
        launched=launched,
    )


def with_pipeline(
    assignment: Assignment,
    use: Callable[[Pipeline], T],
    *,
    sandboxed: bool = True,
    launched: Launched | None = None,
) -> T:
    """What `use` gives when it is called with a pipeline, in the run loop of a pytest session.

    The graders are collected while the sandbox gets ready. Raises UserError where one of them cannot be.
    """
    with sandbox_of(assignment, sandboxed=sandboxed, launched=launched) as sandbox:
        return in_session(assignment, lambda find: use(Pipeline(assignment, sandbox, find)))
