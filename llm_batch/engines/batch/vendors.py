"""From a model to its batch API, and as many waiting requests as one job of it takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from llm_batch.chain.config import Config, Model
from llm_batch.engines.batch.api import BatchApi
from llm_batch.engines.batch.job_log import Entry
from llm_batch.errors import ConfigError, ProviderError, Rejected
from llm_batch.records import Completion, Message, Request
from llm_batch.sending.fleet import FleetModel
from llm_batch.sending.providers import BATCH_VENDORS, Prepared, batch_vendor, make_provider
from llm_batch.sending.providers.dialect import Dialect


class Wire(Protocol):
    """What a provider says of its requests and replies when somebody else carries them."""

    dialect: Dialect

    def prepared(self, request: Request) -> Prepared: ...

    def read(self, request: Request, body: bytes) -> Completion: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Connection:
    """A model with the API its jobs go by.

    Attributes:
        wire: Makes the bodies that would be sent live, and reads the replies.
        api: Carries them.
        origin: Scheme, host and port of its address.
    """

    wire: Wire
    api: BatchApi
    origin: str = ""

    def close(self) -> None:
        """Give back connections."""
        self.api.close()
        self.wire.close()


def check_vendors(config: Config) -> None:
    """See whether any model of a config has a batch API; needs no key.

    Raises:
        ConfigError: None has.
    """
    if not any(batch_vendor(step.model, config.model(step.model)) for step in config.steps):
        raise ConfigError(
            "no model of this config has a batch API that is spoken here "
            f"({', '.join(BATCH_VENDORS)})",
            "use --engine threads",
        )


def connect(model: str, settings: Model) -> Connection:
    """The batch API of a model that has one, by the address and key of its live requests.

    Raises:
        ConfigError: It cannot be served as configured.
        ProviderError: litellm cannot prepare a request to it.
    """
    wire: Wire = make_provider(model, settings, 1)  # type: ignore[assignment]  # of such vendors
    like = wire.prepared(Request("", "", model, (Message("user", "."),), {"max_tokens": 1}))
    parts = urlsplit(like.url)
    port = f":{parts.port}" if parts.port not in (None, 80, 443) else ""
    origin = f"{parts.scheme}://{parts.hostname}{port}"
    vendor = batch_vendor(model, settings)
    if vendor == "anthropic":
        from llm_batch.engines.batch.anthropic import AnthropicBatches

        return Connection(wire, AnthropicBatches(like), origin)
    if vendor == "gemini":
        from llm_batch.engines.batch.gemini import GeminiBatches

        return Connection(wire, GeminiBatches(like), origin)
    from llm_batch.engines.batch.openai import OpenAIBatches

    return Connection(wire, OpenAIBatches(like, vendor), origin)


def connections_of(config: Config, more: Iterable[str] = ()) -> dict[str, Connection]:
    """The models of a config that have a batch API, connected.

    ``more`` are those of jobs that are open, which may be in no step any more.

    Raises:
        ConfigError: One cannot be served as configured.
        ProviderError: litellm cannot prepare a request to one.
    """
    models = dict.fromkeys([*(step.model for step in config.steps), *more])
    return {
        model: connect(model, config.model(model))
        for model in models
        if batch_vendor(model, config.model(model))
    }


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
    """Take requests from the front of a queue, until the run has stopped.

    Together they may have ``room`` input tokens, ``None`` for no limit; the first may exceed that
    where no wait would help.
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
