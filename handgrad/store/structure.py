"""What the gradebook knows an assignment to be made of."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Structure:
    """What an assignment is made of; all ids are the gradebook's own.

    Cells are by notebook stem and grade id.
    """

    assignment: str
    duedate: datetime.datetime | None
    notebooks: Mapping[str, str]  # by stem
    grades: Mapping[tuple[str, str], str]
    comments: Mapping[tuple[str, str], str]
    points: Mapping[tuple[str, str], float]
