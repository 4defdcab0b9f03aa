"""What a report says of the pace of a run, and of the limits it had to keep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast something went, beside its limit; all per minute.

    Attributes:
        mean: Over the whole run, pauses between sessions left out.
        busiest: Most in any 60 seconds; all of it in a run that was shorter.
        limit: The limit that was set; ``None`` when none is known.
        use: ``busiest / limit``.
    """

    mean: float
    busiest: float
    limit: float | None
    use: float | None


@dataclass(frozen=True, slots=True)
class ModelTimeline:
    """The requests of one model over time.

    Each of the series has a number for each bin of the timeline. A request counts when it is
    sent, and its tokens (input and output) and cost count then too.

    Attributes:
        model: The model, as the config names it.
        sent: Requests sent, retries included.
        requests: Their pace.
        tokens: The pace of the tokens of answered requests.
        refused: Requests refused because of a rate limit (HTTP 429).
        paused_seconds: How long at least one refused request waited to be sent again.
        errors: How many attempts failed, by kind.
        bin_sent: Requests sent.
        bin_tokens: Tokens of those that were answered.
        bin_cost: USD of those.
        bin_retried: Of the requests sent, those sent again after a failure.
        bin_refused: Refusals, at the time they came.
    """

    model: str
    sent: int
    requests: Pace
    tokens: Pace
    refused: int
    paused_seconds: float
    errors: dict[str, int]
    bin_sent: tuple[int, ...]
    bin_tokens: tuple[int, ...]
    bin_cost: tuple[float, ...]
    bin_retried: tuple[int, ...]
    bin_refused: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run from its first request to its last answer.

    Attributes:
        started_at: When the first request was sent, seconds since 1970-01-01 UTC.
        seconds: From then to the last answer, pauses between sessions left out.
        sessions: Stretches of work; between two of them nothing was under way for five minutes
            or more.
        idle_seconds: Those pauses, added up.
        bin_seconds: Width of each bin; the first begins with the first request.
        models: By model, in the order of the first request.
    """

    started_at: float
    seconds: float
    sessions: int
    idle_seconds: float
    bin_seconds: float
    models: tuple[ModelTimeline, ...]
