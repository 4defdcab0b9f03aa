"""From a config, and items where there are some, to an `Estimate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from llm_batch.config import Config
from llm_batch.estimate.assume import answer_of, assumed_inputs
from llm_batch.estimate.cautions import Situation, cautions
from llm_batch.estimate.model import Estimate, Option, StepEstimate
from llm_batch.estimate.pace import pace_of
from llm_batch.estimate.sample import (
    SAMPLED,
    Answered,
    Counted,
    StepFacts,
    count_items,
    request_cost,
)
from llm_batch.estimate.serving import Serving, servings_of, tariff_of_step
from llm_batch.estimate.span import (
    Load,
    Span,
    StepLoad,
    cost_of,
    exactly,
    priced_cost_of,
    scaled,
    total,
)
from llm_batch.estimate.spoken import assumptions
from llm_batch.records import Interval, Item
from llm_batch.stats.power import SampleSize, margin_of, sample_size
from llm_batch.tokens import counter

#: Sizes that are compared besides the least one that holds the margin.
_COMPARED = (500, 1000)


def estimate_from_nothing(
    config: Config, n: int, *, population: int | None = None, today: date | None = None
) -> Estimate:
    """Estimate a run over items of which only the number is known.

    Args:
        config: The chain, its models and limits.
        n: Items to play, at least 1.
        population: Items in the whole dataset; ``n`` by default.
        today: The day that deprecation dates are compared with; the current one by default.

    Raises:
        ValueError: ``n`` is below 1 or above the population.
        ConfigError: A template is not valid.
    """
    _check(n, population)
    config.chain()  # what cannot be played has no cost either
    servings = servings_of(config)
    facts = _facts(config, servings)
    inputs = assumed_inputs(config, {name: fact.answer for name, fact in facts.items()})
    one = [
        StepLoad(
            fact.step,
            1.0,
            inputs[name],
            fact.answer.tokens,
            request_cost(fact.tariff, inputs[name], fact.answer),
        )
        for name, fact in facts.items()
    ]
    whole = scaled(one, n)
    population = n if population is None else population
    plan = _Plan(config, facts, servings, n, population, whole, whole, None)
    return _assembled(plan, today)


def estimate_from_items(
    config: Config,
    items: Iterable[Item],
    n: int,
    population: int | None,
    answered: Answered | None = None,
    *,
    most: int = SAMPLED,
    today: date | None = None,
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
        today: The day that deprecation dates are compared with; the current one by default.

    Raises:
        ValueError: ``n`` is below 1 or above the population.
        ConfigError: A template is not valid, or no item has the fields that prompts use.
    """
    _check(n, population)
    servings = servings_of(config)
    facts = _facts(config, servings)
    counted = count_items(config.chain(), facts, items, n, answered, most)
    plan = _Plan(config, facts, servings, n, population, counted.remaining, counted.whole, counted)
    return _assembled(plan, today)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What an estimate is assembled from; ``whole`` is the load if nothing were answered."""

    config: Config
    facts: Mapping[str, StepFacts]
    servings: Mapping[str, Serving]
    n: int
    population: int | None
    remaining: Load
    whole: Load
    counted: Counted | None

    @property
    def workers(self) -> int:
        """Calls at once."""
        return 1 if self.config.run.engine == "serial" else self.config.limits.workers


def _check(n: int, population: int | None) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if population is not None and n > population:
        raise ValueError(f"{n} items cannot be drawn from a population of {population}")


def _facts(config: Config, servings: Mapping[str, Serving]) -> dict[str, StepFacts]:
    facts = {}
    for step in config.steps:
        info = servings[step.model].info
        answer = answer_of(step, step is config.judge, info)
        facts[step.name] = StepFacts(step, answer, tariff_of_step(step, config), info)
    return facts


def _assembled(plan: _Plan, today: date | None) -> Estimate:
    sampled = plan.counted.sampled if plan.counted else 0
    method = "counted prompts, assumed answers" if sampled else "assumed sizes"

    def interval(span: Span) -> Interval:
        return span.interval(sampled, method)

    load = plan.remaining
    pace = pace_of(load, plan.servings, plan.workers)
    calls = sum(step.calls for step in load)
    cost = cost_of(load)
    advice = sample_size(population=plan.population)
    options = tuple(_options(plan, advice, interval))
    situation = Situation(
        config=plan.config,
        facts=plan.facts,
        servings=plan.servings,
        n=plan.n,
        population=plan.population,
        workers=plan.workers,
        load=load,
        pace=pace,
        advice=advice,
        options=options,
        counted=plan.counted,
        today=today or date.today(),
    )
    return Estimate(
        n=plan.n,
        population=plan.population,
        counted=sampled,
        reused=plan.counted.reused if plan.counted else 0,
        calls=interval(exactly(calls).whole()),
        input_tokens=interval(total(step.input_tokens for step in load).whole()),
        output_tokens=interval(total(step.output_tokens for step in load).whole()),
        cost=None if cost is None else interval(cost),
        priced_cost=interval(priced_cost_of(load)),
        seconds=pace.seconds.interval(sampled, "assumed seconds a call, limits of the models"),
        steps=tuple(_step_estimate(plan, step, interval) for step in load),
        workers=plan.workers,
        requests_per_minute=pace.requests_per_minute(calls),
        bound_by=pace.bound_by,
        advice=advice,
        options=options,
        assumptions=tuple(
            assumptions(plan.config, plan.facts, plan.servings, plan.n, plan.counted)
        ),
        warnings=tuple(cautions(situation)),
    )


def _step_estimate(
    plan: _Plan, load: StepLoad, interval: Callable[[Span], Interval]
) -> StepEstimate:
    model, tariff = load.step.model, plan.facts[load.step.name].tariff
    return StepEstimate(
        step=load.step.name,
        model=model,
        calls=interval(exactly(load.calls).whole()),
        input_tokens=interval(load.input_tokens.whole()),
        output_tokens=interval(load.output_tokens.whole()),
        cost=None if load.cost is None else interval(load.cost),
        price=tariff.price if tariff else None,
        # Which encoding a model has is only looked up where something was counted with it.
        tokens_exact=plan.counted is not None and counter(model).exact,
    )


def _options(
    plan: _Plan, advice: SampleSize, interval: Callable[[Span], Interval]
) -> Iterator[Option]:
    """Other numbers of items, each from the first item on."""
    population = plan.population
    labels = dict.fromkeys((advice.n_classic, *_COMPARED), "")
    if population is not None:
        labels = {size: label for size, label in labels.items() if size < population}
        labels[advice.n_fpc or advice.n_min] = f"least for ±{100 * advice.margin:g}"
        labels[population] = "all"
    if plan.n != population:
        labels[plan.n] = "; ".join(filter(None, (labels.get(plan.n), "this plan")))
    for size, label in sorted(labels.items()):
        load = scaled(plan.whole, size / plan.n)
        cost = cost_of(load)
        yield Option(
            n=size,
            label=label,
            margin=margin_of(size, advice.level, advice.rate, population),
            calls=round(sum(step.calls for step in load)),
            cost=None if cost is None else interval(cost),
            seconds=interval(pace_of(load, plan.servings, plan.workers).seconds),
        )
