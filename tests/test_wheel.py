"""The wheel, as somebody without the repository gets it."""

import csv
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from conftest import missing
from lecture_style import lecture_style

from demo.classroom import ONE, solutions

ROOT = Path(__file__).parents[1]
COURSES = "handgrad/courses"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    command += ["--no-deps", "--no-build-isolation", "--no-cache-dir", "-w", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("handgrad-*.whl")
    return built


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_everything_that_students_get_is_in_the_wheel(wheel: Path) -> None:
    released = {path.name for path in (ROOT / "release" / "backprop").iterdir() if path.is_file()}
    inside = {name for name in names(wheel) if name.startswith(f"{COURSES}/release/")}
    assert inside == {f"{COURSES}/release/backprop/{name}" for name in released}


def test_all_graders_are_in_the_wheel_but_neither_the_seed_nor_right_answers(wheel: Path) -> None:
    folder = ROOT / "graders" / "backprop"
    kept = {path.name for kind in ("*.py", "*.toml") for path in folder.glob(kind)}
    inside = {name for name in names(wheel) if name.startswith(f"{COURSES}/graders/")}
    assert inside == {f"{COURSES}/graders/backprop/{n}" for n in kept - {"variations.py"}}
    assert not [name for name in names(wheel) if name.endswith("/seed")]


def answer_lines(folder: Path) -> set[str]:
    """Every line of any length that stands in a solution cell of these notebooks."""
    return {
        line.strip()
        for path in folder.glob("*.ipynb")
        for answer in solutions(nbformat.read(path, as_version=4)).values()
        for line in answer.splitlines()
        if len(line.strip()) > 25
    }


def test_no_solution_is_in_the_wheel(wheel: Path) -> None:
    hidden = answer_lines(ROOT / "source" / "backprop") - answer_lines(
        ROOT / "release" / "backprop"
    )
    hidden = {line for line in hidden if not line.startswith("#")}
    assert len(hidden) > 10
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            text = archive.read(name).decode("utf-8", errors="replace")
            # In a notebook file a line is written as JSON writes it.
            told = [line for line in hidden if line in text or json.dumps(line)[1:-1] in text]
            assert not told, name


def test_every_module_and_every_text_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "handgrad"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    tracked = listed.stdout.split() or [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "handgrad").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    ]
    assert set(tracked) <= names(wheel)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked by pip into a folder that holds nothing else."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command += ["--no-deps", "--no-index", "--no-compile", "--target", folder, wheel]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_package_installs_from_its_repository_too(tmp_path: Path) -> None:
    """What is committed, as `pip install git+https://...` takes it."""
    if not (ROOT / ".git").exists():
        missing("not a clone: run the tests in a clone")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command += ["--no-deps", "--no-build-isolation", "--no-compile", "--target", tmp_path / "site"]
    done = subprocess.run(
        [*command, f"git+{ROOT.as_uri()}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = run(tmp_path / "site", tmp_path, "--version")
    assert told.returncode == 0, told.stderr


def run(installed: Path, folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-m", "handgrad.doors.cli", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_lecture_notebook_is_marked_outside_the_repository(
    installed: Path, tmp_path: Path
) -> None:
    nbformat.write(lecture_style(), tmp_path / "m.ipynb")
    done = run(installed, tmp_path, "check", "m.ipynb", "--format", "json", "--html", "page.html")
    assert done.returncode == 1, done.stderr
    found = {
        one["name"]: one["verdict"]
        for one in json.loads(done.stdout)["gradients"]
        if one["notebook"] == ONE
    }
    assert found.pop("dcounts") == "wrong"
    assert found["dprobs"] == found["dcounts_sum"] == "right"
    assert found["dnorm_logits"] == found["dC"] == "right step"
    assert set(found.values()) == {"right", "right step"}
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.ipynb", "page.html"]
    assert not list(installed.rglob("seed"))  # whoever checks at home gets other numbers each time


def test_the_command_and_the_pytest_plugin_are_declared(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry,) = (n for n in archive.namelist() if n.endswith("entry_points.txt"))
        points = archive.read(entry).decode()
        (record,) = (n for n in archive.namelist() if n.endswith("RECORD"))
        rows = list(csv.reader(archive.read(record).decode().splitlines()))
    assert "handgrad = handgrad.doors.cli:command" in points
    assert "handgrad = handgrad.grading.pytest_plugin" in points
    assert {row[0] for row in rows} == names(wheel)
