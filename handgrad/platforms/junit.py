"""JUnit's XML, which Jenkins, GitLab and most other CI read.

Elements and attributes are those of the schema of Jenkins' xUnit plugin (junit-10.xsd), and of them the
ones that GitLab's page "Unit test reports" says it parses.
"""

from collections.abc import Iterable
from xml.etree import ElementTree

from handgrad.pages.words import noted, told_of
from handgrad.settings import Settings
from handgrad.verdict import Finding, Report, Verdict

_KINDS = {
    Verdict.WRONG: "failure",
    Verdict.NOT_ATTEMPTED: "failure",
    Verdict.COULD_NOT_TELL: "error",
}


def render(report: Report, settings: Settings) -> str:
    """A suite a notebook, a case a gradient; what could not be told is an error, and no failure."""
    root = ElementTree.Element("testsuites", _counts(report.assignment, report.findings))
    for stem in dict.fromkeys(finding.notebook for finding in report.findings):
        findings = [finding for finding in report.findings if finding.notebook == stem]
        suite = ElementTree.SubElement(root, "testsuite", _counts(stem, findings))
        for finding in findings:
            where = f"{report.assignment}.{stem}"  # GitLab shows this, not the suite's name
            case = ElementTree.SubElement(suite, "testcase", classname=where, name=finding.name)
            if kind := _KINDS.get(finding.verdict):
                why = ElementTree.SubElement(case, kind, type=finding.verdict)
                why.text = told_of(finding, settings.feedback, settings.language)
        odd = {stem: report.problems.get(stem, ())}
        said = ElementTree.SubElement(suite, "system-out")
        said.text = "\n".join(noted(odd, settings.language))
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, "unicode")}\n'


def _counts(name: str, findings: Iterable[Finding]) -> dict[str, str]:
    kinds = [_KINDS.get(finding.verdict) for finding in findings]
    failures, errors = str(kinds.count("failure")), str(kinds.count("error"))
    return {"name": name, "tests": str(len(kinds)), "failures": failures, "errors": errors}
