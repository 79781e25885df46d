"""The course checks itself: blank earns nothing, the solution everything, each mistake its own name."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from handgrad.assignment.assignment import Assignment
from handgrad.assignment.beside import load_module
from handgrad.assignment.refusals import flaws, warnings
from handgrad.assignment.source import Source
from handgrad.errors import UserError
from handgrad.grading import process
from handgrad.grading.workers import Workers, cores
from handgrad.notebooks.intake import Submission
from handgrad.verdict import Finding, Note, Report, Verdict

_ANY = "_any"


@dataclass(frozen=True, slots=True)
class Slip:
    """A wrong answer for one solution cell, and the diagnosis it must get.

    `named` is the code of the note ("missing_branch"); `parts` must all be among the note's, where the
    `name` of a mistake of the assignment's own may be in any of its languages. A code that ends in `_any`
    also allows that code as one possibility among several. `answer` is the variable that comes out wrong,
    where the cell is not named after it.
    """

    notebook: str
    cell: str
    code: str
    named: str
    parts: Mapping[str, str] = field(default_factory=dict)
    answer: str = ""

    @property
    def variable(self) -> str:
        return self.answer or self.cell

    @property
    def label(self) -> str:
        return f"{self.variable} {self.named.removesuffix(_ANY)} {' '.join(self.parts.values())}".strip()


@dataclass(frozen=True, slots=True)
class Right:
    """An unusual but right way to answer: code by solution cell."""

    notebook: str
    name: str
    cells: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One thing tried: what it was, what was expected, and what is wrong with it ("" if nothing).

    `made` and `told` are the mistake that was made and the names it was given, for the matrix.
    `error` is the slip's own, or the largest of a right form.
    """

    label: str
    complaint: str
    made: str = ""
    told: tuple[str, ...] = ()
    error: float | None = None


def selfcheck(root: Path, name: str) -> Iterator[Outcome]:
    """Try everything that assignment `name` of the course at `root` says about itself.

    Raises UserError where the assignment or its instructor notebooks are missing.
    """
    assignment = Assignment.load(root, name)
    sources = {
        stem: _source(root / "source" / name / f"{stem}.ipynb") for stem in assignment.exercises
    }
    released = {
        stem: (root / "release" / name / f"{stem}.ipynb").read_bytes()
        for stem in assignment.exercises
    }
    for stem, exercise in assignment.exercises.items():
        stale = _stale(sources[stem], assignment.release[stem])
        for flaw in (*flaws(exercise, assignment.files), *([stale] if stale else [])):
            yield Outcome(f"{stem} as it is written", flaw)
        for warning in warnings(exercise):
            yield Outcome(f"{stem}, which may hide mistakes: {warning}", "")
    wrong: Sequence[Slip] = ()
    right: Sequence[Right] = ()
    if (assignment.graders / "variations.py").is_file():
        table = load_module(assignment.graders, "variations")
        wrong, right = table.WRONG, table.RIGHT
    blank = _graded(Source(root, name), [released, _files(sources)])
    yield _blank(next(blank))
    yield _solved("the instructor's solution", next(blank))
    for stem, exercise in assignment.exercises.items():
        forms = [one for one in right if one.notebook == stem]
        slips = [_as_called(one, assignment) for one in wrong if one.notebook == stem]
        changes = [*(one.cells for one in forms), *({one.cell: one.code} for one in slips)]
        files = [{stem: edited(sources[stem], cells)} for cells in changes]
        reports = _graded(Source(root, name, only=(stem,)), files)
        for form in forms:
            yield _solved(f"{stem} {form.name}", next(reports))
        for slip in slips:
            yield _slipped(slip, next(reports), {f"d{name}" for name in exercise.gradients})


def _stale(source: Mapping[str, Any], release: Mapping[str, Any]) -> str:
    """Which read-only code cells of the source are others in the release; "" where none is."""

    def given(notebook: Mapping[str, Any]) -> dict[str, str]:
        cells = [(c, c["metadata"].get("nbgrader", {})) for c in notebook["cells"]]
        return {
            # Where students fetch files from is filled in at the release.
            about["grade_id"]: re.sub("^COURSE_URL = .*", "", "".join(c["source"]), flags=re.M)
            for c, about in cells
            if c["cell_type"] == "code" and about.get("locked") and not about.get("solution")
        }

    ours, theirs = given(source), given(release)
    changed = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    told = ", ".join(changed)
    return (
        f"{told}: another text in the release; run `nbgrader generate_assignment`" if told else ""
    )


def _graded(source: Source, submissions: Sequence[Mapping[str, bytes]]) -> Iterator[Report]:
    """Their reports, in their order, from as many processes as there are cores."""
    if not submissions:
        return
    with Workers(min(cores(), len(submissions)), process.host, (source,)) as workers:
        futures = [
            workers.submit(process.grade, "selfcheck", Submission(files, {}))
            for files in submissions
        ]
        for future in futures:
            yield future.result().report


def edited(notebook: Mapping[str, object], cells: Mapping[str, str]) -> bytes:
    """The notebook file with other code in some of its solution cells, named by grade id.

    Raises UserError for a cell that the notebook does not have.
    """
    copy = json.loads(json.dumps(notebook))
    left = dict(cells)
    for cell in copy["cells"]:
        about = cell["metadata"].get("nbgrader", {})
        if about.get("solution") and about.get("grade_id") in left:
            cell["source"] = left.pop(about["grade_id"])
    if left:
        raise UserError(
            ", ".join(left), "no solution cell has this id", "Correct it in variations.py"
        )
    return json.dumps(copy).encode()


def _source(path: Path) -> dict[str, object]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(str(path), "there is no such instructor notebook", "Restore it") from None


def _files(sources: Mapping[str, Mapping[str, object]]) -> dict[str, bytes]:
    return {stem: edited(notebook, {}) for stem, notebook in sources.items()}


def _blank(report: Report) -> Outcome:
    attempted = [f for f in report.findings if f.verdict is not Verdict.NOT_ATTEMPTED]
    complaint = _names("taken for an attempt", attempted)
    if report.points != 0:
        complaint = f"{complaint} it earns {report.points}".strip()
    return Outcome("the untouched release", complaint)


def _solved(label: str, report: Report) -> Outcome:
    bad = [f for f in report.findings if f.verdict is not Verdict.RIGHT]
    errors = [f.error for f in report.findings if f.error is not None]
    return Outcome(label, _names("not right", bad), error=max(errors, default=None))


def _slipped(slip: Slip, report: Report, gradients: Set[str]) -> Outcome:
    own = [f for f in report.findings if f.name == slip.variable]
    others = [
        f
        for f in report.findings
        if f.name in gradients - {slip.variable}
        and f.verdict not in (Verdict.RIGHT, Verdict.RIGHT_STEP)
    ]
    complaint = _names("lose marks for it", others)
    if not own or own[0].verdict is not Verdict.WRONG:
        complaint = f"{complaint} it was not found".strip()
        return Outcome(slip.label, complaint, slip.named)
    notes = own[0].diagnoses
    told = tuple(note.code for note in notes)
    if not _named(slip, notes):
        said = "; ".join(f"{n.code} {dict(n.parts)}" for n in notes)
        complaint = f"{complaint} it was called {said}".strip()
    return Outcome(slip.label, complaint, slip.named.removesuffix(_ANY), told, own[0].error)


def _as_called(slip: Slip, assignment: Assignment) -> Slip:
    """The slip with the name of the assignment's own mistake in the language of the course."""
    for mistake in assignment.exercises[slip.notebook].mistakes:
        if slip.parts.get("name") in mistake.name.values():
            name = mistake.name[assignment.settings.language]
            return replace(slip, parts={**slip.parts, "name": name})
    return slip


def _named(slip: Slip, notes: Sequence[Note]) -> bool:
    code = slip.named.removesuffix(_ANY)
    fitting = [n for n in notes if n.code == code and slip.parts.items() <= n.parts.items()]
    return bool(fitting) and (len(notes) == 1 or slip.named.endswith(_ANY))


def _names(complaint: str, findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    told = (f"{f.notebook} {f.name} ({f.verdict}{_why(f)})" for f in findings)
    return f"{', '.join(told)}: {complaint}"


def _why(finding: Finding) -> str:
    if finding.verdict is not Verdict.COULD_NOT_TELL:
        return ""
    return ": " + "; ".join(note.parts.get("why", note.code) for note in finding.diagnoses)


def matrix(outcomes: Sequence[Outcome], assignment: str) -> str:
    """Mistakes made against mistakes named, and how far apart right and wrong lie, as Markdown."""
    slips = [o for o in outcomes if o.made]
    names = sorted({o.made for o in slips} | {name for o in slips for name in o.told})
    columns = [name for name in names if any(name in o.told for o in slips)]
    lines = [
        f"# What was made, and what it was called: `{assignment}`",
        "",
        f"Written by `handgrad selfcheck {assignment} --matrix`; not by hand.",
        "A row is a mistake that was made, a column the name it was given; where several names fit and "
        "are offered, each counts.",
        "",
        "| made | times | " + " | ".join(columns) + " |",
        "| --- | --- | " + " | ".join("---" for _ in columns) + " |",
    ]
    for made in sorted({o.made for o in slips}):
        row = [o for o in slips if o.made == made]
        counts = [sum(name in o.told for o in row) for name in columns]
        lines.append(f"| {made} | {len(row)} | " + " | ".join(str(c or "") for c in counts) + " |")
    right = [o.error for o in outcomes if not o.made and o.error is not None]
    wrong = [o.error for o in slips if o.error is not None and o.told != ("unspread",)]
    certain = [o for o in slips if len(o.told) == 1]
    lines += [
        "",
        f"- wrong variations: {len(slips)}; found at their own step and named as themselves: "
        f"{sum(not o.complaint for o in slips)}; told as certain: {len(certain)}",
        f"- right variations: {sum(not o.made for o in outcomes)}; all right: "
        f"{sum(not o.made and not o.complaint for o in outcomes)}",
        f"- largest error of a right answer: {max(right):.2e}",
        f"- smallest error of a wrong one (of the right shape): {min(wrong):.2e}",
    ]
    return "\n".join(lines) + "\n"
