"""Where an assignment is read from, and what of it must be known without importing torch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from handgrad.assignment.seed import secret_of
from handgrad.settings import Settings

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from handgrad.assignment.assignment import Assignment


@dataclass(frozen=True, slots=True)
class Source:
    """An assignment of a course: all its notebooks, or `only` those; run in the sandbox, or without."""

    root: Path
    name: str
    only: tuple[str, ...] = ()
    sandboxed: bool = True

    def load(self) -> "Assignment":
        """The assignment. Raises UserError where it cannot be graded."""
        from handgrad.assignment.assignment import Assignment

        assignment = Assignment.load(self.root, self.name)
        return assignment.only(*self.only) if self.only else assignment

    def files(self) -> Iterator[tuple[str, bytes]]:
        """All that grading needs of the course, by its path there: release, graders, settings and seed."""
        for step in ("release", "graders"):
            for path in sorted((self.root / step / self.name).glob("*")):
                if path.is_file() and path.name != "seed":
                    yield f"{step}/{self.name}/{path.name}", path.read_bytes()
        secret = secret_of(self.root / "graders" / self.name)
        yield f"graders/{self.name}/seed", secret.encode()


@dataclass(frozen=True, slots=True)
class Described:
    """What the process that hands out and keeps the marks must know of an assignment.

    `digest` changes with everything that has a say in the marks; `files` are the names of what students
    get beside the notebooks. `points` are those of every grade cell, those that people mark too, by
    notebook and grade id; `answers` the grade ids of what students write, and `gradients` the variable of
    each test cell that the graders decide, by notebook. `sandbox` says which one runs them, and why.
    """

    name: str
    digest: str
    release: "Mapping[str, NotebookNode]"
    files: tuple[str, ...]
    settings: Settings
    points: Mapping[tuple[str, str], float]
    answers: Mapping[str, tuple[str, ...]]
    gradients: Mapping[tuple[str, str], str]
    sandbox: str = ""


def described(assignment: "Assignment", sandbox: str = "") -> Described:
    """What there is to know of an assignment that this process has loaded."""
    cells = [(stem, cell) for stem, book in assignment.release.items() for cell in _cells(book)]
    return Described(
        assignment.name,
        assignment.digest,
        assignment.release,
        tuple(assignment.files),
        assignment.settings,
        {(stem, cell.grade_id): float(cell.points) for stem, cell in cells if cell.grade},
        {
            stem: tuple(cell.grade_id for of, cell in cells if of == stem and cell.solution)
            for stem in assignment.release
        },
        {
            (one.notebook, one.grade_id): one.variable
            for gradients in assignment.gradients.values()
            for one in gradients
        },
        sandbox,
    )


def _cells(notebook: "NotebookNode") -> "Iterator[NotebookNode]":
    """nbgrader's metadata of the cells that have some."""
    return (cell.metadata.nbgrader for cell in notebook.cells if "nbgrader" in cell.metadata)
