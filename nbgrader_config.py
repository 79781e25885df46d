"""The course as nbgrader sees it: names and wiring, no logic."""

c = get_config()  # noqa: F821 - nbgrader puts it here

c.CourseDirectory.course_id = "handgrad"
c.CourseDirectory.ignore = [".ipynb_checkpoints", "__pycache__", "*.pyc"]

# A released answer keeps its first line, `dX = None`, so that an untouched notebook runs to its end.
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE"}
c.ClearSolutions.text_stub = "YOUR ANSWER HERE"
