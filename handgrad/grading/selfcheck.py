"""The course checks itself: blank earns nothing, the solution everything, each mistake its own name."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from handgrad.assignment.assignment import Assignment
from handgrad.assignment.beside import load_module
from handgrad.assignment.givencells import Families, GivenCells
from handgrad.assignment.mutants import Mutant, mutants
from handgrad.assignment.source import Source
from handgrad.errors import UserError
from handgrad.grading import process
from handgrad.grading.outcomes import Outcome, blank, mutated_as, slipped, solved
from handgrad.grading.variations import Right, Slip
from handgrad.grading.workers import Workers, cores
from handgrad.notebooks.intake import Submission
from handgrad.notebooks.notebooknode import NotebookNode, nbjson
from handgrad.verdict import Report


def selfcheck(root: Path, name: str, *, mutated: bool = True) -> Iterator[Outcome]:
    """Try everything that assignment `name` of the course at `root` says about itself.

    `mutated` is whether wrong answers are also made of the solution. Raises UserError where the
    assignment or its instructor notebooks are missing.
    """
    assignment, folder = Assignment.load(root, name), root / "source" / name
    sources = {stem: _source(folder / f"{stem}.ipynb") for stem in assignment.exercises}
    for stem in assignment.exercises:
        if stale := _stale(sources[stem], assignment.release[stem]):
            yield Outcome(f"{stem} as it is released", stale)
        for flaw in assignment.examined(stem):
            warning = isinstance(flaw, str)
            label = f"{stem} may hide mistakes: {flaw}" if warning else f"{stem} as it is written"
            yield Outcome(label, "" if warning else str(flaw))
    wrong, right = _listed(assignment)
    families: Families = {}
    for stem, exercise in assignment.exercises.items():
        forms = [one for one in right if one.notebook == stem]
        slips = [_as_called(one, assignment) for one in wrong if one.notebook == stem]
        file = folder / f"{stem}.ipynb"
        cells = GivenCells(sources[stem], file, families)
        short = {name: exercise.public[name] for name in exercise.shortened}
        # Of stacked gradients one may be made from another, and a slip in it costs both.
        made = [*mutants(cells, short)] if mutated and not exercise.stacked else []
        wrongs: Sequence[Slip | Mutant] = (*slips, *made)
        changes = [{}, *(one.cells for one in forms), *({one.cell: one.code} for one in wrongs)]
        reports = _graded(
            Source(root, name, only=(stem,)),
            [
                {stem: (root / "release" / name / f"{stem}.ipynb").read_bytes()},
                *({stem: edited(sources[stem], cells)} for cells in changes),
            ],
        )
        yield blank(f"{stem} untouched", next(reports))
        for label in ("the instructor's solution", *(form.name for form in forms)):
            yield solved(f"{stem} {label}", next(reports))
        asked = {f"d{name}" for name in exercise.gradients}
        for slip in slips:
            yield slipped(slip, next(reports), asked)
        for mutant in made:
            yield mutated_as(mutant, next(reports), asked)


def _listed(assignment: Assignment) -> tuple[Sequence[Slip], Sequence[Right]]:
    """The assignment's own wrong answers, and the unusual right ones."""
    if not (assignment.graders / "variations.py").is_file():
        return (), ()
    table = load_module(assignment.graders, "variations")
    return table.WRONG, table.RIGHT


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


def _source(path: Path) -> NotebookNode:
    try:
        return cast(NotebookNode, nbjson.reads(path.read_text(encoding="utf-8")))  # type: ignore[no-untyped-call]
    except FileNotFoundError:
        raise UserError(str(path), "there is no such instructor notebook", "Restore it") from None


def _as_called(slip: Slip, assignment: Assignment) -> Slip:
    """The slip with the name of the assignment's own mistake in the language of the course."""
    for mistake in assignment.exercises[slip.notebook].mistakes:
        if slip.parts.get("name") in mistake.name.values():
            name = mistake.name[assignment.settings.language]
            return replace(slip, parts={**slip.parts, "name": name})
    return slip
