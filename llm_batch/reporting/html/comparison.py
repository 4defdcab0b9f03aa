"""A comparison as one HTML file: differences with intervals, and both outputs of what changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from llm_batch.paper import words
from llm_batch.reporting.comparison.build import Compared
from llm_batch.reporting.comparison.document import document
from llm_batch.reporting.comparison.model import Against, Comparison
from llm_batch.reporting.comparison.sentences import (
    p_value,
    points,
    points_range,
    signed,
    signed_range,
)
from llm_batch.reporting.html.page import rendered
from llm_batch.reporting.html.spec import FIRST, SECOND, Chart, chart

_MOST_GROUPS = 30
_NAME = 40

#: Changed items in the page, of each run; more would make it slow to open on a phone.
_CHANGES = 2000


def format(compared: Compared) -> str:
    """The page.

    Raises:
        ConfigError: The charts' library is not installed.
    """
    comparison = compared.comparison
    made = document(comparison)
    # The page has a browser of these instead.
    listed = tuple(part for part in made.sections if not part.title.startswith("What changed"))
    changes = [
        [each.run, *_change(change)]
        for each in comparison.against
        for change in each.changes[:_CHANGES]
    ]
    return rendered(
        "comparison",
        replace(made, sections=listed),
        charts=list(_charts(comparison)),
        data={
            "baseline": comparison.baseline,
            "group": comparison.group_field,
            "runs": [each.run for each in comparison.against],
            "changes": changes,
        },
        simulated=any(run.simulated for run in comparison.runs),
        finding=_finding(comparison),
        facts=list(_facts(comparison)),
        shown=len(changes),
        changed=sum(each.changed for each in comparison.against),
    )


def _change(change: Any) -> list[Any]:
    return [
        change.id,
        change.kind,
        change.category,
        change.baseline_score,
        change.run_score,
        change.question,
        change.baseline_output,
        change.run_output,
        change.baseline_reason,
        change.run_reason,
    ]


def _finding(comparison: Comparison) -> dict[str, str]:
    """The first run's difference, as parts to set in different sizes."""
    each, level = comparison.against[0], words.level(comparison.level)
    against = f"{words.clean(each.run, _NAME)} against {words.clean(comparison.baseline, _NAME)}"
    if each.rates is not None:
        return {
            "figure": points(each.rates.difference.value),
            "what": f"points in pass rate, {against}",
            "bounds": f"{level} interval {points_range(each.rates.difference)} points",
        }
    if each.scores is not None:
        return {
            "figure": signed(each.scores.difference.value),
            "what": f"in mean score, {against}",
            "bounds": f"{level} interval {signed_range(each.scores.difference)}",
        }
    return {"figure": "", "what": comparison.headline, "bounds": ""}


def _facts(comparison: Comparison) -> Iterator[tuple[str, str, str]]:
    each = comparison.against[0]
    rates, scores = each.rates, each.scores
    n = rates.n if rates else scores.n if scores else 0
    yield "Items compared", f"{n:,}", f"of {each.common:,} in both runs"
    if rates is not None and rates.paired:
        yield "Now pass", words.count(rates.gained), "failed in the baseline"
        yield "Now fail", words.count(rates.lost), "passed in the baseline"
        yield (
            "p",
            p_value(rates.p_adjusted),
            "McNemar's test, mid-p" if rates.difference.method == "tango" else "by clusters",
        )
    base, run = comparison.runs[0], comparison.runs[1]
    if run.cost_per_item is not None and base.cost_per_item is not None:
        before = f"baseline {words.usd(base.cost_per_item)}"
        yield "Cost per item", words.usd(run.cost_per_item), before
    if run.latency_p50 is not None and base.latency_p50 is not None:
        before = f"baseline {words.duration(base.latency_p50)}"
        yield "Latency, median", words.duration(run.latency_p50), before


def _charts(comparison: Comparison) -> Iterator[Chart]:
    for i, each in enumerate(comparison.against):
        name = f" of {words.clean(each.run, _NAME)}" if len(comparison.against) > 1 else ""
        if each.rates is not None:
            yield _differences(comparison, each, f"differences-{i}", name)
        if each.scores is not None:
            yield _outcomes(each, f"outcomes-{i}", name)


def _differences(comparison: Comparison, each: Against, id: str, name: str) -> Chart:
    """The difference of the pass rates, in all and by category."""
    assert each.rates is not None
    shown = each.categories[:_MOST_GROUPS] if len(each.categories) > 1 else ()
    named = [("All items", each.rates), *((group.name or "(none)", group.rates) for group in shown)]
    values = [
        {
            "group": words.clean(group, _NAME),
            "difference": 100 * (rates.difference.value or 0),
            "low": 100 * (rates.difference.low or 0),
            "high": 100 * (rates.difference.high or 0),
            "points": points(rates.difference.value),
            "interval": points_range(rates.difference),
            "items": rates.n,
            "p": p_value(rates.p_adjusted),
        }
        for group, rates in named
    ]
    tooltip = [{"field": field} for field in ("group", "points", "interval", "items", "p")]
    y = {"field": "group", "type": "nominal", "sort": None,
         "axis": {"title": None, "labelLimit": 130}}  # fmt: skip
    axis = {"title": f"points; right: {words.clean(each.run, _NAME)} passes more often"}
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": [{"zero": 0}]},
            "mark": {"type": "rule", "strokeDash": [4, 4], "color": "#808080"},
            "encoding": {"x": {"field": "zero", "type": "quantitative"}, "y": None,
                         "tooltip": None},
        },
        {
            "mark": {"type": "rule", "strokeWidth": 3, "color": FIRST, "opacity": 0.55},
            "encoding": {
                "x": {"field": "low", "type": "quantitative", "axis": axis},
                "x2": {"field": "high"},
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1, "color": FIRST},
            "encoding": {"x": {"field": "difference", "type": "quantitative"}},
        },
    ]  # fmt: skip
    left = len(each.categories) - len(shown)
    more = f" The {len(shown)} largest categories." if shown and left > 0 else ""
    return chart(
        id,
        f"Difference in pass rate{name}",
        f"In percentage points, with {words.level(comparison.level)} intervals; none at the dashed "
        f"line.{more}",
        60 + 34 * len(values),
        data={"values": values},
        encoding={"y": y, "tooltip": tooltip},
        layer=layers,
    )


def _outcomes(each: Against, id: str, name: str) -> Chart:
    """On how many items the run scores lower, equal and higher."""
    assert each.scores is not None
    counts = (
        ("lower", each.scores.losses, SECOND),
        ("equal", each.scores.ties, "#808080"),
        ("higher", each.scores.wins, FIRST),
    )
    values = [
        {"outcome": outcome, "items": n, "share": words.percent(n / each.scores.n)}
        for outcome, n, _ in counts
    ]
    return chart(
        id,
        f"Scores item by item{name}",
        f"Items on which {words.clean(each.run, _NAME)} scores lower, equal or higher.",
        140,
        data={"values": values},
        mark={"type": "bar", "height": {"band": 0.7}},
        encoding={
            "y": {"field": "outcome", "type": "nominal", "sort": None, "axis": {"title": None}},
            "x": {"field": "items", "type": "quantitative", "axis": {"title": "items"}},
            "color": {
                "field": "outcome",
                "type": "nominal",
                "legend": None,
                "scale": {
                    "domain": [outcome for outcome, _, _ in counts],
                    "range": [color for _, _, color in counts],
                },
            },
            "tooltip": [{"field": "outcome"}, {"field": "items"}, {"field": "share"}],
        },
    )
