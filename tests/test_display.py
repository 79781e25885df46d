"""What strangers wrote is shown, and nothing of it runs, loads or poses as part of the page."""

import base64
import time

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad.notebooks.display import (
    MAX_IMAGE,
    MAX_MARKDOWN,
    Budget,
    clean_attachments,
    clean_html,
    clean_markdown,
    clean_outputs,
    fenced,
)
from handgrad.pages import inert
from handgrad.pages.words import text

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(20)).decode()


def rendered(source: str) -> str:
    """What formgrader and nbgrader's feedback make of Markdown."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    renderer = IPythonRenderer(escape=False, exclude_anchor_links=True)
    return str(MarkdownWithMath(renderer=renderer).render(source))


HARMLESS = {
    "prose": "The mean is *subtracted*, so **nothing** is left.",
    "math": r"$\frac{\partial L}{\partial b_1} = 0$ since $a < b$ & c",
    "display_math": "$$\n\\sum_i x_i < 1\n$$",
    "link": '[the paper](https://arxiv.org/abs/1502.03167 "BatchNorm")',
    "autolink": "<https://arxiv.org>",
    "relative_link": "[next](2_cross_entropy.ipynb)",
    "mail": "[me](mailto:a@b.c)",
    "code_with_tags": "`<script>` and\n\n```python\nx: list[int] = [1 < 2]\n```",
    "table": "|a|b|\n|:-:|--:|\n|1|2|",
    "task_list": "- [ ] one\n- [x] two",
    "simple_tags": "H<sub>2</sub>O <b>bold</b><br>next<br/>line <kbd>x</kbd>",
    "comparison": "if 3 <4 and a < b then b>a",
    "embedded_picture": f"![p](data:image/png;base64,{PNG})",
    "chinese": "**均值**的梯度为零，因为 a<b。",
}


@pytest.mark.parametrize("source", HARMLESS.values(), ids=HARMLESS)
def test_honest_markdown_stays_as_it_was_written(source: str) -> None:
    assert clean_markdown(source) == source


HARMFUL = {
    "script": ("<script>alert(1)</script>", "<script"),
    "script_in_upper_case": ("<SCRIPT>alert(1)</SCRIPT>", "<SCRIPT"),
    "onerror": ('<img src="x" onerror="alert(1)">', "<img"),
    "onerror_without_quotes": ("<img src=x onerror=alert(1)>", "<img"),
    "slash_for_space": ("<img/src=x/onerror=alert(1)>", "<img"),
    "unclosed_tag": ("<img src=x onerror=alert(1) ", "<img"),
    "svg": ("<svg onload=alert(1)>", "<svg"),
    "svg_in_a_block": ("text\n\n<svg><script>alert(1)</script></svg>\n\ntext", "<svg"),
    "iframe": ('<iframe src="https://evil.example"></iframe>', "<iframe"),
    "object": ('<object data="x"></object>', "<object"),
    "form": ('<form action="https://evil.example"><button>Full credit</button></form>', "<form"),
    "style": ("<style>body {display: none}</style>", "<style"),
    "style_attribute": ('<p style="position: fixed; top: 0">x</p>', "<p style"),
    "meta_refresh": ('<meta http-equiv="refresh" content="0;url=https://evil.example">', "<meta"),
    "base": ('<base href="https://evil.example/">', "<base"),
    "math_element": ("<math><mtext></mtext></math>", "<math"),
    "comment": ("<!-- --><img src=x onerror=alert(1)>", "<img"),
    "cdata": ("<![CDATA[<img src=x onerror=alert(1)>]]>", "<img"),
    "processing_instruction": ("<?x <img src=x onerror=alert(1)> ?>", "<img"),
    "a_score_box": ('<input class="score" id="test_dx" value="2">', "<input"),
    "an_id_of_the_page": ('<b id="test_dx">x</b>', "<b id"),
    "a_class_of_the_page": ('<span class="full-credit">x</span>', '<span class="full'),
    "javascript_link": ("[x](javascript:alert(1))", 'href="javascript'),
    "javascript_link_in_capitals": ("[x](JaVaScRiPt:alert(1))", 'href="JaVa'),
    "javascript_link_in_entities": ("[x](&#106;avascript:alert(1))", "<a "),
    "javascript_link_with_a_tab": ("[x](java&Tab;script:alert(1))", "<a "),
    "javascript_in_angles": ("<javascript:alert(1)>", "<a "),
    "javascript_by_reference": ("[x]\n\n[x]: javascript:alert(1)", "<a "),
    "vbscript_link": ("[x](vbscript:msgbox)", "<a "),
    "data_link": ("[x](data:text/html,<script>alert(1)</script>)", "<a "),
    "blob_link": ("[x](blob:https://evil.example/1)", "<a "),
    "another_servers_link": ("[x](//evil.example)", "<a "),
    "picture_from_elsewhere": ("![x](https://evil.example/seen.png)", "<img"),
    "picture_by_reference": ("![x][y]\n\n[y]: https://evil.example/seen.png", "<img"),
    "svg_as_picture": ("![x](data:image/svg+xml;base64,PHN2Zz4=)", "<img"),
    "missing_attachment": ("![x](attachment:x.png)", "<img"),
    "mathjax_href": (r"$\href{javascript:alert(1)}{x}$", r"<p>$\href"),
    "mathjax_class": (r"$\class{full-credit}{x}$", r"<p>$\class"),
    "mermaid": ("```mermaid\ngraph TD; A-->B\n```", 'class="mermaid'),
    "tag_in_a_table": ("|a|\n|-|\n|<img src=x onerror=alert(1)>|", "<img"),
    "tag_in_a_heading": ("# <img src=x onerror=alert(1)>", "<img"),
    "tag_after_a_fence_that_is_none": ("~~~ ` ~~~\n<script>alert(1)</script>", "<script"),
    "attribute_breaks_out": ('![" onerror="alert(1)](https://x)', "<img"),
    "title_breaks_out": ('[x](https://x "a\\" onmouseover=\\"alert(1)")', ' onmouseover="'),
}


@pytest.mark.parametrize(("source", "gone"), HARMFUL.values(), ids=HARMFUL)
def test_what_would_run_load_or_pose_is_shown_as_text(source: str, gone: str) -> None:
    cleaned = clean_markdown(source)
    assert gone not in rendered(cleaned)
    letters = [word for word in ("alert", "evil", "credit", "display", "msgbox") if word in source]
    assert all(word in cleaned for word in letters), "a TA must be able to read what was tried"


TEX = {
    "a link": (r"$\href{javascript:alert(1)}{x}$", False),
    "a style": (r"\[\style{position:fixed}{x}\]", False),
    "an extension": (r"\begin{align}\require{html}\end{align}", False),
    "a definition": (r"$\def\d{d}\d$", False),
    "a box over the page": (r"$\rule{99em}{99em}$", False),
    "a color": (r"$\color{white}{x}$", False),
    "dollars that the reader makes of entities": (r"&#36;\href{x}{y}&dollar;", False),
    "a backslash that the reader makes": (r"\$\\href{x}{y}\$", False),
    "a backslash of an entity": ("$&bsol;href{x}{y}$", False),
    "what nobody knows": (r"$\somethingnew{x}$", False),
    "a gradient": (r"$\frac{\partial L}{\partial W_1} = X^\top\,\delta \odot \sigma'(z)$", True),
    "a matrix": (r"$$\begin{pmatrix} a & b\\ c & d\\e & f \end{pmatrix}$$", True),
    "a sum in Chinese": (r"所以 \(\sum_{i=1}^n \text{损失}_i \approx \mathbb{E}[\hat{y}]\)", True),
    "a path, and no formula": (r"It lies in C:\Users\ada\require.", True),
}


@pytest.mark.parametrize(("source", "fine"), TEX.values(), ids=TEX)
def test_a_formula_may_use_what_answers_need_and_nothing_else(source: str, fine: bool) -> None:
    assert clean_markdown(source) == (source if fine else fenced(source))


def test_a_formula_in_html_is_held_to_the_same_list() -> None:
    for markup in (r"<p>$\href{x}{y}$</p>", r"<p>$\h<wbr>ref{x}{y}$</p>"):
        (output,) = shown(display(html=markup))
        assert output["data"]["text/html"] == r"<pre>&lt;p&gt;$\href{x}{y}$&lt;/p&gt;</pre>"
    (output,) = shown(display(html=r"<p>$\frac{1}{n}$</p>"))
    assert output["data"]["text/html"] == r"<p>$\frac{1}{n}$</p>"


def test_what_is_fenced_cannot_leave_its_fence() -> None:
    source = "```\n````\n<script>alert(1)</script>\n`````\n<b>"
    assert "<script" not in rendered(fenced(source))


def test_a_text_of_any_length_is_shown_in_time() -> None:
    for piece in ("[", "*a ", "![", "<", "> ", "[a](", "`", "$", "|a", "<!--", "_a", "\\begin{a}"):
        started = time.process_time()
        cleaned = clean_markdown(piece * MAX_MARKDOWN)
        assert time.process_time() - started < 3, piece
        assert len(cleaned) < 2 * MAX_MARKDOWN + 100


_PIECES = st.sampled_from(
    [
        *("<", ">", "/", "script", "img", " src=", " onerror=", '"', "'", "`", "```\n", "\n", " "),
        *("[x]", "(", ")", "javascript:", "&#106;", ":", "![", "$", "$$", "~~~", "|", "# ", "- "),
        *("<!--", "-->", "<?", "<b>", "a", "data:", "https://x", "    ", "]: ", "\\", "\n\n"),
        *("<svg/onload=x>", "=x"),
    ]
)


@settings(max_examples=400, deadline=None, database=None)
@given(st.lists(_PIECES, max_size=25).map("".join))
def test_no_mixture_of_markdown_and_html_gets_through(source: str) -> None:
    page = rendered(clean_markdown(source)).lower()
    assert "<script" not in page
    assert "<svg" not in page
    assert "<img" not in page
    assert 'href="javascript' not in page
    assert 'href="data' not in page


# --------------------------------------------------------------------------------------------- HTML

PAGES = {
    "script": ("<script>alert(1)</script>", ""),
    "script_in_svg": ("<svg><script>alert(1)</script></svg>", ""),
    "handler": ('<b onclick="x()">b</b>', "<b>b</b>"),
    "javascript_link": (
        '<a href="javascript:x()">a</a>',
        '<a rel="noopener noreferrer nofollow">a</a>',
    ),
    "data_link": (
        '<a href="data:text/html,x">a</a>',
        '<a rel="noopener noreferrer nofollow">a</a>',
    ),
    "picture_from_elsewhere": ('<img src="https://evil.example/x.png">', "<img>"),
    "ids_and_classes": ('<p id="a" class="score">p</p>', "<p>p</p>"),
    "style": ('<style>p {color: red}</style><p style="top: 0">p</p>', "<p>p</p>"),
    "iframe": ('<iframe src="x"></iframe>', ""),
    "button": ("<button>Full credit</button>", "Full credit"),
}


@pytest.mark.parametrize(("markup", "left"), PAGES.values(), ids=PAGES)
def test_html_keeps_prose_and_tables_only(markup: str, left: str) -> None:
    assert clean_html(markup) == left


def test_a_table_of_pandas_survives() -> None:
    table = (
        '<table border="1" class="dataframe"><tbody><tr><td colspan="2">1</td></tr></tbody></table>'
    )
    assert clean_html(table) == (
        '<table class="dataframe"><tbody><tr><td colspan="2">1</td></tr></tbody></table>'
    )


# ------------------------------------------------------------------------------------------ outputs


def shown(*outputs: dict[str, object]) -> list[dict[str, object]]:
    cleaned = clean_outputs(outputs)
    cell = nbformat.v4.new_code_cell(outputs=cleaned)
    nbformat.validate(nbformat.v4.new_notebook(cells=[cell]))
    return [dict(each) for each in cleaned]


def display(**data: object) -> dict[str, object]:
    kinds = {"html": "text/html", "text": "text/plain", "svg": "image/svg+xml", "png": "image/png"}
    bundle = {kinds.get(kind, kind): value for kind, value in data.items()}
    return {"output_type": "display_data", "data": bundle, "metadata": {"isolated": True}}


def test_streams_and_tracebacks_lose_their_escape_sequences() -> None:
    stream, error = shown(
        {"output_type": "stream", "name": "stderr", "text": "\x1b[31mred\x1b]0;title\x07\x08"},
        {
            "output_type": "error",
            "ename": "Value\x1b[0mError",
            "evalue": "x\x1b[2J",
            "traceback": ["\x1b[0;31mValueError\x1b[0m: x"],
        },
    )
    assert (stream["name"], stream["text"]) == ("stderr", "red")
    assert (error["ename"], error["evalue"], error["traceback"]) == (
        "ValueError",
        "x",
        ["ValueError: x"],
    )


def test_no_output_of_a_student_can_pass_for_a_mark() -> None:
    (output,) = shown(
        {
            "output_type": "execute_result",
            "execution_count": 1,
            "data": {"text/plain": "2.0"},
            "metadata": {},
        }
    )
    assert output["output_type"] == "display_data"


def test_scripts_and_vector_pictures_are_named_and_not_shown() -> None:
    for kind in (
        "application/javascript",
        "image/svg+xml",
        "application/vnd.jupyter.widget-view+json",
    ):
        (output,) = shown(
            {
                "output_type": "display_data",
                "data": {kind: "<script>alert(1)</script>"},
                "metadata": {},
            }
        )
        assert output["data"] == {"text/plain": f"[an output of type {kind} is not shown]"}


def test_pictures_are_what_they_say_and_of_a_decent_size() -> None:
    assert shown(display(png=PNG + "\n"))[0]["data"] == {"image/png": PNG}
    assert shown(display(png=JPEG, text="Figure"))[0]["data"] == {"text/plain": "Figure"}
    assert shown(display(png='"><script>alert(1)</script>', text="F"))[0]["data"] == {
        "text/plain": "F"
    }
    large = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(MAX_IMAGE)).decode()
    assert shown(display(png=large, text="Figure"))[0]["data"] == {"text/plain": "Figure"}


def test_metadata_of_outputs_are_dropped() -> None:
    assert shown(display(text="x"))[0]["metadata"] == {}


def test_html_outputs_are_cleaned() -> None:
    (output,) = shown(display(html="<b onclick=x()>1</b><script>alert(1)</script>", text="1"))
    assert output["data"] == {"text/html": "<b>1</b>", "text/plain": "1"}


FORGED: dict[str, dict[str, object]] = {
    "empty": {},
    "unknown": {"output_type": "update_display_data"},
    "type_is_a_list": {"output_type": ["stream"]},
    "text_is_a_number": {"output_type": "stream", "name": 7, "text": 7},
    "text_is_a_list_of_anything": {
        "output_type": "stream",
        "name": "stdout",
        "text": ["a", 7, None],
    },
    "data_is_a_list": {"output_type": "display_data", "data": []},
    "data_of_numbers": {"output_type": "display_data", "data": {"text/plain": 7, "image/png": {}}},
    "traceback_is_text": {"output_type": "error", "ename": 1, "evalue": None, "traceback": "x"},
    "half_characters": {"output_type": "stream", "name": "stdout", "text": "\ud800"},
    "ten_million_characters": {"output_type": "stream", "name": "stdout", "text": "x" * 10_000_000},
}


@pytest.mark.parametrize("output", FORGED.values(), ids=FORGED)
def test_forged_outputs_become_valid_ones_or_none(output: dict[str, object]) -> None:
    cleaned = shown(output)
    assert (
        len(nbformat.writes(nbformat.from_dict({**_NOTEBOOK, "x": cleaned}), version=4)) < 500_000
    )
    str(cleaned).encode("utf-8")


_NOTEBOOK = nbformat.v4.new_notebook()


def test_of_a_million_outputs_some_are_shown() -> None:
    many = ({"output_type": "stream", "name": "stdout", "text": "x"} for _ in range(1_000_000))
    cleaned = clean_outputs(many)
    assert len(cleaned) == 201
    assert cleaned[-1].text == "[cut here]\n"


def test_of_attachments_only_pictures_stay() -> None:
    attachments = {
        "a.png": {"image/png": PNG, "text/html": "<script>"},
        "b.svg": {"image/svg+xml": "<svg/>"},
        "c\n.jpg": {"image/jpeg": JPEG},
        "d": 7,
    }
    assert clean_attachments(attachments) == {
        "a.png": {"image/png": PNG},
        "c .jpg": {"image/jpeg": JPEG},
    }


def test_an_attached_picture_is_shown() -> None:
    source = "![x](attachment:a.png)"
    assert clean_markdown(source, {"a.png": {"image/png": PNG}}) == source


@pytest.mark.parametrize("piece", ["[](", "[", "![a][", "\\begin{a}", "<!--", "\\("])
def test_markdown_that_takes_long_to_render_is_shown_as_its_text(piece: str) -> None:
    """135 kB of such texts held a job for 401 s."""
    source = piece * (18_000 // len(piece))
    assert clean_markdown(source) == fenced(source)


def test_a_submission_has_one_budget_of_markup_and_what_is_over_it_is_said() -> None:
    output = {"output_type": "display_data", "data": {"text/markdown": "*a* <b>b</b> " * 1000}}
    budget = Budget(30_000)
    shown = [str(each["data"]) for each in clean_outputs([output] * 4, budget)]
    assert ["not shown" in each for each in shown] == [False, False, True, True]


@pytest.mark.parametrize(
    "source", [" \n" * 10_000, '"' + "\\N{" * 5_000], ids=["blank lines", "open escapes"]
)
def test_code_that_takes_long_to_mark_up_is_shown_plain(source: str) -> None:
    assert "<span" not in inert.code(source, "en")


def test_a_page_that_shows_too_much_code_cuts_it_and_says_so() -> None:
    budget = Budget(10)
    shown = inert.code("x = 1\n" * 10_000, "en", budget)
    assert len(shown) < 30_000
    assert text("page.cut", "en") in shown
