"""One notebook file that a command was given by name."""

from pathlib import Path

from handgrad.errors import UserError
from handgrad.limits import Limits
from handgrad.notebooks.notebookfile import RawCell, UnreadableError, parse
from handgrad.pages.words import reason


def opened(notebook: Path, limits: Limits) -> tuple[bytes, tuple[RawCell, ...]]:
    """The file's bytes and its cells. Raises UserError where it cannot be read, or is no notebook."""
    try:
        data = notebook.read_bytes()
        return data, parse(data, limits).cells
    except OSError as error:
        fact, cure = f"it cannot be read ({error.strerror})", "Check the path"
        raise UserError(str(notebook), fact, cure) from error
    except UnreadableError as error:
        fact, cure = reason(error.why, "en"), "Save it in Jupyter, without outputs, and try again"
        if notebook.suffix == ".py":
            fact, cure = (
                "it is a Python script, not a notebook",
                "Give the .ipynb file it came from",
            )
        raise UserError(str(notebook), fact, cure) from error
