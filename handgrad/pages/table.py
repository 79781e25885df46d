"""A report as a table in a terminal: one line a gradient."""

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from handgrad.pages.words import amount, name_of, tell, text
from handgrad.settings import FeedbackLevel
from handgrad.verdict import Report, Verdict

_SIGNS: Mapping[Verdict, tuple[str, str]] = {
    Verdict.RIGHT: ("✓", "green"),
    Verdict.RIGHT_STEP: ("↓", "blue"),
    Verdict.WRONG: ("✗", "red"),
    Verdict.NOT_ATTEMPTED: ("–", "dim"),
    Verdict.COULD_NOT_TELL: ("?", "magenta"),
}


def table(report: Report, level: FeedbackLevel, language: str) -> Table:
    """Name, verdict, points and what to ask oneself; the sum last.

    What a student wrote comes as plain text, in which rich reads no markup.
    """
    made = Table(show_footer=True, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    known = sum(f.points for f in report.findings if f.points is not None)
    total = (
        f"{amount(known)}{'' if report.points is not None else '?'} / {amount(report.max_points)}"
    )
    made.add_column(text("table.gradient", language), text("table.total", language), no_wrap=True)
    made.add_column(text("table.verdict", language), no_wrap=True)
    made.add_column(text("table.points", language), total, justify="right", no_wrap=True)
    asks = any(tell(finding, level, language, brief=True) for finding in report.findings)
    made.add_column(text("table.say", language) if asks else "", overflow="fold")
    several = len({finding.notebook for finding in report.findings}) > 1
    before = ""
    for finding in report.findings:
        if several and finding.notebook != before:
            made.add_row(Text(finding.notebook, style="bold"))
            before = finding.notebook
        sign, style = _SIGNS[finding.verdict]
        points = "?" if finding.points is None else amount(finding.points)
        made.add_row(
            Text(finding.name),
            Text(f"{sign} {name_of(finding.verdict, language)}", style=style),
            f"{points} / {amount(finding.max_points)}",
            Text("\n".join(tell(finding, level, language, brief=True)).replace("`", "")),
        )
    return made
