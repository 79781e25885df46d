"""No attack raises a mark, touches another student or the host, or goes by unseen, in any sandbox."""

import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from attacks import CORPUS, Attack
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
from places import PLACES

from handgrad.assignment.assignment import Assignment
from handgrad.verdict import Report, Verdict

GRADE = ("handgrad.doors.cli", "grade", NAME, "--jobs", "2")
AUTOGRADE = ("nbgrader", "autograde", NAME)
# nbgrader grades one submission after the other: the attackers come to it in several classes at once.
CLASSES = dict.fromkeys(PLACES, 1) | {[*PLACES][-1]: 3}


@dataclass(frozen=True, slots=True)
class Siege:
    """Every attacker graded in every place, and the processes that lived on."""

    classes: Mapping[str, tuple[Results, ...]]
    left_over: tuple[str, ...]

    def of(self, place: str, name: str) -> Results:
        """The class in which an attacker was graded."""
        return self.classes[place][[*CORPUS].index(name) % CLASSES[place]]


@pytest.fixture(scope="module")
def siege(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Siege]:
    """One run over each class, all at once, as most attackers have the grader wait.

    With `-k` only the attackers that are asked for hand in.
    """
    calls = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    asked = {call["name"] for call in calls if call.get("name") in CORPUS}
    made = make_course(tmp_path_factory.mktemp("made") / "course")
    with ExitStack() as folders:
        with adopted() as left_over, ThreadPoolExecutor(sum(CLASSES.values())) as pool:
            runs = {
                place: [
                    pool.submit(
                        besieged,
                        made,
                        folders.enter_context(PLACES[place].folder()),
                        place,
                        {name: CORPUS[name] for name in [*CORPUS][number::count] if name in asked},
                    )
                    for number in range(count)
                ]
                for place, count in CLASSES.items()
            }
            classes = {place: tuple(run.result() for run in some) for place, some in runs.items()}
        yield Siege(classes, tuple(left_over))


def besieged(made: Path, base: Path, place: str, some: Mapping[str, Attack]) -> Results:
    """Hand a part of the corpus in at a copy of the course, and have it graded in a place."""
    shutil.copytree(made, base / "course")
    with scene(base) as (here, callers):
        hand_in(some, here)
        seen = run(here, PLACES[place], *(GRADE if CLASSES[place] == 1 else AUTOGRADE))
        return Results.of(here, seen, callers.found)


@pytest.fixture(params=[(place, n) for place, count in CLASSES.items() for n in range(count)])
def graded(request: pytest.FixtureRequest, siege: Siege) -> Results:
    """One class."""
    place, number = request.param
    return siege.classes[place][number]


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


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CORPUS)
def test_an_attack_earns_what_is_honest_and_is_seen(
    name: str, place: str, siege: Siege, points: dict[tuple[str, str], float]
) -> None:
    attack, graded = CORPUS[name], siege.of(place, name)
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
    wrong += [f"says {text!r}" for text in attack.unsaid if text in shown]
    live = graded.live(student) if attack.hides else ""
    wrong += [f"shows {text!r}" for text in attack.hides if text in live]
    assert not wrong, "\n".join([*wrong, f"It reads {sorted(seen)}"])


@pytest.mark.parametrize("student", HONEST)
def test_an_honest_student_among_attackers_has_full_marks(
    student: str, graded: Results, points: dict[tuple[str, str], float]
) -> None:
    got = {key: score for key, (score, _) in graded.rows[student].items() if key[1][:5] == "test_"}
    assert got == {(stem, f"test_{variable}"): worth for (stem, variable), worth in points.items()}


@pytest.mark.parametrize("name", [k for k, v in CORPUS.items() if not (v.at_most or v.refused)])
def test_every_sandbox_and_both_commands_give_the_same_marks(name: str, siege: Siege) -> None:
    student = CORPUS[name].student or name
    first, *others = (siege.of(place, name).rows.get(student) for place in PLACES)
    assert all(rows == first for rows in others)


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
