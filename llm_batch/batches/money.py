"""What open jobs cost at most, held until their answers are paid for.

It is held under names of its own and not under those of items, because an item may need money for
another request as well: its prompt may have changed since the job was made.
"""

from __future__ import annotations

from llm_batch.batches.job_log import Entry
from llm_batch.budget import Budget


class JobMoney:
    """Holds the worst case of requests in jobs that no item of this session has asked for yet.

    Args:
        budget: Where it is held.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held: dict[str, float] = {}

    def hold(self, entry: Entry) -> None:
        """Hold what a request in a job costs at most, or what is left if that is less.

        It is being spent already, so it comes before everything else.
        """
        amount, cap = entry.most or 0.0, self._budget.cap
        if cap is None or not amount:
            return
        if not self._budget.hold(_name(entry.key), amount):
            amount = max(0.0, cap - self._budget.spent - self._budget.held)
            self._budget.hold(_name(entry.key), amount)
        self._held[entry.key] = amount

    def of(self, key: str) -> float:
        """USD that are held for a request."""
        return self._held.get(key, 0.0)

    def give(self, key: str, item_id: str) -> None:
        """An item has asked for the request: the money is its own from now on."""
        if self._held.pop(key, None) is not None:
            self._budget.move(_name(key), item_id)

    def charge(self, key: str, cost: float) -> None:
        """The request was answered and no item asked for it."""
        self._budget.charge(_name(key), cost)
        self.release(key)

    def release(self, key: str) -> None:
        """The request costs nothing."""
        self._held.pop(key, None)
        self._budget.release(_name(key))


def _name(key: str) -> str:
    return f"\0{key}"  # no item is called so
