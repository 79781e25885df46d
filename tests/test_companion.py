"""`handgrad watch`: the page follows each save, nobody else reads it, and nothing is left behind."""

import http.client
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect
from savedwork import ROOT, SECONDS, Watcher, Work, until, watching

expect.set_options(timeout=SECONDS * 1000)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The course, which tells the names of mistakes too."""
    root = tmp_path_factory.mktemp("course")
    for step in ("graders", "release"):
        shutil.copytree(ROOT / step / "backprop", root / step / "backprop")
    settings = root / "graders" / "backprop" / "assignment.toml"
    text = settings.read_text(encoding="utf-8")
    settings.write_text(text.replace('feedback = "question"', 'feedback = "full"'))
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work") / "my.ipynb"


@pytest.fixture(scope="module")
def watcher(course: Path, place: Path) -> Iterator[Watcher]:
    """One for the whole module: starting takes most of the time."""
    Work(place)
    with watching(place, "--course", course) as started:
        yield started


@pytest.fixture
def work(place: Path) -> Work:
    """The notebook without an answer, saved again."""
    return Work(place)


@pytest.fixture
def page(browser: Browser, watcher: Watcher, work: Work) -> Iterator[Page]:
    """The page of the notebook without an answer."""
    with browser.new_context(viewport={"width": 1200, "height": 500}) as context:
        opened = context.new_page()
        opened.goto(watcher.url)
        expect(said(opened)).to_contain_text("The first one is dlogprobs")
        yield opened


def said(page: Page) -> object:
    return page.locator("#live-said")


def row(page: Page, name: str) -> object:
    return page.locator(f"tr[data-name={name}]")


# ------------------------------------------------------------------------------------ as it is saved


def test_six_saves_in_which_a_slip_is_made_and_mended(page: Page, work: Work) -> None:
    page.evaluate("window.same = true")  # gone where the page is loaded anew
    work.answer("dlogprobs").save()
    expect(said(page)).to_have_text("Now right: dlogprobs. What is there is right. Next: dprobs.")
    expect(page.locator("tr.lit, .node.lit")).to_have_count(2)
    work.answer("dprobs", "dprobs = -dlogprobs / probs").save()
    expect(said(page)).to_contain_text("Next: look at dprobs")
    expect(page.locator(".lit")).to_have_count(0)
    expect(page.locator(".node.v-wrong.first")).to_contain_text("probs")
    work.answer("dcounts_sum_inv").save()
    expect(said(page)).to_contain_text("Now right: dcounts_sum_inv")
    work.answer("dlogprobs", "dlogprobs = None").save()
    expect(said(page)).to_contain_text("No longer right: dlogprobs")
    work.answer("dlogprobs").answer("dprobs").save()
    expect(said(page)).to_contain_text("Now right: dlogprobs, dprobs. What is there is right.")
    for name in [name for name in work.solution if name.startswith("d")]:
        work.answer(name)
    work.save()
    expect(said(page)).to_contain_text("Every gradient is right.")
    expect(page.locator(".node.v-wrong, .node.v-not-attempted")).to_have_count(0)
    assert page.evaluate("window.same")


def test_the_place_and_what_was_opened_are_kept(page: Page, work: Work) -> None:
    work.answer("dlogprobs").answer("dprobs", "dprobs = -dlogprobs / probs").save()
    hint = row(page, "dprobs").locator("summary").first
    hint.focus()
    page.keyboard.press("Enter")
    page.locator(".cell details summary").first.click()
    before = page.evaluate("scrollTo(0, 700), scrollY")
    work.answer("dcounts_sum").save()
    expect(said(page)).to_contain_text("Now right: dcounts_sum")
    assert page.evaluate("scrollY") == before > 0
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    expect(page.locator("details[open]")).to_have_count(2)


def test_the_question_is_opened_first_and_the_name_of_the_mistake_second(
    page: Page, work: Work
) -> None:
    work.answer("dlogprobs").answer("dprobs", "dprobs = -dlogprobs / probs").save()
    question = row(page, "dprobs").get_by_text("Count the minus signs")
    name = row(page, "dprobs").get_by_text("The size is right and the sign is not")
    expect(row(page, "dprobs").locator("details")).to_have_count(2)
    expect(question).to_be_hidden()
    row(page, "dprobs").get_by_text("What to ask yourself").click()
    expect(question).to_be_visible()
    expect(name).to_be_hidden()
    row(page, "dprobs").get_by_text("What the mistake is").click()
    expect(name).to_be_visible()


def test_a_half_written_file_leaves_the_last_good_state(page: Page, work: Work) -> None:
    work.answer("dlogprobs").save()
    expect(said(page)).to_contain_text("Now right")
    whole = work.path.read_bytes()
    work.path.write_bytes(whole[: len(whole) // 2])
    expect(said(page)).to_contain_text("cut off while it was saved")
    expect(said(page)).to_have_class("trouble")
    expect(row(page, "dlogprobs")).to_contain_text("right")
    work.answer("dprobs").save()
    expect(said(page)).to_contain_text("Now right: dprobs")
    expect(said(page)).not_to_have_class("trouble")


def test_a_syntax_error_is_said_of_its_own_gradient(page: Page, work: Work) -> None:
    work.answer("dlogprobs").answer("dprobs", "dprobs = dlogprobs / probs)").save()
    expect(row(page, "dprobs").get_by_text("SyntaxError")).to_be_visible()
    expect(row(page, "dlogprobs")).to_contain_text("right")


@pytest.mark.parametrize("how", ["deleted", "renamed"])
def test_a_file_that_is_gone_leaves_the_last_good_state(page: Page, work: Work, how: str) -> None:
    if how == "deleted":
        work.path.unlink()
    else:
        work.path.rename(work.path.with_name("other.ipynb"))
    expect(said(page)).to_contain_text("it was renamed or deleted")
    expect(row(page, "dlogprobs")).to_contain_text("not attempted")
    work.answer("dlogprobs").save()
    expect(said(page)).to_contain_text("Now right: dlogprobs")


# ------------------------------------------------------------------------------------- for everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1200], ids=["phone", "desktop"])
def test_axe_finds_nothing_serious_and_nothing_runs_off_the_screen(
    page: Page, work: Work, axe: str, width: int, scheme: str
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 700})
    work.answer("dlogprobs").answer("dprobs", "dprobs = -dlogprobs / probs").save()
    expect(said(page)).to_contain_text("Now right: dlogprobs")
    row(page, "dprobs").locator("summary").first.click()
    page.evaluate(axe)  # by the debugger, which no policy of the page binds
    found = page.evaluate("axe.run()")["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [n["html"] for n in one["nodes"]]) for one in serious] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_a_notebook_shows_runs_nothing(page: Page, work: Work) -> None:
    evil = "<img src=x onerror='window.hacked=1'><script>window.hacked=2</script>"
    show = f"from IPython.display import HTML, display; display(HTML({evil!r}))"
    work.answer("dlogprobs", f"{work.solution['dlogprobs']}\n{show}")
    work.book["cells"].insert(0, {"cell_type": "markdown", "metadata": {}, "source": evil})
    work.save()
    expect(said(page)).to_contain_text("Now right: dlogprobs")
    assert page.evaluate("window.hacked ?? null") is None
    expect(page.locator("main script, main [onerror]")).to_have_count(0)


# --------------------------------------------------------------------------------------- nobody else


REFUSED = {
    "another token": ("/x/", {}, 403),
    "no token": ("/", {}, 404),
    "events without the token": ("/x/events", {}, 403),
    "another site's name for this machine": ("", {"Host": "evil.example:{port}"}, 403),
    "a page of another site": ("", {"Origin": "https://evil.example"}, 403),
    "another port of this machine": ("", {"Origin": "http://127.0.0.1:1"}, 403),
    "events to a page of another site": ("events", {"Origin": "null"}, 403),
}


def asked(
    watcher: Watcher, path: str, headers: dict[str, str], method: str = "GET"
) -> tuple[int, dict[str, str], str]:
    where = urlsplit(watcher.url)
    connection = http.client.HTTPConnection("127.0.0.1", where.port, timeout=SECONDS)
    filled = {name: value.format(port=where.port) for name, value in headers.items()}
    with closing(connection):
        whole = path if path.startswith("/") else where.path + path
        connection.request(method, whole, headers=filled)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read().decode()


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
def test_refused_is(request_: tuple[str, dict[str, str], int], watcher: Watcher) -> None:
    path, headers, status = request_
    answer = asked(watcher, path, headers)
    assert answer[0] == status
    assert "dlogprobs" not in answer[2]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_nothing_can_be_done_but_read(method: str, watcher: Watcher) -> None:
    assert asked(watcher, "", {}, method)[0] == 405


def test_the_page_may_be_framed_by_nobody_and_asks_nobody_else(watcher: Watcher) -> None:
    status, headers, html = asked(watcher, "", {})
    assert status == 200
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["Cache-Control"] == "no-store"
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "connect-src 'self'" in policy[1]
    assert "script-src 'sha256-" in policy[1]
    assert "unsafe-inline" not in policy[1].replace("style-src 'unsafe-inline'", "")


def test_it_listens_on_this_machine_only(watcher: Watcher) -> None:
    listening = [
        one.laddr.ip
        for one in psutil.Process(watcher.process.pid).net_connections()
        if one.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]


# ----------------------------------------------------------------------------- nothing is left behind


def test_many_saves_take_no_more_memory_and_no_more_processes(
    page: Page, work: Work, watcher: Watcher
) -> None:
    def used() -> tuple[int, int]:
        family = [psutil.Process(watcher.process.pid), *watcher.family]
        return len(family), sum(one.memory_info().rss for one in family) >> 20

    def saved(times: int) -> None:
        for _ in range(times):
            work.answer("dlogprobs").save()
            expect(said(page)).to_contain_text("Now right: dlogprobs")
            work.answer("dlogprobs", "dlogprobs = -1").save()
            expect(said(page)).to_contain_text("No longer right: dlogprobs")

    saved(3)
    processes, mib = used()
    saved(8)
    until(lambda: used()[0] <= processes)
    assert used()[1] < mib + 150  # it goes up and down by half of that


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("sandbox", ["--sandbox=landlock", "--no-sandbox"])  # both have a folder
def test_whatever_ends_it_leaves_no_process_and_no_folder(
    sandbox: str, how: signal.Signals, tmp_path: Path
) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    Work(tmp_path / "my.ipynb", "2_cross_entropy")
    with watching(tmp_path / "my.ipynb", sandbox, TMPDIR=str(scratch)) as watcher:
        family = watcher.family
        assert family
        watcher.process.send_signal(how)
        status = watcher.process.wait(SECONDS)
        _, alive = psutil.wait_procs(family, timeout=SECONDS)
    assert alive == []
    assert status == (0 if how == signal.SIGINT else -how)
    until(lambda: not [*scratch.iterdir()])


# ---------------------------------------------------------------------------------------- what else


def test_a_folder_of_notebooks_is_followed(tmp_path: Path, browser: Browser) -> None:
    one = Work(tmp_path / "1_every_step.ipynb")
    two = Work(tmp_path / "2_cross_entropy.ipynb", "2_cross_entropy")
    with watching(tmp_path) as watcher, browser.new_context() as context:
        page = context.new_page()
        page.goto(watcher.url)
        one.answer("dlogprobs").save()
        expect(said(page)).to_contain_text("Now right: dlogprobs")
        two.answer("dlogits").save()
        expect(said(page)).to_contain_text("Now right: dlogits")
        two.path.unlink()
        expect(said(page)).to_contain_text("it was renamed or deleted")


@pytest.mark.parametrize("content", [None, b"", b"{}"], ids=["none", "empty", "no notebook"])
def test_what_cannot_be_followed_is_said_in_one_line(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "my.ipynb"
    if content is not None:
        path.write_bytes(content)
    command = [sys.executable, "-m", "handgrad.doors.cli", "watch", "--no-browser", str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"handgrad: {path}: ")
    assert ran.stderr.count("\n") == 1
