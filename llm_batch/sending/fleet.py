"""The models of a run, each with its client; made from the config, closed together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from copy import copy
from functools import partial
from typing import Self

import msgspec

from llm_batch.chain.config import Config, model_limits
from llm_batch.chain.credentials import heard_echo
from llm_batch.chain.options import Model
from llm_batch.errors import ConfigError
from llm_batch.models.prices import Tariff, tariff_of
from llm_batch.models.table import model_info
from llm_batch.models.tokens import TokenCounter, counter
from llm_batch.records import Call, Request
from llm_batch.sending.client import Budget, Client
from llm_batch.sending.clock import Clock
from llm_batch.sending.learned import Slowed
from llm_batch.sending.limits import Limiter
from llm_batch.sending.pool import Endpoint, Notice, Pool
from llm_batch.sending.providers import Adapting, Provider, goes_by_batch, make_provider

_ECHO = (
    "a server repeated a key of this run in an answer; it was struck out. Whoever reads that "
    "server's logs may have it too: look at who runs it"
)

# Files a run has open beside its connections: journal, data, results, and those of libraries.
_BESIDE = 64


def make_room_for(connections: int) -> None:
    """Let this process have so many connections at once, beside what it has open.

    Raises:
        ConfigError: The system does not allow it.
    """
    try:
        import resource
    except ImportError:  # Windows, which counts otherwise
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _BESIDE
    if soft in (resource.RLIM_INFINITY, -1) or soft >= needed:
        return
    if hard in (resource.RLIM_INFINITY, -1) or hard >= needed:
        with suppress(ValueError, OSError):  # macOS has another bound below the hard one
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
            return
    raise ConfigError(
        f"{connections:,} connections at once need {needed:,} open files, and this process may "
        f"have {soft:,}",
        f"type ulimit -n {needed} first, or use fewer --workers",
    )


class FleetModel:
    """What requests of one model take: tokens, and what they cost at worst.

    Args:
        name: The model string.
        settings: Its section in the config.
    """

    def __init__(self, name: str, settings: Model) -> None:
        self.name = name
        self.tariff: Tariff | None = tariff_of(
            name,
            settings.input_price,
            settings.output_price,
            settings.cache_read_price,
            batch_input_price=settings.batch_input_price,
            batch_output_price=settings.batch_output_price,
        )
        #: Whether its requests go by the provider's batch API, at the price of that.
        self.batch = False
        info = model_info(name)
        self._output_cap = info.max_output_tokens if info else None
        self._beside: dict[str, int] = {}
        self._counter: Callable[[str], TokenCounter] = counter

    def counter(self) -> TokenCounter:
        return self._counter(self.name)

    def at_most(self) -> FleetModel:
        """The same with an upper bound of tokens, which needs no encoding."""
        rough = copy(self)
        rough._beside = {}
        rough._counter = lambda name: counter(name).at_most()
        return rough

    def input_tokens(self, request: Request) -> int:
        """Our count of what is sent: messages, and the schemas and tools beside them."""
        beside = self._beside.get(request.step)
        if beside is None:
            # A step's parameters are the same for every item.
            structured = [v for v in request.params.values() if isinstance(v, Mapping | list)]
            texts = (msgspec.json.encode(value).decode() for value in structured)
            beside = self._beside[request.step] = sum(self.counter().count_many(texts))
        return self.counter().count_messages(request.messages) + beside

    def most_output(self, max_tokens: int | None) -> int:
        """The most output tokens a request can have; 0 when nobody knows."""
        return max_tokens or self._output_cap or 0

    def worst_case(
        self, input_tokens: float, max_tokens: int | None, batch: bool | None = None
    ) -> float:
        """The most a request can cost, in USD, where we counted so many input tokens.

        At the price of the batch API if ``batch``; by default as the model is served. 0 for a
        model whose price is unknown.
        """
        if self.tariff is None:
            return 0.0
        tokens = int(input_tokens * self.counter().upper_factor) + 1
        by_batch = self.batch if batch is None else batch
        return self.tariff.worst_case(tokens, self.most_output(max_tokens), by_batch)

    def most(self, request: Request, batch: bool | None = None) -> float:
        """The most one attempt at a request can cost, in USD; ``batch`` as in `worst_case`."""
        if self.tariff is None:
            return 0.0
        return self.worst_case(self.input_tokens(request), request.max_tokens, batch)


class Fleet:
    """Serves the requests of all models of a run.

    Args:
        config: Which models, with which settings and limits.
        budget: Shared by all.
        clock: Shared by all.
        make: How to make a provider; tests pass their own.
        limiter_of: The limiter of a model; by default a new one from the config.
        connections: Threads that will call; those of the config by default, and one where other
            machines send.
        resumed: Whether an earlier session of the run was answered.

    Raises:
        ConfigError: A model cannot be served as configured.
    """

    def __init__(
        self,
        config: Config,
        budget: Budget,
        clock: Clock,
        make: Callable[[str, Model, int], Provider] = make_provider,
        limiter_of: Callable[[str], Limiter] | None = None,
        connections: int | None = None,
        resumed: bool = False,
    ) -> None:
        self.models: dict[str, FleetModel] = {}
        #: By model, or by model and URL where it has several endpoints; see `places_of`.
        self.limiters: dict[str, Limiter] = {}
        #: What the pools and providers of this process, and of others, had to say; see `heard`.
        self.notices: deque[Notice | str] = deque()
        #: Requests a minute in force by place, where another process keeps the pace.
        self.told: dict[str, float | None] = {}
        self._clients: dict[str, Client] = {}
        here = 1 if config.engine.elsewhere else config.limits.workers
        threads = connections or here
        names = dict.fromkeys(step.model for step in config.asking)
        # Each place keeps its connections, and one that is given up is open for a moment more.
        make_room_for(threads * (1 + sum(len(places_of(config, name)) for name in names)))
        self._closing = ExitStack()
        with self._closing:
            for name in names:
                settings = config.model(name)
                model = self.models[name] = FleetModel(name, settings)
                model.batch = goes_by_batch(name, config)
                places = []
                for key, place, rpm, tpm in places_of(config, name):
                    provider = make(name, place, threads)
                    self._closing.callback(provider.close)
                    if isinstance(provider, Adapting):
                        provider.dialect.tell = partial(self._adapted, name)
                    limiter = self.limiters[key] = (
                        limiter_of(key) if limiter_of else _limiter(rpm, tpm, provider, clock)
                    )
                    places.append((provider, limiter))
                provider, limiter = _one(places, settings, clock, self.notices.append)
                self._clients[name] = Client(
                    provider,
                    limiter,
                    budget,
                    clock,
                    model,
                    timeout_seconds=config.limits.timeout,
                    max_attempts=config.limits.max_attempts,
                    resumed=resumed,
                )
            self._closing = self._closing.pop_all()

    def call(self, request: Request) -> Call:
        """Serve a request with its model's client; runs in the engine's threads."""
        return self._clients[request.model].call(request)

    def hold(self, on: bool) -> None:
        """Send nothing more from this process until told otherwise."""
        for limiter in self.limiters.values():
            limiter.hold(on)

    def counter(self, model: str) -> TokenCounter:
        return self.models[model].counter()

    def _adapted(self, model: str, what: str) -> None:
        self.notices.append(f"{model} {what}")

    def heard(self) -> list[Notice | str]:
        """What happened to endpoints, and what was found of them, since this was asked last."""
        notices = []
        while self.notices:
            notices.append(self.notices.popleft())
        if heard_echo():
            notices.append(_ECHO)
        return notices

    @property
    def rpm(self) -> float | None:
        """Requests a minute that all models together may get; ``None`` without a limit."""
        own = (client.limiter.rpm for client in self._clients.values())
        limits = list(self.told.values() or own)
        known = [rpm for rpm in limits if rpm is not None]
        return sum(known) if known and len(known) == len(limits) else None

    @property
    def slowed(self) -> dict[str, Slowed]:
        """What refusals have taught, by place; only where they have."""
        learned = {place: limiter.slowed for place, limiter in self.limiters.items()}
        return {place: slowed for place, slowed in learned.items() if slowed.words}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()


Place = tuple[str, Model, float | None, float | None]


def places_of(config: Config, model: str) -> list[Place]:
    """Where a model is served: a name for the place, its settings, requests and tokens a minute.

    The name is the model's, with the URL behind it where the model has several endpoints.
    """
    settings = config.model(model)
    rpm, tpm, _ = model_limits(config, model)
    if not settings.endpoints:
        return [(model, settings, rpm, tpm)]
    return [
        (f"{model} {each.api_base}", settings.at(each), each.rpm or rpm, each.tpm or tpm)
        for each in settings.endpoints
    ]


def _one(
    places: Sequence[tuple[Provider, Limiter]],
    settings: Model,
    clock: Clock,
    tell: Callable[[Notice], None],
) -> tuple[Provider, Limiter]:
    """The provider and limiter of a model, whether it has one endpoint or several."""
    if not settings.endpoints:
        return places[0]
    pool = Pool(
        [
            Endpoint(each.api_base, each.weight, *place)
            for each, place in zip(settings.endpoints, places, strict=True)
        ],
        clock,
        tell=tell,
    )
    return pool, pool


def _limiter(rpm: float | None, tpm: float | None, provider: Provider, clock: Clock) -> Limiter:
    if rpm is None and tpm is None and not provider.on_this_machine:
        return Limiter.with_default(clock)
    return Limiter(rpm, tpm, clock)
