"""nbgrader's log without tracebacks: each failure one line that names its cure."""

import logging
import sys

from handgrad.errors import UserError
from handgrad.plaintext import line

_TRACEBACK = "Traceback (most recent call last)"

# What nbgrader says, and what is said instead.
_INSTEAD = {
    "Please see the the above traceback": "What could not be graded is named above, each with its "
    "cure. The other submissions are graded.",
    "No notebooks found, did you forget": "None of its notebooks has a released notebook's name. "
    "Give them the names they were released with and run this again.",
}
_CURES = {
    "No assignment with ID": "Run `nbgrader generate_assignment` for it first.",
    "Skipping unknown notebook": "It is graded only under the name it was released with.",
    "No submitted file": "It scores 0 until it is there and this is run again.",
    "Did you mean": "Run the command again with the assignment's own name.",
}


class OneLine(logging.Filter):
    """Turns a traceback that nbgrader logs into one line; with `debug` it stays."""

    def __init__(self, *, debug: bool) -> None:
        super().__init__()
        self._debug = debug

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be shown; it may be reworded here."""
        message = line(record.getMessage(), 1000)
        if record.getMessage().startswith(_TRACEBACK):
            return self._reworded(record)
        for sign, text in _INSTEAD.items():
            if message.startswith(sign):
                record.msg, record.args = text, ()
                return True
        cure = next((cure for sign, cure in _CURES.items() if message.startswith(sign)), "")
        # Paths and ids in it are anybody's: no escape sequence and no second line comes of them.
        record.msg, record.args = f"{message}. {cure}" if cure else message, ()
        return True

    def _reworded(self, record: logging.LogRecord) -> bool:
        error = sys.exc_info()[1]
        if error is None or self._debug:
            return True
        if type(error).__name__ == "NbGraderException":
            return False  # it was logged a moment ago
        if isinstance(error, UserError):
            text = line(str(error), 1000)
        else:
            text = f"{type(error).__name__}: {line(str(error))}. Run it with --debug to see where."
        record.msg, record.args = text, ()
        return True
