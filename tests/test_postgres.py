"""The gradebook on PostgreSQL: the same rows as on SQLite, through both doors. The server is real."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql
from coursedir import (
    ASSIGNMENT,
    DUE,
    ROOT,
    STUDENTS,
    TABLES,
    graded_class,
    make_course,
    nbgrader,
    replay,
    rows,
)

from handgrad.batch.run import grade
from handgrad.errors import UserError
from handgrad.store.course import Course
from handgrad.store.gradebook import Gradebook


def _program(name: str) -> str:
    """A PostgreSQL program; Debian keeps them beside the path."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = str(beside[-1]) if beside else shutil.which(name)
    if found:
        return found
    why = f"there is no {name}: install PostgreSQL (`apt-get install postgresql`) and run again"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of its own on a socket in a folder of its own; the folder's path."""
    initdb, postgres = _program("initdb"), _program("postgres")
    # It refuses to be root.
    user = {"user": "nobody", "group": "nogroup", "extra_groups": ()} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="handgrad-pg-", dir="/tmp"))  # a socket's path is short
    try:
        if user:
            shutil.chown(folder, "nobody")
        data, socket = str(folder / "data"), str(folder)
        subprocess.run(
            [initdb, "-D", data, "-U", "grader", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
            **user,
        )
        settings = [f"unix_socket_directories={socket}", "listen_addresses=", "fsync=off"]
        options = [part for setting in settings for part in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            running = subprocess.Popen(
                [postgres, "-D", data, *options], stdout=log, stderr=log, cwd=folder, **user
            )
        try:
            _wait_for(folder / ".s.PGSQL.5432", running, folder / "log")
            yield socket
        finally:
            running.terminate()
            running.wait(30)
    finally:
        shutil.rmtree(folder)


def _wait_for(socket: Path, running: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while not socket.exists():
        assert running.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


@pytest.fixture
def url(server: str) -> str:
    """The address of an empty database, as `db_url` wants it."""
    admin = sql.create_engine(
        f"postgresql+psycopg2://grader@/postgres?host={server}", isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS course WITH (FORCE)")
        connection.exec_driver_sql("CREATE DATABASE course")
    admin.dispose()
    return f"postgresql+psycopg2://grader@/course?host={server}"


@pytest.fixture
def course(tmp_path: Path, url: str) -> Path:
    """The class of the other tests, its gradebook on the server; nobody is graded."""
    root = make_course(tmp_path / "course")
    (root / "gradebook.db").unlink()
    _set(root, url)
    done = nbgrader(root, "generate_assignment", ASSIGNMENT, "--force")
    assert done.returncode == 0, done.stderr
    engine = sql.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sql.text("UPDATE assignment SET duedate = :due"), {"due": DUE})
    engine.dispose()
    return root


def _set(root: Path, url: str) -> None:
    with (root / "nbgrader_config.py").open("a") as file:
        file.write(f"\nc.CourseDirectory.db_url = {url!r}\n")


def server_rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    """The gradebook's tables as `coursedir.rows` reads them from SQLite."""
    engine = sql.create_engine(url)
    with engine.connect() as connection:
        found = {
            name: sorted((_plain(row) for row in connection.execute(sql.text(query))), key=repr)
            for name, query in TABLES.items()
        }
    engine.dispose()
    return found


def _plain(row: sql.Row[tuple[object, ...]]) -> tuple[object, ...]:
    """A row as SQLite has it, which knows neither booleans nor times."""
    return tuple(
        f"{value:%Y-%m-%d %H:%M:%S.%f}"
        if hasattr(value, "strftime")
        else int(value)
        if isinstance(value, bool)
        else value
        for value in row
    )


def test_a_batch_writes_the_same_rows_as_on_sqlite(course: Path, url: str) -> None:
    summary = grade(course, ASSIGNMENT, pool=replay())
    assert summary.graded == len(STUDENTS)
    assert server_rows(url) == rows(graded_class().root)
    assert not (course / "gradebook.db").exists()


def test_marks_on_the_server_stand_until_they_are_changed_there(course: Path, url: str) -> None:
    grade(course, ASSIGNMENT, pool=replay())
    again = replay()
    assert grade(course, ASSIGNMENT, pool=again).standing == len(STUDENTS)
    engine = sql.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE grade SET auto_score = 0 WHERE notebook_id IN (SELECT n.id FROM "
            "submitted_notebook n JOIN submitted_assignment s ON s.id = n.assignment_id "
            "WHERE s.student_id = 'late')"
        )
    engine.dispose()
    assert grade(course, ASSIGNMENT, pool=again).graded == 1
    assert again.asked == ["late"]
    assert server_rows(url) == rows(graded_class().root)


def test_nbgraders_own_autograde_writes_the_same_rows(course: Path, url: str) -> None:
    done = nbgrader(course, "autograde", ASSIGNMENT, "--student", "late")
    assert done.returncode == 0, done.stderr
    expected = rows(graded_class().root)
    for table, at in (("submitted_notebook", 0), ("grade", 1), ("comment", 1)):
        mine = [row for row in expected[table] if row[at] == "late"]
        assert server_rows(url)[table] == mine


@pytest.mark.parametrize(
    ("address", "fact"),
    [
        pytest.param("postgres://grader@/course", "nothing here can open", id="another name"),
        pytest.param("postgresql+pg8000://g@/course", "nothing here can open", id="no driver"),
        pytest.param("gradebook.db", "it is no address of a database", id="no address"),
        pytest.param(
            "postgresql+psycopg2://grader@/course?host=/nowhere",
            "it cannot be reached",
            id="no server",
        ),
    ],
)
def test_an_address_that_leads_nowhere_is_told_with_its_cure(address: str, fact: str) -> None:
    with pytest.raises(UserError) as error, Gradebook(address, ASSIGNMENT):
        raise AssertionError("it was opened")
    assert fact in error.value.fact
    assert error.value.cure


def test_a_password_is_not_told() -> None:
    with (
        pytest.raises(UserError) as error,
        Gradebook("postgresql+psycopg2://grader:hush@/course?host=/nowhere", ASSIGNMENT),
    ):
        raise AssertionError("it was opened")
    assert "hush" not in str(error.value)


def test_there_is_no_file_to_restore_where_the_gradebook_is_on_a_server(
    tmp_path: Path, url: str
) -> None:
    root = tmp_path / "course"
    root.mkdir()
    (root / "graders").mkdir()
    shutil.copy(ROOT / "nbgrader_config.py", root)
    _set(root, url)
    assert Course(root).db_url == url
    done = subprocess.run(
        [sys.executable, "-m", "handgrad.doors.cli", "restore", "--course", str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "it is not a file" in done.stderr
    assert "its database's own tools" in done.stderr
