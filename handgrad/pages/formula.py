"""Formulas of a text as MathML, which browsers set by themselves, without script or font."""

import nh3
from latex2mathml.converter import convert
from markupsafe import Markup

_LONGEST = 2000  # characters of TeX
_TAGS = frozenset(
    """
    math mrow mi mn mo mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover
    mtable mtr mtd
    """.split()  # noqa: SIM905 (21 names on two lines, not on 21)
)
_ATTRIBUTES = {
    "math": {"display"},
    "mspace": {"width"},
    "mover": {"accent"},
    "mo": {"stretchy", "form"},
}


def formula(tex: str, *, block: bool) -> Markup:
    """`tex` as `<math>`; as it was typed where it cannot be set.

    The converter lets `\\href` and HTML in `\\text` through, hence the sanitiser after it.
    """
    typed = Markup("<code>{}</code>").format(f"$${tex}$$" if block else f"${tex}$")
    if len(tex) > _LONGEST:
        return typed
    try:
        made = convert(tex, display="block" if block else "inline")
    except Exception:  # its exceptions share no base; what was typed is shown instead
        return typed
    return Markup(nh3.clean(made, tags=set(_TAGS), attributes=_ATTRIBUTES))
