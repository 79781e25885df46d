"""A first run of a notebook's statements behind the course's given cells: which values they make."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import resources

from handgrad.evidence import Evidence
from handgrad.plan import PUBLIC, Cell

_CALL = "__handgrad_look__"


@dataclass(frozen=True, slots=True)
class Made:
    """A tensor that a statement made, with the names of the course's values that it equals."""

    shape: tuple[int, ...]
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Look:
    """What each statement made, by its index and the name; empty where the run gave nothing."""

    made: Mapping[int, Mapping[str, Made]] = field(default_factory=dict)

    def meaning(self, name: str, before: int) -> str:
        """The course's name for the value that the name has before a statement; "" for none."""
        for index in sorted((i for i in self.made if i < before), reverse=True):
            if name in self.made[index]:
                values = self.made[index][name].values
                return name if name in values else min(values, default="")
        return ""


def cells(prefix: Sequence[Cell], statements: Mapping[int, str]) -> tuple[Cell, ...]:
    """The given cells, and behind each statement a call of the recorder. By index, the statements' texts."""
    text = resources.files("handgrad.lecture").joinpath("recorder.py").read_text("utf-8")
    text = text.replace("look = Recorder", f"{_CALL} = Recorder")
    listed = [*prefix, _given(len(prefix), text)]
    for index, source in statements.items():
        listed.append(Cell(len(listed), "", "other", source, keeps=True))
        listed.append(_given(len(listed), f"{_CALL}({index})"))
    return tuple(listed)


def seen(listed: Sequence[Cell], evidence: Evidence) -> Look:
    """What the recorder's cells wrote; nothing of it is believed to be more than text."""
    calls = {cell.index for cell in listed if cell.source.startswith(f"{_CALL}(")}
    run = evidence.runs.get(PUBLIC)
    made: dict[int, dict[str, Made]] = {}
    for result in run.cells if run is not None else ():
        for output in result.outputs if result.index in calls else ():
            with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
                number, found = json.loads(str(output.get("text", "")))
                made[int(number)] = {str(name): _made(**each) for name, each in found.items()}
    return Look(made)


def _made(shape: Sequence[int], values: Sequence[str]) -> Made:
    return Made(tuple(map(int, shape)), frozenset(map(str, values)))


def _given(index: int, source: str) -> Cell:
    return Cell(index, "", "given", source)
