"""What an attack is: a submission that is the solved release but for one thing done to it."""

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nbformat import NotebookNode

from demo.classroom import FOUR, ONE, THREE, TWO

__all__ = ["FOUR", "ONE", "THREE", "TWO", "Attack", "Notebooks", "Scene", "answer", "cell", "code"]

Notebooks = dict[str, NotebookNode]


@dataclass(frozen=True, slots=True)
class Scene:
    """The machine that is attacked: where its valuables are, and doors that somebody listens at.

    `port` and `socket` are of servers that count their callers; `mark` is a word that must turn up in
    no file outside the jail.
    """

    course: Path
    home: Path
    port: int
    socket: Path
    mark: str

    def told(self, text: str) -> str:
        """`text` with the names of this machine in the place of @COURSE@ and its like."""
        for name in ("course", "home", "port", "socket", "mark"):
            text = text.replace(f"@{name.upper()}@", str(getattr(self, name)))
        return text


@dataclass(frozen=True, slots=True)
class Attack:
    """One submission, and what is to come of it.

    `answers` rewrite solution cells, `edit` does more to the notebooks before they are written,
    `files` does what it likes in the folder afterwards. `stems` are handed in, the others are missing.

    `lost` are answers that earn nothing, `shares` those that earn a part, `untold` those that nobody
    could judge, each as "stem/variable" or a stem for all of its answers. Every other answer that is
    handed in earns all of its points; with `at_most` it may earn less, by the attacker's own doing.

    `reads` is what the TA is told: "<variable> <diagnosis or remark>", "<problem> <cell>", or a door
    to autograd. `shows` are texts that the graded notebooks hold, `unsaid` texts that they do not;
    `hides` is nowhere in what a browser acts on.
    `refused` is a pattern of why the batch does not take the submission at all.
    """

    story: str
    answers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    edit: Callable[[Notebooks], None] | None = None
    files: Callable[[Path, Scene], None] | None = None
    stems: tuple[str, ...] = (ONE, TWO)
    lost: frozenset[str] = frozenset()
    shares: Mapping[str, float] = field(default_factory=dict)
    untold: frozenset[str] = frozenset()
    at_most: bool = False
    reads: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    unsaid: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()
    student: str = ""  # where the name of the attack is not that of its folder
    refused: str = ""

    def share(self, stem: str, variable: str) -> float | None:
        """The share of its points that an answer is to earn, None where nobody can tell."""
        names = {stem, f"{stem}/{variable}"}
        if names & self.untold:
            return None
        if stem not in self.stems or names & self.lost:
            return 0.0
        return self.shares.get(f"{stem}/{variable}", 1.0)


def code(text: str) -> str:
    """A cell's text, written indented."""
    return textwrap.dedent(text).strip()


def answer(
    story: str,
    source: str,
    *reads: str,
    stem: str = ONE,
    cell: str = "dh",
    lost: bool | tuple[str, ...] = True,
    shows: tuple[str, ...] = (),
    unsaid: tuple[str, ...] = (),
    hides: tuple[str, ...] = (),
    untold: tuple[str, ...] = (),
    at_most: bool = False,
    stems: tuple[str, ...] = (),
) -> Attack:
    """One answer is written in another way; `lost` are the variables that it costs (True: its own)."""
    gone = (cell,) if lost is True else lost or ()
    return Attack(
        story,
        answers={stem: {cell: code(source)}},
        stems=stems or ((ONE, TWO) if stem == ONE else (stem, THREE if stem == TWO else TWO)),
        lost=frozenset(f"{stem}/{name}" for name in gone),
        untold=frozenset(untold),
        at_most=at_most,
        reads=reads,
        shows=shows,
        unsaid=unsaid,
        hides=hides,
    )


def cell(notebook: NotebookNode, grade_id: str) -> NotebookNode:
    """The cell of this grade id."""
    (found,) = (
        each
        for each in notebook.cells
        if each.metadata.get("nbgrader", {}).get("grade_id") == grade_id
    )
    return found
