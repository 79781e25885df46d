"""Runs a command where namespaces are denied, as Docker's and Kubernetes' default filters deny them."""

import ctypes
import errno
import os
import platform
import struct
import sys

from handgrad.jailed.seccomp import _ARCHES, _DENIED, _NEW_NAMESPACES, _step

CLONE = {"x86_64": 56, "aarch64": 220}
NAMES = ("unshare", "setns", "mount", "umount2", "pivot_root", "bpf", "keyctl", "add_key")


def program() -> bytes:
    """Errors for these calls and for a clone with new namespaces; everything else as always."""
    machine = platform.machine()
    column, _ = _ARCHES[machine]
    refuse, allow = _step(0x06, 0x00050000 | errno.EPERM), _step(0x06, 0x7FFF0000)
    code = [_step(0x20, 0)]
    for name in NAMES:
        number = _DENIED[name][column]
        assert number is not None
        code += [_step(0x15, number, no=1), refuse]
    code += [_step(0x15, 435, no=1), _step(0x06, 0x00050000 | errno.ENOSYS)]  # clone3
    code += [_step(0x15, CLONE[machine], no=3), _step(0x20, 16), _step(0x45, _NEW_NAMESPACES, no=1)]
    return b"".join((*code, refuse, allow))


if __name__ == "__main__":
    libc, code = ctypes.CDLL(None, use_errno=True), program()
    held = ctypes.create_string_buffer(code, len(code))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    fprog = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(held))
    assert libc.prctl(22, 2, fprog, 0, 0) == 0
    os.execv(sys.argv[1], sys.argv[1:])
