"""From the calls of a journal to the pace of a run over time."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llm_batch.reporting.calls import CallsTally, Sends
from llm_batch.reporting.model import ModelTimeline, Pace, Timeline

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
    """The pace of a run; ``None`` when its calls took no time that could be divided by.

    Args:
        calls: What its journal holds.
        limits: Gives those of a model.
    """
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
