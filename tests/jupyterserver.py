"""A real Jupyter server for tests: on loopback, with a configuration of its own, and gone afterwards."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

_START_SECONDS, _STOP_SECONDS = 60.0, 20.0


@dataclass(frozen=True, slots=True)
class JupyterServer:
    """A running server of the folder `root`; `token` opens every page below `url`."""

    root: Path
    url: str
    token: str
    log: Path

    def page(self, path: str) -> str:
        """The address of a page for somebody who has not been here before."""
        return f"{self.url}{path}?token={self.token}"


@contextmanager
def jupyter_server(root: Path, home: Path) -> Iterator[JupyterServer]:
    """JupyterLab with nbgrader's extensions in the folder `root`; `home` is all it may write to besides.

    The exchange is `home`/exchange. Nothing of it is left running: processes that outlive the server
    are an AssertionError.
    """
    config = home / "config"
    _configure(config, home / "exchange")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_"))},
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "USER": "ta",
    }
    log = home / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url, token = _address(server, home / "runtime", log)
        yield JupyterServer(root, url, token, log)
    finally:
        _stop(server)


def _configure(config: Path, exchange: Path) -> None:
    """No news from the network, no greeting: a test has no use for either."""
    (config / "labconfig").mkdir(parents=True)
    exchange.mkdir(exist_ok=True)
    exchange.chmod(0o777)  # nbgrader's own condition
    settings = {
        "ServerApp": {"ip": "127.0.0.1", "port": 0, "open_browser": False},
        "LabApp": {"extension_manager": "readonly"},
    }
    (config / "jupyter_server_config.json").write_text(json.dumps(settings))
    (config / "nbgrader_config.json").write_text(json.dumps({"Exchange": {"root": str(exchange)}}))
    unwanted = ("@jupyterlab/apputils-extension:announcements",)
    (config / "labconfig" / "page_config.json").write_text(
        json.dumps({"disabledExtensions": dict.fromkeys(unwanted, True)})
    )


def _address(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> tuple[str, str]:
    """Where the server listens, as it says itself."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            try:
                about = json.loads(file.read_text())
            except ValueError:
                continue  # it is being written
            # The file comes a moment before the server listens.
            with suppress(OSError), socket.create_connection(("127.0.0.1", about["port"]), 1.0):
                return str(about["url"]), str(about["token"])
        time.sleep(0.1)
    raise AssertionError(f"the Jupyter server did not start:\n{log.read_text()[-3000:]}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server as a person does, and see that its kernels and workers went with it."""
    try:
        family = psutil.Process(server.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    server.terminate()
    try:
        server.wait(_STOP_SECONDS)
        _, alive = psutil.wait_procs(family, timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        alive = family
    left = [process for process in alive if process.is_running()]
    for process in left:
        process.kill()
    if server.poll() is None:
        server.kill()
        server.wait()
    assert not left, f"these outlived the server: {left}"
