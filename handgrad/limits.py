"""How much of the machine one submission may use."""

import re
from dataclasses import dataclass

# A string, closed or not; brackets inside it do not count. Possessive, so linear.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class TooNestedError(ValueError):
    """JSON of more than `most` levels ("too_deep"), or lists and objects ("too_many_lists")."""

    def __init__(self, of: str, most: int) -> None:
        super().__init__(f"{of}: more than {most}")
        self.of = of
        self.most = most


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one submission; an assignment sets its own under `[limits]` in `assignment.toml`.

    Seconds are wall-clock unless named otherwise; sizes are in the unit the name ends with.
    """

    cell_seconds: float = 10.0
    cell_cpu_seconds: float = 5.0  # of the notebook's own process; a busy machine takes none of it
    wall_seconds: float = 60.0  # the whole submission: all notebooks, all runs
    cpu_seconds: int = 60
    memory_mib: int = 4096  # filled by the notebook, beyond what torch and the given cells take
    processes: int = 64  # threads; a notebook is one process
    file_mib: int = 16
    scratch_mib: int = 64
    scratch_files: int = 1000
    output_kib: int = 512  # what one cell may show, in the run that people look at
    tensor_mib: int = 64  # all answers of one run
    notebook_mib: int = 50  # the submitted file


def check_nesting(data: bytes, *, depth: int, containers: int) -> None:
    """Count levels, and lists and objects, in JSON that a stranger wrote, before a parser sees it.

    160 MiB of `{},` would fill 4.6 GiB. Raises TooNestedError.
    """
    level = count = 0
    for bracket in _STRING.sub(b"", data).translate(None, _NO_BRACKETS):
        if bracket in b"]}":
            level -= 1
            continue
        level += 1
        count += 1
        if level > depth:
            raise TooNestedError("too_deep", depth)
        if count > containers:
            raise TooNestedError("too_many_lists", containers)
