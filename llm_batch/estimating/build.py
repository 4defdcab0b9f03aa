"""The verb: from a config to an estimate, with the data read where there is some."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date

from llm_batch.chain.config import Config, Model
from llm_batch.chain.flags import Overrides, expanded, with_flags
from llm_batch.errors import ConfigError, status_of
from llm_batch.estimating.assemble import assembled
from llm_batch.estimating.assumptions import Answer, answer_of, assumed_inputs
from llm_batch.estimating.claims import Ask, Claim, check, check_clusters
from llm_batch.estimating.clusters import clusters_by
from llm_batch.estimating.counting import SAMPLED, Answered, Recount, count_items, prefixes_of
from llm_batch.estimating.evidence import Measured, read_measured
from llm_batch.estimating.load import StepFacts, item_cost, measures_of
from llm_batch.estimating.model import Estimate
from llm_batch.estimating.plan import Plan
from llm_batch.estimating.serving import (
    Serving,
    kept_tokens,
    saved_per_call,
    servings_of,
    tariff_of_step,
)
from llm_batch.estimating.span import Load, Span, StepLoad, exactly, scaled
from llm_batch.estimating.spread import Scored
from llm_batch.record.changes import changed_steps
from llm_batch.record.files import run_paths
from llm_batch.record.manifest import Manifest, config_record
from llm_batch.records import Item
from llm_batch.sending.checks import blank_prompts, check_prompts, same_for_all

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


def estimate(
    config: Config,
    n: int | None = None,
    *,
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
    if n is not None and config.data.path is None:
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
    ) as drawn:
        chain = config.chain()
        check_prompts(config, chain, next(iter(drawn.items())))
        odd = (*same_for_all(chain), *blank_prompts(chain, drawn.items))
        population = drawn.population if n is None else max(n, drawn.population)
        played = drawn.size if n is None else min(sample or population, population)
        there = min(played, drawn.size)
        whole = there if exact else min(SAMPLED, there)
        return estimate_from_items(
            config,
            drawn.items(),
            played,
            population,
            most=whole if exact else SAMPLED,
            measured=measured if measured is None else _of_this_data(measured, drawn.sha256),
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


def measured_in(path: str | os.PathLike[str], config: Config, source: str = "") -> Measured:
    """What an earlier run tells of the chain in ``config``.

    Its items count as done when it is the run that ``config`` would go on with: the same output,
    seed and steps, and, once the data was read, the same data.

    Args:
        path: Its results file, or its journal.
        config: What is to be estimated.
        source: What to call it; its path by default.

    Raises:
        OutputError: There is no such run, or it has no call of these steps.
    """
    paths = run_paths(expanded(path))
    steps = [step.name for step in config.steps]
    measured = read_measured(path, source or os.fspath(path), steps=steps)
    manifest = Manifest.read(paths.manifest) or Manifest()
    notes = []
    changed = changed_steps(manifest.config, config_record(config))
    if changed:
        notes.append(
            f"Since it was run, step {', '.join(changed)} has changed; the figures are those of "
            "then."
        )
    same = (
        bool(manifest.config)
        and not changed
        and os.path.realpath(paths.results) == os.path.realpath(config.run.output)
        and manifest.sample.seed == config.sample.seed
    )
    return replace(
        measured,
        models=manifest.models,
        finished=sum(n for kind, n in measured.statuses.items() if status_of(kind).kept)
        if same
        else 0,
        dataset=manifest.dataset.sha256 or "",
        notes=tuple(notes),
    )


def config_of_run(path: str | os.PathLike[str], flags: Overrides) -> Config | None:
    """The config an earlier run was made with, under the flags; ``None`` when that is not known.

    Args:
        path: Its results file, or its journal.
        flags: What was given on the command line.

    Raises:
        OutputError: Its manifest is damaged.
        ConfigError: A flag has nothing to apply to.
    """
    manifest = Manifest.read(run_paths(expanded(path)).manifest)
    if manifest is None or not manifest.config:
        return None
    then = manifest.config
    # The record has every key; what was not written down is left out, as in a file.
    defaults = {key: field.default for key, field in Model.model_fields.items()}
    models = {
        name: {key: value for key, value in own.items() if value != defaults.get(key)}
        for name, own in (then.get("models") or {}).items()
    }
    raw, _ = with_flags({**then, "models": models}, flags, built_in=False)
    try:
        config = Config.model_validate(raw)
    except ValueError:
        return None  # a version of the config that this program does not know
    data = config.data_path()
    if data != "-" and not data.exists():
        return config.model_copy(update={"data": config.data.model_copy(update={"path": None})})
    return config


def _of_this_data(measured: Measured, sha256: str) -> Measured:
    """With other data nothing is done, whatever the run's files say."""
    return measured if measured.dataset == sha256 else replace(measured, finished=0)
