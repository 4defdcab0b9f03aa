"""What items send and get at each point of the chain: sums, and figures of one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, sqrt

from llm_batch.chain.chain import Step
from llm_batch.chain.forecast import Forecast
from llm_batch.estimating.assumptions import Answer, counted_input
from llm_batch.estimating.evidence import ItemSeen, Measured, StepSeen
from llm_batch.estimating.means import FEWEST, Moments, mean_of_unseen, quantile_for, share_unseen
from llm_batch.estimating.span import NOTHING, Load, Span, StepLoad, exactly
from llm_batch.models.prices import Tariff
from llm_batch.models.table import ModelInfo
from llm_batch.models.tokens import counter
from llm_batch.records import Usage

_NOTHING = StepSeen(Usage(), 0.0, 0.0, 0)


@dataclass(frozen=True, slots=True)
class StepMeasure:
    """What one step takes, per item of the sample and so per item to come.

    Attributes:
        n: Items it was measured on, those included that failed before it.
        attempts: Sends per item: 1 when nothing failed, was repeated or was asked again.
        input: Input tokens.
        output: Output tokens, reasoning included.
        text: The part of them that is not reasoning, which later prompts may contain.
        reasoning: The rest.
        cached_share: Share of the input that came from the provider's cache.
        seconds: Of one call.
        input_ratio: Input tokens counted by the provider for each that was counted here, re-asks
            and items that were not asked included; ``None`` before prompts were counted.
        surcharge: What attempts that may have been billed added, as a factor on the cost.
        longest: Most output tokens of one item.
    """

    n: int
    attempts: Span
    input: Span
    output: Span
    text: Span
    reasoning: Span
    cached_share: float
    seconds: Span
    surcharge: float
    longest: int
    input_ratio: Span | None = None


def measures_of(
    measured: Measured,
    steps: Sequence[Step],
    tariffs: Mapping[str, Tariff | None],
    unseen: float = inf,
) -> dict[str, StepMeasure]:
    """Figures of every step that was measured with the model it has now.

    Args:
        measured: What was played.
        steps: The steps to come.
        tariffs: Their prices, by step name.
        unseen: Items to come.
    """
    found = {}
    for step in steps:
        if measured.models.get(step.name, step.model) != step.model:
            continue
        seen = [item.steps.get(step.name, _NOTHING) for item in measured.items]
        if any(each.attempts for each in seen):
            found[step.name] = _measure(measured.items, seen, step, tariffs[step.name], unseen)
    return found


def _measure(
    items: Sequence[ItemSeen],
    seen: Sequence[StepSeen],
    step: Step,
    tariff: Tariff | None,
    unseen: float,
) -> StepMeasure:
    attempts = [float(each.attempts) for each in seen]
    cap = step.max_tokens or inf
    # A re-ask may answer at full length again.
    most = cap * max(1.0, max(attempts))

    def mean(of: Callable[[Usage], int], bound: float = inf) -> Span:
        values = [float(of(each.usage)) for each in seen]
        return mean_of_unseen(values, unseen, most=bound, cap=min(cap, bound))

    inputs = sum(each.usage.input_tokens for each in seen)
    cached = sum(each.usage.cache_read_tokens for each in seen)
    called = [each for each in seen if each.attempts]
    return StepMeasure(
        n=len(seen),
        attempts=_at_least_some_retries(
            mean_of_unseen(attempts, unseen), len(seen), even=min(attempts) == max(attempts)
        ),
        input=mean(lambda usage: usage.input_tokens),
        output=mean(lambda usage: usage.output_tokens, most),
        text=mean(lambda usage: max(0, usage.output_tokens - usage.reasoning_tokens), most),
        reasoning=mean(lambda usage: usage.reasoning_tokens, most),
        cached_share=cached / inputs if inputs else 0.0,
        seconds=mean_of_unseen([each.seconds for each in called], unseen),
        surcharge=_surcharge(items, step.name, tariff),
        longest=max(each.usage.output_tokens for each in seen),
    )


def _at_least_some_retries(attempts: Span, n: int, even: bool) -> Span:
    """That none of n items needed another attempt does not mean that none ever will.

    And where all needed one and the same number, none is expected to need fewer.
    """
    low = attempts.value if even else attempts.low
    return attempts._replace(low=low, high=max(attempts.high, attempts.value + share_unseen(n)))


def _surcharge(items: Sequence[ItemSeen], step: str, tariff: Tariff | None) -> float:
    """What was booked over what the usage alone costs, where an attempt may have been billed."""
    booked = priced = 0.0
    for item in items:
        seen = item.steps.get(step)
        if seen is None or tariff is None:
            continue
        cost = tariff.cost(seen.usage)
        priced += cost
        booked += max(cost, seen.cost or 0.0) if item.worst_case else cost
    return booked / priced if priced else 1.0


def with_input_ratio(
    measure: StepMeasure, actual: Sequence[float], counted: Sequence[float], unseen: float
) -> StepMeasure:
    """The measure with its ratio of tokens counted by the provider to tokens counted here.

    A ratio estimator (Cochran 1977, section 6.3): its error comes from how far single items are
    off the common ratio.

    Args:
        measure: Of the step.
        actual: Input tokens the provider counted, per item; 0 where the step was not reached.
        counted: What was counted here for the same items.
        unseen: Items to come.
    """
    n, whole = len(counted), sum(counted)
    if not whole:
        return measure
    ratio = sum(actual) / whole
    if n < FEWEST:
        return replace(measure, input_ratio=exactly(ratio))
    off = [a - ratio * c for a, c in zip(actual, counted, strict=True)]
    error = sqrt(sum(each * each for each in off) / (n - 1) / n * (1 + n / unseen))
    half = quantile_for(n) * error * n / whole
    return replace(measure, input_ratio=Span(max(0.0, ratio - half), ratio, ratio + half))


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
