"""As many waiting requests as one job takes: by number, by bytes, by tokens in the queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from llm_batch.engines.batch.api import stated_limit
from llm_batch.engines.batch.job_log import Entry
from llm_batch.engines.batch.vendors import Connection
from llm_batch.errors import ProviderError, Rejected
from llm_batch.records import Request
from llm_batch.sending.fleet import FleetModel
from llm_batch.sending.providers.base import Prepared

_GROWTH = 1.5
_LONGEST = 10.0
# Our count of tokens is not the provider's: what is near the limit may be above it.
_SMALLER = 0.8
# Of a refusal that names no limit.
_HALF = 0.5
# What was learned may be too little: it grows with every job that ends.
_LARGER = 1.25


class TokenQueue:
    """A limit that is known, or learned when it is met.

    Args:
        limit: What the config says; ``None`` when it says nothing.
        poll: Seconds to wait after the first time it was met; more each time after that.

    Attributes:
        limit: Tokens; ``None`` while nobody knows.
        blocked_until: Nothing is submitted before, in seconds of the clock.
        refused_alone: Jobs in a row that were turned away while no other of ours was waiting.
    """

    def __init__(self, limit: int | None, poll: float) -> None:
        self.limit = self._configured = limit
        self._most = limit  # the limit never grows above it
        self.blocked_until = float("-inf")
        self.refused_alone = 0
        self._poll = self._wait = poll

    def room(self, waiting: int) -> int | None:
        """Tokens that may be submitted while so many wait; ``None`` for no limit."""
        return None if self.limit is None else max(0, self.limit - waiting)

    def turned_away(self, error: ProviderError, own: int, waiting: int, now: float) -> None:
        """A job was refused because too much is waiting.

        Args:
            error: The provider's words, which may name the limit.
            own: Tokens of the job.
            waiting: Tokens of our other jobs in the queue.
            now: Seconds of the clock.
        """
        total = own + waiting
        stated = stated_limit(error)
        if stated is not None:
            stated = self._most = min(stated, self._configured or stated)
        most = stated or total
        smaller = max(1, int(total * (_HALF if stated is None else _SMALLER)))
        # Below half of the limit it is other people's jobs that fill the queue.
        self.limit = min(most, smaller) if total > most / 2 else most
        self.refused_alone = 0 if waiting else self.refused_alone + 1
        self.put_off(now)

    def put_off(self, now: float) -> None:
        """Nothing can be submitted now; the next try comes later each time."""
        self.blocked_until = now + self._wait
        self._wait = min(_LONGEST * self._poll, _GROWTH * self._wait)

    def worked_off(self) -> None:
        """A job has ended, so there is room."""
        self.blocked_until = float("-inf")
        self.refused_alone = 0
        self._wait = self._poll
        if self.limit is not None:
            larger = int(self.limit * _LARGER) + 1
            self.limit = larger if self._most is None else min(self._most, larger)


#: What a line has around its body, at most.
AROUND = 200


@dataclass(slots=True)
class Pack:
    """The requests of a job to come.

    Attributes:
        requests: In order.
        entries: What is written down of each.
        bodies: What is sent of each.
        like: The first as it would go live.
        unfit: Requests that cannot be sent at all, each with the reason.
    """

    requests: list[Request] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    like: Prepared | None = None
    unfit: list[tuple[Request, ProviderError]] = field(default_factory=list)


def pack(
    waiting: deque[Request],
    connection: Connection,
    priced: FleetModel,
    *,
    most_requests: int,
    room: int | None,
    may_exceed: bool,
    stopped: Callable[[], bool],
) -> Pack:
    """Take requests from the front of a queue.

    Args:
        waiting: The queue; what is taken is no longer in it.
        connection: To their model.
        priced: What they take.
        most_requests: That a job may have.
        room: Input tokens they may have together; ``None`` for no limit.
        may_exceed: Whether the first may be longer than ``room``, since no wait would help.
        stopped: Asked before each.
    """
    made, size = Pack(), 0
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
        size += own
        too_many = room is not None and tokens > room
        if made.requests and (too_many or size > most):
            break
        if too_many and not may_exceed:
            break
        made.requests.append(waiting.popleft())
        made.bodies.append(prepared.body)
        cost = priced.most(request) if priced.tariff is not None else None
        made.entries.append(
            Entry(request.key, request.item_id, request.step, request.sample, cost, tokens)
        )
        made.like = made.like or prepared
        room = None if room is None else room - tokens
    return made
