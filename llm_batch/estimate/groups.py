"""Sums over items at one point of the chain, and what they project to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llm_batch.chain import Step
from llm_batch.estimate.assume import Answer, counted_input
from llm_batch.estimate.measures import StepMeasure
from llm_batch.estimate.moments import Moments
from llm_batch.estimate.span import NOTHING, Load, Span, StepLoad, exactly
from llm_batch.forecast import Forecast
from llm_batch.models import ModelInfo
from llm_batch.prices import Tariff
from llm_batch.records import Usage
from llm_batch.tokens import counter


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What is known of one step before its prompts are.

    Attributes:
        step: The step.
        answer: Output tokens expected of one item: assumed, or those of ``measure``.
        tariff: What it costs; ``None`` when unknown.
        info: What the table says of its model.
        measure: What a pilot or an earlier run showed; ``None`` without one.
    """

    step: Step
    answer: Answer
    tariff: Tariff | None
    info: ModelInfo | None
    measure: StepMeasure | None = None

    @property
    def attempts(self) -> Span:
        """Sends per item."""
        return self.measure.attempts if self.measure else exactly(1.0)

    @property
    def is_linear(self) -> bool:
        """Whether many requests cost as much as one with all their tokens."""
        return self.tariff is not None and len(self.tariff.standard) == 1

    @property
    def has_batch_price(self) -> bool:
        """Whether a price of the provider's batch API is known."""
        return self.tariff is not None and bool(self.tariff.batch_source)


def input_of(fact: StepFacts, tokens: int, contained: Sequence[Span]) -> Span:
    """Input tokens of one item's calls of a step, whose known text was counted.

    Args:
        fact: Of the step.
        tokens: The count.
        contained: The answers of earlier steps in it, as often as they stand there.
    """
    ratio = fact.measure.input_ratio if fact.measure else None
    if ratio is None:
        return counted_input(tokens, contained, counter(fact.step.model))
    known = exactly(tokens)
    for answer in contained:
        known = known.plus(answer)
    return known.by(ratio)


def item_cost(
    fact: StepFacts, tokens: Span, *, items: float = 1.0, batch: bool = False
) -> Span | None:
    """USD of one item's calls of a step in the three cases; ``None`` without a price.

    The high case counts on no cache. Batches never do.

    Args:
        fact: Of the step.
        tokens: Input tokens.
        items: How many items these tokens are of; only where the price is linear.
        batch: At the provider's batch price.
    """
    if fact.tariff is None:
        return None
    measure, answer = fact.measure, fact.answer
    share = measure.cached_share if measure and not batch else 0.0
    costs = []
    for case, cached in enumerate((share, share, 0.0)):
        asked, answered, text = tokens[case], answer.tokens[case], answer.text[case]
        usage = Usage(
            input_tokens=round(asked),
            output_tokens=round(items * answered),
            cache_read_tokens=round(cached * asked),
            reasoning_tokens=round(items * max(0.0, answered - text)),
        )
        costs.append(fact.tariff.cost(usage, batch))
    span = Span(*costs)
    return span.times(measure.surcharge) if measure else span


class StepSums:
    """Input tokens and cost of one step over the items of a group, in the three cases."""

    __slots__ = ("batches", "costs", "inputs")

    def __init__(self) -> None:
        self.inputs = (Moments(), Moments(), Moments())
        self.costs = (Moments(), Moments(), Moments())
        self.batches = (Moments(), Moments(), Moments())

    def add(self, tokens: Span, cost: Span | None, batch: Span | None, times: int = 1) -> None:
        for sums, values in (
            (self.inputs, tokens),
            (self.costs, cost),
            (self.batches, batch),
        ):
            if values is not None:
                for moments, value in zip(sums, values, strict=True):
                    moments.add(value, times)


@dataclass
class Group:
    """Items at the same point of the chain; ``size`` of them, some of which were counted."""

    size: int = 0
    sampled: int = 0
    sums: dict[str, StepSums] = field(default_factory=dict)

    def add(self, fact: StepFacts, tokens: Span, times: int = 1) -> None:
        """Take in one step of one item, or of so many that are alike."""
        sums = self.sums.get(fact.step.name)
        if sums is None:
            sums = self.sums[fact.step.name] = StepSums()
        if fact.tariff is None or fact.is_linear:
            sums.add(tokens, None, None, times)  # what it costs follows from the sums
            return
        batch = item_cost(fact, tokens, batch=True) if fact.has_batch_price else None
        sums.add(tokens, item_cost(fact, tokens), batch, times)

    def load(self, facts: Mapping[str, StepFacts], size: int, population: int) -> Load:
        """What ``size`` items of a population, of which these are a sample, come to."""
        return [
            _step_load(fact, self.sums.get(name), size, self.sampled, population)
            for name, fact in facts.items()
        ]


def _step_load(
    fact: StepFacts, sums: StepSums | None, size: int, sampled: int, population: int
) -> StepLoad:
    priced, batched = fact.tariff is not None, fact.has_batch_price
    seconds = fact.measure.seconds if fact.measure else None
    if sums is None or not size:
        cost, batch = (NOTHING if known else None for known in (priced, batched))
        return StepLoad(fact.step, 0.0, NOTHING, NOTHING, cost, batch, seconds=seconds)
    items = size * sums.inputs[0].count / sampled
    inputs = _projected(sums.inputs, items, population)
    if fact.is_linear:
        cost = item_cost(fact, inputs, items=items)
        batch = item_cost(fact, inputs, items=items, batch=True) if batched else None
    else:
        cost = _projected(sums.costs, items, population) if priced else None
        batch = _projected(sums.batches, items, population) if batched else None
    return StepLoad(
        fact.step,
        items * fact.attempts.value,
        inputs,
        fact.answer.tokens.times(items),
        cost,
        batch,
        seconds=seconds,
    )


def _projected(cases: Sequence[Moments], items: float, population: int) -> Span:
    low, value, high = (moments.total / moments.count for moments in cases)
    return Span(
        max(0.0, low - cases[0].error_of_mean(population)) * items,
        value * items,
        (high + cases[2].error_of_mean(population)) * items,
    )


def add_forecasts(
    group: Group, facts: Mapping[str, StepFacts], coming: Sequence[Forecast]
) -> dict[str, Span]:
    """Count what an item still needs into a group; gives its input tokens by step."""
    group.sampled += 1
    inputs = {}
    for each in coming:
        fact = facts[each.step.name]
        contained = [facts[name].answer.text.times(times) for name, times in each.contains.items()]
        tokens = inputs[each.step.name] = input_of(fact, each.input_tokens, contained)
        group.add(fact, tokens)
    return inputs
