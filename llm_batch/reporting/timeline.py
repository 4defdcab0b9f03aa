"""The pace of a run over time, from the calls of its journal: figures, section and charts."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from llm_batch.paper import words
from llm_batch.paper.document import Section, Table
from llm_batch.paper.html import FIRST, FOURTH, GREY, SECOND, THIRD, Chart, chart
from llm_batch.reporting.calls import CallsTally, Sends
from llm_batch.reporting.model import (
    ModelTimeline,
    Pace,
    Timeline,
)

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Times = NDArray[float64]


#: A longer time without any call under way is a pause between two sessions.
IDLE_SECONDS = 300.0
_MOST_BINS = 60
_FEWEST_BINS = 10
_MINUTE = 60.0
#: Requests and tokens a minute that a model may have; ``None`` where no limit is known.
Limits = tuple[float | None, float | None]


def timeline(calls: CallsTally, limits: Callable[[str], Limits]) -> Timeline | None:
    """The pace of a run; ``None`` when its calls took no time that could be divided by."""
    if not calls.first_sent:
        return None
    clock = _Clock(calls)
    if clock.seconds <= 0:
        return None
    # Bins of a second at least, since limits are kept by sending in bursts of up to a second.
    bins = max(_FEWEST_BINS, min(_MOST_BINS, int(clock.seconds)))
    return Timeline(
        started_at=clock.start,
        seconds=clock.seconds,
        sessions=clock.sessions,
        idle_seconds=clock.idle,
        bin_seconds=clock.seconds / bins,
        models=tuple(
            _model(name, sends, clock, bins, limits(name)) for name, sends in calls.models.items()
        ),
    )


class _Clock:
    """Seconds since the first request, without the pauses between sessions."""

    def __init__(self, calls: CallsTally) -> None:
        import numpy

        first, last = _column(calls.first_sent), _column(calls.last_ended)
        order = numpy.argsort(first, kind="stable")
        first, busy_until = first[order], numpy.maximum.accumulate(last[order])
        gaps = first[1:] - busy_until[:-1]
        (pauses,) = numpy.nonzero(gaps >= IDLE_SECONDS)
        self.start = float(first[0])
        self.sessions = len(pauses) + 1
        self.idle = float(gaps[pauses].sum())
        self.seconds = max(0.0, float(busy_until[-1]) - self.start - self.idle)
        self._resumed = first[pauses + 1]
        self._left_out = numpy.concatenate(([0.0], numpy.cumsum(gaps[pauses])))

    def since(self, times: Times) -> Times:
        """These times on this clock."""
        import numpy

        before = numpy.searchsorted(self._resumed, times, side="right")
        seconds: Times = times - self.start - self._left_out[before]
        return seconds


def _model(name: str, sends: Sends, clock: _Clock, bins: int, limits: Limits) -> ModelTimeline:
    import numpy

    sent = clock.since(_column(sends.sent))
    order = numpy.argsort(sent, kind="stable")
    sent = sent[order]
    tokens, costs = _column(sends.tokens)[order], _column(sends.costs)[order]

    def binned(times: Times, weights: Times | None = None) -> list[float]:
        places = (times * (bins / clock.seconds)).astype(int).clip(0, bins - 1)
        return [float(sum) for sum in numpy.bincount(places, weights, minlength=bins)]

    def whole(values: list[float]) -> tuple[int, ...]:
        return tuple(round(value) for value in values)

    rpm, tpm = limits
    return ModelTimeline(
        model=name,
        sent=len(sent),
        requests=_pace(sent, numpy.ones(len(sent)), clock.seconds, rpm),
        tokens=_pace(sent, tokens, clock.seconds, tpm),
        refused=len(sends.refused),
        paused_seconds=_covered(sends.paused_from, sends.paused_to),
        errors=dict(sorted(sends.errors.items(), key=lambda kind: (-kind[1], kind[0]))),
        bin_sent=whole(binned(sent)),
        bin_tokens=whole(binned(sent, tokens)),
        bin_cost=tuple(binned(sent, costs)),
        bin_retried=whole(binned(clock.since(_column(sends.retried)))),
        bin_refused=whole(binned(clock.since(_column(sends.refused)))),
    )


def _pace(sent: Times, weights: Times, seconds: float, limit: float | None) -> Pace:
    """How much of a weight was sent per minute; ``sent`` is in ascending order."""
    import numpy

    mean = float(weights.sum()) * _MINUTE / seconds
    busiest = float(weights.sum())
    if seconds > _MINUTE:
        before = numpy.concatenate(([0.0], numpy.cumsum(weights)))
        until = numpy.searchsorted(sent, sent + _MINUTE, side="left")
        busiest = float((before[until] - before[:-1]).max())
    return Pace(mean, busiest, limit, busiest / limit if limit else None)


def _covered(starts: array[float], ends: array[float]) -> float:
    """How long at least one of these stretches of time lasted."""
    covered, until = 0.0, float("-inf")
    for start, end in sorted(zip(starts, ends, strict=True)):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered


def _column(values: array[float]) -> Any:
    import numpy

    return numpy.frombuffer(values) if values else numpy.empty(0)


_MOST_KINDS = 4


def pace(timeline: Timeline) -> Section:
    """Requests and tokens of each model per minute, refusals, and pauses."""
    rows = []
    for model in timeline.models:
        name = words.clean(model.model, 24)
        rows.append((name, "requests", words.count(model.sent), *_figures(model.requests)))
        tokens = sum(model.bin_tokens)
        rows.append(("", "tokens", words.count(tokens), *_figures(model.tokens)))
    header = ("", "", "in all", "a minute", "busiest", "limit", "of limit")
    table = Table(header, (False, False, True, True, True, True, True), tuple(rows))
    return Section("Pace", (table, " ".join(_pace_sentences(timeline))))


def _figures(pace: Pace) -> tuple[str, ...]:
    return (
        words.count(pace.mean),
        words.count(pace.busiest),
        words.count(pace.limit) if pace.limit is not None else "none set",
        words.percent(pace.use),
    )


def _pace_sentences(timeline: Timeline) -> Iterator[str]:
    if timeline.seconds > _MINUTE:
        yield "Busiest: the most in any 60 seconds, and its share of the limit."
    else:
        yield "The run was shorter than a minute, so its busiest minute is all of it."
    if any(model.tokens.limit is not None for model in timeline.models):
        yield (
            "Tokens are those of the answers; many providers count max_tokens instead, so their "
            "limit may be used up earlier."
        )
    refused = sum(model.refused for model in timeline.models)
    if refused:
        paused = "; ".join(_paused(model) for model in timeline.models if model.refused)
        times = "once" if refused == 1 else f"{refused:,} times"
        yield f"Refused for a rate limit {times} ({paused})."
    errors: Counter[str] = Counter()
    for model in timeline.models:
        errors.update(model.errors)
    if errors:
        kinds = ", ".join(
            f"{n:,} {words.clean(kind, 30)}" for kind, n in errors.most_common(_MOST_KINDS)
        )
        yield f"Failed attempts: {kinds}."
    if timeline.sessions > 1:
        yield (
            f"{timeline.sessions:,} sessions; the {words.duration(timeline.idle_seconds)} between "
            "them are left out."
        )


def _paused(model: ModelTimeline) -> str:
    return (
        f"{words.clean(model.model, 24)} {model.refused:,}, "
        f"waiting {words.duration(model.paused_seconds)}"
    )


#: So many models have a colour of their own; of more, those with most requests are drawn.
_COLORS = (FIRST, SECOND, THIRD, FOURTH)
_NAME = 40
_HEIGHT = 200
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
