"""From counts and the manifest to the figures of a `Report`; nothing is read here."""

from __future__ import annotations

from dataclasses import replace

from llm_batch.records import Usage
from llm_batch.report.calibration.figures import calibration, judges_reliability
from llm_batch.report.counted import Asked, Counted
from llm_batch.report.manifest import Manifest
from llm_batch.report.model import (
    REPORT_SCHEMA,
    Estimate,
    Items,
    Money,
    Report,
    Run,
    Spending,
    Status,
)
from llm_batch.report.rates import groups, in_order, pass_rate, scores
from llm_batch.report.spending import cost_breakdown
from llm_batch.report.tally import StepTally, Tally
from llm_batch.report.timeline import timeline
from llm_batch.stats.interval import (
    mean_t,
    median_interval,
    quantile,
    quantile_interval,
    with_width,
)


def assemble(path: str, manifest: Manifest, counted: Counted, asked: Asked) -> Report:
    """All figures of a report; its sentences are left empty."""
    level = asked.level
    tally, totals = counted.tally, manifest.totals
    # A population smaller than what was read is not the one these results were drawn from.
    population = manifest.dataset.n
    if population is not None and population < tally.read:
        population = None
    estimate = manifest.estimate
    models = {name: model for name, model in manifest.models.items() if name}
    order = [*models, *(name for name in tally.steps if name not in models)]
    steps = tuple(
        _spending(
            name,
            tally.steps.get(name, StepTally()),
            estimate.of_step(name) if estimate else None,
            level,
        )
        for name in order
    )
    return Report(
        schema=REPORT_SCHEMA,
        path=path,
        headline="",
        level=level,
        run=Run(
            id=manifest.run_id,
            created_at=manifest.created_at,
            status=totals.status,
            engine=manifest.engine,
            models=models,
            judge=counted.judge,
            calls=totals.calls,
            seconds=totals.seconds,
            expected_seconds=estimate.wall_time if estimate else None,
            simulated=totals.simulated or tally.simulated > 0,
        ),
        items=_items(manifest, counted, population),
        statuses=_statuses(tally),
        pass_rate=pass_rate(manifest, counted, population, asked),
        scores=scores(manifest, counted, population, asked),
        groups=groups(manifest, counted, asked),
        steps=steps,
        total=_spending("total", tally.total, estimate.figures if estimate else None, level),
        money=_money(tally, population, level),
        judge_check=counted.references.check(level) if counted.references else None,
        warnings=(),
        next_steps=(),
        breakdown=cost_breakdown(tally, manifest, counted.calls),
        timeline=timeline(counted.calls, manifest.limits)
        if counted.calls and manifest.engine != "batch"  # a batch API has no pace
        else None,
        calibration=calibration(
            counted.labels,
            (tally.passed, tally.verdicts),
            tally.scores,
            level,
            clustered=counted.clusters is not None,
            scale=(manifest.config.score.min, manifest.config.score.max)
            if manifest.config.score
            else (None, None),
        )
        if counted.labels
        else None,
        judges=judges_reliability(counted.judges, level) if counted.judges else None,
    )


def _items(manifest: Manifest, counted: Counted, population: int | None) -> Items:
    tally = counted.tally
    planned = manifest.sample.size
    scored, ok = len(tally.scores), tally.statuses["ok"]
    done = scored if counted.scoring else ok
    whole = planned or tally.read
    return Items(
        population=population,
        planned=planned,
        read=tally.read,
        ok=ok,
        scored=scored,
        coverage=done / whole if whole else None,
        duplicates=tally.duplicates,
    )


def _statuses(tally: Tally) -> tuple[Status, ...]:
    ordered = sorted(tally.statuses.items(), key=lambda kind: (kind[0] != "ok", -kind[1], kind[0]))
    return tuple(Status(kind, n, *tally.examples.get(kind, ("", ""))) for kind, n in ordered)


def _spending(name: str, tally: StepTally, estimate: Estimate | None, level: float) -> Spending:
    latencies = in_order(tally.latencies)
    return Spending(
        step=name,
        items=tally.items,
        attempts=tally.attempts,
        usage=Usage(**tally.tokens),
        cost=tally.cost,
        known_cost=tally.known_cost,
        unpriced=tally.unpriced,
        latency_p50=quantile(latencies, 0.5),
        latency_p95=quantile(latencies, 0.95),
        latency_p99=quantile(latencies, 0.99),
        latency_tails=(
            with_width(quantile_interval(latencies, 0.95, level)),
            with_width(quantile_interval(latencies, 0.99, level)),
        ),
        latency_median=with_width(median_interval(latencies, level)),
        estimate=estimate,
    )


def _money(tally: Tally, population: int | None, level: float) -> Money:
    cost = tally.total.cost if tally.read else None
    whole = None
    if cost is not None and population is not None and population > tally.read > 1:
        mean = mean_t(tally.costs, level, population)
        if mean.value is not None:
            whole = with_width(
                replace(
                    mean,
                    value=mean.value * population,
                    # What is spent already is sure.
                    low=None if mean.low is None else max(mean.low * population, cost),
                    high=None if mean.high is None else mean.high * population,
                )
            )
    return Money(
        per_item=cost / tally.read if cost is not None else None,
        per_passed=cost / tally.passed if cost is not None and tally.passed else None,
        whole_dataset=whole,
        worst_case_items=tally.worst_case,
        reported=tally.reported,
        listed=None if tally.reported is None else tally.listed.cost,
    )
