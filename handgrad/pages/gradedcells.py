"""The cells of a graded notebook, read defensively: its file may have been written by anybody."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from handgrad.notebooks.display import clean_attachments

Notebook = Mapping[str, object]
"""A notebook as nbformat reads it; nbgrader's scores and comments are in its cells' metadata."""


@dataclass(frozen=True, slots=True)
class GradedCell:
    """One cell, with what nbgrader says of it."""

    cell_type: str
    source: str
    outputs: tuple[Mapping[str, object], ...]
    nbgrader: Mapping[str, object]
    pictures: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # attached to the text
    made: bool = False  # put into the graded notebook by ourselves; the page says it on its own

    @property
    def grade_id(self) -> str:
        return str(self.nbgrader.get("grade_id", ""))

    @property
    def role(self) -> str:
        """ "answer", "test", "written" (marked by a person), "given" or "other"."""
        grade, solution = self.nbgrader.get("grade"), self.nbgrader.get("solution")
        if grade and not solution:
            return "test"
        if (grade and solution) or self.nbgrader.get("task"):
            return "written"
        if solution:
            return "answer"
        return "given" if self.nbgrader.get("grade_id") else "other"

    @property
    def score(self) -> float | None:
        return _number(self.nbgrader.get("score"))

    @property
    def points(self) -> float | None:
        return _number(self.nbgrader.get("points"))

    @property
    def comment(self) -> str:
        comment = self.nbgrader.get("comment")
        return comment if isinstance(comment, str) else ""


def cells_of(notebook: Notebook) -> Iterator[GradedCell]:
    cells = notebook.get("cells")
    for cell in cells if isinstance(cells, list) else []:
        if not isinstance(cell, Mapping):
            continue
        metadata = cell.get("metadata")
        nbgrader = metadata.get("nbgrader") if isinstance(metadata, Mapping) else None
        outputs = cell.get("outputs")
        source, attached = cell.get("source", ""), cell.get("attachments")
        yield GradedCell(
            cell_type=str(cell.get("cell_type", "")),
            source="".join(source) if isinstance(source, list) else str(source),
            outputs=tuple(
                cast(Mapping[str, object], output)
                for output in (outputs if isinstance(outputs, list) else [])
                if isinstance(output, Mapping)
            ),
            nbgrader=nbgrader if isinstance(nbgrader, Mapping) else {},
            pictures=clean_attachments(attached) if isinstance(attached, Mapping) else {},
            made=cell.get("id") == "handgrad-problems",  # see annotate.py
        )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
