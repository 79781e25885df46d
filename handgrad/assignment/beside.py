"""A folder's own Python files and data, as code that lies in it sees them."""

import contextlib
import importlib.util
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from handgrad.errors import UserError

_one_at_a_time = threading.RLock()


def load_module(folder: Path, name: str) -> ModuleType:
    """Import `folder/name.py`, its neighbours importable, without leaving them in `sys.modules`."""
    path = folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # a .py path always has a spec and a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with neighbours(folder):
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise UserError(
                str(path), f"it cannot be imported ({type(error).__name__}: {error})", "Mend it."
            ) from error
    return module


@contextlib.contextmanager
def neighbours(folder: Path) -> Iterator[None]:
    """The folder's modules can be imported, and are forgotten afterwards."""
    folder = folder.resolve()
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            origin = getattr(sys.modules[name], "__file__", None)
            if origin and Path(origin).parent == folder:
                del sys.modules[name]


@contextlib.contextmanager
def quietly_in(folder: Path) -> Iterator[None]:
    """As a notebook in that folder runs: it is the current folder; what is printed goes nowhere.

    Both belong to the whole process. So one thread at a time is here, and not for long.
    """
    folder = folder.resolve()
    nowhere = io.StringIO()
    silent = contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere)
    with _one_at_a_time, neighbours(folder), silent[0], silent[1]:
        before, writes = Path.cwd(), sys.dont_write_bytecode
        os.chdir(folder)
        sys.dont_write_bytecode = True  # a release holds what students get, and nothing else
        try:
            yield
        finally:
            os.chdir(before)
            sys.dont_write_bytecode = writes
