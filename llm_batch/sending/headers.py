"""What response headers say about limits: how much a minute, how much is left, when to return."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

# A limit that takes longer than this to be whole again is not counted by the minute.
_LONGEST_RESET_SECONDS = 90.0
# More seconds than this are a time, not a duration.
_SINCE_1970 = 1e9
_NUMBER = re.compile(r"\d+(\.\d+)?")
#: A duration as headers and messages have it: 6m0s, 120ms, 1 hour and 5 minutes.
DURATION = (
    r"(?=\d{1,9}(?:\.\d{1,20})?\s?[dhms])"
    r"(?:(?P<d>\d{1,9})\s?d(?:ays?)?,?\s?(?:and\s)?)?"
    r"(?:(?P<h>\d{1,9})\s?h(?:(?:ou)?rs?)?,?\s?(?:and\s)?)?"
    r"(?:(?P<m>\d{1,9})\s?m(?!s|illi)(?:in(?:ute)?s?)?,?\s?(?:and\s)?)?"
    r"(?:(?P<s>\d{1,9}(?:\.\d{1,20})?)\s?s(?:ec(?:ond)?s?)?)?"
    r"(?:(?P<ms>\d{1,9}(?:\.\d{1,20})?)\s?m(?:s|illi\w{0,8}))?"
)
_DURATION = re.compile(DURATION)
_UNIT_SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

# By quantity: the names of limit, what is left and reset, the most telling first. Anthropic's
# plain "tokens" is the sum of input and output, so it stands behind the limit on input.
_REQUESTS = (
    ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    (
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ),
)
_TOKENS = (
    ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    (
        "anthropic-ratelimit-input-tokens-limit",
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
    ),
    (
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ),
)


@dataclass(frozen=True, slots=True)
class StatedLimits:
    """What response headers say, by the minute and left of it; ``None`` where they are silent."""

    rpm: float | None = None
    tpm: float | None = None
    requests_left: float | None = None
    tokens_left: float | None = None


def stated_limits(headers: Mapping[str, str], now: float = 0.0) -> StatedLimits:
    """Read limits and what is left of them from response headers with lower-cased names.

    OpenAI and most compatible servers send ``x-ratelimit-limit-*``, ``-remaining-*`` and
    ``-reset-*`` (``6m0s``), Anthropic ``anthropic-ratelimit-*-limit``, ``-remaining`` and
    ``-reset`` (a time). Values that are not plain numbers are ignored. What is left counts only
    beside a reset within about a minute: else it is left of something other than a minute.
    ``now`` (seconds since 1970 UTC) is for resets that are a time, where there is no ``date``.
    """
    now = _time_there(headers, now)
    rpm, requests_left = _quantity(headers, _REQUESTS, now)
    tpm, tokens_left = _quantity(headers, _TOKENS, now)
    return StatedLimits(rpm, tpm, requests_left, tokens_left)


def _quantity(
    headers: Mapping[str, str], families: tuple[tuple[str, str, str], ...], now: float
) -> tuple[float | None, float | None]:
    for limit_name, left_name, reset_name in families:
        limit = _number(headers.get(limit_name))
        left = _number(headers.get(left_name))
        if limit is None and left is None:
            continue
        if left is not None:
            reset = reset_seconds(headers.get(reset_name, ""), now)
            if reset is None or reset > _LONGEST_RESET_SECONDS:
                left = None
        return limit or None, left
    return None, None


def _number(value: str | None) -> float | None:
    if value is not None and _NUMBER.fullmatch(value := value.strip()):
        return float(value)
    return None


def reset_seconds(value: str, now: float) -> float | None:
    """Seconds until a limit is whole again.

    Providers write ``1s``, ``6m0s``, ``120ms``, ``2.5``, RFC 3339, or a time since 1970 in seconds
    or milliseconds.
    """
    value = value.strip()
    if not value:
        return None
    if _NUMBER.fullmatch(value):
        seconds = float(value)
        if seconds > _SINCE_1970 * 100:
            seconds /= 1000.0
        return seconds if seconds < _SINCE_1970 else max(0.0, seconds - now)
    if found := _DURATION.fullmatch(value.lower()):
        return seconds_in(found)
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return max(0.0, at.timestamp() - now) if at.tzinfo is not None else None


def seconds_in(found: re.Match[str]) -> float:
    """What a match of `DURATION` comes to."""
    return sum(float(found[unit] or 0) * each for unit, each in _UNIT_SECONDS.items())


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds, at least 0, that ``retry-after-ms`` or ``retry-after`` ask for; ``None`` without.

    The standard has seconds and a date. Gateways also send ``1m30s``, a time as in `reset_seconds`,
    and, where each adds its own, several: the first counts.
    ``now`` (seconds since 1970 UTC) is for a date, where there is no ``date``: clocks differ, and
    a date is one of the server's.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if milliseconds := _number(headers.get(name)):
            return milliseconds / 1000.0
    first = headers.get("retry-after", "").partition(",")[0]
    if (seconds := reset_seconds(first, _time_there(headers, now))) is not None:
        return seconds
    for name in ("retry-after-ms", "retry-after"):
        if (at := _date(headers.get(name))) is not None:
            return max(0.0, at - _time_there(headers, now))
    return None


def _time_there(headers: Mapping[str, str], now: float) -> float:
    at = _date(headers.get("date"))
    return now if at is None else at


def _date(value: str | None) -> float | None:
    """In seconds since 1970 UTC."""
    try:
        return parsedate_to_datetime(value.strip()).timestamp() if value else None
    except (TypeError, ValueError, OverflowError):
        return None
