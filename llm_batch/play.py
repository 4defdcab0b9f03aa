"""The loop: items, chain and engine in; calls and results out.

While the engine has room, give it a follow-up request or else one from a new item; wait for a
call; yield it; ask the chain what comes next. Follow-ups go first, so that a budget buys whole
results instead of many first halves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from llm_batch.chain import Chain, PromptError
from llm_batch.engines import Engine
from llm_batch.records import Call, Item, Request, Result

# Often enough for a progress display, and for a stop to be noticed.
_TICK_SECONDS = 0.2


class Gate(Protocol):
    """Decides whether a request may be sent now, and whether to go on at all."""

    @property
    def stopped(self) -> bool:
        """True once nothing new may be sent, follow-ups included."""

    def admit(self, item: Item, request: Request, calls: list[Call]) -> bool:
        """Whether to send a request now; called once more later when the answer is no."""


class OpenGate:
    """Admits everything."""

    stopped = False

    def admit(self, item: Item, request: Request, calls: list[Call]) -> bool:
        return True


@dataclass(slots=True)
class _Open:
    """An item that has begun and is not finished."""

    item: Item
    calls: list[Call] = field(default_factory=list)
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing happened for a while; time to look at the clock."""


Event = Call | Result | Tick


def play(
    items: Iterable[Item],
    chain: Chain,
    engine: Engine,
    answered: Callable[[Request], Call | None] = lambda request: None,
    gate: Gate | None = None,
) -> Iterator[Event]:
    """Play the chain over the items.

    A call is yielded before anything that depends on it is sent, so the consumer can make it
    durable first. Calls found by ``answered`` are not yielded: nothing was sent for them.

    Args:
        items: In the order they should begin.
        chain: What to ask.
        engine: Who carries the requests; stays open.
        answered: Looks up a call that was made before.
        gate: Decides what may be sent; everything by default.

    Yields:
        Each `Call` as it finishes, the `Result` of each item that is finished, and `Tick` when
        nothing finished for a fifth of a second. Items that were begun and not finished when the
        gate stopped have no result.
    """
    gate = gate or OpenGate()
    waiting = iter(items)
    following: deque[_Open] = deque()
    blocked: _Open | None = None
    flying: dict[str, _Open] = {}
    more = True

    def advance(begun: _Open) -> Result | None:
        """Move past what is already answered; a result, or ``None`` with a request to send."""
        try:
            while (request := chain.next_request(begun.item, begun.calls)) is not None:
                call = answered(request)
                if call is None:
                    begun.request = request
                    return None
                begun.calls.append(call)
        except PromptError as error:
            return chain.result(begun.item, begun.calls, str(error))
        return chain.result(begun.item, begun.calls)

    def send(begun: _Open) -> bool:
        assert begun.request is not None  # advance() left one
        if not gate.admit(begun.item, begun.request, begun.calls):
            return False
        flying[begun.item.id] = begun
        engine.submit(begun.request)
        return True

    while True:
        while engine.free > 0 and not gate.stopped:
            if following:
                if not send(following[0]):
                    # Its share was held back when it began; only an odd prompt can outgrow that.
                    if engine.held:
                        break
                    following.popleft()
                    continue
                following.popleft()
                continue
            if blocked is not None:
                if not send(blocked):
                    break
                blocked = None
                continue
            item = next(waiting, None) if more else None
            if item is None:
                more = False
                break
            begun = _Open(item)
            result = advance(begun)
            if result is not None:
                yield result
            elif not send(begun):
                blocked = begun
        if not engine.held:
            if gate.stopped or not more or blocked is not None:
                return
            continue
        if gate.stopped:
            for request in engine.give_back():
                flying.pop(request.item_id, None)
        calls = engine.wait(_TICK_SECONDS)
        for call in calls:
            yield call
            begun = flying.pop(call.request.item_id)
            begun.calls.append(call)
            result = advance(begun)
            if result is not None:
                yield result
            else:
                following.append(begun)
        if not calls:
            yield Tick()
