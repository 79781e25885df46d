"""What is said of a submission that broke whoever graded it."""

from handgrad.assignment.source import Described
from handgrad.grading.graded import Graded
from handgrad.notebooks.intake import Submission
from handgrad.notebooks.submission import blank
from handgrad.pages.annotate import shown
from handgrad.verdict import Gradient, Note, Report, Verdict


def given_up(
    described: Described, student: str, submission: Submission, why: str, traceback: str = ""
) -> Graded:
    """No mark and no zero: a person is told.

    Its notebooks are shown as released: what the student's do to a program is not known.
    """
    note = Note("trouble", {"why": why.rstrip(". ")})
    findings = tuple(
        Gradient(stem, variable, "", grade_id, described.points[stem, grade_id]).finding(
            Verdict.COULD_NOT_TELL, None, diagnoses=(note,)
        )
        for (stem, grade_id), variable in described.gradients.items()
    )
    problems = {stem: (*submission.problems.get(stem, ()), note) for stem in described.release}
    report = Report(student, described.name, findings, problems)
    released = {
        stem: blank(notebook).notebook
        for stem, notebook in described.release.items()
        if stem not in submission.absent
    }
    notebooks = shown(released, report, described.settings)
    return Graded(report, described.digest, notebooks, crashed=why, traceback=traceback)
