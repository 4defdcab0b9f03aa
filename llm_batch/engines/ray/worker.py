"""What runs in an actor: some threads that make calls for the driver."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from llm_batch.chain.config import Config
from llm_batch.engines.local import ThreadsEngine
from llm_batch.engines.ray.leases import Ended, Lease, LeasedLimiter, Limits
from llm_batch.errors import ConfigError, LlmbError
from llm_batch.records import Call, Request
from llm_batch.sending.client import Budget
from llm_batch.sending.clock import SystemClock
from llm_batch.sending.fleet import Fleet
from llm_batch.sending.limits import Limiter
from llm_batch.sending.pool import Notice

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
        returned: Requests that were not begun and will not be.
        stopped: Whether it was told to stop before this.
        notices: Of endpoints that are left out or used again, and what they do not take.
    """

    calls: Sequence[Call]
    asks: Sequence[Ask]
    returned: Sequence[Request]
    held: int
    stopped: bool = False
    notices: Sequence[Notice | str] = ()
    bug: Exception | None = None


@dataclass(frozen=True, slots=True)
class Kit:
    """What an actor makes its clients of.

    Attributes:
        variables: Of the driver's environment: keys and addresses of the models. They travel in
            memory only.
        folder: Where the driver runs; relative paths begin there.
    """

    config: Config
    limits: Mapping[str, Limits]
    variables: Mapping[str, str]
    folder: str


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
        """Wait for the driver's answer; `Cancelled` when the run stopped first."""
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
        with self._changed:
            return [ask for ask in self._asks.values() if ask.number not in self._answers]

    def answer(self, answers: Mapping[int, bool]) -> None:
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
    """What an actor does. The driver has one `exchange` with it at a time."""

    def __init__(self, ledger: Any, workers: int) -> None:
        self._ledger = ledger
        self._workers = workers
        self._clock = SystemClock()
        self._engine: ThreadsEngine | None = None
        self._stopped = False
        self._number, self._news = 0, News((), (), (), 0)
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()

    def start(self, kit: Kit) -> None:
        """Make the clients of the models; `ConfigError` where one cannot be had."""
        os.environ.update(kit.variables)
        with suppress(OSError):  # a node of its own files may have all it needs
            os.chdir(kit.folder)
        self._budget = DriversBudget(self._clock)
        try:
            self._fleet = Fleet(
                kit.config,
                self._budget,
                self._clock,
                limiter_of=lambda model: self._limiter(model, kit.limits[model]),
                connections=self._workers,
            )
        except LlmbError as error:
            where = f"on {os.uname().nodename} of the Ray cluster"
            raise ConfigError(f"{where}: {error.message}", error.hint) from error
        self._engine = ThreadsEngine(self._fleet.call, self._workers)

    def exchange(
        self,
        number: int,
        requests: Sequence[Request],
        answers: Mapping[int, bool],
        stop: bool,
        seconds: float,
    ) -> News:
        """Take requests, and say what has finished within so many seconds.

        The same ``number`` once more means that the driver did not hear what was said: it is said
        again, and nothing else is done. ``stop`` begins nothing more.
        """
        engine = self._engine
        assert engine is not None  # start() came first
        if number == self._number:
            return self._news
        self._budget.answer(answers)
        for request in requests:
            engine.submit(request)
        returned: Sequence[Request] = ()
        if stop:
            self._clock.cancel()
            returned = engine.give_back()
            self._stopped = True
        calls: Sequence[Call] = ()
        bug: Exception | None = None
        try:
            calls = engine.wait(seconds)
        except BaseException as error:
            bug = _that_travels(error)
        self._number, self._news = (
            number,
            News(
                calls,
                self._budget.open_asks(),
                returned,
                engine.held,
                self._stopped,
                self._fleet.heard(),
                bug,
            ),
        )
        return self._news

    def _limiter(self, model: str, limits: Limits) -> Limiter:
        import ray

        ledger = self._ledger

        def lease(wants: Sequence[float], ended: Sequence[Ended], unasked: int) -> Lease:
            while True:
                asked = ledger.lease.remote(model, wants, ended, unasked)
                try:
                    while True:
                        self._clock.check()  # a pause may be long
                        with suppress(ray.exceptions.GetTimeoutError):
                            given: Lease = ray.get(asked, timeout=_ANSWER_SECONDS)
                            return given
                except ray.exceptions.RayTaskError:
                    raise
                except ray.exceptions.RayError:
                    # The ledger is gone, and another will be there in a moment. Whether it heard
                    # of what has ended is not known, and saying so twice would count it twice.
                    ended, unasked = (), 0
                    self._clock.sleep(_ANSWER_SECONDS)

        def tell(what: str, *arguments: Any) -> None:
            getattr(ledger, what).remote(model, *arguments)

        return LeasedLimiter(limits, self._clock, lease, tell)


def _that_travels(error: BaseException) -> Exception:
    """An exception as it can be sent, with where it was raised; not all can be pickled."""
    if isinstance(error, LlmbError):
        return error
    where = "".join(traceback.format_exception(error))
    return RuntimeError(f"in an actor of the Ray cluster:\n{where}")


def actor_class() -> type:
    """The class of the actors: a `Worker` behind a question that any node can answer.

    A class inside a function travels by value, so that a node with another version of this
    package, or without it, says so instead of failing to find what it is told to run.
    """

    class Worker:
        def here(self, version: str) -> tuple[str, str]:
            """Where this is: the name of the machine, and Ray's of the node.

            Args:
                version: The driver's.
            """
            import os

            import ray

            import llm_batch

            node = os.uname().nodename
            if version != llm_batch.__version__:
                raise ImportError(
                    f"llm_batch {llm_batch.__version__} is installed on {node} of the Ray "
                    f"cluster, and {version} on this machine"
                )
            return node, ray.get_runtime_context().get_node_id()

        def start(self, ledger: Any, workers: int, kit: Any, variables: Any) -> None:
            from dataclasses import replace

            from llm_batch.engines.ray.worker import Worker

            self._worker = Worker(ledger, workers)
            self._worker.start(replace(kit, variables=variables))

        def exchange(self, *words: Any) -> Any:
            return self._worker.exchange(*words)

    return Worker
