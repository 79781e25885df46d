"""nbgrader's exchange on one machine: out to a student, back to the course, and the feedback out again."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from coursedir import ASSIGNMENT, hand_in, make_course, nbgrader, scores
from jupyterserver import JupyterServer, jupyter_server
from nbgrader.utils import get_username

from demo.classroom import CLASS, ONE, Course, Student

COURSE = "handgrad"
ME = get_username()  # the exchange knows people by their accounts


@dataclass(frozen=True)
class Exchange:
    """A course and a student's folder, with an exchange between them."""

    course: Path
    student: Path
    home: Path

    def run(self, where: Path, *arguments: str) -> str:
        """What an nbgrader command that ended well has said."""
        root = f"--Exchange.root={self.home / 'exchange'}"
        cache = f"--Exchange.cache={self.home / 'cache'}"
        done: subprocess.CompletedProcess[str] = nbgrader(where, *arguments, root, cache)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        return said

    def work(self) -> None:
        """Do the exercises in what was fetched."""
        folder = self.student / ASSIGNMENT
        for stem, notebook in (
            CLASS["perfect"].notebooks(Course.read(self.course, ASSIGNMENT)).items()
        ):
            nbformat.write(notebook, folder / f"{stem}.ipynb")


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Exchange:
    """The assignment, released to the exchange."""
    folder = tmp_path_factory.mktemp("exchange")
    made = Exchange(make_course(folder / "course", []), folder / "student", folder / "home")
    for each in (made.student, made.home, made.home / "exchange"):
        each.mkdir()
    (made.home / "exchange").chmod(0o777)  # nbgrader's own condition
    assert "Released as" in made.run(made.course, "release_assignment", ASSIGNMENT)
    return made


@pytest.fixture
def fetched_nothing(exchange: Exchange) -> Exchange:
    """The student has nothing yet, and the course has nothing of the student's."""
    shutil.rmtree(exchange.student / ASSIGNMENT, ignore_errors=True)
    shutil.rmtree(exchange.course / "submitted" / ME, ignore_errors=True)
    return exchange


def test_an_assignment_goes_out_and_comes_back_and_its_feedback_goes_out(
    fetched_nothing: Exchange,
) -> None:
    one = fetched_nothing
    of_course = ("--course", COURSE)
    assert ASSIGNMENT in one.run(one.student, "list", *of_course)
    one.run(one.student, "fetch_assignment", ASSIGNMENT, *of_course)
    released = {
        path.name: path.read_bytes() for path in (one.course / "release" / ASSIGNMENT).iterdir()
    }
    fetched = {path.name: path.read_bytes() for path in (one.student / ASSIGNMENT).iterdir()}
    assert fetched == released

    one.work()
    one.run(one.student, "submit", ASSIGNMENT, *of_course)
    assert ME in one.run(one.course, "list", "--inbound")
    assert f"Collecting submission: {ME}" in one.run(one.course, "collect", ASSIGNMENT)
    one.run(one.course, "autograde", ASSIGNMENT)
    found = scores(one.course, ME)
    assert sum(points for points, _ in found.values() if points) == 92
    assert {grade_id for (_, grade_id), (_, waits) in found.items() if waits} == {
        "bessel",
        "why_db1_is_zero",
    }

    one.run(one.student, "submit", ASSIGNMENT, *of_course)
    assert "use --update" in one.run(one.course, "collect", ASSIGNMENT)
    assert f"Updating submission: {ME}" in one.run(one.course, "collect", ASSIGNMENT, "--update")

    hand_in(one.course, "by_mail", Student("nothing of the exchange", solved=False))
    one.run(one.course, "autograde", ASSIGNMENT)
    one.run(one.course, "generate_feedback", ASSIGNMENT)
    one.run(one.course, "release_feedback", ASSIGNMENT)
    one.run(one.student, "fetch_feedback", ASSIGNMENT, *of_course)
    (page,) = (one.student / ASSIGNMENT / "feedback").rglob(f"{ONE}.html")
    assert "<html" in page.read_text(encoding="utf-8")


@pytest.fixture
def server(exchange: Exchange) -> Iterator[JupyterServer]:
    with jupyter_server(exchange.student, exchange.home) as running:
        yield running


def ask(server: JupyterServer, path: str, **fields: str) -> list[dict[str, object]]:
    """What the server behind the Assignment List answers."""
    request = urllib.request.Request(
        f"{server.url}{path}",
        data=urllib.parse.urlencode(fields).encode() if fields else None,
        headers={"Authorization": f"token {server.token}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        said = json.load(answer)
    assert said["success"], said
    value: list[dict[str, object]] = said["value"]
    return value


def test_the_assignment_list_of_jupyterlab_fetches_and_submits(
    fetched_nothing: Exchange, server: JupyterServer
) -> None:
    one = fetched_nothing
    offered = ask(server, f"assignments?course_id={COURSE}")
    assert ASSIGNMENT in {each["assignment_id"] for each in offered if each["status"] == "released"}
    ask(server, "assignments/fetch", course_id=COURSE, assignment_id=ASSIGNMENT)
    assert (one.student / ASSIGNMENT / f"{ONE}.ipynb").is_file()
    one.work()
    ask(server, "assignments/submit", course_id=COURSE, assignment_id=ASSIGNMENT)
    one.run(one.course, "collect", ASSIGNMENT)
    assert (one.course / "submitted" / ME / ASSIGNMENT / "timestamp.txt").is_file()
