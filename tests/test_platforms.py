"""Results as other platforms read them: each held against its published description, field by field."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal
from xml.etree import ElementTree

import msgspec
import pytest
import yaml
from coursedir import ROOT, SCRIPTS, graded_class, make_course
from markdown_it import MarkdownIt
from places import SANDBOXES

from demo.classroom import FOUR
from handgrad.doors import cli
from handgrad.doors.check import RENDERED, not_graded, rendered, status
from handgrad.platforms import github, gradescope, junit, prairielearn
from handgrad.settings import Settings
from handgrad.verdict import Finding, Note, Report, Verdict

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
Unset = msgspec.UnsetType
UNSET = msgspec.UNSET
Amount = Annotated[float, msgspec.Meta(ge=0)]

# ---------------------------------------------------- Gradescope: Autograder Specifications, "Output format"

Seen = Literal["hidden", "after_due_date", "after_published", "visible"]
Shape = Literal["text", "html", "simple_format", "md", "ansi"]


class Test(msgspec.Struct, forbid_unknown_fields=True):
    """One of `tests`; all of its fields are optional."""

    score: Amount | Unset = UNSET
    max_score: Amount | Unset = UNSET
    status: Literal["passed", "failed"] | Unset = UNSET
    name: str | Unset = UNSET
    name_format: Shape | Unset = UNSET
    number: str | Unset = UNSET
    output: str | Unset = UNSET
    output_format: Shape | Unset = UNSET
    tags: list[str] | Unset = UNSET
    visibility: Seen | Unset = UNSET
    extra_data: dict[str, Any] | Unset = UNSET


class Results(msgspec.Struct, forbid_unknown_fields=True):
    """The file; either it has a score, or each of its tests has one."""

    tests: list[Test] | Unset = UNSET
    score: Amount | Unset = UNSET
    execution_time: Amount | Unset = UNSET
    output: str | Unset = UNSET
    output_format: Shape | Unset = UNSET
    test_output_format: Shape | Unset = UNSET
    test_name_format: Shape | Unset = UNSET
    visibility: Seen | Unset = UNSET
    stdout_visibility: Seen | Unset = UNSET
    extra_data: dict[str, Any] | Unset = UNSET
    leaderboard: list[dict[str, Any]] | Unset = UNSET


def valid_gradescope(text: str) -> None:
    results = msgspec.json.decode(text, type=Results)
    assert results.score is not UNSET
    assert results.tests
    assert results.output_format == results.test_output_format == results.test_name_format == "text"
    for test in results.tests:
        shown = test.visibility is UNSET or test.visibility != "hidden"
        assert shown == (test.score is not UNSET), "without a score a test is hidden, and the total"


# ------------------------------------------------- PrairieLearn: External Grading, "Grading results"


class Case(msgspec.Struct):
    """One of `tests`, as <pl-external-grader-results> shows it."""

    name: str
    points: Amount
    max_points: Amount
    description: str = ""
    message: str = ""
    output: str = ""


class Graded(msgspec.Struct):
    """The file: a score in [0, 1] where it is gradable, and any other data."""

    gradable: bool = True
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | Unset = UNSET
    message: str = ""
    output: str = ""
    format_errors: str | list[str] = ""
    tests: list[Case] = []


def valid_prairielearn(text: str) -> None:
    results = msgspec.json.decode(text, type=Graded)
    assert results.gradable == (results.score is not UNSET)
    assert results.gradable == (not results.format_errors)
    assert len(text.encode()) < 1 << 20


# --------------------------------- JUnit: junit-10.xsd of Jenkins' xUnit plugin; GitLab reads the same

WHY = ({"message", "type"}, set[str](), set[str]())
ELEMENTS: Mapping[str, tuple[set[str], set[str], set[str]]] = {
    # by name: attributes that may be there, that must be there, and elements within
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, set(), {"testsuite"}),
    "testsuite": (
        {
            *("name", "tests", "failures", "errors", "group", "time", "skipped", "timestamp"),
            *("hostname", "id", "package", "file", "log", "url"),
        },
        {"name", "tests", "failures", "errors"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "testcase": (
        {"name", "time", "classname", "group"},
        {"name"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": WHY,
    "error": WHY,
    "system-out": (set(), set(), set()),
}


def valid_junit(text: str) -> None:
    root = ElementTree.fromstring(text)
    assert root.tag == "testsuites"
    for element in root.iter():
        may, must, within = ELEMENTS[element.tag]
        assert must <= set(element.attrib) <= may
        assert {child.tag for child in element} <= within
        if element.tag in ("testsuites", "testsuite"):
            for kind, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
                assert int(element.attrib[kind]) == len(list(element.iter(tag)))
    cases = [(case.attrib["classname"], case.attrib["name"]) for case in root.iter("testcase")]
    assert len(cases) == len(set(cases)), "GitLab drops all but the first of a name"


def valid_github(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    kinds = {each.type for token in tokens for each in (token, *(token.children or ()))}
    assert not kinds & {"html_block", "html_inline", "link_open", "image"}
    assert "table_open" in kinds
    assert len(text.encode()) < 1 << 20  # what GitHub takes of a step


def valid_json(text: str) -> None:
    assert {"gradients", "points", "max_points", "problems"} <= set(json.loads(text))


VALID = {
    "json": valid_json,
    "junit": valid_junit,
    "github": valid_github,
    "gradescope": valid_gradescope,
    "prairielearn": valid_prairielearn,
}


def test_every_format_has_its_description() -> None:
    assert set(VALID) == set(cli.FORMATS) == {"json", *RENDERED}


# ----------------------------------------------------------------------- a class that was really graded

STATUS = {"in_time": 0, "forgot_a_branch": 1, "blank": 1, "one_missing": 1, "broken_json": 2}


@pytest.mark.parametrize("student", STATUS)
@pytest.mark.parametrize("kind", RENDERED)
def test_a_report_is_as_the_platform_describes_it(kind: str, student: str) -> None:
    VALID[kind](RENDERED[kind](graded_class().outcomes[student].report, Settings()))


@pytest.mark.parametrize("student", STATUS)
def test_the_exit_status_tells_right_from_wrong_from_unknown(student: str) -> None:
    assert status(graded_class().outcomes[student].report) == STATUS[student]


@pytest.mark.parametrize("student", ["in_time", "forgot_a_branch"])
def test_all_formats_say_the_same_points(student: str) -> None:
    report = graded_class().outcomes[student].report
    tests = json.loads(gradescope.render(report, Settings()))
    assert tests["score"] == sum(test["score"] for test in tests["tests"]) == report.points
    assert sum(test["max_score"] for test in tests["tests"]) == report.max_points
    graded = json.loads(prairielearn.render(report, Settings()))
    assert graded["score"] * report.max_points == pytest.approx(report.points)
    assert f"{report.points:.0f} / {report.max_points:.0f}" in github.render(report, Settings())
    wrong = [f for f in report.findings if f.verdict not in (Verdict.RIGHT, Verdict.RIGHT_STEP)]
    (counted,) = re.findall(r"<testsuites .*failures=\"(\d+)\"", junit.render(report, Settings()))
    assert int(counted) == len(wrong) == len([t for t in tests["tests"] if t["status"] == "failed"])


def test_the_student_reads_the_course_s_sentence_as_much_as_the_instructor_lets_through() -> None:
    report = graded_class().outcomes["forgot_a_branch"].report
    (wrong,) = (finding for finding in report.findings if finding.verdict is Verdict.WRONG)
    for level, seen in {"verdict": False, "question": False, "full": True}.items():
        settings = Settings(feedback=level)  # type: ignore[arg-type]
        for kind in RENDERED.values():
            assert ("comes back through" in kind(report, settings)) == seen
    assert "In how many lines" in gradescope.render(report, Settings())
    assert "与导数一致" in gradescope.render(report, Settings(language="zh"))
    assert wrong.diagnoses


def test_nobody_is_shown_a_zero_for_what_could_not_be_told() -> None:
    report = graded_class().outcomes["broken_json"].report
    untold = {f"{f.notebook}: {f.name}" for f in report.findings if f.points is None}
    assert untold
    tests = json.loads(gradescope.render(report, Settings()))
    assert {t["name"] for t in tests["tests"] if "score" not in t} == untold
    assert "Nothing is held against you" in tests["output"]
    graded = json.loads(prairielearn.render(report, Settings()))
    assert not {t["name"] for t in graded["tests"] if t["description"] == FOUR}
    root = ElementTree.fromstring(junit.render(report, Settings()))
    assert len(list(root.iter("error"))) == len(untold)
    assert "? / " in github.render(report, Settings())


@pytest.mark.parametrize("seen", ["visible", "after_due_date", "after_published", "hidden"])
def test_gradescope_shows_tests_when_the_instructor_says(seen: Any) -> None:
    report = graded_class().outcomes["forgot_a_branch"].report
    assert json.loads(gradescope.render(report, Settings(visibility=seen)))["visibility"] == seen


HOSTILE = "]]></failure><img src=x onerror=alert(1)>|\n\n# [x](http://e)`\x00\x1b[31m\ufffe\ud800 </script>"


@pytest.mark.parametrize("kind", RENDERED)
def test_what_a_student_wrote_is_no_markup_of_the_platform(kind: str) -> None:
    note = Note("raised", {"ename": HOSTILE, "evalue": HOSTILE})
    finding = Finding("n", "dx", "test_dx", Verdict.WRONG, 0.0, 2.0, diagnoses=(note,))
    odd = {"n": (Note("found_as", {"found": HOSTILE}),)}
    for level in ("question", "full"):
        settings = Settings(feedback=level)  # type: ignore[arg-type]
        VALID[kind](RENDERED[kind](Report("ann", "a", (finding,), odd), settings))


# ------------------------------------------------------------------------------------ the command itself


def handgrad(
    folder: Path, *words: str | Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "handgrad.doors.cli", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_course(tmp_path_factory.mktemp("platforms") / "course", ["forgot_a_branch"])


CUT_OFF = (ROOT / "release" / "backprop" / "1_every_step.ipynb").read_text(encoding="utf-8")[:9999]
BAD: Mapping[str, tuple[str, str, dict[str, str]]] = {
    # the format, what of the folder is handed in, and what is in the folder
    "no notebook": ("gradescope", "", {"essay.pdf": "{}"}),
    "an empty folder": ("prairielearn", "", {}),
    "another notebook": ("junit", "", {"other.ipynb": "{}"}),
    "no folder": ("prairielearn", "nowhere", {}),
    "a file cut off": ("github", "", {"1_every_step.ipynb": CUT_OFF}),
    "a file cut off, alone": ("gradescope", "1_every_step.ipynb", {"1_every_step.ipynb": CUT_OFF}),
    "a file that is none": ("json", "other.ipynb", {"other.ipynb": "\x00"}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_a_result_that_the_platform_takes(
    case: str, course: Path, tmp_path: Path
) -> None:
    kind, part, files = BAD[case]
    folder, result = tmp_path / "submission", tmp_path / "o" / "r"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    done = handgrad(course, "check", folder / part, "--format", kind, "--output", result)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    VALID[kind](result.read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", VALID)
@pytest.mark.parametrize("name", ["submission", "1_every_step.ipynb"])
def test_what_could_not_be_graded_is_told_in_every_format(
    kind: str, name: str, course: Path
) -> None:
    checked = not_graded(Path(name), course, "backprop", HOSTILE)
    assert status(checked.report) == 2
    VALID[kind](rendered(checked, kind))


UNWRITABLE = {
    "a result": ("check", "submitted", "--format", "junit"),
    "an archive": ("pack", "gradescope", "backprop"),
}


@pytest.mark.parametrize("command", UNWRITABLE)
def test_a_file_that_cannot_be_written_is_one_clear_error(command: str, course: Path) -> None:
    done = handgrad(course, *UNWRITABLE[command], "--output", "nbgrader_config.py/results.xml")
    assert done.returncode in (1, 2), done.stderr
    assert "nbgrader_config.py/results.xml" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_assignment_that_cannot_be_read_is_not_the_student_s_mistake(course: Path) -> None:
    done = handgrad(course, "check", "submitted", "--assignment", "nosuch", "--format", "junit")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "no assignment of this name" in done.stderr


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_a_folder_gets_the_marks_of_the_class_and_its_code_never_sees_the_seed(
    sandbox: str, course: Path, tmp_path: Path
) -> None:
    folder, seed = tmp_path / "submission", "5eed" * 8
    shutil.copytree(course / "submitted" / "forgot_a_branch" / "backprop", folder)
    first = json.loads((folder / "1_every_step.ipynb").read_text(encoding="utf-8"))
    spy = "import os\nprint(dict(os.environ))\nprint(open('/proc/self/environ').read())"
    first["cells"].append({"cell_type": "code", "id": "spy", "metadata": {}, "source": spy})
    first["cells"][-1] |= {"outputs": [], "execution_count": None}
    (folder / "1_every_step.ipynb").write_text(json.dumps(first), encoding="utf-8")
    page = tmp_path / "page.html"
    done = handgrad(
        course,
        *("check", folder, "--format", "json", "--html", page, "--sandbox", sandbox),
        HANDGRAD_SEED=seed,
    )
    assert done.returncode == 1, done.stderr
    found = {(g["notebook"], g["name"]): g["points"] for g in json.loads(done.stdout)["gradients"]}
    report = graded_class().outcomes["forgot_a_branch"].report
    assert found == {(f.notebook, f.name): f.points for f in report.findings}
    shown = page.read_text(encoding="utf-8")
    assert "HANDGRAD_GRADING" in shown  # it did look
    assert seed not in shown


# ------------------------------------------------------------------------------------ Gradescope, laid out


@pytest.fixture(scope="module")
def autograder(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """/autograder as the specification lays it out, after setup.sh: here the environment is this one."""
    base = tmp_path_factory.mktemp("gradescope") / "autograder"
    done = handgrad(course, "pack", "gradescope", "backprop", "--output", base.parent / "a.zip")
    assert done.returncode == 0, done.stderr
    for name in ("source", "submission", "results"):
        (base / name).mkdir(parents=True)
    with zipfile.ZipFile(base.parent / "a.zip") as archive:
        archive.extractall(base / "source")
    shutil.copy(base / "source" / "run_autograder", base)
    (base / "run_autograder").chmod(0o755)  # as Gradescope does
    (base / "python").symlink_to(sys.prefix)
    return base


def run_autograder(base: Path) -> dict[str, Any]:
    environment = {"AUTOGRADER": str(base), "HANDGRAD_SANDBOX": "landlock", "PATH": os.defpath}
    done = subprocess.run(
        [base / "run_autograder"], cwd=base, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    text = (base / "results" / "results.json").read_text(encoding="utf-8")
    valid_gradescope(text)
    found: dict[str, Any] = json.loads(text)
    return found


def test_the_archive_holds_what_grades_and_nothing_of_a_student_s(
    course: Path, autograder: Path
) -> None:
    source = autograder / "source"
    assert {path.name for path in source.iterdir()} == {
        *("setup.sh", "run_autograder", "requirements.txt", "handgrad", "course")
    }
    graders = course / "graders" / "backprop"
    assert (source / "course" / "graders" / "backprop" / "seed").read_text() == (
        graders / "seed"
    ).read_text()
    inside = {path.name for path in (source / "course").rglob("*") if path.is_file()}
    assert inside == {
        path.name
        for folder in (graders, course / "release" / "backprop")
        for path in folder.iterdir()
        if path.is_file() and path.name != "variations.py"
    }
    assert not [path for path in source.rglob("*") if "forgot_a_branch" in path.name]
    with zipfile.ZipFile(autograder.parent / "a.zip") as archive:
        for name in ("setup.sh", "run_autograder"):
            assert archive.getinfo(name).external_attr >> 16 & 0o111


def test_gradescope_s_run_gives_the_marks_of_the_class(course: Path, autograder: Path) -> None:
    shutil.rmtree(autograder / "submission")
    shutil.copytree(
        course / "submitted" / "forgot_a_branch" / "backprop", autograder / "submission"
    )
    results = run_autograder(autograder)
    report = graded_class().outcomes["forgot_a_branch"].report
    assert results == json.loads(gradescope.render(report, Settings()))
    assert results["score"] == report.points


def test_gradescope_s_run_takes_whatever_was_handed_in(autograder: Path) -> None:
    shutil.rmtree(autograder / "submission")
    (autograder / "submission").mkdir()
    (autograder / "submission" / "essay.pdf").write_bytes(b"%PDF")
    results = run_autograder(autograder)
    assert not [test for test in results["tests"] if "score" in test]
    assert "no notebook of the assignment is there, but essay.pdf" in results["output"]


def test_the_setup_is_a_script_that_installs_what_is_installed_here(autograder: Path) -> None:
    subprocess.run(["bash", "-n", autograder / "source" / "setup.sh"], check=True)
    lines = (autograder / "source" / "requirements.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines)
    needed = {re.split("[>=;]", line)[0] for line in PROJECT["dependencies"]}
    assert needed - set(pinned) == {"nbgrader"}, (
        "run `make setup` where the package itself is missing"
    )
    for name, version in pinned.items():
        assert metadata.version(name).partition("+")[0] == version


# ------------------------------------------------------------------------------- what the pages tell to copy


def block(page: str, language: str, number: int = 0) -> str:
    """The text of a fenced block of a page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)[number]


def pasted(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{SCRIPTS}{os.pathsep}{os.defpath}"
    return subprocess.run(
        ["bash", "-ec", command],
        cwd=folder,
        env={"PATH": path, "HOME": str(folder.parent), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def repository(course: Path, tmp_path: Path) -> Path:
    """A student's repository, in which somebody put graders of their own."""
    root = tmp_path / "repository"
    shutil.copytree(course / "submitted" / "forgot_a_branch" / "backprop", root)
    (root / ".git").mkdir()
    for step in ("graders", "release"):
        shutil.copytree(course / step, root / step)
    (root / "nbgrader_config.py").touch()
    for path in (root / "graders" / "backprop").glob("test_*.py"):
        stem = re.findall('NOTEBOOK = "(.*)"', path.read_text(encoding="utf-8"))[0]
        path.write_text(f'NOTEBOOK = "{stem}"\n\n\ndef test_gradient(gradient):\n    gradient\n')
    return root


def test_the_workflow_of_the_page_writes_a_summary_and_fails_where_something_is_wrong(
    repository: Path,
) -> None:
    (job,) = yaml.safe_load(block("ci.md", "yaml"))["jobs"].values()
    step = job["steps"][-1]
    assert set(step["env"]) == {"HANDGRAD_SEED"}
    summary = repository.parent / "summary.md"
    done = pasted(
        step["run"], repository, GITHUB_STEP_SUMMARY=str(summary), HANDGRAD_SEED="5eed" * 8
    )
    assert done.returncode == 1, done.stderr
    told = summary.read_text(encoding="utf-8")
    valid_github(told)
    assert "90 / 92" in told  # by the graders of the package, not by the student's


def test_the_job_for_gitlab_writes_the_file_that_it_names(repository: Path) -> None:
    job = yaml.safe_load(block("ci.md", "yaml", 1))["gradients"]
    done = pasted(job["script"][-1], repository)
    assert done.returncode == 1, done.stderr
    valid_junit((repository / job["artifacts"]["reports"]["junit"]).read_text(encoding="utf-8"))


def test_the_question_of_the_page_grades_as_prairielearn_lays_it_out(
    course: Path, tmp_path: Path
) -> None:
    grade = tmp_path / "grade"
    shutil.copytree(course / "submitted" / "forgot_a_branch" / "backprop", grade / "student")
    for step in ("graders", "release"):
        shutil.copytree(course / step, grade / "tests" / step)
    entrypoint = json.loads(block("prairielearn.md", "json"))["externalGradingOptions"][
        "entrypoint"
    ]
    program, *_ = entrypoint.split()
    assert program == "/usr/local/bin/handgrad"  # an absolute path, as PrairieLearn asks
    command = entrypoint.replace(program, "handgrad").replace("/grade", str(grade))
    done = pasted(command, tmp_path)
    assert done.returncode == 1, done.stderr
    text = (grade / "results" / "results.json").read_text(encoding="utf-8")
    valid_prairielearn(text)
    assert json.loads(text)["score"] == pytest.approx(90 / 92)
