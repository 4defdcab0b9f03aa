"""Estimates from strata, weighted to the population they were drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from llm_batch.records import Interval
from llm_batch.stats.clusters import score_bounds
from llm_batch.stats.interval import z_value


@dataclass(frozen=True, slots=True)
class Stratum:
    """What was seen of one stratum.

    Attributes:
        population: Its items in the dataset.
        n: Values seen of them.
        total: Their sum.
        squares: The sum of their squares.
    """

    population: int
    n: int
    total: float
    squares: float


def stratified_mean(strata: Sequence[Stratum], level: float = 0.95) -> Interval:
    """Estimate the mean of a dataset from its strata, each with the weight it has in the dataset.

    The mean is Σ W_h s̄_h with the variance Σ W_h² (1 - n_h/N_h) sd_h² / n_h. A stratum with one
    value lends the variance of all values.

    Args:
        strata: All strata of the dataset with their sizes.
        level: Two-sided confidence level.

    Returns:
        The weighted mean of the dataset. All ``None`` without values; no bounds where a stratum
        that has items has no value, since nothing is known of it, or where nothing varies.

    Raises:
        ValueError: More values than items, or ``level`` is not between 0 and 1.

    Cochran (1977), eq. 5.1, 5.13 and 5.15; degrees of freedom n - H as for strata of equal
    variance.
    """
    return _estimate(strata, level)[0]


def stratified_rate(strata: Sequence[Stratum], level: float = 0.95) -> Interval:
    """Estimate the rate of a dataset from its strata; ``total`` counts what passed.

    The weighted rate with the score interval at the effective size p (1 - p) / variance, which is
    the size of a simple sample as good as this one (Dean and Pagano 2015), at most that of the
    finite population. Where all passed or failed the size is the number of values.

    Args:
        strata: All strata of the dataset with their sizes.
        level: Two-sided confidence level.

    Returns:
        As `stratified_mean`, with bounds in [0, 1] that have width until all items are scored.

    Raises:
        ValueError: More values than items, or ``level`` is not between 0 and 1.
    """
    found, variance = _estimate(strata, level)
    rate, n = found.value, found.n
    method = "wilson, stratified"
    if rate is None or any(stratum.population and not stratum.n for stratum in strata):
        return Interval(rate, None, None, level, n, method)
    population = sum(stratum.population for stratum in strata)
    if n == population:
        return Interval(rate, rate, rate, level, n, "exact: all items were scored")
    size = rate * (1 - rate) / variance if variance > 0 and 0 < rate < 1 else float(n)
    low, high = score_bounds(rate, size, z_value(level))
    return Interval(rate, low, high, level, n, method)


def _estimate(strata: Sequence[Stratum], level: float) -> tuple[Interval, float]:
    """The weighted mean with its t interval, and its variance."""
    z_value(level)
    if any(stratum.n > stratum.population for stratum in strata):
        raise ValueError("more values than the stratum has items")
    method = "t, stratified"
    seen = [stratum for stratum in strata if stratum.n]
    n = sum(stratum.n for stratum in seen)
    if not n:
        return Interval(None, None, None, level, 0, method), 0.0
    # What a stratum without values is like nobody knows: the others stand for it, without bounds.
    whole = sum(stratum.population for stratum in seen)
    mean = sum(stratum.population / whole * stratum.total / stratum.n for stratum in seen)
    pooled = _variance(n, sum(s.total for s in seen), sum(s.squares for s in seen))
    variance = 0.0
    for stratum in seen:
        own = _variance(stratum.n, stratum.total, stratum.squares) if stratum.n > 1 else pooled
        unseen = 1 - stratum.n / stratum.population
        variance += (stratum.population / whole) ** 2 * unseen * own / stratum.n
    freedom = n - len(seen)
    complete = not any(stratum.population and not stratum.n for stratum in strata)
    if n == whole and complete:
        return Interval(mean, mean, mean, level, n, "exact: all items were scored"), 0.0
    if freedom < 1 or variance <= 0 or not complete:
        return Interval(mean, None, None, level, n, method), variance
    from scipy.special import stdtrit

    half = -float(stdtrit(freedom, (1 - level) / 2)) * sqrt(variance)
    return Interval(mean, mean - half, mean + half, level, n, method), variance


def _variance(n: int, total: float, squares: float) -> float:
    """Sample variance (divisor n - 1) from sums; 0 for one value."""
    return max(squares - total * total / n, 0.0) / (n - 1) if n > 1 else 0.0
