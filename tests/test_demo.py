"""The demonstration stops at the first step that fails, with what that step said and its status."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("file", "content", "said", "never"),
    [
        ("source/backprop/1_every_step.ipynb", "{", "generate_assignment", "2. A class"),
        ("graders/backprop/assignment.toml", "tolerance =", "assignment.toml", "4. A page"),
    ],
    ids=["release", "marks"],
)
def test_the_first_step_that_fails_is_the_last(
    file: str, content: str, said: str, never: str, tmp_path: Path
) -> None:
    for name in ("demo", "source", "graders", "data"):
        ignore = shutil.ignore_patterns("*seed*", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=ignore)
    shutil.copy(ROOT / "nbgrader_config.py", tmp_path)
    (tmp_path / file).write_text(content, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "demo"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert said in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("Step ")
    assert never not in done.stdout
    assert not done.stderr
