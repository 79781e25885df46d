"""Grading on a cluster: the same marks, a lost worker costs a retry. The cluster is real."""

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import errands
import pytest
from coursedir import ASSIGNMENT, STUDENTS, autograded, graded_class, make_course, rows

from handgrad.assignment.source import Source
from handgrad.batch.run import Result, Watcher, grade
from handgrad.errors import UserError
from handgrad.grading import process
from handgrad.grading.graded import Graded
from handgrad.grading.workers import WorkerDied
from handgrad.verdict import Finding, Report, Verdict

try:
    import distributed

    from handgrad.batch.dask_cluster import Cluster, GradingPlugin, _call, _checked, _plain
except ImportError:
    WHY = "dask.distributed is not installed: `pip install 'handgrad[dask]'` and run again"
    if os.environ.get("CI"):
        raise
    pytest.skip(WHY, allow_module_level=True)

TWO_DEATHS = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}  # dask's own would be four


def _start(program: str, *arguments: str, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{program}", *arguments],
            stdout=file,
            stderr=file,
            cwd=log.parent,
            env={**os.environ, **TWO_DEATHS, "PYTHONPATH": str(Path(__file__).parent)},
            start_new_session=True,
        )


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a scheduler that has no workers yet."""
    with tempfile.TemporaryDirectory(prefix="handgrad-dask-") as folder:
        told = Path(folder) / "scheduler.json"
        options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show")
        running = _start(
            "scheduler", *options, "--scheduler-file", str(told), log=Path(folder) / "log"
        )
        try:
            yield _address(told, running)
        finally:
            _end(running)


def _address(told: Path, running: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert running.poll() is None, (told.parent / "log").read_text()
        try:
            return str(json.loads(told.read_text())["address"])
        except (OSError, ValueError):
            time.sleep(0.1)
    raise AssertionError("the scheduler did not start")


@pytest.fixture(scope="module")
def address(scheduler: str) -> Iterator[str]:
    """The same scheduler with two worker processes of one thread each, which start again by themselves."""
    with tempfile.TemporaryDirectory(prefix="handgrad-dask-") as folder:
        options = ("--nworkers", "2", "--nthreads", "1", "--no-dashboard", "--local-directory")
        running = _start("worker", scheduler, *options, folder, log=Path(folder) / "log")
        with distributed.Client(scheduler, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        try:
            yield scheduler
        finally:
            _end(running)


@pytest.fixture
def course(tmp_path: Path) -> Path:
    return make_course(tmp_path / "course")


@pytest.fixture
def cluster(address: str, course: Path) -> Iterator[Cluster]:
    with Cluster(address, Source(course, ASSIGNMENT)) as cluster:
        cluster._client.wait_for_workers(2, timeout=60)  # another test may have killed some
        yield cluster


# ------------------------------------------------------------------------------------- the real thing


def test_without_workers_it_is_said_how_to_start_some(scheduler: str, course: Path) -> None:
    with pytest.raises(UserError) as error:
        Cluster(scheduler, Source(course, ASSIGNMENT))
    assert error.value.fact == "the cluster has a scheduler and no worker"
    assert f"dask worker {scheduler}" in error.value.cure


def test_a_class_gets_the_same_marks_notebooks_and_rows(address: str, course: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "handgrad.doors.cli", "grade", ASSIGNMENT, "--dask", address],
        cwd=course,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(STUDENTS)} graded" in done.stdout
    assert rows(course) == rows(graded_class().root)
    assert autograded(course) == autograded(graded_class().root)


def test_a_lost_worker_costs_a_retry_and_no_mark(cluster: Cluster, course: Path) -> None:
    first = threading.Event()

    class Saboteur(Watcher):
        def graded(self, one: Result) -> None:
            if not first.is_set():
                first.set()
                os.kill(min(_pids(cluster).values()), signal.SIGKILL)

    summary = grade(
        course, ASSIGNMENT, jobs=cluster.processes, pool=lambda *_: cluster, watcher=Saboteur()
    )
    assert first.is_set()
    assert (summary.graded, summary.failed) == (len(STUDENTS), {})
    assert rows(course) == rows(graded_class().root)


def _pids(cluster: Cluster) -> dict[str, int]:
    return dict(cluster._client.run(os.getpid))


# ---------------------------------------------------------------------------------------- its parts


def test_a_worker_needs_no_folder_of_the_graders(cluster: Cluster, course: Path) -> None:
    root, files = cluster.submit(errands.what_is_here).result(120)
    assert not Path(root).is_relative_to(course)
    folders = {str(Path(name).parent) for name in files if not name.endswith(".pyc")}
    assert folders == {f"graders/{ASSIGNMENT}", f"release/{ASSIGNMENT}"}


def test_the_worker_marks_with_the_very_same_assignment(cluster: Cluster, course: Path) -> None:
    described = cluster.submit(process.describe).result(120)
    assert described.digest == graded_class().described.digest


def test_what_kills_worker_after_worker_fails_alone(cluster: Cluster, course: Path) -> None:
    guilty = cluster.submit(errands.kill_the_worker)
    others = [cluster.submit(errands.what_is_here) for _ in range(6)]
    assert isinstance(guilty.exception(180), WorkerDied)
    assert all(ASSIGNMENT in other.result(180)[1][0] for other in others)


def test_what_kills_the_process_that_marks_leaves_dasks_worker_alone(
    cluster: Cluster, course: Path
) -> None:
    before = _pids(cluster)
    guilty = cluster.submit(errands.kill_itself)
    assert isinstance(guilty.exception(120), WorkerDied)
    assert _pids(cluster) == before


def test_a_worker_of_another_version_marks_nothing(cluster: Cluster, course: Path) -> None:
    source = Source(course, ASSIGNMENT)
    plugin = GradingPlugin("an older grader", source, b"")
    plugin._version = "0.0.1"
    cluster._client.register_plugin(plugin, name=plugin.name)
    with pytest.raises(UserError) as error:
        cluster._client.submit(_call, plugin.name, process.describe, (), {}, pure=False).result(60)
    assert "the grader 0.0.1" in error.value.fact
    cluster._client.unregister_worker_plugin(plugin.name)


def test_the_graders_leave_no_process_and_no_file_behind(address: str, course: Path) -> None:
    with Cluster(address, Source(course, ASSIGNMENT)) as cluster:
        root, _ = cluster.submit(errands.what_is_here).result(120)
        marking = cluster.submit(os.getpid).result(120)
    assert not Path(root).exists()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{marking}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{marking}").exists()


# ------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    "where",
    [
        "tcp://10.0.0.7:8786",
        "10.0.0.7:8786",
        "tcp://cluster:8786",
        "ws://10.0.0.7:1",
        "tcp://0.0.0.0:1",
    ],
)
def test_a_cluster_that_others_can_reach_is_refused(where: str, course: Path) -> None:
    with pytest.raises(UserError, match="reads the secret seed") as error:
        Cluster(where, Source(course, ASSIGNMENT))
    assert "--trusted-network" in error.value.cure


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda table: {**table, "report": None}, id="no report"),
        pytest.param(lambda table: [], id="a list"),
        pytest.param(lambda table: _with_points(table, 1e9), id="more than the points"),
        pytest.param(lambda table: _with_points(table, float("nan")), id="nan"),
        pytest.param(lambda table: _with_points(table, "2"), id="text"),
    ],
)
def test_what_a_worker_sends_is_looked_at(change: Callable[[Any], Any]) -> None:
    table = json.loads(_plain(a_graded()))
    assert _checked(json.dumps(table).encode(), process.grade) == a_graded()
    with pytest.raises(UserError, match="no report"):
        _checked(json.dumps(change(table)).encode(), process.grade)
    with pytest.raises(UserError, match="no report"):
        _checked(pickle.dumps(a_graded()), process.grade)


def _with_points(table: Any, points: object) -> Any:
    first, *others = table["report"]["findings"]
    return {
        **table,
        "report": {**table["report"], "findings": [{**first, "points": points}, *others]},
    }


def a_graded() -> Graded:
    finding = Finding("1_x", "dh", "test_dh", Verdict.WRONG, 0.0, 2.0, error=float("inf"))
    return Graded(Report("ann", ASSIGNMENT, (finding,)), "digest", {"1_x": "{}"})


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("tcp://127.0.0.1:9", id="nobody listens"),
        pytest.param("127.0.0.1", id="no port"),
        pytest.param("ftp://127.0.0.1:8786", id="no such protocol"),
    ],
)
def test_where_there_is_no_cluster_it_is_said(where: str, course: Path) -> None:
    with pytest.raises(UserError) as error:
        Cluster(where, Source(course, ASSIGNMENT))
    assert error.value.where == where
    assert error.value.fact.startswith("there is no dask scheduler")


def test_an_assignment_that_is_not_there_is_said_before_anything_is_sent(course: Path) -> None:
    with pytest.raises(UserError) as error:
        Cluster("tcp://127.0.0.1:9", Source(course, "backdrop"))
    assert error.value.where == "backdrop"


def test_a_missing_extra_is_told_with_its_cure(course: Path) -> None:
    program = (
        "import sys; sys.modules['distributed'] = None\n"
        "from handgrad.doors.cli import main\n"
        f"sys.exit(main(['grade', '{ASSIGNMENT}', '--dask', 'tcp://127.0.0.1:9']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=course, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'handgrad[dask]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_jobs_and_a_cluster_are_not_both_asked_for(course: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "handgrad.doors.cli",
            "grade",
            ASSIGNMENT,
            "--jobs",
            "2",
            "--dask",
            "x",
        ],
        cwd=course,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "not allowed with" in done.stderr
