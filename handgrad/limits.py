"""How much of the machine one submission may use."""

from dataclasses import dataclass


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
