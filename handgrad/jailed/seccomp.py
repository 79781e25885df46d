"""A filter on system calls, put on a process before it runs a student's code and never taken off.

It denies what no notebook needs and what break-outs are made of. A list of what is denied, and not
of what is allowed, since torch, numpy and libc of the next year must go on working; other walls shut
files away, and this takes away the tools for climbing them.
"""

import ctypes
import errno
import os
import platform
import struct
from functools import cache

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_MODE_FILTER = 2

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERRNO = 0x00050000

# Offsets in struct seccomp_data.
_NR, _ARCH, _ARGUMENTS = 0, 4, 16

_CLONE_THREAD = 0x00010000
# CLONE_NEWTIME, _NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET
_NEW_NAMESPACES = 0x7E020080
_AF_UNIX = 1
_MAP_SHARED, _MAP_ANONYMOUS = 1, 0x20  # MAP_SHARED_VALIDATE has the bit too
_MAP_GROWSDOWN, _MAP_HUGETLB = 0x100, 0x40000

# name: (number on x86_64, number on aarch64); None where the machine has no such call.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "process_mrelease": (448, 448),
    "tkill": (200, 130),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # files that are not its own: Landlock knows nothing of watching them, nor of cutting before 3
    "inotify_add_watch": (254, 27),
    "truncate": (76, 45),
    # new programs and processes: nothing but the interpreter that is running already, so that a
    # notebook is one process, whose memory is known and which ends at once
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    # sockets; a socketpair of AF_UNIX is left, which event loops need
    "socket": (41, 198),
    # memory that no limit counts
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # kernel doors with a history
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "personality": (135, 92),
    "syslog": (103, 116),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
}
# Done without effect and without an error: Landlock does not look at the mode, the owner and the
# times of files, and copying a file sets them too.
_PRETENDED: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
# Their flags lie in memory, where a filter cannot look. ENOSYS makes libc fall back on older calls.
_UNKNOWN = {"clone3": 435, "openat2": 437}  # the same everywhere
_SELF = 0x5E1F5E1F  # where the process's own id is put in
_X32_BIT = 0x40000000

_ARCHES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_LD, _AND, _JEQ, _JSET, _JGE, _RET = 0x20, 0x54, 0x15, 0x45, 0x35, 0x06


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    """One struct sock_filter: jump `yes` or `no` instructions ahead."""
    return struct.pack("HBBI", code, yes, no, value)


_REFUSE = _step(_RET, _ERRNO | errno.EPERM)
_PASS = _step(_RET, _ALLOW)


def _argument(number: int) -> bytes:
    """Load the lower half of an argument: all that the kernel reads of flags and of ids."""
    return _step(_LD, _ARGUMENTS + 8 * number)


def _own(argument: int) -> tuple[bytes, ...]:
    """Only where the argument is 0 or this process's id."""
    return (_argument(argument), _step(_JEQ, 0, 2), _step(_JEQ, _SELF, 1), _REFUSE, _PASS)


def _not(argument: int, *values: int) -> tuple[bytes, ...]:
    """Only where the argument is none of these."""
    left = range(len(values) - 1, -1, -1)
    looks = [
        _step(_JEQ, value, more, int(not more)) for more, value in zip(left, values, strict=True)
    ]
    return (_argument(argument), *looks, _REFUSE, _PASS)


def _one_of_a_kind(kind: int) -> tuple[bytes, ...]:
    """Only where the first argument says "a process", and the second this one."""
    return (_argument(0), _step(_JEQ, kind, 1), _REFUSE, *_own(1))


def _no_cutting(argument: int) -> tuple[bytes, ...]:
    """No opening to read that empties the file (O_TRUNC), which Landlock does not see before 3."""
    return (
        _argument(argument),
        _step(_AND, 0x203),
        _step(_JEQ, 0x200, 0, 1),
        _REFUSE,
        _PASS,
    )


# Calls that depend on their arguments: (number on x86_64, number on aarch64) and what to do there.
_LOOKED_INTO: dict[str, tuple[tuple[int, int | None], tuple[bytes, ...]]] = {
    # a thread, and no process
    "clone": (
        (56, 220),
        (
            _argument(0),
            _step(_JSET, _NEW_NAMESPACES, 1),
            _step(_JSET, _CLONE_THREAD, 1),
            _REFUSE,
            _PASS,
        ),
    ),
    "socketpair": ((53, 199), (_argument(0), _step(_JEQ, _AF_UNIX, 1), _REFUSE, _PASS)),
    # memory that stays when it is no longer mapped, or that RLIMIT_DATA does not count
    "mmap": (
        (9, 222),
        (
            _argument(3),
            _step(_JSET, _MAP_GROWSDOWN | _MAP_HUGETLB, 2),
            _step(_AND, _MAP_SHARED | _MAP_ANONYMOUS),
            _step(_JEQ, _MAP_SHARED | _MAP_ANONYMOUS, 0, 1),
            _REFUSE,
            _PASS,
        ),
    ),
    # signals, limits and priorities: its own
    "kill": ((62, 129), _own(0)),
    "tgkill": ((234, 131), _own(0)),
    "rt_sigqueueinfo": ((129, 138), _own(0)),
    "rt_tgsigqueueinfo": ((297, 240), _own(0)),
    "prlimit64": ((302, 261), _own(0)),
    "sched_setparam": ((142, 118), _own(0)),
    "sched_setscheduler": ((144, 119), _own(0)),
    "sched_setaffinity": ((203, 122), _own(0)),
    "sched_setattr": ((314, 274), _own(0)),
    "setpriority": ((141, 140), _one_of_a_kind(0)),
    "ioprio_set": ((251, 30), _one_of_a_kind(1)),
    "fcntl": ((72, 25), _not(1, 8, 15)),  # F_SETOWN, F_SETOWN_EX: signals by way of a file
    "ioctl": ((16, 29), _not(1, 0x8901, 0x8902, 0x5412)),  # FIOSETOWN, SIOCSPGRP; TIOCSTI
    "prctl": ((157, 167), _not(0, 1)),  # PR_SET_PDEATHSIG: it ends with the worker
    "open": ((2, None), _no_cutting(1)),
    "openat": ((257, 56), _no_cutting(2)),
}


def program(machine: str) -> bytes:
    """The filter as classic BPF for "x86_64" or "aarch64"; raises KeyError for another machine."""
    column, arch = _ARCHES[machine]
    denied = [numbers[column] for numbers in _DENIED.values()]
    code = [
        _step(_LD, _ARCH),
        _step(_JEQ, arch, yes=1),
        _step(_RET, _KILL),  # another ABI's numbers would mean other calls
        _step(_LD, _NR),
    ]
    if machine == "x86_64":
        code += [_step(_JGE, _X32_BIT, no=1), _REFUSE]
    for number in denied:
        if number is not None:
            code += [_step(_JEQ, number, no=1), _REFUSE]
    for numbers in _PRETENDED.values():
        if (number := numbers[column]) is not None:
            code += [_step(_JEQ, number, no=1), _step(_RET, _ERRNO)]
    for number in _UNKNOWN.values():
        code += [_step(_JEQ, number, no=1), _step(_RET, _ERRNO | errno.ENOSYS)]
    for numbers, steps in _LOOKED_INTO.values():
        if (number := numbers[column]) is not None:
            code += [_step(_JEQ, number, no=len(steps)), *steps]
    code.append(_PASS)
    return b"".join(code)


def supported() -> bool:
    """Whether there is a filter for this machine."""
    return platform.machine() in _ARCHES


@cache
def prepared() -> tuple[bytes, ctypes.CDLL]:
    """This machine's filter, and libc to put it on with; looked up once, for all children."""
    return program(platform.machine()), ctypes.CDLL(None, use_errno=True)


def no_new_privileges() -> None:
    """Let nothing that this process starts gain a privilege: both walls ask for it."""
    _, libc = prepared()
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs: " + os.strerror(ctypes.get_errno()))


def install() -> None:
    """Put the filter on this process and all its threads to come. Raises OSError where refused."""
    code, libc = prepared()
    code = code.replace(struct.pack("<I", _SELF), struct.pack("<I", os.getpid()))
    no_new_privileges()
    held = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    fprog = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(held))
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, fprog, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp: " + os.strerror(ctypes.get_errno()))
