"""Pages from the templates of this package, everything in them escaped unless it was made safe."""

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from handgrad.pages.words import text


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("handgrad.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(name: str, language: str, **values: object) -> str:
    """The template `name` with `values`, and `w(key, **parts)` for the words of the language."""

    def words(key: str, **parts: object) -> str:
        return text(key, language, **parts)

    return _environment().get_template(name).render(w=words, **values)


@cache
def script(name: str) -> tuple[Markup, str]:
    """A script of the templates as it stands in a page, and its hash for the page's policy."""
    source = files("handgrad.pages").joinpath("templates", name).read_text(encoding="utf-8")
    return Markup(source), base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()


def sentence(words: str) -> Markup:
    """A sentence with its `names in backquotes` as code."""
    pieces = words.split("`")
    if len(pieces) % 2 == 0:  # an odd backquote is somebody's own text
        return escape(words)
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if i % 2 else escape(piece)
        for i, piece in enumerate(pieces)
    )
