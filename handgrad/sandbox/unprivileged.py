"""The sandbox where no namespace can be had: a worker whose children shut themselves in.

Landlock and the filter of system calls are made for processes without privileges, and so work as an
ordinary user, and in containers as Docker, Kubernetes and their like start them.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from handgrad.jailed import landlock, seccomp
from handgrad.sandbox.shown import (
    ENVIRONMENT,
    JAILED,
    KERNEL,
    PACKAGE,
    ROOT_LIBRARIES,
    START,
    SYSTEM,
    SYSTEM_PREFIXES,
    Command,
    Python,
)

_FIRST = "from handgrad.jailed.jail import begin_alone; begin_alone(); "
# What it does not cover, for the doctor to say.
UNCOVERED = (
    "a notebook can see that a path exists, and which processes run; its folder and its threads are "
    "watched, and can overshoot their limits for a moment"
)


def trouble() -> str:
    """Why this sandbox cannot work on this machine, "" where it can."""
    if not seccomp.supported():
        return f"there is no filter of system calls for {os.uname().machine}"
    if not landlock.version():
        return "the kernel has no Landlock (Linux 5.13, and `landlock` among its `lsm=`)"
    return ""


def confined(inward: int, outward: int, scratch: Path) -> Command:
    """The command that starts a worker whose children can reach `scratch` and the interpreter only."""
    python = Python.of_this_process()
    path = [*map(str, python.sites), str(PACKAGE.parent)]
    code = START.format(path=path, first=_FIRST, inward=inward, outward=outward)
    command = (str(python.interpreter), "-I", "-S", "-B", "-c", code)
    environment = {name: value.replace("/tmp", str(scratch)) for name, value in ENVIRONMENT.items()}
    return Command(command, environment, reach=_reach(python))


def _reach(python: Python) -> dict[str, list[str]]:
    """Paths that a notebook may read, and folders of which it may see the names only."""
    roots = [Path(path) for path in (*SYSTEM, *ROOT_LIBRARIES, *KERNEL)]
    if python.prefix not in SYSTEM_PREFIXES:
        roots.append(python.prefix)
    roots += [python.interpreter, *python.sites]
    shut = _shut(python, roots)
    readable = [path for root in roots for path in _around(root.resolve(), shut)]
    readable += [PACKAGE / name for name in JAILED]
    listable = [site for site in python.sites if any(s.is_relative_to(site) for s in shut)]
    return {
        "readable": sorted(map(str, set(readable))),
        "listable": sorted(map(str, listable)),
    }


def _shut(python: Python, roots: Iterable[Path]) -> list[Path]:
    """What lies within the roots and must not be read: this package, which a wheel brings its graders
    in, and the course.
    """
    folders = [*python.sites, PACKAGE.parent]
    for root in {python.prefix, *SYSTEM_PREFIXES}:
        folders += root.glob("lib*/python3*/*-packages")
    found = [folder / "handgrad" for folder in folders if (folder / "handgrad").is_dir()]
    if python.prefix not in SYSTEM_PREFIXES:
        found.append(python.prefix / "etc")
    for course in (Path.cwd(), PACKAGE.parent):
        if not any(root.is_relative_to(course) for root in roots):
            found.append(course)
    return [path.resolve() for path in found]


def _around(path: Path, shut: Iterable[Path]) -> Iterator[Path]:
    """The path, or where something shut lies within it, what lies around that."""
    within = [each for each in shut if each.is_relative_to(path)]
    if path in within or not path.exists():
        return
    if not within:
        yield path
        return
    for child in path.iterdir():
        if not child.is_symlink():
            yield from _around(child, within)
