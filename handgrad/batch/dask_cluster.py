"""Marking on a `dask.distributed` cluster whose machines share nothing with this one; its only importer.

A dask worker gets the assignment once, as bytes, and grades in processes of its own (`workers`), one
for each of its threads. So what a submission does to whoever grades it never reaches dask's worker.
"""

import contextlib
import io
import ipaddress
import json
import tempfile
import threading
import uuid
import zipfile
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import dask
import msgspec
from distributed import Client, KilledWorker, Worker, WorkerPlugin, get_worker

from handgrad import __version__
from handgrad.assignment.source import Source, described
from handgrad.errors import UserError
from handgrad.grading import process
from handgrad.grading.graded import Graded
from handgrad.grading.workers import CallFailed, WorkerDied, Workers
from handgrad.pages.annotate import checked_points
from handgrad.settings import Settings

_P = ParamSpec("_P")
_T = TypeVar("_T")

_CONNECT_SECONDS = 10.0
_IDLE_SECONDS = 300.0  # then a worker lets go of its processes: whoever used them may be dead
_SLACK_SECONDS = 120.0  # beyond a submission's own wall clock: graders, and a new sandbox


class Cluster(Executor):
    """An executor for `batch.grade`. It grades there with the worker's own copy of the source.

    A task whose worker is lost is given to another one by dask; one that loses worker after worker
    is tried once more, since it may only have been beside the one that did it, and then fails with
    WorkerDied. Raises UserError where there is no cluster at `address`, or no worker in it, and
    where others can reach it: whoever does reads the secret seed, unless `trusted_network`.
    """

    def __init__(self, address: str, source: Source, *, trusted_network: bool = False) -> None:
        if not trusted_network:
            _refuse_open_network(address)
        self._address, self._source = address, source
        self._open: set[Any] = set()  # dask's futures: who drops one takes the task back
        self._closing = False
        parcel = packed(source)
        # A submission travels with its task, and may be as large as the limits allow.
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"})
        try:
            # `Any`, since dask annotates half of it.
            self._client = cast(Any, Client)(
                address, timeout=_CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, ValueError) as error:
            raise UserError(
                address,
                f"there is no dask scheduler ({_first_line(error)})",
                "Start one with `dask scheduler` and use the address that it prints",
            ) from None
        try:
            self.processes = self._count()
            self._plugin = f"handgrad-{source.name}-{uuid.uuid4().hex}"
            self._register(GradingPlugin(self._plugin, source, parcel))
        except BaseException:
            self._client.close()
            raise

    def _count(self) -> int:
        """How many submissions can be graded at a time now."""
        try:
            self._client.wait_for_workers(1, timeout=_CONNECT_SECONDS)  # they may be on their way
        except TimeoutError:
            raise UserError(
                self._address,
                "the cluster has a scheduler and no worker",
                f"Start some with `dask worker {self._address}`",
            ) from None
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return sum(int(worker["nthreads"]) for worker in workers)

    def _register(self, plugin: "GradingPlugin") -> None:
        try:
            self._client.register_plugin(plugin, name=self._plugin)
        except (ImportError, AttributeError) as error:
            raise self._cannot_grade("workers", error) from None

    def _cannot_grade(self, who: str, error: BaseException) -> UserError:
        return UserError(
            self._address,
            f"its {who} cannot read what they get ({_first_line(error)})",
            f"Install handgrad[dask] {__version__} where the scheduler and the workers run, "
            "and start them again",
        )

    def submit(
        self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> "Future[_T]":
        """Call `function` on some worker, in a process that is warm after its first call.

        What the assignment is comes from this machine's own copy: it decides what is written.
        """
        ours: Future[_T] = Future()
        ours.set_running_or_notify_cancel()
        if function is process.describe:
            try:
                ours.set_result(cast(_T, described(self._source.load())))
            except UserError as error:
                ours.set_exception(error)
            return ours
        self._send(ours, (self._plugin, function, args, kwargs), 1)
        return ours

    def _send(self, ours: "Future[Any]", call: tuple[Any, ...], attempt: int) -> None:
        theirs = self._client.submit(_call, *call, pure=False)
        self._open.add(theirs)
        theirs.add_done_callback(lambda done: self._settle(done, ours, call, attempt))

    def _settle(
        self, theirs: Any, ours: "Future[Any]", call: tuple[Any, ...], attempt: int
    ) -> None:
        """Pass on what became of a task; runs in dask's own thread."""
        self._open.discard(theirs)
        try:
            result = _checked(theirs.result(), call[1])
        except KilledWorker:
            if attempt < 2 and not self._closing:
                self._send(ours, call, attempt + 1)
            else:
                ours.set_exception(WorkerDied("several workers were lost while they graded it"))
        except RuntimeError as error:
            unread = "deserialization" in str(error)  # dask's word: it was never graded
            ours.set_exception(
                self._cannot_grade("scheduler or a worker", error) if unread else error
            )
        except (UserError, WorkerDied, CallFailed) as error:
            ours.set_exception(error)
        except BaseException as error:  # whoever waits for the future is told, not dask's thread
            ours.set_exception(
                UserError(
                    self._address,
                    f"the cluster was lost ({_first_line(error)})",
                    "Start it and run the same command again; what is done is kept",
                )
            )
        else:
            ours.set_result(result)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let go of the cluster; its workers end the processes that they started for this."""
        self._closing = True
        if cancel_futures and self._open:
            self._client.cancel(list(self._open), force=True)
        # The scheduler may have gone before: there is nothing to let go of then.
        with contextlib.suppress(Exception):
            self._client.unregister_worker_plugin(self._plugin)
        self._client.close()


class GradingPlugin(WorkerPlugin):
    """On one worker of the cluster: the assignment unpacked, and warm processes that grade it."""

    def __init__(self, name: str, source: Source, parcel: bytes) -> None:
        self.name = name
        self._assignment = source.name
        self._sandboxed = source.sandboxed
        self._parcel = parcel
        self._version = __version__

    def setup(self, worker: Worker) -> None:
        """Called by dask on every worker, those too that join or come back later."""
        self._threads = int(worker.state.nthreads)
        self._lock = threading.Lock()
        self._workers: Workers | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._idle: threading.Timer | None = None
        self._busy = 0

    def teardown(self, worker: Worker) -> None:
        """Called by dask when the grader lets go, or the worker closes."""
        with self._lock:
            self._leave()

    def call(self, function: Callable[..., object], args: tuple[Any, ...], kwargs: Any) -> bytes:
        """What `function` gives, as bytes, in a process of this worker that grades."""
        with self._lock:
            workers = self._started()
            self._busy += 1
        try:
            return _plain(workers.submit(function, *args, **kwargs).result())
        finally:
            with self._lock:
                self._busy -= 1
                self._end_when_idle()

    def _started(self) -> Workers:
        if self._version != __version__:
            raise UserError(
                f"worker {get_worker().address}",
                f"it runs handgrad {__version__}, and the grader {self._version}",
                "Install the same version there and start it again",
            )
        if self._idle is not None:
            self._idle.cancel()
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(
                prefix="handgrad-", ignore_cleanup_errors=True
            )
            unpack(self._parcel, Path(self._folder.name))
        here = Source(Path(self._folder.name), self._assignment, sandboxed=self._sandboxed)
        if self._workers is None:
            settings = Settings.read(here.root / "graders" / here.name / "assignment.toml")
            seconds = settings.limits.wall_seconds + _SLACK_SECONDS
            self._workers = Workers(self._threads, process.host, (here,), seconds)
        return self._workers

    def _end_when_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = threading.Timer(_IDLE_SECONDS, self._leave_if_idle)
        self._idle.daemon = True
        self._idle.start()

    def _leave_if_idle(self) -> None:
        with self._lock:
            if not self._busy:
                self._leave()

    def _leave(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._workers is not None:
            self._workers.kill()
            self._workers.shutdown(cancel_futures=True)
            self._workers = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _plain(result: object) -> bytes:
    # JSON as Python writes it: an error may be infinite.
    return json.dumps(msgspec.to_builtins(result)).encode()


def _checked(data: object, function: Callable[..., object]) -> Any:
    """What a worker sent for a call of `function`, looked at value by value.

    It is data, not a pickle: a worker is another machine. Raises UserError where it cannot be the result.
    """
    try:
        result = json.loads(cast(bytes, data))
        if function is process.grade:
            result = msgspec.convert(result, Graded)
            for finding in result.report.findings:
                checked_points(finding)
    except (TypeError, ValueError, RecursionError, msgspec.ValidationError) as error:
        raise UserError(
            "a worker of the cluster",
            f"it sent something that is no report ({_first_line(error)})",
            "Look after the workers and run the same command again; what is done is kept",
        ) from None
    return result


def _refuse_open_network(address: str) -> None:
    """Raise UserError where a cluster's traffic can be read and its scheduler be used by others."""
    scheme, _, rest = address.rpartition("://")
    host = rest.rsplit(":", 1)[0].strip("[]")
    try:
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    if here or scheme in ("tls", "wss", "inproc"):
        return
    raise UserError(
        address,
        "whoever can reach this scheduler reads the secret seed and runs programs on every machine of it",
        "Use `tls://`, or add --trusted-network where nobody else is on that network",
    )


def _call(name: str, function: Callable[..., object], args: tuple[Any, ...], kwargs: Any) -> bytes:
    """The task itself, on a worker."""
    plugin = cast(GradingPlugin, get_worker().plugins[name])
    return plugin.call(function, args, kwargs)


def packed(source: Source) -> bytes:
    """All that grading needs of a course, as bytes: the release, the graders, settings and seed.

    Raises UserError where there is no such assignment.
    """
    graders = source.root / "graders" / source.name
    if not (graders / "seed").is_file():
        from handgrad.assignment.assignment import Assignment

        Assignment.load(source.root, source.name)  # says what is wrong, or draws the seed
    parcel = io.BytesIO()
    with zipfile.ZipFile(parcel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in source.files():
            archive.writestr(name, data)
    return parcel.getvalue()


def unpack(parcel: bytes, root: Path) -> None:
    """Lay what was `packed` out under `root`."""
    with zipfile.ZipFile(io.BytesIO(parcel)) as archive:
        archive.extractall(root)  # it keeps every name within `root`


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__
