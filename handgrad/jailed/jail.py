"""The walls of one notebook: what a forked child does to itself before it runs a student's code.

They are the same in both sandboxes: Landlock, which shuts the worker and the other submissions away,
no capability, limits, and last the filter of system calls. bubblewrap stands around the worker, where
it can be had, and takes away the network, the files and the other processes of the machine.
"""

import ctypes
import os
import resource
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from handgrad.jailed import landlock, seccomp
from handgrad.limits import Limits

_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 2, 4, 16384, 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_CAPABILITY_VERSION_3 = 0x20080522

_LARGE = 1 << 21
_MADV_COLLAPSE = 25  # since Linux 6.1

SCRATCH = Path("/tmp")  # in bubblewrap
HOME = "notebook"  # the folder in it where the notebook finds its files, and may write
OPEN_FILES = 128


class JailError(Exception):
    """A wall could not be put up: then nothing runs."""


_libc = ctypes.CDLL(None, use_errno=True)


def begin_in_bubblewrap() -> None:
    """Before torch is imported: mounts of the worker's own, which it may put others over."""
    _call("mounts of its own", _libc.unshare, _CLONE_NEWNS)
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE, "")
    _be_private()


def begin_alone() -> None:
    """Before torch is imported: the worker ends with whoever started it."""
    end_with_parent()
    _be_private()


def _be_private(private: bool = True) -> None:
    """Let no process of the same user look into this one's memory, or at its descriptors."""
    _call("memory of its own", _libc.prctl, _PR_SET_DUMPABLE, int(not private), 0, 0, 0)


def end_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends."""
    _call("an end with the parent", _libc.prctl, _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Walls:
    """What stands around every notebook of a worker.

    `readable` and `listable` are descriptors, opened once for all children: what a notebook may read, and
    folders of which it sees the names only. `scratch` is its own; where it is `mounted`, the kernel
    bounds it, and counts threads for this worker alone. `uid` is whom it becomes, None for nobody else.
    """

    readable: tuple[int, ...]
    listable: tuple[int, ...]
    scratch: Path
    mounted: bool
    uid: int | None
    limits: Limits
    files: Mapping[str, bytes]

    @classmethod
    def around(
        cls,
        reach: Mapping[str, Iterable[str]],
        scratch: str,
        uid: int | None,
        limits: Limits,
        files: Mapping[str, bytes],
    ) -> "Walls":
        """From paths, of which those that are not there need not be shown. Without a scratch folder
        this is bubblewrap, which shows nothing that may not be read, but its own processes.
        """
        flags = os.O_PATH | os.O_CLOEXEC
        opened = {
            what: tuple(os.open(path, flags) for path in paths if Path(path).exists())
            for what, paths in reach.items()
        }
        seccomp.prepared()  # once, for all children
        return cls(
            opened.get("readable", ()),
            opened.get("listable", ()),
            Path(scratch) if scratch else SCRATCH,
            not scratch,
            uid,
            limits,
            files,
        )

    def sweep(self) -> None:
        """Leave nothing in the scratch folder of what the last notebook wrote."""
        if not self.mounted:
            empty(self.scratch)
            return
        _libc.umount2(str(self.scratch).encode(), _MNT_DETACH)  # the last one's, which may not be
        owner = "" if self.uid is None else f",uid={self.uid},gid={self.uid}"
        size = f"size={self.limits.scratch_mib}m,nr_inodes={self.limits.scratch_files}"
        data = f"{size},mode=0700{owner}"
        _mount("tmpfs", str(self.scratch), "tmpfs", _MS_NOSUID | _MS_NODEV, data)

    def enter(self, worker: int, pipe: int) -> None:
        """Put up every wall around this process, forked by `worker`, and fill its folder; there is no
        way back. Raises JailError or OSError where one cannot be put up.
        """
        _be_private(False)
        _die_first()
        _become(self.uid)
        end_with_parent()  # not before, as a change of users takes it back
        if os.getppid() != worker:
            raise JailError("the worker has ended")
        lay_out(self.files, self.scratch / HOME)
        refuse_processes()
        seccomp.no_new_privileges()
        if landlock.version() or not self.mounted:  # bubblewrap does without on kernels before 5.13
            self._shut_files()
        bound(self.limits, counted=self.mounted)
        close_all_but(pipe)
        seccomp.install()

    def _shut_files(self) -> None:
        flags = os.O_PATH | os.O_CLOEXEC
        own, null = (os.open(path, flags) for path in (self.scratch, os.devnull))
        readable = (*self.readable, os.open("/proc/self", flags))
        allowed = [(fd, landlock.READ) for fd in readable]
        allowed += [(fd, landlock.READ_DIR) for fd in self.listable]
        allowed += [(own, landlock.everything()), (null, landlock.READ | landlock.WRITE_FILE)]
        landlock.restrict(allowed)
        for fd, _ in allowed:  # hundreds, where this package lies among others that may be read
            os.close(fd)


def refuse_processes() -> None:
    """Say in words what the filter would say as "Operation not permitted"."""

    def fork() -> int:
        raise PermissionError("a notebook is one process while it is graded: use a thread")

    os.fork = fork


def lay_out(files: Mapping[str, bytes], home: Path) -> None:
    """Write the assignment's files into the folder the notebook runs in, and go there."""
    home.mkdir(exist_ok=True)
    for name, content in files.items():
        home.joinpath(name).write_bytes(content)
    os.chdir(home)


def _become(uid: int | None) -> None:
    """Give up root, every capability, and with `no_new_privileges` the way back to them."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _call("no capabilities", _libc.capset, header, (ctypes.c_uint32 * 6)())


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
