"""What a run may still send: the gate between the loop and the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llm_batch.budget import Budget
from llm_batch.chain import Chain
from llm_batch.fleet import Fleet
from llm_batch.forecast import forecast
from llm_batch.progress import Stop
from llm_batch.records import Call, Item, Request

# Tokens of one model's output, counted by another model's encoding.
_RECOUNTED = 1.5


class Purse:
    """Admits a request when the worst case of its item, to the end of the chain, is paid for.

    Args:
        chain: What is still to come for an item.
        budget: What there is.
        fleet: What the models cost at worst.
        stop: Whether the run goes on at all.
        held_already: USD held for exactly the request of this key, which is on its way.
    """

    def __init__(
        self,
        chain: Chain,
        budget: Budget,
        fleet: Fleet,
        stop: Stop,
        held_already: Callable[[str], float] = lambda key: 0.0,
    ) -> None:
        self._chain = chain
        self._budget = budget
        self._fleet = fleet
        self._stop = stop
        self._held_already = held_already
        #: The item that was turned away last, and USD that it may cost to the end of the chain.
        self.refused: tuple[str, float] | None = None

    @property
    def stopped(self) -> bool:
        return bool(self._stop.reason)

    def admit(self, item: Item, request: Request, calls: Sequence[Call]) -> bool:
        if self._budget.cap is None:
            return True
        most = self._worst_case(item, request, calls) * self._budget.dearer
        if self._budget.hold(item.id, max(0.0, most - self._held_already(request.key))):
            return True
        self.refused = item.id, most
        return False

    def forget(self, item: Item) -> None:
        self._budget.release(item.id)

    def _worst_case(self, item: Item, request: Request, calls: Sequence[Call]) -> float:
        now = self._fleet.models[request.model].most(request)
        if request.step == self._chain.steps[-1].name:
            return now
        # What a later prompt makes of an answer may not be known before there is one. It is then
        # guessed; should that be too little, the request must find the rest when it is due.
        coming = forecast(self._chain, item, self._fleet.counter, calls, guess=True)
        total = now
        outputs: dict[str, float] = {}
        for position, next_one in enumerate(coming):
            step, model = next_one.step, self._fleet.models[next_one.step.model]
            if position:
                total += model.worst_case(next_one.input_tokens_given(outputs), step.max_tokens)
            outputs[step.name] = _RECOUNTED * model.most_output(step.max_tokens)
        return total
