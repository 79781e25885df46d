"""What `variations.py` of an assignment lists: wrong answers with their names, and unusual right ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ANY = "_any"


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
        return f"{self.variable} {self.named.removesuffix(ANY)} {' '.join(self.parts.values())}".strip()


@dataclass(frozen=True, slots=True)
class Right:
    """An unusual but right way to answer: code by solution cell."""

    notebook: str
    name: str
    cells: Mapping[str, str]
