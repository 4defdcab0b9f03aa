"""The verb: from a config, with its data where there is some, to a plan and what is shown of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from math import floor
from typing import Any

from llm_batch.chain.config import Config
from llm_batch.errors import ConfigError
from llm_batch.estimating import sentences as size_words
from llm_batch.estimating.devices import devices_of, dominant
from llm_batch.estimating.estimates import (
    Alternative,
    Estimate,
    Option,
    Purchase,
    StepEstimate,
    risk_of,
)
from llm_batch.estimating.load import (
    StepLoad,
    batch_cost_of,
    cached_cost_of,
    cost_of,
    priced_cost_of,
    scaled,
    seconds_of,
    with_savings,
)
from llm_batch.estimating.pilot import Measured
from llm_batch.estimating.plan import (
    SAMPLED,
    Answered,
    Ask,
    Plan,
    Recount,
    TooLong,
    count_items,
    plan_of_nothing,
)
from llm_batch.estimating.ranges import NOTHING, Span, total
from llm_batch.estimating.sample_size import (
    Claim,
    Needed,
    check,
    check_clusters,
    needed_for,
    proof,
    quoted,
)
from llm_batch.estimating.scores import Scored, Strata, clusters_by, shared
from llm_batch.estimating.sentences import assumptions
from llm_batch.estimating.steps import StepFacts, facts_of, kept_tokens, thinking_of
from llm_batch.estimating.warnings import cautions, next_command
from llm_batch.models.tokens import counter
from llm_batch.records import Interval, Item
from llm_batch.sending.checks import check_prompts, empty_prompts, same_for_all
from llm_batch.stats.sizes import may_miss

#: Items of the pilot that is compared.
PILOT = 20
#: Sizes that are compared besides what the claim needs.
_COMPARED = (500, 1000)
#: How sure one may be that what is not rarer than ``may_miss`` shows.
_SEEN_LEVEL = 0.95

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
    """Estimate a run over ``n`` items of which only the number is known.

    ``population`` is ``n`` by default; ``today`` is what deprecation dates are compared with.

    Raises:
        ValueError: ``n`` is below 1 or above the population.
        ConfigError: A template is not valid, or no number of items shows what is claimed.
    """
    _check(n, population)
    population = n if population is None else population
    today = today or date.today()
    plan, *others = (
        plan_of_nothing(each, n, population, measured, ask, today) for each in (config, *ask.others)
    )
    return _assembled(plan.without_finished(), others)


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
        items: In the order of the run, or the first of them; with ``answered`` all of them, since
            what is not given is taken to be unanswered.
        n: Items to play, at least 1.
        population: Items in the whole dataset; ``None`` when unknown.
        answered: Looks up a call that was made before; what it finds is not counted again.
        most: Items whose prompts are counted; the others are taken to resemble them.
        measured: What a pilot or an earlier run showed; answers and times are assumed without.
        progress: Called now and then with how many items were counted.
        today: The day that deprecation dates are compared with.
        ask: What the run is to show, and which other models to compare.
        again: Gives the items once more, for models that count tokens in another way; without it
            ``items`` is a sequence.

    Raises:
        ValueError: ``n`` is below 1 or above the population.
        ConfigError: A template is not valid, no item has the fields that prompts use, or no
            number of items shows what is claimed.
    """
    _check(n, population)
    recount = Recount()
    counted = count_items(
        config.chain(),
        facts_of(config, measured, n),
        items,
        n,
        answered,
        most,
        seen=measured.items if measured else (),
        progress=progress,
        note=recount.note if ask.others else lambda coming: None,
    )
    plan = Plan(
        config,
        ask,
        counted.facts,
        n,
        population,
        with_savings(counted.remaining, counted.prefixes),
        with_savings(counted.whole, counted.prefixes),
        counted,
        measured,
        today or date.today(),
    )
    others: list[Plan] = []
    if ask.others:
        give = again if again is not None else lambda: items
        recount.fill(config, ask.others, give)
        others = [plan.with_models(other, recount, give) for other in ask.others]
    return _assembled(plan if answered else plan.without_finished(), others)


def _check(n: int, population: int | None) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if population is not None and n > population:
        raise ValueError(f"{n} items cannot be drawn from a population of {population}")


def estimate(
    config: Config,
    n: int | None = None,
    *,
    data: Any = None,
    sample: int | None = None,
    exact: bool = False,
    measured: Measured | None = None,
    progress: Callable[[int, int], None] = lambda counted, whole: None,
    claim: Claim | None = None,
    cluster: str | None = None,
    scored: Scored | None = None,
    others: Sequence[Config] = (),
) -> Estimate:
    """Say what a run will cost, take and prove, before anything is sent.

    Args:
        config: What is to be run; see `load_config`.
        n: Items in the whole dataset. With it and without data in the config, sizes of prompts
            are assumed; with data, the items there stand for all ``n``.
        data: Rows in place of what the config names, as of `run`.
        sample: Items to play, 0 for all. By default all ``n`` of them, or, without ``n``, what
            the config says.
        exact: Count every prompt instead of a sample of 2,000.
        measured: What a pilot or an earlier run showed; see `measured_in`.
        progress: Called now and then with how many prompts were counted, of how many.
        claim: What the run is to show; a rate within 5 points by default.
        cluster: A field of the data; items with one value of it belong together.
        scored: Scores of a pilot or an earlier run, from which spreads are taken.
        others: The same config with other models, to be compared.

    Raises:
        LlmbError: The config, the data or the claim is wrong.
    """
    claim = claim or Claim()
    check(claim)
    check_clusters(claim, cluster)
    if data is not None:
        config = config.of_program()
        if cluster is not None:
            raise ConfigError(
                f"the clusters by {cluster!r} need a second look at data that is gone through once",
                "write it to a file, or say how large and how alike clusters are: "
                "Claim(cluster_size=5, icc=0.1)",
            )
    elif n is not None and config.data.path is None:
        if cluster is not None:
            raise ConfigError(
                f"the clusters by {cluster!r} cannot be counted without data",
                "name it with --data, or say --cluster-size 5 --icc 0.1",
            )
        odd = tuple(same_for_all(config.chain()))
        ask = Ask(claim, scored=scored, others=tuple(others), prompts=odd)
        return estimate_from_nothing(
            config, min(sample or n, n), population=n, measured=measured, ask=ask
        )
    from llm_batch.dataset import draw

    size = config.sample.size if sample is None else sample
    if n is not None and sample is None:
        size = 0
    clusters = None
    if cluster is not None:
        clusters = clusters_by(cluster, config.data, config.data_path(), claim, scored)
    with draw(
        config.data,
        config.data_path(),
        size=size,
        seed=config.sample.seed,
        stratify=config.sample.stratify,
        used=config.fields_used(),
        given=data,
    ) as drawn:
        chain = config.chain()
        check_prompts(config, chain, next(iter(drawn.items())))
        odd = (*same_for_all(chain), *empty_prompts(chain, drawn.items))
        population = n or drawn.population
        played = drawn.size if n is None else min(sample or n, n)
        there = min(played, drawn.size)
        whole = there if exact else min(SAMPLED, there)
        return estimate_from_items(
            config,
            drawn.items(),
            played,
            population,
            most=whole if exact else SAMPLED,
            # Of a dataset that is not here as a whole, nothing is known to be finished.
            measured=measured.of_data(drawn.sha256 if population == drawn.population else "")
            if measured
            else None,
            progress=lambda counted: progress(counted, whole),
            ask=Ask(
                claim,
                clusters=clusters,
                stratify=config.sample.stratify or "",
                strata=drawn.strata,
                scored=scored,
                others=tuple(others),
                prompts=odd,
            ),
            again=drawn.items,
        )


def _assembled(plan: Plan, others: Sequence[Plan] = ()) -> Estimate:
    interval, ask = plan.interval, plan.ask
    load, counted, measured = plan.remaining, plan.counted, plan.measured
    time = plan.wall_time(load)
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
        seconds=interval(time.seconds),
        steps=tuple(_step_estimate(plan, step) for step in load),
        workers=plan.workers,
        requests_per_minute=time.requests_per_minute,
        bound_by=_bound_by(time.bound_by, time.by_limit, cost, batch),
        advice=quoted(needed),
        needed=needed,
        claim_notes=tuple(_claim_notes(needed, planned, ask)),
        strata=_strata(needed, ask),
        options=options,
        verdict=size_words.verdict(needed, options),
        alternatives=tuple(_alternative(each, needed) for each in (plan, *others)),
        budget=plan.config.limits.budget,
        assumptions=tuple(assumptions(plan)),
        rules=tuple((step.name, step.rule) for step in plan.config.steps if step.rule),
        devices=tuple(devices_of(plan)),
        dominant=dominant(plan),
        warnings=tuple(cautions(plan, time, needed, options)),
        next_command=next_command(plan, needed, options),
    )


def _known(plan: Plan, cost: Span | None) -> Interval | None:
    return None if cost is None else plan.interval(cost)


def _calls_of(step: StepLoad) -> Span:
    attempts = step.fact.attempts
    each = attempts.by(step.played)
    return each.times(step.calls / attempts.value) if attempts.value else NOTHING


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
        cacheable_prefix=kept_tokens(prefix or 0, fact.info, marked=fact.marks),
        longest=counted.longest.get(name, ()) if counted else (),
        too_long=too_long.count,
        too_long_ids=too_long.ids,
        rpm=serving.rpm,
        tpm=serving.tpm,
        limits_from=serving.limits_from,
    )


def _mean_input(load: StepLoad) -> float:
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
    load, budget = plan.whole, plan.config.limits.budget
    costs = {"live": cost_of(load), "batch": batch_cost_of(load), "cached": cached_cost_of(load)}
    return Alternative(
        models={step.name: step.model for step in plan.config.asking},
        cost=_known(plan, costs["live"]),
        batch_cost=_known(plan, costs["batch"]),
        cached_cost=_known(plan, costs["cached"]),
        priced_cost=plan.interval(priced_cost_of(load)),
        seconds=plan.interval(plan.wall_time(load).seconds),
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
        seconds = plan.interval(plan.wall_time(load).seconds)
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
