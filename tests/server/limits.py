"""The ways providers count requests and tokens per minute.

Every limiter takes the time as an argument, in seconds of any clock that does not go back, so
that an hour can be tested in a millisecond. A *minute* lasts ``minute`` seconds: with 6 the
server behaves as a real one would, ten times as fast.

- ``sliding``: the exact sum over the last minute. The strictest at the start of a run: what was
  sent at once comes back at once, a minute later.
- ``bucket60``, ``bucket10``, ``bucket1``: a bucket that fills continuously at the limit and holds
  60, 10 or 1 seconds' worth (sixtieths of a minute). OpenAI's limits behave like these, with the
  size of the bucket depending on model and day.
- ``fixed``: a count that begins anew with every minute of the clock.

With a minute of 1 second these are limits per second. Beside them a server may take only so many
requests at once.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Protocol

#: Rounding of float times; well below the shortest wait anyone could act on.
_SLACK = 1e-9

KINDS = {"sliding": 0, "bucket60": 60, "bucket10": 10, "bucket1": 1}
#: All that can be asked for. A pace that is even is no burst at the turn of a window, so what the
#: tests of one kind promise is said of `KINDS`.
EVERY_KIND = (*KINDS, "fixed")


class Window(Protocol):
    """One quantity (requests or tokens) with a limit per minute."""

    limit: float

    def wait(self, now: float, amount: float) -> float:
        """Seconds until ``amount`` fits: 0 when it does now, infinity when it never will."""

    def take(self, now: float, amount: float) -> None:
        """Count ``amount``, whether it fits or not."""

    def remaining(self, now: float) -> float:
        """What could be taken at this moment."""

    def reset(self, now: float) -> float:
        """Seconds until everything is available again, if nothing more is taken."""


class SlidingLog:
    """At most ``limit`` in any ``minute`` seconds, counted exactly."""

    def __init__(self, limit: float, minute: float) -> None:
        self.limit = limit
        self.minute = minute
        self._entries: deque[tuple[float, float]] = deque()
        self._used = 0.0

    def _expire(self, now: float) -> None:
        horizon = now - self.minute + _SLACK
        entries = self._entries
        while entries and entries[0][0] <= horizon:
            self._used -= entries.popleft()[1]

    def wait(self, now: float, amount: float) -> float:
        self._expire(now)
        if amount > self.limit:
            return math.inf
        excess = self._used + amount - self.limit
        if excess <= 0:
            return 0.0
        for time, spent in self._entries:
            excess -= spent
            if excess <= 0:
                return time + self.minute - now
        return math.inf

    def take(self, now: float, amount: float) -> None:
        self._entries.append((now, amount))
        self._used += amount

    def remaining(self, now: float) -> float:
        self._expire(now)
        return max(0.0, self.limit - self._used)

    def reset(self, now: float) -> float:
        self._expire(now)
        return self._entries[-1][0] + self.minute - now if self._entries else 0.0


class Bucket:
    """A bucket that fills at ``limit`` per ``minute`` and holds ``seconds`` sixtieths of it.

    It starts full. An amount larger than the bucket, though not larger than the limit, passes when
    the bucket is full and leaves a debt: otherwise a bucket of one second would refuse every long
    prompt for ever.
    """

    def __init__(self, limit: float, minute: float, seconds: int) -> None:
        self.limit = limit
        self.minute = minute
        self._seconds = seconds
        self._level = self._capacity
        self._at = -math.inf

    @property
    def _capacity(self) -> float:
        return max(1.0, self.limit * self._seconds / 60)

    def _fill(self, now: float) -> None:
        if now > self._at:
            gained = (now - self._at) * self.limit / self.minute
            self._level = min(self._capacity, self._level + gained)
            self._at = now

    def wait(self, now: float, amount: float) -> float:
        self._fill(now)
        if amount > max(1.0, self.limit):
            return math.inf
        missing = min(amount, self._capacity) - self._level
        return missing * self.minute / self.limit if missing > _SLACK else 0.0

    def take(self, now: float, amount: float) -> None:
        self._fill(now)
        self._level -= amount

    def remaining(self, now: float) -> float:
        self._fill(now)
        return max(0.0, self._level + _SLACK)

    def reset(self, now: float) -> float:
        self._fill(now)
        return max(0.0, (self._capacity - self._level) * self.minute / self.limit)


class FixedWindow:
    """At most ``limit`` in each minute of the clock."""

    def __init__(self, limit: float, minute: float) -> None:
        self.limit = limit
        self.minute = minute
        self._number, self._used = -1, 0.0

    def _turn(self, now: float) -> None:
        number = math.floor(now / self.minute)
        if number != self._number:
            self._number, self._used = number, 0.0

    def wait(self, now: float, amount: float) -> float:
        self._turn(now)
        if amount > self.limit:
            return math.inf
        return self.reset(now) if self._used + amount > self.limit + _SLACK else 0.0

    def take(self, now: float, amount: float) -> None:
        self._turn(now)
        self._used += amount

    def remaining(self, now: float) -> float:
        self._turn(now)
        return max(0.0, self.limit - self._used)

    def reset(self, now: float) -> float:
        return (math.floor(now / self.minute) + 1) * self.minute - now


def window(kind: str, limit: float, minute: float) -> Window:
    """A window of one of `EVERY_KIND` for ``limit`` per ``minute`` seconds."""
    if kind == "fixed":
        return FixedWindow(limit, minute)
    seconds = KINDS[kind]
    return Bucket(limit, minute, seconds) if seconds else SlidingLog(limit, minute)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request may pass.

    Attributes:
        admitted: True when it passed and was counted.
        wait_seconds: How long until the same request would pass; infinite when it never will.
        quantity: ``requests``, ``tokens`` or ``at once``, whichever stands in the way longer.
    """

    admitted: bool
    wait_seconds: float = 0.0
    quantity: str = "requests"


_ADMITTED = Decision(True)


class Limiter:
    """Requests and tokens per minute of one model.

    Args:
        rpm: Requests per minute; ``None`` for no limit.
        tpm: Tokens per minute; ``None`` for no limit.
        kind: One of `KINDS`.
        minute: Seconds a minute lasts.
        count_rejected: Whether a request that is refused counts as a request all the same, so
            that hammering keeps the door shut.
        at_once: Requests that may be under way; ``None`` for no limit. Each that was admitted
            ends with `end`.
    """

    def __init__(
        self,
        rpm: float | None,
        tpm: float | None,
        kind: str = "sliding",
        minute: float = 60.0,
        count_rejected: bool = False,
        at_once: int | None = None,
    ) -> None:
        self.at_once, self.under_way = at_once, 0
        self.requests = window(kind, rpm, minute) if rpm is not None else None
        self.tokens = window(kind, tpm, minute) if tpm is not None else None
        self._count_rejected = count_rejected

    def admit(self, now: float, tokens: float) -> Decision:
        """Count a request of ``tokens`` tokens, or say how long it must wait."""
        by_requests, by_tokens = self.requests, self.tokens
        if self.at_once is not None and self.under_way >= self.at_once:
            return Decision(False, 1.0, "at once")
        wait_requests = by_requests.wait(now, 1) if by_requests else 0.0
        wait_tokens = by_tokens.wait(now, tokens) if by_tokens else 0.0
        if not wait_requests and not wait_tokens:
            if by_requests:
                by_requests.take(now, 1)
            if by_tokens:
                by_tokens.take(now, tokens)
            self.under_way += 1
            return _ADMITTED
        if self._count_rejected and by_requests:
            # A bucket is emptied, not driven into debt: the wait stays bounded.
            by_requests.take(now, min(1.0, by_requests.remaining(now)) if self._bucket else 1.0)
            wait_requests = by_requests.wait(now, 1)
        if wait_tokens > wait_requests:
            return Decision(False, wait_tokens, "tokens")
        return Decision(False, wait_requests, "requests")

    def end(self) -> None:
        """A request that was admitted has ended."""
        self.under_way = max(0, self.under_way - 1)

    @property
    def _bucket(self) -> bool:
        return isinstance(self.requests, Bucket)

    def change(self, rpm: float | None, tpm: float | None) -> bool:
        """Change the limits and keep what was counted.

        Returns:
            False when a limit appears or goes away, so that a new limiter is needed.
        """
        if (rpm is None) != (self.requests is None) or (tpm is None) != (self.tokens is None):
            return False
        if self.requests and rpm is not None:
            self.requests.limit = rpm
        if self.tokens and tpm is not None:
            self.tokens.limit = tpm
        return True
