"""What ends a run early: money that is not there, calls that go wrong, enough shown.

Items are taken in the order they were drawn, not in the order they finish: what comes back
quickly may be easier than the rest.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from llm_batch.chain.chain import Chain
from llm_batch.chain.forecast import forecast
from llm_batch.chain.steps import shown
from llm_batch.errors import status_of
from llm_batch.paper import words
from llm_batch.record.manifest import Stopping
from llm_batch.records import Call, Interval, Item, Request, Result
from llm_batch.sending.client import Budget
from llm_batch.sending.clock import Stop
from llm_batch.sending.fleet import Fleet, FleetModel
from llm_batch.stats.interval import wilson, wilson_finite
from llm_batch.stats.sequential import beta_binomial, prior_posterior_ratio

#: How many of a step's last outcomes are looked at, and how many there must be to judge.
WINDOW = 50
AT_LEAST = 20

# Stands beside the steps, and is no name that a step can have.
_PROMPTS = ""


class Circuit:
    """Watches the results of a run, step by step.

    Args:
        share: The share of failures, above 0 and up to 1, beyond which the run should stop.
        servers: By step, the address of its server where that is one of the user's own.
    """

    def __init__(self, share: float, servers: Mapping[str, str] | None = None) -> None:
        self._share = share
        self._servers = dict(servers or {})
        self._outcomes: dict[str, deque[str]] = {}

    def note(self, result: Result) -> str:
        """Take in a result; a sentence when the run should stop, else nothing."""
        done = list(result.steps)
        if result.status in ("prompt", "rule"):
            # What failed is no call: the prompt of the next step, or a rule.
            failing = _PROMPTS
        else:
            failing = done.pop() if done else _PROMPTS
            done.append(_PROMPTS)
        for step in done:
            self._add(step, "ok")
        return self._add(failing, result.status, result.error)

    def _add(self, step: str, status: str, error: str = "") -> str:
        outcomes = self._outcomes.setdefault(step, deque(maxlen=WINDOW))
        outcomes.append(status)
        failed = len(outcomes) - outcomes.count("ok")
        if len(outcomes) < AT_LEAST or failed <= self._share * len(outcomes):
            return ""
        failures = Counter(outcome for outcome in outcomes if outcome != "ok")
        kind, count = failures.most_common(1)[0]
        advice = status_of(kind).advice_at(self._servers.get(step))
        last = f" (last: {error})" if error else ""
        where = "prompts" if step == _PROMPTS else f"step {shown(step)!r}"
        return (
            f"{where}: {failed} of the last {len(outcomes)} items failed, "
            f"{count} of them {status_of(kind).name}{last}; {advice}"
        )


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
            sequence, which may be looked at after every item. The run is then a gate: it ends in
            5 below, and in 6 where all items do not decide it.
        undecided_passes: Ends in 0 there.
    """

    margin: float | None = None
    decided: float | None = None
    level: float = 0.95
    undecided_passes: bool = False

    def __bool__(self) -> bool:
        return self.margin is not None or self.decided is not None


class Watch:
    """Takes in the results of a run and says when it has shown enough.

    No interval speaks of the items without a verdict, which are ``unscored``. The ``population`` is
    all items of the dataset; ``None`` when unknown.
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

    @property
    def verdict(self) -> str:
        """One of `llm_batch.errors.VERDICTS`, where the run is a gate; else empty."""
        if self._until.decided is None:
            return ""
        side = self._side(self._sequence()) if self.seen >= _AT_LEAST else ""
        return {"above": "passed", "below": "failed"}.get(side, "undecided")

    def _sequence(self) -> Interval:
        if self._population is None:
            return beta_binomial(self.passed, self.seen, self._until.level)
        return prior_posterior_ratio(self.passed, self.seen, self._population, self._until.level)

    def _side(self, found: Interval) -> str:
        """On which side of the bound the rate lies for certain; empty where that is open."""
        bound = self._until.decided
        if bound is not None and found.low is not None and found.low > bound:
            return "above"
        if bound is not None and found.high is not None and found.high < bound:
            return "below"
        return ""

    def record(self) -> Stopping:
        found = self.interval
        return Stopping(
            margin=self._until.margin,
            decided=self._until.decided,
            level=self._until.level,
            n=self.seen,
            passed=self.passed,
            low=found.low if found else None,
            high=found.high if found else None,
            method=found.method if found else None,
        )

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
            found = self.interval = self._sequence()
            if side := self._side(found):
                return self._decided(side, found)
        return ""

    def _decided(self, side: str, found: Interval) -> str:
        return (
            f"after {self.seen:,} items the pass rate is {side} "
            f"{words.level(self._until.decided or 0.0)}: {_percent(found)}"
        )


def _percent(found: Interval) -> str:
    return f"{words.percent(found.value)} ({words.percent_range(found)}, {found.method})"


# One of so many requests has its item forecast while the end of the budget is far.
_FORECAST = 65
# Tokens of one model's output, counted by another model's encoding.
_RECOUNTED = 1.5


class Purse:
    """Admits a request when the worst case of its item, to the end of the chain, is paid for.

    Args:
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
        #: Whether tokens are counted, which loads the encodings; until then bytes bound them.
        self.counts = True
        #: Whether items are taken roughly: while half of the budget is neither spent nor held.
        self.roughly = True
        self._admitted = 0
        # The most USD that one item of those that were forecast may cost behind its request.
        self._rest = 0.0
        self._bounds = {name: model.at_most() for name, model in fleet.models.items()}
        #: The item that was turned away last, and USD that it may cost to the end of the chain.
        self.refused: tuple[str, float] | None = None

    @property
    def stopped(self) -> bool:
        return bool(self._stop.reason)

    def admit(self, item: Item, request: Request, calls: Sequence[Call]) -> bool:
        if self._budget.cap is None:
            return True
        already = self._held_already(request.key)
        # To forecast an item takes longer than all else that is done for a request. While the end
        # of the budget is far, the others are taken to cost as much as the dearest that was
        # forecast. A provider that bills more than the worst case is found by those too.
        if self.roughly and self._admitted % _FORECAST:
            most = self._bounds[request.model].most(request)
            most += 0.0 if self._is_last(request) else self._rest
            most = max(0.0, most * self._budget.dearer - already)
            self.roughly = most + self._budget.spent + self._budget.held <= self._budget.cap / 2
            if self.roughly:
                self._admitted += 1
                return self._budget.hold(item.id, most)
        bounded = [self._bounds] if self.roughly and not self.counts else []
        for models in (*bounded, self._fleet.models):
            most = self._worst_case(models, item, request, calls) * self._budget.dearer
            if self._budget.hold(item.id, max(0.0, most - already)):
                self._admitted += 1
                return True
            self.roughly = False
        self.refused = item.id, most
        return False

    def forget(self, item: Item) -> None:
        self._budget.release(item.id)

    def _is_last(self, request: Request) -> bool:
        last = self._chain.asking[-1].name
        return (request.step, request.part + 1) == (last, self._chain.times[last])

    def _worst_case(
        self, models: Mapping[str, FleetModel], item: Item, request: Request, calls: Sequence[Call]
    ) -> float:
        now = models[request.model].most(request)
        if self._is_last(request):
            return now
        # What a later prompt makes of an answer may not be known before there is one. It is then
        # guessed; should that be too little, the request must find the rest when it is due.
        counters = {name: model.counter() for name, model in models.items()}
        coming = forecast(self._chain, item, counters.__getitem__, calls, guess=True)
        total = now
        outputs: dict[str, float] = {}
        for position, next_one in enumerate(coming):
            step, model = next_one.step, models[next_one.step.model]
            if position:
                total += model.worst_case(next_one.input_tokens_given(outputs), step.max_tokens)
            outputs[step.name] = _RECOUNTED * model.most_output(step.max_tokens)
        self._rest = max(self._rest, total - now)
        return total
