"""What an assignment says about its hidden runs, read from `graders/<name>/assignment.toml`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handgrad.errors import UserError
from handgrad.gradients.exercise import Parameters, Scenario
from handgrad.settings import DECLARED, read_toml

_TWO = (Scenario("first"), Scenario("second"))


@dataclass(frozen=True, slots=True)
class Declared:
    """The hidden runs of one notebook.

    `parameters` hold in every run, so that these are short; `tolerance` is of variables that are no
    gradients. `axes` are names for the axes of values ("example", "character"), by the value's name;
    `either` says of a value at which entries any gradient is right ("x == 0").
    """

    runs: tuple[Scenario, ...] = _TWO
    parameters: Parameters = field(default_factory=dict)
    tolerance: Mapping[str, float] = field(default_factory=dict)
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    either: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, stems: Sequence[str]) -> dict[str, "Declared"]:
        """By notebook, what `path` declares. Raises UserError on what it cannot use."""
        table = {key: value for key, value in read_toml(path).items() if key in DECLARED}
        own = table.get("notebooks", {})
        for stem in own:
            if stem not in stems:
                raise UserError(
                    f"{path}, notebooks.{stem}",
                    "no notebook of this name with a cell tagged `forward` is released",
                    f"Known: {', '.join(stems)}.",
                )
        try:
            return {stem: cls._of({**table, **own.get(stem, {})}) for stem in stems}
        except (TypeError, AttributeError, ValueError, KeyError) as error:
            raise UserError(
                str(path),
                f"what it says of hidden runs cannot be read ({type(error).__name__}: {error})",
                "docs/authors.md has the form of `runs`, `axes`, `either` and `notebooks`.",
            ) from None

    @classmethod
    def _of(cls, table: Mapping[str, Any]) -> "Declared":
        return cls(
            tuple(_scenario(**run) for run in table["runs"]) if "runs" in table else _TWO,
            dict(table.get("parameters", {})),
            {name: float(value) for name, value in table.get("tolerance", {}).items()},
            {
                n: tuple(axes)
                for names, axes in table.get("axes", {}).items()
                for n in names.split()
            },
            {name: str(where) for name, where in table.get("either", {}).items()},
        )


def _scenario(name: str, decides: bool = True, holds: str = "", **parameters: float) -> Scenario:
    return Scenario(name, parameters, decides, holds)
