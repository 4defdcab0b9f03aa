"""As many waiting requests as one job takes: by number, by bytes, by tokens in the queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from llm_batch.batches.job_log import Entry
from llm_batch.batches.vendors import Connection
from llm_batch.errors import ProviderError, Rejected
from llm_batch.fleet import FleetModel
from llm_batch.providers.base import Prepared
from llm_batch.records import Request

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
