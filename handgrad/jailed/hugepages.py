"""Makes forking cheap: the worker's memory in pages of 2 MiB instead of 4 KiB.

A fork copies one entry for each page, and its end frees them again: with torch imported that is
44,000 pages and 13 ms, in large ones 4 ms. Only pages that a child writes to are split.
"""

import ctypes
from pathlib import Path

_LARGE = 1 << 21
_MADV_COLLAPSE = 25  # since Linux 6.1


def collapse() -> int:
    """Collapse this process's private memory; how many large pages came of it, 0 on older kernels."""
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
