"""autograder.zip for Gradescope: an assignment, this package, and the two scripts that Gradescope starts."""

import io
import shlex
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from handgrad import atomic
from handgrad.assignment.source import Source

PACKAGE = Path(__file__).parents[1]

# The folder is an argument of the environment so that the scripts can be tried where there is no
# /autograder. Gradescope's own Python may be too old for handgrad; uv brings another.
_SETUP = """\
#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the image.
set -euo pipefail
base="${{AUTOGRADER:-/autograder}}"
apt-get update
apt-get install --yes --no-install-recommends python3-venv
python3 -m venv "$base/uv"
"$base/uv/bin/pip" install uv
"$base/uv/bin/uv" venv --python {python} "$base/python"
install=("$base/uv/bin/uv" pip install --python "$base/python" -r "$base/source/requirements.txt")
"${{install[@]}}" --torch-backend cpu || "${{install[@]}}" # else a CUDA build, of 5 GB
# The log of the build shows whether grading works there: all is "not attempted".
PYTHONPATH="$base/source" "$base/python/bin/python" -P -m handgrad.doors.cli check \\
    "$base/source/course/release/"{name} --course "$base/source/course" --assignment {name}
"""
_RUN = """\
#!/usr/bin/env bash
# Gradescope runs this for each submission, and reads results.json.
base="${{AUTOGRADER:-/autograder}}"
export PYTHONPATH="$base/source"
"$base/python/bin/python" -P -m handgrad.doors.cli check "$base/submission" \\
    --course "$base/source/course" --assignment {name} \\
    --format gradescope --output "$base/results/results.json"
test -s "$base/results/results.json" # a wrong answer is no failure of the autograder
"""


def gradescope(source: Source, target: Path) -> None:
    """Write the archive: what grades the assignment, with its secret seed, and nothing of a student's.

    Raises UserError where the assignment cannot be graded, or the disk refuses.
    """
    source.load()  # draws the seed where there is none
    name, version = shlex.quote(source.name), "{}.{}".format(*sys.version_info)
    scripts = {
        "setup.sh": _SETUP.format(python=version, name=name),
        "run_autograder": _RUN.format(name=name),
        "requirements.txt": "".join(f"{line}\n" for line in _pinned()),
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, text in scripts.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o755 << 16
            zipped.writestr(entry, text)
        for path in sorted(PACKAGE.rglob("*")):
            inside = path.relative_to(PACKAGE)
            if path.is_file() and not {"__pycache__", "courses"} & {*inside.parts}:
                zipped.write(path, Path("handgrad", inside))
        for name, data in source.files():
            if not name.endswith("/variations.py"):  # right answers, for `handgrad selfcheck`
                zipped.writestr(f"course/{name}", data)
    atomic.write(target, archive.getvalue())


def _pinned() -> Iterator[str]:
    """All that grading needs, in the versions that are installed here.

    What torch needs is its build's affair, and the gradebook's packages stay at home.
    """
    versions, left = {"nbgrader": ""}, ["handgrad"]
    while left:
        for need in map(Requirement, metadata.requires(left.pop()) or ()):
            name = canonicalize_name(need.name)
            if name in versions or (need.marker and not need.marker.evaluate({"extra": ""})):
                continue
            versions[name] = metadata.version(name).partition("+")[0]
            if name != "torch":
                left.append(name)
    return (f"{name}=={version}" for name, version in sorted(versions.items()) if version)
