"""Stops a run when it has shown enough: its interval is narrow, or a threshold is decided.

Items are taken in the order they were drawn, not in the order they finish: what comes back
quickly may be easier than the rest.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from llm_batch.records import Interval, Item, Result
from llm_batch.stats.interval import wilson, wilson_finite
from llm_batch.stats.sequential import beta_binomial, prior_posterior_ratio

# Fewer verdicts say too little of how wide an interval will be.
_AT_LEAST = 30


@dataclass(frozen=True, slots=True)
class Until:
    """When a run has shown enough. Rates are fractions of one.

    Attributes:
        margin: Stop when half the width of the pass rate's interval (Wilson, finite population)
            is no more than this. Stopping on the width leaves the coverage as it is: simulated
            .92 to .98 for nominal .95.
        decided: Stop when the pass rate is above or below this for certain, by a confidence
            sequence, which may be looked at after every item.
        level: Confidence of either.
    """

    margin: float | None = None
    decided: float | None = None
    level: float = 0.95

    def __bool__(self) -> bool:
        return self.margin is not None or self.decided is not None


class Watch:
    """Takes in the results of a run and says when it has shown enough.

    Args:
        until: When that is.
        population: Items in the whole dataset; ``None`` when unknown.

    Attributes:
        seen: Items with a verdict that were looked at.
        passed: Those that passed.
        unscored: Items without one; no interval speaks of them.
        interval: The one that was looked at last.
    """

    def __init__(self, until: Until, population: int | None) -> None:
        self._until = until
        self._population = population
        self._places: dict[str, int] = {}
        self._waiting: list[tuple[int, bool | None]] = []
        self._next = 0
        self.seen = self.passed = self.unscored = 0
        self.interval: Interval | None = None

    def numbered(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, with the place of each noted as it is drawn."""
        for place, item in enumerate(items):
            self._places[item.id] = place
            yield item

    def note(self, result: Result) -> str:
        """Take in a result; a sentence when the run has shown enough, else nothing."""
        heapq.heappush(self._waiting, (self._places.pop(result.item.id), result.passed))
        while self._waiting and self._waiting[0][0] == self._next:
            _, passed = heapq.heappop(self._waiting)
            self._next += 1
            if passed is None:
                self.unscored += 1
                continue
            self.seen += 1
            self.passed += passed
            if said := self._look():
                return said
        return ""

    def record(self) -> dict[str, Any]:
        """What the manifest keeps of it."""
        found = self.interval
        return {
            "margin": self._until.margin,
            "decided": self._until.decided,
            "level": self._until.level,
            "n": self.seen,
            "passed": self.passed,
            "low": found.low if found else None,
            "high": found.high if found else None,
            "method": found.method if found else None,
        }

    def _look(self) -> str:
        if self.seen < _AT_LEAST:
            return ""
        until, n = self._until, self.seen
        if until.margin is not None:
            found = self.interval = (
                wilson(self.passed, n, until.level)
                if self._population is None
                else wilson_finite(self.passed, n, self._population, until.level)
            )
            if found.low is not None and found.high is not None:
                half = (found.high - found.low) / 2
                if half <= until.margin:
                    return (
                        f"after {n:,} items the pass rate is {_percent(found)}: "
                        f"±{100 * half:.1f} points"
                    )
        if until.decided is not None:
            population = self._population
            found = self.interval = (
                beta_binomial(self.passed, n, until.level)
                if population is None
                else prior_posterior_ratio(self.passed, n, population, until.level)
            )
            if found.low is not None and found.low > until.decided:
                return self._decided("above", found)
            if found.high is not None and found.high < until.decided:
                return self._decided("below", found)
        return ""

    def _decided(self, side: str, found: Interval) -> str:
        return (
            f"after {self.seen:,} items the pass rate is {side} "
            f"{100 * (self._until.decided or 0):g} %: {_percent(found)}"
        )


def _percent(found: Interval) -> str:
    value, low, high = (100 * (x or 0.0) for x in (found.value, found.low, found.high))
    return f"{value:.1f} % ({low:.1f} to {high:.1f} %, {found.method})"
