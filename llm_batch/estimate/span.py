"""Low, expected and high of one figure, and the figures of one step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llm_batch.chain import Step
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

    def interval(self, n: int, method: str) -> Interval:
        """As a range that is assumed; ``n`` is how many items were counted for it."""
        return Interval(self.value, self.low, self.high, 0.0, n, method)

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
    """What one step does for some number of items; ``cost`` is ``None`` without a price."""

    step: Step
    calls: float
    input_tokens: Span
    output_tokens: Span
    cost: Span | None

    def times(self, factor: float) -> StepLoad:
        """The same for ``factor`` times as many items."""
        return StepLoad(
            self.step,
            self.calls * factor,
            self.input_tokens.times(factor),
            self.output_tokens.times(factor),
            self.cost.times(factor) if self.cost is not None else None,
        )

    def plus(self, other: StepLoad) -> StepLoad:
        """The same step for more items."""
        cost = None
        if self.cost is not None and other.cost is not None:
            cost = self.cost.plus(other.cost)
        return StepLoad(
            self.step,
            self.calls + other.calls,
            self.input_tokens.plus(other.input_tokens),
            self.output_tokens.plus(other.output_tokens),
            cost,
        )


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
