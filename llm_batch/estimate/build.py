"""From a config, and items where there are some, to an `Estimate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date

from llm_batch.config import Config
from llm_batch.estimate.ask import Ask
from llm_batch.estimate.assemble import assembled
from llm_batch.estimate.assume import Answer, answer_of, assumed_inputs
from llm_batch.estimate.caches import kept_tokens, saved_per_call
from llm_batch.estimate.groups import StepFacts, item_cost
from llm_batch.estimate.measured import Measured
from llm_batch.estimate.measures import measures_of
from llm_batch.estimate.model import Estimate
from llm_batch.estimate.plan import Plan
from llm_batch.estimate.recount import Recount, prefixes_of
from llm_batch.estimate.sample import SAMPLED, Answered, count_items
from llm_batch.estimate.serving import Serving, servings_of, tariff_of_step
from llm_batch.estimate.span import (
    Load,
    Span,
    StepLoad,
    exactly,
    scaled,
)
from llm_batch.records import Item

_NOTHING_ELSE = Ask()


def estimate_from_nothing(
    config: Config,
    n: int,
    *,
    population: int | None = None,
    measured: Measured | None = None,
    today: date | None = None,
    ask: Ask = _NOTHING_ELSE,
) -> Estimate:
    """Estimate a run over items of which only the number is known.

    Args:
        config: The chain, its models and limits.
        n: Items to play, at least 1.
        population: Items in the whole dataset; ``n`` by default.
        measured: What a pilot or an earlier run showed; sizes are assumed without it.
        today: The day that deprecation dates are compared with; the current one by default.
        ask: What the run is to show, and which other models to compare.

    Raises:
        ValueError: ``n`` is below 1 or above the population.
        ConfigError: A template is not valid, or no number of items shows what is claimed.
    """
    _check(n, population)
    population = n if population is None else population
    plan, *others = (
        _plan_from_nothing(each, n, population, measured) for each in (config, *ask.others)
    )
    return assembled(_without_finished(plan), today, ask, others)


def _plan_from_nothing(config: Config, n: int, population: int, measured: Measured | None) -> Plan:
    config.chain()  # what cannot be played has no cost either
    servings = servings_of(config)
    facts = _facts(config, servings, measured, n)
    inputs = assumed_inputs(config, {name: fact.answer for name, fact in facts.items()})
    inputs |= {name: fact.measure.input for name, fact in facts.items() if fact.measure}
    whole = [_load_of(fact, inputs[name], n) for name, fact in facts.items()]
    return Plan(config, facts, servings, n, population, whole, whole, None, measured)


def estimate_from_items(
    config: Config,
    items: Iterable[Item],
    n: int,
    population: int | None,
    answered: Answered | None = None,
    *,
    most: int = SAMPLED,
    measured: Measured | None = None,
    progress: Callable[[int], None] = lambda counted: None,
    today: date | None = None,
    ask: Ask = _NOTHING_ELSE,
    again: Callable[[], Iterable[Item]] | None = None,
) -> Estimate:
    """Estimate a run over real items: their prompts are rendered and counted.

    Args:
        config: The chain, its models and limits.
        items: The items to play in the order of the run, or the first of them. With ``answered``
            all of them: what is not given is taken to be unanswered.
        n: Items to play, at least 1.
        population: Items in the whole dataset; ``None`` when unknown.
        answered: Looks up a call that was made before; what it finds is not counted again.
        most: Items whose prompts are counted; the others are taken to resemble them.
        measured: What a pilot or an earlier run showed; answers and times are assumed without.
        progress: Called now and then with how many items were counted.
        today: The day that deprecation dates are compared with; the current one by default.
        ask: What the run is to show, and which other models to compare.
        again: Gives the items once more, for models that count tokens in another way; without it
            ``items`` is a sequence.

    Raises:
        ValueError: ``n`` is below 1 or above the population.
        ConfigError: A template is not valid, no item has the fields that prompts use, or no
            number of items shows what is claimed.
    """
    _check(n, population)
    servings = servings_of(config)
    facts = _facts(config, servings, measured, n)
    seen = measured.items if measured else ()
    recount = Recount()
    counted = count_items(
        config.chain(),
        facts,
        items,
        n,
        answered,
        most,
        seen=seen,
        progress=progress,
        note=recount.note if ask.others else lambda coming: None,
    )
    remaining, whole = (
        _with_savings(load, counted.facts, counted.prefixes)
        for load in (counted.remaining, counted.whole)
    )
    plan = Plan(config, counted.facts, servings, n, population, remaining, whole, counted, measured)
    others: list[Plan] = []
    if ask.others:
        give = again if again is not None else lambda: items
        recount.fill(config, ask.others, give)
        others = [_plan_with(plan, other, recount, give) for other in ask.others]
    return assembled(plan if answered else _without_finished(plan), today, ask, others)


def _plan_with(
    plan: Plan, config: Config, recount: Recount, items: Callable[[], Iterable[Item]]
) -> Plan:
    """The same items with other models, whose prompts were counted by ``recount``."""
    servings = servings_of(config)
    facts = _facts(config, servings, plan.measured, plan.n)
    for name, fact in plan.facts.items():
        if facts[name].step.model == fact.step.model:
            facts[name] = fact  # held against the provider's own counts
    load = recount.group(facts).load(facts, plan.n, plan.n)
    whole = _with_savings(load, facts, prefixes_of(config, items))
    return replace(
        plan, config=config, facts=facts, servings=servings, remaining=whole, whole=whole
    )


def _load_of(fact: StepFacts, tokens: Span, n: int) -> StepLoad:
    """The load of n items that all have as many input tokens in one step."""

    def cost(batch: bool) -> Span | None:
        if fact.is_linear:
            return item_cost(fact, tokens.times(n), items=n, batch=batch)
        of_one = item_cost(fact, tokens, batch=batch)
        return of_one.times(n) if of_one else None

    return StepLoad(
        fact.step,
        n * fact.attempts.value,
        tokens.times(n),
        fact.answer.tokens.times(n),
        cost(batch=False),
        cost(batch=True) if fact.has_batch_price else None,
        seconds=fact.measure.seconds if fact.measure else None,
    )


def _check(n: int, population: int | None) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if population is not None and n > population:
        raise ValueError(f"{n} items cannot be drawn from a population of {population}")


def _facts(
    config: Config, servings: Mapping[str, Serving], measured: Measured | None, n: int
) -> dict[str, StepFacts]:
    tariffs = {step.name: tariff_of_step(step, config) for step in config.steps}
    measures = {}
    if measured is not None:
        unseen = max(1, n - measured.finished)
        measures = measures_of(measured, config.steps, tariffs, unseen)
    facts = {}
    for step in config.steps:
        info = servings[step.model].info
        measure = measures.get(step.name)
        if measure is None:
            answer = answer_of(step, step is config.judge, info)
        else:
            answer = Answer(measure.output, measure.text, thinks=measure.reasoning.value > 0)
        facts[step.name] = StepFacts(step, answer, tariffs[step.name], info, measure)
    return facts


def _without_finished(plan: Plan) -> Plan:
    """The plan without the items that the pilot or the run itself has finished."""
    finished = min(plan.n, plan.measured.finished) if plan.measured else 0
    if not finished:
        return plan
    remaining = scaled(plan.whole, (plan.n - finished) / plan.n)
    return replace(plan, remaining=remaining, finished=finished)


def _with_savings(load: Load, facts: Mapping[str, StepFacts], prefixes: Mapping[str, int]) -> Load:
    """The load with what the provider's prompt cache would take off."""
    saving = []
    for step in load:
        fact = facts[step.step.name]
        each = saved_per_call(kept_tokens(prefixes.get(step.step.name, 0), fact.info), fact.tariff)
        if fact.measure is not None and fact.measure.cached_share:
            each = None  # the cost has it already, as it was measured
        if each is not None:
            step = replace(step, saved=exactly(max(0.0, step.calls - 1) * each))
        saving.append(step)
    return saving
