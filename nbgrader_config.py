"""The course as nbgrader sees it: names and wiring, no logic."""

from handgrad.course_url import CourseUrl

c = get_config()  # noqa: F821 - nbgrader puts it here

c.CourseDirectory.course_id = "handgrad"
c.CourseDirectory.ignore = [".ipynb_checkpoints", "__pycache__", "*.pyc"]

# A released answer keeps its first line, `dX = None`, so that an untouched notebook runs to its end.
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE"}
c.ClearSolutions.text_stub = "YOUR ANSWER HERE"

# Where students' notebooks fetch check.py and names.txt from when these are not beside them, as on
# Colab: the web address of a copy of release/backprop, without a slash at the end.
c.CourseUrl.url = ""
c.GenerateAssignment.preprocessors.prepend([CourseUrl])
