"""What several test files need: a real browser, and the accessibility checker."""

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, sync_playwright

from handgrad.sandbox import bubblewrap

# Before torch is imported: with more threads it spends its time handing tiny tensors over.
os.environ["OMP_NUM_THREADS"] = "1"
# Whoever starts the tests in the background has them, and what they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

AXE = "4.10.3"  # of axe-core, from the npm registry


def missing(why: str) -> NoReturn:
    """What the machine lacks fails a test where it must be there, and is loudly passed over elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def pytest_report_header() -> str:
    """Which sandboxes the tests can try here, and why not the other."""
    why = bubblewrap.trouble()
    return f"sandboxes: landlock{f'; bubblewrap cannot work: {why}' if why else ', bubblewrap'}"


# Files that take minutes. They are begun first, so that processes side by side end at about one time.
LONG = (
    "attacks",
    "places",
    "docs",
    "sandbox",
    "faults",
    "honest",
    "exchange",
    "graders",
    "platforms",
    "dask",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {f"test_{name}": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, headless. Module-wide: its event loop would disturb other tests."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        missing("no Chromium on PATH: install it (`apt-get install chromium`) and run again")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def axe(pytestconfig: pytest.Config) -> str:
    """The source of axe-core, fetched once into `build/` and left there."""
    build = pytestconfig.rootpath / "build"
    build.mkdir(exist_ok=True)
    script = build / "node_modules" / "axe-core" / "axe.min.js"
    with (build / "axe.lock").open("w") as lock:  # test processes may run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not script.exists():
            npm = shutil.which("npm")
            if npm is None:
                missing("no npm on PATH: install it (`apt-get install npm`) and run again")
            subprocess.run(
                [npm, "install", "--prefix", str(build), "--no-save", f"axe-core@{AXE}"],
                check=True,
                capture_output=True,
            )
    return script.read_text(encoding="utf-8")
