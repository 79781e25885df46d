"""What an instructor sets for one assignment, read from `graders/<name>/assignment.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec

from handgrad.errors import UserError
from handgrad.limits import Limits

Language = Literal["en", "zh"]
FeedbackLevel = Literal["verdict", "question", "full"]
Visibility = Literal["visible", "after_due_date", "after_published", "hidden"]  # Gradescope's words

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "language": get_args(Language),
    "feedback": get_args(FeedbackLevel),
    "visibility": get_args(Visibility),
}
# The keys of that file that speak of hidden runs; `handgrad.assignment` reads them.
DECLARED = ("runs", "axes", "either", "notebooks")


@dataclass(frozen=True, slots=True)
class Settings:
    """`right_step_share` and `unspread_share` are shares of a gradient's points, in [0, 1].

    `right_step_share` is paid where only the input of a step was wrong, `unspread_share` where the
    value is right but not spread over an axis it is constant along.
    """

    language: Language = "en"
    feedback: FeedbackLevel = "question"
    visibility: Visibility = "visible"
    right_step_share: Share = 1.0
    unspread_share: Share = 0.5
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def read(cls, path: Path) -> "Settings":
        """Read `path`; a missing file means the defaults. Raises UserError on anything it cannot use."""
        table = {key: value for key, value in read_toml(path).items() if key not in DECLARED}
        _refuse_unknown(cls, table, path)
        if isinstance(table.get("limits"), dict):
            _refuse_unknown(Limits, table["limits"], path)
        try:
            settings = msgspec.convert(table, cls)
        except msgspec.ValidationError as error:
            choices = "; ".join(f"{key}: {', '.join(_CHOICES[key])}" for key in _CHOICES)
            raise UserError(
                str(path), str(error), f"Mend that line. Choices are {choices}."
            ) from None
        for limit in fields(Limits):
            if not getattr(settings.limits, limit.name) >= 0:
                raise UserError(
                    str(path), f"`{limit.name}` is negative", "Write a number of at least 0."
                )
        return settings


def read_toml(path: Path) -> dict[str, Any]:
    """The whole table at `path`; a missing file is an empty one. Raises UserError where it is no TOML."""
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(str(path), f"it is not valid TOML ({error})", "Mend that line.") from None


def _refuse_unknown(kind: type, table: Mapping[str, object], path: Path) -> None:
    known = sorted(each.name for each in fields(kind))
    for key in table:
        if key not in known:
            raise UserError(str(path), f"unknown setting `{key}`", f"Known: {', '.join(known)}.")
