"""A course's folder as nbgrader's settings describe it: where things lie, what lateness costs."""

import glob
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from nbgrader.apps.baseapp import NbGrader
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import AssignLatePenalties, NbGraderPreprocessor
from nbgrader.utils import find_all_files
from traitlets.config import Application

from handgrad.errors import UserError
from handgrad.plaintext import line, odd_name
from handgrad.store.rows import Late, Penalties


class Course:
    """What nbgrader knows of the course at `root`; raises UserError where its settings are broken."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        app = NbGrader()
        app.log_level = logging.ERROR
        app.load_cwd_config = False
        app.raise_config_file_errors = True
        settings = self.root / "nbgrader_config.py"
        with_scripts_on_path()
        if str(self.root) not in sys.path:  # nbgrader finds an instructor's own plugins there too
            sys.path.append(str(self.root))
        try:
            app.load_config_file(suppress_errors=False)
            Application.load_config_file(app, settings.name, path=str(self.root))
            self._directory = CourseDirectory(parent=app, root=str(self.root))
            self.penalties = _Penalties(app)
        except Exception as error:  # the file is a program: anything may come of it
            raise UserError(
                str(settings), f"it cannot be used ({line(str(error))})", "Mend it"
            ) from None

    @property
    def db_url(self) -> str:
        """The gradebook's address."""
        return str(self._directory.db_url)

    @property
    def permissions(self) -> int:
        """The mode of the files in `autograded/`, nbgrader's default."""
        return 0o664 if self._directory.groupshared else 0o444

    def submitted(self, student: str, assignment: str) -> Path:
        """The folder in which a submission is."""
        return self._path(self._directory.submitted_directory, student, assignment)

    def autograded(self, student: str, assignment: str) -> Path:
        """The folder in which a graded submission is kept for people to look at."""
        return self._path(self._directory.autograded_directory, student, assignment)

    def autograded_everywhere(self, pattern: str) -> list[Path]:
        """The folders like `pattern` where an assignment's would be in `autograded/`, of anybody."""
        anybody = glob.escape(str(self.autograded("\1", "\2")))
        found = glob.glob(anybody.replace("\1", "*").replace("\2", pattern))  # noqa: PTH207
        return [Path(each) for each in found]

    def _path(self, step: str, student: str, assignment: str) -> Path:
        return Path(os.path.normpath(self._directory.format_path(step, student, assignment)))

    def source_files(self, assignment: str) -> Mapping[str, bytes]:
        """What the instructor put beside the notebooks, by relative path."""
        folder = self._path(self._directory.source_directory, ".", assignment)
        found = find_all_files(str(folder), [*self._directory.ignore, "*.ipynb"])
        return {os.path.relpath(path, folder): Path(path).read_bytes() for path in sorted(found)}

    def students(self, assignment: str) -> tuple[tuple[str, ...], tuple[UserError, ...]]:
        """Who handed in, sorted, and what is wrong with the folders that are no student's."""
        excluded = set(filter(None, self._directory.student_id_exclude.split(",")))
        found, odd = [], []
        for student, folder in sorted(self._folders(assignment)):
            if student in excluded:
                continue
            wrong = not_a_students(student, folder)
            if wrong is None:
                found.append(student)
            else:
                odd.append(wrong)
        return tuple(found), tuple(odd)

    def odd_folders(self) -> list[UserError]:
        """What is wrong with the folders under `submitted/` that are no student's, of any assignment."""
        names = sorted({path.parent.name for path in self.root.glob("graders/*/test_*.py")})
        return [odd for name in names for odd in self.students(name)[1]]

    def _folders(self, assignment: str) -> Iterator[tuple[str, Path]]:
        step = self._directory.submitted_directory
        anybody = glob.escape(self._directory.format_path(step, "\0", assignment))
        shape = re.compile(
            self._directory.format_path(
                re.escape(step), "(?P<student>.*)", re.escape(assignment), escape=True
            ),
            re.DOTALL,
        )
        for folder in glob.glob(anybody.replace("\0", "*")):  # noqa: PTH207 (nbgrader's own way)
            match = shape.fullmatch(folder)
            if match is not None:
                yield match["student"], Path(folder)


def not_a_students(student: str, folder: Path) -> UserError | None:
    """What is wrong with a folder as that of a submission, None where nothing is."""
    wrong = odd_name(student)
    if not wrong and (folder.is_symlink() or folder.parent.is_symlink()):
        wrong = "it is a link to another place"
    if not wrong:
        return None
    return UserError(
        line(str(folder.parent), 120),
        f"this cannot be a student's folder: {wrong}",
        "Rename the folder and grade again",
    )


class _Penalties(Penalties):
    """nbgrader's own plugin for late submissions, asked as nbgrader asks it."""

    def __init__(self, app: NbGrader) -> None:
        self._preprocessor = AssignLatePenalties(parent=app)
        self._preprocessor.init_plugin()

    def of(self, late: Late) -> float | None:
        penalty = self._preprocessor.plugin_inst.late_submission_penalty(
            late.student, late.score, late.seconds
        )
        if penalty is None:
            return None
        return min(max(0.0, float(penalty)), late.score)


def coursedir_of(preprocessor: NbGraderPreprocessor) -> CourseDirectory:
    """The course of the run of nbgrader that a preprocessor is part of; raises UserError in no run."""
    here = preprocessor
    while here is not None:
        if isinstance(getattr(here, "coursedir", None), CourseDirectory):
            return here.coursedir
        here = here.parent
    raise UserError(
        "nbgrader",
        f"{type(preprocessor).__name__} is part of no run of nbgrader's",
        "Name it in nbgrader_config.py only, where that of the course does",
    )


def with_scripts_on_path() -> None:
    """Let nbgrader find `alembic`, which it calls by its bare name, where no environment is active."""
    scripts = str(Path(sys.executable).parent)
    paths = os.environ.get("PATH", os.defpath).split(os.pathsep)
    if scripts not in paths:
        os.environ["PATH"] = os.pathsep.join([scripts, *paths])
