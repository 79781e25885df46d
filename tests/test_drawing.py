"""The graph is drawn whole, tidy, and readable without colour."""

import re
import xml.etree.ElementTree as ET

import pytest

from handgrad.pages.drawing import MARKS, Edges, draw, layers, mark
from handgrad.verdict import Verdict

CHAIN: Edges = {"b": ("a",), "c": ("b",), "loss": ("c",)}
DIAMOND: Edges = {"counts_sum": ("counts",), "probs": ("counts", "counts_sum"), "loss": ("probs",)}
ATTENTION: Edges = {
    "q": ("x", "Wq"),
    "k": ("x", "Wk"),
    "v": ("x", "Wv"),
    "scores": ("q", "k"),
    "scaled": ("scores",),
    "weights": ("scaled",),
    "out": ("weights", "v"),
    "loss": ("out",),
}
GRAPHS = pytest.mark.parametrize(
    "edges", [CHAIN, DIAMOND, ATTENTION], ids=["chain", "diamond", "attention"]
)


def boxes(edges: Edges) -> dict[str, tuple[float, float, float]]:
    """Left, right and top of each node by its name."""
    drawn = ET.fromstring(str(draw(edges, {}, alt="")))
    found = {}
    for node in drawn.findall("g"):
        rect, text = node.find("rect"), node.find("text")
        assert rect is not None
        assert text is not None
        left, width = float(rect.attrib["x"]), float(rect.attrib["width"])
        found[text.text or ""] = (left, left + width, float(rect.attrib["y"]))
    return found


def test_a_layer_is_the_longest_way_from_the_loss() -> None:
    assert layers(DIAMOND) == {"loss": 0, "probs": 1, "counts_sum": 2, "counts": 3}


@GRAPHS
def test_every_name_is_drawn_below_what_uses_it(edges: Edges) -> None:
    found = boxes(edges)
    assert set(found) == {*edges, *(name for inputs in edges.values() for name in inputs)}
    for step, inputs in edges.items():
        for name in inputs:
            assert found[name][2] > found[step][2]


@GRAPHS
def test_no_two_nodes_overlap(edges: Edges) -> None:
    found = list(boxes(edges).values())
    for i, (left, right, top) in enumerate(found):
        for other_left, other_right, other_top in found[:i]:
            assert top != other_top or right <= other_left or other_right <= left


def test_every_use_is_a_line() -> None:
    assert str(draw(ATTENTION, {}, alt="")).count('class="edge"') == 13


def test_a_chain_hangs_straight() -> None:
    middles = {round(left + right) for left, right, _ in boxes(CHAIN).values()}
    assert len(middles) == 1


def test_the_first_faulty_step_is_flagged_in_words() -> None:
    drawn = str(
        draw(DIAMOND, {"counts": Verdict.WRONG}, alt="A", first="counts", flag="start here")
    )
    assert re.search(r'class="node v-wrong first"', drawn)
    assert "start here" in drawn


def test_every_verdict_has_a_sign_of_its_own_shape() -> None:
    assert set(MARKS) == set(Verdict)
    assert len(set(MARKS.values())) == len(Verdict)
    assert all('aria-hidden="true"' in mark(verdict) for verdict in Verdict)


def test_a_name_cannot_break_out_of_the_drawing() -> None:
    drawn = str(draw({"<script>": ('"x"',)}, {}, alt='"><script>'))
    assert "<script>" not in drawn
    ET.fromstring(drawn)
