"""Requests that wait for a job of their model and step, and the submitting of such jobs."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llm_batch.chain.config import Config
from llm_batch.engines.batch.job_log import Job
from llm_batch.engines.batch.jobs import Jobs
from llm_batch.engines.batch.pack import Pack, pack
from llm_batch.engines.batch.vendors import Connection
from llm_batch.errors import ProviderError, Rejected
from llm_batch.records import Request
from llm_batch.sending.clock import Cancelled, Stop
from llm_batch.sending.fleet import FleetModel
from llm_batch.sending.providers.dialect import Form

#: Requests that are held at once: what fits into memory on any machine.
ROOM = 100_000


@dataclass(frozen=True, slots=True)
class Begun:
    """A job that was submitted, with its requests in order.

    Attributes:
        job: The job.
        requests: In the order of its entries.
        form: How they are put in it.
    """

    job: Job
    requests: list[Request]
    form: Form


@dataclass(frozen=True, slots=True)
class Unfit:
    """A request that no job can have."""

    request: Request
    error: ProviderError


class Waiting:
    """Requests that are in no job yet.

    Args:
        jobs: Where jobs are begun.
        connections: By model.
        priced: What requests take, by model.
        config: How many requests a job may have.
        stop: Asked before anything is begun.
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
        self._requests: dict[tuple[str, str], deque[Request]] = {}

    @property
    def held(self) -> int:
        """How many there are."""
        return sum(map(len, self._requests.values()))

    def put(self, request: Request) -> None:
        """Let a request wait."""
        self._requests.setdefault((request.model, request.step), deque()).append(request)

    def take_all(self) -> list[Request]:
        """All of them, which wait no longer."""
        taken = [request for waiting in self._requests.values() for request in waiting]
        self._requests.clear()
        return taken

    def blocked_until(self, now: float) -> Iterator[float]:
        """When some that cannot be submitted now are tried again, in seconds of the clock."""
        for (model, _), waiting in self._requests.items():
            until = self._jobs.queues[model].blocked_until
            if waiting and until > now:
                yield until

    def submit(self) -> Iterator[Begun | Unfit]:
        """Submit as many as the providers take now.

        Raises:
            Refused: A provider takes no such job.
            Rejected: The same.
            Cancelled: The run stopped meanwhile.
        """
        for (model, _), waiting in self._requests.items():
            while waiting and not self._stop.reason:
                packed = self._packed(model, waiting)
                if packed is None:
                    break
                yield from (Unfit(*each) for each in packed.unfit)
                if not packed.requests:
                    break
                outcome = self._begin(model, packed, waiting)
                if outcome is None:
                    break
                yield outcome

    def _packed(self, model: str, waiting: deque[Request]) -> Pack | None:
        queue, connection = self._jobs.queues[model], self._connections[model]
        if queue.blocked_until > self._jobs.now():
            return None
        in_queue = self._jobs.tokens_of(model)
        return pack(
            waiting,
            connection,
            self._priced[model],
            most_requests=min(connection.api.most_requests, self._most_requests),
            room=queue.room(in_queue),
            may_exceed=not in_queue,
            stopped=lambda: bool(self._stop.reason),
        )

    def _begin(self, model: str, packed: Pack, waiting: deque[Request]) -> Begun | Unfit | None:
        """A job of these requests; ``None`` when it cannot be now, and they wait on."""
        form = self._connections[model].wire.dialect.form
        job = None
        try:
            if not self._stop.reason:
                job = self._jobs.begin(model, packed)
        except Rejected as error:
            if len(packed.requests) == 1:
                return Unfit(packed.requests[0], error)
            waiting.extendleft(reversed(packed.requests))
            raise
        except (Cancelled, ProviderError):
            waiting.extendleft(reversed(packed.requests))
            raise
        if job is None:
            waiting.extendleft(reversed(packed.requests))
            return None
        return Begun(job, packed.requests, form)
