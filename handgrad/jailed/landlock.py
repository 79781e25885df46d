"""Landlock, the kernel's wall around files for whoever has no powers: what is not named is shut.

Three system calls, as in Documentation/userspace-api/landlock.rst of Linux; their numbers are the
same on all machines.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1  # flag of _CREATE: only say the version
_PATH_BENEATH = 1

WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3
READ = READ_FILE | READ_DIR
_DEVICES = 1 << 6 | 1 << 9 | 1 << 11  # making character devices, sockets and block devices
# Rights over files that each version knows, and the scopes (abstract sockets, signals) since 6.
_FILES = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
_SCOPES = 3
_OF_ONE_FILE = 1 | WRITE_FILE | READ_FILE | 1 << 14 | 1 << 15  # execute, truncate, ioctl

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """The kernel's version of Landlock, 0 where there is none."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)))


def restrict(allowed: Iterable[tuple[int, int]]) -> None:
    """Shut every file to this process but those beneath `allowed`: descriptors opened with O_PATH,
    and rights. For ever, and for every thread to come; no_new_privs must be set. Raises OSError.
    """
    found = version()
    handled = _FILES.get(found, _FILES[5])
    # struct landlock_ruleset_attr { u64 files, network, scopes; }, as long as the version knows it
    attributes = struct.pack("QQQ", handled, 0, _SCOPES)[: 24 if found >= 6 else 8]
    ruleset = _call(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    for fd, rights in allowed:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_ONE_FILE
        rule = struct.pack("=Qi", rights & handled, fd)
        _call(_ADD, ruleset, _PATH_BENEATH, rule, 0)
    _call(_RESTRICT, ruleset, 0)
    os.close(ruleset)


def everything() -> int:
    """All rights over the notebook's own folder; devices and sockets are not made there either."""
    return _FILES[5] & ~_DEVICES & ~1


def _call(number: int, *arguments: object) -> int:
    done = int(_libc.syscall(number, *arguments))
    if done < 0:
        raise OSError(ctypes.get_errno(), "Landlock: " + os.strerror(ctypes.get_errno()))
    return done
