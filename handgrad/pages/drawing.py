"""A computation graph as an inline SVG, the loss on top, every node marked by its verdict."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from markupsafe import Markup

from handgrad.verdict import Verdict

Edges = Mapping[str, tuple[str, ...]]
"""The forward pass: each step's name with the names it reads, in forward order, the loss last."""

_LAYER = 46.0  # from one row of nodes to the next
_HEIGHT = 26.0  # of a node
_GAP = 14.0  # between neighbours in a row
_LETTER = 7.3  # width of a letter, a little more than any system's sans-serif needs
_MARK = 16.0
_SWEEPS = 24
_PULLS = 300  # until chains hang straight; a row costs microseconds

MARKS: Mapping[Verdict, str] = {
    Verdict.RIGHT: '<circle cx="8" cy="8" r="7"/><path d="M4.6 8.4l2.4 2.4 4.4-5"/>',
    Verdict.RIGHT_STEP: (
        '<circle class="open" cx="8" cy="8" r="6.2"/><path class="ink" d="M8 4.2v7M5 8.4l3 3 3-3"/>'
    ),
    Verdict.WRONG: (
        '<rect x="1.2" y="1.2" width="13.6" height="13.6"/><path d="M5 5l6 6M11 5l-6 6"/>'
    ),
    Verdict.NOT_ATTEMPTED: (
        '<circle class="dashed" cx="8" cy="8" r="6.2"/><path class="ink" d="M5.5 8h5"/>'
    ),
    Verdict.COULD_NOT_TELL: (
        '<path class="solid" d="M8 .8l7.4 13.9H.6z"/><path d="M8 6v3.6M8 12v.2"/>'
    ),
}
"""Inside a 16 x 16 box; shape and sign differ, so that colour is never the only difference."""


@dataclass(slots=True)
class _Node:
    """A name in its row, or (`name` empty) a point where a long edge passes through one."""

    name: str
    width: float
    x: float = 0.0


def kind(verdict: Verdict) -> str:
    """The CSS class of a verdict: "right-step"."""
    return str(verdict).replace(" ", "-")


def mark(verdict: Verdict) -> Markup:
    """The small sign of a verdict; the text beside it says the same to those who cannot see it."""
    return Markup(
        '<svg class="mark v-{}" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">'
        "{}</svg>"
    ).format(kind(verdict), Markup(MARKS[verdict]))


def layers(edges: Edges) -> dict[str, int]:
    """How many steps lie between each name and the loss, by the longest way."""
    backwards = list(edges)[::-1]
    depth = dict.fromkeys(backwards, 0)
    for step in backwards:
        for name in edges[step]:
            depth[name] = max(depth.get(name, 0), depth[step] + 1)
    return depth


def draw(
    edges: Edges, verdicts: Mapping[str, Verdict], *, alt: str, first: str = "", flag: str = ""
) -> Markup:
    """The graph as `<svg>`; `verdicts` is by forward name; nodes without one are plain.

    `first` is the node to start at, and `flag` the words that say so.
    """
    rows, routes = _laid_out(tuple(edges.items()))
    where = {(row, i): node for row, nodes in enumerate(rows) for i, node in enumerate(nodes)}
    pieces = [
        _edge([where[stop] for stop in route], [stop[0] for stop in route]) for route in routes
    ]
    left = min(node.x - node.width / 2 for node in where.values())
    right = max(node.x + node.width / 2 for node in where.values())
    for (row, i), node in where.items():
        if not node.name:
            continue
        pieces.append(_node(node, _middle(row), verdicts.get(node.name), node.name == first))
        if node.name == first and flag:
            side = "right" if (row, i + 1) not in where else "left" if i == 0 else "below"
            shown, *reach = _flag(node, _middle(row), flag, side)
            pieces.append(shown)
            left, right = min(left, *reach), max(right, *reach)
    box = (left - 6, 0.0, right - left + 12, _middle(len(rows) - 1) + _HEIGHT / 2 + 8)
    return Markup(
        '<svg class="graph" role="img" aria-label="{}" viewBox="{}" style="max-width:{:.0f}px">'
        "{}</svg>"
    ).format(alt, " ".join(f"{n:.1f}" for n in box), box[2] * 1.15, Markup("").join(pieces))


@lru_cache(maxsize=32)
def _laid_out(
    steps: tuple[tuple[str, tuple[str, ...]], ...],
) -> tuple[list[list[_Node]], list[list[tuple[int, int]]]]:
    """Nodes by row, each in its place, and the places that each edge passes: for all who have this graph."""
    rows, routes = _rows(dict(steps))
    _order(rows, routes)
    _place(rows, routes)
    return rows, routes


def _middle(row: int) -> float:
    return row * _LAYER + _HEIGHT / 2 + 8


def _rows(edges: Edges) -> tuple[list[list[_Node]], list[list[tuple[int, int]]]]:
    """Nodes by row, and each edge as the places (row, index) that it passes, loss end first."""
    depth = layers(edges)
    rows: list[list[_Node]] = [[] for _ in range(max(depth.values()) + 1)]
    for name, row in depth.items():
        node = _Node(name, len(name) * _LETTER + _MARK + 22)
        # Leaves go to either side, so that what the graph goes on through keeps to the middle.
        left = name not in edges and sum(other.name not in edges for other in rows[row]) % 2 == 0
        rows[row].insert(0 if left else len(rows[row]), node)
    place = {node.name: (row, i) for row, nodes in enumerate(rows) for i, node in enumerate(nodes)}
    routes = []
    for step, inputs in edges.items():
        for name in dict.fromkeys(inputs):
            route = [place[step]]
            for row in range(depth[step] + 1, depth[name]):
                route.append((row, len(rows[row])))
                rows[row].append(_Node("", 8.0))
            routes.append([*route, place[name]])
    return rows, routes


def _order(rows: list[list[_Node]], routes: list[list[tuple[int, int]]]) -> None:
    """Sort each row so that few edges cross: by the neighbours' mean place, back and forth."""
    links = [(a, b) for route in routes for a, b in itertools.pairwise(route)]
    rank = {(row, i): float(i) for row, nodes in enumerate(rows) for i in range(len(nodes))}
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in range(len(rows)) if down else reversed(range(len(rows))):
            here = [(row, i) for i in range(len(rows[row]))]
            means = {
                place: _mean(
                    [rank[a] for a, b in links if b == place]
                    if down
                    else [rank[b] for a, b in links if a == place],
                    rank[place],
                )
                for place in here
            }
            for position, place in enumerate(sorted(here, key=lambda p: (means[p], rank[p]))):
                rank[place] = position - (len(here) - 1) / 2
    moved = {}
    for row, nodes in enumerate(rows):
        order = sorted(range(len(nodes)), key=lambda i: rank[(row, i)])
        moved.update({(row, i): (row, position) for position, i in enumerate(order)})
        nodes[:] = [nodes[i] for i in order]
    for route in routes:
        route[:] = [moved[stop] for stop in route]


def _place(rows: list[list[_Node]], routes: list[list[tuple[int, int]]]) -> None:
    """Give every node its x: near its neighbours, in order, never overlapping."""
    near: dict[tuple[int, int], list[_Node]] = {}
    for route in routes:
        for a, b in itertools.pairwise(route):
            near.setdefault(a, []).append(rows[b[0]][b[1]])
            near.setdefault(b, []).append(rows[a[0]][a[1]])
    for sweep in range(_PULLS):
        for row in range(len(rows)) if sweep % 2 == 0 else reversed(range(len(rows))):
            wanted = [
                _mean([other.x for other in near.get((row, i), [])], node.x)
                for i, node in enumerate(rows[row])
            ]
            _spread(rows[row], wanted)


def _spread(nodes: Sequence[_Node], wanted: Sequence[float]) -> None:
    """Move nodes to where they want to be, as nearly as their widths allow (pooled neighbours)."""
    offsets = [0.0]
    for a, b in itertools.pairwise(nodes):
        offsets.append(offsets[-1] + (a.width + b.width) / 2 + _GAP)
    pools: list[list[float]] = []  # [sum, count] of what the pooled nodes want, less their offset
    for want, offset in zip(wanted, offsets, strict=True):
        pools.append([want - offset, 1.0])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += count
    at = [total / count for total, count in pools for _ in range(int(count))]
    for node, x, offset in zip(nodes, at, offsets, strict=True):
        node.x = x + offset


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise


def _edge(stops: Sequence[_Node], rows: Sequence[int]) -> Markup:
    """A smooth line from the lower edge of the first node to the upper edge of the last."""
    half = _HEIGHT / 2
    path = f"M{stops[0].x:.1f} {_middle(rows[0]) + half:.1f}"
    last = len(stops) - 1
    for i in range(1, last + 1):
        top = _middle(rows[i - 1]) + (half if i == 1 else 0)
        bottom = _middle(rows[i]) - (half if i == last else 0)
        bend = (bottom - top) / 2
        path += (
            f"C{stops[i - 1].x:.1f} {top + bend:.1f} {stops[i].x:.1f} {bottom - bend:.1f}"
            f" {stops[i].x:.1f} {bottom:.1f}"
        )
    return Markup('<path class="edge" d="{}"/>').format(path)


def _node(node: _Node, y: float, verdict: Verdict | None, first: bool) -> Markup:
    x, width = node.x - node.width / 2, node.width
    round_ = {Verdict.WRONG: 2, Verdict.RIGHT_STEP: 6}.get(verdict, 13) if verdict else 4
    classes = (f"node v-{kind(verdict)}" if verdict else "node plain") + (" first" if first else "")
    sign = Markup("")
    if verdict:
        sign = Markup('<g class="mark" transform="translate({:.1f} {:.1f})">{}</g>').format(
            x + 5, y - 8, Markup(MARKS[verdict])
        )
    return Markup(
        '<g class="{}" data-name="d{}"><rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.0f}" rx="{}"/>{}'
        '<text x="{:.1f}" y="{:.1f}">{}</text></g>'
    ).format(
        classes,
        node.name,
        x,
        y - _HEIGHT / 2,
        width,
        _HEIGHT,
        round_,
        sign,
        node.x + (_MARK / 2 + 2 if verdict else 0),
        y + 4.5,
        node.name,
    )


def _flag(node: _Node, y: float, words: str, side: str) -> tuple[Markup, float, float]:
    """The words beside the node where there is room, else below; with how far they reach."""
    wide = 18 + sum(_LETTER if ord(c) < 0x2E80 else 13 for c in words)
    away = node.width / 2 + 7
    x, y, shown, start = {
        "right": (node.x + away, y + 4.5, f"◂ {words}", node.x + away),
        "left": (node.x - away, y + 4.5, f"{words} ▸", node.x - away - wide),
        "below": (node.x, y + _HEIGHT / 2 + 14, f"▴ {words}", node.x - wide / 2),
    }[side]
    flag = Markup('<text class="flag {}" x="{:.1f}" y="{:.1f}">{}</text>')
    return flag.format(side, x, y, shown), start, start + wide
