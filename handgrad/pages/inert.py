"""What a student's cell holds and showed, as HTML in which nothing runs and nothing is fetched."""

import html
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from markupsafe import Markup
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from handgrad.notebooks.display import Budget, clean_html, clean_markdown, clean_outputs, remembered
from handgrad.pages.formula import formula
from handgrad.pages.words import text

_LONGEST_TEXT = 20_000  # characters of one output
_MOST_OUTPUTS = 50  # of one cell
_IMAGES = ("image/png", "image/jpeg", "image/gif")

Pictures = Mapping[str, Mapping[str, str]]
"""Those attached to a text: base64 by MIME type, by name."""

_CODE = HtmlFormatter(nowrap=True, classprefix="c-")
_PYTHON = PythonLexer(stripnl=False, ensurenl=False)


_PLACE = re.compile("\ue000(\\d{1,6})\ue001")  # of a formula, while the text around it is sanitised


class _Renderer(IPythonRenderer):
    """Takes the formulas out of the text."""

    def __init__(self, pictures: Pictures) -> None:
        attachments = {name: dict(bundle) for name, bundle in pictures.items()}
        super().__init__(escape=False, exclude_anchor_links=True, attachments=attachments)
        self.formulas: list[Markup] = []

    def inline_math(self, body: str) -> str:
        return self._keep(formula(html.unescape(body), block=False))

    def block_math(self, body: str) -> str:
        return self._keep(formula(html.unescape(body), block=True))

    def _keep(self, made: Markup) -> str:
        self.formulas.append(made)
        return f"\ue000{len(self.formulas) - 1}\ue001"

    def back(self, place: re.Match[str]) -> str:
        number = int(place[1])  # of any size: the student can type the marks as well
        return self.formulas[number] if number < len(self.formulas) else ""


def markdown(
    source: str, pictures: Pictures = MappingProxyType({}), budget: Budget | None = None
) -> Markup:
    """Rendered Markdown with its formulas set, and its attached pictures in it."""
    cleaned = clean_markdown(source, pictures, budget)
    return _rendered(cleaned, pictures) if pictures else _prose(cleaned)


def _rendered(cleaned: str, pictures: Pictures) -> Markup:
    renderer = _Renderer(pictures)
    rendered = clean_html(MarkdownWithMath(renderer=renderer).render(cleaned))
    return Markup(_PLACE.sub(renderer.back, rendered))


@remembered
def _prose(cleaned: str) -> Markup:
    return _rendered(cleaned, {})


@remembered
def _highlighted(source: str) -> Markup:
    return Markup(highlight(source, _PYTHON, _CODE))


# The lexer looks ahead over blanks from each blank line, and to the line's end from each escape.
_SLOW_CODE = re.compile(r"\s{500}|[^\n]{2000}")
_MOST_CODE = 20_000  # characters of one cell over the page's budget


def code(source: str, language: str, budget: Budget | None = None) -> Markup:
    """Python with its words marked for the style sheet; cut where the page has shown too much."""
    if budget is not None and not budget.allows(source):
        shown, cut = source[:_MOST_CODE], _cut(language) if len(source) > _MOST_CODE else ""
        return Markup('<pre class="code"><code>{}</code></pre>{}').format(shown, cut)
    if _SLOW_CODE.search(source):
        return Markup('<pre class="code"><code>{}</code></pre>').format(source)
    return Markup('<pre class="code"><code>{}</code></pre>').format(_highlighted(source))


def outputs(
    of_cell: Iterable[Mapping[str, object]], language: str, budget: Budget | None = None
) -> Markup:
    """What a code cell showed, one block an output."""
    cleaned = clean_outputs(of_cell, budget)
    shown = [_output(output, language) for output in cleaned[:_MOST_OUTPUTS]]
    if len(cleaned) > _MOST_OUTPUTS:
        shown.append(_cut(language))
    return Markup("").join(shown)


def _output(output: Mapping[str, object], language: str) -> Markup:
    match output:
        case {"output_type": "stream", "text": str(shown)}:
            return _pre(shown, language)
        case {"output_type": "error", "traceback": list(lines)} if lines:
            return _pre("\n".join(map(str, lines)), language)
        case {"output_type": "error", "ename": ename, "evalue": evalue}:
            return _pre(f"{ename}: {evalue}", language)
        case {"data": Mapping() as data}:
            return _data({str(kind): str(value) for kind, value in data.items()}, language)
    return Markup("")


def _data(data: Mapping[str, str], language: str) -> Markup:
    """The richest form of one result that can be shown without running or fetching anything."""
    for kind in _IMAGES:
        if kind in data:
            return Markup('<img class="shown" src="data:{};base64,{}" alt="{}">').format(
                kind, "".join(data[kind].split()), text("page.image_alt", language)
            )
    for kind, rendered in (("text/html", clean_html), ("text/markdown", markdown)):
        if kind in data:
            return Markup('<div class="rich" tabindex="0">{}</div>').format(
                Markup(rendered(data[kind]))
            )
    return _pre(data.get("text/plain", ""), language)


def _pre(shown: str, language: str) -> Markup:
    if not shown.strip():
        return Markup("")
    cut = _cut(language) if len(shown) > _LONGEST_TEXT else Markup("")
    # Focusable, so that a long line can be scrolled to from the keyboard.
    return Markup('<pre class="text" tabindex="0">{}</pre>{}').format(shown[:_LONGEST_TEXT], cut)


def _cut(language: str) -> Markup:
    return Markup('<p class="aside">{}</p>').format(text("page.cut", language))
