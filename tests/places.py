"""The places where courses are graded, made for a child: who it is there, and what its kernel refuses."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from handgrad.sandbox import bubblewrap, launch

ROOT = Path(__file__).resolve().parents[1]
USER = 65534
_AS_USER = (f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
# What Docker leaves root of its powers.
_DOCKER = (
    "chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "setfcap",
    "net_bind_service", "net_raw", "sys_chroot", "mknod", "audit_write",
)  # fmt: skip
_AS_IN_DOCKER = (f"--bounding-set=-all,{','.join(f'+{name}' for name in _DOCKER)}",)


@dataclass(frozen=True, slots=True)
class Place:
    """One place: arguments of setpriv, and what is denied there (see denied.py), "" for nothing."""

    who: tuple[str, ...] = ()
    denied: str = ""

    def command(self, *words: str | Path) -> list[str | Path]:
        """This command of our own Python's, run there."""
        before: list[str | Path] = ["setpriv", *self.who] if self.who else []
        python = reachable().python
        if self.denied:
            before += [python, "-B", reachable().root / "tests/denied.py", self.denied]
        return [*before, python, "-B", *words]

    def environment(self, **more: str) -> dict[str, str]:
        """What is set there, with our own packages to be found and nothing chosen."""
        here = reachable()
        path = f"{here.root}:{here.root / 'tests'}"
        return {
            "PATH": f"{here.python.parent}:/usr/bin:/bin",
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",  # of the graders, beside them
            **more,
        }

    def own(self, folder: Path) -> None:
        """Make all that is in `folder` the property of whoever is there."""
        if "--clear-groups" in self.who:
            os.chown(folder, USER, USER)
            for top, inner, names in os.walk(folder):
                for name in (*inner, *names):
                    os.lchown(Path(top, name), USER, USER)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder that whoever is there can reach, and may write to."""
        with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as made:
            Path(made).chmod(0o755)
            self.own(Path(made))
            yield Path(made)


PLACES = (
    {
        "root": Place(),
        "a user": Place(_AS_USER),
        "a user without namespaces": Place(_AS_USER, "namespaces"),
        "root in a container": Place(_AS_IN_DOCKER, "namespaces"),
    }
    if os.geteuid() == 0
    else {"here": Place(), "here without namespaces": Place((), "namespaces")}
)
SANDBOXES = tuple(
    name for name in launch.SANDBOXES if name != "bubblewrap" or not bubblewrap.trouble()
)
"""Those that can work where the tests run; where namespaces are denied, Landlock is all there is."""
DENIED = {name: place for name, place in PLACES.items() if place.denied}


@dataclass(frozen=True, slots=True)
class Reachable:
    """A copy of this repository, and of the environment that the tests run in, for any user."""

    root: Path
    python: Path


@cache
def reachable() -> Reachable:
    """Made once in a session of tests, mostly of links, and removed at its end."""
    place = Path(tempfile.mkdtemp(prefix="handgrad-places-", dir="/tmp"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    place.chmod(0o755)
    ignore = shutil.ignore_patterns("__pycache__", "seed", ".seed*")
    for name in ("handgrad", "tests", "demo", "source", "release", "graders", "data"):
        shutil.copytree(ROOT / name, place / "course" / name, ignore=ignore)
    for name in ("nbgrader_config.py", "pyproject.toml"):
        shutil.copy(ROOT / name, place / "course")
    return Reachable(place / "course", _environment(place))


def _environment(place: Path) -> Path:
    """The interpreter of an environment like this one, with its packages and its commands."""
    for source, target in ((sys.base_prefix, "python"), (packages(), "site")):
        if _is_open(Path(source)):
            (place / target).symlink_to(source)
        else:
            shutil.copytree(source, place / target, symlinks=True, copy_function=link)
    python = place / "python/bin" / f"python3.{sys.version_info.minor}"
    if not (place / "python").is_symlink():
        _look_for_libpython_beside(python)
    subprocess.run([python, "-m", "venv", "--without-pip", place / "venv"], check=True)
    its_own = next((place / "venv/lib").glob("python3*")) / "site-packages"
    shutil.rmtree(its_own)
    its_own.symlink_to(place / "site")
    made = place / "venv/bin/python"
    for name in ("handgrad", "nbgrader", "alembic"):
        text = Path(sys.executable).with_name(name).read_text()
        made.with_name(name).write_text(f"#!{made}\n" + text.partition("\n")[2])
        made.with_name(name).chmod(0o755)
    return made


def _look_for_libpython_beside(python: Path) -> None:
    """A copied interpreter with a shared library looks for it at its old place, by a path in its file."""
    old = os.fsencode(Path(sys.base_prefix, "lib"))
    new = b"$ORIGIN/../lib"
    program = python.read_bytes()
    if old + b"\0" in program:
        python.unlink()  # it is a link: the file itself stays as it is
        python.write_bytes(program.replace(old + b"\0", new.ljust(len(old) + 1, b"\0")))
        python.chmod(0o755)


def link(source: str, target: str) -> None:
    """For `shutil.copytree`, where the copies are not to be changed."""
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def packages() -> str:
    """The folder of the packages that the tests run with."""
    return str(Path(torch.__file__).parent.parent)


def _is_open(path: Path) -> bool:
    return all(p.stat().st_mode & 0o005 == 0o005 for p in (path, *path.parents))
