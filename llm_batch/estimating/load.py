"""What items send and get at each point of the chain: sums, tokens and money of each step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from llm_batch.chain.chain import Forecast
from llm_batch.estimating.assumptions import counted_input
from llm_batch.estimating.facts import Facts, StepFacts
from llm_batch.estimating.span import NOTHING, Span, SpanMoments, exactly, total
from llm_batch.models.tokens import counter
from llm_batch.records import Usage


@dataclass(frozen=True, slots=True)
class StepLoad:
    """What one step does for some number of items.

    Attributes:
        fact: Which step, and what is known of it.
        calls: Requests.
        input_tokens: Of all of them.
        output_tokens: Likewise, reasoning included.
        cost: USD at the live price; ``None`` without a price.
        batch: USD at the provider's batch price, without any cache discount; ``None`` where no
            batch price is listed.
        saved: USD that the provider's prompt cache would take off ``cost``; ``None`` where the
            prompts share too little or no price of cached input is known.
    """

    fact: StepFacts
    calls: float
    input_tokens: Span
    output_tokens: Span
    cost: Span | None
    batch: Span | None = None
    saved: Span | None = None

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


def input_of(fact: StepFacts, tokens: int, contained: Sequence[Span]) -> Span:
    """Input tokens of one item's calls of a step, whose known text has so many ``tokens``.

    ``contained``: the answers of earlier steps in it, as often as they stand there.
    """
    ratio = fact.measure.input_ratio if fact.measure else None
    if ratio is None:
        return counted_input(tokens, contained, counter(fact.model))
    known = exactly(tokens)
    for answer in contained:
        known = known.plus(answer)
    return known.by(ratio)


def item_cost(
    fact: StepFacts, tokens: Span, *, items: float = 1.0, batch: bool = False
) -> Span | None:
    """USD of one item's calls of a step in the three cases; ``None`` without a price.

    The high case counts on no cache. Batches never do.

    ``tokens``: of the input, of so many ``items``; more than one only where the price is linear.
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


def _sums() -> defaultdict[str, SpanMoments]:
    return defaultdict(SpanMoments)


@dataclass
class Group:
    """Items at the same point of the chain; ``size`` of them, some of which were counted.

    Sums are by step name. What a linear price comes to follows from the input tokens, so only
    other prices are summed up item by item.
    """

    size: int = 0
    sampled: int = 0
    inputs: dict[str, SpanMoments] = field(default_factory=_sums)
    costs: dict[str, SpanMoments] = field(default_factory=_sums)
    batches: dict[str, SpanMoments] = field(default_factory=_sums)

    def add(self, fact: StepFacts, tokens: Span, times: int = 1) -> None:
        """Take in one step of one item, or of so many that are alike."""
        self.inputs[fact.name].add(tokens, times)
        if fact.is_linear:
            return
        for sums, batch in ((self.costs, False), (self.batches, True)):
            if batch and not fact.has_batch_price:
                continue
            if (cost := item_cost(fact, tokens, batch=batch)) is not None:
                sums[fact.name].add(cost, times)

    def load(self, facts: Facts, size: int, population: int) -> Load:
        """What ``size`` items of a population, of which these are a sample, come to."""
        return [self._step_load(fact, size, population) for fact in facts.values()]

    def _step_load(self, fact: StepFacts, size: int, population: int) -> StepLoad:
        priced, batched = fact.tariff is not None, fact.has_batch_price
        if fact.name not in self.inputs or not size:
            cost, batch = (NOTHING if known else None for known in (priced, batched))
            return StepLoad(fact, 0.0, NOTHING, NOTHING, cost, batch)
        items = size * self.inputs[fact.name].count / self.sampled
        inputs = self.inputs[fact.name].projected(items, population)
        if fact.is_linear:
            cost = item_cost(fact, inputs, items=items)
            batch = item_cost(fact, inputs, items=items, batch=True) if batched else None
        else:
            cost, batch = (
                sums[fact.name].projected(items, population) if known else None
                for sums, known in ((self.costs, priced), (self.batches, batched))
            )
        calls, answers = items * fact.attempts.value, fact.answer.tokens.times(items)
        return StepLoad(fact, calls, inputs, answers, cost, batch)


def load_of_alike(facts: Facts, inputs: Mapping[str, Span], n: int) -> Load:
    """What ``n`` items come to that all have as many input tokens in each step."""
    one = Group(sampled=1)
    for name, fact in facts.items():
        one.add(fact, inputs[name])
    return one.load(facts, n, 1)


def with_savings(load: Load, prefixes: Mapping[str, int]) -> Load:
    """The load with what the provider's prompt cache would take off; see `StepLoad`.

    ``prefixes``: tokens that the prompts of each step begin with. The first call saves nothing.
    """
    saving = []
    for step in load:
        each = step.fact.saved_per_call(prefixes.get(step.fact.name, 0))
        if each is not None:
            step = replace(step, saved=exactly(max(0.0, step.calls - 1) * each))
        saving.append(step)
    return saving


def add_forecasts(group: Group, facts: Facts, coming: Sequence[Forecast]) -> dict[str, Span]:
    """Count what an item still needs into a group; gives its input tokens by step."""
    group.sampled += 1
    inputs = {}
    for each in coming:
        fact = facts[each.step.name]
        contained = [facts[name].answer.text.times(times) for name, times in each.contains.items()]
        tokens = inputs[each.step.name] = input_of(fact, each.input_tokens, contained)
        group.add(fact, tokens)
    return inputs
