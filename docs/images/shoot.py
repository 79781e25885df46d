"""Pictures of the feedback page and of the class report, for the documentation.

    python docs/images/shoot.py COURSE     COURSE is a graded course, such as `python -m demo` makes

A page that runs off the side of a phone's screen is a failure, so that a picture never hides one.
"""

import io
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
DESKTOP, PHONE = (1200, 860), (390, 844)
COLOURS = 128  # enough for flat pages; a third of the size


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: a page of the course, from the element `at` on."""

    name: str
    page: str
    size: tuple[int, int] = DESKTOP
    dark: bool = False
    at: str = "body"


FEEDBACK = "feedback/two_mistakes/backprop/1_every_step.html"
REPORT = "reports/backprop.html"
SHOTS = (
    Shot("feedback", FEEDBACK),
    Shot("feedback-dark", FEEDBACK, dark=True),
    Shot("feedback-cell", FEEDBACK, at=".pair.v-wrong"),
    Shot("feedback-phone", FEEDBACK, PHONE),
    Shot("feedback-phone-dark", FEEDBACK, PHONE, dark=True, at=".pair.v-wrong"),
    Shot("report", REPORT),
    Shot("report-dark", REPORT, dark=True, at="#difficulty"),
    Shot("report-students", REPORT, at="#students-title"),
    Shot("report-phone", REPORT, PHONE),
)


def main(course: Path) -> int:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        print("no Chromium on PATH: install it and run again", file=sys.stderr)
        return 1
    missing = [shot.page for shot in SHOTS if not (course / shot.page).is_file()]
    if missing:
        print(f"{course}: there is no {missing[0]}. Run `python -m demo` first", file=sys.stderr)
        return 1
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for shot in SHOTS:
            print(f"{take(browser, course, shot).stat().st_size / 1024:6.0f} KiB  {shot.name}.png")
        browser.close()
    return 0


def take(browser: Browser, course: Path, shot: Shot) -> Path:
    """Take one picture and keep it small."""
    width, height = shot.size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if shot.dark else "light"
    )
    page = context.new_page()
    page.goto((course / shot.page).resolve().as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{shot.name}: too wide"
    page.locator(shot.at).first.evaluate("e => window.scrollTo(0, e.offsetTop - 12)")
    page.wait_for_timeout(100)
    path = save(page.screenshot(), shot.name)
    context.close()
    return path


def save(screenshot: bytes, name: str) -> Path:
    """Keep a picture beside this file, in as many colours as it needs to be read."""
    path = HERE / f"{name}.png"
    picture = Image.open(io.BytesIO(screenshot)).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo")))
