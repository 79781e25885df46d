"""Gradients written by hand, graded one step at a time."""

__version__ = "0.1.0"


def load_ipython_extension(shell: object) -> None:
    """What `%load_ext handgrad` calls in a notebook."""
    from handgrad.doors.magic import register

    register(shell)
