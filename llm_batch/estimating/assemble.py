"""From a plan, whose load is known, to the `Estimate` that is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from llm_batch.estimating import sentences as size_words
from llm_batch.estimating.assumptions import thinking_of
from llm_batch.estimating.cautions import Situation, cautions
from llm_batch.estimating.claims import Ask, Needed, needed_for
from llm_batch.estimating.counting import TooLong
from llm_batch.estimating.load import StepFacts
from llm_batch.estimating.model import Estimate, Option, StepEstimate
from llm_batch.estimating.pace import pace_of, seconds_of
from llm_batch.estimating.plan import Plan, alternatives, options_of, quoted
from llm_batch.estimating.sentences import assumptions
from llm_batch.estimating.serving import kept_tokens
from llm_batch.estimating.span import (
    NOTHING,
    Span,
    StepLoad,
    batch_cost_of,
    cached_cost_of,
    cost_of,
    priced_cost_of,
    total,
)
from llm_batch.estimating.spread import Strata, shared
from llm_batch.models.tokens import counter

_NOTHING_ELSE = Ask()


def assembled(
    plan: Plan, today: date | None, ask: Ask = _NOTHING_ELSE, others: Sequence[Plan] = ()
) -> Estimate:
    """Everything that is shown of a plan.

    Args:
        plan: The plan.
        today: The day it is by default.
        ask: The claim, and what is known for it.
        others: The same items with other models.
    """
    interval = plan.interval
    load, counted, measured = plan.remaining, plan.counted, plan.measured
    pace = pace_of(load, plan.servings, plan.workers)
    calls = total(_calls_of(plan, step) for step in load)
    cost, batch, cached = cost_of(load), batch_cost_of(load), cached_cost_of(load)
    claim, today = ask.claim, today or date.today()
    needed = needed_for(claim, plan.population, ask.clusters)
    options = tuple(options_of(plan, needed))
    planned = next(option for option in options if option.n == plan.n)
    situation = Situation(
        config=plan.config,
        facts=plan.facts,
        servings=plan.servings,
        n=plan.n,
        population=plan.population,
        workers=plan.workers,
        load=load,
        pace=pace,
        needed=needed,
        options=options,
        counted=counted,
        measured=measured,
        today=today,
        prompts=ask.prompts,
    )
    return Estimate(
        n=plan.n,
        population=plan.population,
        counted=counted.sampled if counted else 0,
        reused=counted.reused if counted and counted.reused else plan.finished,
        measured=len(measured.items) if measured else 0,
        measured_from=measured.source if measured else "",
        statuses=dict(measured.statuses) if measured else {},
        simulated=measured.simulated if measured else False,
        spent=measured.spent if measured and measured.finished else None,
        calls=interval(calls.whole()),
        input_tokens=interval(total(step.input_tokens for step in load).whole()),
        output_tokens=interval(total(step.output_tokens for step in load).whole()),
        cost=None if cost is None else interval(cost),
        batch_cost=None if batch is None else interval(batch),
        cached_cost=None if cached is None else interval(cached),
        priced_cost=interval(priced_cost_of(load)),
        seconds=interval(pace.seconds),
        steps=tuple(_step_estimate(plan, step) for step in load),
        workers=plan.workers,
        requests_per_minute=pace.requests_per_minute,
        bound_by=_bound_by(pace.bound_by, pace.by_limit, cost, batch),
        advice=quoted(needed),
        needed=needed,
        claim_notes=tuple(_claim_notes(needed, planned, ask)),
        strata=_strata(needed, ask),
        options=options,
        verdict=size_words.verdict(needed, options),
        alternatives=tuple(alternatives((plan, *others), needed, plan.config.limits.budget, today)),
        budget=plan.config.limits.budget,
        assumptions=tuple(
            assumptions(plan.config, plan.facts, plan.servings, plan.n, counted, measured)
        ),
        warnings=tuple(cautions(situation)),
    )


def _calls_of(plan: Plan, step: StepLoad) -> Span:
    attempts = plan.facts[step.step.name].attempts
    return attempts.times(step.calls / attempts.value) if attempts.value else NOTHING


def _bound_by(sentence: str, by_limit: bool, cost: Span | None, batch: Span | None) -> str:
    """The sentence, with what a batch would cost where a limit decides and one has a price."""
    if not by_limit or cost is None or batch is None or not cost.value:
        return sentence
    share = batch.value / cost.value
    price = "half the price" if abs(share - 0.5) < 0.005 else f"{100 * share:.0f} % of the price"
    return f"{sentence.removesuffix('.')}; batch would take up to 24 h at {price}."


def _step_estimate(plan: Plan, load: StepLoad) -> StepEstimate:
    name, model = load.step.name, load.step.model
    fact, serving, counted = plan.facts[name], plan.servings[model], plan.counted
    measure, tariff, interval = fact.measure, fact.tariff, plan.interval
    prefix = counted.prefixes.get(name) if counted else None
    too_long = counted.too_long.get(name, TooLong()) if counted else TooLong()
    return StepEstimate(
        step=name,
        model=model,
        calls=interval(_calls_of(plan, load).whole()),
        input_tokens=interval(load.input_tokens.whole()),
        output_tokens=interval(load.output_tokens.whole()),
        reasoning_tokens=interval(_reasoning(fact, load).whole()),
        cost=None if load.cost is None else interval(load.cost),
        batch_cost=None if load.batch is None else interval(load.batch),
        cache_saves=None if load.saved is None else load.saved.value,
        seconds_per_call=interval(seconds_of(load, serving)),
        price=tariff.price_of(_mean_input(load)) if tariff else None,
        price_page=_page(fact),
        deprecated_from=_deprecated_from(fact),
        rates=tariff.standard if tariff else (),
        batch_rates=tariff.batch if tariff and fact.has_batch_price else (),
        # Which encoding a model has is only looked up where something was counted with it.
        tokens_exact=counted is not None and counter(model).exact,
        measured=measure is not None,
        cached_share=measure.cached_share if measure else None,
        shared_prefix=prefix,
        cacheable_prefix=kept_tokens(prefix or 0, fact.info),
        longest=counted.longest.get(name, ()) if counted else (),
        too_long=too_long.count,
        too_long_ids=too_long.ids,
        rpm=serving.rpm,
        tpm=serving.tpm,
        limits_from=serving.limits_from,
    )


def _mean_input(load: StepLoad) -> float:
    """Input tokens of one request."""
    return load.input_tokens.value / load.calls if load.calls else 0.0


def _page(fact: StepFacts) -> str:
    listed = fact.tariff is not None and fact.tariff.price.source != "config"
    return fact.info.page if fact.info is not None and listed else ""


def _deprecated_from(fact: StepFacts) -> str | None:
    ends = fact.info.deprecation_date if fact.info is not None else None
    return ends.isoformat() if ends is not None else None


def _reasoning(fact: StepFacts, load: StepLoad) -> Span:
    if not fact.answer.thinks or not load.output_tokens.value:
        return NOTHING
    items = load.output_tokens.value / fact.answer.tokens.value
    if fact.measure is not None:
        return fact.measure.reasoning.times(items)
    room = zip(fact.answer.tokens, fact.answer.text, thinking_of(fact.step), strict=True)
    return Span(*(min(max(0.0, all_ - text), most) for all_, text, most in room)).times(items)


def _claim_notes(needed: Needed, planned: Option, ask: Ask) -> Iterator[str]:
    yield from size_words.sentences(needed)
    if said := size_words.short_of(needed, planned):
        yield said
    if ask.scored is not None and (said := ask.scored.sentence()):
        yield said


def _strata(needed: Needed, ask: Ask) -> Strata | None:
    if not ask.strata:
        return None
    seen = None
    if ask.scored is not None:
        seen = ask.scored.by(ask.stratify, passes=needed.claim.is_of_rates, strata=True)
    return shared(ask.stratify, ask.strata, needed.take, seen, needed.claim.level)
