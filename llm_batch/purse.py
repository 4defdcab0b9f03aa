"""What a run may still send: the gate between the loop and the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_batch.budget import Budget
from llm_batch.chain import Chain, PromptError
from llm_batch.fleet import Fleet
from llm_batch.forecast import forecast
from llm_batch.records import Call, Item, Request

if TYPE_CHECKING:
    from llm_batch.run import Stop

# Tokens of one model's output, counted by another model's encoding.
_RECOUNTED = 1.5


class Purse:
    """Admits a request when the worst case of its item, to the end of the chain, is paid for.

    Args:
        chain: What is still to come for an item.
        budget: What there is.
        fleet: What the models cost at worst.
        stop: Whether the run goes on at all.
    """

    def __init__(self, chain: Chain, budget: Budget, fleet: Fleet, stop: Stop) -> None:
        self._chain = chain
        self._budget = budget
        self._fleet = fleet
        self._stop = stop

    @property
    def stopped(self) -> bool:
        return bool(self._stop.reason)

    def admit(self, item: Item, request: Request, calls: list[Call]) -> bool:
        if self._budget.cap is None:
            return True
        return self._budget.hold(item.id, self._worst_case(item, request, calls))

    def _worst_case(self, item: Item, request: Request, calls: list[Call]) -> float:
        fleet = self._fleet
        now = fleet.models[request.model]
        total = now.worst_case(
            now.upper_tokens(now.counter().count_messages(request.messages)), request.max_tokens
        )
        outputs: dict[str, float] = {}
        try:
            coming = forecast(self._chain, item, fleet.counter, calls)
        except PromptError:
            return total  # it will fail before anything more is sent
        for position, next_one in enumerate(coming):
            model = fleet.models[next_one.step.model]
            if position:
                tokens = next_one.input_tokens_given(outputs)
                total += model.worst_case(model.upper_tokens(tokens), next_one.step.max_tokens)
            outputs[next_one.step.name] = _RECOUNTED * model.most_output(next_one.step.max_tokens)
        return total
