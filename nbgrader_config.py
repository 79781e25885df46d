"""The course as nbgrader sees it: names and wiring, no logic."""

from nbgrader import preprocessors as stock

from handgrad.nbgrader.course_language import AnswerHere, CourseLanguage
from handgrad.nbgrader.course_url import CourseUrl
from handgrad.nbgrader.names import guard_names
from handgrad.store.course import with_scripts_on_path

c = get_config()  # noqa: F821 - nbgrader puts it here

guard_names()  # formgrader puts students' names into its pages as they are
with_scripts_on_path()  # nbgrader calls `alembic` by its bare name

c.CourseDirectory.course_id = "handgrad"
c.CourseDirectory.ignore = [".ipynb_checkpoints", "__pycache__", "*.pyc"]

# A released answer keeps its first line, `dX = None`, so that an untouched notebook runs to its end.
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE"}
c.ClearSolutions.text_stub = "YOUR ANSWER HERE"

# Where students' notebooks fetch check.py and names.txt from when these are not beside them, as on
# Colab: the web address of a copy of release/backprop, without a slash at the end.
c.CourseUrl.url = ""

# Refuses cells that the gradebook would not bear before the last release is deleted.
c.GenerateAssignment.exporter_class = "handgrad.nbgrader.release.ReleaseExporter"

# nbgrader's own list and three of the course's. In full, as nbgrader reads this file twice and would
# add to its list twice. The language is set in graders/<assignment>/assignment.toml.
c.GenerateAssignment.preprocessors = [
    CourseUrl,
    CourseLanguage,
    stock.IncludeHeaderFooter,
    stock.InstantiateTests,
    stock.LockCells,
    stock.ClearSolutions,
    AnswerHere,
    stock.ClearOutput,
    stock.CheckCellMetadata,
    stock.ComputeChecksums,
    stock.SaveCells,
    stock.ClearHiddenTests,
    stock.ClearMarkScheme,
    stock.ComputeChecksums,
    stock.CheckCellMetadata,
]

# Unpacks what platforms give within a budget, whatever one student put into an archive.
c.ZipCollectApp.extractor_plugin = "handgrad.nbgrader.archives.SafeExtractor"

# Notebooks run in the sandbox and are marked by the hidden graders, not by nbgrader's Execute. The
# exporter restores what was submitted from the release, so no other preprocessor has to.
c.Autograde.exporter_class = "handgrad.nbgrader.autograde.SubmissionExporter"
c.Autograde.sanitize_preprocessors = []
c.Autograde.autograde_preprocessors = [
    "handgrad.nbgrader.autograde.Mark",
    "handgrad.nbgrader.autograde.SaveMarks",
    "nbgrader.preprocessors.AssignLatePenalties",
    "handgrad.nbgrader.autograde.KeepRecord",
]

# Feedback is one page without scripts; the gradebook's marks and comments are on it.
c.GenerateFeedback.exporter_class = "handgrad.nbgrader.generate_feedback.PageExporter"
# Always made anew: nbgrader keeps an old page where no timestamp.txt says that the mark is newer.
c.GenerateFeedback.force = True
c.GenerateFeedback.preprocessors = ["nbgrader.preprocessors.GetGrades"]

# Headings get no ids: formgrader finds its score boxes by id, and a student may name a heading like one.
c.HTMLExporter.exclude_anchor_links = True
