"""From a plan, whose load is known, to the `Estimate` that is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor

from llm_batch.estimating import sentences as size_words
from llm_batch.estimating.assumptions import thinking_of
from llm_batch.estimating.cautions import cautions
from llm_batch.estimating.claims import WORST_RATE, Needed, needed_for, proof
from llm_batch.estimating.counting import TooLong
from llm_batch.estimating.facts import StepFacts, kept_tokens
from llm_batch.estimating.load import (
    StepLoad,
    batch_cost_of,
    cached_cost_of,
    cost_of,
    priced_cost_of,
    scaled,
)
from llm_batch.estimating.model import (
    Alternative,
    Estimate,
    Option,
    Purchase,
    StepEstimate,
    risk_of,
)
from llm_batch.estimating.pace import pace_of, seconds_of
from llm_batch.estimating.plan import Ask, Plan
from llm_batch.estimating.scores import Strata, shared
from llm_batch.estimating.sentences import assumptions
from llm_batch.estimating.span import NOTHING, Span, total
from llm_batch.models.tokens import counter
from llm_batch.records import Interval
from llm_batch.stats.sizes import SampleSize, may_miss, sample_size

#: Items of the pilot that is compared.
PILOT = 20
#: Sizes that are compared besides what the claim needs.
_COMPARED = (500, 1000)
#: How sure one may be that what is not rarer than ``may_miss`` shows.
_SEEN_LEVEL = 0.95


def assembled(plan: Plan, others: Sequence[Plan] = ()) -> Estimate:
    """Everything that is shown of a plan, and of the same items with other models."""
    interval, ask = plan.interval, plan.ask
    load, counted, measured = plan.remaining, plan.counted, plan.measured
    pace = pace_of(load, plan.workers)
    calls = total(_calls_of(step) for step in load)
    cost, batch, cached = cost_of(load), batch_cost_of(load), cached_cost_of(load)
    needed = needed_for(ask.claim, plan.population, ask.clusters)
    options = tuple(_options(plan, needed))
    planned = next(option for option in options if option.n == plan.n)
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
        cost=_known(plan, cost),
        batch_cost=_known(plan, batch),
        cached_cost=_known(plan, cached),
        priced_cost=interval(priced_cost_of(load)),
        seconds=interval(pace.seconds),
        steps=tuple(_step_estimate(plan, step) for step in load),
        workers=plan.workers,
        requests_per_minute=pace.requests_per_minute,
        bound_by=_bound_by(pace.bound_by, pace.by_limit, cost, batch),
        advice=_quoted(needed),
        needed=needed,
        claim_notes=tuple(_claim_notes(needed, planned, ask)),
        strata=_strata(needed, ask),
        options=options,
        verdict=size_words.verdict(needed, options),
        alternatives=tuple(_alternative(each, needed) for each in (plan, *others)),
        budget=plan.config.limits.budget,
        assumptions=tuple(assumptions(plan)),
        warnings=tuple(cautions(plan, pace, needed, options)),
    )


def _known(plan: Plan, cost: Span | None) -> Interval | None:
    return None if cost is None else plan.interval(cost)


def _calls_of(step: StepLoad) -> Span:
    attempts = step.fact.attempts
    return attempts.times(step.calls / attempts.value) if attempts.value else NOTHING


def _bound_by(sentence: str, by_limit: bool, cost: Span | None, batch: Span | None) -> str:
    """The sentence, with what a batch would cost where a limit decides and one has a price."""
    if not by_limit or cost is None or batch is None or not cost.value:
        return sentence
    share = batch.value / cost.value
    price = "half the price" if abs(share - 0.5) < 0.005 else f"{100 * share:.0f} % of the price"
    return f"{sentence.removesuffix('.')}; batch would take up to 24 h at {price}."


def _step_estimate(plan: Plan, load: StepLoad) -> StepEstimate:
    fact, counted = load.fact, plan.counted
    name, model, serving = fact.name, fact.model, fact.serving
    measure, tariff, interval = fact.measure, fact.tariff, plan.interval
    ends, prefix = serving.deprecated_from, counted.prefixes.get(name) if counted else None
    too_long = counted.too_long.get(name, TooLong()) if counted else TooLong()
    return StepEstimate(
        step=name,
        model=model,
        calls=interval(_calls_of(load).whole()),
        input_tokens=interval(load.input_tokens.whole()),
        output_tokens=interval(load.output_tokens.whole()),
        reasoning_tokens=interval(_reasoning(load).whole()),
        cost=_known(plan, load.cost),
        batch_cost=_known(plan, load.batch),
        cache_saves=None if load.saved is None else load.saved.value,
        seconds_per_call=interval(seconds_of(load)),
        price=tariff.price_of(_mean_input(load)) if tariff else None,
        price_page=_page(fact),
        deprecated_from=ends.isoformat() if ends else None,
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


def _reasoning(load: StepLoad) -> Span:
    fact = load.fact
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


def _alternative(plan: Plan, needed: Needed) -> Alternative:
    """What a plan comes to from its first call on, and what the budget would buy."""
    load, budget = plan.whole, plan.config.limits.budget
    costs = {"live": cost_of(load), "batch": batch_cost_of(load), "cached": cached_cost_of(load)}
    return Alternative(
        models={step.name: step.model for step in plan.config.steps},
        cost=_known(plan, costs["live"]),
        batch_cost=_known(plan, costs["batch"]),
        cached_cost=_known(plan, costs["cached"]),
        priced_cost=plan.interval(priced_cost_of(load)),
        seconds=plan.interval(pace_of(load, plan.workers).seconds),
        buys=tuple(
            _purchase(way, cost, plan, needed, budget)
            for way, cost in costs.items()
            if budget is not None and cost is not None
        ),
        notes=tuple(_notes(plan)),
    )


def _purchase(way: str, cost: Span, plan: Plan, needed: Needed, budget: float) -> Purchase:
    expected, least = (_items(budget, amount, plan) for amount in (cost.value, cost.high))
    return Purchase(
        way=way,
        items=expected,
        at_least=least,
        all_items=plan.population is not None and expected >= plan.population,
        proves=proof(needed, expected) if expected else None,
        proves_at_least=proof(needed, least) if least else None,
    )


def _items(budget: float, cost: float, plan: Plan) -> int:
    """How many items a budget pays for, when ``plan.n`` of them cost so much."""
    most = plan.population if plan.population is not None else plan.n
    if not cost:
        return most
    return min(most, floor(budget * plan.n / cost + 1e-9))


def _notes(plan: Plan) -> Iterator[str]:
    for serving in plan.servings:
        if serving.problem:
            yield f"{serving.model} cannot be run yet: {serving.problem}"
        ends = serving.deprecated_from
        if ends is not None and ends <= plan.today:
            yield f"{serving.model} is past its deprecation date, {ends.isoformat()}"
    for model in plan.unpriced:
        yield f"the price of {model} is not known"


def _options(plan: Plan, needed: Needed) -> Iterator[Option]:
    """Yield the sizes worth comparing, fewest first, each from the first item on."""
    for size, label in sorted(_labels(plan, needed).items()):
        load = scaled(plan.whole, size / plan.n)
        spent = _known(plan, cost_of(load))
        seconds = plan.interval(pace_of(load, plan.workers).seconds)
        yield Option(
            n=size,
            label=label,
            margin=proof(needed, size),
            may_miss=may_miss(size, _SEEN_LEVEL, plan.population),
            calls=round(sum(step.calls for step in load)),
            cost=spent,
            seconds=seconds,
            risk=risk_of(spent, seconds),
        )


def _quoted(needed: Needed) -> SampleSize:
    """The figures people quote for a rate; for another claim those of a rate at its level."""
    claim, population = needed.claim, needed.population
    if needed.kind != "rate":
        return sample_size(level=claim.level, population=population)
    return SampleSize(
        n0=needed.n0,
        n_classic=needed.n_classic,
        n_min=needed.n_min,
        n_fpc=needed.n if needed.n is not None and population is not None else population,
        level=claim.level,
        margin=claim.margin or 0.0,
        population=population,
        rate=WORST_RATE if claim.rate is None else claim.rate,
    )


def _labels(plan: Plan, needed: Needed) -> dict[int, str]:
    population = plan.population
    labels = {PILOT: "pilot"} | dict.fromkeys(_COMPARED, "")
    if needed.kind == "rate" and needed.design_effect * needed.judge_factor == 1:
        labels[needed.n_classic] = "textbook"
    if population is not None:
        whole = population // needed.groups or 1
        labels = {size: label for size, label in labels.items() if size < whole}
        labels[whole] = "all" if needed.groups == 1 else "half"
    if needed.n is not None:
        _also(labels, needed.n, "claim")
    _also(labels, needed.take, "")
    if plan.n != population or needed.groups > 1:
        _also(labels, plan.n, "this plan")
    return labels


def _also(labels: dict[int, str], size: int, label: str) -> None:
    labels[size] = "; ".join(filter(None, (labels.get(size, ""), label)))
