"""Whether this machine can grade: what is missing and its cure, and whether the sandbox holds."""

import importlib.metadata
import importlib.util
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from handgrad.errors import UserError
from handgrad.jailed import landlock
from handgrad.sandbox import breakouts, bubblewrap, unprivileged
from handgrad.sandbox.launch import chosen

_GIB = 1 << 30
_DISK_GIB = 2
_MEMORY_GIB = 2
# Older kernels count a user's processes over the whole machine, not within the sandbox.
_KERNEL = (5, 14)
_NEEDED = (
    ("torch", (2, 4), "pip install 'torch>=2.4'"),
    ("nbgrader", (0, 9, 5), "pip install 'nbgrader>=0.9.5'"),
    ("nbformat", (5, 10), "pip install 'nbformat>=5.10'"),
    ("IPython", (8, 20), "pip install 'ipython>=8.20'"),
    ("safetensors", (0, 5), "pip install 'safetensors>=0.5'"),
)
# A switch of the kernel, the value that forbids a sandbox, and the cure.
_SWITCHES = (
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "Run `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or install your "
        "system's own bubblewrap (`sudo apt install bubblewrap`), which brings a profile",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "Run `sudo sysctl -w kernel.unprivileged_userns_clone=1`",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "Run `sudo sysctl -w user.max_user_namespaces=15000`",
    ),
)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's: `fact` is what was found; `cure` is "" where all is well."""

    what: str
    ok: bool
    fact: str
    cure: str = ""


def examine(course: Path) -> Iterator[Check]:
    """Every check, each as soon as it is made; the last ones try to break out of the sandbox."""
    yield _python()
    for module, oldest, install in _NEEDED:
        yield _package(module, oldest, install)
    yield _alembic()
    yield from _space(course)
    yield _memory()
    yield from _sandbox()


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    cure = "Install Python 3.11 or newer and make the environment again" if old else ""
    return Check("Python", not cure, found, cure)


def _package(module: str, oldest: tuple[int, ...], install: str) -> Check:
    cure = f"Run `{install}` in this environment ({sys.prefix})"
    if importlib.util.find_spec(module) is None:
        return Check(module, False, "not installed", cure)
    found = importlib.metadata.version(module)
    if _numbers(found) < oldest:
        wanted = ".".join(map(str, oldest))
        return Check(module, False, f"{found}, and {wanted} is needed", cure)
    if module == "torch":
        return _torch(found, cure)
    return Check(module, True, found)


def _torch(found: str, cure: str) -> Check:
    """With its build, of which the version that pip knows says nothing."""
    try:
        from torch import version
    except (ImportError, OSError) as error:  # a library that is not there, or of another machine
        return Check("torch", False, f"{found} cannot be imported ({error})", cure)
    build = f"CUDA {version.cuda}" if version.cuda else "ROCm" if version.hip else "CPU"
    return Check("torch", True, f"{found.partition('+')[0]}, {build} build")


def _alembic() -> Check:
    """nbgrader calls it by bare name when it makes or upgrades a gradebook."""
    found = shutil.which("alembic")
    if found:
        return Check("alembic on PATH", True, found)
    beside = Path(sys.executable).parent / "alembic"
    cure = (
        f"Run `export PATH={beside.parent}:$PATH`, or activate the environment"
        if beside.exists()
        else "Run `pip install alembic` in this environment, and activate it"
    )
    return Check("alembic on PATH", False, "nbgrader needs it to make a gradebook", cure)


def _space(course: Path) -> Iterator[Check]:
    for what, folder in (("course", course), ("temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        few = free < _DISK_GIB * _GIB
        cure = f"Free {_DISK_GIB} GiB there" if few else ""
        yield Check(
            f"free space for the {what}", not few, f"{free / _GIB:.1f} GiB in {folder}", cure
        )
    writable = os.access(course, os.W_OK)
    cure = "" if writable else "Make it yours, or work in a copy"
    fact = "can be written to" if writable else "cannot be written to"
    yield Check("course folder", writable, f"{course} {fact}", cure)


def _memory(group: Path = Path("/sys/fs/cgroup")) -> Check:
    """Of the machine, or of this process's control group: of a large machine a pod often has 1 GiB."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return Check("memory", True, "not known on this system")
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    free, where = int(fields["MemAvailable"].split()[0]) * 1024, ""
    granted = _left_in(group)
    if granted is not None and granted < free:
        free, where = granted, " to this control group"
    few = free < _MEMORY_GIB * _GIB
    cure = f"Free {_MEMORY_GIB} GiB, or grade with `--jobs 1`" if few else ""
    return Check("memory", not few, f"{free / _GIB:.1f} GiB available{where}", cure)


def _left_in(group: Path) -> int | None:
    """The bytes that a control group may still take; None where it has no limit, or there is none.

    Cached files count against the limit, and go where memory is wanted.
    """
    try:
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, limit - used + int(stat["inactive_file"]))
    except (OSError, ValueError, KeyError):
        return None


def _sandbox() -> Iterator[Check]:
    try:
        sandbox = chosen()
    except UserError as error:
        yield Check("sandbox", False, error.fact, _cure_of_the_machine())
        return
    if sandbox == "landlock":
        why = bubblewrap.trouble()
        beside = f"; bubblewrap cannot work here: {why}" if why else ""
        yield Check("sandbox", True, f"Landlock {landlock.version()} and seccomp{beside}")
        yield Check("what that does not cover", True, unprivileged.UNCOVERED)
    else:
        who = "root" if bubblewrap.is_privileged() else "a user without privileges"
        yield Check("sandbox", True, f"bubblewrap, started by {who}")
        if not landlock.version():
            uncovered = (
                f"without Landlock (Linux 5.13) a notebook can {', '.join(bubblewrap.UNCOVERED)}"
            )
            yield Check("what that does not cover", True, uncovered)
        release = os.uname().release
        old = _numbers(release) < _KERNEL
        cure = "Use Linux 5.14 or newer: here all your processes count against a submission's limit"
        yield Check("kernel", not old, release, cure if old else "")
    try:
        yield from _attempts()
    except UserError as error:
        yield Check("sandbox starts", False, error.fact, _cure_of_the_machine())


def _attempts() -> Iterator[Check]:
    """One line for each attempt to break out, made with a file and a port that are really there."""
    with tempfile.TemporaryDirectory(prefix="handgrad-doctor-") as folder:
        secret = Path(folder, "secret")
        secret.write_text("a file that a notebook must not read", encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            tried = breakouts.try_all(secret, listener.getsockname()[1])
    for attempt in tried:
        if attempt.what in bubblewrap.UNCOVERED and not landlock.version():
            continue
        if attempt.held:
            yield Check(f"cannot {attempt.what}", True, attempt.how)
        else:
            yield Check(
                f"cannot {attempt.what}",
                False,
                attempt.how if attempt.how.strip(": ") else "a notebook can",
                "Do not grade on this machine; use the container image (docs/install.md)",
            )


def _cure_of_the_machine() -> str:
    for switch, forbidding, cure in _SWITCHES:
        path = Path(switch)
        if os.geteuid() != 0 and path.exists() and path.read_text().strip() == forbidding:
            return cure
    return "Grade in the container image (docs/install.md)"


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: (2, 13, 0) of "2.13.0+cpu"."""
    numbers: list[int] = []
    for part in version.replace("-", ".").replace("+", ".").split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
