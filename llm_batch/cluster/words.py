"""What is said of the cluster: of places it has not, of processes that are lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from llm_batch.cluster.actor import Actor
from llm_batch.config import Config
from llm_batch.fleet import places_of
from llm_batch.providers.address import is_loopback, shown

# Where nothing is free an actor waits for a place; elsewhere its process may start slowly.
_FULL_SECONDS = 5.0
_SLOW_SECONDS = 20.0
_LOOK_AGAIN_SECONDS = 1.0
# What an actor takes of a processor.
_LEAST_CPU = 0.01


class Room:
    """Looks whether the actors find a place, and says so when they do not.

    Args:
        ray: Connected.
        say: Called with sentences a user should read.
    """

    def __init__(self, ray: Any, say: Callable[[str], None]) -> None:
        self._ray = ray
        self._say = say
        self._said: set[str] = set()
        self._looked = 0.0

    def look(self, pending: Sequence[Actor], running: int, workers: int) -> None:
        """Say once that the run waits, or goes on with fewer workers.

        Args:
            pending: Actors that have not started.
            running: Calls that those which have can make at once.
            workers: Calls that all would make.
        """
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
        if running:
            what = "1 process waits" if len(waiting) == 1 else f"{len(waiting)} processes wait"
            self._say(
                f"{what} for a place in the Ray cluster ({self.words()}); the run goes on with "
                f"{running} of {workers} workers"
            )
        else:
            self._say(f"the run waits for a place in the Ray cluster ({self.words()})")

    def words(self) -> str:
        """How many processors the cluster has, and has free."""
        total = self._ray.cluster_resources().get("CPU", 0.0)
        free = self._ray.available_resources().get("CPU", 0.0)
        return f"{total:g} CPU{'' if total == 1 else 's'}, {free:.3g} free"

    def say_once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self._say(sentence)


def of_a_loss(node: str, processes: int, requests: int) -> str:
    """What to say of processes that are gone with so many requests."""
    who = "a process" if processes == 1 else f"{processes} processes"
    was = "was" if processes == 1 else "were"
    lost = f"{who} of the Ray cluster on {node} {was} lost"
    if not requests:
        return f"{lost}, with nothing under way"
    what = "1 request" if requests == 1 else f"{requests} requests"
    return (
        f"{lost} with {what} under way; what it was doing is done again elsewhere, and as it may "
        "have been billed already, its worst case is charged"
    )


def lonely_addresses(config: Config, nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Warn of a server on the driver's machine when calls are made on others too."""
    if len({node["NodeManagerAddress"] for node in nodes}) < 2:
        return
    for model in dict.fromkeys(step.model for step in config.steps):
        for _, place, _, _ in places_of(config, model):
            if place.api_base and is_loopback(place.api_base):
                yield (
                    f"{shown(place.api_base)} is another server on every node of the Ray cluster; "
                    "name it by an address that all of them can reach"
                )
                return
