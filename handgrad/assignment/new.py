"""A new assignment's files, made from an author's plain cells."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from handgrad import atomic
from handgrad.assignment.assignment import packaged_course
from handgrad.assignment.draft import draft
from handgrad.errors import UserError

_CHECK = "check.py"
_TEST = '''\
"""{name}: each gradient, as the chain reaches it and by itself."""

NOTEBOOK = "{name}"


def test_gradient(gradient):
    """The answer is the gradient of the loss."""
    gradient.must_be_right()
'''
_RUNS = """\
# What the hidden runs vary, each with a seed of its own; one that does not decide earns a remark only.
runs = [
  {{ name = "first" }},
  {{ name = "second" }},
{others}]
"""


def new(root: Path, name: str, path: Path) -> tuple[Sequence[Path], Sequence[str]]:
    """Write assignment `name` of the course at `root` from the cells at `path`; its files, and what is left.

    Raises UserError where there is one already, or where the cells cannot be one, with their line;
    nothing is written then.
    """
    if not re.fullmatch(r"[A-Za-z]\w*", name):
        raise UserError(name, "this is no name", "Take letters, digits and underscores.")
    for folder in (root / kind / name for kind in ("source", "graders", "release")):
        if folder.exists():
            raise UserError(str(folder), "it is there already", "Take another name, or delete it.")
    made = draft(name, path)
    varied = ", ".join(f"{key} = {value}" for key, value in made.varied.items())
    others = f'  {{ name = "other sizes", decides = false, {varied} }},\n' if varied else ""
    source, graders = root / "source" / name, root / "graders" / name
    files: Mapping[Path, str] = {
        source / f"{name}.ipynb": json.dumps(made.notebook, indent=1, ensure_ascii=False) + "\n",
        source / _CHECK: _check(root),
        graders / f"test_{name}.py": _TEST.format(name=name),
        graders / "assignment.toml": _RUNS.format(others=others),
    }
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(file, text)
    return [*files], made.left


def _check(root: Path) -> str:
    """The course's own `check.py`, else the one that came with the package."""
    places = root / "source", packaged_course() / "release"
    found = [file for place in places for file in sorted(place.glob(f"*/{_CHECK}"))]
    return found[0].read_text(encoding="utf-8")
