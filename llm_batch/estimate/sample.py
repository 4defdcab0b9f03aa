"""Count the prompts of real items and project them to the whole run.

A sample is the first items of the seeded order, hence random, and so is what comes after it.
When an earlier run has answered some items already, they are played from its journal: finished
ones are left out, begun ones are counted from where they stand, and the others, in whichever
part of the order they are, resemble the sample. The three kinds are never mixed: a run whose
judge was changed has thousands of items with one short step to go before those with all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from llm_batch.chain import Chain, PromptError, Step
from llm_batch.errors import ConfigError
from llm_batch.estimate.assume import Answer, counted_input
from llm_batch.estimate.moments import Moments
from llm_batch.estimate.span import NOTHING, Load, Span, StepLoad
from llm_batch.forecast import Forecast, forecast
from llm_batch.models import ModelInfo
from llm_batch.prices import Tariff
from llm_batch.records import Call, Item, Request, Usage
from llm_batch.tokens import counter

#: Prompts that are counted by default; that takes about a second.
SAMPLED = 2000

Answered = Callable[[Request], Call | None]


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What is known of one step before its prompts are."""

    step: Step
    answer: Answer
    tariff: Tariff | None
    info: ModelInfo | None


@dataclass(frozen=True, slots=True)
class Counted:
    """What counting a sample came to.

    Attributes:
        remaining: The load of everything still to be sent.
        whole: The load of all items if none had been answered.
        sampled: Items whose prompts were counted.
        reused: Items that need no further call.
        unrenderable: Items of the sample with a prompt that cannot be rendered.
        first_problem: The id of the first of them and what is wrong with it.
        too_long: By step name: how many items of the sample exceed the model's context, and the
            id of the first of them.
    """

    remaining: Load
    whole: Load
    sampled: int
    reused: int
    unrenderable: int
    first_problem: tuple[str, str]
    too_long: Mapping[str, tuple[int, str]]


class _StepSums:
    """Input tokens and cost of one step over the items of a group, in the three cases."""

    def __init__(self) -> None:
        self.inputs = (Moments(), Moments(), Moments())
        self.costs = (Moments(), Moments(), Moments())

    def add(self, tokens: Span, costs: Span | None) -> None:
        for moments, value in zip(self.inputs, tokens, strict=True):
            moments.add(value)
        for moments, value in zip(self.costs, costs or NOTHING, strict=True):
            moments.add(value)


@dataclass
class _Group:
    """Items at the same point of the chain; ``size`` of them, some of which were counted."""

    size: int = 0
    sampled: int = 0
    sums: dict[str, _StepSums] = field(default_factory=dict)

    def load(self, facts: Mapping[str, StepFacts], size: int, population: int) -> Load:
        """What ``size`` items of a population, of which these are a sample, come to."""
        loads = []
        for name, fact in facts.items():
            priced = fact.tariff is not None
            sums = self.sums.get(name)
            if sums is None or not size:
                loads.append(
                    StepLoad(fact.step, 0.0, NOTHING, NOTHING, NOTHING if priced else None)
                )
                continue
            calls = size * sums.inputs[0].count / self.sampled
            loads.append(
                StepLoad(
                    fact.step,
                    calls,
                    _projected(sums.inputs, calls, population),
                    fact.answer.tokens.times(calls),
                    _projected(sums.costs, calls, population) if priced else None,
                )
            )
        return loads


def _projected(cases: Sequence[Moments], calls: float, population: int) -> Span:
    low, value, high = (moments.total / moments.count for moments in cases)
    return Span(
        max(0.0, low - cases[0].error_of_mean(population)) * calls,
        value * calls,
        (high + cases[2].error_of_mean(population)) * calls,
    )


class _Count:
    """The pass over the items."""

    def __init__(self, chain: Chain, facts: Mapping[str, StepFacts]) -> None:
        self._chain = chain
        self._facts = facts
        self.all = _Group()
        self.untouched = _Group()
        self.begun: dict[str, _Group] = {}
        self.unrenderable = 0
        self.first_problem = ("", "")
        self.too_long: dict[str, tuple[int, str]] = {}

    def failed(self, item: Item, error: PromptError) -> None:
        self.unrenderable += 1
        if not self.first_problem[1]:
            self.first_problem = (item.id, str(error))

    def add(self, group: _Group, item: Item, calls: Sequence[Call] = ()) -> list[Forecast]:
        """Count what an item still needs into a group."""
        coming = forecast(self._chain, item, counter, calls)
        self.add_forecasts(group, item, coming)
        return coming

    def add_forecasts(self, group: _Group, item: Item, coming: Sequence[Forecast]) -> None:
        group.sampled += 1
        for each in coming:
            fact = self._facts[each.step.name]
            contained = [
                self._facts[name].answer.text.times(times) for name, times in each.contains.items()
            ]
            tokens = counted_input(each.input_tokens, contained, counter(each.step.model))
            sums = group.sums.setdefault(each.step.name, _StepSums())
            sums.add(tokens, request_cost(fact.tariff, tokens, fact.answer))
            window = fact.info.max_input_tokens if fact.info else None
            if group is self.all and window and tokens.value > window:
                count, first = self.too_long.get(each.step.name, (0, item.id))
                self.too_long[each.step.name] = (count + 1, first)


def count_items(
    chain: Chain,
    facts: Mapping[str, StepFacts],
    items: Iterable[Item],
    n: int,
    answered: Answered | None = None,
    most: int = SAMPLED,
) -> Counted:
    """Count the prompts of a sample and project them to ``n`` items.

    Args:
        chain: What is asked of each item.
        facts: What is known of each step, by name, in the order of the chain.
        items: The items to play, in their order, or the first of them. With ``answered``, all of
            them: those that are not given are taken to be unanswered.
        n: How many there are in all.
        answered: Looks up a call that was made before.
        most: Items of each kind whose prompts are counted; all are looked up all the same.

    Raises:
        ConfigError: No item has prompts that can be rendered.
    """
    count = _Count(chain, facts)
    looked_at = reused = 0
    for item in islice(items, n):
        if answered is None and count.all.sampled >= most:
            break
        try:
            coming = count.add(count.all, item) if count.all.sampled < most else None
            looked_at += 1
            if answered is None:
                continue
            calls, next_step = _played(chain, item, answered)
            if not next_step:
                reused += 1
            elif not calls:
                count.untouched.size += 1
                if coming is not None:
                    count.add_forecasts(count.untouched, item, coming)
            else:
                group = count.begun.setdefault(next_step, _Group())
                group.size += 1
                if group.sampled < most:
                    count.add(group, item, calls)
        except PromptError as error:
            count.failed(item, error)
    if not count.all.sampled:
        item_id, problem = count.first_problem
        raise ConfigError(
            f"item {item_id!r}: {problem}" if problem else "there are no items to estimate from",
            "correct the prompt in the config, or give data with --data",
        )
    whole = count.all.load(facts, n, n)
    remaining = whole
    if answered is not None:
        untouched = count.untouched
        untouched.size += n - looked_at
        remaining = (
            untouched.load(facts, untouched.size, untouched.size)
            if untouched.sampled
            else count.all.load(facts, untouched.size, n)
        )
        for group in count.begun.values():
            begun = group.load(facts, group.size, group.size)
            remaining = [a.plus(b) for a, b in zip(remaining, begun, strict=True)]
    return Counted(
        remaining=remaining,
        whole=whole,
        sampled=count.all.sampled,
        reused=reused,
        unrenderable=count.unrenderable,
        first_problem=count.first_problem,
        too_long=count.too_long,
    )


def request_cost(tariff: Tariff | None, tokens: Span, answer: Answer) -> Span | None:
    """USD of one request in the three cases; ``None`` without a price."""
    if tariff is None:
        return None
    return Span(
        *(
            tariff.cost(
                Usage(
                    input_tokens=round(asked),
                    output_tokens=round(answered),
                    reasoning_tokens=round(answered - text),
                )
            )
            for asked, answered, text in zip(tokens, answer.tokens, answer.text, strict=True)
        )
    )


def _played(chain: Chain, item: Item, answered: Answered) -> tuple[list[Call], str]:
    """The calls already answered, and the step that is next; empty when none is."""
    calls: list[Call] = []
    while (request := chain.next_request(item, calls)) is not None:
        call = answered(request)
        if call is None:
            return calls, request.step
        calls.append(call)
    return calls, ""
