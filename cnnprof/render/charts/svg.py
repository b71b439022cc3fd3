"""A Vega specification to an inline SVG that a page can style.

Colours are CSS variables, so light, dark and print come from the page; fonts are inherited. What comes out
carries no style attribute, so a Content-Security-Policy without 'unsafe-inline' holds. Sizes and places never
depend on the fonts of the machine that draws: autosize is off, and labels are cut by :func:`fit`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from html import escape
from typing import Any
from xml.etree import ElementTree as ET

from markupsafe import Markup

from cnnprof.render.views.labels import shortened

__all__ = ["FONT_PX", "draw", "fit", "keyed", "text_px"]

FONT_PX = 12
_SVG = "{http://www.w3.org/2000/svg}"
_KEYED = re.compile(r"^§([^§]*)§", re.DOTALL)
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_KEEP = frozenset({
    "d", "fill", "stroke", "transform", "text-anchor", "x", "y", "x2", "y2", "width", "height",
    "font-size", "font-weight", "stroke-width", "stroke-dasharray", "opacity", "fill-opacity",
    "stroke-opacity", "stroke-linejoin", "stroke-linecap", "aria-label",
})  # fmt: skip
_DEFAULTS = {
    "opacity": "1",
    "stroke-width": "1",
    "font-size": "12px",
    "transform": "translate(0,0)",
    "text-anchor": "start",
}
_SHARED = (
    "fill",
    "fill-opacity",
    "stroke",
    "stroke-width",
    "stroke-opacity",
    "font-size",
    "font-weight",
    "text-anchor",
)
_CONFIG = {
    "axis": {
        "aria": False,
        "domain": False,
        "ticks": False,
        "gridColor": "var(--grid)",
        "labelColor": "var(--muted)",
        "labelFontSize": FONT_PX,
        "labelLimit": 0,
        "labelOverlap": False,
        "labelPadding": 6,
        "titleColor": "var(--muted)",
        "titleFontSize": FONT_PX,
        "titleFontWeight": "normal",
        "titlePadding": 10,
    },
    "text": {"fontSize": FONT_PX, "fill": "var(--ink)"},
}


def keyed(key: str, text: str) -> str:
    """A mark's description that also ties it to the page's selection ``key``."""
    return f"§{key}§{text}"


def draw(spec: Mapping[str, Any], *, label: str, css_class: str = "") -> Markup:
    """The SVG of a Vega spec (``width``, ``height``, ``padding``, ``marks``, ...); ``label`` says what it shows."""
    import vl_convert

    whole = {
        "$schema": "https://vega.github.io/schema/vega/v5.json",
        "autosize": "none",
        "config": _CONFIG,
        **spec,
    }
    root = ET.fromstring(vl_convert.vega_to_svg(whole))  # noqa: S314 - our own converter's output
    body = "".join(_markup(child) for child in root)
    classes = f' class="{escape(css_class)}"' if css_class else ""
    return Markup(  # noqa: S704 - built from escaped parts below
        f'<svg{classes} viewBox="{escape(root.get("viewBox", ""))}" role="graphics-document" '
        f'aria-label="{escape(label)}">{body}</svg>'
    )


def _markup(node: ET.Element) -> str:
    tag = node.tag.removeprefix(_SVG)
    if tag == "path" and not node.get("d"):
        return ""
    if node.get("class") in ("background", "foreground") and node.get("fill") is None and tag == "path":
        return ""
    if tag == "g":
        _hoist(node)
    inner = "".join(_markup(child) for child in node)
    if tag == "g" and not inner:
        return ""
    attributes = _attributes(node, tag)
    if tag == "g" and not attributes:
        return inner
    text = escape(node.text or "", quote=False) if tag in ("text", "tspan") else ""
    return f"<{tag}{attributes}>{text}{inner}</{tag}>" if text or inner else f"<{tag}{attributes}/>"


def _hoist(group: ET.Element) -> None:
    """What all marks of a group share is said once, on the group."""
    marks = list(group)
    if len(marks) < 2 or any(mark.tag == f"{_SVG}g" for mark in marks):
        return
    for name in _SHARED:
        values = {mark.get(name) for mark in marks}
        value = values.pop()
        if not values and value is not None and group.get(name) is None:
            group.set(name, value)
            for mark in marks:
                del mark.attrib[name]


def _attributes(node: ET.Element, tag: str) -> str:
    parts: list[str] = []
    for name, value in node.attrib.items():
        if name == "class":
            named = [c for c in value.split() if c.startswith("c-")]
            if named:
                parts.append(f' class="{escape(" ".join(named))}"')
            continue
        if name not in _KEEP or _DEFAULTS.get(name) == value:
            continue
        if name == "aria-label":
            parts.append(_label(value, tag))
        elif name in ("d", "transform", "x", "y", "x2", "y2", "width", "height"):
            parts.append(f' {name}="{escape(_NUMBER.sub(_rounded, value))}"')
        else:
            parts.append(f' {name}="{escape(value)}"')
    return "".join(parts)


def _label(value: str, tag: str) -> str:
    if tag == "g":
        return ""
    match = _KEYED.match(value)
    key = f' data-k="{escape(match[1])}"' if match and match[1] else ""
    text = value[match.end() :] if match else value
    return f'{key} role="img" aria-label="{escape(text)}"'  # a label without a role is no label


def _rounded(match: re.Match[str]) -> str:
    text = f"{float(match[0]):.1f}"
    return "0" if text in ("-0.0", "0.0") else text.removesuffix(".0")


def text_px(text: str, font_px: float = FONT_PX) -> float:
    """An upper estimate of a text's width in the page's font, whatever that is."""
    wide = sum(1 for c in text if unicodedata.east_asian_width(c) in "WF")
    capital = sum(1 for c in text if c.isupper() or c in "mwMW—…%×")
    return font_px * (1.02 * wide + 0.78 * capital + 0.6 * (len(text) - wide - capital))


def fit(text: str, width_px: float, font_px: float = FONT_PX, *, at_end: bool = False) -> str:
    """``text`` cut to ``width_px``, in its middle or at its end; empty if not even three characters fit."""

    def shorten(text: str, length: int) -> str:
        if len(text) <= length or not at_end:
            return shortened(text, length)
        return text[: length - 1].rstrip(" ·") + "…"

    if text_px(text, font_px) <= width_px:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_px(shorten(text, middle), font_px) <= width_px:
            low = middle
        else:
            high = middle - 1
    return shorten(text, low) if low >= 4 else ""
