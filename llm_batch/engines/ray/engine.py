"""The engine of a Ray cluster: requests go to actors as they have room, calls come back."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_batch.chain.config import Config
from llm_batch.engines import Engine, Supplies
from llm_batch.engines.ray.cluster import Actor, Gone, LedgerActor, Losses, connected, where
from llm_batch.engines.ray.leases import Limits
from llm_batch.engines.ray.worker import Kit, News
from llm_batch.errors import ConfigError, Incomplete
from llm_batch.paper import words
from llm_batch.records import Call, Request
from llm_batch.sending.fleet import places_of
from llm_batch.sending.providers.endpoints import is_loopback, shown
from llm_batch.sending.trust import variables_of

# Where nothing is free an actor waits for a place; elsewhere its process may start slowly.
_FULL_SECONDS = 5.0
_SLOW_SECONDS = 20.0
_LOOK_AGAIN_SECONDS = 1.0
# What an actor takes of a processor.
_LEAST_CPU = 0.01


class Room:
    """Looks whether the actors find a place, and says so when they do not."""

    def __init__(self, ray: Any, say: Callable[[str], None]) -> None:
        self._ray = ray
        self._say = say
        self._said: set[str] = set()
        self._looked = 0.0

    def look(self, pending: Sequence[Actor], running: int, workers: int) -> None:
        """Say once that the run waits, or goes on with ``running`` of ``workers`` calls at once."""
        now = time.monotonic()
        kind = "some" if running else "all"
        since = min(actor.since for actor in pending)
        if kind in self._said or now < max(since + _FULL_SECONDS, self._looked):
            return
        self._looked = now + _LOOK_AGAIN_SECONDS
        waiting = [actor for actor in pending if not actor.placed]
        full = self._ray.available_resources().get("CPU", 0.0) < _LEAST_CPU
        if not waiting or not (full or now > since + _SLOW_SECONDS):
            return
        if not running and len(waiting) < len(pending):
            return  # one is about to start
        self._said.add(kind)
        # Where there is room, Ray starts its process, or makes the environment that it asks for.
        if running:
            waits = words.counted(len(waiting), "process waits", "processes wait")
            self._say(
                f"{waits} {'for a place in' if full else 'to be started on'} the Ray cluster "
                f"({self.words()}); the run goes on with {running:,} of {workers:,} workers"
            )
        else:
            what = "a place in" if full else "its processes to be started on"
            self._say(f"the run waits for {what} the Ray cluster ({self.words()})")

    def words(self) -> str:
        total = self._ray.cluster_resources().get("CPU", 0.0)
        free = self._ray.available_resources().get("CPU", 0.0)
        return f"{total:g} CPU{'' if total == 1 else 's'}, {free:.3g} free"

    def say_once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self._say(sentence)


def used(config: Config, ray: Any, nodes: Sequence[Mapping[str, Any]], processes: int) -> str:
    """Which cluster a run is on, and who said so."""
    cpus = ray.cluster_resources().get("CPU", 0.0)
    cores = f"{cpus:g} CPU{'' if cpus == 1 else 's'}"
    return (
        f"{where(config.run, ray)}: {words.counted(len(nodes), 'node')}, {cores}, "
        f"{words.counted(processes, 'process', 'processes')} of this run"
    )


def of_a_loss(node: str, processes: int, requests: int) -> str:
    """What to say of processes that are gone with so many requests."""
    who = "a process" if processes == 1 else f"{processes} processes"
    was = "was" if processes == 1 else "were"
    lost = f"{who} of the Ray cluster on {node} {was} lost"
    if not requests:
        return f"{lost}, with nothing under way"
    return (
        f"{lost} with {words.counted(requests, 'request')} under way; what it was doing is done "
        "again elsewhere, and as it may have been billed already, its worst case is charged"
    )


def lonely_addresses(config: Config, nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Warn of a server on the driver's machine when calls are made on others too."""
    if len({node["NodeManagerAddress"] for node in nodes}) < 2:
        return
    for model in dict.fromkeys(step.model for step in config.asking):
        for _, place, _, _ in places_of(config, model):
            if place.api_base and is_loopback(place.api_base):
                yield (
                    f"{shown(place.api_base)} is another server on every node of the Ray cluster; "
                    "name it by an address that all of them can reach"
                )
                return


# One process makes about this many quick calls at once well; more share them between processes, as
# long as the cluster has a core for each. Slow calls need no more: thousands wait in one process.
_THREADS_PER_ACTOR = 50
# How long the cluster may have no actor at all, to start one on another node.
_START_SECONDS = 120.0
# Actors that fail to start in a row before no other is started in their place.
_MOST_FAILED_STARTS = 4
# Losses in a row without a finished call in between: what kills every actor ends the run.
_MOST_LOSSES = 20
# A node that is lost is lost once, however many actors it had and however they are noticed.
_ONE_LOSS_SECONDS = 10.0


class RayEngine(Engine):
    """Actors on a Ray cluster that make the calls of a run.

    What is finished reaches the driver within milliseconds. When an actor or its node is lost,
    the requests it had are made again elsewhere; each may have been billed once already, so its
    worst case is charged and held once more.

    Actors make their own clients from the config; the limits that the driver's fleet begins with
    are kept for all of them by one ledger.
    """

    def __init__(self, supplies: Supplies) -> None:
        self._config = config = supplies.config
        self._fleet = fleet = supplies.fleet
        self._budget = supplies.budget
        self._say = say = supplies.say
        self._ray = ray = connected(config.run.cluster)
        limits = {
            key: Limits(
                rpm, tpm, rpm is None and tpm is None and fleet.limiters[key].rpm is not None
            )
            for name in fleet.models
            for key, _, rpm, tpm in places_of(config, name)
        }
        workers = config.limits.workers
        nodes = [node for node in ray.nodes() if node["Alive"]]
        cores = int(ray.cluster_resources().get("CPU", 0.0))
        wanted = config.run.ray_actors or max(
            len(nodes), min(cores, -(-workers // _THREADS_PER_ACTOR))
        )
        count = min(workers, wanted)
        say(used(config, ray, nodes, count))
        for sentence in lonely_addresses(config, nodes):
            say(sentence)
        self._kit = Kit(config, limits, variables_of(config), str(Path.cwd()))
        self._ledger = LedgerActor(ray, limits, count)
        self._losses = Losses(fleet)
        self._room = Room(ray, say)
        self._waiting: deque[Request] = deque()
        self._done: list[Call] = []
        self._returned: list[Request] = []
        self._bug: Exception | None = None
        self._stopping = False
        self._any_started = False
        self._failed_starts, self._losses_in_a_row = 0, 0
        self._lost_at: dict[str, float] = {}
        self._without_since = time.monotonic()
        self._actors: list[Actor] = []
        for number in range(count):
            self._start(workers // count + (number < workers % count))

    @property
    def free(self) -> int:
        if self._stopping:
            return 0
        running = sum(actor.room for actor in self._running())
        # While none has started, requests wait here; so does the run.
        return (running or self._config.limits.workers) - self.held

    @property
    def held(self) -> int:
        return len(self._waiting) + len(self._done) + sum(actor.load for actor in self._actors)

    def submit(self, request: Request) -> None:
        self._waiting.append(request)

    def wait(self, timeout_seconds: float) -> Sequence[Call]:
        if not self._done and self._bug is None:
            self._hand_out()
            self._listen(timeout_seconds)
        calls, self._done = self._done, []
        if not calls and self._bug is not None:
            bug, self._bug = self._bug, None
            raise bug
        return calls

    def give_back(self) -> Sequence[Request]:
        """Requests that were not begun; those of the actors come with later calls of this.

        One that was lost with an actor becomes a call instead: it may have been billed.
        """
        self._stopping = True
        returned = [*self._waiting, *self._returned]
        self._waiting.clear()
        self._returned.clear()
        for actor in self._actors:
            returned += actor.fresh
            actor.fresh.clear()
        unsent, calls = self._losses.split(returned)
        self._done += calls
        return unsent

    def in_flight(self) -> Sequence[tuple[Request, float]]:
        return [(sent.request, sent.at) for actor in self._actors for sent in actor.sent.values()]

    def hold(self, on: bool) -> None:
        self._ledger.handle.hold.remote(on)

    def close(self) -> None:
        for actor in self._actors:
            actor.kill()
        self._ledger.close()
        self._actors.clear()

    def _running(self) -> list[Actor]:
        return [actor for actor in self._actors if actor.spot is not None]

    def _start(self, room: int) -> None:
        self._actors.append(Actor(self._ray, self._ledger.handle, self._kit, room))

    def _hand_out(self) -> None:
        """Give waiting requests to the actors with the most room, and let them begin."""
        running = self._running()
        while self._waiting and running:
            actor = max(running, key=lambda actor: actor.room - actor.load)
            if actor.room <= actor.load:
                break
            actor.fresh.append(self._waiting.popleft())
        for actor in running:
            actor.talk(self._stopping)

    def _listen(self, timeout_seconds: float) -> None:
        self._fleet.told.update(self._ledger.rates())
        speaking = {actor.ref: actor for actor in self._actors if actor.ref is not None}
        if not speaking and self.held:
            raise Incomplete("the Ray cluster has no actor left", "look at: ray status")
        if not speaking:
            return
        ready, _ = self._ray.wait(list(speaking), num_returns=1, timeout=timeout_seconds)
        if ready:  # and whatever else is
            ready, _ = self._ray.wait(list(speaking), num_returns=len(speaking), timeout=0)
        gone: list[tuple[Actor, Gone]] = []
        heard = {speaking[ref] for ref in ready}
        for actor in speaking.values():
            if actor not in heard and actor.is_silent:
                gone.append((actor, Gone("its node does not answer")))
        for ref in ready:
            actor = speaking[ref]
            try:
                news = actor.listen()
            except Gone as why:
                gone.append((actor, why))
            except Exception as bug:  # of what runs in the actor, not of one of its calls
                gone.append((actor, Gone(str(bug))))
                self._bug = bug
            else:
                if news is None:
                    self._any_started |= actor.spot is not None
                    self._failed_starts = 0
                else:
                    self._take_in(actor, news)
        if gone:
            self._replace(gone)
        self._look_for_room()

    def _take_in(self, actor: Actor, news: News) -> None:
        self._fleet.notices.extend(news.notices)
        if news.calls:
            self._losses_in_a_row = 0
        self._done += map(self._losses.with_lost, news.calls)
        asking = {sent.request.item_id: sent for sent in actor.sent.values()} if news.asks else {}
        for ask in news.asks:
            allowed = self._budget.hold_more(ask.item_id, ask.amount)
            actor.answers[ask.number] = allowed
            if allowed and ask.item_id in asking:
                asking[ask.item_id].granted.append(ask.amount)
        dropped = [sent.request for sent in actor.taken_in(news)]
        unsent, calls = self._losses.split(dropped)
        self._returned += unsent
        self._done += calls
        self._bug = self._bug or news.bug

    def _replace(self, gone: Sequence[tuple[Actor, Gone]]) -> None:
        """Actors are gone: their requests are made again, if there is money for that."""
        for actor, _ in gone:
            # First of all: one that is not gone after all must not go on to send.
            actor.kill()
            self._actors.remove(actor)
        lost: Counter[str] = Counter()
        for actor, why in gone:
            self._waiting.extendleft(reversed(actor.fresh))
            for sent in actor.sent.values():
                self._make_again(sent.request, self._losses.lose(sent))
            if actor.spot is None:
                self._not_started(actor, why)
                continue
            lost[actor.spot.node] += len(actor.sent)
            now, node_id = time.monotonic(), actor.spot.node_id
            if now > self._lost_at.get(node_id, float("-inf")) + _ONE_LOSS_SECONDS:
                self._losses_in_a_row += 1
                self._lost_at[node_id] = now
            if not self._stopping:
                self._start(actor.room)
        if self._stopping:
            return
        for node, requests in lost.items():
            processes = sum(actor.spot is not None and actor.spot.node == node for actor, _ in gone)
            self._say(of_a_loss(node, processes, requests))
        if self._losses_in_a_row > _MOST_LOSSES:
            raise Incomplete(
                f"actors on the Ray cluster were lost {self._losses_in_a_row} times in a row, and "
                "no call was finished meanwhile",
                "look at: ray status; then run the same command again",
            )

    def _make_again(self, request: Request, most: float) -> None:
        attempts = self._losses.attempts(request)
        if self._stopping:
            call = self._losses.ended(
                request, "cancelled", "the run stopped before another attempt"
            )
        elif attempts >= self._config.limits.max_attempts:
            call = self._losses.ended(request, "unavailable", f"that was attempt {attempts}")
        elif not self._budget.hold_more(request.item_id, most):
            call = self._losses.ended(
                request, "budget", "the budget has no room for another attempt"
            )
        else:
            self._waiting.append(request)
            return
        self._done.append(call)

    def _not_started(self, actor: Actor, why: Gone) -> None:
        """An actor did not come to life: another is started, a few times."""
        self._failed_starts += 1
        if self._stopping:
            return
        if self._failed_starts <= _MOST_FAILED_STARTS:
            self._start(actor.room)
            return
        if self._actors:
            self._room.say_once(f"a process does not start on the Ray cluster: {why.why}")
            return
        message = f"no process starts on the Ray cluster: {why.why}"
        hint = why.wrong.hint if why.wrong else "install llmb[ray] on every node"
        raise (Incomplete if self._any_started else ConfigError)(message, hint)

    def _look_for_room(self) -> None:
        """Say when the cluster has no place for an actor; give up when it never has."""
        pending = [actor for actor in self._actors if actor.spot is None]
        if len(pending) < len(self._actors) or not pending or self._stopping:
            self._without_since = time.monotonic()
        running = sum(actor.room for actor in self._running())
        if pending and not self._stopping:
            self._room.look(pending, running, self._config.limits.workers)
        if time.monotonic() - self._without_since > _START_SECONDS:
            raise (Incomplete if self._any_started else ConfigError)(
                f"the Ray cluster started no process within {_START_SECONDS:.0f} s "
                f"({self._room.words()})",
                "look at: ray status",
            )
