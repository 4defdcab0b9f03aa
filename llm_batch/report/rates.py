"""Rates and means with their bounds: the choice among intervals, by how the items were drawn."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_batch.records import Interval
from llm_batch.report.counted import Asked, Counted
from llm_batch.report.group_tally import GroupCount, GroupTally
from llm_batch.report.manifest import Manifest
from llm_batch.report.model import FUTURE, Bin, Group, Groups, PassRate, Scores
from llm_batch.stats.bootstrap import AUTO_LEAST, LARGE, bca_mean, skewness, wants_bootstrap
from llm_batch.stats.compare import unpaired_difference, unpaired_p_value
from llm_batch.stats.hypergeometric import hypergeometric
from llm_batch.stats.interval import (
    ALL_SCORED,
    clopper_pearson,
    mean_and_sd,
    mean_t,
    missing_bounds,
    one_sided_bound,
    quantile,
    wilson,
    wilson_finite,
)
from llm_batch.stats.multiple import holm
from llm_batch.stats.weighting import Stratum, stratified_mean, stratified_rate

#: Below this share of the dataset, the finite population changes nothing worth a word.
FINITE_SHARE = 0.05

_MANY_VALUES = 12
_BINS = 10
_MANY_TO_SORT = 50_000


def _estimand(n: int, population: int | None) -> tuple[str, int | None]:
    """What bounds speak of, and the population to correct for, if any."""
    if population is None:
        return FUTURE, None
    dataset = f"this dataset of {population:,} items"
    if n > FINITE_SHARE * population:
        return dataset, population
    return f"{dataset}, and {FUTURE}", None


def _rate(passed: int, n: int, population: int | None, asked: Asked) -> Interval:
    if population is None or not FINITE_SHARE * population < n <= population:
        return (clopper_pearson if asked.exact else wilson)(passed, n, asked.level)
    return (hypergeometric if asked.exact else wilson_finite)(passed, n, population, asked.level)


def pass_rate(
    manifest: Manifest, counted: Counted, population: int | None, asked: Asked
) -> PassRate:
    """Who passes, with bounds that fit how the items were drawn."""
    tally, level = counted.tally, asked.level
    passed, n = tally.passed, tally.verdicts
    pass_at = manifest.config.score.pass_at if manifest.config.score else None
    missing = tally.read - n if n or pass_at is not None else 0
    bound = None
    if n and passed in (0, n):
        bound = one_sided_bound(passed, n, "upper" if passed == 0 else "lower", level)
    possible = missing_bounds(passed, n, missing) or (None, None)
    estimand, finite = _estimand(n, population)
    rate = _rate(passed, n, finite, asked)
    future = _rate(passed, n, None, asked) if finite is not None else None
    unweighted = None
    strata = drawn_unevenly(manifest, counted.groups)
    if counted.clusters is not None:
        found = counted.clusters.rate(level)
        rate, future, estimand, bound = found.mean, None, FUTURE, None
    elif strata and n:
        unweighted, rate = rate, stratified_rate([stratum.verdicts for stratum in strata], level)
        future, estimand = None, f"this dataset of {population or 0:,} items"
    return PassRate(
        pass_at=pass_at,
        passed=passed,
        rate=rate,
        estimand=estimand,
        future=future,
        bound=bound,
        missing=missing,
        least=possible[0],
        most=possible[1],
        unweighted=unweighted,
        design_effect=counted.clusters.rate(level).design_effect if counted.clusters else None,
        clusters=counted.clusters.rate(level).clusters if counted.clusters else None,
    )


def scores(manifest: Manifest, counted: Counted, population: int | None, asked: Asked) -> Scores:
    """The scores as numbers, with bounds of their mean that fit how the items were drawn."""
    tally, level = counted.tally, asked.level
    ordered = in_order(tally.scores)
    estimand, finite = _estimand(len(ordered), population)
    mean = _mean(ordered, asked)
    if finite is not None:
        mean = with_width(mean_t(ordered, level, finite))
    future = _mean(ordered, asked) if finite is not None else None
    unweighted = None
    strata = drawn_unevenly(manifest, counted.groups)
    if counted.clusters is not None:
        mean, future, estimand = counted.clusters.mean(level).mean, None, FUTURE
    elif strata and ordered:
        unweighted, mean = mean, stratified_mean([stratum.scores for stratum in strata], level)
        future, estimand = None, f"this dataset of {population or 0:,} items"
    return Scores(
        mean=mean,
        estimand=estimand,
        future=future,
        sd=mean_and_sd(ordered)[1],
        median=quantile(ordered, 0.5),
        min=ordered[0] if ordered else None,
        max=ordered[-1] if ordered else None,
        distribution=_distribution(ordered),
        excluded=tally.excluded,
        unweighted=unweighted,
    )


def _mean(ordered: Sequence[float], asked: Asked) -> Interval:
    """The mean with the t interval or, as asked or where it is in doubt, the bootstrap's."""
    n = len(ordered)
    wanted = asked.mean == "bca" or (
        asked.mean == "auto" and AUTO_LEAST <= n <= LARGE and wants_bootstrap(n, skewness(ordered))
    )
    if wanted and n <= LARGE:
        found = bca_mean(ordered, asked.level)
        if found.low is not None:
            return found
    return with_width(mean_t(ordered, asked.level))


def with_width(interval: Interval) -> Interval:
    """The same, but without bounds where these are one: equal scores prove no certainty."""
    if interval.method != ALL_SCORED and interval.low == interval.high:
        return replace(interval, low=None, high=None)
    return interval


@dataclass(frozen=True, slots=True)
class DrawnStratum:
    """A stratum's verdicts and scores."""

    verdicts: Stratum
    scores: Stratum


def drawn_unevenly(manifest: Manifest, tally: GroupTally | None) -> list[DrawnStratum]:
    """The strata, where some have another share of the results than of the dataset; else none.

    An estimate from them has to be weighted.
    """
    sizes = manifest.dataset.strata
    if not sizes or tally is None or tally.field != manifest.sample.stratify:
        return []
    if not set(tally.groups) <= sizes.keys():
        return []
    seen, total = sum(group.n for group in tally.groups.values()), sum(sizes.values())
    counts = {name: tally.groups.get(name, GroupCount()) for name in sizes}
    if not seen or any(group.n > sizes[name] for name, group in counts.items()):
        return []
    # A proportional draw is off by the rounding to whole items, one at most.
    if all(abs(group.n - seen * sizes[name] / total) <= 1 for name, group in counts.items()):
        return []
    return [
        DrawnStratum(
            Stratum(sizes[name], group.verdicts, group.passed, group.passed),
            Stratum(sizes[name], group.scored, group.score_sum, group.score_squares),
        )
        for name, group in counts.items()
    ]


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


def groups(manifest: Manifest, tally: GroupTally | None, asked: Asked) -> Groups | None:
    """The results by category, each with its interval and its difference from the rest."""
    if tally is None or not tally.groups or (len(tally.groups) < 2 and not tally.asked_for):
        return None
    stratified = tally.field == manifest.sample.stratify
    sizes = (manifest.dataset.strata or {}) if stratified else {}
    passed = sum(group.passed for group in tally.groups.values())
    verdicts = sum(group.verdicts for group in tally.groups.values())
    made = []
    for name, group in tally.groups.items():
        own = (group.passed, group.verdicts)
        rest = (passed - group.passed, verdicts - group.verdicts)
        made.append(
            Group(
                name=name,
                population=sizes.get(name),
                n=group.n,
                scored=group.scored,
                passed=group.passed,
                pass_rate=_rate(group.passed, group.verdicts, sizes.get(name), asked),
                mean_score=group.score_sum / group.scored if group.scored else None,
                difference=unpaired_difference(rest, own, asked.level),
                p_value=unpaired_p_value(rest, own),
            )
        )
    tested = [i for i, group in enumerate(made) if group.p_value is not None]
    for i, p_value in zip(tested, holm([made[i].p_value or 0.0 for i in tested]), strict=True):
        made[i] = replace(made[i], p_adjusted=p_value)
    return Groups(tally.field, tuple(sorted(made, key=lambda group: (-group.n, group.name))))


def in_order(values: array[float]) -> Sequence[float]:
    """The values in ascending order."""
    if len(values) < _MANY_TO_SORT:
        return sorted(values)
    import numpy  # comes with scipy, and sorts a million in a tenth of the time

    return array("d", numpy.sort(numpy.frombuffer(values)).tobytes())
