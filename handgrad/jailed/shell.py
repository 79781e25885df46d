"""The IPython that a cell finds: display, the usual magics; no shell, no packages, no history."""

import builtins
import re
import sys
import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any, cast

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display
from traitlets.config import Config

from handgrad.jailed.cellcode import Namespace, compile_source, evaluate
from handgrad.jailed.outputs import Outputs, Stream

# Magics that are IPython's own business and do no harm; the rest are not run.
_REAL = frozenset({"writefile", "file", "who", "whos", "who_ls", "html", "markdown", "latex"})
_RUN_BODY = frozenset({"time", "timeit", "prun", "capture"})
_TIMEIT_OPTIONS = re.compile(r"^(\s*-[nrpotqcs]\s*\S*)*\s*")


class _Publisher(DisplayPublisher):
    """Keeps what `display()` is given with the outputs of the cell that runs."""

    outputs: Outputs | None = None

    def publish(  # type: ignore[no-untyped-def]
        self, data, metadata=None, source=None, *, transient=None, update=False, **_rest
    ) -> None:
        if self.outputs is None:
            return
        display_id = str((transient or {}).get("display_id", ""))
        if update:
            self.outputs.update(display_id, data)
        else:
            self.outputs.data("display_data", data, metadata or {}, display_id)

    def clear_output(self, wait: bool = False) -> None:
        if self.outputs is not None:
            self.outputs.clear(wait)


class Shell(InteractiveShell):
    """IPython without a terminal, a history, or the machine below it."""

    display_pub_class = _Publisher
    _out, _err = Stream("stdout"), Stream("stderr")
    displayhook_class = DisplayHook

    @property
    def publisher(self) -> _Publisher:
        """Where `display()` ends up."""
        return cast(_Publisher, self.display_pub)

    def run_line_magic(self, magic_name: str, line: str, _stack_depth: int = 1) -> object:
        if magic_name in _RUN_BODY:
            return self._run_body(magic_name, line, "")
        if magic_name in _REAL:
            return super().run_line_magic(magic_name, line, _stack_depth + 1)
        return None

    def run_cell_magic(self, magic_name: str, line: str, cell: str) -> object:
        if magic_name in _RUN_BODY:
            return self._run_body(magic_name, line, cell)
        if magic_name in _REAL:
            return cast(Any, super()).run_cell_magic(magic_name, line, cell)
        self._say(f"%%{magic_name} does not run while grading")
        return None

    def system(self, cmd: str) -> None:
        self._say("shell commands do not run while grading")

    def getoutput(self, cmd: str, split: bool = True, depth: int = 0) -> object:
        self._say("shell commands do not run while grading")
        return [] if split else ""

    system_piped = system_raw = system

    def showtraceback(self, *_arguments: object, **_keywords: object) -> None:
        """Called where a value cannot be shown; IPython's own costs more than the whole notebook."""
        error = sys.exc_info()[1]
        self._say(f"{type(error).__name__}: {error}"[:500])

    def _run_body(self, magic: str, line: str, cell: str) -> object:
        """The code under a timing magic, once: the time of a grading machine says little."""
        name = sys._getframe(2).f_code.co_filename
        if magic == "timeit":
            line = _TIMEIT_OPTIONS.sub("", line)
        # An empty line in the magic's place keeps the line numbers right.
        source = "\n" + cell if cell else line
        outputs = self.publisher.outputs
        if magic == "capture":
            self.show(None)
        start = time.perf_counter()
        try:
            body, last = compile_source(source, name)
            if body is not None:
                evaluate(body, self.user_ns)
            value = None if last is None else evaluate(last, self.user_ns)
        finally:
            self.show(outputs)
        if magic == "capture":
            return None
        self._say(f"Wall time: {1e3 * (time.perf_counter() - start):.3g} ms", "stdout")
        return value if magic == "time" else None

    def _say(self, text: str, name: str = "stderr") -> None:
        if self.publisher.outputs is not None:
            self.publisher.outputs.stream(name, text + "\n")

    def take_streams(self) -> None:
        """Put our streams where stdout and stderr are."""
        sys.stdout, sys.stderr = self._out.as_text(), self._err.as_text()

    def show(self, outputs: Outputs | None) -> None:
        """From now on outputs go there; None: nowhere."""
        self.publisher.outputs = outputs
        for stream in (self._out, self._err):
            stream.outputs = outputs

    def shown(self, value: object) -> tuple[Mapping[str, object], Mapping[str, object]]:
        """A value as the notebook shows it: MIME bundle and metadata."""
        formatter: Any = self.display_formatter
        data, metadata = formatter.format(value)
        return data, metadata


def start() -> Shell:
    """Make the one shell of this process, and give cells the names that IPython gives them."""
    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    shell = Shell.instance(config=config)
    names: dict[str, object] = {
        "get_ipython": lambda: shell,
        "display": display,
        "exit": _leave,
        "quit": _leave,
        "input": _refuse_input,
    }
    for name, value in names.items():
        setattr(builtins, name, value)
    _make_known(shell)
    return shell


def use(shell: Shell, module: ModuleType) -> Namespace:
    """Make `module` the `__main__` that magics and cells work in."""
    sys.modules["__main__"] = module
    shell.user_module = module
    shell.user_ns = vars(module)
    return vars(module)


def _make_known(shell: Shell) -> None:
    # `from IPython import get_ipython` asks for a class that InteractiveShell made itself.
    cast(Any, InteractiveShell)._instance = shell
    shell.take_streams()


def _refuse_input(_prompt: object = "", /) -> str:
    raise RuntimeError("input() has nobody to ask while grading: give the value in the code")


def _leave(*_arguments: Any) -> None:
    raise SystemExit("exit() ends the cell, not the grading")
