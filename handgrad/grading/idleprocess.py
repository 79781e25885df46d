"""A process that is started when it is needed, and goes when nobody has needed it for a while."""

import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from handgrad.grading.workers import Workers

P = ParamSpec("P")
T = TypeVar("T")

_IDLE_SECONDS = 120.0  # formgrader's server, and a kernel, stay for days


class IdleProcess:
    """One process of `workers`, there while it is used and for `idle_seconds` after."""

    def __init__(
        self,
        host: Callable[..., object],
        arguments: tuple[object, ...] = (),
        idle_seconds: float = _IDLE_SECONDS,
    ) -> None:
        self._host = (host, arguments)
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()  # who lets go of it waits for who uses it
        self._workers: Workers | None = None
        self._idle: threading.Timer | None = None

    def call(self, seconds: float, function: Callable[P, T], *args: P.args, **kw: P.kwargs) -> T:
        """What `function` gives there, within so many seconds."""
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            if self._workers is None:
                self._workers = Workers(1, *self._host)
            self._workers.seconds = seconds
            try:
                return self._workers.submit(function, *args, **kw).result()
            finally:
                self._idle = threading.Timer(self._idle_seconds, self._close_if_idle)
                self._idle.daemon = True
                self._idle.start()

    def _close_if_idle(self) -> None:
        with self._lock:
            # A call that came while this timer waited for the lock has set another one.
            if self._idle is threading.current_thread():
                self._close()

    def close(self) -> None:
        """End the process, after the call in hand."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.kill()
            workers.shutdown()
