"""Charts over the time of a run: cost, requests and tokens per minute, retries and refusals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from llm_batch.paper import words
from llm_batch.reporting.html.spec import FIRST, FOURTH, GREY, SECOND, THIRD, Chart, chart
from llm_batch.reporting.model import ModelTimeline, Pace, Timeline

#: So many models have a colour of their own; of more, those with most requests are drawn.
_COLORS = (FIRST, SECOND, THIRD, FOURTH)
_NAME = 40
_HEIGHT = 200
_MINUTE = 60.0

#: A limit so many times as high as anything that was sent would press the lines to the ground.
_FAR = 4.0

#: Numbers of each bin, by the name of what they are of.
Series = Mapping[str, Sequence[float]]


def over_time(timeline: Timeline | None) -> Iterator[Chart]:
    """The charts there is data for; none where the journal was not read."""
    if timeline is None:
        return
    models = _named(timeline.models)
    if any(any(model.bin_cost) for model in models.values()):
        yield _cost(timeline, models)
    yield _per_minute(
        timeline,
        "requests",
        {name: model.bin_sent for name, model in models.items()},
        {name: model.requests for name, model in models.items()},
    )
    if any(any(model.bin_tokens) for model in models.values()):
        yield _per_minute(
            timeline,
            "tokens",
            {name: model.bin_tokens for name, model in models.items()},
            {name: model.tokens for name, model in models.items()},
        )
    if any(any(model.bin_retried) or any(model.bin_refused) for model in timeline.models):
        yield _again(timeline)


def _cost(timeline: Timeline, models: Mapping[str, ModelTimeline]) -> Chart:
    spent = {name: list(accumulate(model.bin_cost)) for name, model in models.items()}
    total = sum(sum(model.bin_cost) for model in timeline.models)
    axis = _Axis(timeline)
    ends = [0.0, *(end for _, end in axis.bins)]
    values = [
        {"series": name, "time": time, "value": sum}
        for name, sums in spent.items()
        for time, sum in zip(ends, [0.0, *sums], strict=True)
    ]
    area = {
        "data": {"values": values},
        "mark": {"type": "area", "opacity": 0.35, "line": {"strokeWidth": 2}},
        "encoding": {
            "x": axis.x,
            "y": {
                "field": "value",
                "type": "quantitative",
                "stack": "zero",
                "axis": {
                    "title": "USD",
                    "tickCount": 4,
                    "format": "$,.2f" if total >= 0.1 else "$~g",
                },
            },
            "color": _color(spent),
        },
    }
    note = f"In all {words.usd(total)}, failed calls included; pauses between sessions left out."
    return _chart(
        "cost",
        "Cost over time",
        note + _left_out(timeline, models),
        [area],
        axis,
        {name: [f"{words.usd(sum)} so far" for sum in sums] for name, sums in spent.items()},
    )


def _per_minute(timeline: Timeline, what: str, series: Series, paces: Mapping[str, Pace]) -> Chart:
    factor = _MINUTE / timeline.bin_seconds
    rates = {name: [n * factor for n in of_bins] for name, of_bins in series.items()}
    most = max(max(of_bins) for of_bins in rates.values())
    limits = {name: pace.limit for name, pace in paces.items() if pace.limit is not None}
    near = {name: limit for name, limit in limits.items() if limit <= _FAR * most}
    axis = _Axis(timeline)
    layers = [_steps(axis, rates, f"{what} a minute")]
    note = f"In steps of {words.duration(timeline.bin_seconds)}."
    if what == "tokens":
        note += " Input and output of the answers, at the time they were asked for."
    if near:
        layers.append(_limits(near, rates))
        note += " Dashed: the limit, for any 60 seconds."
    if len(near) < len(limits):
        note += f" Limits more than {_FAR:g} times as high are not drawn."
    told = {
        name: [_of_limit(rate, limits.get(name)) for rate in of_bins]
        for name, of_bins in rates.items()
    }
    title = f"{what.title()} a minute"
    return _chart(what, title, note + _left_out(timeline, paces), layers, axis, told)


def _of_limit(rate: float, limit: float | None) -> str:
    share = f", {words.percent(rate / limit)} of the limit" if limit else ""
    return f"{words.count(rate)}{share}"


def _again(timeline: Timeline) -> Chart:
    """Of all models together, since a request is refused by one and others wait with it."""
    counts = {
        "sent again": _summed([model.bin_retried for model in timeline.models]),
        "refused": _summed([model.bin_refused for model in timeline.models]),
    }
    axis = _Axis(timeline)
    return _chart(
        "again",
        "Refused and sent again",
        f"{sum(counts['refused']):,} refused for a rate limit, {sum(counts['sent again']):,} sent "
        f"again after a failure of any kind, in steps of {words.duration(timeline.bin_seconds)}.",
        [_steps(axis, counts, "requests")],
        axis,
        {name: [words.count(n) for n in of_bins] for name, of_bins in counts.items()},
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    """The time of a run in a unit that suits it."""

    timeline: Timeline

    @property
    def unit(self) -> tuple[str, float]:
        """The unit and how many seconds it has."""
        for name, seconds in (("hours", 3600.0), ("minutes", 60.0)):
            if self.timeline.seconds >= 3 * seconds:
                return name, seconds
        return "seconds", 1.0

    @property
    def bins(self) -> list[tuple[float, float]]:
        """Start and end of each bin."""
        width = self.timeline.bin_seconds / self.unit[1]
        return [(i * width, (i + 1) * width) for i in range(len(self.timeline.models[0].bin_sent))]

    @property
    def x(self) -> dict[str, Any]:
        """Its encoding."""
        title = f"{self.unit[0]} since the first request"
        axis = {"title": title, "tickCount": 6, "grid": False}
        return {"field": "time", "type": "quantitative", "scale": {"nice": False}, "axis": axis}


def _steps(axis: _Axis, series: Series, title: str) -> dict[str, Any]:
    """A line for each series that is level within a bin; its last value stands at both ends."""
    starts = [start for start, _ in axis.bins]
    ticks = max(1, min(4, int(max(map(max, series.values())))))  # whole numbers only
    values = [
        {"series": name, "time": time, "value": value}
        for name, of_bins in series.items()
        for time, value in zip([*starts, axis.bins[-1][1]], [*of_bins, of_bins[-1]], strict=True)
    ]
    return {
        "data": {"values": values},
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2},
        "encoding": {
            "x": axis.x,
            "y": {
                "field": "value",
                "type": "quantitative",
                "axis": {"title": title, "tickCount": ticks, "format": ",.0f"},
            },
            "color": _color(series),
        },
    }


def _limits(limits: Mapping[str, float], series: Series) -> dict[str, Any]:
    return {
        "data": {"values": [{"series": name, "value": limits[name]} for name in limits]},
        "mark": {"type": "rule", "strokeDash": [6, 4], "strokeWidth": 1.5},
        "encoding": {
            "y": {"field": "value", "type": "quantitative"},
            "color": _color(series),
        },
    }


def _color(series: Mapping[str, object]) -> dict[str, Any]:
    """One colour for each series in all charts; one alone needs no legend."""
    scale = {"domain": list(series), "range": _COLORS[: len(series)]}
    legend = {"legend": None} if len(series) == 1 else {}
    return {"field": "series", "type": "nominal", "scale": scale, **legend}


def _chart(
    name: str,
    title: str,
    note: str,
    layers: list[dict[str, Any]],
    axis: _Axis,
    told: Mapping[str, Sequence[str]],
) -> Chart:
    """Layers, beneath bars that tell of their bin when pointed at.

    A click on a series in the legend leaves the others out.
    """
    if len(told) > 1:
        picked = {"type": "point", "fields": ["series"]}
        layers[0]["params"] = [{"name": "shown", "select": picked, "bind": "legend"}]
        for layer in layers:
            layer["transform"] = [{"filter": {"param": "shown"}}]
        note += " Select a name in the legend to see it alone."
    return chart(name, title, note, _HEIGHT, layer=[*layers, _pointed_at(axis, told)])


def _pointed_at(axis: _Axis, told: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    unit = axis.unit[0]
    values = [
        {"time": start, "end": end, "span": f"{words.number(start)} to {words.number(end)} {unit}"}
        | {f"series_{s}": of_bins[i] for s, of_bins in enumerate(told.values())}
        for i, (start, end) in enumerate(axis.bins)
    ]
    on = {"type": "point", "on": "pointerover", "clear": "pointerout"}
    named = [{"field": f"series_{s}", "title": name} for s, name in enumerate(told)]
    return {
        "data": {"values": values},
        "params": [{"name": "pointed", "select": on}],
        "mark": {"type": "rect", "color": GREY},
        "encoding": {
            "x": axis.x,
            "x2": {"field": "end"},
            "opacity": {
                "condition": {"param": "pointed", "empty": False, "value": 0.2},
                "value": 0,
            },
            "tooltip": [{"field": "span", "title": "time"}, *named],
        },
    }


def _named(models: Sequence[ModelTimeline]) -> dict[str, ModelTimeline]:
    """The models to draw by names that fit a legend, no two of them alike."""
    most = sorted(models, key=lambda model: -model.sent)[: len(_COLORS)]
    named: dict[str, ModelTimeline] = {}
    for model in models:
        if model in most:
            short = words.named(model.model, _NAME)
            named[short if short not in named else f"{short} ({len(named) + 1})"] = model
    return named


def _left_out(timeline: Timeline, drawn: Mapping[str, object]) -> str:
    if len(drawn) == len(timeline.models):
        return ""
    return f" Drawn are the {len(drawn)} of {len(timeline.models)} models with most requests."


def _summed(series: Sequence[Sequence[int]]) -> list[int]:
    return [sum(of_bin) for of_bin in zip(*series, strict=True)]
