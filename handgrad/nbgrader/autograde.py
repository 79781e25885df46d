"""nbgrader's own `autograde`, by way of this project's sandbox and graders.

`nbgrader_config.py` names the classes. What nbgrader has no door for is put right by
`make_safe`, on the very objects of one run.
"""

import glob
import logging
import os
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy.exc
from nbconvert.exporters import Exporter, NotebookExporter
from nbformat import NotebookNode
from nbgrader.converters import base
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import rmtree

from handgrad.batch.session import Session, session
from handgrad.errors import UserError
from handgrad.nbgrader.onelog import OneLine
from handgrad.notebooks.intake import SECRET, TIMESTAMP, timestamp
from handgrad.notebooks.notebooknode import nbjson
from handgrad.pages.annotate import serialised
from handgrad.plaintext import odd_name
from handgrad.store.course import coursedir_of
from handgrad.store.lock import only_one
from handgrad.store.records import Records
from handgrad.store.rows import parsed_time

_Resources = dict[str, Any]  # nbconvert's, of any kind of value

_find_all_files = base.find_all_files


class SubmissionExporter(NotebookExporter):
    """Hands nbgrader a submission's notebooks, restored and marked, whatever the files hold.

    nbgrader calls it twice for each: for the file in `submitted/`, which nobody vouches for and which
    nbconvert is not given to read, and for the one it wrote to `autograded/` from that.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        if isinstance(self.parent, base.BaseConverter):
            make_safe(self.parent)

    def from_filename(
        self, filename: str, resources: _Resources | None = None, **kwargs: Any
    ) -> tuple[Any, _Resources]:
        """The text of the notebook to be written, as nbgrader's converters ask for it."""
        path, coursedir = Path(filename), getattr(self.parent, "coursedir", None)
        if coursedir is None or resources is None or _root(coursedir) not in path.parents:
            return super().from_filename(filename, resources, **kwargs)
        about = resources["nbgrader"]
        graded = _session(coursedir, about["assignment"])
        text = graded.notebook(about["student"], path.parent, path.stem)
        return text, {**resources, "output_extension": self.file_extension}

    def from_notebook_node(
        self, nb: NotebookNode, resources: _Resources | None = None, **kwargs: Any
    ) -> tuple[Any, _Resources]:
        """The text of the graded notebook, the same bytes that `handgrad grade` writes."""
        graded, resources = Exporter.from_notebook_node(self, nb, resources, **kwargs)
        return serialised(graded), resources


class Mark(NbGraderPreprocessor):  # type: ignore[misc]
    """In the place of nbgrader's `Execute`: the notebook as the sandbox ran it and the graders saw it.

    A submission is marked once, all its notebooks together, and remembered for the next of them.
    """

    def preprocess(
        self, nb: NotebookNode, resources: _Resources
    ) -> tuple[NotebookNode, _Resources]:
        """Each test cell shows the reason and, where there is a mark, the points."""
        about = resources["nbgrader"]
        graded = _session(coursedir_of(self), about["assignment"])
        folder = _folder(coursedir_of(self), about["student"], about["assignment"])
        text = graded.notebook(about["student"], folder, about["notebook"])
        return nbjson.reads(text), resources  # type: ignore[no-untyped-call]


class SaveMarks(NbGraderPreprocessor):  # type: ignore[misc]
    """In the place of nbgrader's `SaveAutoGrades`, which reads a mark from what a cell shows.

    That rule pays in full for nan, for text and for a cell that shows nothing. Here the marks come from
    the graders; where they could not tell there is none, and a person is asked for one.
    """

    def preprocess(
        self, nb: NotebookNode, resources: _Resources
    ) -> tuple[NotebookNode, _Resources]:
        """Write the marks of this notebook to the gradebook."""
        about = resources["nbgrader"]
        coursedir = coursedir_of(self)
        graded = _session(coursedir, about["assignment"])
        folder = _folder(coursedir, about["student"], about["assignment"])
        graded.save(about["student"], folder, about["notebook"], about["db_url"])
        for said in graded.remarks(about["student"], about["notebook"]):
            self.log.warning("%s, %s: %s", about["student"], about["notebook"], said)
        return nb, resources


class KeepRecord(NbGraderPreprocessor):  # type: ignore[misc]
    """The last of all: from now on the mark of this notebook stands, and is not made again."""

    def preprocess(
        self, nb: NotebookNode, resources: _Resources
    ) -> tuple[NotebookNode, _Resources]:
        """Keep the report, for the class report and for the next run."""
        about, coursedir = resources["nbgrader"], coursedir_of(self)
        folder = _folder(coursedir, about["student"], about["assignment"])
        graded = _session(coursedir, about["assignment"])
        graded.finish(about["student"], folder, about["notebook"])
        return nb, resources


def make_safe(converter: base.BaseConverter) -> None:
    """Keep one run of nbgrader from what it would do with a stranger's files, and say.

    nbgrader copies all that a submission brings, following links and reading pipes and devices; it
    reads `timestamp.txt` the same way; it takes names for patterns; it passes over what a killed run
    left half done; it prints a traceback for everything. There is no setting for any of that.
    """
    base.find_all_files = _files_to_copy
    _submitted.add(_root(converter.coursedir))
    for folder, found in converter.assignments.items():
        converter.assignments[folder] = [each for each in found if _is_its_own(each, folder)]
    if converter.coursedir.notebook_id == "*":
        _add_those_of_other_names(converter)
    _clear_unfinished(converter)
    converter.coursedir.get_existing_timestamp = _existing_timestamp
    if not any(isinstance(each, OneLine) for each in converter.log.filters):
        level = getattr(converter.parent, "log_level", logging.INFO)
        converter.log.addFilter(OneLine(debug=level in ("DEBUG", logging.DEBUG, logging.NOTSET)))
        with suppress(UserError):  # it is said where a submission is graded
            about = _session(converter.coursedir, converter.coursedir.assignment_id)
            converter.log.info(about.sandbox)
    # nbgrader makes rows in an order that SQLAlchemy 2.1 remarks on, and means it.
    warnings.filterwarnings("ignore", "Object of type .* not in session", sqlalchemy.exc.SAWarning)


def _add_those_of_other_names(converter: base.BaseConverter) -> None:
    """Let nbgrader convert a notebook that is there under another name as if it had its own.

    It reads none of these files: `SubmissionExporter` hands it their text.
    """
    coursedir = converter.coursedir
    assignment = coursedir.assignment_id
    released = coursedir.format_path(coursedir.release_directory, ".", assignment)
    stems = {path.stem for path in Path(released).glob("*.ipynb")}
    source = converter._format_source("(?P<assignment>.*)", "(?P<student>.*)", escape=True)
    pattern = converter._format_source(assignment, coursedir.student_id)
    for folder in glob.glob(pattern):  # noqa: PTH207 (nbgrader's own way)
        student = re.fullmatch(source, folder, re.DOTALL)
        if student is None or all(Path(folder, f"{stem}.ipynb").exists() for stem in stems):
            continue
        with suppress(UserError):  # what is wrong with the folder is said when its turn comes
            found = _session(coursedir, assignment).found(student["student"], Path(folder))
            known = converter.assignments.setdefault(folder, [])
            paths = [os.path.join(folder, f"{stem}.ipynb") for stem in sorted(found)]  # noqa: PTH118
            known += [path for path in paths if path not in known]
            if not known:
                del converter.assignments[folder]


def _clear_unfinished(converter: base.BaseConverter) -> None:
    """Take away what a killed run left of a submission, so that nbgrader grades it again."""
    coursedir = converter.coursedir
    if coursedir.notebook_id != "*":
        return
    source = converter._format_source("(?P<assignment>.*)", "(?P<student>.*)", escape=True)
    try:
        with only_one(Path(coursedir.root)):
            for folder, notebooks in converter.assignments.items():
                found = re.fullmatch(source, folder, re.DOTALL)
                if found is None or odd_name(found["student"]):
                    continue
                graded = Path(converter._format_dest(found["assignment"], found["student"]))
                records = Records(Path(coursedir.root), found["assignment"])
                if graded.is_dir() and not _is_whole(records, found["student"], graded, notebooks):
                    converter.log.warning("Grading again what was left unfinished: %s", graded)
                    rmtree(str(graded))
    except UserError as error:  # another grader is at work: nothing of it is touched
        converter.log.warning("%s", error)


def _is_whole(records: Records, student: str, graded: Path, notebooks: Sequence[str]) -> bool:
    """Whether a run got to the end of the submission with these notebooks."""
    record = records.read(student)
    if record is None or not record.due:
        return False
    return record.lies_in(graded, {Path(each).stem for each in notebooks} & record.sizes.keys())


def _is_its_own(notebook: str, folder: str) -> bool:
    """Whether a notebook that nbgrader found lies in this very folder, under a name that is text.

    A folder named `*` finds everybody's, and a name of stray bytes is none that a database takes.
    """
    return os.path.dirname(notebook) == folder and not _STRAY_BYTES.search(notebook)  # noqa: PTH120


_STRAY_BYTES = re.compile("[\ud800-\udfff]")

_submitted: set[Path] = set()  # folders of submissions of the courses that this process grades


def _files_to_copy(path: str, exclude: list[str] | None = None) -> list[str]:
    """nbgrader's `find_all_files`, but of a submission only its time stamp and secret."""
    folder = Path(path)
    if not any(root in folder.parents for root in _submitted):
        found: list[str] = _find_all_files(path, exclude)
        return found
    own = (folder / TIMESTAMP, folder / SECRET)
    return [str(each) for each in own if each.is_file() and not each.is_symlink()]


def _existing_timestamp(dest_path: str) -> object:
    """nbgrader's own, but it opens no link, pipe or device, and says what is wrong with a time."""
    folder = Path(dest_path)
    return parsed_time(timestamp(folder).strip(), folder.parent.name)


def _root(coursedir: CourseDirectory) -> Path:
    return Path(coursedir.root, coursedir.submitted_directory)


def _folder(coursedir: CourseDirectory, student: str, assignment: str) -> Path:
    return Path(coursedir.format_path(coursedir.submitted_directory, student, assignment))


def _session(coursedir: CourseDirectory, assignment: str) -> Session:
    return session(Path(coursedir.root), assignment)
