"""What strangers wrote, made safe to show in a browser."""

import base64
import binascii
import html
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import nh3

from handgrad.notebooks.tex import is_odd_tex
from handgrad.plaintext import last_states, line, plain

if TYPE_CHECKING:
    from nbformat import NotebookNode

MAX_IMAGE = 4 * 2**20  # bytes of one picture
MAX_TEXT = 200_000  # characters of one output
MAX_OUTPUTS = 200  # of one cell
_MAGIC: Mapping[str, bytes] = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
}


class Budget:
    """How many characters of markup a submission, or a page, may still have rendered.

    Rendering is the one thing done to a stranger's text outside the sandbox that is not cheap. By
    characters and not by the clock: the same bytes are shown the same way on every machine.
    """

    def __init__(self, characters: int = 400_000) -> None:
        self._left = characters

    def allows(self, text: str) -> bool:
        """Whether `text` may be rendered; if so it is taken off."""
        if len(text) > self._left:
            return False
        self._left -= len(text)
        return True


S = TypeVar("S", bound=str)

_REMEMBERED = 2_000  # characters; most cells of a course are shorter, and the same for everybody


def remembered(render: Callable[[str], S]) -> Callable[[str], S]:
    """`render`, which keeps what it made of the last short texts: of a bounded size, whoever wrote them."""
    kept = lru_cache(maxsize=1024)(render)
    return lambda text: kept(text) if len(text) <= _REMEMBERED else render(text)


# Where readers of Markdown look ahead to the end of the text from every single occurrence.
_LOOKAHEADS = re.compile(r"\[|\\begin|\\\(|\\\[|<!--")
_MAX_LOOKAHEADS = 400


def _costly(source: str) -> bool:
    """Whether rendering would take time that grows with the square of the text."""
    return sum(1 for _ in itertools.islice(_LOOKAHEADS.finditer(source), _MAX_LOOKAHEADS + 1)) > (
        _MAX_LOOKAHEADS
    )


# ------------------------------------------------------------------------------------------ HTML

_TAGS = frozenset(
    """
    a abbr b blockquote br caption code dd del div dl dt em h1 h2 h3 h4 h5 h6 hr i img input ins kbd
    li ol p pre q s samp small span strike strong sub sup table tbody td tfoot th thead tr tt u ul var
    """.split()  # noqa: SIM905 (44 names on four lines, not on 44)
)
_ATTRIBUTES: Mapping[str, frozenset[str]] = {
    "*": frozenset({"class", "title"}),
    "a": frozenset({"href"}),
    "img": frozenset({"src", "alt", "width", "height"}),
    "input": frozenset({"type", "disabled", "checked"}),
    "ol": frozenset({"start"}),
    "td": frozenset({"colspan", "rowspan"}),
    "th": frozenset({"colspan", "rowspan", "scope"}),
}
_LINKS = frozenset({"http", "https", "mailto", "data"})
_DATA_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")


def _attribute(tag: str, attribute: str, value: str) -> str | None:
    """nh3's filter: pictures only from the page itself, links never as data, check boxes inert."""
    if tag == "img" and attribute == "src":
        return value if _DATA_IMAGE.fullmatch(value) and len(value) <= MAX_IMAGE * 2 else None
    if attribute == "href" and value.strip().lower().startswith("data"):
        return None
    if attribute == "class":  # a page finds its buttons by their class
        return value if value == "dataframe" else None
    if tag == "input" and attribute == "type":
        return "checkbox"
    return value


def clean_html(markup: str) -> str:
    """`markup` with the tags and attributes of plain prose, tables and embedded pictures only."""
    return nh3.clean(
        markup,
        tags=set(_TAGS),
        clean_content_tags={"script", "style", "iframe", "object", "svg", "math", "template"},
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        attribute_filter=_attribute,
        url_schemes=set(_LINKS),
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"input": {"type": "checkbox", "disabled": ""}},
    )


# -------------------------------------------------------------------------------------- Markdown

MAX_MARKDOWN = (
    20_000  # characters of one cell; Markdown takes its reader time that grows faster than it
)

# Markdown without any of these renders to prose: no tag, no fence, no link of one's own.
_SUSPECT = re.compile(r"<|\]\s*[(\[:]|~~~|```")
# Every tag in the rendered text must have exactly this form, which no browser reads otherwise.
_TAG = re.compile(r"</?([a-z][a-z0-9]*)((?: [a-z]+(?:=\"[^\"<>`]*\")?)*) ?/?>")
_ATTRIBUTE = re.compile(r" ([a-z]+)(?:=\"([^\"]*)\")?")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):")
_CLASSES = re.compile(
    r"highlight|anchor-link|task-list-item(?:-checkbox)?|language-[\w+-]+|[a-z][a-z0-9]{0,2}|"
)
_STYLES = re.compile(r"text-align: ?(?:left|right|center);?")


_OVER_BUDGET = "[not shown: together these texts are longer than what one submission may show]"


def clean_markdown(
    source: str,
    attachments: Mapping[str, Mapping[str, str]] | None = None,
    budget: Budget | None = None,
) -> str:
    """`source` where it renders to plain prose, else its text with the markup made visible.

    Rendered by nbconvert, as formgrader and feedback do, and what it became is looked at: no two
    readers of Markdown agree about what is code and what is HTML. What is over the `budget`, or would
    take long to render, is shown as its text.
    """
    source = plain(source)
    if len(source) > MAX_MARKDOWN:
        source = source[:MAX_MARKDOWN] + "\n\n[cut here]"
    if budget is not None and not budget.allows(source):
        return _OVER_BUDGET
    return _shown(source, attachments) if attachments else _shown_alone(source)


def _shown(source: str, attachments: Mapping[str, Mapping[str, str]]) -> str:
    candidates = [source, source.replace("<", "&lt;"), fenced(source)]
    if is_odd_tex(source) or _costly(source):
        candidates = candidates[2:]
    elif not _SUSPECT.search(source):
        return source
    for candidate in candidates:
        if _is_prose(candidate, attachments):
            return candidate
    return "[this text cannot be shown]"


@remembered
def _shown_alone(source: str) -> str:
    return _shown(source, {})


def _is_prose(source: str, attachments: Mapping[str, Mapping[str, str]]) -> bool:
    # Slow to import, and most submissions hold no Markdown of their own that is worth a look.
    from nbconvert.filters.markdown_mistune import (
        InvalidNotebook,
        IPythonRenderer,
        MarkdownWithMath,
    )

    pictures = {name: dict(bundle) for name, bundle in attachments.items()}
    renderer = IPythonRenderer(escape=False, exclude_anchor_links=True, attachments=pictures)
    try:
        rendered: str = MarkdownWithMath(renderer=renderer).render(source)
    except InvalidNotebook:  # "attachment:" without its attachment
        return False
    except RecursionError:  # quotes within quotes within quotes
        return False
    position = rendered.find("<")
    while position >= 0:
        match = _TAG.match(rendered, position)
        if match is None or match[1] not in _TAGS:
            return False
        if not all(_fits(match[1], name, value) for name, value in _ATTRIBUTE.findall(match[2])):
            return False
        position = rendered.find("<", match.end())
    return True


def _fits(tag: str, name: str, value: str) -> bool:
    """Whether an attribute is one that Markdown itself makes.

    An id is none of them: pages find their buttons by it.
    """
    match name:
        case "alt" | "title":
            return True
        case "href":
            return tag == "a" and _harmless(value)
        case "src":
            # A picture from elsewhere tells its owner who looked at it, and when.
            return tag == "img" and _DATA_IMAGE.fullmatch(html.unescape(value)) is not None
        case "class":
            return all(_CLASSES.fullmatch(each) for each in value.split(" "))
        case "style":
            return tag in ("td", "th") and _STYLES.fullmatch(value) is not None
        case "start":
            return tag == "ol"
        case "type":
            return tag == "input" and value == "checkbox"
        case "disabled" | "checked":
            return tag == "input"
    return False


def _harmless(link: str) -> bool:
    target = re.sub(r"[\x00-\x20\x7f-\x9f]", "", html.unescape(html.unescape(link))).lower()
    scheme = _SCHEME.match(target)
    if scheme is not None:
        return scheme[1] in ("http", "https", "mailto")
    return ":" not in target.split("/")[0] and not target.startswith(("//", "\\"))


def fenced(source: str) -> str:
    """`source` as a block of code, whatever it holds."""
    runs = [len(run) for run in re.findall(r"`+", source)]
    fence = "`" * max([3, *(length + 1 for length in runs)])
    return f"{fence}\n{plain(source)}\n{fence}"


def clean_attachments(attachments: Mapping[str, object]) -> dict[str, dict[str, str]]:
    """The pictures among a Markdown cell's attachments, by name."""
    kept: dict[str, dict[str, str]] = {}
    for name, bundle in list(attachments.items())[:20]:
        if isinstance(bundle, Mapping):
            pictures = {
                kind: data
                for kind in _MAGIC
                if (data := _picture(kind, bundle.get(kind))) is not None
            }
            if pictures:
                kept[line(name)] = pictures
    return kept


# --------------------------------------------------------------------------------------- outputs


def clean_outputs(
    outputs: Iterable[Mapping[str, object]], budget: Budget | None = None
) -> "list[NotebookNode]":
    """A cell's outputs as valid nbformat outputs, cut to what may be shown.

    Everything in them came from the sandbox: a type, a key or a size of any kind is possible, and
    what is not understood is left out, and markup over the `budget` is not shown. Streams, errors, text,
    HTML, Markdown and PNG, JPEG and GIF pictures stay.
    """
    kept: list[NotebookNode] = []
    for output in outputs:
        if len(kept) == MAX_OUTPUTS:
            kept.append(node({"output_type": "stream", "name": "stdout", "text": "[cut here]\n"}))
            break
        table = _output(output, budget or Budget())
        if table is not None:
            kept.append(node(table))
    return kept


def _output(output: Mapping[str, object], budget: Budget) -> dict[str, object] | None:
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return {"output_type": "stream", "name": name, "text": _text(output.get("text"))}
    if kind == "error":
        traceback = output.get("traceback")
        lines = traceback if isinstance(traceback, list) else []
        return {
            "output_type": "error",
            "ename": line(_text(output.get("ename"))),
            "evalue": _text(output.get("evalue"))[:2000],
            "traceback": [_text(each)[:5000] for each in lines[:100]],
        }
    if kind not in ("display_data", "execute_result"):
        return None
    bundle = output.get("data")
    data = clean_bundle(bundle if isinstance(bundle, Mapping) else {}, budget)
    if not data:
        return None
    # An execute_result would be read as a mark by whoever still reads marks from outputs.
    return {"output_type": "display_data", "data": data, "metadata": {}}


def clean_bundle(bundle: Mapping[object, object], budget: Budget) -> dict[str, str]:
    """The representations of one output that may be shown, by MIME type."""
    kept: dict[str, str] = {}
    for kind in _MAGIC:
        picture = _picture(kind, bundle.get(kind))
        if picture is not None:
            kept[kind] = picture
    if "text/html" in bundle:
        markup = _text(bundle["text/html"])
        cleaned = clean_html(markup) if budget.allows(markup) else _OVER_BUDGET
        if is_odd_tex(cleaned):
            cleaned = f"<pre>{html.escape(cleaned)}</pre>"  # where MathJax sets nothing
        if cleaned.strip():
            kept["text/html"] = cleaned
    if "text/markdown" in bundle:
        kept["text/markdown"] = clean_markdown(_text(bundle["text/markdown"]), budget=budget)
    if "text/latex" in bundle and "text/plain" not in bundle:
        kept["text/plain"] = _text(bundle["text/latex"])
    if "text/plain" in bundle:
        kept["text/plain"] = _text(bundle["text/plain"])
    if not kept and bundle:
        kinds = ", ".join(sorted(line(str(kind), 40) for kind in bundle)[:5])
        kept["text/plain"] = f"[an output of type {kinds} is not shown]"
    return kept


def _text(value: object) -> str:
    if isinstance(value, list):
        value = "".join(each for each in value if isinstance(each, str))
    if not isinstance(value, str):
        return ""
    text = plain(last_states(value)[: MAX_TEXT * 2])
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "\n[cut here]\n"


def _picture(kind: str, value: object) -> str | None:
    """base64 of a picture that is of the kind it says, or None."""
    if isinstance(value, list):
        value = "".join(each for each in value if isinstance(each, str))
    if not isinstance(value, str) or len(value) > MAX_IMAGE * 4 // 3 + 4:
        return None
    packed = "".join(value.split())
    try:
        data = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError):
        return None
    return packed if data.startswith(_MAGIC[kind]) else None


def node(table: Mapping[str, object]) -> "NotebookNode":
    """`table` as nbformat's own kind of dictionary, all the way down."""
    from handgrad.notebooks.notebooknode import (
        from_dict,  # whoever holds a notebook has paid for this import
    )

    made: NotebookNode = from_dict(table)  # type: ignore[no-untyped-call]
    return made
