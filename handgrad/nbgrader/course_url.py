"""On its way to students a notebook learns where the course's files are on the web."""

import json

from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Unicode

_EMPTY = 'COURSE_URL = ""'


class CourseUrl(NbGraderPreprocessor):  # type: ignore[misc] # nbgrader is untyped
    """Fills in `COURSE_URL` in the given cells while nbgrader generates the assignment.

    So the address is set in one place, `c.CourseUrl.url` in `nbgrader_config.py`, however many
    notebooks there are. Must come before nbgrader computes checksums.
    """

    url = Unicode(
        "", help="The folder on the web that holds check.py and names.txt of the release."
    ).tag(config=True)

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict[str, object], cell_index: int
    ) -> tuple[NotebookNode, dict[str, object]]:
        """The cell with the address in it, where it has a place for one."""
        if self.url and cell.cell_type == "code":
            cell.source = cell.source.replace(_EMPTY, f"COURSE_URL = {json.dumps(self.url)}")
        return cell, resources
