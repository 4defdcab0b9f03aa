"""Charts over the time of a run: cost and throughput, from the calls of its journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from llm_batch.report import words
from llm_batch.report.html.spec import FIRST, Chart, chart
from llm_batch.report.settings import Finished

_POINTS = 200
_BINS = 30
#: A longer silence between two calls means that the run was stopped meanwhile.
_PAUSE_SECONDS = 300.0


def over_time(finished: Sequence[Finished]) -> Iterator[Chart]:
    """The charts there is data for: two calls that ended at different times, and a price."""
    times = _without_pauses(finished)
    if len(times) > 1 and times[-1] > 0:
        if any(call.cost for call in finished):
            yield _cost(finished, times)
        yield _throughput(times)


def _without_pauses(finished: Sequence[Finished]) -> list[float]:
    """Seconds since the first call ended, without the time between two sessions."""
    times: list[float] = []
    last = None
    for call in finished:
        gap = 0.0 if last is None else call.at - last
        times.append((times[-1] if times else 0.0) + (0.0 if gap > _PAUSE_SECONDS else gap))
        last = call.at
    return times


def _unit(seconds: float) -> tuple[str, float]:
    for name, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 3 * size:
            return name, size
    return "seconds", 1.0


def _cost(finished: Sequence[Finished], times: Sequence[float]) -> Chart:
    name, size = _unit(times[-1])
    spent, sums = 0.0, []
    for call in finished:
        spent += call.cost or 0.0
        sums.append(spent)
    every = max(1, len(sums) // _POINTS)
    kept = sorted({*range(0, len(sums), every), len(sums) - 1})
    values = [
        {"time": times[i] / size, "usd": sums[i], "cost": words.usd(sums[i]), "calls": i + 1}
        for i in kept
    ]
    return chart(
        "cost",
        "Cost over time",
        f"In all {words.usd(spent)}, failed calls included; pauses between sessions left out.",
        200,
        data={"values": values},
        mark={
            "type": "area",
            "color": FIRST,
            "opacity": 0.18,
            "line": {"color": FIRST, "strokeWidth": 2},
            "tooltip": True,
        },
        encoding={
            "x": _time_axis(name),
            "y": {
                "field": "usd",
                "type": "quantitative",
                "axis": {
                    "title": "USD",
                    "tickCount": 4,
                    "format": "$,.2f" if spent >= 0.1 else "$~g",
                },
            },
            "tooltip": [
                {"field": "time", "format": ".1f", "title": name},
                {"field": "cost"},
                {"field": "calls", "format": ",d"},
            ],
        },
    )


def _throughput(times: Sequence[float]) -> Chart:
    name, size = _unit(times[-1])
    width = times[-1] / _BINS
    counts = [0] * _BINS
    for time in times:
        counts[min(_BINS - 1, int(time / width))] += 1
    values = [
        {"time": i * width / size, "end": (i + 1) * width / size, "calls": n,
         "rate": 60 * n / width}
        for i, n in enumerate(counts)
    ]  # fmt: skip
    return chart(
        "throughput",
        "Throughput",
        f"Calls that ended per minute; {words.number(60 * len(times) / times[-1])} on average.",
        200,
        data={"values": values},
        mark={"type": "bar", "orient": "vertical", "color": FIRST, "binSpacing": 1},
        encoding={
            "x": {**_time_axis(name), "bin": "binned"},
            "x2": {"field": "end"},
            "y": {
                "field": "rate",
                "type": "quantitative",
                "axis": {"title": "calls a minute", "tickCount": 4, "format": ",.0f"},
            },
            "tooltip": [
                {"field": "time", "format": ".1f", "title": f"from ({name})"},
                {"field": "calls", "format": ",d"},
                {"field": "rate", "format": ",.3~g", "title": "calls a minute"},
            ],
        },
    )


def _time_axis(name: str) -> dict[str, Any]:
    axis = {"title": f"{name} since the first answer", "tickCount": 6, "grid": False}
    return {"field": "time", "type": "quantitative", "axis": axis}
