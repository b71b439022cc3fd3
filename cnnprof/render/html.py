"""A saved Profile to a page: data from the views, drawn by the charts, placed by the templates.

A page is a pure function of its profiles and the language: no clock, no order that changes, so two runs are
byte-identical. Everything from a model is data: escaped in HTML and SVG, its control characters made visible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from cnnprof import __version__
from cnnprof.profile import Profile
from cnnprof.render import quantities
from cnnprof.render.assets import POLICY_SITE, policy_single, script, style, templates_folder
from cnnprof.render.charts.breakdown import icicle_chart
from cnnprof.render.charts.graph import Drawn, draw_graph
from cnnprof.render.charts.latency import error_chart, roofline_chart
from cnnprof.render.charts.memory import memory_chart
from cnnprof.render.charts.receptive import growth_chart, windows_chart
from cnnprof.render.i18n import Translator
from cnnprof.render.layer_rows import columns_of, rows_html
from cnnprof.render.quantities import plain
from cnnprof.render.units import quantity
from cnnprof.render.views.breakdown import icicle, stages
from cnnprof.render.views.latency import latency_view
from cnnprof.render.views.layers import layer_table
from cnnprof.render.views.memory import memory_view
from cnnprof.render.views.metrics import metrics_of
from cnnprof.render.views.overview import cards, findings, uncounted
from cnnprof.render.views.provenance import command_of, head_of, provenance
from cnnprof.render.views.published import Published
from cnnprof.render.views.receptive import receptive_view
from cnnprof.render.views.roofline import roofline_view

__all__ = ["model_page", "render"]

SECTIONS = ("breakdown", "roofline", "memory", "receptive", "latency", "graph", "layers", "method")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates_folder()),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(
        quantity=quantity,
        version=__version__,
        **{
            name: getattr(quantities, name)
            for name in ("exact", "nbytes", "percent", "seconds", "shape", "si", "signed")
        },
    )
    return environment


def render(template: str, t: Translator, *, root: str | None, home: str | None = None, **context: Any) -> str:
    """Fill a template. ``root`` is the way from the page to the site's shared files ("", "../"), or None for
    a self-contained page. Lone surrogates, which UTF-8 can't hold, become question marks."""
    text = (
        _environment()
        .get_template(template)
        .render(
            t=t,
            root=root,
            home=home,
            policy=policy_single() if root is None else POLICY_SITE,
            style=Markup(style()),  # noqa: S704 - our own file
            script=Markup(script()),  # noqa: S704 - our own file
            **context,
        )
    )
    return text.encode("utf-8", "replace").decode("utf-8")


def model_page(
    profile: Profile,
    *,
    lang: str = "en",
    root: str | None = None,
    home: str | None = None,
    data_links: Sequence[tuple[str, str]] = (),
    published: Published | None = None,
) -> str:
    """The page of one model. ``data_links`` are (label, href) of the data beside it."""
    t = Translator(lang)
    memory, receptive = memory_view(profile), receptive_view(profile)
    roofline, latency = roofline_view(profile), latency_view(profile)
    table = layer_table(profile)
    drawings = draw_graph(profile, t)
    return render(
        "model.html.j2",
        t,
        root=root,
        home=home,
        name=plain(profile.name),
        reference=plain(str(profile.model["reference"])),
        sections=SECTIONS,
        profile=profile,
        published=published,
        head=head_of(profile),
        cards=cards(profile, memory, receptive),
        uncounted=uncounted(profile),
        findings=findings(profile, memory, receptive),
        notes=[
            {"message": plain(w["message"]), "layer": plain(w["layer"]) if "layer" in w else ""}
            for w in profile.warnings
        ],
        stages=stages(profile),
        icicles=_icicles(profile, t),
        roofline=roofline,
        roofline_svg=None if roofline is None else roofline_chart(roofline, t),
        latency=latency,
        error_svg=None if latency is None else error_chart(latency, t),
        memory=memory,
        memory_svg=None if memory is None else memory_chart(memory, profile, t),
        receptive=receptive,
        growth_svg=None if receptive is None else growth_chart(receptive, t),
        windows_svg=None if receptive is None else windows_chart(receptive, t),
        **_graph(drawings),
        table=table,
        rows=rows_html(table, t),
        columns=columns_of(table),
        data_links=data_links,
        provenance=provenance(profile, t),
        command=command_of(profile),
    )


def _icicles(profile: Profile, t: Translator) -> list[Mapping[str, Any]]:
    made = (icicle(profile, metric) for metric in metrics_of(profile))
    return [{"metric": data.metric, "svg": icicle_chart(data, t)} for data in made if data.cells]


def _graph(drawings: Drawn) -> dict[str, Any]:
    return {"drawings": drawings.figures, "hidden_blocks": drawings.hidden}
