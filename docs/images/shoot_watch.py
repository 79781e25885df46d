"""Pictures of the page of `handgrad watch`, for the documentation: python docs/images/shoot_watch.py"""

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright
from shoot import DESKTOP, PHONE, save

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from savedwork import SECONDS, Work, watching

ANSWERED = ("dlogprobs", "dprobs", "dcounts_sum_inv", "dcounts_sum", "dnorm_logits", "dlogit_maxes")
SLIP = "dcounts = counts_sum_inv * dprobs"  # a branch left out


def main() -> int:
    expect.set_options(timeout=SECONDS * 1000)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        work = Work(Path(folder) / "my.ipynb")
        with watching(work.path) as watcher:
            chromium = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            desktop, phone = (
                opened(browser, watcher.url, DESKTOP),
                opened(browser, watcher.url, PHONE),
            )
            phone.emulate_media(color_scheme="dark")
            for name in ANSWERED[:-1]:
                work.answer(name)
            work.answer("dcounts", SLIP).save()
            expect(phone.locator("#live-said")).to_contain_text("look at dcounts")
            for page in (desktop, phone):
                page.locator("tr[data-name=dcounts] summary").first.click()
                page.evaluate("scrollTo(0, 0)")
            take(phone, "watch-phone-dark")
            work.answer(ANSWERED[-1]).save()
            expect(desktop.locator("tr.lit")).to_have_count(1)
            take(desktop, "watch")
            browser.close()
    return 0


def opened(browser: Browser, url: str, size: tuple[int, int]) -> Page:
    """The page in a window of this size."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto(url)
    return page


def take(page: Page, name: str) -> None:
    """Take one picture and keep it small."""
    print(f"{save(page.screenshot(), name).stat().st_size / 1024:6.0f} KiB  {name}.png")


if __name__ == "__main__":
    sys.exit(main())
