"""On its way to students an assignment takes on the language of the course."""

import re
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor

from handgrad.notebooks.prose import translated
from handgrad.pages.words import text
from handgrad.settings import Settings
from handgrad.store.course import coursedir_of

_Resources = dict[str, Any]  # nbconvert's, of any kind of value

_CHECK = "check.py"
_OWN = Settings().language  # what nbgrader and this kit speak if nobody says otherwise
_LANGUAGE = re.compile(r'^LANGUAGE = "\w*"', re.MULTILINE)


class CourseLanguage(NbGraderPreprocessor):  # type: ignore[misc] # nbgrader is untyped
    """Puts the prose of the course's language into a notebook, and that language into `check.py`.

    The language is the setting of the assignment's own `assignment.toml`, the prose is in
    `graders/<assignment>/prose/<language>/`: nbgrader would hand out whatever lies beside a notebook.
    Where there is no such folder the prose stays in the language that it was written in. Must come
    before nbgrader clears solutions and computes checksums.
    """

    def preprocess(
        self, nb: NotebookNode, resources: _Resources
    ) -> tuple[NotebookNode, _Resources]:
        """The notebook in the course's language; raises UserError where a cell has no translation."""
        graders, language = _course_of(self, resources)
        prose = graders / "prose" / language
        if prose.is_dir():
            cells = {cell.get("id", ""): cell for cell in nb.cells if cell.cell_type == "markdown"}
            original = {name: cell.source for name, cell in cells.items()}
            notebook = f"{resources['nbgrader']['notebook']}.md"
            for name, translation in translated(original, prose / notebook).items():
                cells[name].source = translation
        elif language != _OWN:
            self.log.info("There is no %s: the prose stays as it was written", prose)
        _speak(language, resources)
        return nb, resources


class AnswerHere(NbGraderPreprocessor):  # type: ignore[misc]
    """Says in the course's language where a written answer goes. Must come after `ClearSolutions`."""

    def preprocess(
        self, nb: NotebookNode, resources: _Resources
    ) -> tuple[NotebookNode, _Resources]:
        """The notebook with that one line of nbgrader's in the course's language."""
        _, language = _course_of(self, resources)
        for cell in nb.cells:
            if cell.cell_type == "markdown" and cell.metadata.get("nbgrader", {}).get("solution"):
                cell.source = cell.source.replace(
                    text("notebook.answer_here", _OWN),
                    text("notebook.answer_here", language),
                )
        return nb, resources


def _course_of(preprocessor: NbGraderPreprocessor, resources: _Resources) -> tuple[Path, str]:
    """The folder of the assignment's graders, and its language."""
    graders = Path(coursedir_of(preprocessor).root, "graders", resources["nbgrader"]["assignment"])
    return graders, Settings.read(graders / "assignment.toml").language


def _speak(language: str, resources: _Resources) -> None:
    """Have `check.py` written in that language, over the copy that nbgrader made of it.

    nbgrader copies files before it converts notebooks; nbconvert writes these `outputs` beside each.
    """
    check = Path(resources["metadata"]["path"], _CHECK)
    if check.is_file():
        copied = check.read_text(encoding="utf-8")
        spoken = _LANGUAGE.sub(f'LANGUAGE = "{language}"', copied)
        if spoken != copied:
            resources.setdefault("outputs", {})[_CHECK] = spoken.encode()
