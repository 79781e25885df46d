"""Processes that call functions, in the manner of `concurrent.futures`, each replaced when it dies."""

import contextlib
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import IO, Any, ParamSpec, TypeVar

from handgrad.errors import UserError

_P = ParamSpec("_P")
_T = TypeVar("_T")

_START_SECONDS = 300.0  # importing torch from a cold disk


class WorkerDied(Exception):
    """A call ended its process, or took longer than it may, twice."""


@dataclass(slots=True)
class _Call:
    future: "Future[Any]"
    message: bytes
    tries: int = 0


class Workers(Executor):
    """`jobs` processes, each started with `warm(*arguments)` and then calling what is submitted.

    Unlike ProcessPoolExecutor's, a process that dies or hangs takes only its own call with it, and that
    one is tried once more in a fresh process. Where `warm` fails every call fails with its error.
    """

    def __init__(
        self, jobs: int, warm: Callable[..., None], arguments: tuple[Any, ...], seconds: float
    ) -> None:
        self._warm = pickle.dumps((warm, arguments))
        self.seconds = seconds
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._closed = False
        self._broken: BaseException | None = None
        self._processes: dict[int, _Process] = {}
        self._busy: set[int] = set()
        self._threads = [
            threading.Thread(target=self._serve, args=(at,), name=f"worker {at}", daemon=True)
            for at in range(jobs)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> "Future[_T]":
        """Call `function` in one of the processes; it, its arguments and its result are pickled."""
        if self._closed:
            raise RuntimeError("these workers were sent home")
        future: Future[_T] = Future()
        self._calls.put(_Call(future, pickle.dumps((function, args, kwargs))))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Finish what was submitted, or with `cancel_futures` what is in hand, and end the processes."""
        self._closed = True
        if cancel_futures:
            with contextlib.suppress(queue.Empty):
                while True:
                    call = self._calls.get_nowait()
                    if call is not None:
                        call.future.cancel()
        for _ in self._threads:
            self._calls.put(None)
        if cancel_futures:  # who is still getting warm need not
            for at, process in list(self._processes.items()):
                if at not in self._busy:
                    process.end()
        if wait:
            for thread in self._threads:
                thread.join()

    def kill(self) -> None:
        """End the processes at once, whatever they do."""
        self._closed = True
        for process in list(self._processes.values()):
            process.end()

    @property
    def pids(self) -> tuple[int, ...]:
        """The ids of the processes that are running now."""
        return tuple(process.pid for process in list(self._processes.values()))

    def _serve(self, at: int) -> None:
        try:
            with contextlib.suppress(_Gone, UserError, RuntimeError):  # told to whoever calls
                self._process(at)
            while (call := self._calls.get()) is not None:
                if call.future.set_running_or_notify_cancel():
                    self._busy.add(at)
                    self._call(at, call)
                    self._busy.discard(at)
        finally:
            self._drop(at)

    def _drop(self, at: int) -> None:
        process = self._processes.pop(at, None)
        if process is not None:
            process.close()  # it holds nothing that is not sent; leaving by itself takes seconds

    def _call(self, at: int, call: _Call) -> None:
        while True:
            call.tries += 1
            try:
                process = self._process(at)
                outcome = process.call(call.message, self.seconds)
            except _Gone as error:
                self._drop(at)
                if call.tries < 2 and not self._closed:
                    continue
                call.future.set_exception(WorkerDied(str(error)))
            except BaseException as error:  # whoever waits for the future is told, not this thread
                call.future.set_exception(error)
            else:
                if isinstance(outcome, BaseException):
                    call.future.set_exception(outcome)
                else:
                    call.future.set_result(outcome[0])
            return

    def _process(self, at: int) -> "_Process":
        if self._broken is not None:
            raise self._broken
        process = self._processes.get(at)
        if process is None:
            process = self._processes[at] = _Process()
            try:
                outcome = process.call(self._warm_call(), _START_SECONDS)
            except _Gone:
                self._drop(at)
                raise
            if isinstance(outcome, BaseException):
                self._broken = outcome
                raise outcome
        return process

    def _warm_call(self) -> bytes:
        function, arguments = pickle.loads(self._warm)  # ours, from __init__
        return pickle.dumps((function, arguments, {}))


class _Gone(Exception):
    """The process ended, or did not answer in time."""


class _Process:
    """One process, seen from the parent. It ends when the parent does, however that ends."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        command = [sys.executable, "-P", "-m", "handgrad.batch.workers"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        try:
            self._popen = subprocess.Popen(
                [*command, str(theirs.fileno()), str(lifeline)],
                pass_fds=(theirs.fileno(), lifeline),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                env=environment,
            )
        finally:
            theirs.close()
            os.close(lifeline)
        self._connection = Connection(ours.detach())
        self.pid = self._popen.pid

    def call(self, message: bytes, seconds: float) -> "tuple[Any] | BaseException":
        """The result in a tuple of one, or the exception; raises _Gone where there is neither."""
        try:
            self._connection.send_bytes(message)
            if not self._connection.poll(seconds):
                raise _Gone(f"it took longer than {seconds:.0f} s")
            outcome: tuple[Any] | BaseException = pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise _Gone(f"the process that marked it ended ({self._ending()})") from None
        return outcome

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

    def end(self) -> None:
        """Kill it; the thread that talks with it will notice."""
        self._popen.kill()

    def close(self) -> None:
        """Kill it and let go of everything, in the thread that talks with it."""
        self._popen.kill()
        self._popen.wait()
        os.close(self._lifeline)
        self._connection.close()
        self._said.close()


def _main(connection_fd: int, lifeline: int) -> None:
    """The process itself: call what comes, send back what it gave, until the parent hangs up."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is the parent's: what is in hand is finished
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    connection = Connection(connection_fd)
    while True:
        try:
            message = connection.recv_bytes()
        except (EOFError, OSError):
            break
        connection.send_bytes(_answer(message))


def _answer(message: bytes) -> bytes:
    try:
        function, args, kwargs = pickle.loads(message)
        outcome: object = (function(*args, **kwargs),)
    except Exception as error:  # it is the caller's, on the other side
        outcome = error if isinstance(error, UserError) else RuntimeError(_told(error))
    return pickle.dumps(outcome)


def pickled(function: Callable[..., object], *args: object, **kwargs: object) -> bytes:
    """What `function` gives, as bytes that can be passed on without a look at them."""
    return pickle.dumps(function(*args, **kwargs))


def _told(error: Exception) -> str:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" in {place.tb_frame.f_code.co_qualname}" if place is not None else ""
    return f"{type(error).__name__}{where}: {error}"


def _end_with_parent(lifeline: int) -> None:
    while os.read(lifeline, 1):
        time.sleep(0.1)
    os._exit(1)


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
