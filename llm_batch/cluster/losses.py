"""Requests that were lost with their actors: what each may have cost, until its call is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from llm_batch.fleet import Fleet
from llm_batch.records import Attempt, Call, Failure, Request


@dataclass(slots=True)
class Sent:
    """A request that an actor has.

    Attributes:
        request: The request.
        at: When it was handed out, in seconds since 1970-01-01 UTC.
        granted: What the driver allowed for each attempt after one that may have been billed.
    """

    request: Request
    at: float
    granted: list[float] = field(default_factory=list)


class Losses:
    """Nobody knows whether a lost request was answered, so it is charged at its worst.

    Args:
        fleet: What requests cost.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        # By request: USD, ``None`` when a price is unknown, and when each attempt was handed out.
        self._lost: dict[str, tuple[float | None, tuple[float, ...]]] = {}

    def lose(self, sent: Sent) -> float:
        """Note that an actor was lost with a request.

        Returns:
            USD that another attempt needs.
        """
        request, model = sent.request, self._fleet.models[sent.request.model]
        most = model.most(request)
        before, times = self._lost.get(request.key, (0.0, ()))
        cost = None
        if model.tariff is not None and before is not None:
            cost = before + most + sum(sent.granted)
        # Every attempt that was granted followed one that may have been billed.
        lost = (sent.at,) * (1 + len(sent.granted))
        self._lost[request.key] = cost, (*times, *lost)
        return most

    def attempts(self, request: Request) -> int:
        """How many attempts at a request were lost."""
        return len(self._lost.get(request.key, (None, ()))[1])

    def with_lost(self, call: Call) -> Call:
        """The call, with the attempts of it that were lost before."""
        cost, times = self._lost.pop(call.request.key, (0.0, ()))
        if not times:
            return call
        lost = [Attempt(n, at, 0.0, "lost", maybe_billed=True) for n, at in enumerate(times, 1)]
        made = [replace(each, number=each.number + len(times)) for each in call.attempts]
        return replace(
            call,
            attempts=(*lost, *made),
            cost=None if cost is None or call.cost is None else cost + call.cost,
            worst_case=True,
        )

    def ended(self, request: Request, kind: str, why: str) -> Call:
        """The call of a lost request that is not made again."""
        message = f"its process on the cluster was lost, and {why}"
        return self.with_lost(Call(request, (), failure=Failure(kind, message), cost=0.0))

    def split(self, requests: Sequence[Request]) -> tuple[list[Request], list[Call]]:
        """Requests that will not be sent: those nothing was paid for, and calls of the others."""
        unsent = [request for request in requests if request.key not in self._lost]
        calls = [
            self.ended(request, "cancelled", "the run stopped before another attempt")
            for request in requests
            if request.key in self._lost
        ]
        return unsent, calls
