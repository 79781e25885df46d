"""The inner jail: what a forked child does to itself before it runs a student's code.

The outer jail (`sandbox`) took away the network, the files and the other processes of the machine;
this one takes away the worker, the other submissions and every privilege, and counts what is used.
"""

import ctypes
import os
import resource
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from handgrad.jailed import landlock, seccomp
from handgrad.limits import Limits

_CLONE_NEWNS = 0x00020000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522

_LARGE = 1 << 21
_MADV_COLLAPSE = 25  # since Linux 6.1

SCRATCH = Path("/tmp")
HOME = SCRATCH / "notebook"  # where the notebook finds its files, and may write
OPEN_FILES = 128


class JailError(Exception):
    """A wall could not be put up: then nothing runs."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the child becomes; `uid` is None where the worker has no other user to become."""

    uid: int | None


_libc = ctypes.CDLL(None, use_errno=True)
_own_pids = -1


def settle() -> None:
    """Become process 1 of a pid namespace that this process itself made, and so may return to.

    bubblewrap's belongs to another user namespace where it was started by an ordinary user. Returns
    in a child; the parent stays behind to wait for it. It keeps its ends of the pipes to the
    grader, which so sees them end only when all of the sandbox is gone.
    """
    global _own_pids
    _call("a pid namespace", _libc.unshare, _CLONE_NEWPID)
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    _own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    _capabilities()  # both looked up once, for all children
    seccomp.prepared()


def fork() -> int:
    """Fork; the child is process 1 of a new pid namespace, so that killing it kills all it started.

    Asking for a pid namespace is meant for the next child only, so the worker then returns to its
    own: without that every submission would lie one namespace deeper, and the 33rd would fail.
    """
    _call("a new pid namespace", _libc.unshare, _CLONE_NEWPID)
    pid = -1
    try:
        pid = os.fork()
    finally:
        if pid:
            _call("return to the pid namespace", _libc.setns, _own_pids, _CLONE_NEWPID)
    return pid


def enter(identity: Identity, limits: Limits, files: Mapping[str, bytes]) -> None:
    """Put up every wall around this process and fill its folder; there is no way back.

    Raises JailError where one cannot be put up.
    """
    _call("new namespaces", _libc.unshare, _CLONE_NEWNS | _CLONE_NEWIPC | _CLONE_NEWNET)
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE, "")
    owner = "" if identity.uid is None else f",uid={identity.uid},gid={identity.uid}"
    size = f"size={limits.scratch_mib}m,nr_inodes={limits.scratch_files},mode=0700{owner}"
    _mount("tmpfs", str(SCRATCH), "tmpfs", _MS_NOSUID | _MS_NODEV, size)
    # The same bounded store, since shared memory is a file system too.
    _mount(str(SCRATCH), "/dev/shm", "", _MS_BIND, "")
    _die_first()
    _own_proc()
    become(identity)
    lay_out(files)
    bound(limits)
    refuse_processes()
    seccomp.install()


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    _call("an end with the parent", _libc.prctl, _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Files:
    """What a notebook may reach where the walls are Landlock's and seccomp's: paths it may read,
    folders of which it sees the names only, and the folder that is its own.
    """

    readable: tuple[int, ...]  # descriptors, opened once for all children
    listable: tuple[int, ...]
    scratch: Path

    @classmethod
    def opened(cls, readable: Iterable[str], listable: Iterable[str], scratch: str) -> "Files":
        """From the paths; what is not there need not be shown."""
        flags = os.O_PATH | os.O_CLOEXEC
        there = [
            [os.open(p, flags) for p in paths if Path(p).exists()] for paths in (readable, listable)
        ]
        return cls(tuple(there[0]), tuple(there[1]), Path(scratch))


def confine(reach: Files, limits: Limits, files: Mapping[str, bytes], worker: int) -> None:
    """Put up the walls that need no privilege, around this process of the worker's; there is no way
    back. Raises OSError or JailError where one cannot be put up.
    """
    end_with_parent()
    if os.getppid() != worker:
        raise JailError("the worker has ended")
    _die_first()
    seccomp.no_new_privileges()
    _no_capabilities()
    lay_out(files, reach.scratch / HOME.name)
    refuse_processes()
    own = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in (reach.scratch, os.devnull)]
    proc = os.open("/proc/self", os.O_PATH | os.O_CLOEXEC)
    allowed = [(fd, landlock.READ) for fd in (*reach.readable, proc)]
    allowed += [(fd, landlock.READ_DIR) for fd in reach.listable]
    allowed += [(own[0], landlock.everything()), (own[1], landlock.READ | landlock.WRITE_FILE)]
    landlock.restrict(allowed)
    for fd, _ in allowed:  # hundreds, where this package lies among others that may be read
        os.close(fd)
    bound(limits, counted=False)


def refuse_processes() -> None:
    """Say in words what the filter would say as "Operation not permitted"."""

    def fork() -> int:
        raise PermissionError("a notebook is one process while it is graded: use a thread")

    os.fork = fork


def lay_out(files: Mapping[str, bytes], home: Path = HOME) -> None:
    """Write the assignment's files into the folder the notebook runs in, and go there."""
    home.mkdir(exist_ok=True)
    for name, content in files.items():
        home.joinpath(name).write_bytes(content)
    os.chdir(home)


def become(identity: Identity) -> None:
    """Give up root, every capability, and the way back to them."""
    for capability in _capabilities():
        _call("drop a capability", _libc.prctl, _PR_CAPBSET_DROP, capability, 0, 0, 0)
    _call(
        "no ambient capabilities", _libc.prctl, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0
    )
    if identity.uid is not None:
        os.setgroups([])
        os.setresgid(identity.uid, identity.uid, identity.uid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    _no_capabilities()


def _no_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _call("no capabilities", _libc.capset, header, (ctypes.c_uint32 * 6)())


@cache
def _capabilities() -> tuple[int, ...]:
    """What is in the bounding set: what bubblewrap left there, for us to build this jail with."""
    status = Path("/proc/self/status").read_text()
    (held,) = (int(line.split()[1], 16) for line in status.splitlines() if line[:6] == "CapBnd")
    return tuple(number for number in range(64) if held >> number & 1)


def bound(limits: Limits, *, counted: bool = True) -> None:
    """Limits that the kernel keeps; cpu seconds count from here. `counted`: threads are counted for
    this notebook alone, and not for all that its user runs on the machine.
    """
    mib = 1 << 20
    # The fork inherits the worker's pages, but its clock starts at zero.
    hard = {
        resource.RLIMIT_CPU: limits.cpu_seconds,
        # Memory that may be written to; the watcher counts what is filled, however it was had.
        resource.RLIMIT_DATA: writable() + limits.memory_mib * mib,
        resource.RLIMIT_NPROC: limits.processes,
        resource.RLIMIT_FSIZE: limits.file_mib * mib,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 1024,
        resource.RLIMIT_NICE: 0,
        resource.RLIMIT_RTPRIO: 0,
    }
    if not counted:
        del hard[resource.RLIMIT_NPROC]
    for which, value in hard.items():
        _, most = resource.getrlimit(which)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(which, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a large file is an OSError


def writable() -> int:
    """Bytes that this process may write to already, as RLIMIT_DATA counts them."""
    status = Path("/proc/self/status").read_text()
    (kib,) = (int(line.split()[1]) for line in status.splitlines() if line[:7] == "VmData:")
    return kib << 10


def close_all_but(kept: int) -> None:
    """Close every inherited descriptor but one; the standard three lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nowhere, fd)
    for low, high in ((3, kept), (kept + 1, 1 << 16)):
        os.closerange(low, high)


def _die_first() -> None:
    """Where memory runs out, the kernel is to take the notebook and not the grader."""
    with suppress(OSError):  # not every container lets it be written; the kernel then picks itself
        Path("/proc/self/oom_score_adj").write_text("1000")


def _own_proc() -> None:
    """A /proc that shows this namespace only, or an empty one where a new one is refused; not to be
    written to, or an ordinary user's notebook could take back what `_die_first` did.
    """
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    try:
        _mount("proc", "/proc", "proc", flags, "")
    except JailError:
        _mount("tmpfs", "/proc", "tmpfs", flags, "size=4k,mode=0555")


def _mount(source: str, target: str, kind: str, flags: int, data: str) -> None:
    _call(
        f"mount {target}",
        _libc.mount,
        source.encode(),
        target.encode(),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )


def _call(what: str, function: "ctypes._NamedFuncPointer", *arguments: object) -> None:
    if function(*arguments):
        code = ctypes.get_errno()
        raise JailError(f"{what}: {os.strerror(code)}")


def make_forking_cheap() -> int:
    """Collapse this process's private memory into pages of 2 MiB; how many came of it, 0 on kernels
    before 6.1. A fork copies one entry for each page, and its end frees them again: with torch
    imported that is 44,000 small pages. Only pages that a child writes to are split.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    made = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, mode, _, _, inode, *name = line.split()
        if mode != "rw-p" or inode != "0" or (name and name[0] != "[heap]"):
            continue
        start, end = (int(part, 16) for part in span.split("-"))
        for at in range(-(-start // _LARGE) * _LARGE, end // _LARGE * _LARGE, _LARGE):
            made += not libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(_LARGE), _MADV_COLLAPSE)
    return made


def empty(folder: Path) -> None:
    """Delete all that is in `folder`, however deep; `shutil.rmtree` gives up at a thousand levels."""
    here, above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY), list[str]()
    while True:
        inner = _unlink_all(here)
        if inner is not None:
            os.chmod(inner, 0o700, dir_fd=here)
            below = os.open(inner, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            above.append(inner)
        elif above:
            below = os.open("..", os.O_RDONLY, dir_fd=here)
            os.rmdir(above.pop(), dir_fd=below)
        else:
            os.close(here)
            return
        os.close(here)
        here = below


def _unlink_all(fd: int) -> str | None:
    """Delete a folder's files; the name of one folder that is left, None for none."""
    left = None
    for name in os.listdir(fd):
        try:
            os.unlink(name, dir_fd=fd)
        except (IsADirectoryError, PermissionError):
            left = name
    return left
