"""What all charts of the page have in common.

Colours are Okabe and Ito's (2008), which people with any colour vision tell apart; what they say
is also said by position or in words. Texts, grids and axes take their colours from the page's
style sheet, so that dark mode and print need no second drawing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    """One chart.

    Attributes:
        name: Its id in the page.
        title: What it shows.
        note: How to read it, a sentence.
        spec: Vega-Lite.
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
            "font": "inherit",
            "view": {"stroke": None},
            "axis": {
                "labelFontSize": 12,
                "titleFontSize": 12,
                "titleFontWeight": "normal",
                "titlePadding": 8,
                "labelPadding": 6,
                "ticks": False,
                "domain": False,
            },
            # Names are measured in another font than the page draws them in.
            "legend": {
                "labelFontSize": 12,
                "orient": "top",
                "title": None,
                "offset": 4,
                "columnPadding": 28,
            },
        },
        **spec,
    }
    return Chart(name, title, note, whole)
