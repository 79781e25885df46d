"""Processes that call functions, in the manner of `concurrent.futures`, each replaced when it dies."""

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar, cast

from handgrad.errors import LostError, TooLongError, UserError
from handgrad.sandbox.launch import Scratch

P = ParamSpec("P")
T = TypeVar("T")

_START = "\n".join(
    (
        "import sys",
        "from multiprocessing.connection import Connection",
        "from handgrad.grading.workers import main",
        "main(Connection(int(sys.argv[1])))",
    )
)
_LEAVE_SECONDS = 5.0
_START_SECONDS = 600.0  # importing torch from a cold disk, on a busy machine


def cores(quota: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """How many processors this process may use: of a large machine a container often has two."""
    free = len(os.sched_getaffinity(0))
    with contextlib.suppress(
        OSError, ValueError
    ):  # another system's control groups, or "max": no limit
        microseconds, period = quota.read_text(encoding="ascii").split()
        return min(free, max(1, int(microseconds) // int(period)))
    return free


class WorkerDied(Exception):
    """A call ended its process twice, or took longer than it may."""


class CallFailed(Exception):
    """A call raised what is no UserError: a fault of ours. `traceback` is the other process's."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message, traceback)  # both, or it could not be unpickled
        self.traceback = traceback

    def __str__(self) -> str:
        return str(self.args[0])


class Workers(Executor):
    """`jobs` processes, each behind a thread of its own, that call what is submitted.

    Each process calls `host(serve, *arguments)`, which makes ready and then calls `serve()`; whatever is
    submitted is called within that. Unlike ProcessPoolExecutor's, a process that dies or hangs takes only
    its own call with it. A call whose process dies is made once more in a fresh one; so is one that raises
    LostError. This is the only place where anything is tried twice. Where `host` fails, every
    call fails with its error. A call may take `seconds`; one that takes longer is not made again.
    """

    def __init__(
        self,
        jobs: int,
        host: Callable[..., object],
        arguments: tuple[Any, ...] = (),
        seconds: float = _START_SECONDS,
    ) -> None:
        self.seconds = seconds
        self._host = pickle.dumps((host, arguments))
        self._broken: BaseException | None = None
        self._closed = False
        self._mine = threading.local()
        self._processes: dict[_Process, bool] = {}  # and whether it has a call in hand
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="worker")
        for _ in range(jobs):  # each blocks until its process is there, so each gets a thread
            self._threads.submit(self._warm)

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Call `function` in one of the processes; it, its arguments and its result are pickled.

        The future raises UserError as the call did, WorkerDied, or CallFailed for any other error.
        """
        message = pickle.dumps(partial(function, *args, **kwargs))
        return self._threads.submit(lambda: cast(T, self._call(message)))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Finish what was submitted, or with `cancel_futures` what is in hand, and end the processes."""
        self._closed = True
        if cancel_futures:  # who is still getting ready need not
            for process in [one for one, busy in [*self._processes.items()] if not busy]:
                process.kill()
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        if wait:
            for process in [*self._processes]:
                self._drop(process)

    def kill(self) -> None:
        """End the processes at once, whatever they do."""
        self._closed = True
        for process in [*self._processes]:
            process.kill()

    @property
    def pids(self) -> tuple[int, ...]:
        """The ids of the processes that are running now."""
        return tuple(process.pid for process in [*self._processes])

    def _warm(self) -> None:
        with contextlib.suppress(LostError, UserError, CallFailed):  # told to whoever calls
            self._process()

    def _call(self, message: bytes) -> object:
        for last_try in (False, True):
            try:
                process = self._process()
                self._processes[process] = True
                try:
                    return process.call(message, self.seconds)
                finally:
                    self._processes[process] = False
            except TooLongError as error:
                raise WorkerDied(str(error)) from None
            except LostError as error:
                if last_try or self._closed:
                    raise WorkerDied(str(error)) from None
        raise AssertionError("unreachable")

    def _process(self) -> "_Process":
        """This thread's process: a fresh one where there is none, or where it died."""
        if self._broken is not None:
            raise self._broken
        process: _Process | None = getattr(self._mine, "process", None)
        if process is not None and process.alive:
            return process
        if process is not None:
            self._drop(process)
        process = self._mine.process = _Process()
        self._processes[process] = False
        try:
            process.call(self._host, _START_SECONDS)
        except (UserError, CallFailed) as error:
            self._broken = error
            raise
        return process

    def _drop(self, process: "_Process") -> None:
        self._processes.pop(process, None)
        process.close()


class _Process:
    """One process, seen from the parent. It ends when the parent does, however that ends."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.PIPE,  # never written to: its end is the parent's
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            )
        finally:
            theirs.close()
        self._connection = Connection(ours.detach())
        self.pid = self._popen.pid
        self.alive = True

    def call(self, message: bytes, seconds: float) -> object:
        """What the call gave, or raises what it raised; LostError where there is neither, and
        TooLongError where it took longer than `seconds`.
        """
        try:
            self._connection.send_bytes(message)
            if not self._connection.poll(seconds):
                self.alive = False
                raise TooLongError(f"it took longer than {seconds:.0f} s")
            result, error = pickle.loads(self._connection.recv_bytes())  # of a process of our own
        except (EOFError, OSError):
            self.alive = False
            raise LostError(f"the process that graded it ended ({self._ending()})") from None
        if error is not None:
            raise error
        return result

    def _ending(self) -> str:
        try:
            status = self._popen.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "it hung up"
        if status < 0:
            return signal.Signals(-status).name
        self._said.seek(0)
        lines = self._said.read(1 << 16).decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:200] if lines else f"exit status {status}"

    def kill(self) -> None:
        """End it; the thread that talks with it will notice."""
        self._popen.kill()

    def close(self) -> None:
        """End it and let go of everything. It holds nothing that was not sent."""
        self._popen.kill()
        self._popen.wait()
        Scratch.sweep()  # it had no time to clear its sandbox away
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        self._connection.close()
        self._said.close()


def main(connection: Connection) -> None:
    """Be such a process: call what comes, send back what it gave, until the parent hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: a call is finished
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serving = False

    def serve() -> None:
        nonlocal serving
        serving = True
        connection.send_bytes(pickle.dumps((None, None)))
        with contextlib.suppress(EOFError, OSError):
            while True:
                connection.send_bytes(_answer(pickle.loads(connection.recv_bytes())))

    with contextlib.suppress(EOFError):
        host, arguments = pickle.loads(connection.recv_bytes())
        answer = _answer(partial(host, serve, *arguments))
        if not serving:
            connection.send_bytes(answer)


def _answer(call: Callable[[], object]) -> bytes:
    try:
        return pickle.dumps((call(), None))
    except (UserError, LostError) as error:
        return pickle.dumps((None, error))
    except Exception as error:
        told = traceback.format_exc()
        return pickle.dumps((None, CallFailed(f"{type(error).__name__}: {error}", told)))


def _end_with_parent() -> None:
    while os.read(0, 1):
        time.sleep(0.1)
    time.sleep(_LEAVE_SECONDS)  # who has nothing in hand clears its sandbox away meanwhile
    os._exit(1)
