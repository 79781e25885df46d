"""A job summary of GitHub Actions: Markdown, as GitHub shows it on the page of a run."""

from handgrad.pages.annotate import escaped
from handgrad.pages.words import amount, joined, name_of, noted, tell, text
from handgrad.settings import Settings
from handgrad.verdict import Report


def render(report: Report, settings: Settings) -> str:
    """A table a notebook, and below it what to ask oneself. What a student wrote is no markup in it."""
    language = settings.language
    total = "?" if report.points is None else amount(report.points)
    lines = [f"## {report.assignment}: {total} / {amount(report.max_points)}"]
    head = [text(f"table.{each}", language) for each in ("gradient", "verdict", "points")]
    for stem in dict.fromkeys(finding.notebook for finding in report.findings):
        findings = [finding for finding in report.findings if finding.notebook == stem]
        lines += ["", f"### {stem}", "", f"| {' | '.join(head)} |", "|---|---|---:|"]
        for finding in findings:
            points = "?" if finding.points is None else amount(finding.points)
            verdict = name_of(finding.verdict, language)
            worth = f"{points} / {amount(finding.max_points)}"
            lines.append(f"| `{finding.name}` | {verdict} | {worth} |")
        lines.append("")
        for finding in findings:
            if told := tell(finding, settings.feedback, language, brief=True):
                lines.append(f"- `{finding.name}`: {escaped(joined(told, language))}")
    lines += ["", *(f"- {escaped(line)}" for line in noted(report.problems, language))]
    return "\n".join(lines).strip() + "\n"
