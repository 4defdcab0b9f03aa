"""Requests and tokens per minute: when the next request may be sent.

The rule is the generic cell rate algorithm (ITU-T I.371): each limit keeps the theoretical arrival
time of the next request, and a request conforms when that time, moved on by the request's own
cost, is no more than the burst ahead of now. Against servers that count in buckets of 60, 10 or 1
second or in a sliding window this uses 98 % of a limit without a refusal, where a client that
spends a minute's allowance at once is refused by all but the first.

One thread at a time waits for its slot while the others queue behind it. Nothing is promised
ahead, so a limit that changes, or a pause, holds for every request that has not been sent.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from llm_batch.clock import Clock

#: Share of a limit that is used: the rest absorbs the jitter of the network.
SHARE = 0.98
#: How far a burst may run ahead of the pace, in seconds of the limit.
BURST_SECONDS = 0.5
#: Requests a minute for a provider that neither the user nor its headers put a number on
#: (OpenAI's lowest paid tier).
DEFAULT_RPM = 500.0
# A sleeper looks again this often, so that a limit that rose while it slept is noticed.
_LOOK_AGAIN_SECONDS = 0.5


class _Rate:
    """One limit: the theoretical arrival time of the next unit. Units are requests or tokens.

    Args:
        per_minute: The limit to begin with.
        given: Whether the user set it: what the provider states may then only lower it.
    """

    def __init__(self, per_minute: float, *, given: bool) -> None:
        self.per_minute = per_minute
        self._ceiling = per_minute if given else float("inf")
        self.arrival = float("-inf")

    def adopt(self, stated: float, now: float) -> None:
        """Follow the limit the provider states, down and up again."""
        limit = min(stated, self._ceiling)
        if limit != self.per_minute:
            # What was sent ahead of the pace is so many units, whose time is now another.
            ahead = max(0.0, self.arrival - now)
            self.arrival = now + ahead * self.per_minute / limit
            self.per_minute = limit

    def wait(self, cost: float, now: float) -> float:
        """Seconds until ``cost`` units conform; 0 when they do now."""
        duration = cost / self._per_second
        burst = max(BURST_SECONDS, duration)
        return max(0.0, max(self.arrival, now) + duration - burst - now)

    def take(self, cost: float, now: float) -> None:
        self.arrival = max(self.arrival, now) + cost / self._per_second

    def correct(self, cost: float) -> None:
        self.arrival += cost / self._per_second

    @property
    def _per_second(self) -> float:
        return self.per_minute * SHARE / 60.0


class Limiter:
    """Admits the requests of one model, from any number of threads.

    Args:
        rpm: Requests per minute; ``None`` for no limit.
        tpm: Tokens per minute, counted as the provider counts them; ``None`` for no limit.
        clock: Where time comes from.
    """

    def __init__(self, rpm: float | None, tpm: float | None, clock: Clock) -> None:
        self._clock = clock
        self._requests = _Rate(rpm, given=True) if rpm else None
        self._tokens = _Rate(tpm, given=True) if tpm else None
        self._paused_until = float("-inf")
        self._turn = threading.Lock()
        self._state = threading.Lock()

    @classmethod
    def with_default(cls, clock: Clock) -> Limiter:
        """A limiter at the safe default, until response headers say better."""
        limiter = cls(None, None, clock)
        limiter._requests = _Rate(DEFAULT_RPM, given=False)
        return limiter

    @property
    def rpm(self) -> float | None:
        """Requests per minute now in force."""
        return self._requests.per_minute if self._requests else None

    @property
    def tpm(self) -> float | None:
        """Tokens per minute now in force."""
        return self._tokens.per_minute if self._tokens else None

    @property
    def counts_tokens(self) -> bool:
        """Whether `acquire` needs to know a request's tokens."""
        return self._tokens is not None

    def acquire(self, tokens: float = 0.0) -> None:
        """Wait until one request of ``tokens`` tokens may be sent, and count it.

        Raises:
            Cancelled: The run is stopping; nothing was counted.
        """
        self._clock.check()
        if self._requests is None and self._tokens is None and self._paused_until < 0:
            return
        with self._turn:
            while True:
                self._clock.check()
                with self._state:
                    now = self._clock.now()
                    wait = self._wait(tokens, now)
                    if wait <= 0:
                        self._take(tokens, now)
                        return
                self._clock.sleep(min(wait, _LOOK_AGAIN_SECONDS))

    def correct(self, tokens: float) -> None:
        """Count so many tokens more (or fewer, when negative) than was thought when sending."""
        with self._state:
            if self._tokens is not None:
                self._tokens.correct(tokens)

    def pause(self, seconds: float) -> None:
        """Admit nothing for this long; a longer pause already declared stays.

        Whoever waited goes on at the pace of the limit, not in a burst: that would be refused
        again.
        """
        with self._state:
            until = self._paused_until = max(self._paused_until, self._clock.now() + seconds)
            for rate in (self._requests, self._tokens):
                if rate is not None:
                    rate.arrival = max(rate.arrival, until + BURST_SECONDS)

    def adopt(self, rpm: float | None, tpm: float | None) -> None:
        """Follow the limits the provider states, which replace a default and lower a given one."""
        with self._state:
            now = self._clock.now()
            if rpm and rpm > 0:
                self._requests = self._requests or _Rate(rpm, given=False)
                self._requests.adopt(rpm, now)
            if tpm and tpm > 0:
                self._tokens = self._tokens or _Rate(tpm, given=False)
                self._tokens.adopt(tpm, now)

    def _wait(self, tokens: float, now: float) -> float:
        wait = self._paused_until - now
        if self._requests is not None:
            wait = max(wait, self._requests.wait(1.0, now))
        if self._tokens is not None and tokens:
            wait = max(wait, self._tokens.wait(tokens, now))
        return wait

    def _take(self, tokens: float, now: float) -> None:
        if self._requests is not None:
            self._requests.take(1.0, now)
        if self._tokens is not None and tokens:
            self._tokens.take(tokens, now)


@dataclass(frozen=True, slots=True)
class StatedLimits:
    """What response headers say, per minute; ``None`` where they are silent."""

    rpm: float | None = None
    tpm: float | None = None


def stated_limits(headers: Mapping[str, str]) -> StatedLimits:
    """Read the limits in force from response headers with lower-cased names.

    OpenAI and most compatible servers send ``x-ratelimit-limit-*``, Anthropic
    ``anthropic-ratelimit-*-limit``. Values that are not positive numbers are ignored.
    """
    return StatedLimits(
        _number(headers, "x-ratelimit-limit-requests", "anthropic-ratelimit-requests-limit"),
        _number(headers, "x-ratelimit-limit-tokens", "anthropic-ratelimit-input-tokens-limit"),
    )


def _number(headers: Mapping[str, str], *names: str) -> float | None:
    for name in names:
        value = headers.get(name)
        if value is not None and re.fullmatch(r"\d+(\.\d+)?", value.strip()):
            return float(value) or None
    return None


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds a reply asks to wait, from ``retry-after-ms`` or ``retry-after``.

    Args:
        headers: With lower-cased names.
        now: Seconds since 1970 UTC, for the form of the header that is a date.

    Returns:
        At least 0 (a date in the past is 0); ``None`` without a readable header.
    """
    milliseconds = _number(headers, "retry-after-ms")
    if milliseconds is not None:
        return milliseconds / 1000.0
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (TypeError, ValueError):
        return None


def counted_tokens(provider: str, input_tokens: int, max_tokens: int | None) -> int:
    """Tokens a provider charges against its limit when a request arrives.

    Args:
        provider: The vendor (``openai``, ``azure``, ``anthropic``, ``gemini``, …).
        input_tokens: Our count of the prompt.
        max_tokens: The cap of the request, when it has one.
    """
    cap = max_tokens or 0
    if provider == "openai":
        return max(cap, input_tokens)
    if provider in ("anthropic", "gemini"):
        return input_tokens
    return input_tokens + cap
