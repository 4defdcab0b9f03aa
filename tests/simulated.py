"""A strict provider and its clients as events on one clock: minutes of traffic in milliseconds.

Everything is decided by seeds. A request reaches the server a few hundredths of a second after it
was admitted, now and then much later, so requests overtake each other; the limits are those of
`tests.server.limits`.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from llm_batch.sending.clock import FakeClock
from llm_batch.sending.limits import Limiter, Slip, StatedLimits
from tests.server.limits import Limiter as ServerLimiter

#: What a server does with the headroom it reports.
HEADERS = ("none", "truthful", "limit only", "constant")


class EventClock(FakeClock):
    """A fake clock on which things happen while somebody sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._ids = itertools.count()

    def at(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (seconds, next(self._ids), event))

    def sleep(self, seconds: float) -> None:
        until = self.seconds + max(0.0, seconds)
        while self._events and self._events[0][0] <= until:
            self.next()
        self.seconds = until

    def next(self) -> None:
        """Go on to the next event."""
        at, _, event = heapq.heappop(self._events)
        self.seconds = max(self.seconds, at)
        event()


@dataclass
class Traffic:
    """What the server saw: times of admission, tokens of each, times of refusals."""

    admitted: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def share(self, per_minute: float, begin: float, end: float, *, tokens: bool = False) -> float:
        """What was admitted between two times, as a share of a limit."""
        amounts = self.tokens if tokens else [1.0] * len(self.tokens)
        inside = zip(self.admitted, amounts, strict=True)
        return sum(n for at, n in inside if begin <= at < end) / (per_minute * (end - begin) / 60)


class Simulation:
    """One server, one client with a number of workers, perhaps others on the same key.

    Args:
        kind: How the server counts (`tests.server.limits.KINDS`).
        rpm: Of the server.
        tpm: Of the server.
        workers: Of the client.
        latency: Seconds of an answer; refusals come in a twentieth of a second.
        headers: One of `HEADERS`.
        retry_after: Whether refusals say how long to wait, in whole seconds.
        seed: Of all that varies.
        period: Seconds in which the limits are counted: with 1 they are limits per second.
        at_once: Requests the server takes at once.
        late: Share of the requests that arrive 0.4 s late.
        strays: Share of the requests that is refused for no reason of ours.
    """

    def __init__(
        self,
        kind: str = "sliding",
        rpm: float | None = 600,
        tpm: float | None = None,
        *,
        workers: int = 20,
        latency: float = 0.3,
        headers: str = "none",
        retry_after: bool = True,
        seed: int = 0,
        period: float = 60.0,
        at_once: int | None = None,
        late: float = 0.01,
        strays: float = 0.0,
    ) -> None:
        self.clock = EventClock()
        self.server = ServerLimiter(rpm, tpm, kind, period, at_once=at_once)
        self._late, self._strays = late, strays
        self.ours = Traffic()
        self.workers = workers
        self._latency = latency
        self._headers = headers
        self._retry_after = retry_after
        self._random = random.Random(seed)

    def run(
        self,
        limiter: Limiter,
        *,
        requests: int | None = None,
        seconds: float = 150.0,
        tokens: Callable[[], float] = lambda: 0.0,
    ) -> Traffic:
        """Send until so many requests were admitted by the server, or so long."""
        clock, left = self.clock, requests
        again: list[float] = []  # the tokens of what was refused
        under_way = 0

        def ended(refused: float | None) -> None:
            nonlocal under_way
            under_way -= 1
            if refused is not None:
                again.append(refused)

        while clock.now() < seconds:
            if under_way < self.workers and (again or left is None or left):
                if again:
                    amount = again.pop()
                else:
                    amount = tokens()
                    left = None if left is None else left - 1
                slip = limiter.acquire(amount)
                under_way += 1
                self._send(limiter, slip, ended, self.ours)
            elif under_way:
                clock.next()
            else:
                break
        return self.ours

    def run_together(self, limiters: list[Limiter], *, seconds: float) -> list[Traffic]:
        """Several clients on one key, each with the workers of one, without an end."""
        traffic = [Traffic() for _ in limiters]
        for limiter, own in zip(limiters, traffic, strict=True):
            for _ in range(self.workers):
                self._keep_sending(limiter, own)
        while self.clock.now() < seconds:
            self.clock.next()
        return traffic

    def _keep_sending(self, limiter: Limiter, traffic: Traffic) -> None:
        """A worker as a chain of events: it looks for its turn and waits as `acquire` would."""
        now = self.clock.now()
        wait = limiter._wait(0.0, now)
        if wait > 1e-6:
            self.clock.at(now + min(wait, 0.5), lambda: self._keep_sending(limiter, traffic))
            return
        slip = limiter._take(0.0, now)
        self._send(limiter, slip, lambda _: self._keep_sending(limiter, traffic), traffic)

    def run_plain(self, threads: int, *, seconds: float) -> Traffic:
        """Threads that know no limit, and back off by themselves when refused, as scripts do."""

        def send(attempt: int) -> None:
            late = 0.4 if self._random.random() < self._late else 0.0
            self.clock.at(
                self.clock.now() + self._random.uniform(0.005, 0.05) + late, lambda: arrive(attempt)
            )

        def arrive(attempt: int) -> None:
            wait = self._admit(self.ours, 0.0)
            if not wait:
                ends = self.clock.now() + self._latency * self._random.uniform(0.8, 1.2)
                self.clock.at(ends, self.server.end)
                self.clock.at(ends, lambda: send(0))
                return
            backoff = min(60.0, 2.0**attempt) * self._random.uniform(0.5, 1.0)
            asked = float(-(-wait // 1)) if self._retry_after else 0.0
            again = self.clock.now() + 0.05 + max(backoff, asked)
            self.clock.at(again, lambda: send((attempt + 1) % 12))

        for _ in range(threads):
            send(0)
        while self.clock.now() < seconds:
            self.clock.next()
        return self.ours

    def other(self, per_minute: float, begin: float, end: float) -> Traffic:
        """Another process on the same key, that sends at its pace come what may."""
        traffic, gap = Traffic(), 60 / per_minute

        def send() -> None:
            self._admit(traffic, 0.0)
            if self.clock.now() + gap < end:
                self.clock.at(self.clock.now() + gap, send)

        self.clock.at(begin, send)
        return traffic

    def change(self, at: float, rpm: float) -> None:
        """Let the server have another limit from then on."""
        self.clock.at(at, lambda: bool(self.server.change(rpm, self.server_tpm)))

    @property
    def server_tpm(self) -> float | None:
        return self.server.tokens.limit if self.server.tokens else None

    def _admit(self, traffic: Traffic, amount: float) -> float:
        now = self.clock.now()
        if self._strays and self._random.random() < self._strays:
            traffic.refused.append(now)
            return 1.0
        decision = self.server.admit(now, amount)
        if decision.admitted:
            traffic.admitted.append(now)
            traffic.tokens.append(amount)
            return 0.0
        traffic.refused.append(now)
        return decision.wait_seconds

    def _send(
        self,
        limiter: Limiter,
        slip: Slip,
        ended: Callable[[float | None], None],
        traffic: Traffic,
    ) -> None:
        late = 0.4 if self._random.random() < self._late else 0.0
        way = self._random.uniform(0.005, 0.05) + late

        def arrive() -> None:
            wait = self._admit(traffic, slip.tokens)
            stated = self._stated()
            takes = 0.05 if wait else self._latency * self._random.uniform(0.8, 1.2)
            if not wait:
                self.clock.at(self.clock.now() + takes, self.server.end)
            self.clock.at(
                self.clock.now() + takes, lambda: self._reply(limiter, slip, wait, stated, ended)
            )

        self.clock.at(self.clock.now() + way, arrive)

    def _reply(
        self,
        limiter: Limiter,
        slip: Slip,
        wait: float,
        stated: StatedLimits | None,
        ended: Callable[[float | None], None],
    ) -> None:
        limiter.finish(slip, stated, refused=wait > 0)
        asked = float(-(-wait // 1)) if self._retry_after else 0.0
        if wait and limiter.strays:
            alone = max(asked, 0.5 * self._random.random())
            self.clock.at(self.clock.now() + alone, lambda: ended(slip.tokens))
            return
        if wait:
            again = limiter.refusals_in_a_row > 1
            pause = max(asked, limiter.pause_seconds if again or not asked else 0.0)
            if pause:
                limiter.pause(pause * (1 + 0.1 * self._random.random()))
        ended(slip.tokens if wait else None)

    def _stated(self) -> StatedLimits | None:
        if self._headers == "none":
            return None
        now, values = self.clock.now(), []
        for window in (self.server.requests, self.server.tokens):
            limit = window.limit if window else None
            left = None
            if window is not None and self._headers == "truthful":
                left = float(int(window.remaining(now)))
            elif window is not None and self._headers == "constant":
                left = limit
            values.append((limit, left))
        (rpm, requests_left), (tpm, tokens_left) = values
        return StatedLimits(rpm, tpm, requests_left, tokens_left)
