"""The documentation does what it says: its commands run, its links lead somewhere, its tables are true."""

import ast
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from conftest import missing
from coursedir import hand_in, make_course
from lecture_style import lecture_style

from demo.classroom import CLASS, Course
from handgrad.doors import cli
from handgrad.limits import Limits
from handgrad.settings import DECLARED, Settings

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
MARKDOWN = (*PAGES, ROOT / "CHANGELOG.md", ROOT / "data" / "README.md")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_PYTHON = "Programming Language :: Python :: "
PYTHONS = tuple(c.removeprefix(_PYTHON) for c in PROJECT["classifiers"] if c.startswith(_PYTHON))
SCRIPTS = Path(sys.executable).parent
SECONDS = 240  # for one command, on a machine with other things to do


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the file it is said to be ("late.py"), and its text."""

    page: str
    line: int
    language: str
    file: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Every line of a bash block, the lines after a prompt of a console; comments left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        elif self.language != "bash":
            return []
        return [line for each in lines if (line := re.sub(r"(^|\s+)#.*", "", each).strip())]


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    text = page.read_text(encoding="utf-8")
    return tuple(
        Block(page.name, text.count("\n", 0, found.start()) + 2, *found.groups(""))
        for found in re.finditer(r"^```(\w*)(?: (\S+))?\n(.*?)^```$", text, re.M | re.S)
    )


# ---------------------------------------------------- commands that a test cannot run as they stand


def fails(folder: Path, *command: str | Path, environment: Mapping[str, str] = os.environ) -> str:
    """Nothing where a command ends well, else what it said."""
    environment = {**environment, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else f"{command}: {done.stdout}{done.stderr}"


def a_chore(command: str) -> str:
    """The Makefile has the word."""
    return fails(ROOT, "make", "--dry-run", *command.split()[1:])


def a_package(command: str) -> str:
    """What is installed is this project, and has the extra."""
    extras = re.findall(r"handgrad\[(\w+)\]", command)
    unknown = set(extras) - set(PROJECT["optional-dependencies"])
    return f"no such extra: {unknown}" if unknown else "" if "handgrad" in command else "what?"


def an_image(command: str) -> str:
    """The file to build from is there; what runs in the container is a command that there is."""
    words = shlex.split(command)
    if words[1] == "build":
        return "" if (ROOT / words[words.index("-f") + 1]).is_file() else "no such file"
    inner = words[words.index("handgrad") + 1 :]  # after the image's name
    if inner[0] == "handgrad":
        return unknown_words(" ".join(inner))
    return fails(ROOT, inner[0], inner[1], "--version")


EXCHANGE = ("release_assignment", "list", "collect", "release_feedback")


def a_station_of_the_exchange(command: str) -> str:
    """There is a test that goes once round it, in a folder of its own."""
    tested = (ROOT / "tests" / "test_exchange.py").read_text(encoding="utf-8")
    return "" if f'"{command.split()[1]}"' in tested else "no such test"


def nothing(_command: str) -> str:
    return ""


# By the beginning of a command: why it is not run, and what is looked at instead.
ELSEWHERE: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "git clone": ("needs the network and the address of a fork", nothing),
    "cd handgrad": ("enters the clone", nothing),
    ". .venv/bin/activate": ("enters what `make setup` made", nothing),
    "make": ("installs into .venv; most of them run for minutes", a_chore),
    "pip install": ("needs the network; tests/test_wheel.py does the same", a_package),
    "uv pip install": ("needs the network", a_package),
    "pip wheel": ("needs a clone; tests/test_wheel.py does the same", nothing),
    "docker": ("needs a container engine", an_image),
    "jupyter lab": ("a server that stays", lambda _: fails(ROOT, "jupyter", "lab", "--version")),
    "handgrad watch": (
        "a page that stays; tests/test_companion.py has it run",
        lambda command: unknown_words(command),
    ),
    "handgrad selfcheck backprop": (
        "minutes of 300 submissions; tests/test_selfcheck.py does the same",
        lambda command: unknown_words(command),
    ),
    "handgrad selfcheck attention": (
        "a minute of 100 submissions; tests/test_new.py does the same",
        lambda command: unknown_words(command),
    ),
    **dict.fromkeys(
        (f"nbgrader {word}" for word in EXCHANGE),
        ("needs a folder of the system's", a_station_of_the_exchange),
    ),
    "dask": (
        "servers that stay; tests/test_dask.py has a cluster of its own",
        lambda _: fails(ROOT, "dask", "--version"),
    ),
    "handgrad grade backprop --dask": (
        "needs that cluster",
        lambda command: unknown_words(command),
    ),
    "python -m pytest": (
        "tests within tests",
        lambda command: "" if (ROOT / command.split()[-1]).is_file() else "no such test",
    ),
}


def elsewhere(command: str) -> tuple[str, Callable[[str], str]] | None:
    found = [key for key in ELSEWHERE if command == key or command.startswith(key + " ")]
    return ELSEWHERE[max(found, key=len)] if found else None


# --------------------------------------------------------------- a place for each page's commands


def bare(root: Path) -> None:
    """A clone: nobody handed in, and there is no gradebook."""
    root.mkdir()
    for name in ("source", "release", "graders", "data", "examples"):
        ignore = shutil.ignore_patterns("seed", "__pycache__")
        shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=ignore)
    shutil.copy(ROOT / "nbgrader_config.py", root)


def with_alice(root: Path) -> None:
    """A clone in which one student handed in after the deadline; the lecture's notebook lies about."""
    bare(root)
    folder = hand_in(root, "alice", CLASS["forgot_a_branch"])
    (folder / "timestamp.txt").write_text("2027-03-02 20:00:00 UTC\n", encoding="utf-8")
    for name in ("lecture.ipynb", "my.ipynb"):
        nbformat.write(lecture_style(), root / name)


def prepared(root: Path) -> None:
    """A course whose gradebook knows the assignment."""
    make_course(root, [])
    hand_in(root, "alice", CLASS["forgot_a_branch"])
    for name in ("lecture.ipynb", "my.ipynb"):
        nbformat.write(lecture_style(), root / name)


def at_home(root: Path) -> None:
    """A student's folder: the release, solved."""
    shutil.copytree(ROOT / "release" / "backprop", root)
    for stem, notebook in CLASS["perfect"].notebooks(Course.read(ROOT, "backprop")).items():
        nbformat.write(notebook, root / f"{stem}.ipynb")


PLACES: Mapping[str, Callable[[Path], None]] = {
    "instructors.md": with_alice,
    "students.md": at_home,
    "authors.md": bare,
}


# ------------------------------------------- what has to happen in the world before, and did after


def canvas(root: Path) -> None:
    """A bulk download of Canvas: flat, late, handed in twice."""
    _archive(
        root,
        "submissions.zip",
        {
            "doejane_4711_90210_1_every_step.ipynb": "1_every_step",
            "doejane_LATE_4711_90211_2_cross_entropy-1.ipynb": "2_cross_entropy",
        },
    )


def moodle(root: Path) -> None:
    """A bulk download of Moodle: a folder a student."""
    _archive(
        root,
        "CS101-backprop-88.zip",
        {f"Jane van Doe_1234_assignsubmission_file/{s}.ipynb": s for s in ("3_batch_norm",)},
    )


def _archive(root: Path, name: str, members: Mapping[str, str]) -> None:
    folder = root / "downloaded" / "backprop" / "archive"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, stem in members.items():
            archive.write(ROOT / "release" / "backprop" / f"{stem}.ipynb", member)


def submitted(*path: str) -> Callable[[Path], bool]:
    return lambda root: root.joinpath("submitted", *path).is_file()


def alice_lost_points_for_lateness(root: Path) -> bool:
    with closing(sqlite3.connect(root / "gradebook.db")) as database:
        query = "SELECT sum(late_submission_penalty) FROM submitted_notebook"
        (penalty,) = database.execute(query).fetchone()
    return bool(penalty == 4 * 2 * 2)  # four notebooks, two days begun, two points each


# A command that ends with something else than 0, as its page says.
STATUS: Mapping[tuple[str, str], int] = {
    ("tas.md", "pytest graders/backprop --submission submitted/alice/backprop"): 1,
    ("ci.md", "handgrad check submitted/alice/backprop --format junit --output gradients.xml"): 1,
}
ZIP = "nbgrader zip_collect backprop --collector=handgrad.nbgrader.collectors"
CANVAS = "nbgrader zip_collect backprop --collector=handgrad.nbgrader.collectors.CanvasCollector"
MOODLE = (
    "nbgrader zip_collect backprop --collector=handgrad.nbgrader.collectors.MoodleCollector --force"
)
EXPORT = "nbgrader export --exporter=handgrad.nbgrader.exporters.CanvasExporter --to canvas.csv"
BEFORE: Mapping[tuple[str, str], Callable[[Path], None]] = {
    ("instructors.md", f"{ZIP}.CanvasCollector"): canvas,
    ("instructors.md", f"{ZIP}.MoodleCollector --force"): moodle,
}
AFTER: Mapping[tuple[str, str], Callable[[Path], bool]] = {
    ("instructors.md", "handgrad grade backprop --force"): alice_lost_points_for_lateness,
    ("instructors.md", f"{ZIP}.CanvasCollector"): submitted(
        "4711", "backprop", "2_cross_entropy.ipynb"
    ),
    ("instructors.md", f"{ZIP}.MoodleCollector --force"): submitted(
        "1234", "backprop", "3_batch_norm.ipynb"
    ),
    ("instructors.md", EXPORT): lambda root: (root / "canvas.csv").is_file(),
    ("instructors.md", "handgrad import lecture.ipynb --student carol"): submitted(
        "carol", "backprop", "1_every_step.ipynb"
    ),
    ("instructors.md", "handgrad report backprop --csv marks.csv"): lambda root: (
        root / "marks.csv"
    ).is_file(),
    ("tas.md", "nbgrader generate_feedback backprop"): lambda root: (
        root / "feedback" / "alice" / "backprop" / "1_every_step.html"
    ).is_file(),
    ("gradescope.md", "handgrad pack gradescope backprop"): lambda root: (
        root / "autograder.zip"
    ).is_file(),
    ("authors.md", "handgrad report attention"): lambda root: (
        root / "reports" / "attention.html"
    ).is_file(),
}


def run(command: str, folder: Path, home: Path, status: int = 0) -> str:
    """Nothing where the command ends as it should, else what it said."""
    environment = {
        **os.environ,
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "COLUMNS": "100",
    }
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "XDG_DATA_HOME"):
        environment.pop(name, None)
    try:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{command}: still running after {SECONDS} s"
    said = done.stdout + done.stderr
    broken = done.returncode != status or "Traceback" in said
    return f"`{command}` ended with {done.returncode}:\n{said}" if broken else ""


def followed(page: Path, base: Path) -> list[str]:
    """Do what a page says, from top to bottom; what went wrong, by line of the page."""
    root, home = base / "a course", base / "home"
    home.mkdir(parents=True)
    PLACES.get(page.name, prepared)(root)
    wrong: list[str] = []
    for block in blocks(page):
        if block.file:
            (root / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python" and block.text.startswith("c."):
            with (root / "nbgrader_config.py").open("a", encoding="utf-8") as settings:
                settings.write("\n" + block.text)
        else:
            wrong += [f"{block.page}:{block.line}: {said}" for said in _do(block, root, home)]
    return wrong


def _do(block: Block, root: Path, home: Path) -> Iterator[str]:
    for command in block.commands:
        if elsewhere(command) is not None:
            continue
        key = (block.page, command)
        if key in BEFORE:
            BEFORE[key](root)
        said = run(command, root, home, STATUS.get(key, 0))
        if said:
            yield said
        elif key in AFTER and not AFTER[key](root):
            yield f"`{command}` did not do what it is there for"


@pytest.fixture(scope="module")
def done(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[Path, list[str]]:
    """What went wrong on each page that is asked for; three pages at a time, as they wait a lot."""
    asked = [
        item.callspec.params.get("page") for item in request.session.items if PAGE_TEST in item.name
    ]
    longest_first = sorted(PAGES, key=lambda page: -sum(len(b.commands) for b in blocks(page)))
    pages = [page for page in longest_first if page in asked]
    base = tmp_path_factory.mktemp("docs")
    make_course(base / "template", [])  # once, before the threads
    with ThreadPoolExecutor(3) as pool:
        found = pool.map(lambda page: followed(page, base / page.stem), pages)
        return dict(zip(pages, found, strict=True))


PAGE_TEST = "test_every_command_of_a_page_works_in_the_order_of_the_page"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_works_in_the_order_of_the_page(
    page: Path, done: Mapping[Path, list[str]]
) -> None:
    assert not done[page], "\n\n".join(done[page])


def test_authors_find_every_name_of_a_mistake_and_no_other() -> None:
    text = (ROOT / "docs" / "authors.md").read_text(encoding="utf-8")
    table = text.split("## What a mistake is called")[1].split("\n## ")[0]
    modules = [ROOT / "handgrad" / "gradients" / f"{n}.py" for n in ("diagnose", "hypotheses")]
    code = "".join(module.read_text(encoding="utf-8") for module in modules)
    named = {*re.findall(r'(?:Note|Scaled)\("(\w+)"', code), "unspread"}
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == named


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in blocks(page):
            yield from ((page.name, command) for command in block.commands)


def test_what_is_not_run_is_looked_at_in_another_way() -> None:
    for page, command in commands():
        found = elsewhere(command)
        if found is not None:
            reason, look = found
            assert not look(command), f"{page}: {command}"
            assert reason


def test_no_row_of_the_tables_is_about_a_command_that_is_gone() -> None:
    known = set(commands())
    assert set(BEFORE) | set(AFTER) | set(STATUS) <= known
    used = {key for key in ELSEWHERE for _, command in known if command.startswith(key)}
    assert used == set(ELSEWHERE)


LANGUAGES = {"", "bash", "console", "python", "csv", "toml", "json", "yaml", "text", "mermaid"}


def test_a_block_says_what_it_is() -> None:
    odd = [
        f"{block.page}:{block.line}"
        for page in PAGES
        for block in blocks(page)
        if block.language not in LANGUAGES
    ]
    assert not odd, "commands stand in ```bash or ```console, so that they are run"


# -------------------------------------------------------------------------------- words and links


def unknown_words(command: str) -> str:
    """Nothing where `handgrad` has this sub-command and these options."""
    (subparsers,) = (
        action.choices
        for action in cli._parser()._actions
        if isinstance(getattr(action, "choices", None), dict)
    )
    words = command.split()[1:]
    if not words or words[0].startswith("-"):
        return ""
    if words[0] not in subparsers:
        return f"handgrad has no {words[0]}"
    known = subparsers[words[0]]._option_string_actions
    odd = [w for w in words[1:] if w.startswith("--") and w.partition("=")[0] not in known]
    return f"handgrad {words[0]} has no {odd}" if odd else ""


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.stem)
def test_every_handgrad_command_in_the_prose_exists(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for command in re.findall(r"`(handgrad [^`]+)`", text):
        assert not unknown_words(command), command


def anchors(page: Path) -> set[str]:
    """The fragments that a page's headings have on GitHub."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.M)
    }


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    text = re.sub(r"`[^`]*`(?!\]\()", "", text)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        path, _, fragment = target.partition("#")
        led = (page.parent / path).resolve() if path else page
        assert led.exists(), target
        if fragment:
            assert fragment in anchors(led), target


# ------------------------------------------------------------------------------ tables and examples


def settings_and_defaults() -> dict[str, object]:
    own = {f.name: f.default for f in fields(Settings) if f.name != "limits"}
    return {**own, **{f"limits.{f.name}": f.default for f in fields(Limits)}}


def test_the_table_of_settings_is_complete_and_true() -> None:
    text = (ROOT / "docs" / "instructors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| `([^`]+)` \|", text, re.M)
    assert {name: ast.literal_eval(value) for name, value in rows} == settings_and_defaults()


def test_the_settings_of_the_course_are_all_there_at_their_defaults() -> None:
    path = ROOT / "graders" / "backprop" / "assignment.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    limits = {f"limits.{name}": value for name, value in table.pop("limits").items()}
    own = {key: value for key, value in table.items() if key not in DECLARED}
    assert {**own, **limits} == settings_and_defaults()
    assert Settings.read(path) == Settings()


def test_the_table_of_chores_is_the_makefile() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `make (\w+)` \|", text, re.M))
    words = re.findall(r"^(\w+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert told == set(words) - {"help"}


def plain(statement: ast.stmt) -> str:
    """A statement without annotations and docstrings."""
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            if isinstance(node.body[0], ast.Expr):
                del node.body[0]
        elif isinstance(node, ast.arg):
            node.annotation = None
    return ast.dump(statement)


def test_code_of_the_authors_page_is_the_examples() -> None:
    told = [b for b in blocks(ROOT / "docs" / "authors.md") if b.language == "python"]
    files = (*(ROOT / "examples").glob("*.py"), *(ROOT / "examples/graders/ridge").glob("*.py"))
    texts = [file.read_text(encoding="utf-8") for file in files]
    notebook = nbformat.read(ROOT / "examples/source/ridge/ridge.ipynb", as_version=4)
    texts += [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    real = {plain(statement) for text in texts for statement in ast.parse(text).body}
    assert len(told) >= 2
    for block in told:
        for statement in ast.parse(block.text).body:
            assert plain(statement) in real, ast.unparse(statement)


def test_the_helpers_on_the_students_page_exist() -> None:
    tree = ast.parse((ROOT / "source" / "backprop" / "check.py").read_text(encoding="utf-8"))
    known = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    (block,) = (b for b in blocks(ROOT / "docs" / "students.md") if b.language == "python")
    called = {n.func.id for n in ast.walk(ast.parse(block.text)) if isinstance(n, ast.Call)}
    assert called == {"cmp", "progress", "invariants", "numerical", "skip"}
    assert called <= known


# --------------------------------------------------------------- what only other machines can run


def test_the_image_is_made_of_files_that_exist_and_holds_no_secret() -> None:
    recipe = (ROOT / "Containerfile").read_text(encoding="utf-8")
    copied = [
        word for line in re.findall(r"^COPY (.*) \S+$", recipe, re.M) for word in line.split()
    ]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {"graders/*/seed", "submitted", "gradebook.db*"} <= set(ignored)


def workflow(name: str) -> dict[str, Any]:
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
    assert "secrets." not in text
    return dict(yaml.safe_load(text)["jobs"])


def test_the_workflow_runs_what_everybody_runs_on_every_python_that_is_named() -> None:
    job = workflow("test")["test"]
    matrix = job["strategy"]["matrix"]
    assert matrix["python"] == list(PYTHONS)
    assert matrix["torch"] == ["cpu", "any"]
    assert {"word": "test", "python": PYTHONS[0], "torch": "cpu"} in matrix["include"]
    assert any(step.get("run", "").startswith("make ${{ matrix.word }}") for step in job["steps"])
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"


def test_a_release_is_what_hatchling_builds_of_the_tag(tmp_path: Path) -> None:
    jobs = workflow("release")
    built, checked = (step["run"] for step in jobs["build"]["steps"][-2:-4:-1] if "run" in step)
    assert built == "hatchling build"
    assert checked.startswith('test "v$(hatchling version)" = "$GITHUB_REF_NAME"')
    tag = {**os.environ, "GITHUB_REF_NAME": f"v{PROJECT['version']}"}
    for command in (checked, f"{built} -d {tmp_path}"):
        assert not fails(ROOT, "bash", "-c", command, environment=tag)
    assert len(list(tmp_path.glob("handgrad-*"))) == 2  # a wheel and its source
    assert jobs["publish"]["permissions"] == {"id-token": "write"}


@pytest.mark.parametrize("python", PYTHONS)
def test_the_constraints_have_a_version_of_everything_for_every_python_that_is_named(
    python: str,
) -> None:
    """Resolved for the oldest of that Python, to packages that need no compiler; nothing is installed."""
    words = [
        "uv",
        "pip",
        "compile",
        "--quiet",
        "pyproject.toml",
        "--group",
        "dev",
        "--extra",
        "lab",
    ]
    words += ["--extra", "dask", "-c", "constraints.txt", "--python-version", f"{python}.0"]
    said = fails(ROOT, *words, "--only-binary", ":all:", "-o", os.devnull)
    if "Failed to fetch" in said or "Request failed" in said:
        missing(f"no package registry answers: {said}")
    assert not said


def lines_of(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    for path in paths:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield f"{path.name}:{number}", line


def test_prose_is_one_sentence_a_line() -> None:
    """In the pages for people, outside tables, lists and blocks."""
    own = [ROOT / "README.md", *(ROOT / "docs" / f"{n}.md" for n in ("instructors", "students"))]
    inside = False
    long = []
    for where, line in lines_of(own):
        if line.startswith("```"):
            inside = not inside
        if not inside and re.match(r"[A-Z]", line) and len(re.findall(r"[.?!] [A-Z]", line)) > 2:
            long.append(where)
    assert not long
