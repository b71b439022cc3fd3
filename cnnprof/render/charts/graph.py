"""The drawings of the dataflow as SVG: boxes with a title and a line below, curved edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from cnnprof.profile import Profile
from cnnprof.render.charts.svg import fit, text_px
from cnnprof.render.graph_layout import Layout, layout
from cnnprof.render.i18n import Translator
from cnnprof.render.quantities import si
from cnnprof.render.views.graph import Block, Drawing, graph_view

__all__ = ["Drawn", "Figure", "draw_graph"]

_HEIGHT, _PORT_HEIGHT, _MOST, _LEAST = 44.0, 22.0, 200.0, 96.0
_MOST_INSIDE = 176.0
_NARROW = 400.0  # wider drawings take two columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One drawing, ready to place. ``where`` says where such blocks occur."""

    id: str
    title: str
    where: str
    svg: Markup
    broad: bool = False


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The whole first, then the blocks; ``hidden`` kinds of block are left out."""

    figures: tuple[Figure, ...]
    hidden: int


def draw_graph(profile: Profile, t: Translator) -> Drawn:
    """All drawings of a profile."""
    view = graph_view(profile)
    return Drawn(
        figures=tuple(
            Figure(
                id=drawing.id,
                title=fit(drawing.title, 270),
                where=t("graph.times", count=drawing.times) if drawing.times > 1 else "",
                svg=(svg := _svg(drawing, t, row_width=1000 if at == 0 else 1))[0],
                broad=svg[1] > _NARROW,
            )
            for at, drawing in enumerate(view.drawings)
        ),
        hidden=view.hidden,
    )


def _svg(drawing: Drawing, t: Translator, *, row_width: float) -> tuple[Markup, float]:
    """The drawing and its natural width in pixels."""
    most = _MOST if row_width > 1 else _MOST_INSIDE
    sizes = [_size(node, t, most) for node in drawing.nodes]
    placed = layout(sizes, drawing.edges, row_width=row_width)
    edges = "".join(f'<path d="{_curve(path, placed)}"/>' for path in placed.paths)
    nodes = "".join(
        _node(node, centre, size, t) for node, centre, size in zip(drawing.nodes, placed.centres, sizes, strict=True)
    )
    width, height = placed.width + 4, placed.height + 4
    label = t("graph.whole") if drawing.id == "g0" else drawing.title
    svg = Markup(  # noqa: S704 - every text below is escaped
        f'<svg class="graph" width="{width:.0f}" viewBox="-2 -2 {width:.0f} {height:.0f}" '
        f'role="graphics-document" aria-label="{escape(label)}">'
        f'<g class="c-edge">{edges}</g>{nodes}</svg>'
    )
    return svg, width


def _size(node: Block, t: Translator, most: float) -> tuple[float, float]:
    if node.kind in ("input", "output"):
        return text_px(t(f"graph.{node.kind}"), 11) + 24, _PORT_HEIGHT
    badge = 30 if node.times > 1 else 0
    wanted = max(text_px(node.title) + badge, text_px(_second_line(node, t), 11)) + 22
    return min(max(wanted, _LEAST), most), _HEIGHT


def _second_line(node: Block, t: Translator) -> str:
    if node.kind == "layer":
        return node.what
    return f"{t('graph.layers', count=node.sums.layers)} · {si(node.sums.macs, 'MACs')}"


def _node(node: Block, centre: tuple[float, float], size: tuple[float, float], t: Translator) -> str:
    w, h = size
    x, y = centre[0] - w / 2, centre[1] - h / 2
    rect = f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="{h / 2 if h < 30 else 8:g}"/>'
    if node.kind in ("input", "output"):
        text = _text(centre[0], centre[1] + 4, t(f"graph.{node.kind}"), "c-2", middle=True)
        return f'<g class="c-port">{rect}{text}</g>'
    badge = t("graph.times", count=node.times) if node.times > 1 else ""
    room = w - 20 - (text_px(badge, 11) + 6 if badge else 0)
    title = _text(x + 10, y + 18, fit(node.title, room) or "…", "c-1")
    if node.target:
        title = f'<a href="#{node.target}">{title}</a>'
    parts = [rect, title, _text(x + 10, y + 34, fit(_second_line(node, t), w - 20, 11, at_end=True), "c-2")]
    if badge:
        parts.append(_text(x + w - 10, y + 18, badge, "c-3", end=True))
    label = t(
        "graph.node",
        name=node.title if not node.what else f"{node.title} ({node.what})",
        layers=node.sums.layers,
        macs=si(node.sums.macs),
        parameters=si(node.sums.parameters),
    )
    kind = "c-node c-module" if node.kind == "module" else "c-node"
    # A node with a link inside is a group; one without is a symbol of its own.
    role = "group" if node.target else "graphics-symbol"
    return (
        f'<g class="{kind}" data-k="{escape(node.key)}" role="{role}" aria-label="{escape(label)}">{"".join(parts)}</g>'
    )


def _text(x: float, y: float, text: str, css: str, *, middle: bool = False, end: bool = False) -> str:
    anchor = ' text-anchor="middle"' if middle else ' text-anchor="end"' if end else ""
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}"{anchor}>{escape(text, quote=False)}</text>'


def _curve(points: Sequence[tuple[float, float]], placed: Layout) -> str:
    """Straight along a row; elsewhere vertical at both ends of every bend."""
    (x, y), *rest = points
    parts = [f"M{x:.1f},{y:.1f}"]
    for nx, ny in rest:
        if placed.chain or abs(nx - x) < 0.5:
            parts.append(f"L{nx:.1f},{ny:.1f}")
        else:
            middle = (y + ny) / 2
            parts.append(f"C{x:.1f},{middle:.1f} {nx:.1f},{middle:.1f} {nx:.1f},{ny:.1f}")
        x, y = nx, ny
    return "".join(parts)
