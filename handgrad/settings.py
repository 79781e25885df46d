"""What an instructor sets for one assignment, read from `graders/<name>/assignment.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, TypeVar

from handgrad.errors import UserError
from handgrad.limits import Limits

Language = Literal["en", "zh"]
FeedbackLevel = Literal["verdict", "question", "full"]

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "language": ("en", "zh"),
    "feedback": ("verdict", "question", "full"),
}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Settings:
    """`right_step_share` and `unspread_share` are shares of a gradient's points, in [0, 1].

    `right_step_share` is paid where only the input of a step was wrong, `unspread_share` where the
    value is right but not spread over an axis it is constant along.
    """

    language: Language = "en"
    feedback: FeedbackLevel = "question"
    right_step_share: float = 1.0
    unspread_share: float = 0.5
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def read(cls, path: Path) -> "Settings":
        """Read `path`; a missing file means the defaults. Raises UserError on anything it cannot use."""
        if not path.exists():
            return cls()
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UserError(
                str(path), f"it is not valid TOML ({error})", "Mend that line."
            ) from None
        limits = table.pop("limits", {})
        if not isinstance(limits, dict):
            raise UserError(str(path), "`limits` is not a table", "Write it as [limits].")
        for key, allowed in _CHOICES.items():
            if key in table and table[key] not in allowed:
                raise UserError(
                    str(path),
                    f"{key} is {table[key]!r}",
                    f"Use one of: {', '.join(allowed)}.",
                )
        settings = _filled(cls, table, path)
        for key in ("right_step_share", "unspread_share"):
            if not 0 <= getattr(settings, key) <= 1:
                raise UserError(
                    str(path), f"{key} is outside 0 to 1", "It is a share of the points."
                )
        return _filled(cls, {**table, "limits": _filled(Limits, limits, path)}, path)


def _filled(kind: type[_T], table: Mapping[str, object], path: Path) -> _T:
    """`kind` with the table's entries, each checked against the type of its default."""
    defaults = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for key, value in table.items():
        if key not in defaults:
            raise UserError(
                str(path), f"unknown setting `{key}`", f"Known: {', '.join(sorted(defaults))}."
            )
        default = defaults[key].default
        wanted = (int, float) if isinstance(default, int | float) else type(value)
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise UserError(str(path), f"`{key}` is {value!r}, not a number", "Write a number.")
        if isinstance(value, int | float) and value < 0:
            raise UserError(str(path), f"`{key}` is negative", "Write a number of at least 0.")
    return kind(**table)
