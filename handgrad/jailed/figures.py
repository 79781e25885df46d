"""matplotlib without a window: figures become pictures of bounded size, or are thrown away."""

import io
import sys
from typing import Any

from handgrad.jailed.tape import Tape

_MOST_PIXELS = 4_000_000
_MOST_FIGURES = 20


def prepare() -> None:
    """Import matplotlib once, if it is there, drawing into memory; `plt.show()` does nothing."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def show(*_arguments: object, **_keywords: object) -> None:
        return None

    plt.show = show


def show_figures(tape: Tape) -> None:
    """Put the open figures on the tape, as a notebook does at the end of a cell."""
    plt: Any = sys.modules.get("matplotlib.pyplot")
    if plt is None or not plt.get_fignums():
        return
    for number in plt.get_fignums()[:_MOST_FIGURES]:
        figure = plt.figure(number)
        width, height = figure.get_size_inches()
        dpi = min(float(figure.dpi), (_MOST_PIXELS / max(width * height, 1e-9)) ** 0.5)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=dpi, bbox_inches="tight")
        tape.data(
            "display_data",
            {"image/png": picture.getvalue(), "text/plain": f"a figure, {width:g} by {height:g}"},
            {},
        )
    plt.close("all")


def close_figures() -> None:
    """Throw open figures away."""
    plt: Any = sys.modules.get("matplotlib.pyplot")
    if plt is not None and plt.get_fignums():
        plt.close("all")
