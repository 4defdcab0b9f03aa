"""One limit for many processes: leave to send is leased in slices, only for who waits now.

A slice holds what conforms within a few hundredths of a second, so a lease is used as soon as it
is given and none has to be handed back: the pace of the whole cluster is the pace of one limiter.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from llm_batch.sending.clock import Clock, SystemClock
from llm_batch.sending.headers import StatedLimits
from llm_batch.sending.limits import Limiter, Slip
from llm_batch.sending.rate import BURST_SECONDS

#: A slice is what is admitted within this time: long enough that a lease costs little, short
#: enough that the requests of a slice are no burst.
SLICE_SECONDS = 0.02
#: How long a question is kept that nothing can be sent for.
PATIENCE_SECONDS = 0.1
# How long to pause at least after a refusal that the ledger may not have heard of.
_PAUSE_SECONDS = 1.0
# Requests asked for at once, however many wait.
_MOST = 64
#: Where nothing limits a model its actors ask so seldom, and hear of a refusal so late.
OPEN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a model as the ledger begins with them; ``None`` where there is none.

    ``assumed`` stands for a default that what the provider states replaces, up or down.
    """

    rpm: float | None
    tpm: float | None
    assumed: bool = False


#: An attempt that has ended: its slip, what its reply stated, tokens to correct by, and whether
#: it was refused with a 429.
Ended = tuple[Slip, StatedLimits | None, float, bool]


@dataclass(frozen=True, slots=True)
class Lease:
    """Leave to send the first requests that were asked for, a slip for each.

    The rest is as of the limiter; while ``is_open`` nobody needs to ask for `OPEN_SECONDS`.
    """

    slips: Sequence[Slip]
    counts_tokens: bool
    refusals_in_a_row: int
    pause_seconds: float = 0.0
    is_open: bool = False
    strays: bool = False


class Ledger:
    """The limiters of all models, asked from many processes.

    Should its process be lost, another one takes its place, on the same machine. It begins with
    the limits of the config and learns again what replies state. What the lost one admitted last is
    not known: so for a moment nothing is, and then everything at its pace.
    """

    def __init__(
        self, limits: Mapping[str, Limits], another: Callable[[], bool] = lambda: False
    ) -> None:
        clock = SystemClock()
        self._began = clock.now()
        self._limiters = {
            model: Limiter.with_default(clock)
            if each.assumed
            else Limiter(each.rpm, each.tpm, clock)
            for model, each in limits.items()
        }
        if another():
            for limiter in self._limiters.values():
                limiter.pause(BURST_SECONDS)

    def lease(
        self, model: str, wants: Sequence[float], ended: Sequence[Ended], unasked: int = 0
    ) -> Lease:
        """Wait until the first of some requests may be sent, though not for long.

        What ends meanwhile may be what they wait for, and is heard of with the next question.

        Args:
            wants: Tokens of each request that waits, in order.
            ended: Attempts that have ended since the last time.
            unasked: Requests that were sent since then without asking.
        """
        limiter = self._limiters[model]
        if unasked:
            limiter.sent(unasked)
        for slip, stated, correction, refused in ended:
            if slip.at >= self._began:
                limiter.finish(slip, stated, correction, refused=refused)
            elif stated is not None:
                # Of a lost ledger, whose counts mean nothing here.
                limiter.adopt(stated.rpm, stated.tpm)
        slips: list[Slip] = []
        until = 0.0
        for tokens in wants:
            if slips and time.monotonic() >= until:
                break
            patience = SLICE_SECONDS if slips else PATIENCE_SECONDS
            if (admitted := limiter.acquire_within(tokens, patience)) is None:
                break
            slips.append(admitted)
            if not until:
                until = time.monotonic() + SLICE_SECONDS
        counts, refusals = limiter.counts_tokens, limiter.refusals_in_a_row
        pause, is_open, strays = limiter.pause_seconds, limiter.is_open, limiter.strays
        return Lease(slips, counts, refusals, pause, is_open, strays)

    def pause(self, model: str, seconds: float) -> None:
        self._limiters[model].pause(seconds)

    def hold(self, on: bool) -> None:
        for limiter in self._limiters.values():
            limiter.hold(on)

    def rpm(self) -> dict[str, float | None]:
        return {model: limiter.rpm for model, limiter in self._limiters.items()}


class LeasedLimiter(Limiter):
    """A limiter whose leave to send comes from a `Ledger` elsewhere.

    One thread at a time asks for all that wait. A request that was admitted while the run stops
    is counted and not sent, which costs nothing but a moment of the limit.
    """

    def __init__(
        self,
        limits: Limits,
        clock: Clock,
        lease: Callable[[Sequence[float], Sequence[Ended], int], Lease],
        tell: Callable[..., None],
    ) -> None:
        super().__init__(limits.rpm, limits.tpm, clock)
        self._lease = lease
        self._tell = tell
        self._counts_tokens = limits.tpm is not None
        self._refusals, self._pause_seconds, self._strays = 0, 0.0, False
        self._queue: deque[_Waiter] = deque()
        self._ended: list[Ended] = []
        self._open_until, self._unasked = float("-inf"), 0
        self._guard = threading.Lock()
        self._asking = threading.Lock()

    @property
    def counts_tokens(self) -> bool:
        return self._counts_tokens

    def acquire(self, tokens: float = 0.0) -> Slip:
        """Wait until a request of so many tokens may be sent, and count it; or `Cancelled`."""
        mine = self._queue_up(tokens)
        while mine.slip is None:
            self._clock.check()
            with self._asking:
                if mine.slip is None:
                    self._ask()
        self._clock.check()
        return mine.slip

    def try_acquire(self, tokens: float = 0.0) -> Slip | float:
        """The same without waiting for more than one answer of the ledger."""
        mine = self._queue_up(tokens)
        if mine.slip is None:
            with self._asking:
                if mine.slip is None:
                    self._ask()
            with self._guard:
                if mine.slip is None:
                    self._queue.remove(mine)
                    return PATIENCE_SECONDS
        self._clock.check()
        return mine.slip

    def _queue_up(self, tokens: float) -> _Waiter:
        self._clock.check()
        mine = _Waiter(tokens)
        with self._guard:
            now = self._clock.now()
            if now < self._open_until:
                self._unasked += 1
                mine.slip = Slip(now, tokens, None, None)
            else:
                self._queue.append(mine)
        return mine

    def finish(
        self,
        slip: Slip,
        stated: StatedLimits | None = None,
        correction: float = 0.0,
        *,
        refused: bool = False,
    ) -> None:
        """Note that an attempt has ended; the ledger hears of it with the next question."""
        tells = stated is not None and bool(stated.rpm or stated.tpm)
        with self._guard:
            if tells or refused:
                self._open_until = float("-inf")
            elif slip.sent is None:
                return  # nothing that would limit anybody
            self._ended.append((slip, stated, correction, refused))

    @property
    def refusals_in_a_row(self) -> int:
        return self._refusals

    @property
    def pause_seconds(self) -> float:
        """As the ledger knew it at the last question, and a moment at least."""
        return max(_PAUSE_SECONDS, self._pause_seconds)

    @property
    def strays(self) -> bool:
        return self._strays

    def pause(self, seconds: float) -> None:
        with self._guard:
            self._open_until = float("-inf")
        self._tell("pause", seconds)

    def _ask(self) -> None:
        with self._guard:
            asking = list(islice(self._queue, _MOST))
            ended, self._ended = self._ended, []
            unasked, self._unasked = self._unasked, 0
        lease = self._lease([waiter.tokens for waiter in asking], ended, unasked)
        self._counts_tokens, self._refusals = lease.counts_tokens, lease.refusals_in_a_row
        self._pause_seconds, self._strays = lease.pause_seconds, lease.strays
        with self._guard:
            if lease.is_open:
                self._open_until = self._clock.now() + OPEN_SECONDS
            for slip in lease.slips:
                self._queue.popleft().slip = slip


@dataclass(slots=True, eq=False)
class _Waiter:
    tokens: float
    slip: Slip | None = None
