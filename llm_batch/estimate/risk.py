"""What can go wrong with a run of some size: money and time in the high case, as one word."""

from __future__ import annotations

from typing import Literal

from llm_batch.records import Interval

Risk = Literal["low", "some", "high", "unknown"]

#: Below this and this time the high case is a risk few think about.
LOW_USD = 50.0
LOW_SECONDS = 8 * 3600.0
#: From this or this time on it is a risk nobody should take without a smaller run before.
HIGH_USD = 1000.0
HIGH_SECONDS = 24 * 3600.0


def risk_of(cost: Interval | None, seconds: Interval) -> Risk:
    """Rate the high case of a run: ``unknown`` where its price is, unless its time is enough.

    Args:
        cost: USD; ``None`` when a price is unknown.
        seconds: How long it takes.
    """
    longest = seconds.high or 0.0
    if longest >= HIGH_SECONDS:
        return "high"
    if cost is None:
        return "unknown"
    dearest = cost.high or 0.0
    if dearest >= HIGH_USD:
        return "high"
    return "low" if dearest < LOW_USD and longest < LOW_SECONDS else "some"
