"""What the page says of one gradient, or of one written answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from handgrad.pages.drawing import kind, mark
from handgrad.pages.gradedcells import GradedCell
from handgrad.pages.picture import Drawn, describe, draw_error
from handgrad.pages.template import sentence
from handgrad.pages.words import amount, in_steps, joined, name_of, tell, text
from handgrad.settings import FeedbackLevel
from handgrad.verdict import Finding, Verdict


@dataclass(frozen=True, slots=True)
class Shown:
    """A verdict as the template needs it."""

    kind: str
    mark: Markup
    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, and the verdict beside the cell."""

    name: str
    points: str
    verdict: Shown | None = None  # None: marked by a person
    told: tuple[Markup, ...] = ()
    asked: tuple[Markup, ...] = ()  # behind a click, and `named` behind a second one
    named: tuple[Markup, ...] = ()
    tag: str = ""
    anchor: str = ""
    first: bool = False
    error: str = ""
    picture: Drawn | None = None
    pattern: str = ""


def shown(verdict: Verdict, language: str) -> Shown:
    return Shown(kind(verdict), mark(verdict), name_of(verdict, language))


@dataclass(frozen=True, slots=True)
class Rows:
    """Makes rows in one language, telling as much as the level lets through.

    `waiting` are the grade ids of the answers that a person has yet to mark. `stepped`: what leads to a
    mistake is told in steps (see `words.in_steps`).
    """

    language: str
    level: FeedbackLevel
    waiting: frozenset[str]
    stepped: bool = False

    def of(
        self,
        finding: Finding,
        findings: Sequence[Finding],
        cell: GradedCell | None,
        anchors: Mapping[str, str],
        first: bool,
    ) -> Row:
        points, tag = finding.points, ""
        together = [f for f in findings if f.grade_id == finding.grade_id]
        if cell is not None and cell.score is not None and len(together) == 1:
            if points is not None and abs(cell.score - points) > 1e-9:
                tag = text("page.changed_by_hand", self.language)
            points = cell.score
        worth = amount(finding.max_points)
        told, asked, named = (
            in_steps(finding, self.level, self.language)
            if self.stepped and finding.verdict == Verdict.WRONG
            else (tell(finding, self.level, self.language, brief=True), (), ())
        )
        drawn, pattern = None, ""
        if finding.picture and self.level != "verdict" and finding.verdict == Verdict.WRONG:
            drawn = draw_error(finding.name, finding.picture, self.language)
            pattern = joined(describe(finding.picture, self.language), self.language)
        error = ""
        if finding.error is not None and self.level == "full" and finding.verdict == Verdict.WRONG:
            error = text("page.error_size", self.language, error=f"{finding.error:.2g}")
        return Row(
            name=finding.name,
            points=f"{'?' if points is None else amount(points)} / {worth}",
            verdict=shown(finding.verdict, self.language),
            told=tuple(map(sentence, told)),
            asked=tuple(map(sentence, asked)),
            named=tuple(map(sentence, named)),
            tag=tag,
            anchor=anchors.get(finding.grade_id, ""),
            first=first,
            error=error,
            picture=drawn,
            pattern=pattern,
        )

    def written(self, cell: GradedCell, anchors: Mapping[str, str]) -> Row:
        waiting = cell.grade_id in self.waiting or cell.score is None
        score = "?" if waiting else amount(cell.score or 0.0)
        return Row(
            name=cell.grade_id,
            points=f"{score} / {amount(cell.points)}" if cell.points is not None else score,
            tag=text("page.waiting" if waiting else "page.by_hand", self.language),
            anchor=anchors[cell.grade_id],
        )
