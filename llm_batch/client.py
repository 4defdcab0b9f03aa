"""One model with its limits, retries and price: a Request in, a Call out.

The client alone retries. Transient errors are tried again with exponential backoff and full
jitter; a provider that asks to wait is obeyed by every thread, because one that goes on sending
keeps them all refused. A call never raises for anything a provider does: its outcome says it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import tenacity

from llm_batch.budget import Budget
from llm_batch.clock import Cancelled, Clock
from llm_batch.errors import ProviderError, RateLimited, Refused, Transient, Unavailable
from llm_batch.limits import Limiter, counted_tokens, stated_limits
from llm_batch.prices import Tariff
from llm_batch.providers.base import Provider, Reply
from llm_batch.records import Attempt, Call, Completion, Failure, Request
from llm_batch.tokens import TokenCounter

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
#: A provider that asks for a longer pause than this is not waited for.
_LONGEST_PAUSE_SECONDS = 600.0
# The spread added to a pause that was asked for, so that clients do not return in one instant.
_PAUSE_JITTER = 0.1


@dataclass
class _Progress:
    """What has happened to one call so far."""

    request: Request
    timeout_seconds: float
    attempts: list[Attempt] = field(default_factory=list)
    may_have_cost: float = 0.0


class Client:
    """Sends the requests of one model; used from many threads.

    Args:
        provider: Who answers.
        limiter: When a request may be sent.
        budget: Where an attempt after one that may have been billed finds its money.
        tariff: What tokens cost; ``None`` when unknown, and every cost is then unknown too.
        counter: Counts tokens; called only where a token limit or a worst case needs it.
        output_cap: The most output tokens a request without ``max_tokens`` can have.
        clock: Where time comes from.
        timeout_seconds: For one attempt, from connecting to the last byte.
        max_attempts: Sends per call.
        jitter: Uniform numbers from 0 to 1.
    """

    def __init__(
        self,
        provider: Provider,
        limiter: Limiter,
        budget: Budget,
        clock: Clock,
        *,
        tariff: Tariff | None,
        counter: Callable[[], TokenCounter],
        output_cap: int | None = None,
        timeout_seconds: float = 60.0,
        max_attempts: int = 6,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.provider = provider
        self.limiter = limiter
        self._budget = budget
        self._clock = clock
        self._tariff = tariff
        self._counter = counter
        self._output_cap = output_cap
        self._timeout_seconds = timeout_seconds
        self._max_attempts = max_attempts
        self._jitter = jitter
        self._answered = False
        # Total time is bounded too: every attempt in full, and as much again for waiting.
        self._longest_seconds = 2 * max_attempts * timeout_seconds + _LONGEST_PAUSE_SECONDS

    def call(self, request: Request) -> Call:
        """Send a request until it is answered, refused for good, or tried often enough.

        Raises:
            Cancelled: The run stopped while the request was waiting and nothing was sent.
        """
        progress = _Progress(request, self._timeout_seconds)
        started = self._clock.now()
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, Transient)),
            stop=lambda state: (
                state.attempt_number >= self._max_attempts
                or self._clock.now() - started >= self._longest_seconds
            ),
            wait=self._backoff,
            sleep=self._clock.sleep,
            reraise=True,
        )
        try:
            reply = retrying(self._attempt, progress)
        except ProviderError as error:
            return self._failed(progress, error)
        except Cancelled:
            if not progress.attempts:
                raise
            stopped = Unavailable("the run stopped before another attempt", kind="cancelled")
            return self._failed(progress, stopped)
        return self._answered_call(progress, reply.completion)

    def _attempt(self, progress: _Progress) -> Reply:
        request = progress.request
        if progress.may_have_cost and not self._budget.hold_more(
            request.item_id, self._most(request)
        ):
            raise Refused("the budget has no room for another attempt", kind="budget")
        tokens = self._input_tokens(request) if self.limiter.counts_tokens else 0
        self.limiter.acquire(counted_tokens(self.provider.vendor, tokens, request.max_tokens))
        started_at, started = self._clock.time(), self._clock.now()

        def note(error: str = "", maybe_billed: bool = False) -> None:
            seconds = self._clock.now() - started
            number = len(progress.attempts) + 1
            progress.attempts.append(Attempt(number, started_at, seconds, error, maybe_billed))

        try:
            reply = self.provider.complete(request, progress.timeout_seconds)
        except ProviderError as error:
            note(error.kind, error.maybe_billed)
            if error.maybe_billed:
                progress.may_have_cost += self._most(request)
            self._learn(error.headers)
            self._pause(error, len(progress.attempts))
            raise
        note()
        self._answered = True
        self._learn(reply.headers)
        return reply

    def _learn(self, headers: object) -> None:
        if headers and isinstance(headers, dict):
            stated = stated_limits(headers)
            # Groq's header for requests counts a day, not a minute.
            rpm = None if self.provider.vendor == "groq" else stated.rpm
            self.limiter.adopt(rpm, stated.tpm)

    def _pause(self, error: ProviderError, attempt: int) -> None:
        """Hold every thread back when the provider is over its limit or asks for time."""
        if isinstance(error, RateLimited):
            asked = error.retry_after_seconds
            # Without a word from the provider: the wait doubles with each refusal.
            seconds = self._exponential(attempt) if asked is None else asked
        elif isinstance(error, Unavailable) and error.retry_after_seconds is not None:
            seconds = error.retry_after_seconds
        else:
            return
        seconds = min(seconds, _LONGEST_PAUSE_SECONDS)
        self.limiter.pause(seconds * (1 + _PAUSE_JITTER * self._jitter()) + 0.01 * self._jitter())

    def _backoff(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimited):
            return 0.0  # the limiter holds everyone back already
        return self._exponential(state.attempt_number) * self._jitter()

    def _exponential(self, attempt: int) -> float:
        return float(min(_LONGEST_BACKOFF_SECONDS, _FIRST_BACKOFF_SECONDS * 2 ** (attempt - 1)))

    def _answered_call(self, progress: _Progress, completion: Completion) -> Call:
        request = progress.request
        worst = completion.usage is None
        cost: float | None = None
        if self._tariff is not None:
            if completion.usage is None:
                cost = self._most(request)
            else:
                cost = self._tariff.cost(completion.usage)
            cost += progress.may_have_cost
        return Call(
            request,
            tuple(progress.attempts),
            completion=completion,
            cost=cost,
            worst_case=worst or progress.may_have_cost > 0,
            simulated=self.provider.simulated,
        )

    def _failed(self, progress: _Progress, error: ProviderError) -> Call:
        kind, message = error.kind, error.message
        if kind == "unreachable" and not self._answered:
            # It never answered anything: this is a wrong address or a server that is not up.
            kind = "refused"
        elif isinstance(error, Refused) and kind != "budget":
            kind = "refused"
        if error.hint and kind == "refused":
            message = f"{message} ({error.hint})"
        return Call(
            progress.request,
            tuple(progress.attempts),
            failure=Failure(kind, message, error.status_code),
            cost=progress.may_have_cost if self._tariff is not None else None,
            worst_case=progress.may_have_cost > 0,
            simulated=self.provider.simulated,
        )

    def _most(self, request: Request) -> float:
        if self._tariff is None:
            return 0.0
        counter = self._counter()
        tokens = int(counter.count_messages(request.messages) * counter.upper_factor) + 1
        return self._tariff.worst_case(tokens, request.max_tokens or self._output_cap or 0)

    def _input_tokens(self, request: Request) -> int:
        return self._counter().count_messages(request.messages)
