"""Which TeX the pages of JupyterLab and formgrader may set: an allow list of MathJax's commands."""

import html
import re
from functools import cache

_FORMULA = re.compile(r"\$|\\\\?[(\[]|\\begin")
# However many backslashes stand before it: a reader of Markdown may take one of two away.
_COMMAND = re.compile(r"\\([A-Za-z]{2,})")

# What arranges, sizes or decorates. All else that is allowed stands for one symbol each.
_ARRANGING = frozenset(
    """
    acute argmax argmin bar begin big Big bigg Bigg biggl Biggl biggm biggr Biggr bigl Bigl bigm bigr Bigr
    binom bm bmod bold boldsymbol boxed breve cases cdots cfrac check choose cr dbinom dddot ddot ddots
    det dfrac dim displaystyle dot dots dotsb dotsc emph end enspace exp frac gcd grave hat hbox hdots
    hline hphantom inf int ker ldots left leftarrow lg lim liminf limits limsup ln log mathbb mathbf
    mathbin mathcal mathfrak mathit mathop mathord mathrel mathring mathrm mathscr mathsf mathstrut
    mathtt max mbox middle min mod negthinspace nolimits nonumber not notag operatorname over overbrace
    overleftarrow overleftrightarrow overline overrightarrow overset phantom pmb pmod Pr prime qquad quad
    right root scriptscriptstyle scriptstyle sin cos tan sinh cosh tanh arcsin arccos arctan cot csc sec
    smallmatrix space sqrt stackrel strut substack sum sup tag tbinom text textbf textit textnormal textrm
    textsf textstyle texttt tfrac tilde tr top underbrace underline underset vdots vec vphantom widehat
    widetilde xleftarrow xrightarrow
    """.split()  # noqa: SIM905 (words on ten lines, not on two hundred)
)


def is_odd_tex(text: str) -> bool:
    """Whether a page that shows `text`, Markdown or HTML, may set a formula with another command.

    A command may fetch, link, run, style or redefine; nobody needs those for an answer.
    """
    shown = html.unescape(text)
    if not _FORMULA.search(shown):
        return False
    used = {*_COMMAND.findall(shown), *_COMMAND.findall(text)} - _ARRANGING
    return bool(used) and not used <= _symbols()


@cache
def _symbols() -> frozenset[str]:
    """The commands that are one character each, in the table of the library that sets our own pages."""
    from latex2mathml.symbols_parser import parse_symbols

    return frozenset(command[1:] for command in parse_symbols() if _COMMAND.fullmatch(command))
