"""The engine of a Ray cluster: requests go to actors as they have room, calls come back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from llm_batch.budget import Budget
from llm_batch.cluster.connect import connected
from llm_batch.cluster.leases import Ledger, Pace
from llm_batch.cluster.worker import News, Worker
from llm_batch.config import Config
from llm_batch.errors import Incomplete
from llm_batch.fleet import Fleet, places_of
from llm_batch.providers.redact import keys_in_environment
from llm_batch.records import Attempt, Call, Failure, Request

# One process makes about this many calls at once well; more share it between them.
_THREADS_PER_ACTOR = 50
# An actor answers at least this often.
_EXCHANGE_SECONDS = 0.2
# How long the cluster may have no actor at all, to start one on another node.
_START_SECONDS = 120.0
# An actor that dies on every node it is put on is not started for ever.
_MOST_REPLACEMENTS = 20


@dataclass(slots=True)
class _Actor:
    """One actor as the driver sees it.

    Attributes:
        handle: To call it by.
        room: Requests it may have.
        ready: The reference of its start; ``None`` once it has started.
        talk: The reference of the exchange that is under way.
        fresh: Requests for the next exchange.
        sent: Requests it has, by key.
        answers: To its questions, for the next exchange.
        node: Where it runs, once it has started.
    """

    handle: Any
    room: int
    ready: Any
    node: str = ""
    talk: Any = None
    fresh: list[Request] = field(default_factory=list)
    sent: dict[str, Request] = field(default_factory=dict)
    answers: dict[int, bool] = field(default_factory=dict)

    @property
    def load(self) -> int:
        return len(self.fresh) + len(self.sent)


class RayEngine:
    """Actors on a Ray cluster that make the calls of a run.

    What is finished reaches the driver within milliseconds. When an actor or its node is lost,
    the requests it had are made again elsewhere; each may have been billed once already, so its
    worst case is charged and held once more.

    Args:
        config: What is run; actors make their own clients from it.
        fleet: The driver's: where the limits of the models begin, and what a request costs.
        budget: Asked before a request is made again.
        say: Called with sentences a user should read.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(
        self,
        config: Config,
        fleet: Fleet,
        budget: Budget,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._say = say
        self._ray = ray = connected(config.run.ray_address)
        self._config, self._fleet, self._budget = config, fleet, budget
        self._paces = {
            key: Pace(rpm, tpm, rpm is None and tpm is None and fleet.limiters[key].rpm is not None)
            for name in fleet.models
            for key, _, rpm, tpm in places_of(config, name)
        }
        # The ledger is beside the driver: without the driver there is no run anyway.
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        actors = config.run.ray_actors or _actors_for(config.limits.workers, len(_nodes(ray)))
        self._ledger = (
            ray.remote(Ledger)
            .options(num_cpus=0, max_concurrency=2 * actors + 8, scheduling_strategy=here)
            .remote(self._paces)
        )
        workers = config.limits.workers
        self._rooms = [workers // actors + (number < workers % actors) for number in range(actors)]
        self._actors: list[_Actor] = []
        self._lost: dict[str, tuple[float | None, int]] = {}
        self._waiting: deque[Request] = deque()
        self._done: list[Call] = []
        self._replaced = 0
        self._stopping = False
        for room in self._rooms:
            self._start(room)

    @property
    def free(self) -> int:
        return 0 if self._stopping else sum(self._rooms) - self.held

    @property
    def held(self) -> int:
        return len(self._waiting) + len(self._done) + sum(actor.load for actor in self._actors)

    def submit(self, request: Request) -> None:
        self._waiting.append(request)

    def wait(self, timeout_seconds: float) -> Sequence[Call]:
        if not self._done:
            self._hand_out()
            self._listen(timeout_seconds)
        calls, self._done = self._done, []
        return calls

    def give_back(self) -> Sequence[Request]:
        """Requests that were not begun. Actors give back theirs in the waits that follow."""
        returned = list(self._waiting)
        self._waiting.clear()
        for actor in self._actors:
            returned += actor.fresh
            actor.fresh.clear()
        if not self._stopping:
            self._stopping = True
            for actor in [actor for actor in self._actors if actor.ready is None]:
                self._listen_to(actor)
                returned += self._stop(actor)
        return returned

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor.handle)
        self._ray.kill(self._ledger)
        self._actors.clear()

    def _start(self, room: int) -> None:
        """Start an actor wherever the cluster has a place."""
        made = self._ray.remote(Worker).options(
            num_cpus=0.01, max_restarts=0, scheduling_strategy="SPREAD"
        )
        handle = made.remote(self._ledger, room)
        ready = handle.start.remote(self._config, self._paces, keys_in_environment())
        self._actors.append(_Actor(handle, room, ready))

    def _hand_out(self) -> None:
        """Give waiting requests to the actors with the most room, and let them begin."""
        running = [actor for actor in self._actors if actor.ready is None]
        while self._waiting and running:
            actor = max(running, key=lambda actor: actor.room - actor.load)
            if actor.room <= actor.load:
                break
            actor.fresh.append(self._waiting.popleft())
        for actor in running:
            if actor.talk is None and actor.load:
                self._talk(actor)

    def _talk(self, actor: _Actor, stop: bool = False) -> None:
        actor.talk = actor.handle.exchange.remote(
            actor.fresh, actor.answers, stop, _EXCHANGE_SECONDS
        )
        actor.sent.update((request.key, request) for request in actor.fresh)
        actor.fresh, actor.answers = [], {}

    def _listen(self, timeout_seconds: float) -> None:
        """Take in what the actors have to say."""
        busy = {ref: actor for actor in self._actors if (ref := actor.ready or actor.talk)}
        if not busy:
            if self.held:
                raise Incomplete("the Ray cluster has no actor left", "look at: ray status")
            return
        starting = all(actor.ready is not None for actor in self._actors)
        patience = _START_SECONDS if starting and self.held else timeout_seconds
        ready, _ = self._ray.wait(list(busy), num_returns=1, timeout=patience)
        if starting and self.held and not ready:
            raise Incomplete(
                f"the Ray cluster started no actor within {_START_SECONDS:.0f} s",
                "look at: ray status",
            )
        if ready:  # and whatever else is
            ready, _ = self._ray.wait(list(busy), num_returns=len(busy), timeout=0)
        for ref in ready:
            self._listen_to(busy[ref])

    def _listen_to(self, actor: _Actor) -> None:
        ref = actor.ready or actor.talk
        if ref is None:
            return
        try:
            said = self._ray.get(ref)
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.NodeDiedError):
            self._replace(actor)
            return
        except self._ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        if actor.ready is not None:
            actor.ready, actor.node = None, said
            return
        actor.talk = None
        self._take_in(actor, said)

    def _take_in(self, actor: _Actor, news: News) -> None:
        self._fleet.notices.extend(news.notices)
        for call in news.calls:
            del actor.sent[call.request.key]
            self._done.append(self._with_lost(call))
        for ask in news.asks:
            actor.answers[ask.number] = self._budget.hold_more(ask.item_id, ask.amount)
        if self._stopping and not news.held:
            actor.sent.clear()  # what is left of it was waiting for its turn and was not sent

    def _stop(self, actor: _Actor) -> list[Request]:
        """Let an actor finish what it has begun; the rest comes back."""
        self._talk(actor, stop=True)
        with suppress(self._ray.exceptions.RayActorError):
            news: News = self._ray.get(actor.talk)
            actor.talk = None
            self._take_in(actor, news)
            for request in news.returned:
                del actor.sent[request.key]
            return list(news.returned)
        return []

    def _replace(self, actor: _Actor) -> None:
        """An actor is gone: its requests are made again, if there is money for that."""
        self._actors.remove(actor)
        again = list(actor.sent.values())
        self._waiting.extendleft(reversed(actor.fresh))
        if not self._stopping:
            self._say(_of_a_loss(actor, len(again)))
        for request in again:
            model = self._fleet.models[request.model]
            most = model.most(request) if model.tariff is not None else None
            before, times = self._lost.get(request.key, (0.0, 0))
            cost = None if most is None or before is None else before + most
            self._lost[request.key] = cost, times + 1
            if self._stopping or not self._budget.hold_more(request.item_id, most or 0.0):
                why = "the run stopped" if self._stopping else "the budget has no room"
                failure = Failure(
                    "cancelled" if self._stopping else "budget",
                    f"its node was lost, and {why} for another attempt",
                )
                self._done.append(self._with_lost(Call(request, (), failure=failure, cost=0.0)))
            else:
                self._waiting.append(request)
        if self._stopping:
            return
        self._replaced += 1
        if self._replaced > _MOST_REPLACEMENTS:
            raise Incomplete(
                f"{self._replaced} actors were lost on the Ray cluster",
                "look at: ray status; then run the same command again",
            )
        self._start(actor.room)

    def _with_lost(self, call: Call) -> Call:
        """The call, with the attempts of it that were lost with their nodes."""
        cost, times = self._lost.pop(call.request.key, (0.0, 0))
        if not times:
            return call
        lost = [
            Attempt(n, time.time(), 0.0, "lost", maybe_billed=True) for n in range(1, times + 1)
        ]
        made = [replace(attempt, number=attempt.number + times) for attempt in call.attempts]
        return replace(
            call,
            attempts=(*lost, *made),
            cost=None if cost is None or call.cost is None else cost + call.cost,
            worst_case=True,
        )


def _of_a_loss(actor: _Actor, requests: int) -> str:
    """What to say of an actor that is gone with so many requests."""
    where = f" on {actor.node}" if actor.node else ""
    if not requests:
        return f"a process of the Ray cluster{where} was lost, with nothing under way"
    what = "1 request" if requests == 1 else f"{requests} requests"
    return (
        f"a process of the Ray cluster{where} was lost with {what} under way; what it was doing "
        "is done again elsewhere, and charged twice where it may have been billed"
    )


def _nodes(ray: Any) -> list[Any]:
    return [node for node in ray.nodes() if node["Alive"]]


def _actors_for(workers: int, nodes: int) -> int:
    return min(workers, max(nodes, -(-workers // _THREADS_PER_ACTOR)))
