"""What refusals may show besides a pace: how many at once, no limit at all, a window's memory."""

from __future__ import annotations

from collections import Counter, deque
from math import log

from llm_batch.sending.rate import SHARE

# With fewer under way than are taken at once, such a share is refused because it is late.
# No more than so many may have been sent with as many beside them, the two refused ones included.
# From the last number on, three refusals must agree, which may differ by one.
_LATE_SHARE = 0.01
_AT_ONCE_MANY, _AT_ONCE_BLURRED = 4, 3
# Sending freely, a request that passes halves the odds of a limit, and one that is refused raises
# them, by the share that was refused before. The logarithms of the odds at which there is one, at
# which there is none, and the least they are taken to be; what the share before counts for, in
# requests, its bounds, and how many requests are remembered.
_LIMIT, _NO_LIMIT, _LEAST_ODDS = 3.0, -3.0, -4.0
_SHARE_REQUESTS, _SHARE_LEAST, _SHARE_MOST, _SHARE_MEMORY = 10, 0.02, 0.6, 200
# A sliding window of a minute remembers so many requests, at least, of which the later half are
# so many times as many; what followed a refusal and passed is less than such a share of them, and
# a later refusal, at so much of what it held, is of the same window.
_SLOTS, _HELD_LEAST, _UNEVEN, _SOON, _OF_WINDOW = 60, 120, 1.5, 0.03, 0.9


class Beside:
    """Whether the number of requests under way is what is refused.

    Refusals that are known together show how many were taken at once. Where that number is the
    same again, and what was sent in between with fewer beside it passed, it is the limit.
    """

    def __init__(self) -> None:
        # What was sent since the last refusal, and between earlier ones, by requests beside it.
        self._sent: Counter[int] = Counter()
        self._between: Counter[int] = Counter()
        self._first: Counter[int] = Counter()
        # Of the last refusals, the most beside one of them, their number, and what was taken
        # at once when earlier ones came.
        self._most, self._refused = 0, 0
        self._before = self._earlier = -1

    def sent(self, beside: int) -> None:
        self._sent[beside] += 1

    def refused(self, beside: int, again: bool) -> None:
        """Note a refusal, known together with the last one or after it."""
        if again:
            self._most, self._refused = max(self._most, beside), self._refused + 1
            return
        self._earlier = self._before
        self._before = self._taken if self._refused else -1
        self._most, self._refused = beside, 1
        self._first, self._between, self._sent = self._between, self._sent, Counter()

    def clear(self) -> None:
        """Forget what was met."""
        self._sent.clear()
        self._refused, self._before = 0, -1

    @property
    def _taken(self) -> int:
        return self._most + 1 - self._refused

    def limit(self, gain: float) -> int | None:
        """How many are taken at once, if that explains what was refused so much better.

        A ratio of likelihoods: two shares that are refused, with fewer and with as many beside,
        against one of all.
        """
        numbers = [self._taken, self._before]
        if numbers[0] >= _AT_ONCE_BLURRED:
            numbers.append(self._earlier)
        least = min(numbers)
        if least < 1 or max(numbers) - least > (len(numbers) > 2):
            return None
        many = sum(n for beside, n in self._between.items() if beside >= least)
        few = self._between.total() - many
        many = max(2, many + 2 - self._refused)
        if many > _AT_ONCE_MANY:
            return None
        # Those that were under way at the first refusal passed.
        few += min(least, sum(n for beside, n in self._first.items() if beside < least))
        gained = (
            _log_likelihood(2, many) + few * log(1.0 - _LATE_SHARE) - _log_likelihood(2, many + few)
        )
        return least if gained >= gain else None


def _log_likelihood(refused: int, sent: int) -> float:
    share = refused / sent
    return sum(n * log(p) for n, p in ((refused, share), (sent - refused, 1.0 - share)) if n)


class Free:
    """Sending as fast as it goes: whether more is refused then, so that there is a limit.

    Args:
        number: Of the refused request it begins with.
        share: That is refused, if it has nothing to do with the pace.
        held: The pace of before, how long it is trusted, and the most at once.
        began: When.
        count: Requests sent until then.
        tokens: Of these.
    """

    def __init__(
        self,
        number: int,
        share: float,
        held: tuple[float | None, float, int | None],
        began: float,
        count: int,
        tokens: float,
    ) -> None:
        self.number, self.held = number, held
        self.began, self.count, self.tokens = began, count, tokens
        self.refusals, self._requests = 0, float(_SHARE_REQUESTS)
        self._refused = share * self._requests
        # Where a slower pace is tried: the last request before it, and refusals since then.
        self.slow_from: int | None = None
        self.slow_refused = 0
        self._odds = 0.0
        #: Whether it is known that there is no limit.
        self.passed = False
        # The last one refused, and the last of those sent together with an earlier one.
        self._last = self._together = number

    @property
    def share(self) -> float:
        """Of the requests, that is refused."""
        return min(_SHARE_MOST, max(_SHARE_LEAST, self._refused / self._requests))

    @property
    def limited(self) -> bool:
        """Whether there is a limit after all."""
        return self._odds >= _LIMIT

    def refused(self, number: int, count: int) -> None:
        """Take in the refusal of one of so many requests sent (a test of Wald, 1945).

        Refusals come sooner than answers: what was sent before this one and is not refused by now
        has passed. Those of requests sent together come in any order.
        """
        if number <= self.number:
            return
        if number > self._together:
            # All that was sent together with earlier ones is known.
            self._odds -= max(0, self._together - self._last) * log(2.0)
            self._last = max(self._last, self._together)
            self._odds = max(_LEAST_ODDS, self._odds)
            self.passed = self.passed or self._odds <= _NO_LIMIT
            self._together = count
        # A limit refuses half of what would pass otherwise, at least.
        passed = number - self._last - 1 if number > self._last else -1
        self._last = max(self._last, number)
        self._odds += log((1.0 + self.share) / (2.0 * self.share)) - passed * log(2.0)
        self._requests += passed + 1
        self._refused += 1
        self.refusals += 1
        if self._requests > _SHARE_MEMORY:
            self._requests, self._refused = self._requests / 2, self._refused / 2


class Window:
    """What was admitted in the last minute, which a sliding window remembers.

    A run that became faster within a minute and then met a limit may not go on evenly: nothing is
    admitted until what was sent a minute ago is forgotten, which was little at first.

    Args:
        seconds: How long a minute lasts.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # When each part of the minute began, and the requests in it.
        self._parts: deque[list[float]] = deque()
        self._requests = 0.0
        self._first = float("inf")
        # How many it holds, as far as is known, and until when that matters.
        self._most: float | None = None
        self._until = 0.0

    @property
    def holds(self) -> bool:
        """Whether it is known to remember more of the later half, so that requests wait for it."""
        return self._most is not None

    def take(self, now: float) -> None:
        self._first = min(self._first, now)
        if not self._parts or now - self._parts[-1][0] >= self._seconds / _SLOTS:
            self._parts.append([now, 0.0])
        self._parts[-1][1] += 1.0
        self._requests += 1.0

    def refused(self, sent: float) -> None:
        """Forget a request that was sent then."""
        for part in reversed(self._parts):
            if part[0] <= sent:
                part[1] -= 1.0
                self._requests -= 1.0
                return

    def wait(self, now: float) -> float:
        """Seconds until there is room."""
        if self._most is not None and now >= self._until:
            self._most = None
        if self._most is None or self._held(now) < self._most:
            return 0.0
        return self._parts[0][0] + self._seconds - now

    def met(self, admitted: int, now: float) -> float | None:
        """Requests a second of the window, if that explains a refusal after so many requests."""
        held = self._held(now)
        if self._most is not None:
            if held < _OF_WINDOW * self._most:
                self._most = None
        elif held >= _HELD_LEAST and 0 < admitted < _SOON * held and self._is_uneven(now):
            self._most, self._until = SHARE * held, now + self._seconds
        return None if self._most is None else self._most / self._seconds

    def _held(self, now: float) -> float:
        while self._parts and self._parts[0][0] + self._seconds <= now:
            self._requests -= self._parts.popleft()[1]
        return self._requests

    def _is_uneven(self, now: float) -> bool:
        if now - self._first < self._seconds:
            return False
        middle = now - self._seconds / 2
        early = sum(requests for began, requests in self._parts if began < middle)
        return self._requests - early >= _UNEVEN * early
