"""Requests and tokens per minute: when the next request of a model may be sent.

Each limit is a `Rate`: a steady pace at 98 % of it. Against servers that count in buckets of 60,
10 or 1 second or in a sliding window this uses 98 % of a limit without a refusal, where a client
that spends a minute's allowance at once is refused by all but the first. Headers that tell what
is left allow more than the pace; see `llm_batch.sending.rate`.

Refusals although the pace is kept teach another one; see `llm_batch.sending.learned`.

One thread at a time waits for its slot while the others queue behind it. Nothing is promised
ahead, so a limit that changes, or a pause, holds for every request that has not been sent.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from llm_batch.sending.clock import Clock
from llm_batch.sending.headers import StatedLimits, retry_after_seconds, stated_limits
from llm_batch.sending.learned import Learned, Sent, Slowed
from llm_batch.sending.rate import BURST_SECONDS, SHARE, Mark, Rate

__all__ = [
    "BURST_SECONDS",
    "DEFAULT_RPM",
    "SHARE",
    "Limiter",
    "Slip",
    "Slowed",
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
# A default doubles after this share of a minute's requests without a refusal, so that 3,000 a
# minute are reached within one.
_DEFAULT_SHARE = 1 / 6
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
        sent: From `Learned.take`; ``None`` for one that was sent without asking.
    """

    at: float
    tokens: float
    requests_mark: Mark | None
    tokens_mark: Mark | None
    sent: Sent | None = None


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
        self._learned = Learned(self._minute)
        self._paused_until, self._held = float("-inf"), False
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
        limits = [self._learned.slowed.per_minute]
        if self._requests is not None:
            limits.append(self._requests.per_minute)
        return min((rpm for rpm in limits if rpm is not None), default=None)

    @property
    def tpm(self) -> float | None:
        """Tokens per minute now in force."""
        return self._tokens.per_minute if self._tokens else None

    @property
    def refusals_in_a_row(self) -> int:
        """How often the whole client came back after a 429 and was refused; 0 after an answer."""
        return self._learned.in_a_row

    @property
    def pause_seconds(self) -> float:
        """How long nobody should send after the last 429, where the provider does not say."""
        with self._state:
            return self._learned.pause_seconds(self._clock.now())

    @property
    def strays(self) -> bool:
        """Whether the last 429 concerns its own request only, so that the others need no pause."""
        return self._learned.is_open

    @property
    def slowed(self) -> Slowed:
        """What refusals have taught, where it is less than what is in force otherwise."""
        with self._state:
            slowed = self._learned.slowed
            stated = self._requests.per_minute if self._requests else float("inf")
        return (
            slowed if (slowed.per_minute or 0.0) < SHARE * stated else Slowed(None, slowed.at_once)
        )

    @property
    def counts_tokens(self) -> bool:
        """Whether `acquire` needs to know a request's tokens."""
        return self._tokens is not None

    @property
    def is_open(self) -> bool:
        """Whether anything may be sent: no limit is known, nothing was refused, no pause holds."""
        with self._state:
            unlimited = self._requests is None and self._tokens is None
            calm = not self._learned.active and self._paused_until <= self._clock.now()
            return unlimited and calm and not self._held

    def acquire(self, tokens: float = 0.0) -> Slip:
        """Wait until one request of ``tokens`` tokens may be sent, and count it.

        Raises:
            Cancelled: The run is stopping; nothing was counted.
        """
        while (slip := self.acquire_within(tokens)) is None:
            pass
        return slip

    def acquire_within(self, tokens: float, seconds: float = float("inf")) -> Slip | None:
        """The same, or ``None`` when nothing may be sent for so many seconds.

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
            if not self._turn.acquire(timeout=seconds if seconds < 1e6 else -1):
                return None
            try:
                until = self._clock.now() + seconds
                while True:
                    slip = self.try_acquire(tokens)
                    if isinstance(slip, Slip):
                        return slip
                    if self._clock.now() >= until:
                        return None
                    self._clock.sleep(min(slip, _LOOK_AGAIN_SECONDS))
            finally:
                self._turn.release()
        finally:
            with self._state:
                self._queued -= 1

    def try_acquire(self, tokens: float = 0.0) -> Slip | float:
        """Count a request if it may be sent now; else the seconds until it may, as far as known.

        Raises:
            Cancelled: The run is stopping; nothing was counted.
        """
        self._clock.check()
        with self._state:
            now = self._clock.now()
            wait = self._wait(tokens, now)
            return self._take(tokens, now) if wait <= _NOTHING else wait

    def finish(
        self,
        slip: Slip,
        stated: StatedLimits | None = None,
        correction: float = 0.0,
        *,
        refused: bool = False,
    ) -> None:
        """Note that the attempt a slip was given for has ended, and learn from its reply.

        After a refusal nothing is sent ahead any more, and what was admitted teaches a pace.

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
                for rate in filter(None, (self._requests, self._tokens)):
                    rate.stop_ahead(now)
            if slip.sent is None:
                return
            seconds = now - slip.at
            if refused:
                by_tokens = self._waits_for_tokens(now)
                bound = self._tokens is not None or (
                    self._requests is not None and not self._is_default
                )
                self._learned.refused(slip.sent, slip.tokens, seconds, now, by_tokens, bound)
            else:
                self._learned.answered(slip.sent, seconds, now)

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
            self._learned.hold(until)
            for rate in filter(None, (self._requests, self._tokens)):
                rate.hold(until)

    def hold(self, on: bool) -> None:
        """Admit nothing until told otherwise, such as while the user is asked."""
        self._held = on

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

    def _waits_for_tokens(self, now: float) -> bool:
        """Whether requests wait for tokens more than for their number."""
        requests, tokens = self._requests, self._tokens
        if tokens is None:
            return False
        return requests is None or tokens.ahead(now) > requests.ahead(now)

    def _rate(self, per_minute: float, *, given: bool) -> Rate:
        return Rate(per_minute, given=given, minute_seconds=self._minute)

    def _wait(self, tokens: float, now: float) -> float:
        if self._held:
            return _LOOK_AGAIN_SECONDS
        wait = max(self._paused_until - now, self._learned.wait(tokens, now))
        if self._requests is not None:
            wait = max(wait, self._requests.wait(1.0, now))
        if self._tokens is not None and tokens:
            wait = max(wait, self._tokens.wait(tokens, now))
        return wait

    def _take(self, tokens: float, now: float) -> Slip:
        requests_mark = tokens_mark = None
        if (
            self._is_default
            and self._requests
            and self._learned.quiet > _DEFAULT_SHARE * self._requests.per_minute
        ):
            # Ten seconds' worth went through: nobody has said that it is the limit.
            self._requests.adopt(2.0 * self._requests.per_minute, now)
            self._learned.forget_quiet()
        if self._requests is not None:
            requests_mark = self._requests.take(1.0, now)
        else:
            self._count_unmetered(1, now)
        if self._tokens is not None and tokens:
            tokens_mark = self._tokens.take(tokens, now)
        return Slip(now, tokens, requests_mark, tokens_mark, self._learned.take(tokens, now))


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
