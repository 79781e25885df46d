"""results.json as Gradescope's specification of autograders has it."""

import json

from handgrad.pages.words import meaning_of, name_of, noted, told_of
from handgrad.settings import Settings
from handgrad.verdict import Finding, Report, Verdict


def render(report: Report, settings: Settings) -> str:
    """A test a gradient.

    What could not be told has no score. The specification then wants a sum for the whole, and that must not
    look like a mark: a student sees no total while one test is hidden, and the test without a score is.
    """
    language = settings.language
    untold = [finding.name for finding in report.findings if finding.points is None]
    said = list(noted(report.problems, language))
    if untold:
        verdict = Verdict.COULD_NOT_TELL
        said += [
            f"{name_of(verdict, language)}: {', '.join(untold)}",
            meaning_of(verdict, language),
        ]
    results = {
        "score": round(sum(finding.points or 0.0 for finding in report.findings), 6),
        "output": "\n".join(said),
        "visibility": settings.visibility,
        # Parts of it may be a student's: nothing of it is Markdown or HTML.
        **dict.fromkeys(("output_format", "test_output_format", "test_name_format"), "text"),
        "tests": [_test(finding, settings) for finding in report.findings],
    }
    return json.dumps(results, ensure_ascii=False, allow_nan=False, indent=1)


def _test(finding: Finding, settings: Settings) -> dict[str, object]:
    test: dict[str, object] = {
        "name": f"{finding.notebook}: {finding.name}",
        "max_score": finding.max_points,
        "output": told_of(finding, settings.feedback, settings.language),
    }
    if finding.points is None:
        return {**test, "visibility": "hidden"}
    right = finding.verdict in (Verdict.RIGHT, Verdict.RIGHT_STEP)
    return {**test, "score": finding.points, "status": "passed" if right else "failed"}
