"""Low, expected and high of one figure, and the figures of one step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from llm_batch.chain.chain import Step
from llm_batch.records import Interval


class Span(NamedTuple):
    """A figure in the low, the expected and the high case."""

    low: float
    value: float
    high: float

    def times(self, factor: float) -> Span:
        """All three multiplied."""
        return Span(self.low * factor, self.value * factor, self.high * factor)

    def plus(self, other: Span) -> Span:
        """All cases added, low to low and high to high: they are taken to come together."""
        return Span(self.low + other.low, self.value + other.value, self.high + other.high)

    def interval(self, n: int, method: str, level: float = 0.0) -> Interval:
        """As a range that is assumed (level 0) or measured; ``n`` items were looked at for it."""
        return Interval(self.value, self.low, self.high, level, n, method)

    def by(self, other: Span) -> Span:
        """The product, low by low and high by high; both are at least 0."""
        return Span(self.low * other.low, self.value * other.value, self.high * other.high)

    def whole(self) -> Span:
        """Rounded, for tokens and calls."""
        return Span(round(self.low), round(self.value), round(self.high))


NOTHING = Span(0.0, 0.0, 0.0)


def exactly(value: float) -> Span:
    """A figure without doubt."""
    return Span(value, value, value)


def total(spans: Iterable[Span]) -> Span:
    """The sum of spans."""
    result = NOTHING
    for span in spans:
        result = result.plus(span)
    return result


@dataclass(frozen=True, slots=True)
class StepLoad:
    """What one step does for some number of items.

    Attributes:
        step: The step.
        calls: Requests.
        input_tokens: Of all of them.
        output_tokens: Likewise, reasoning included.
        cost: USD at the live price; ``None`` without a price.
        batch: USD at the provider's batch price, without any cache discount; ``None`` where no
            batch price is listed.
        saved: USD that the provider's prompt cache would take off ``cost``; ``None`` where the
            prompts share too little or no price of cached input is known.
        seconds: Of one call, where that was measured.
    """

    step: Step
    calls: float
    input_tokens: Span
    output_tokens: Span
    cost: Span | None
    batch: Span | None = None
    saved: Span | None = None
    seconds: Span | None = None

    def times(self, factor: float) -> StepLoad:
        """The same for ``factor`` times as many items."""
        return replace(
            self,
            calls=self.calls * factor,
            input_tokens=self.input_tokens.times(factor),
            output_tokens=self.output_tokens.times(factor),
            cost=_times(self.cost, factor),
            batch=_times(self.batch, factor),
            saved=_times(self.saved, factor),
        )

    def plus(self, other: StepLoad) -> StepLoad:
        """The same step for more items."""
        return replace(
            self,
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens.plus(other.input_tokens),
            output_tokens=self.output_tokens.plus(other.output_tokens),
            cost=_plus(self.cost, other.cost),
            batch=_plus(self.batch, other.batch),
            saved=_plus(self.saved, other.saved),
        )


def _times(span: Span | None, factor: float) -> Span | None:
    return None if span is None else span.times(factor)


def _plus(a: Span | None, b: Span | None) -> Span | None:
    return None if a is None or b is None else a.plus(b)


#: One for each step of the chain, in order.
Load = Sequence[StepLoad]


def scaled(load: Load, factor: float) -> Load:
    """The load of ``factor`` times as many items."""
    return [step.times(factor) for step in load]


def cost_of(load: Load) -> Span | None:
    """USD of all steps; ``None`` when a step that is called has no price."""
    if any(step.cost is None and step.calls for step in load):
        return None
    return priced_cost_of(load)


def priced_cost_of(load: Load) -> Span:
    """USD of the steps whose price is known."""
    return total(step.cost for step in load if step.cost is not None)


def batch_cost_of(load: Load) -> Span | None:
    """USD with every step that has a batch price at that price, the others live.

    ``None`` when no step has one, or when a price is unknown.
    """
    if cost_of(load) is None or all(step.batch is None for step in load):
        return None
    costs = (step.cost if step.batch is None else step.batch for step in load)
    return total(cost for cost in costs if cost is not None)


def cached_cost_of(load: Load) -> Span | None:
    """USD when the provider's prompt cache works on every call after the first of each step.

    ``None`` when no step would save by it, or when a price is unknown.
    """
    cost = cost_of(load)
    if cost is None or all(step.saved is None for step in load):
        return None
    saved = total(step.saved for step in load if step.saved is not None)
    return Span(*(max(0.0, a - b) for a, b in zip(cost, saved, strict=True)))
