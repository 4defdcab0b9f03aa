"""Engines move requests to a function and calls back; they differ in how many they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from llm_batch.records import Call, Request

Serve = Callable[[Request], Call]


class Engine(Protocol):
    """Holds a number of requests at once.

    Attributes:
        free: How many more requests it takes now.
        held: How many requests it has that `wait` has not returned yet.
    """

    @property
    def free(self) -> int: ...

    @property
    def held(self) -> int: ...

    def submit(self, request: Request) -> None:
        """Take a request; only while ``free`` is positive."""

    def wait(self, timeout_seconds: float) -> Sequence[Call]:
        """Calls that have finished; at least one unless the time is up or nothing is held.

        A request whose function raised `Cancelled` is no longer held and has no call.

        Raises:
            BaseException: Whatever else the function raised: a bug, not an outcome. Calls that
                finished before or after it are returned by this engine's other waits.
        """

    def give_back(self) -> Sequence[Request]:
        """Requests that were taken but not begun; they will not be sent."""

    def close(self) -> None:
        """Stop: drop what has not begun and wait for what has."""


def _threads(serve: Serve, workers: int) -> Engine:
    from llm_batch.engines.local import ThreadsEngine

    return ThreadsEngine(serve, workers)


def _serial(serve: Serve, workers: int) -> Engine:
    from llm_batch.engines.local import SerialEngine

    return SerialEngine(serve)


#: Engine by name: a function from what serves a request and the number of workers.
ENGINES: Mapping[str, Callable[[Serve, int], Engine]] = {"threads": _threads, "serial": _serial}
