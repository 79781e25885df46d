"""What is kept of a course: nbgrader's gradebook, the record of every mark, and the copies of both."""

# Before nbgrader imports nbformat, which would then take a second more.
import handgrad.notebooks.notebooknode  # noqa: F401
