"""A page: one HTML file that opens from disk and asks the network for nothing.

Nothing in the data can run or load: texts reach the page as JSON in a block that is no script and
are set as text only, and a content security policy allows the page's own scripts by their hashes
and nothing else. Charts are Vega-Lite, drawn by the library inside the page. Their colours are
Okabe and Ito's (2008), which people with any colour vision tell apart; what they say is also said
by position or in words. Texts, grids and axes take their colours from the page's style sheet, so
that dark mode and print need no second drawing.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

from llm_batch import __version__
from llm_batch.errors import ConfigError
from llm_batch.paper.document import Document, Table

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

#: The first colour of a chart, and that of what passes or agrees.
FIRST = "#0072B2"
#: The colour of what fails or does not agree.
SECOND = "#D55E00"
#: For more series than two.
THIRD = "#009E73"
FOURTH = "#CC79A7"
#: What is no data: lines to compare with, and what is pointed at.
GREY = "#808080"


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart in Vega-Lite: ``name`` is its id in the page, ``note`` a sentence on how to read
    it.
    """

    name: str
    title: str
    note: str
    spec: dict[str, Any]


def chart(name: str, title: str, note: str, height: int, **spec: Any) -> Chart:
    """A chart as wide as its place in the page and ``height`` pixels high."""
    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": f"{title}. {note}",
        "width": "container",
        "height": height,
        "background": None,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "config": {
            "view": {"stroke": None},
            "axis": {
                "labelFontSize": 12,
                "titleFontSize": 12,
                "titleFontWeight": "normal",
                "titlePadding": 8,
                "labelPadding": 6,
                "labelOverlap": "greedy",
                "labelSeparation": 6,
                "labelFlush": False,
                "ticks": False,
                "domain": False,
            },
            "legend": {
                "labelFontSize": 12,
                "orient": "top",
                "title": None,
                "offset": 4,
                "columnPadding": 16,
            },
        },
        **spec,
    }
    return Chart(name, title, note, whole)


#: What may end a block of a page or a line of a script; inside JSON strings these mean the same.
_ESCAPES = {
    ord("<"): "\\u003c",
    ord(">"): "\\u003e",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


#: Items up to so many bytes of JSON stand in the page as they are.
_PLAIN_BYTES = 300_000


#: The names of what is drawn, down the side.
NAMES = {"field": "group", "type": "nominal", "sort": None,
         "axis": {"title": None, "labelLimit": 130}}  # fmt: skip


def told(*fields: str) -> list[dict[str, str]]:
    """What is told of what is pointed at."""
    return [{"field": field} for field in fields]


def between_bounds(
    field: str,
    dashed: Sequence[Mapping[str, Any]],
    tooltip: Sequence[Mapping[str, str]] | None,
    *,
    ends: Mapping[str, Any] | None = None,
    point: Mapping[str, Any] | None = None,
    x: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Points at a field, on lines from ``low`` to ``high``, with dashed lines behind them.

    A dashed line stands at the first field of its row. The mappings add to the encoding of the
    ends, the mark of the point and its encoding.
    """
    along = {"type": "quantitative"}
    behind = [
        {
            "data": {"values": [row]},
            "mark": {"type": "rule", "strokeDash": [4, 4], "color": GREY},
            "encoding": {"x": {"field": next(iter(row)), **along}, "y": None, "tooltip": tooltip},
        }
        for row in dashed
    ]
    line = {"type": "rule", "strokeWidth": 3, "color": FIRST, "opacity": 0.55}
    dot = {"type": "point", "filled": True, "size": 110, "opacity": 1, "color": FIRST}
    low = {"field": "low", **along, **(ends or {})}
    at = {"field": field, **along, **(x or {})}
    return [
        *behind,
        {"mark": line, "encoding": {"x": low, "x2": {"field": "high"}}},
        {"mark": dot | dict(point or {}), "encoding": {"x": at}},
    ]


def escaped_json(value: Any) -> str:
    """JSON that can stand inside a script element."""
    return msgspec.json.encode(value).decode().translate(_ESCAPES)


@dataclass(frozen=True, slots=True)
class Items:
    """Items as the text of a block in the page: JSON without any character that HTML gives a
    meaning, or base64 of gzip of JSON.
    """

    text: str
    encoding: str

    @classmethod
    def of(cls, values: Sequence[Any]) -> Items:
        """Compressed when they are many."""
        raw = msgspec.json.encode(values)
        if len(raw) <= _PLAIN_BYTES:
            return cls(escaped_json(values), "json")
        return cls(base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode(), "gzip")


@dataclass(frozen=True, slots=True)
class Page:
    """A document, with the blocks that a page alone can draw.

    Attributes:
        name: Of its assets: ``name.html`` fills the blocks of ``base.html``, ``name.js`` drives
            them.
        finding: The headline as parts to set in different sizes: ``figure``, ``what`` it is of, its
            ``bounds``, and what else its block shows.
        facts: Name, figure and a few words of each, beside the headline.
        data: For the script.
        shown: Items in the page, of the ``total`` there are.
        items: What its browser shows.
    """

    name: str
    document: Document
    finding: Mapping[str, Any]
    facts: Sequence[tuple[str, str, str]]
    charts: Sequence[Chart]
    data: Mapping[str, Any]
    shown: int
    total: int
    simulated: bool
    items: Items


def format(page: Page) -> str:
    """The page.

    Raises:
        ConfigError: The charts' library is not installed.
    """
    from markupsafe import Markup

    library, script = _library(), _script(page.name)
    return _template(page.name).render(
        **_head(page.document.headline, library, script),
        page=page,
        document=page.document,
        finding=page.finding,
        specs=Markup(escaped_json({chart.name: chart.spec for chart in page.charts})),
        data=Markup(escaped_json(page.data)),
        items=Markup(page.items.text),
        is_table=lambda part: isinstance(part, Table),
        library=Markup(library),
    )


def live(title: str, running: bool) -> str:
    """The page of a run that goes on: it asks for ``state.json`` beside it, and nothing else."""
    from markupsafe import Markup

    return _template("live").render(
        **_head(title, _script("live"), policy="connect-src 'self'; "),
        data=Markup(escaped_json({"running": running})),
    )


def _head(title: str, *scripts: str, policy: str = "") -> dict[str, Any]:
    """What every page has: its style, the last of its scripts, and a policy that allows these."""
    from markupsafe import Markup

    style = _asset("page.css")
    return {
        "version": __version__,
        "title": title,
        "policy": policy,
        "script": Markup(scripts[-1]),
        "style": Markup(style),
        "script_hashes": [_hash(script) for script in scripts],
        "style_hash": _hash(style),
    }


def _script(name: str) -> str:
    return f'"use strict";\n(() => {{\n{_asset("shared.js")}{_asset(f"{name}.js")}}})();\n'


def _template(name: str) -> Template:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["coded"] = coded
    return environment.get_template(f"{name}.html")


def coded(sentence: str) -> Markup:
    """The sentence as markup, with what stands between two backticks as code."""
    from markupsafe import Markup, escape

    parts = sentence.split("`")
    if len(parts) % 2 == 0:  # the last one has no partner
        parts[-2:] = ["`".join(parts[-2:])]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )


@lru_cache(maxsize=1)
def _library() -> str:
    """Vega, Vega-Lite and vega-embed as one script."""
    try:
        import vl_convert
    except ImportError:
        raise ConfigError(
            "--format html draws its charts with vl-convert-python, which is not installed",
            "pip install 'llmb[html]'; text, md and csv need nothing more",
        ) from None
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # Inside a script element these would end or hide the script; in its strings they mean the same.
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
