"""results.json as PrairieLearn's page on external grading has it."""

import json

from handgrad.pages.words import noted, told_of
from handgrad.settings import Settings
from handgrad.verdict import Finding, Report


def render(report: Report, settings: Settings) -> str:
    """A test a gradient, and a share of the points as the score.

    A submission of which anything could not be told is not gradable: that costs neither points nor an
    attempt. What was told of it is shown all the same.
    """
    untold = [finding for finding in report.findings if finding.points is None]
    results: dict[str, object] = {
        "gradable": not untold,
        "message": "\n".join(noted(report.problems, settings.language)),
        "tests": [_test(one, settings) for one in report.findings if one not in untold],
    }
    if report.points is None:
        results["format_errors"] = [f"{one.name}: {_told(one, settings)}" for one in untold]
    else:
        results["score"] = report.points / report.max_points if report.max_points else 1.0
    return json.dumps(results, ensure_ascii=False, allow_nan=False, indent=1)


def _test(finding: Finding, settings: Settings) -> dict[str, object]:
    return {
        "name": finding.name,
        "description": finding.notebook,
        "points": finding.points,
        "max_points": finding.max_points,
        "message": _told(finding, settings),
    }


def _told(finding: Finding, settings: Settings) -> str:
    return told_of(finding, settings.feedback, settings.language)
