"""No attack raises a mark, touches another student or the host, or goes by unseen, at either door."""

import re
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from attacks import CORPUS
from attacks.classroom import (
    HONEST,
    NAME,
    SECRET,
    Results,
    adopted,
    hand_in,
    make_course,
    run,
    scene,
)

from handgrad.assignment.assignment import Assignment
from handgrad.verdict import Report, Verdict

DOORS = {
    "handgrad": ("handgrad.doors.cli", "grade", NAME, "--jobs", "1"),
    "nbgrader": ("nbgrader", "autograde", NAME),
}


@dataclass(frozen=True, slots=True)
class Siege:
    """The whole class of attackers graded at both doors, and the processes that lived on."""

    results: Mapping[str, Results]
    left_over: tuple[str, ...]


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Siege:
    """One run of each door over all submissions, both at once."""
    made = make_course(tmp_path_factory.mktemp("made") / "course")
    results = {}
    with adopted() as left_over, ThreadPoolExecutor() as both:
        runs = {
            door: both.submit(besieged, made, tmp_path_factory.mktemp(door), door) for door in DOORS
        }
        results = {door: future.result() for door, future in runs.items()}
    return Siege(results, tuple(left_over))


def besieged(made: Path, base: Path, door: str) -> Results:
    """Hand everything in at a copy of the course, and grade it at one door."""
    shutil.copytree(made, base / "course")
    with scene(base, door) as (here, callers):
        hand_in(CORPUS, here)
        seen = run(here, *DOORS[door])
        return Results.of(here, seen, callers.found)


@pytest.fixture(params=DOORS)
def graded(request: pytest.FixtureRequest, siege: Siege) -> Results:
    return siege.results[request.param]


@pytest.fixture(scope="module")
def points() -> dict[tuple[str, str], float]:
    """What each test cell is worth, by notebook and variable."""
    assignment = Assignment.packaged(NAME)
    return {
        (stem, grade_id.removeprefix("test_")): worth
        for stem in assignment.exercises
        for grade_id, worth in assignment.points(stem).items()
    }


def told(report: Report) -> set[str]:
    """What a TA reads of a submission, as codes."""
    found = set()
    for notes in report.problems.values():
        for note in notes:
            found |= {note.code, f"{note.code} {note.parts.get('cell', '')}"}
    for finding in report.findings:
        found |= {f"{finding.name} {note.code}" for note in (*finding.diagnoses, *finding.remarks)}
    return found | {line.what for line in report.integrity}


@pytest.mark.parametrize("name", CORPUS)
def test_an_attack_earns_what_is_honest_and_is_seen(
    name: str, graded: Results, points: dict[tuple[str, str], float]
) -> None:
    attack = CORPUS[name]
    student = attack.student or name
    rows = graded.rows.get(student, {})
    if attack.refused:
        assert re.search(attack.refused, graded.seen.said)
        assert not any(score for score, _ in rows.values())
        return
    record = graded.record(student)
    assert record is not None, graded.seen.said[-3000:]
    by_name = {(f.notebook, f.name): f for f in record.report.findings}
    wrong = []
    for (stem, variable), worth in points.items():
        share, finding = attack.share(stem, variable), by_name[stem, variable]
        score, manual = rows[stem, f"test_{variable}"]
        assert score == finding.points
        if finding.points is None:
            assert finding.verdict is Verdict.COULD_NOT_TELL
            assert manual, "nobody is asked for a mark"
            honest = share is None or attack.at_most
        else:
            assert not manual
            honest = share is not None and finding.points == worth * share
            if attack.at_most:
                honest = finding.points <= worth * (1.0 if share is None else share)
        if not honest:
            wrong.append(
                f"{stem}/{variable}: {finding.verdict} {finding.points}, not {share} of {worth}"
            )
    seen = told(record.report)
    wrong += [f"does not read {code!r}" for code in attack.reads if code not in seen]
    shown = graded.notebooks(student)
    wrong += [f"does not show {text!r}" for text in attack.shows if text not in shown]
    live = graded.live(student) if attack.hides else ""
    wrong += [f"shows {text!r}" for text in attack.hides if text in live]
    assert not wrong, "\n".join([*wrong, f"It reads {sorted(seen)}"])


@pytest.mark.parametrize("student", HONEST)
def test_an_honest_student_among_attackers_has_full_marks(
    student: str, graded: Results, points: dict[tuple[str, str], float]
) -> None:
    got = {key: score for key, (score, _) in graded.rows[student].items() if key[1][:5] == "test_"}
    assert got == {(stem, f"test_{variable}"): worth for (stem, variable), worth in points.items()}


def test_the_host_is_as_it_was(graded: Results) -> None:
    before, after = graded.seen.before, graded.seen.after
    assert {k: v for k, v in after.items() if before.get(k) != v} == {}
    assert set(before) == set(after)


def test_no_process_is_left(siege: Siege) -> None:
    assert siege.left_over == ()


def test_nobody_called_a_server_of_this_machine(graded: Results) -> None:
    assert graded.callers == ()


def test_the_log_is_plain_text_and_without_tracebacks(graded: Results) -> None:
    assert "Traceback" not in graded.seen.said
    assert "\x1b[2J" not in graded.seen.said
    assert graded.seen.status == 1  # a person has something to mend: folders that were refused


def test_what_the_machine_keeps_holds_no_secret_of_the_teacher(graded: Results) -> None:
    for folder in ("autograded", "reports"):
        for path in (graded.scene.course / folder).rglob("*"):
            if path.is_file():
                assert SECRET.encode() not in path.read_bytes(), path


def test_there_are_sixty_attacks_and_more() -> None:
    assert len(CORPUS) >= 60
    assert len({attack.story for attack in CORPUS.values()}) == len(CORPUS)


def test_the_threat_model_names_attacks_and_tests_that_exist() -> None:
    tests = Path(__file__).parent
    text = (tests.parent / "docs" / "threat-model.md").read_text(encoding="utf-8")
    table = text[text.index("| promise") : text.index("## Not promised")]
    functions = {
        name
        for path in tests.glob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    }
    named = re.findall(r"`([^`]+)`", "".join(row.split("|")[3] for row in _rows(table)))
    assert len(named) > 30
    for name in named:
        path, _, function = name.partition("::")
        if path.startswith("tests/"):
            assert (tests.parent / path).exists(), name
            assert not function or function in functions, name
        elif not name.startswith(("python ", "handgrad ")):
            assert name in CORPUS or name in functions, name


def _rows(table: str) -> list[str]:
    return [line for line in table.splitlines() if line.startswith("| ") and "---" not in line]
