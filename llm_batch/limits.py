"""Requests and tokens per minute: when the next request of a model may be sent.

Each limit is a `Rate`: a steady pace at 98 % of it. Against servers that count in buckets of 60,
10 or 1 second or in a sliding window this uses 98 % of a limit without a refusal, where a client
that spends a minute's allowance at once is refused by all but the first. Headers that tell what
is left allow more than the pace; see `llm_batch.rate`.

Refusals although the pace is kept lower it; see `llm_batch.sharing`.

One thread at a time waits for its slot while the others queue behind it. Nothing is promised
ahead, so a limit that changes, or a pause, holds for every request that has not been sent.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from llm_batch.clock import Clock
from llm_batch.headers import StatedLimits, retry_after_seconds, stated_limits
from llm_batch.rate import BURST_SECONDS, SHARE, Mark, Rate
from llm_batch.sharing import Sharing

__all__ = [
    "BURST_SECONDS",
    "DEFAULT_RPM",
    "SHARE",
    "Limiter",
    "Slip",
    "StatedLimits",
    "counted_tokens",
    "retry_after_seconds",
    "stated_limits",
]

#: Requests a minute for a provider that neither the user nor its headers put a number on
#: (OpenAI's lowest paid tier).
DEFAULT_RPM = 500.0
#: How long the minute lasts that limits are counted in. Only a server that is sped up for tests
#: and rehearsals needs another value.
MINUTE_SECONDS = 60.0
# A sleeper looks again this often, so that a limit that rose while it slept is noticed.
_LOOK_AGAIN_SECONDS = 0.5
# What is not worth sleeping for; rounding of times never makes an endless loop.
_NOTHING = 1e-6


class Slip(NamedTuple):
    """That a request was admitted; `Limiter.finish` wants it back when the attempt has ended.

    Attributes:
        at: When.
        tokens: For how many tokens.
        requests_mark: From `Rate.take`; ``None`` without such a limit.
        tokens_mark: The same of tokens.
    """

    at: float
    tokens: float
    requests_mark: Mark | None
    tokens_mark: Mark | None


class Limiter:
    """Admits the requests of one model, from any number of threads.

    Args:
        rpm: Requests per minute; ``None`` for no limit.
        tpm: Tokens per minute, counted as the provider counts them; ``None`` for no limit.
        clock: Where time comes from.
    """

    def __init__(self, rpm: float | None, tpm: float | None, clock: Clock) -> None:
        self._clock = clock
        self._minute = MINUTE_SECONDS
        self._requests = self._rate(rpm, given=True) if rpm else None
        self._tokens = self._rate(tpm, given=True) if tpm else None
        self._is_default = False
        # Requests sent while no limit was known, and since when: a limit found soon counts them.
        self._unmetered, self._unmetered_since = 0, float("-inf")
        self._sharing = Sharing()
        self._paused_until = float("-inf")
        self._turn = threading.Lock()
        self._state = threading.Lock()
        self._queued = 0

    @classmethod
    def with_default(cls, clock: Clock) -> Limiter:
        """A limiter at the safe default, until response headers say better."""
        limiter = cls(None, None, clock)
        limiter._requests = limiter._rate(DEFAULT_RPM, given=False)
        limiter._is_default = True
        return limiter

    @property
    def is_default(self) -> bool:
        """Whether the requests per minute are still the safe default."""
        return self._is_default

    @property
    def rpm(self) -> float | None:
        """Requests per minute now in force."""
        return self._requests.per_minute if self._requests else None

    @property
    def tpm(self) -> float | None:
        """Tokens per minute now in force."""
        return self._tokens.per_minute if self._tokens else None

    @property
    def refusals_in_a_row(self) -> int:
        """How often the whole client came back after a 429 and was refused; 0 after an answer."""
        return self._sharing.in_a_row

    @property
    def counts_tokens(self) -> bool:
        """Whether `acquire` needs to know a request's tokens."""
        return self._tokens is not None

    @property
    def is_open(self) -> bool:
        """Whether anything may be sent: no limit is known, nothing was refused, no pause holds."""
        with self._state:
            unlimited = self._requests is None and self._tokens is None
            calm = not self._sharing.in_a_row and self._paused_until <= self._clock.now()
            return unlimited and calm

    def acquire(self, tokens: float = 0.0) -> Slip:
        """Wait until one request of ``tokens`` tokens may be sent, and count it.

        Raises:
            Cancelled: The run is stopping; nothing was counted.
        """
        self._clock.check()
        with self._state:
            # Whoever comes while others wait queues behind them.
            if not self._queued:
                now = self._clock.now()
                if self._wait(tokens, now) <= _NOTHING:
                    return self._take(tokens, now)
            self._queued += 1
        try:
            with self._turn:
                while True:
                    self._clock.check()
                    with self._state:
                        now = self._clock.now()
                        wait = self._wait(tokens, now)
                        if wait <= _NOTHING:
                            return self._take(tokens, now)
                    self._clock.sleep(min(wait, _LOOK_AGAIN_SECONDS))
        finally:
            with self._state:
                self._queued -= 1

    def finish(
        self,
        slip: Slip,
        stated: StatedLimits | None = None,
        correction: float = 0.0,
        *,
        refused: bool = False,
    ) -> None:
        """Note that the attempt a slip was given for has ended, and learn from its reply.

        After a refusal nothing is sent ahead any more, and after repeated ones everything is
        sent more slowly. Where no limit is known, repeated ones bring the default.

        Args:
            slip: From `acquire`.
            stated: What the headers of the reply say, when there was one.
            correction: Tokens more (or fewer, when negative) than was thought when sending.
            refused: Whether the reply was a 429.
        """
        if correction:
            self.correct(correction)
        if stated is not None and (stated.rpm or stated.tpm):
            self.adopt(stated.rpm, stated.tpm)
        requests, tokens = slip.requests_mark, slip.tokens_mark
        with self._state:
            now = self._clock.now()
            if self._requests is not None and requests is not None:
                self._requests.end(1.0)
                if stated is not None and stated.requests_left is not None:
                    self._requests.report(stated.requests_left, stated.rpm, requests, now)
            if self._tokens is not None and tokens is not None:
                self._tokens.end(slip.tokens)
                if stated is not None and stated.tokens_left is not None:
                    self._tokens.report(stated.tokens_left, stated.tpm, tokens, now)
            if refused:
                self._slow_down(slip, now)
            else:
                self._sharing.answered(slip.at)

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
            for rate in filter(None, (self._requests, self._tokens)):
                rate.hold(until)

    def adopt(self, rpm: float | None, tpm: float | None) -> None:
        """Follow the limits the provider states, which replace a default and lower a given one."""
        with self._state:
            now = self._clock.now()
            self._is_default = self._is_default and not rpm
            if rpm and self._requests is None:
                self._requests = self._rate(rpm, given=False)
                if now - self._unmetered_since < self._minute:
                    self._requests.remember(self._unmetered, now)
            if rpm and self._requests is not None:
                self._requests.adopt(rpm, now)
            if tpm:
                self._tokens = self._tokens or self._rate(tpm, given=False)
                self._tokens.adopt(tpm, now)

    def sent(self, count: int) -> None:
        """So many requests were sent without asking, while it was open."""
        with self._state:
            self._count_unmetered(count, self._clock.now())

    def _count_unmetered(self, count: int, now: float) -> None:
        if now - self._unmetered_since >= self._minute:
            self._unmetered, self._unmetered_since = 0, now
        self._unmetered += count

    def _slow_down(self, slip: Slip, now: float) -> None:
        for rate in filter(None, (self._requests, self._tokens)):
            rate.stop_ahead(now)
        repeated = self._sharing.refused(slip.at, now, self._minute)
        if repeated and self._requests is None and self._tokens is None:
            self._requests = self._rate(DEFAULT_RPM, given=False)
            self._requests.hold(self._paused_until)

    def _rate(self, per_minute: float, *, given: bool) -> Rate:
        return Rate(per_minute, given=given, minute_seconds=self._minute)

    def _wait(self, tokens: float, now: float) -> float:
        wait = self._paused_until - now
        slowed = self._sharing.factor(now, self._minute)
        if self._requests is not None:
            wait = max(wait, self._requests.wait(1.0, now, slowed))
        if self._tokens is not None and tokens:
            wait = max(wait, self._tokens.wait(tokens, now, slowed))
        return wait

    def _take(self, tokens: float, now: float) -> Slip:
        slowed = self._sharing.factor(now, self._minute)
        requests_mark = tokens_mark = None
        if self._requests is not None:
            requests_mark = self._requests.take(1.0, now, slowed)
        else:
            self._count_unmetered(1, now)
        if self._tokens is not None and tokens:
            tokens_mark = self._tokens.take(tokens, now, slowed)
        return Slip(now, tokens, requests_mark, tokens_mark)


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
