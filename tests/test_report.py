"""The class report: right numbers, nothing hidden, nothing that runs but its own script."""

import csv
import datetime
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from handgrad.errors import UserError
from handgrad.pages import reportfiles
from handgrad.pages.reportpage import html
from handgrad.pages.words import LANGUAGES
from handgrad.statistics.changes import Snapshot
from handgrad.statistics.classreport import ClassReport
from handgrad.store.roster import ClassRecord
from handgrad.verdict import Finding, IntegrityLine, Note, Report, Verdict

STEM = "1_every_step"
NOW = datetime.datetime(2026, 11, 4, 10, 30)
BEFORE = datetime.datetime(2026, 11, 3, 9, 0)
BRANCH = Note("missing_branch", {"consumer": "counts_sum"})
ALIASES = {
    "r": Verdict.RIGHT,
    "s": Verdict.RIGHT_STEP,
    "w": Verdict.WRONG,
    "n": Verdict.NOT_ATTEMPTED,
    "c": Verdict.COULD_NOT_TELL,
}


def record(student: str, verdicts: str, *diagnoses: Note, **more: Any) -> ClassRecord:
    """A student whose gradients da, db, dc, ... got these verdicts, by their first letter."""
    findings = tuple(
        Finding(
            STEM,
            f"d{chr(ord('a') + i)}",
            f"test_d{chr(ord('a') + i)}",
            ALIASES[letter],
            None if letter == "c" else float(letter in "rs"),
            1.0,
            diagnoses=diagnoses if letter == "w" else (),
        )
        for i, letter in enumerate(verdicts)
    )
    of_report = {key: more.pop(key) for key in ("problems", "integrity") if key in more}
    return ClassRecord(student, Report(student, "backprop", findings, **of_report), **more)


def report(*records: ClassRecord, previous: Snapshot | None = None) -> ClassReport:
    return ClassReport("backprop", NOW, records, previous)


# -------------------------------------------------------------------------------------- the numbers


def test_marks_fall_into_tenths_and_full_marks_into_the_last() -> None:
    made = report(record("a", "rrrr"), record("b", "rrww"), record("c", "wwww"))
    assert made.bins == (1, 0, 0, 0, 0, 1, 0, 0, 0, 1)
    assert made.mean == made.median == 0.5


def test_the_gradebooks_score_counts_where_there_is_one() -> None:
    assert report(record("a", "rr", score=0.5, max_score=5.0)).shares == (0.1,)


def test_an_ungraded_student_is_in_no_distribution() -> None:
    made = report(ClassRecord("a"), record("b", "r"))
    assert sum(made.bins) == 1
    assert len(made.graded) == 1


def test_an_empty_class_has_a_page_too() -> None:
    assert "0 students, 0 graded" in html(report(), "en")


def test_difficulty_is_counted_by_verdict_and_ordered_as_the_notebook() -> None:
    made = report(record("a", "rw"), record("b", "rs"), record("c", "nw"))
    first, second = made.difficulty
    assert (first.name, second.name) == ("da", "db")
    assert first.counts == {Verdict.RIGHT: 2, Verdict.NOT_ATTEMPTED: 1}
    assert second.share(Verdict.WRONG) == pytest.approx(2 / 3)


def test_mistakes_are_told_by_frequency_with_who_made_them() -> None:
    sign = Note("sign")
    made = report(record("a", "w", sign), record("b", "w", BRANCH), record("c", "w", BRANCH, sign))
    first, second = made.mistakes
    assert (first.what, first.certain, first.possible) == (sign, ("a",), ("c",))
    assert (second.what, second.certain, second.possible) == (BRANCH, ("b",), ("c",))
    assert "What comes back through <code>counts_sum</code> is missing." in html(made, "en")


def test_errors_of_any_text_are_one_mistake() -> None:
    errors = [Note("raised", {"ename": "E", "evalue": str(i)}) for i in range(3)]
    made = report(*(record(f"s{i}", "w", error) for i, error in enumerate(errors)))
    (only,) = made.mistakes
    assert only.certain == ("s0", "s1", "s2")
    assert "The cell stopped with an error." in html(made, "en")


@pytest.mark.parametrize(
    ("who", "told"),
    [
        (record("a", "cr"), "the grader could not tell: da in 1_every_step"),
        (record("a", "cc"), "the grader could not tell: everything in 1_every_step"),
        (record("a", "r", waiting=("bessel",)), "not marked yet: bessel"),
        (record("a", "r", late_seconds=3 * 86400), "handed in late (3 d)"),
        (record("a", "r", late_seconds=60, late_penalty=0.5), "handed in late (1 min, -0.5)"),
        (ClassRecord("a"), "handed in, not graded"),
        (ClassRecord("a", handed_in=False), "not handed in"),
        (ClassRecord("a", refused=True), "a folder that cannot be a student"),
        (
            record("a", "r", problems={"2_x": (Note("missing"),)}),
            "2_x: ",
        ),
        (
            record("a", "r", problems={STEM: (Note("unreadable", {"why": "cut off"}),)}),
            "1_every_step: The notebook cannot be read: cut off.",
        ),
    ],
    ids=[
        "could not tell",
        "nothing told",
        "unmarked",
        "late",
        "penalty",
        "ungraded",
        "missing",
        "refused folder",
        "missing notebook",
        "unreadable",
    ],
)
def test_whatever_needs_a_person_is_listed(who: ClassRecord, told: str) -> None:
    assert told in html(report(who), "en")


def test_what_the_grader_could_not_tell_is_listed_once() -> None:
    (only,) = report(record("a", "c", waiting=("test_da",))).errands
    assert only.code == "could_not_tell"


def test_what_needs_nobody_is_not_listed() -> None:
    assert report(record("a", "rwn", Note("sign"))).errands == ()


def test_uses_of_autograd_are_listed_with_their_line() -> None:
    line = IntegrityLine(STEM, 17, "Tensor.backward", "loss.backward()")
    (suspect,) = report(record("a", "r", integrity=(line,))).suspects
    assert (suspect.student, suspect.line) == ("a", "loss.backward()")


# ------------------------------------------------------------------------------------ since the last


def written(root: Path, *records: ClassRecord, made: datetime.datetime = NOW) -> str:
    path, _ = reportfiles.write(root, "backprop", records, "en", made)
    assert path == root / "reports" / "backprop.html"
    return path.read_text(encoding="utf-8")


def test_the_first_report_says_so(tmp_path: Path) -> None:
    assert "This is the first report." in written(tmp_path, record("a", "r"))


def test_the_next_report_says_what_changed(tmp_path: Path) -> None:
    written(tmp_path, record("a", "wr"), record("b", "r"), record("c", "r"), made=BEFORE)
    page = written(tmp_path, record("a", "rr"), record("b", "r"), record("d", "r"))
    assert "Compared with the report made 2026-11-03 09:00." in page
    table = page.partition('id="change"')[2].partition("</section>")[0]
    assert "wrong → right: da" in table
    assert ">new<" in table
    assert ">gone<" in table
    assert 'data-filter="b"' not in table


def test_nothing_changed_is_said_too(tmp_path: Path) -> None:
    written(tmp_path, record("a", "r"), made=BEFORE)
    assert "Nothing has changed." in written(tmp_path, record("a", "r"))


def test_a_report_made_twice_says_the_same_changes_twice(tmp_path: Path) -> None:
    written(tmp_path, record("a", "wr"), made=BEFORE)
    for minute in (1, 2, 3):
        page = written(tmp_path, record("a", "rr"), made=NOW.replace(minute=minute))
        assert "Compared with the report made 2026-11-03 09:00." in page
        assert "wrong → right: da" in page


def test_a_disk_that_refuses_the_report_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file in the folder's place")
    with pytest.raises(UserError, match="cannot be written"):
        written(tmp_path, record("a", "r"))


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"students": 3}', "null"])
def test_a_damaged_last_report_counts_as_none(tmp_path: Path, damage: str) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "backprop.json").write_text(damage)
    assert "This is the first report." in written(tmp_path, record("a", "r"))


def test_json_holds_what_the_page_shows() -> None:
    made = report(record("a", "rw", BRANCH, waiting=("bessel",)), ClassRecord("b"))
    table = json.loads(json.dumps(reportfiles.as_json(made)))
    assert table["mistakes"][0]["certain"] == ["a"]
    assert [one["code"] for one in table["needs a person"]] == ["unmarked", "not_graded"]
    assert table["students"][1]["points"] is None


def test_csv_has_a_line_a_student_and_no_formula() -> None:
    made = report(record("=HYPERLINK(1)", "rw", BRANCH, name="@cmd"), ClassRecord("b"))
    header, first, second = csv.reader(io.StringIO(reportfiles.as_csv(made)))
    assert header[:3] == ["student", "name", "points"]
    assert header[-2:] == ["1_every_step/da", "1_every_step/db"]
    assert first[:3] == ["'=HYPERLINK(1)", "'@cmd", "1"]
    assert first[-2:] == ["right", "wrong"]
    assert second[2] == ""


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_report_speaks_the_language_that_was_set(language: str) -> None:
    page = html(report(record("a", "rwc", BRANCH)), language)
    assert {"en": "Needs a person", "zh": "需要人处理"}[language] in page


# ------------------------------------------------------------------------------------- in the browser

HOSTILE = "<img src=x onerror='window.hacked=1'></script><script>window.hacked=2</script>"


def classroom(size: int) -> list[ClassRecord]:
    """A class in which everything that the page can show occurs."""
    kinds = ["r" * 37, "w" + "s" * 36, "rrrw" * 9 + "n", "r" * 20 + "n" * 17, "rc" + "w" * 35]
    line = IntegrityLine(STEM, 3, "Tensor.grad", "dh = h.grad")
    made = []
    for i in range(size):
        one = record(f"s{i:04}", kinds[i % 5], BRANCH, name=f"Name {i}")
        assert one.report is not None
        if i % 20 == 3:
            one = replace(one, report=replace(one.report, integrity=(line,)))
        if i % 15 == 4:
            one = replace(one, late_seconds=5000.0, late_penalty=1.0, waiting=("bessel",))
        made.append(one if i % 50 != 7 else ClassRecord(f"s{i:04}"))
    return made


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    contexts = []

    def open_(page: str, **options: Any) -> Page:
        path = tmp_path / "report.html"
        path.write_text(page, encoding="utf-8")
        contexts.append(browser.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("request", lambda request: asked.append(request.url))
        asked: list[str] = []
        tab.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            # Chromium throws clicks away that come before it has drawn the page once.
            tab.evaluate(
                "() => new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))"
            )
        assert asked == [path.as_uri()]
        return tab

    yield open_
    for context in contexts:
        context.close()


def shown(tab: Page) -> Locator:
    return tab.locator("#students tbody tr:visible th")


def assert_shown(tab: Page, *students: str) -> None:
    expect(shown(tab)).to_have_text(students)


def test_students_can_be_filtered_and_sorted(opened: Callable[..., Page]) -> None:
    tab = opened(
        html(report(record("b", "rr"), record("a", "rw", BRANCH), record("c", "ww")), "en")
    )
    assert_shown(tab, "b", "a", "c")
    tab.locator("#students thead button", has_text="points").click()
    assert_shown(tab, "c", "a", "b")
    tab.locator("#students thead button", has_text="student").click()
    tab.locator("#students thead button", has_text="student").click()
    assert_shown(tab, "c", "b", "a")
    tab.locator("#filter").fill("wrong: DB")
    assert_shown(tab, "c", "a")
    assert tab.locator("#shown").inner_text() == "2 of 3 shown"


def test_a_name_in_any_table_leads_to_the_student(opened: Callable[..., Page]) -> None:
    tab = opened(html(report(record("b", "rr"), record("a", "rw", BRANCH)), "en"))
    tab.locator("a[data-filter=a]").first.click()
    assert_shown(tab, "a")


def test_the_page_is_whole_without_its_script(opened: Callable[..., Page]) -> None:
    tab = opened(html(report(*classroom(20)), "en"), java_script_enabled=False)
    expect(shown(tab)).to_have_count(20)
    assert tab.locator("#filter").is_disabled()


def test_a_hostile_class_runs_nothing(opened: Callable[..., Page]) -> None:
    note = Note("other_value", {"used": HOSTILE, "meant": HOSTILE})
    line = IntegrityLine(HOSTILE, 1, HOSTILE, HOSTILE)
    one = record(
        HOSTILE,
        "wc",
        note,
        integrity=(line,),
        problems={HOSTILE: (Note("unreadable", {"why": HOSTILE}),)},
        name=HOSTILE,
        waiting=(HOSTILE,),
    )
    before = Snapshot(HOSTILE, {HOSTILE: 1.0, HOSTILE + "2": 2.0}, {})
    tab = opened(html(report(one, previous=before), "en"))
    tab.locator("a[data-filter]").first.click()
    expect(shown(tab)).to_have_count(1)
    assert tab.evaluate("window.hacked ?? null") is None
    assert tab.locator("img").count() == 0


def test_the_policy_lets_no_other_script_run(opened: Callable[..., Page]) -> None:
    page = html(report(record("a", "r")), "en").replace("</main>", f"{HOSTILE}</main>")
    assert opened(page.replace("src=x", "")).evaluate("window.hacked ?? null") is None


def test_a_thousand_students_cost_the_browser_less_than_a_second(
    opened: Callable[..., Page],
) -> None:
    page = html(report(*classroom(1000)), "en")
    tab = opened(page)
    session = tab.context.new_cdp_session(tab)
    # Of processor time: other work on the machine is not the page's fault.
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    tab.reload()
    tab.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    told = session.send("Performance.getMetrics")["metrics"]
    assert 0 < {one["name"]: one["value"] for one in told}["TaskDuration"] < 1.0
    assert tab.locator("#students tbody tr").count() == 1000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_nothing_serious(
    opened: Callable[..., Page], axe: str, scheme: str, language: str
) -> None:
    before = Snapshot("2026-11-03 09:00", {"s0001": 3.0}, {"s0001": {(STEM, "da"): Verdict.WRONG}})
    page = html(report(*classroom(12), previous=before), language)
    # All of it laid out, so that axe sees all of it.
    page = page.replace("content-visibility: auto", "content-visibility: visible")
    tab = opened(page, color_scheme=scheme)
    tab.evaluate(axe)
    result = tab.evaluate("axe.run()")
    serious = [v for v in result["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [n["html"] for n in v["nodes"]][:3]) for v in serious] == []


@pytest.mark.parametrize("width", [380, 800], ids=["phone", "tablet"])
def test_nothing_runs_off_the_side_of_a_narrow_screen(
    opened: Callable[..., Page], width: int
) -> None:
    odd = record("a_very_long_name_without_any_space_in_it", "cr", late_seconds=60.0)
    page = html(report(*classroom(10), odd), "en")
    tab = opened(page, viewport={"width": width, "height": 700})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
