"""A course under attack: its class, its valuables, its graders, and what is left of it all afterwards."""

import ctypes
import glob
import hashlib
import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import psutil
from places import Place

from attacks.attack import Attack, Scene
from demo.classroom import Course, edited
from handgrad.store.records import Record, Records

ROOT = Path(__file__).resolve().parents[2]
NAME = "backprop"
SECRET = "-----BEGIN PRIVATE KEY----- of the teacher"
# The first and the last in the alphabet, and one in between: whoever comes before or after an attacker.
HONEST = ("a_honest", "m_honest", "zz_honest")
_PR_SET_CHILD_SUBREAPER = 36
# What a cell may compute is little; how long it may take is more, as the machine is busy meanwhile.
LIMITS = """
[limits]
cell_seconds = 8
cell_cpu_seconds = 2.5
wall_seconds = 80
cpu_seconds = 16
memory_mib = 2048
processes = 32
file_mib = 4
scratch_mib = 8
scratch_files = 200
output_kib = 64
notebook_mib = 2
"""


def make_course(into: Path) -> Path:
    """A copy of this repository's course, with small limits and a gradebook of its own."""
    for step in ("source", "release", "graders"):
        shutil.copytree(
            ROOT / step / NAME,
            into / step / NAME,
            ignore=shutil.ignore_patterns("__pycache__", "seed"),
        )
    shutil.copy(ROOT / "nbgrader_config.py", into)
    (into / "graders" / NAME / "assignment.toml").write_text(LIMITS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", "generate_assignment", NAME, "--force"],
        cwd=into,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return into


def hand_in(attacks: Mapping[str, Attack], scene: Scene) -> None:
    """Write the submissions of the honest students and of all attackers."""
    course = Course.read(ROOT, NAME)
    solved = {stem: course.solved(stem) for stem in course.release}
    submitted = scene.course / "submitted"
    for student in HONEST:
        _write(submitted / student / NAME, solved)
    for name, attack in attacks.items():
        folder = submitted / (attack.student or name) / NAME
        notebooks = {
            stem: edited(
                solved[stem],
                {k: scene.told(v) for k, v in attack.answers.get(stem, {}).items()},
            )
            for stem in attack.stems
        }
        if attack.edit is not None:
            attack.edit(notebooks)
        _write(folder, notebooks)
        if attack.files is not None:
            attack.files(folder, scene)


def _write(folder: Path, notebooks: Mapping[str, nbformat.NotebookNode]) -> None:
    folder.mkdir(parents=True)
    for name in ("check.py", "names.txt"):
        shutil.copy(ROOT / "release" / NAME / name, folder)
    for stem, notebook in notebooks.items():
        # Not nbformat.write, which would mend or refuse what a student may do to the file.
        text = nbformat.v4.nbjson.writes(notebook)
        (folder / f"{stem}.ipynb").write_text(text, encoding="utf-8")


@contextmanager
def scene(base: Path) -> Iterator[tuple[Scene, "Callers"]]:
    """A course in `base`, valuables in a home beside it, and two servers that wait for callers."""
    course, home = base / "course", base / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_rsa").write_text(SECRET, encoding="utf-8")
    (home / ".bashrc").write_text("# nothing yet\n", encoding="utf-8")
    callers = Callers()
    unix = home / "socket"
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as inet,
        closing(socket.socket(socket.AF_UNIX)) as local,
    ):
        local.bind(str(unix))
        local.listen()
        for server in (inet, local):
            threading.Thread(target=callers.wait_at, args=(server,), daemon=True).start()
        yield Scene(course, home, inet.getsockname()[1], unix, f"was-here-{base.name}"), callers


@dataclass(slots=True)
class Callers:
    """Whoever called at a server."""

    found: list[str] = field(default_factory=list)

    def wait_at(self, server: socket.socket) -> None:
        while True:
            try:
                connection, address = server.accept()
            except OSError:
                return  # the scene is over
            connection.close()
            self.found.append(f"{server.getsockname()} {address}")


@dataclass(frozen=True, slots=True)
class Seen:
    """A run of a command that grades: what it said, and the host before and after."""

    status: int
    said: str
    before: Mapping[str, str]
    after: Mapping[str, str]


def run(scene: Scene, place: Place, *words: str, seconds: float = 1800.0) -> Seen:
    """Grade the course in a place, and look at everything that the grader may write to."""
    scratch = scene.home.with_name("tmp")
    scratch.mkdir()
    place.own(scene.home.parent)
    before = listing(scene)
    done = subprocess.run(
        place.command("-m", *words),
        cwd=scene.course,
        env=place.environment(HOME=str(scene.home), TMPDIR=str(scratch), COLUMNS="1000"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds,
        check=False,
    )
    said = done.stdout.decode("utf-8", "surrogateescape")
    return Seen(done.returncode, said, before, listing(scene))


@contextmanager
def adopted() -> Iterator[list[str]]:
    """Become the parent of every descendant that loses its own; fills the list with those that live on."""
    prctl = ctypes.CDLL(None).prctl
    me = psutil.Process()
    before = {child.pid for child in me.children(recursive=True)}
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    left_over: list[str] = []
    try:
        yield left_over
        deadline = time.monotonic() + 2.0  # the kernel takes a moment to end a namespace
        while living := [p for p in me.children(recursive=True) if p.pid not in before]:
            for process in living:
                with suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                    process.wait(timeout=0.1)
            if time.monotonic() > deadline:
                left_over += [f"{p.pid} {' '.join(p.cmdline())[:200]}" for p in living]
                break
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0)


# What a run is there to write.
_OUTPUT = ("autograded", "feedback", "reports", "gradebook.db", "graders/backprop/seed")


def listing(scene: Scene) -> dict[str, str]:
    """Every file of the course, the home and the temporary folder: what it is, and a hash of it."""
    found = {}
    for top in (scene.course, scene.home, scene.home.with_name("tmp")):
        for path in _all(top):
            name = os.fsencode(path.relative_to(top.parent)).decode("utf-8", "backslashreplace")
            if not name.startswith(tuple(f"{top.name}/{output}" for output in _OUTPUT)):
                found[name] = _what(path)
    for top in ("/", "/tmp", "/var/tmp", "/dev/shm", str(Path.home())):
        found |= dict.fromkeys(glob.glob(f"{top}/*{scene.mark}*"), "a trace")  # noqa: PTH207
    return found


def _all(top: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(top):
        for name in (*inner, *names):
            yield Path(folder, name)


def _what(path: Path) -> str:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return f"a link to {path.readlink()}"
    if stat.S_ISREG(status.st_mode):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return f"a file {status.st_mode:o} {digest}"
    return f"{status.st_mode:o}"


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and the TeX commands where MathJax would set them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self._literal = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(f"<{tag} " + " ".join(f"{name}={value}" for name, value in attrs))
        self._literal += tag in ("pre", "code")

    def handle_endtag(self, tag: str) -> None:
        self._literal -= tag in ("pre", "code")

    def handle_data(self, data: str) -> None:
        if not self._literal:
            self.seen.update(re.findall(r"\\\w+", data))


@dataclass(frozen=True, slots=True)
class Results:
    """What a run left of every student: the record, the gradebook's rows, the notebooks to look at."""

    scene: Scene
    seen: Seen
    callers: tuple[str, ...]
    rows: Mapping[str, Mapping[tuple[str, str], tuple[float | None, bool]]]

    def record(self, student: str) -> Record | None:
        return Records(self.scene.course, NAME).read(student)

    def notebooks(self, student: str) -> str:
        """The text of all graded notebooks of a student, sources and outputs."""
        found = []
        for notebook in self._read(student):
            for cell in notebook.cells:
                found.append(cell.source)
                found += [str(dict(output)) for output in cell.get("outputs", ())]
        return "\n".join(found)

    def live(self, student: str) -> str:
        """What a browser would act upon in a student's notebooks: tags, attributes and TeX."""
        from nbconvert.exporters import HTMLExporter

        exporter = HTMLExporter(template_name="basic")
        found = Tags()
        for notebook in self._read(student):
            found.feed(exporter.from_notebook_node(notebook)[0])
        return "\n".join(sorted(found.seen))

    def _read(self, student: str) -> list[nbformat.NotebookNode]:
        folder = self.scene.course / "autograded" / student / NAME
        return [nbformat.read(path, as_version=4) for path in sorted(folder.glob("*.ipynb"))]

    @classmethod
    def of(cls, scene: Scene, seen: Seen, callers: Iterable[str]) -> "Results":
        rows: dict[str, dict[tuple[str, str], tuple[float | None, bool]]] = {}
        with closing(sqlite3.connect(scene.course / "gradebook.db")) as book:
            for student, stem, grade_id, score, manual in book.execute(_ROWS):
                rows.setdefault(student, {})[stem, grade_id] = score, bool(manual)
        return cls(scene, seen, tuple(callers), rows)


_ROWS = """
SELECT submitted_assignment.student_id, notebook.name, base_cell.name,
       grade.auto_score, grade.needs_manual_grade
FROM grade
JOIN base_cell ON base_cell.id = grade.cell_id
JOIN submitted_notebook ON submitted_notebook.id = grade.notebook_id
JOIN notebook ON notebook.id = submitted_notebook.notebook_id
JOIN submitted_assignment ON submitted_assignment.id = submitted_notebook.assignment_id
"""
