"""What of this machine a notebook may see: the interpreter, its packages, and the system's libraries."""

import os
import site
import sys
from dataclasses import dataclass, field
from pathlib import Path

# What of this package exists in the jail; tests/test_architecture.py guards what it imports. None
# of it knows an assignment, a reference or a mark.
JAILED = ("__init__.py", "evidence.py", "jailed", "limits.py", "plan.py", "verdict.py")

PACKAGE = Path(__file__).resolve().parents[1]
SYSTEM = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/local/lib",
           "/usr/share/zoneinfo", "/usr/share/fonts", "/etc/ld.so.cache", "/etc/localtime",
           "/sys/devices/system/cpu", "/nix/store", "/gnu/store")  # fmt: skip
SYSTEM_PREFIXES = (Path("/"), Path("/usr"), Path("/usr/local"))
ROOT_LIBRARIES = ("/lib", "/lib32", "/lib64")
# Of what the kernel makes up, beside the notebook's own process.
KERNEL = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm/overcommit_memory",
          "/dev/random", "/dev/urandom")  # fmt: skip

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
class Python:
    """The interpreter, the installation it belongs to, and the folders it imports packages from."""

    interpreter: Path
    prefix: Path
    sites: tuple[Path, ...]

    @classmethod
    def of_this_process(cls) -> "Python":
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


def hidden(python: Python) -> list[Path]:
    """Folders, as named in the jail, that lie within what is shown and must not be seen: this
    package, which a wheel brings its graders in, settings of a course, and the course itself.
    """
    found = [
        Path(f"/site/{n}/handgrad") for n, p in enumerate(python.sites) if (p / "handgrad").is_dir()
    ]
    for root in {python.prefix, *SYSTEM_PREFIXES}:
        found += [python.inside(path) for path in root.glob("lib*/python3*/*-packages/handgrad")]
    if python.prefix not in SYSTEM_PREFIXES and (python.prefix / "etc").is_dir():
        found.append(python.inside(python.prefix / "etc"))
    shown = [*(Path(name) for name in SYSTEM), python.prefix, *python.sites]
    for course in (Path.cwd(), PACKAGE.parent):
        within = any(course.is_relative_to(root) for root in shown if root not in SYSTEM_PREFIXES)
        if within and not any(root.is_relative_to(course) for root in shown):
            found.append(python.inside(course))
    return sorted(set(found))


START = (
    # No collector before the worker is made: it would look at all of torch many times, and find nothing.
    "import gc, sys; gc.disable(); sys.path[:0] = {path!r}; {first}"
    "from handgrad.jailed.worker import main; main({inward}, {outward})"
)


@dataclass(frozen=True, slots=True)
class Command:
    """The command that starts a worker, with its environment. `uid` is whom its children can become
    (None: nobody else), `reach` the paths that Landlock is to leave open, and how.
    """

    command: tuple[str, ...]
    environment: dict[str, str]
    uid: int | None = None
    reach: dict[str, list[str]] = field(default_factory=dict)
