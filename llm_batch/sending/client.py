"""One model with its limits, retries and price: a Request in, a Call out.

The client alone retries. Transient errors are tried again with exponential backoff and full
jitter; a provider that asks to wait is obeyed by every thread, because one that goes on sending
keeps them all refused. A call never raises for anything a provider does: its outcome says it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from llm_batch.chain.credentials import without_echoes, without_own_keys
from llm_batch.errors import (
    ProviderError,
    RateLimited,
    Refused,
    Transient,
    Unavailable,
    WebPage,
    status_of,
)
from llm_batch.models.prices import Tariff
from llm_batch.records import Attempt, Call, Completion, Failure, Request, Usage, larger, writable
from llm_batch.sending.clock import Cancelled, Clock, clock_words
from llm_batch.sending.headers import StatedLimits, stated_limits
from llm_batch.sending.limits import Limiter, counted_tokens
from llm_batch.sending.providers import Provider, Reply

if TYPE_CHECKING:
    import tenacity

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
#: A key that has answered in this run and is refused for as many items in a row, with no answer
#: between them, is refused for good; fewer are a matter of those items.
FORBIDDEN_IN_A_ROW = 5
# Web pages that come for one request of an address that has never answered, before it is given up.
_PAGES_IN_A_ROW = 3
#: A provider that asks for a longer pause than this is not waited for: the run ends instead.
LONGEST_PAUSE_SECONDS = 600.0
# The spread added to a pause that was asked for, so that clients do not return in one instant.
_PAUSE_JITTER = 0.1


class Meter(Protocol):
    @property
    def tariff(self) -> Tariff | None:
        """What its tokens cost; ``None`` when unknown, and every cost is then unknown too."""

    def input_tokens(self, request: Request) -> int: ...

    def most(self, request: Request, batch: bool | None = None) -> float:
        """The most one attempt can cost, in USD; 0 when the price is unknown."""


@dataclass
class _Progress:
    """What has happened to one call so far. Money is USD, times are of the clock."""

    request: Request
    attempts: list[Attempt] = field(default_factory=list)
    first_sent: float = 0.0
    may_have_cost: float = 0.0
    guessed: bool = False
    held_more: float = 0.0
    wait_alone: float = 0.0


@dataclass(eq=False)
class Client:
    """Sends the requests of one model; used from many threads.

    A timeout is for one attempt, from connecting to the last byte; tokens are counted only where a
    limit or a worst case needs it. In a run whose earlier session was answered (``resumed``) a 403
    is no news of the key, though a 401 still is.
    """

    provider: Provider
    limiter: Limiter
    budget: Budget
    clock: Clock
    meter: Meter
    _: KW_ONLY
    timeout_seconds: float = 60.0
    max_attempts: int = 6
    jitter: Callable[[], float] = random.random
    resumed: bool = False

    def __post_init__(self) -> None:
        self._answered = self._key_answered = False
        # When the key was last refused for an item, of those that no answer was sent after.
        self._forbidden: dict[str, float] = {}
        # Total time is bounded too: every attempt in full, as much again for the waits between
        # them, and one long pause. It counts from the first sending, not from the queue for it.
        self._longest_seconds = 2 * self.max_attempts * self.timeout_seconds + LONGEST_PAUSE_SECONDS

    def call(self, request: Request) -> Call:
        """Send a request until it is answered, refused for good, or tried often enough.

        Raises:
            Cancelled: The run stopped while the request was waiting and nothing was sent.
        """
        progress = _Progress(request)
        try:
            try:
                reply = self._attempt(progress)
            except Transient as error:
                reply = self._retrying(self._again, progress, [error])
        except ProviderError as error:
            return self._failed(progress, error)
        except Cancelled:
            if not progress.attempts:
                raise
            stopped = Unavailable("the run stopped before another attempt", kind="cancelled")
            return self._failed(progress, stopped)
        return self._answered_call(progress, reply.completion)

    @cached_property
    def _retrying(self) -> tenacity.Retrying:
        """Loaded at the first failure: a call that is answered at once pays nothing for it."""
        import tenacity

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Transient),
            stop=self._tried_enough,
            wait=self._backoff,
            sleep=self.clock.sleep,
            reraise=True,
        )

    def _again(self, progress: _Progress, failed: list[Transient]) -> Reply:
        """Another attempt, after the one that failed already; that one is waited for too."""
        if failed:
            raise failed.pop()
        return self._attempt(progress)

    def _attempt(self, progress: _Progress) -> Reply:
        request, limiter = progress.request, self.limiter
        if progress.may_have_cost:
            self._hold_for_another(progress)
        counted = None
        if limiter.counts_tokens:
            counted = self._counted(request, self.meter.input_tokens(request))
        slip = limiter.acquire(counted or 0)
        started_at, started = self.clock.time(), self.clock.now()
        if not progress.attempts:
            progress.first_sent = started

        def note(error: str = "", maybe_billed: bool = False) -> None:
            seconds = self.clock.now() - started
            number = len(progress.attempts) + 1
            progress.attempts.append(Attempt(number, started_at, seconds, error, maybe_billed))

        try:
            reply = self.provider.complete(request, self.timeout_seconds)
        except ProviderError as error:
            note(error.kind, error.maybe_billed)
            if error.maybe_billed:
                self._charge(progress, error.partial)
            if error.status_code is not None:
                self._answered = True
            stated = self._stated(error.headers)
            limiter.finish(slip, stated, refused=isinstance(error, RateLimited))
            if isinstance(error, WebPage):
                self._end_at_pages(error, progress)
            progress.wait_alone = self._pause(error, len(progress.attempts))
            raise
        except BaseException:
            limiter.finish(slip)
            raise
        note()
        self._answered = self._key_answered = True
        if self._forbidden:  # an answer that was under way before says nothing of the key now
            refused = list(self._forbidden.items())
            self._forbidden = {item: at for item, at in refused if at > started}
        correction = 0
        usage = reply.completion.usage
        if counted is not None and usage is not None:
            correction = self._counted_of(request, usage) - counted
        limiter.finish(slip, self._stated(reply.headers), correction)
        return reply

    def _end_at_pages(self, error: WebPage, progress: _Progress) -> None:
        """Give up an address that has nothing but web pages.

        Raises:
            Refused: It has sent so many in a row, and no answer to anybody.
        """
        last = progress.attempts[-_PAGES_IN_A_ROW:]
        alike = len(last) == _PAGES_IN_A_ROW and all(each.error == error.kind for each in last)
        if alike and not (self._key_answered or self.resumed):
            raise Refused(
                "web pages come in the place of answers",
                kind="model",
                status_code=error.status_code,
                hint="check api_base, and whether a proxy or a sign-in page stands between",
            ) from error

    def _hold_for_another(self, progress: _Progress) -> None:
        missing = progress.may_have_cost - progress.held_more
        if missing > 0:
            if not self.budget.hold_more(progress.request.item_id, missing):
                raise Refused("the budget has no room for another attempt", kind="budget")
            progress.held_more += missing

    def _counted(self, request: Request, input_tokens: int) -> int:
        return counted_tokens(self.provider.vendor, input_tokens, request.max_tokens)

    def _counted_of(self, request: Request, usage: Usage) -> int:
        counted = self._counted(request, self._limited_input(usage))
        if request.max_tokens and usage.output_tokens > request.max_tokens:
            return max(counted, usage.input_tokens + usage.output_tokens)  # thoughts beyond the cap
        return counted

    def _limited_input(self, usage: Usage) -> int:
        """For Anthropic, cached ones do not count towards the limit."""
        cached = usage.cache_read_tokens if self.provider.vendor == "anthropic" else 0
        return usage.input_tokens - cached

    def _stated(self, headers: Mapping[str, str]) -> StatedLimits | None:
        if not headers:
            return None
        stated = stated_limits(headers, self.clock.time())
        if self.provider.vendor == "groq":
            # Its headers for requests count a day, not a minute.
            return replace(stated, rpm=None, requests_left=None)
        return stated

    def _pause(self, error: ProviderError, attempt: int) -> float:
        """Hold every thread back when the provider is over its limit or asks for time.

        Gives the seconds that this request alone must wait, when the others need not.

        Raises:
            Refused: It asks for more time than anyone would wait.
        """
        asked = getattr(error, "retry_after_seconds", None)
        if asked is not None and asked > LONGEST_PAUSE_SECONDS:
            raise Refused(
                f"the provider asks for a pause of {asked:,.0f} s: {error.message}",
                kind="quota",
                status_code=error.status_code,
                headers=error.headers,
                hint=f"run the same command again after {clock_words(self.clock.time(), asked)}",
            ) from error
        if isinstance(error, RateLimited) and self.limiter.strays:
            return max(asked or 0.0, self._exponential(attempt) * self.jitter())
        if isinstance(error, RateLimited):
            # A floor: whoever is refused again in spite of it waits longer each time.
            again = self.limiter.refusals_in_a_row > 1
            seconds = self.limiter.pause_seconds if again or not asked else 0.0
        elif asked:
            seconds = self._exponential(attempt - 1)
        else:
            return 0.0
        seconds = max(seconds, asked or 0.0)
        if seconds:
            jitter = self.jitter()
            self.limiter.pause(seconds * (1 + _PAUSE_JITTER * jitter) + 0.01 * jitter)
        return 0.0

    def _tried_enough(self, state: tenacity.RetryCallState) -> bool:
        progress: _Progress = state.args[0]
        return (
            len(progress.attempts) >= self.max_attempts
            or self.clock.now() - progress.first_sent >= self._longest_seconds
        )

    def _backoff(self, state: tenacity.RetryCallState) -> float:
        progress: _Progress = state.args[0]
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimited):
            # The limiter holds everyone back already, or else this is a stray.
            return progress.wait_alone
        return self._exponential(len(progress.attempts)) * self.jitter()

    def _exponential(self, attempt: int) -> float:
        return min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2.0 ** (attempt - 1))

    def _list_cost(self, request: Request, usage: Usage | None) -> float | None:
        """USD at our prices, at worst where the usage is not known; ``None`` without a price."""
        if (tariff := self.meter.tariff) is None:
            return None
        return self.meter.most(request, False) if usage is None else tariff.cost(usage)

    def _charge(self, progress: _Progress, partial: Completion | None) -> None:
        """Note what an attempt that failed may cost: what its reply says, or else the most."""
        usage = partial.usage if partial is not None else None
        ours = self._list_cost(progress.request, usage)
        cost = larger(ours, partial.reported_cost if partial is not None else None)
        progress.may_have_cost += cost or 0.0
        progress.guessed = progress.guessed or usage is None

    def _answered_call(self, progress: _Progress, completion: Completion) -> Call:
        request, usage, reported = progress.request, completion.usage, completion.reported_cost
        ours = self._list_cost(request, usage)
        cost = larger(ours, reported)
        if (text := writable(completion.text)) is not completion.text:
            completion = replace(completion, text=text)
        completion = without_echoes(completion)
        return Call(
            request,
            tuple(progress.attempts),
            completion=completion,
            cost=None if cost is None else cost + progress.may_have_cost,
            worst_case=usage is None or progress.guessed,
            simulated=self.provider.simulated,
            list_cost=None if reported is None else ours,
        )

    def _failed(self, progress: _Progress, error: ProviderError) -> Call:
        kind, message = error.kind, without_own_keys(error.message)
        if kind == "unreachable" and not self._answered:
            # It never answered anything: this is a wrong address or a server that is not up.
            kind = "refused"
        elif (alone := status_of(kind).alone) and self._is_about_one_item(
            progress.request.item_id, error
        ):
            kind = alone
        elif isinstance(error, Refused) and kind != "budget":
            kind = "refused"
        if error.hint and kind == "refused":
            message = f"{message} ({error.hint})"
        priced = self.meter.tariff is not None or progress.may_have_cost > 0
        return Call(
            progress.request,
            tuple(progress.attempts),
            failure=Failure(kind, writable(message), error.status_code),
            cost=progress.may_have_cost if priced else None,
            worst_case=progress.guessed,
            simulated=self.provider.simulated,
        )

    def _is_about_one_item(self, item_id: str, error: ProviderError) -> bool:
        """Whether what is refused has answered others, so that the item is at fault."""
        forbidden = self._forbidden
        forbidden[item_id] = self.clock.now()
        answered = self._key_answered or (self.resumed and error.status_code == 403)
        return answered and len(forbidden) < FORBIDDEN_IN_A_ROW


# Sums of many small floats may land a hair above the cap they were meant to reach.
_TOLERANCE = 1e-9


class Budget:
    """A cap on spending, in USD, that holds while many calls are in the air; for many threads.

    Before a request is sent, the most it can cost is held back; when it has finished, the hold is
    replaced by what it did cost. What is spent plus what is held never exceeds the cap, so neither
    does the bill. Holds are kept per item, so an item that starts has its judge's share as well.

    ``dearer`` is how many times the worst case a call has cost, 1 where none cost more: a provider
    may bill thoughts beyond ``max_tokens``, or more than the list price.
    """

    def __init__(self, cap: float | None, spent: float = 0.0) -> None:
        self.cap = cap
        self.spent = spent
        self.dearer = 1.0
        self._held: dict[str, float] = {}
        self._worst: dict[str, float] = {}  # of what is held, before it was made dearer
        self._held_sum = 0.0
        self._lock = threading.Lock()

    def hold(self, item_id: str, amount: float) -> bool:
        """Set what is held back for an item, in USD; ``False`` and unchanged if it does not fit."""
        with self._lock:
            held = self._hold(item_id, amount)
            if held:
                self._worst[item_id] = amount / self.dearer
            return held

    def hold_more(self, item_id: str, amount: float) -> bool:
        """Raise an item's hold, for an attempt after one that may have been billed."""
        with self._lock:
            return self._hold(item_id, self._held.get(item_id, 0.0) + amount)

    def move(self, item_id: str, to: str) -> None:
        with self._lock:
            amount = self._held.get(item_id, 0.0)
            self._set(item_id, 0.0)
            self._set(to, self._held.get(to, 0.0) + amount)

    def charge(self, item_id: str, cost: float) -> None:
        """Book what a call cost; the item's hold shrinks by as much."""
        with self._lock:
            self.spent += cost
            held = self._held.get(item_id, 0.0)
            worst = self._worst.pop(item_id, 0.0)
            if worst > 0 and cost > held + _TOLERANCE:
                self.dearer = max(self.dearer, cost / max(worst, held / self.dearer))
            self._set(item_id, max(0.0, held - cost))

    def release(self, item_id: str) -> None:
        with self._lock:
            self._set(item_id, 0.0)
            self._worst.pop(item_id, None)

    @property
    def held(self) -> float:
        return self._held_sum

    def _hold(self, item_id: str, amount: float) -> bool:
        growth = amount - self._held.get(item_id, 0.0)
        if (
            self.cap is not None
            and growth > 0
            and self.spent + self._held_sum + growth > self.cap + _TOLERANCE
        ):
            return False
        self._set(item_id, amount)
        return True

    def _set(self, item_id: str, amount: float) -> None:
        self._held_sum += amount - self._held.pop(item_id, 0.0)
        if amount:
            self._held[item_id] = amount
        if not self._held:
            self._held_sum = 0.0  # nothing in flight: drop the rounding errors
