"""From counts and the manifest to the figures of a `Report`; nothing is read here."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_batch.records import Interval, Usage
from llm_batch.report.calibration.figures import calibration, judges_reliability
from llm_batch.report.calibration.tally import JudgesTally, LabelTally
from llm_batch.report.calls import CallsTally
from llm_batch.report.group_tally import GroupTally
from llm_batch.report.manifest import Manifest
from llm_batch.report.model import (
    FUTURE,
    REPORT_SCHEMA,
    Bin,
    Estimate,
    Group,
    Groups,
    Items,
    Money,
    PassRate,
    Report,
    Run,
    Scores,
    Spending,
    Status,
)
from llm_batch.report.reference import ReferenceTally
from llm_batch.report.spending import cost_breakdown
from llm_batch.report.tally import StepTally, Tally
from llm_batch.report.timeline import timeline
from llm_batch.stats.interval import (
    mean_and_sd,
    mean_t,
    median_interval,
    missing_bounds,
    one_sided_bound,
    quantile,
    wilson,
    wilson_finite,
)

#: Below this share of the dataset, the finite population changes nothing worth a word.
FINITE_SHARE = 0.05

_MANY_VALUES = 12
_BINS = 10
_MANY_TO_SORT = 50_000


@dataclass(frozen=True, slots=True)
class Counted:
    """All that came out of reading the lines.

    ``judge`` is the step that scores, empty without one; ``scoring`` says whether items were to
    be scored at all.
    """

    tally: Tally
    groups: GroupTally | None
    references: ReferenceTally | None
    judge: str
    scoring: bool
    labels: LabelTally | None = None
    judges: JudgesTally | None = None
    calls: CallsTally | None = None


def assemble(path: str, manifest: Manifest, counted: Counted, level: float) -> Report:
    """All figures of a report; its sentences are left empty."""
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
        pass_rate=_pass_rate(manifest, tally, population, level),
        scores=_scores(tally, population, level),
        groups=_groups(manifest, counted.groups, level),
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
        calibration=calibration(counted.labels, (tally.passed, tally.verdicts), tally.scores, level)
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


def _estimand(n: int, population: int | None) -> tuple[str, int | None]:
    """What bounds speak of, and the population to correct for, if any."""
    if population is None:
        return FUTURE, None
    dataset = f"this dataset of {population:,} items"
    if n > FINITE_SHARE * population:
        return dataset, population
    return f"{dataset}, and {FUTURE}", None


def _rate(passed: int, n: int, population: int | None, level: float) -> Interval:
    if population is None or not FINITE_SHARE * population < n <= population:
        return wilson(passed, n, level)
    return wilson_finite(passed, n, population, level)


def _pass_rate(manifest: Manifest, tally: Tally, population: int | None, level: float) -> PassRate:
    passed, n = tally.passed, tally.verdicts
    pass_at = manifest.config.score.pass_at if manifest.config.score else None
    estimand, finite = _estimand(n, population)
    missing = tally.read - n if n or pass_at is not None else 0
    bound = None
    if n and passed in (0, n):
        bound = one_sided_bound(passed, n, "upper" if passed == 0 else "lower", level)
    possible = missing_bounds(passed, n, missing) or (None, None)
    return PassRate(
        pass_at=pass_at,
        passed=passed,
        rate=_rate(passed, n, finite, level),
        estimand=estimand,
        future=wilson(passed, n, level) if finite is not None else None,
        bound=bound,
        missing=missing,
        least=possible[0],
        most=possible[1],
    )


def _scores(tally: Tally, population: int | None, level: float) -> Scores:
    ordered = _sorted(tally.scores)
    estimand, finite = _estimand(len(ordered), population)
    return Scores(
        mean=mean_t(ordered, level, finite),
        estimand=estimand,
        future=mean_t(ordered, level) if finite is not None else None,
        sd=mean_and_sd(ordered)[1],
        median=quantile(ordered, 0.5),
        min=ordered[0] if ordered else None,
        max=ordered[-1] if ordered else None,
        distribution=_distribution(ordered),
        excluded=tally.excluded,
    )


def _distribution(ordered: Sequence[float]) -> tuple[Bin, ...]:
    """Every value with its count, or bins of equal width when there are more than twelve."""
    bins: list[Bin] = []
    start = 0
    while start < len(ordered) and len(bins) <= _MANY_VALUES:
        end = bisect_right(ordered, ordered[start], start)
        bins.append(Bin(ordered[start], ordered[start], end - start))
        start = end
    if len(bins) <= _MANY_VALUES:
        return tuple(bins)
    low, high = ordered[0], ordered[-1]
    edges = [low + (high - low) * i / _BINS for i in range(_BINS)] + [high]
    cuts = [bisect_left(ordered, edge) for edge in edges[:-1]] + [len(ordered)]
    return tuple(Bin(edges[i], edges[i + 1], cuts[i + 1] - cuts[i]) for i in range(len(edges) - 1))


def _groups(manifest: Manifest, tally: GroupTally | None, level: float) -> Groups | None:
    if tally is None or not tally.groups or (len(tally.groups) < 2 and not tally.asked_for):
        return None
    stratified = tally.field == manifest.sample.stratify
    sizes = (manifest.dataset.strata or {}) if stratified else {}
    groups = [
        Group(
            name=name,
            population=sizes.get(name),
            n=group.n,
            scored=group.scored,
            passed=group.passed,
            pass_rate=_rate(group.passed, group.verdicts, sizes.get(name), level),
            mean_score=group.score_sum / group.scored if group.scored else None,
        )
        for name, group in tally.groups.items()
    ]
    return Groups(tally.field, tuple(sorted(groups, key=lambda group: (-group.n, group.name))))


def _spending(name: str, tally: StepTally, estimate: Estimate | None, level: float) -> Spending:
    latencies = _sorted(tally.latencies)
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
        latency_median=median_interval(latencies, level),
        estimate=estimate,
    )


def _money(tally: Tally, population: int | None, level: float) -> Money:
    cost = tally.total.cost if tally.read else None
    whole = None
    if cost is not None and population is not None and population > tally.read > 1:
        mean = mean_t(tally.costs, level, population)
        if mean.value is not None and mean.low is not None and mean.high is not None:
            whole = replace(
                mean,
                value=mean.value * population,
                low=max(mean.low * population, cost),  # what is spent already is sure
                high=mean.high * population,
            )
    return Money(
        per_item=cost / tally.read if cost is not None else None,
        per_passed=cost / tally.passed if cost is not None and tally.passed else None,
        whole_dataset=whole,
        worst_case_items=tally.worst_case,
    )


def _sorted(values: array[float]) -> Sequence[float]:
    """The values in ascending order."""
    if len(values) < _MANY_TO_SORT:
        return sorted(values)
    import numpy  # comes with scipy, and sorts a million in a tenth of the time

    return array("d", numpy.sort(numpy.frombuffer(values)).tobytes())
