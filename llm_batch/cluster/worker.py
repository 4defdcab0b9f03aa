"""What runs in an actor: some threads that make calls for the driver."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from llm_batch.budget import Budget
from llm_batch.clock import SystemClock
from llm_batch.cluster.leases import Ended, Lease, LeasedLimiter, Pace
from llm_batch.config import Config
from llm_batch.engines.threads import ThreadsEngine
from llm_batch.fleet import Fleet
from llm_batch.limits import Limiter
from llm_batch.pool import Notice
from llm_batch.providers.redact import remember_key
from llm_batch.records import Call, Request

# How often a worker looks whether the run goes on while it waits for an answer about money.
_ANSWER_SECONDS = 0.2


# How often a worker looks whether its node is still there.
_PARENT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ask:
    """A worker's question: may an item hold this much more (USD)?"""

    number: int
    item_id: str
    amount: float


@dataclass(frozen=True, slots=True)
class News:
    """What an actor has to say.

    Attributes:
        calls: Finished since it said something last.
        asks: Questions that wait for an answer.
        returned: Requests that were not begun and will not be.
        held: Requests it still has.
        notices: Of endpoints that are left out or used again.
    """

    calls: Sequence[Call]
    asks: Sequence[Ask]
    returned: Sequence[Request]
    held: int
    notices: Sequence[Notice] = ()


class DriversBudget(Budget):
    """The budget of a run whose driver is elsewhere: more money is asked for there."""

    def __init__(self, clock: SystemClock) -> None:
        super().__init__(None)
        self._clock = clock
        self._asks: dict[int, Ask] = {}
        self._answers: dict[int, bool] = {}
        self._number = 0
        self._changed = threading.Condition()

    def hold_more(self, item_id: str, amount: float) -> bool:
        """Wait for the driver's answer.

        Raises:
            Cancelled: The run stopped first.
        """
        with self._changed:
            self._number = number = self._number + 1
            self._asks[number] = Ask(number, item_id, amount)
            try:
                while number not in self._answers:
                    self._clock.check()
                    self._changed.wait(_ANSWER_SECONDS)
                return self._answers.pop(number)
            finally:
                del self._asks[number]

    def open_asks(self) -> list[Ask]:
        """Questions that have not been answered."""
        with self._changed:
            return [ask for ask in self._asks.values() if ask.number not in self._answers]

    def answer(self, answers: Mapping[int, bool]) -> None:
        """Take in the driver's answers."""
        with self._changed:
            for number, allowed in answers.items():
                if number in self._asks:
                    self._answers[number] = allowed
            self._changed.notify_all()


def _end_with_parent(parent: int) -> None:
    """End this process when the one that started it, Ray's node, is gone.

    Ray ends its workers then too, but waits for their threads, and those wait for a driver that
    never asks again: the process would stay, and could go on to make calls.
    """
    while os.getppid() == parent:
        time.sleep(_PARENT_SECONDS)
    os._exit(1)


class Worker:
    """An actor. The driver has one `exchange` with it at a time.

    Args:
        ledger: The handle of the ledger's actor.
        workers: Threads.
    """

    def __init__(self, ledger: Any, workers: int) -> None:
        self._ledger = ledger
        self._workers = workers
        self._clock = SystemClock()
        self._engine: ThreadsEngine | None = None
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()

    def start(self, config: Config, paces: Mapping[str, Pace], keys: Mapping[str, str]) -> str:
        """Make the clients of the models.

        Args:
            config: The driver's.
            paces: The ledger's.
            keys: Environment variables of the driver that hold keys, with their values. They
                travel in memory only.

        Returns:
            The node this runs on, for messages.
        """
        os.environ.update(keys)
        for key in keys.values():
            remember_key(key)
        self._budget = DriversBudget(self._clock)
        self._fleet = Fleet(
            config,
            self._budget,
            self._clock,
            limiter_of=lambda model: self._limiter(model, paces[model]),
            connections=self._workers,
        )
        self._engine = ThreadsEngine(self._fleet.call, self._workers)
        return os.uname().nodename

    def exchange(
        self, requests: Sequence[Request], answers: Mapping[int, bool], stop: bool, seconds: float
    ) -> News:
        """Take requests, and say what has finished; at most ``seconds`` are waited for that."""
        engine = self._engine
        assert engine is not None  # start() came first
        self._budget.answer(answers)
        for request in requests:
            engine.submit(request)
        returned: Sequence[Request] = ()
        if stop:
            self._clock.cancel()
            returned = engine.give_back()
        calls = engine.wait(seconds)
        asks = self._budget.open_asks()
        return News(calls, asks, returned, engine.held, self._fleet.heard())

    def _limiter(self, model: str, pace: Pace) -> Limiter:
        import ray

        if pace == Pace(None, None):
            return Limiter(None, None, self._clock)
        ledger = self._ledger

        def lease(wants: Sequence[float], ended: Sequence[Ended]) -> Lease:
            asked = ledger.lease.remote(model, wants, ended)
            while True:
                self._clock.check()  # a pause may be long
                with suppress(ray.exceptions.GetTimeoutError):
                    given: Lease = ray.get(asked, timeout=_ANSWER_SECONDS)
                    return given

        def tell(what: str, *arguments: Any) -> None:
            getattr(ledger, what).remote(model, *arguments)

        return LeasedLimiter(pace, self._clock, lease, tell)
