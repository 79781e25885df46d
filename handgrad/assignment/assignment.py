"""One assignment of a course: its released notebooks, its graders' declarations, its settings."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import cast

from handgrad import __version__
from handgrad.assignment.beside import load_module
from handgrad.assignment.declared import Declared
from handgrad.assignment.exercises import Exercises, has_forward
from handgrad.assignment.refusals import flaws, warnings
from handgrad.assignment.seed import fresh, secret_of
from handgrad.errors import UserError
from handgrad.gradients.exercise import Exercise, Mistake
from handgrad.gradients.judge import Judge
from handgrad.gradients.scenarios import Scenarios
from handgrad.notebooks.notebooknode import NotebookNode, nbjson
from handgrad.plan import Plan
from handgrad.settings import Settings
from handgrad.verdict import Gradient

_PREFIX = "test_"


@dataclass(frozen=True)
class Assignment:
    """Everything that grading needs and a student's notebook does not bring.

    `release` and `exercises` are by notebook stem, in the order of the stems; `notebooks` are the stems
    of what is read of a submission. `files` are what students get beside the notebooks;
    `secret` seeds the hidden runs.
    """

    name: str
    graders: Path
    release: Mapping[str, NotebookNode]
    files: Mapping[str, bytes]
    exercises: Mapping[str, Exercise]
    notebooks: tuple[str, ...]
    settings: Settings
    secret: str = field(repr=False)
    content: str  # a digest of all the files that were read

    @classmethod
    def load(cls, root: Path, name: str) -> "Assignment":
        """Read assignment `name` of the course at `root`.

        Its secret seed is that of `seed.secret_of`. Raises UserError where the assignment is unknown,
        not released, or its graders cannot be read.
        """
        graders, release = root / "graders" / name, root / "release" / name
        known = names(root)
        if name not in known:
            raise UserError(
                name,
                f"there is no assignment of this name in {root}",
                f"Known here: {', '.join(known)}." if known else "Run this in a course's folder.",
            )
        if not any(release.glob("*.ipynb")):
            raise UserError(
                str(release),
                "nothing is released there",
                f"Run `nbgrader generate_assignment {name}`.",
            )
        return cls._read(name, graders, release, secret_of(graders))

    @classmethod
    def source(cls, root: Path, name: str) -> "Assignment":
        """Assignment `name` as its instructor's notebooks are now, released or not; for looking at only."""
        return cls._read(name, root / "graders" / name, root / "source" / name, "none")

    @classmethod
    def packaged(cls, name: str) -> "Assignment":
        """The copy that came with the package, for self-study; without a seed of `seed.VARIABLE` its hidden
        runs are drawn anew each time.
        """
        here = packaged_course()
        graders = here / "graders" / name
        if not graders.is_dir():
            raise UserError(name, "this package brings no such assignment", "Check the spelling.")
        return cls._read(name, graders, here / "release" / name, fresh())

    def examined(self, stem: str) -> Iterator[UserError | str]:
        """What is wrong with one notebook, and as text what is allowed and hides mistakes."""
        try:
            exercise = self.exercises[stem]
            _ = self.gradients[stem]
        except UserError as error:
            yield error
            return
        yield from flaws(exercise, self.files)
        yield from warnings(exercise, self.files)

    def only(self, *notebooks: str) -> "Assignment":
        """The same assignment, of which only these notebooks are read and graded."""
        exercises = {stem: self.exercises[stem] for stem in notebooks}
        return replace(self, exercises=exercises, notebooks=notebooks)

    @classmethod
    def _read(cls, name: str, graders: Path, release: Path, secret: str) -> "Assignment":
        notebooks = {p.stem: _notebook(p) for p in sorted(release.glob("*.ipynb"))}
        stems = [stem for stem, notebook in notebooks.items() if has_forward(notebook)]
        if not stems:
            raise UserError(
                str(release),
                "no notebook has a cell tagged `forward`",
                "Tag the forward pass in the source, and release it again.",
            )
        declared = Declared.read(graders / "assignment.toml", stems)
        exercises = Exercises(release, notebooks, declared, _mistakes(graders, stems))
        files = {
            p.name: p.read_bytes()
            for p in sorted(release.iterdir())
            if p.is_file() and p.suffix != ".ipynb"
        }
        everything = [p for p in (*release.iterdir(), *graders.glob("*.py")) if p.is_file()]
        everything.extend(graders.glob("*.toml"))
        return cls(
            name,
            graders,
            notebooks,
            files,
            exercises,
            tuple(notebooks),
            Settings.read(graders / "assignment.toml"),
            secret,
            _digest(sorted(everything)),
        )

    @cached_property
    def judges(self) -> Mapping[str, Judge]:
        """The judge of each notebook."""
        return {
            stem: Judge(Scenarios(stem, exercise, self.files, self.secret), self.settings)
            for stem, exercise in self.exercises.items()
        }

    @cached_property
    def plans(self) -> Mapping[str, Plan]:
        """The runs of each notebook, with the first of its own numbers."""
        return {stem: self.plan(stem, 0) for stem in self.exercises}

    def plan(self, stem: str, draw: int) -> Plan:
        """The runs of a notebook; a gradient's test cell is where its variable is taken."""
        scenarios = self.judges[stem].scenarios.drawn(draw)
        return scenarios.plan({one.grade_id: (one.variable,) for one in self.gradients[stem]})

    @cached_property
    def gradients(self) -> Mapping[str, tuple[Gradient, ...]]:
        """What each notebook asks for, in the order of its test cells.

        Raises UserError for a test cell of something that the graders do not know.
        """
        return {stem: tuple(self._gradients(stem)) for stem in self.exercises}

    def _gradients(self, stem: str) -> Iterator[Gradient]:
        steps = self.judges[stem].scenarios.steps
        for grade_id, points in self.points(stem).items():
            variable = grade_id.removeprefix(_PREFIX)
            if variable not in steps:
                raise UserError(
                    f"{stem}.ipynb, test cell `{grade_id}`",
                    "the graders know no such answer",
                    f"They know: {', '.join(steps)}",
                )
            yield Gradient(stem, variable, steps[variable], grade_id, points)

    @cached_property
    def digest(self) -> str:
        """Changes with the release, the graders, the settings, the secret and the engine."""
        text = "\n".join((self.content, self.secret, __version__))
        return hashlib.sha256(text.encode()).hexdigest()

    def points(self, notebook: str) -> dict[str, float]:
        """The points of each test cell by grade id, in order, as the release has them."""
        return {
            cell.metadata.nbgrader.grade_id: float(cell.metadata.nbgrader.points)
            for cell in self.release[notebook].cells
            if cell.cell_type == "code"
            and cell.metadata.get("nbgrader", {}).get("grade")
            and not cell.metadata.nbgrader.solution
        }


def packaged_course() -> Path:
    """Where the course lies that came with the package: within it, or beside an editable one."""
    package = Path(str(resources.files("handgrad")))
    within = package / "courses"
    return within if within.is_dir() else package.parent


def names(root: Path) -> list[str]:
    """The assignments of the course at `root`: the folders with hidden tests."""
    return sorted({path.parent.name for path in root.glob("graders/*/test_*.py")})


def _mistakes(graders: Path, stems: Sequence[str]) -> Mapping[str, tuple[Mistake, ...]]:
    """The assignment's own mistakes by notebook, where it has any."""
    if not (graders / "mistakes.py").is_file():
        return {}
    found: Mapping[str, tuple[Mistake, ...]] = load_module(graders, "mistakes").MISTAKES
    for stem in found:
        if stem not in stems:
            raise UserError(
                str(graders / "mistakes.py"),
                f"MISTAKES has `{stem}`, and no such notebook is released",
                f"Known: {', '.join(stems)}.",
            )
    return found


def _notebook(path: Path) -> NotebookNode:
    # Without nbformat.read's validation: the release is ours and was validated when it was made.
    return cast(NotebookNode, nbjson.reads(path.read_text(encoding="utf-8")))  # type: ignore[no-untyped-call]


def _digest(paths: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
