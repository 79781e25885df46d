"""A call that ends its process takes itself only; the others go on, and nothing is left behind."""

import operator
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import psutil
import pytest

from handgrad.errors import UserError
from handgrad.grading.idleprocess import IdleProcess
from handgrad.grading.workers import CallFailed, WorkerDied, Workers, cores

# Functions of the standard library, as the processes import by name what they are to call.
WARM = (operator.call, ())


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Two processes."""
    pool = Workers(2, *WARM, seconds=30.0)
    yield pool
    pool.kill()
    pool.shutdown(cancel_futures=True)


def test_calls_are_made_in_other_processes(workers: Workers) -> None:
    pids = {workers.submit(os.getpid).result(timeout=60) for _ in range(10)}
    assert os.getpid() not in pids
    assert workers.submit(divmod, 7, 3).result(timeout=60) == (2, 1)


def test_an_exception_is_the_callers_and_the_process_stays() -> None:
    with Workers(1, *WARM, seconds=30.0) as worker:  # of two, the other might make a call
        before = worker.submit(os.getpid).result(timeout=60)
        with pytest.raises(CallFailed, match="ZeroDivisionError"):
            worker.submit(divmod, 1, 0).result(timeout=60)
        assert worker.submit(os.getpid).result(timeout=60) == before


def test_a_user_error_arrives_with_its_parts(workers: Workers, tmp_path: Path) -> None:
    from handgrad.store.backups import restore

    with pytest.raises(UserError) as caught:
        workers.submit(restore, tmp_path / "gradebook.db").result(timeout=60)
    assert caught.value.where == str(tmp_path / "gradebook.db")
    assert caught.value.cure.startswith("Look for")


def test_a_call_that_ends_its_process_is_tried_twice_and_then_given_up(workers: Workers) -> None:
    good = [workers.submit(divmod, number, 3) for number in range(4)]
    dead = workers.submit(os._exit, 3)
    killed = workers.submit(os.kill, 0, 0)
    more = [workers.submit(divmod, number, 3) for number in range(4)]
    with pytest.raises(WorkerDied, match="exit status 3"):
        dead.result(timeout=60)
    killed.result(timeout=60)
    assert [future.result(timeout=60) for future in good + more] == [
        divmod(n, 3) for n in range(4)
    ] * 2


def test_a_killed_process_is_replaced_and_its_call_made_again(workers: Workers) -> None:
    assert workers.submit(os.getpid).result(timeout=60) in workers.pids
    future = workers.submit(time.sleep, 2.0)
    deadline = time.monotonic() + 30
    while not future.running() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    for pid in workers.pids:
        os.kill(pid, signal.SIGKILL)
    future.result(timeout=60)


def test_a_call_that_takes_too_long_is_given_up_and_not_made_again(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    hangs = f"import time\nwith open({str(calls)!r}, 'a') as f: f.write('called')\ntime.sleep(60)"
    pool = Workers(1, *WARM, seconds=2.0)
    try:
        with pytest.raises(WorkerDied, match="longer than"):
            pool.submit(exec, hangs).result(timeout=60)
        assert calls.read_text() == "called"
        assert pool.submit(divmod, 7, 3).result(timeout=60) == (2, 1)
    finally:
        pool.shutdown()


def test_where_getting_ready_fails_every_call_is_told_why() -> None:
    pool = Workers(2, divmod, (0,), seconds=30.0)
    try:
        for future in [pool.submit(os.getpid) for _ in range(4)]:
            with pytest.raises(CallFailed, match="TypeError"):
                future.result(timeout=60)
    finally:
        pool.shutdown()


def test_after_the_shutdown_nothing_is_left(workers: Workers) -> None:
    futures = [workers.submit(time.sleep, 0.2) for _ in range(60)]
    wait(futures[:1], timeout=60)
    pids = workers.pids
    workers.shutdown(cancel_futures=True)
    assert any(future.cancelled() for future in futures)
    assert all(future.done() for future in futures)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with pytest.raises(RuntimeError, match="after shutdown"):
        workers.submit(os.getpid)


def test_a_call_that_comes_as_the_idle_time_ends_is_not_killed() -> None:
    process = IdleProcess(*WARM, idle_seconds=0.01)
    try:
        pids = set()
        for number in range(40):
            pids.add(process.call(30.0, os.getpid))
            time.sleep(0.005 * (number % 4))  # sometimes before, sometimes after it has gone
            assert process.call(30.0, divmod, number, 3) == divmod(number, 3)
        assert len(pids) > 1
    finally:
        process.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_processes_end_with_their_parent(how: signal.Signals) -> None:
    code = """
        import operator, os, time
        from handgrad.grading.workers import Workers
        pool = Workers(2, operator.call, (), seconds=60.0)
        [pool.submit(os.getpid).result() for _ in range(8)]
        for _ in range(2):
            pool.submit(time.sleep, 600)
        print(*pool.pids, flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        family = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert family
    time.sleep(0.3)
    parent.send_signal(how)
    parent.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []


@pytest.mark.parametrize(
    ("quota", "most"), {"max 100000": 4096, "100000 100000": 1, "50000 100000": 1, "": 4096}.items()
)
def test_a_container_s_share_of_the_processors_is_not_exceeded(
    quota: str, most: int, tmp_path: Path
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert cores(tmp_path / "cpu.max") == min(most, len(os.sched_getaffinity(0)))
