"""Runs a command with the kernel refusing it something, as other machines' kernels do.

    python denied.py namespaces COMMAND [ARGUMENT ...]

`namespaces`: what Docker's and Kubernetes' default profiles refuse. They list what they allow; here is
what of the rest a sandbox could want. Their answer is "not permitted", and to clone3, whose flags a
filter cannot read, "no such call". `landlock`: what kernels before 5.13 do not have.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

from handgrad.jailed.seccomp import _ARCHES, _DENIED, _LOOKED_INTO, _NEW_NAMESPACES, _step

REFUSED = (
    "unshare", "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "fsopen", "fsconfig",
    "fsmount", "fspick", "mount_setattr", "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key",
    "request_key", "kcmp", "fanotify_init", "name_to_handle_at", "open_by_handle_at", "io_uring_setup",
    "io_uring_enter", "io_uring_register", "move_pages", "quotactl", "syslog", "acct", "reboot", "swapon",
    "sethostname", "setdomainname", "settimeofday", "iopl", "ioperm", "kexec_load", "init_module",
)  # fmt: skip
CLONE3, LANDLOCK = 435, (444, 445, 446)
REFUSE, UNKNOWN, ALLOW = (
    _step(0x06, value) for value in (0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS, 0x7FFF0000)
)  # fmt: skip


def program(what: str) -> bytes:
    """The filter of system calls for `what`; everything else is as always."""
    if what == "landlock":
        return _step(0x20, 0) + b"".join(_step(0x15, n, no=1) + UNKNOWN for n in LANDLOCK) + ALLOW
    column, _ = _ARCHES[platform.machine()]
    numbers = [number for name in REFUSED if (number := _DENIED[name][column]) is not None]
    clone = _LOOKED_INTO["clone"][0][column]
    assert clone is not None
    code = [_step(0x20, 0)]
    code += [_step(0x15, number, no=1) + REFUSE for number in numbers]
    code += [_step(0x15, CLONE3, no=1), UNKNOWN]
    code += [_step(0x15, clone, no=3), _step(0x20, 16), _step(0x45, _NEW_NAMESPACES, no=1), REFUSE]
    return b"".join((*code, ALLOW))


if __name__ == "__main__":
    libc, code = ctypes.CDLL(None, use_errno=True), program(sys.argv[1])
    held = ctypes.create_string_buffer(code, len(code))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    fprog = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(held))
    assert libc.prctl(22, 2, fprog, 0, 0) == 0
    os.execv(sys.argv[2], sys.argv[2:])
