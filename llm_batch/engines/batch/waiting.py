"""Requests that are in no job: they wait for one, for another try, or go live instead.

Live go models without a batch API, and everything once the deadline is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from llm_batch.chain.config import Config
from llm_batch.engines.batch.job_log import Collected, Entry, Job, JobLog
from llm_batch.engines.batch.jobs import Jobs, Pack
from llm_batch.engines.batch.vendors import Connection, headers_like
from llm_batch.engines.local import ThreadsEngine
from llm_batch.errors import ProviderError, Rejected
from llm_batch.records import Attempt, Call, Failure, Request
from llm_batch.sending.client import Budget
from llm_batch.sending.clock import Cancelled, Clock, Stop
from llm_batch.sending.fleet import Fleet, FleetModel
from llm_batch.sending.providers.dialect import Form

#: What a line has around its body, at most.
AROUND = 200


def pack(
    queues: Iterable[deque[Request]],
    connection: Connection,
    priced: FleetModel,
    *,
    most_requests: int,
    room: int | None,
    may_exceed: bool,
    stopped: Callable[[], bool],
) -> Pack:
    """Take requests from the front of the queues of a model, until the run has stopped.

    Those of one queue that go with other headers than what is packed already wait for a job of
    their own. Together they may have ``room`` input tokens, ``None`` for no limit; the first may
    exceed that where no wait would help.
    """
    made, size = Pack(), 0
    for waiting in queues:
        while waiting and len(made.requests) < most_requests and not stopped():
            request = waiting[0]
            try:
                prepared = connection.wire.prepared(request)
            except ProviderError as error:
                made.unfit.append((waiting.popleft(), error))
                continue
            tokens = priced.input_tokens(request)
            own = len(prepared.body) + AROUND
            if own > (most := connection.api.most_bytes):
                said = f"the request has {own:,} bytes, and a batch at most {most:,}"
                made.unfit.append((waiting.popleft(), Rejected(said, kind="too_long")))
                continue
            if made.like is not None and headers_like(made.like) != headers_like(prepared):
                break
            size += own
            too_many = room is not None and tokens > room
            if made.requests and (too_many or size > most):
                return made
            if too_many and not may_exceed:
                return made
            made.requests.append(waiting.popleft())
            made.bodies.append(prepared.body)
            cost = priced.most(request) if priced.tariff is not None else None
            made.entries.append(
                Entry(request.key, request.item_id, request.step, request.sample, cost, tokens)
            )
            made.like = made.like or prepared
            room = None if room is None else room - tokens
    return made


#: Requests that are held at once: what fits into memory on any machine.
ROOM = 100_000


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that was submitted, with its requests in order and the form they are put in."""

    job: Job
    requests: list[Request]
    form: Form


@dataclass(frozen=True, slots=True)
class Unfit:
    request: Request
    error: ProviderError


class Waiting:
    """Requests that wait for a job, by model and step, and the submitting of such jobs.

    What is left over of one step goes with what there is of the next, in one job.
    """

    def __init__(
        self,
        jobs: Jobs,
        connections: Mapping[str, Connection],
        priced: Mapping[str, FleetModel],
        config: Config,
        stop: Stop,
    ) -> None:
        self._jobs, self._connections, self._priced = jobs, connections, priced
        self._most_requests = config.batch.job_requests or ROOM
        self._stop = stop
        self._requests: dict[str, dict[str, deque[Request]]] = {}

    @property
    def held(self) -> int:
        return sum(len(each) for steps in self._requests.values() for each in steps.values())

    @property
    def models(self) -> list[str]:
        """Those that some wait for."""
        return [model for model, steps in self._requests.items() if any(steps.values())]

    def put(self, request: Request) -> None:
        self._queue(request).append(request)

    def of(self, model: str) -> dict[str, int]:
        """How many of a model wait, by step."""
        return {step: len(each) for step, each in self._requests[model].items() if each}

    def take(self, model: str) -> list[Request]:
        return [request for each in self._requests.pop(model, {}).values() for request in each]

    def take_all(self) -> list[Request]:
        return [request for model in list(self._requests) for request in self.take(model)]

    def blocked_until(self, now: float) -> Iterator[float]:
        """When some that cannot be submitted now are tried again, in seconds of the clock."""
        for model in self.models:
            until = self._jobs.queues[model].blocked_until
            if until > now:
                yield until

    def submit(self) -> Iterator[Begun | Unfit]:
        """Submit as many as the providers take now; their refusals and `Cancelled` come through.

        Between two of them, what waits may be taken elsewhere.
        """
        for model in self.models:
            while any((steps := self._requests.get(model, {})).values()) and not self._stop.reason:
                packed = self._packed(model, steps.values())
                if packed is None:
                    break
                yield from (Unfit(*each) for each in packed.unfit)
                if not packed.requests:
                    break
                if (outcome := self._begin(model, packed)) is not None:
                    yield outcome

    def _queue(self, request: Request) -> deque[Request]:
        return self._requests.setdefault(request.model, {}).setdefault(request.step, deque())

    def _packed(self, model: str, waiting: Iterable[deque[Request]]) -> Pack | None:
        queue, connection = self._jobs.queues[model], self._connections[model]
        if queue.blocked_until > self._jobs.now():
            return None
        in_queue = self._jobs.tokens_of(model)
        most = (connection.api.most_requests, self._most_requests, queue.most_requests or ROOM)
        return pack(
            waiting,
            connection,
            self._priced[model],
            most_requests=min(most),
            room=queue.room(in_queue),
            may_exceed=not in_queue,
            stopped=lambda: bool(self._stop.reason),
        )

    def _begin(self, model: str, packed: Pack) -> Begun | Unfit | None:
        """A job of these requests; ``None`` when it cannot be as it is, and they wait on."""
        form = self._connections[model].wire.dialect.form
        job = None
        try:
            if not self._stop.reason:
                job = self._jobs.begin(model, packed)
        except Rejected as error:
            if len(packed.requests) == 1:
                return Unfit(packed.requests[0], error)
            self._put_back(packed)
            error.hint = error.hint or "change what it names, or send each alone: --engine threads"
            raise
        except (Cancelled, ProviderError):
            self._put_back(packed)
            raise
        if job is None:
            self._put_back(packed)
            return None
        return Begun(job, packed.requests, form)

    def _put_back(self, packed: Pack) -> None:
        for request in reversed(packed.requests):
            self._queue(request).appendleft(request)


class Late:
    """A queue in front of the engine of threads, where live prices hold.

    The deadline counts from the first job of the log that is open.

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
        # Jobs know the time of day; from here on only time that passes counts, so that a clock that
        # is put right makes no deadline come early.
        age = max(0.0, clock.time() - min((job.at for job in log.open.values()), default=inf))
        self._deadline = None if seconds is None else clock.now() + seconds - age
        self.over = False
        #: Models that are served by batch until then.
        self._batched = {name for name, model in fleet.models.items() if model.batch}
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
        return bool(self._threads.held)

    def is_due(self) -> bool:
        return not self.over and self._deadline is not None and self._clock.now() >= self._deadline

    def begin(self) -> None:
        self.over = True
        for model in self._fleet.models.values():
            model.batch = False

    def put(self, request: Request, *, at_batch_price: bool) -> None:
        """Take a request to be sent live; the money held for it may be what a batch costs."""
        self._queue.append(request)
        if at_batch_price and request.model in self._batched:
            self._cheap.add(request.key)

    def put_affordable(self, request: Request) -> bool:
        """Take a request that money for a batch is held for, if the budget has the rest of it."""
        self._cheap.add(request.key)
        if not self._afford(request):
            self._cheap.discard(request.key)
            return False
        self._queue.append(request)
        return True

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
        return self._threads.wait(timeout_seconds)

    def give_back(self) -> list[Request]:
        returned = [*self._threads.give_back(), *self._queue]
        self._queue.clear()
        return returned

    def in_flight(self) -> Sequence[tuple[Request, float]]:
        return self._threads.in_flight()

    def close(self) -> None:
        self._threads.close()

    def _afford(self, request: Request) -> bool:
        """Hold what a request that was put here costs live beyond what a batch of it does."""
        if self._budget.cap is None or request.key not in self._cheap:
            return True
        model = self._fleet.models[request.model]
        more = model.most(request, batch=False) - model.most(request, batch=True)
        if more > 0 and not self._budget.hold_more(request.item_id, more):
            return False
        self._cheap.discard(request.key)
        return True


class Tries:
    def __init__(self) -> None:
        self._attempts: dict[str, list[Attempt]] = {}

    def note(self, failed: Collected) -> int:
        """Remember an outcome that is no answer; how many there were for its request."""
        error = failed.error
        assert error is not None  # answers are not tried again
        tries = self._attempts.setdefault(failed.entry.key, [])
        tries.append(
            Attempt(len(tries) + 1, failed.job.at, failed.seconds, error.kind, error.maybe_billed)
        )
        return len(tries)

    def forget(self, key: str) -> None:
        self._attempts.pop(key, None)

    def before(self, call: Call) -> Call:
        tries = self._attempts.pop(call.request.key, [])
        if not tries:
            return call
        made = [replace(each, number=each.number + len(tries)) for each in call.attempts]
        return replace(call, attempts=(*tries, *made))


class JobMoney:
    """Holds the worst case of requests in jobs that no item of this session has asked for yet.

    Under names of its own, because an item may need money for another request as well: its prompt
    may have changed since the job was made.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held: dict[str, float] = {}

    def hold(self, entry: Entry) -> None:
        """Hold what a request in a job costs at most, or what is left if that is less.

        It is being spent already, so it comes before everything else.
        """
        amount, cap = entry.most or 0.0, self._budget.cap
        if cap is None or not amount:
            return
        if not self._budget.hold(_name(entry.key), amount):
            amount = max(0.0, cap - self._budget.spent - self._budget.held)
            self._budget.hold(_name(entry.key), amount)
        self._held[entry.key] = amount

    def of(self, key: str) -> float:
        return self._held.get(key, 0.0)

    def give(self, key: str, item_id: str) -> None:
        """An item has asked for the request: the money is its own from now on."""
        if self._held.pop(key, None) is not None:
            self._budget.move(_name(key), item_id)

    def charge(self, key: str, cost: float) -> None:
        """The request was answered and no item asked for it."""
        self._budget.charge(_name(key), cost)
        self.release(key)

    def release(self, key: str) -> None:
        self._held.pop(key, None)
        self._budget.release(_name(key))


def _name(key: str) -> str:
    return f"\0{key}"  # no item is called so
