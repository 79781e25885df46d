"""From a save to the changed page of `handgrad watch`, in a real Chromium; and whether it grows.

python benchmarks/companion.py                50 saves: median, worst, and the parts
python benchmarks/companion.py --minutes 20   saves for so long: memory and processes, each minute
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from savedwork import Watcher, Work, watching  # noqa: E402

SAVES = 50
WARM = 3  # saves before the clock starts
WRONG = {  # a sign, a branch left out, a sum along the other axis, a factor, an error
    "dprobs": "dprobs = -dlogprobs / probs",
    "dcounts": "dcounts = counts_sum_inv * dprobs",
    "db2": "db2 = dlogits.sum(1)",
    "dbnvar": "dbnvar = bnvar_inv * dbnvar_inv",
    "dhprebn": "dhprebn = dbndiff +",
}
# When each thing was seen to happen, in seconds since the epoch: the clock is the machine's.
CLOCKS = """() => {
  const now = () => (performance.timeOrigin + performance.now()) / 1000;
  window.told = [];
  new EventSource("events").onmessage = (e) => { window.told.push([now(), JSON.parse(e.data)]); };
  window.changed = 0;
  new MutationObserver(() => { window.changed = now(); }).observe(
    document.querySelector("main"),
    { subtree: true, childList: true, attributes: true, characterData: true });
}"""
PARTS = (
    "until it is noticed",
    "read, run, judge",
    "make the page",
    "send it, put it in place",
    "all",
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=0.0)
    minutes = parser.parse_args(arguments).minutes
    with tempfile.TemporaryDirectory() as folder:
        work = Work(Path(folder) / "my.ipynb")
        for name in [name for name in work.solution if name.startswith("d")]:
            work.answer(name)
        work.save()
        with watching(work.path) as watcher, opened(watcher.url) as page:
            if minutes:
                grow(work, watcher, page, minutes)
            else:
                measure(work, page)
    return 0


@contextmanager
def opened(url: str) -> Iterator[Page]:
    """The page in a browser, its clocks running."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(url)
        page.evaluate(CLOCKS)
        wait(page, "told.length > 0")
        yield page
        browser.close()


def wait(page: Page, condition: str) -> None:
    """Wait for it without playwright's own way, which the page's policy forbids."""
    deadline = time.monotonic() + 120
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def edits(work: Work) -> Iterator[None]:
    """Makes a slip and mends it, for ever."""
    while True:
        for name, slip in WRONG.items():
            work.answer(name, slip)
            yield
            work.answer(name)
            yield


def saved(work: Work, page: Page) -> tuple[float, ...]:
    """Save, wait for the page to change, and say how long each part took, in the order of PARTS."""
    page.evaluate("told.length = 0; changed = 0")
    before = time.time()
    work.save()
    wait(page, "changed > 0 && told.some((e) => !e[1].judging)")
    told: list[Any]
    changed, told = page.evaluate("[changed, told]")
    noticed = min(when for when, _ in told) - before
    judged, made = told[-1][1]["seconds"]
    every = changed - before
    return noticed, judged, made, every - noticed - judged - made, every


def measure(work: Work, page: Page) -> None:
    """Print the median and the worst of many saves, by part."""
    edit = edits(work)
    times = [saved(work, page) for _, _ in zip(edit, range(WARM + SAVES), strict=False)][WARM:]
    print(f"{SAVES} saves; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors\n")
    print("| part | median | worst |\n| --- | ---: | ---: |")
    for name, each in zip(PARTS, zip(*times, strict=True), strict=True):
        print(f"| {name} | {statistics.median(each):.3f} s | {max(each):.3f} s |")


def grow(work: Work, watcher: Watcher, page: Page, minutes: float) -> None:
    """Print what its processes hold, each minute, and how many saves there have been."""
    edit, count, started = edits(work), 0, time.monotonic()
    print("| minute | saves | processes | MiB |\n| ---: | ---: | ---: | ---: |")
    for minute in range(int(minutes) + 1):
        while time.monotonic() < started + 60 * minute or count < WARM:
            next(edit)
            saved(work, page)
            count += 1
        family = [psutil.Process(watcher.process.pid), *watcher.family]
        mib = sum(one.memory_full_info().pss for one in family) / (1 << 20)
        print(f"| {minute} | {count} | {len(family)} | {mib:.0f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
