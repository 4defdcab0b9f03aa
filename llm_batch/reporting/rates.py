"""Rates and means with their bounds: the choice among intervals, by how the items were drawn."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple

from llm_batch.record.manifest import Manifest
from llm_batch.records import Interval
from llm_batch.reporting.model import FUTURE, Bin, Group, Groups, PassRate, Scores
from llm_batch.reporting.scan import Asked, Counted
from llm_batch.reporting.tally import GroupCount, GroupTally, Tally
from llm_batch.stats.compare import difference_of, fisher_mid_p, holm, unpaired_difference
from llm_batch.stats.interval import (
    clopper_pearson,
    hypergeometric,
    missing_bounds,
    missing_interval,
    missing_mean,
    one_sided_bound,
    wilson,
    wilson_finite,
)
from llm_batch.stats.means import (
    AUTO_LEAST,
    LARGE,
    bca_mean,
    cut_to,
    mean_and_sd,
    mean_on_scale,
    mean_t,
    quantile,
    skewness,
    wants_bootstrap,
    with_width,
)
from llm_batch.stats.sizes import FINITE_SHARE
from llm_batch.stats.strata import Stratum, effective_rate, stratified_mean, stratified_rate

#: A group of fewer items, or of items worth fewer, is not tested against the rest.
LEAST_IN_GROUP = 5

_MANY_VALUES = 12
_BINS = 10
_MANY_TO_SORT = 50_000


#: Above this share of missing verdicts the interval has to hold whatever they would have been.
MISSING_SHARE = 0.02


def _finite(read: int, population: int | None) -> int | None:
    """The population that items played are so large a part of that it has bounds of its own."""
    return population if population is not None and read > FINITE_SHARE * population else None


def _asked_for(tally: Tally, population: int | None) -> tuple[int, int | None]:
    """Items read that the score is for, and how many there are of these as far as they tell."""
    read = tally.read - tally.unasked
    if population is None or not tally.unasked:
        return read, population
    return read, round(population * read / tally.read)


def _estimand(read: int, population: int | None) -> str:
    if population is None or _finite(read, population):
        return FUTURE
    return f"this dataset of {population:,} items, and {FUTURE}"


def _rate(passed: int, n: int, asked: Asked) -> Interval:
    return (clopper_pearson if asked.exact else wilson)(passed, n, asked.level)


def pass_rate(
    manifest: Manifest, counted: Counted, population: int | None, asked: Asked
) -> PassRate:
    """Who passes, with bounds that fit how the items were drawn and what is missing."""
    tally, level = counted.tally, asked.level
    passed, n = tally.passed, tally.verdicts
    pass_at = manifest.score.pass_at if manifest.score else None
    read, population = _asked_for(tally, population)
    missing = read - n if n or pass_at is not None else 0
    # Missing verdicts are taken for what would widen it most.
    bound = None
    if n and passed == n:
        bound = one_sided_bound(passed, n + missing, "lower", level)
    elif n and not passed:
        bound = one_sided_bound(missing, n + missing, "upper", level)
    possible = missing_bounds(passed, n, missing) or (None, None)
    finite = _finite(n + missing, population)
    plain = rate = _rate(passed, n, asked)
    dataset = None
    if finite is not None and n and not missing:
        dataset = (hypergeometric if asked.exact else wilson_finite)(passed, n, finite, level)
    strata = drawn_by_strata(manifest, counted.strata)
    weighted = strata is not None and n > 0 and not (asked.exact and strata.proportional)
    clusters = counted.clusters.rate(level) if counted.clusters is not None else None
    if clusters is not None:
        rate, dataset, bound = clusters.mean, None, None
    elif strata is not None and weighted:
        verdicts = [each.verdicts for each in strata.each]
        rate = stratified_rate(verdicts, level, future=True)
        dataset = stratified_rate(verdicts, level) if finite is not None else None
    if n and missing:
        holding = _whatever_missing(
            counted, strata if weighted else None, rate, missing, finite, level
        )
        rate = holding[0] if missing > MISSING_SHARE * (n + missing) else rate
        dataset = holding[1] if clusters is None and finite is not None else None
    return PassRate(
        pass_at=pass_at,
        passed=passed,
        rate=rate,
        estimand=_estimand(n + missing, population) if clusters is None else FUTURE,
        dataset=dataset,
        bound=bound,
        missing=missing,
        least=possible[0],
        most=possible[1],
        unweighted=plain if weighted and strata and not strata.proportional else None,
        design_effect=clusters.design_effect if clusters else None,
        clusters=_clusters(counted, level),
    )


def _clusters(counted: Counted, level: float) -> int | None:
    """How many clusters the rate is of, or where no item has a verdict the mean."""
    if counted.clusters is None:
        return None
    of = counted.clusters.rate if counted.tally.verdicts else counted.clusters.mean
    return of(level).clusters


def _whatever_missing(
    counted: Counted,
    strata: Strata | None,
    rate: Interval,
    missing: int,
    finite: int | None,
    level: float,
) -> tuple[Interval, Interval | None]:
    """Bounds that hold were the missing verdicts all fails or all passes: future, and dataset."""
    tally = counted.tally
    passed, read = tally.passed, tally.verdicts + missing
    if strata is not None and rate.low is not None and rate.value is not None:
        ends = [strata.missing_are(verdict) for verdict in (False, True)]
        made = []
        for future in (True, False):
            found = [effective_rate(each, future)[:2] for each in ends]
            least, most = ((share or 0.0, size) for share, size in found)
            made.append(missing_interval(rate.value, least, most, level, rate.n))
        return made[0], made[1]
    size = float(read)
    if counted.clusters is not None:
        clusters = counted.clusters.rate(level)
        size = read / max(clusters.design_effect or read / max(clusters.clusters, 1), 1.0)
    value = passed / tally.verdicts

    def bounded(size: float) -> Interval:
        ends = (passed / read, size), ((passed + missing) / read, size)
        return missing_interval(value, *ends, level, tally.verdicts)

    if finite is None:
        return bounded(size), None
    return bounded(size), bounded(read * (finite - 1) / (finite - read) if finite > read else inf)


def scores(manifest: Manifest, counted: Counted, population: int | None, asked: Asked) -> Scores:
    """The scores as numbers, with bounds of their mean that fit how the items were drawn."""
    tally, level = counted.tally, asked.level
    ordered = in_order(tally.scores)
    read, population = _asked_for(tally, population)
    read = read if len(ordered) else 0
    finite = _finite(read, population)
    scale = _scale(manifest, ordered)
    plain = mean = _mean(ordered, asked, scale)
    dataset = None
    # Scores that are missing were not left out by chance, so nothing is taken off for them.
    if finite is not None and len(ordered) == read:
        dataset = with_width(mean_t(ordered, level, finite))
    strata = drawn_by_strata(manifest, counted.strata)
    weighted = strata is not None and len(ordered) > 0
    if counted.clusters is not None:
        mean, dataset, weighted = counted.clusters.mean(level).mean, None, False
    elif strata is not None and weighted:
        each = [stratum.scores for stratum in strata.each]
        mean = stratified_mean(each, level, future=True)
        dataset = stratified_mean(each, level) if dataset is not None else None
    missing, least, most = read - len(ordered), None, None
    if scale is not None and missing and mean.value is not None:
        ends = _Ends(counted, strata if weighted else None, ordered, scale, missing)
        least, most = (end.value for end in ends(level))
        if missing > MISSING_SHARE * read:
            n, value = mean.n, mean.value
            mean = missing_mean(value, ends, level, n)
            if counted.clusters is None and finite is not None:
                dataset = missing_mean(value, replace(ends, finite=finite), level, n)
    uneven = weighted and strata is not None and not strata.proportional
    return Scores(
        mean=cut_to(mean, scale),
        estimand=_estimand(read, population) if counted.clusters is None else FUTURE,
        dataset=dataset and cut_to(dataset, scale),
        sd=mean_and_sd(ordered)[1],
        median=quantile(ordered, 0.5),
        min=ordered[0] if ordered else None,
        max=ordered[-1] if ordered else None,
        distribution=_distribution(ordered),
        excluded=tally.excluded,
        unweighted=cut_to(plain, scale) if uneven else None,
        least=least,
        most=most,
        scale=scale,
    )


def _scale(manifest: Manifest, ordered: Sequence[float]) -> tuple[float, float] | None:
    """The ends of the scores' scale, where they are known and all scores lie between them."""
    scale = manifest.scale
    if scale is None or not ordered:
        return None
    return scale if scale[0] <= ordered[0] and ordered[-1] <= scale[1] else None


@dataclass(frozen=True, slots=True)
class _Ends:
    """The mean were all missing scores the least of the scale, and were they the greatest.

    For items like these, or for the dataset where its size is ``finite``.
    """

    counted: Counted
    strata: Strata | None
    ordered: Sequence[float]
    scale: tuple[float, float]
    missing: int
    finite: int | None = None

    def __call__(self, level: float) -> tuple[Interval, Interval]:
        least, most = (self._with(score, level) for score in self.scale)
        return least, most

    def _with(self, score: float, level: float) -> Interval:
        if self.counted.clusters is not None:
            return self.counted.clusters.mean(level, score).mean
        if self.strata is not None:
            return stratified_mean(
                self.strata.unscored_are(score), level, future=self.finite is None
            )
        filled = [*self.ordered, *[score] * self.missing]
        if self.finite is None:
            return mean_on_scale(filled, *self.scale, level)
        return mean_t(filled, level, self.finite)


def _mean(ordered: Sequence[float], asked: Asked, scale: tuple[float, float] | None) -> Interval:
    """The mean with the t interval or, as asked or where it is in doubt, another."""
    n = len(ordered)
    if asked.mean == "auto" and n > 1 and scale is not None:
        at_an_end = max(bisect_right(ordered, scale[0]), n - bisect_left(ordered, scale[1]))
        if at_an_end > n / 2:
            return mean_on_scale(ordered, *scale, asked.level)
    wanted = asked.mean == "bca" or (
        asked.mean == "auto" and AUTO_LEAST <= n <= LARGE and wants_bootstrap(n, skewness(ordered))
    )
    if wanted and n <= LARGE:
        found = bca_mean(ordered, asked.level)
        if found.low is not None:
            return found
    return with_width(mean_t(ordered, asked.level))


class DrawnStratum(NamedTuple):
    """A stratum's verdicts and scores, and how many of its items were played."""

    verdicts: Stratum
    scores: Stratum
    played: int


@dataclass(frozen=True, slots=True)
class Strata:
    """All strata; ``proportional`` where each has the share of the results it has of the data."""

    each: tuple[DrawnStratum, ...]
    proportional: bool

    def missing_are(self, passes: bool) -> list[Stratum]:
        """The verdicts, were all that are missing passes or fails."""
        made = []
        for stratum in self.each:
            own = stratum.verdicts
            total = own.total + (stratum.played - own.n if passes else 0)
            made.append(Stratum(own.population, stratum.played, total, total))
        return made

    def unscored_are(self, score: float) -> list[Stratum]:
        """The scores, were all that are missing this one."""
        made = []
        for stratum in self.each:
            own, more = stratum.scores, stratum.played - stratum.scores.n
            total, squares = own.total + more * score, own.squares + more * score * score
            made.append(Stratum(own.population, stratum.played, total, squares))
        return made


def drawn_by_strata(manifest: Manifest, tally: GroupTally | None) -> Strata | None:
    """The strata the items were drawn by; ``None`` where there are none, or where a simple sample
    describes the results as well and some strata have none.
    """
    sizes = manifest.dataset.strata
    if not sizes or tally is None or not set(tally.groups) <= sizes.keys():
        return None
    counts = {name: tally.groups.get(name, GroupCount()) for name in sizes}
    played = {name: group.n + group.unasked for name, group in counts.items()}
    seen, total = sum(played.values()), sum(sizes.values())
    if not seen or any(played[name] > sizes[name] for name in sizes):
        return None
    # A proportional draw is off by the rounding to whole items, one at most.
    proportional = all(abs(played[name] - seen * sizes[name] / total) <= 1 for name in sizes)
    # Of a stratum as many are taken to be the score's as of its items that were played.
    sizes = {
        name: round(size * counts[name].n / played[name]) if played[name] else size
        for name, size in sizes.items()
    }
    if proportional and any(
        sizes[name] and not min(group.verdicts, group.scored) for name, group in counts.items()
    ):
        return None
    each = tuple(
        DrawnStratum(
            Stratum(sizes[name], group.verdicts, group.passed, group.passed),
            Stratum(sizes[name], group.scored, group.score_sum, group.score_squares),
            group.n,
        )
        for name, group in counts.items()
    )
    return Strata(each, proportional)


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


def groups(manifest: Manifest, counted: Counted, asked: Asked) -> Groups | None:
    """The results by category, each with its interval and its difference from the rest."""
    tally = counted.groups
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
        rate = _rate(*own, asked)
        difference = unpaired_difference(rest, own, asked.level)
        if counted.clusters is not None:
            # As many items of their own as these are worth: a test of them is no sharper.
            clustered = counted.clusters.rate_of(name, asked.level)
            others = counted.clusters.rate_without(name, asked.level)
            rate, difference = clustered.mean, difference_of(others.mean, clustered.mean)
            own, rest = clustered.worth(*own), others.worth(*rest)
        tested = min(own[1], rest[1]) >= LEAST_IN_GROUP
        made.append(
            Group(
                name=name,
                population=sizes.get(name),
                n=group.n,
                scored=group.scored,
                passed=group.passed,
                pass_rate=rate,
                mean_score=group.score_sum / group.scored if group.scored else None,
                difference=difference,
                p_value=fisher_mid_p(rest, own) if tested else None,
            )
        )
    places = [i for i, group in enumerate(made) if group.p_value is not None]
    for i, p_value in zip(places, holm([made[i].p_value or 0.0 for i in places]), strict=True):
        made[i] = replace(made[i], p_adjusted=p_value)
    return Groups(tally.field, tuple(sorted(made, key=lambda group: (-group.n, group.name))))


def in_order(values: array[float]) -> Sequence[float]:
    """The values in ascending order."""
    if len(values) < _MANY_TO_SORT:
        return sorted(values)
    import numpy  # comes with scipy, and sorts a million in a tenth of the time

    return array("d", numpy.sort(numpy.frombuffer(values)).tobytes())
