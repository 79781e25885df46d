"""`%handgrad` in a notebook: that notebook judged as it stands, table and graph under the cell."""

import atexit
import html
import io
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError
from IPython.display import display
from rich.console import Console

from handgrad.doors import warm
from handgrad.doors.warm import Seen
from handgrad.errors import UserError
from handgrad.grading.idleprocess import IdleProcess
from handgrad.grading.workers import CallFailed, WorkerDied
from handgrad.pages.table import table
from handgrad.pages.words import joined, say, text
from handgrad.sandbox.launch import chosen
from handgrad.verdict import Note

_SECONDS = 600.0
_VSCODE = "__vsc_ipynb_file__"  # where VS Code says which file it is, among the notebook's names
_processes: dict[tuple[Path, bool], IdleProcess] = {}


def register(shell: Any) -> None:
    """Give an IPython shell the magic `%handgrad [FILE]`."""
    shell.register_magic_function(lambda line: _handgrad(line, shell.user_ns), "line", "handgrad")


def _handgrad(named: str, names: dict[str, object]) -> None:
    try:
        path = _notebook(named.strip().strip("'\""), names)
        saved = path.stat().st_mtime if path.is_file() else 0.0  # where it is none, judging says so
        try:
            seen, sandboxed = _judged(path)
        finally:
            if path.parent == _colab():
                shutil.rmtree(path.parent)
    except (UserError, WorkerDied, CallFailed) as error:
        raise UsageError(str(error)) from None
    language = seen.language
    at = time.strftime("%H:%M:%S", time.localtime(saved))
    which = (
        text("watch.as_it_stands", language)
        if path.parent == _colab()
        else text("watch.saved_at", language, name=path.name, time=at)
    )
    walls = text("watch.sandboxed" if sandboxed else "watch.unboxed", language)
    print(joined((which, walls), language))
    # In a frame of its own, where nothing runs: its style and the notebook's stay apart.
    frame = '<iframe sandbox srcdoc="{}" title="handgrad" width="100%" height="640"></iframe>'
    shown = {"text/html": frame.format(html.escape(seen.page)), "text/plain": _plain(seen)}
    display(shown, raw=True)  # type: ignore[no-untyped-call]


def _notebook(named: str, names: dict[str, object]) -> Path:
    """The file to judge. Raises UserError where nobody says which notebook this is."""
    if named:
        return Path(named).absolute()
    if (folder := _colab()) is not None:
        folder.mkdir(mode=0o700)
        path = folder / "notebook.ipynb"
        path.write_text(json.dumps(_from_colab()), encoding="utf-8")
        return path
    told = str(names.get(_VSCODE) or os.environ.get("JPY_SESSION_NAME", ""))
    if not told.endswith(".ipynb"):
        cure = "Name it: %handgrad my.ipynb"
        raise UserError("%handgrad", "nobody says which notebook this is", cure)
    return Path(told).absolute()


def _colab() -> Path | None:
    """Where Colab's notebook lies while it is judged, the same place each time; None elsewhere."""
    if "google.colab" not in sys.modules:
        return None
    return Path(tempfile.gettempdir()) / f"handgrad-notebook-{_secret()}"


@cache
def _secret() -> str:
    return secrets.token_hex(8)


def _from_colab() -> object:
    """The notebook as it stands in the browser: on Colab it is no file of the machine that runs it."""
    from google.colab import _message  # type: ignore[import-not-found]

    return _message.blocking_request("get_ipynb", request="", timeout_sec=30)["ipynb"]


def _judged(path: Path) -> tuple[Seen, bool]:
    """What there is to say, and whether it ran in the sandbox; the process stays for the next time."""
    sandboxed = _walls()
    key = (path, sandboxed)
    if key not in _processes:
        _processes[key] = IdleProcess(warm.host, (path, None, "", sandboxed))
    try:
        outcome = _processes[key].call(_SECONDS, warm.judge, path, live=False)
    except UserError:
        _processes.pop(key).close()  # it could not begin: the next one may
        raise
    if isinstance(outcome, Note):
        raise UserError(path.name, say(outcome, "en").rstrip("."), "Save it and try again")
    return outcome, sandboxed


def _walls() -> bool:
    """Whether there is a sandbox. This notebook runs here without one anyway, and is the reader's own."""
    if _colab() is not None:
        return False
    try:
        chosen()
    except UserError:
        return False
    return True


def _plain(seen: Seen) -> str:
    """The table for whoever shows no HTML."""
    console = Console(file=io.StringIO(), width=100, force_jupyter=False)
    console.print(seen.next_step.replace("`", ""), markup=False)
    console.print(table(seen.report, seen.level, seen.language))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@atexit.register
def _close() -> None:
    for process in _processes.values():
        process.close()
