"""What goes live: models without a batch API, and everything once the deadline is over."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from llm_batch.chain.config import Config
from llm_batch.engines.batch.job_log import JobLog
from llm_batch.engines.local import ThreadsEngine
from llm_batch.records import Call, Failure, Request
from llm_batch.sending.budget import Budget
from llm_batch.sending.clock import Clock
from llm_batch.sending.fleet import Fleet


class Late:
    """A queue in front of the engine of threads.

    Args:
        config: Its workers and its deadline.
        fleet: Serves live, within its limits.
        budget: Where the difference to the price of a batch is held.
        clock: Where time comes from.
        log: The deadline counts from the first job of it that is open.

    Attributes:
        over: Whether the deadline is.
    """

    def __init__(
        self, config: Config, fleet: Fleet, budget: Budget, clock: Clock, log: JobLog
    ) -> None:
        self._fleet, self._budget, self._clock = fleet, budget, clock
        self._threads = ThreadsEngine(fleet.call, config.limits.workers)
        self._queue: deque[Request] = deque()
        seconds = config.batch.deadline_seconds
        begun = min([clock.time(), *(job.at for job in log.open.values())])
        self._deadline = None if seconds is None else begun + seconds
        self.over = False
        #: Models that were served by batch until then.
        self._batched: set[str] = set()
        #: Keys of the requests that had money held for them at the price of a batch.
        self._cheap: set[str] = set()

    @property
    def free(self) -> int:
        return 0 if self._queue else self._threads.free

    @property
    def held(self) -> int:
        return len(self._queue) + self._threads.held

    @property
    def busy(self) -> bool:
        """Whether calls are being made."""
        return bool(self._threads.held)

    def is_due(self) -> bool:
        """Whether the deadline is over and was not noticed yet."""
        return not self.over and self._deadline is not None and self._clock.time() >= self._deadline

    def begin(self) -> None:
        """From now on live prices hold."""
        self.over = True
        for name, model in self._fleet.models.items():
            if model.batch:
                self._batched.add(name)
                model.batch = False

    def put(self, request: Request, *, at_batch_price: bool) -> None:
        """Take a request to be sent live.

        Args:
            request: The request.
            at_batch_price: Whether the money held for it is what it costs by batch.
        """
        self._queue.append(request)
        if at_batch_price and request.model in self._batched:
            self._cheap.add(request.key)

    def feed(self) -> Iterator[Call]:
        """Give the threads what they have room for; calls that the budget has no room for."""
        while self._queue and self._threads.free > 0:
            request = self._queue.popleft()
            if self._afford(request):
                self._threads.submit(request)
            else:
                why = Failure("budget", "the budget has no room for this request at the live price")
                yield Call(request, (), failure=why, cost=0.0)

    def wait(self, timeout_seconds: float) -> Sequence[Call]:
        """Calls that have finished, as an engine's."""
        return self._threads.wait(timeout_seconds)

    def give_back(self) -> list[Request]:
        """Requests that were not begun."""
        returned = [*self._threads.give_back(), *self._queue]
        self._queue.clear()
        return returned

    def close(self) -> None:
        """Wait for what has begun."""
        self._threads.close()

    def _afford(self, request: Request) -> bool:
        """Hold what the request costs live beyond what a batch of it does."""
        if self._budget.cap is None or request.key not in self._cheap:
            return True
        model = self._fleet.models[request.model]
        more = model.most(request, batch=False) - model.most(request, batch=True)
        if more > 0 and not self._budget.hold_more(request.item_id, more):
            return False
        self._cheap.discard(request.key)
        return True
