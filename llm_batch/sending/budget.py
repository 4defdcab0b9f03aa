"""A cap on spending that holds while many calls are in the air.

Before a request is sent, the most it can cost is held back; when it has finished, the hold is
replaced by what it did cost. What is spent plus what is held never exceeds the cap, so neither
does the bill. Holds are kept per item, so an item that starts has its judge's share as well.
"""

from __future__ import annotations

import threading

# Sums of many small floats may land a hair above the cap they were meant to reach.
_TOLERANCE = 1e-9


class Budget:
    """USD spent and held back; safe to use from several threads.

    Args:
        cap: The most that may be spent, in USD; ``None`` counts without a cap.
        spent: What earlier sessions spent.

    Attributes:
        dearer: How many times the worst case a call has cost, 1 where none cost more: a provider
            may bill thoughts beyond ``max_tokens``, or more than the list price.
    """

    def __init__(self, cap: float | None, spent: float = 0.0) -> None:
        self.cap = cap
        self.spent = spent
        self.dearer = 1.0
        self._held: dict[str, float] = {}
        self._worst: dict[str, float] = {}  # of what is held, before it was made dearer
        self._held_sum = 0.0
        self._lock = threading.Lock()

    def hold(self, item_id: str, amount: float) -> bool:
        """Set what is held back for an item, in USD; ``False`` and unchanged if it does not fit."""
        with self._lock:
            held = self._hold(item_id, amount)
            if held:
                self._worst[item_id] = amount / self.dearer
            return held

    def hold_more(self, item_id: str, amount: float) -> bool:
        """Raise an item's hold, for an attempt after one that may have been billed."""
        with self._lock:
            return self._hold(item_id, self._held.get(item_id, 0.0) + amount)

    def move(self, item_id: str, to: str) -> None:
        """What is held for the one is held for the other from now on."""
        with self._lock:
            amount = self._held.get(item_id, 0.0)
            self._set(item_id, 0.0)
            self._set(to, self._held.get(to, 0.0) + amount)

    def charge(self, item_id: str, cost: float) -> None:
        """Book what a call cost; the item's hold shrinks by as much."""
        with self._lock:
            self.spent += cost
            held = self._held.get(item_id, 0.0)
            worst = self._worst.pop(item_id, 0.0)
            if worst > 0 and cost > held + _TOLERANCE:
                self.dearer = max(self.dearer, cost / max(worst, held / self.dearer))
            self._set(item_id, max(0.0, held - cost))

    def release(self, item_id: str) -> None:
        """Give back whatever is still held for an item."""
        with self._lock:
            self._set(item_id, 0.0)
            self._worst.pop(item_id, None)

    @property
    def held(self) -> float:
        """USD held back for calls in flight."""
        return self._held_sum

    def _hold(self, item_id: str, amount: float) -> bool:
        growth = amount - self._held.get(item_id, 0.0)
        if (
            self.cap is not None
            and growth > 0
            and self.spent + self._held_sum + growth > self.cap + _TOLERANCE
        ):
            return False
        self._set(item_id, amount)
        return True

    def _set(self, item_id: str, amount: float) -> None:
        self._held_sum += amount - self._held.pop(item_id, 0.0)
        if amount:
            self._held[item_id] = amount
        if not self._held:
            self._held_sum = 0.0  # nothing in flight: drop the rounding errors
