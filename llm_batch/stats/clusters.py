"""Items that come in groups: several questions on one text, several turns of one conversation.

Items of a cluster resemble each other, so they say less than as many items of their own: intervals
that take each item for itself are too narrow, and sizes grow by a factor. What ``estimate`` needs
of it imports nothing heavier than the standard library.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isfinite, sqrt
from typing import NamedTuple

from llm_batch.records import Interval
from llm_batch.stats.interval import z_value

#: With fewer clusters than this the interval is too narrow itself.
FEW_CLUSTERS = 30


class ClusterSums(NamedTuple):
    """One cluster: how many values it has, and their sum and sum of squares."""

    n: int
    total: float
    squares: float


@dataclass(frozen=True, slots=True)
class Clustered:
    """A mean of items in clusters.

    Attributes:
        mean: With its bounds; these are ``None`` for one cluster.
        design_effect: Its variance by that of as many items on their own; ``None`` where there
            is no spread.
    """

    mean: Interval
    clusters: int
    design_effect: float | None

    def worth(self, passed: int, n: int) -> tuple[int, int]:
        """The counts of a sample without clusters that tells as much, to whole items.

        Smaller yet by (z / t)², since the design effect is known from G clusters only (Korn and
        Graubard 1998); of one cluster nothing is known, and it counts as one item.
        """
        if not n:
            return 0, 0
        effect = self.design_effect or n / max(self.clusters, 1)
        size = 1.0
        if self.clusters > 1:
            from scipy.special import stdtrit

            t = -float(stdtrit(self.clusters - 1, (1 - self.mean.level) / 2))
            size = n / max(effect, 1.0) * (z_value(self.mean.level) / t) ** 2
        size = max(round(size), 1)
        return round(passed / n * size), size


def clustered_mean(clusters: Mapping[str, ClusterSums], level: float = 0.95) -> Clustered:
    """Bound a mean, or a rate as the mean of ones and zeros, of items in clusters.

    SE² = G/(G-1) · Σ_c (Σ_i (s - s̄))² / n² over G clusters, and t with G - 1 degrees of freedom.

    Args:
        clusters: Sums by cluster; empty clusters count for nothing.

    Liang and Zeger (1986); Miller (2024, arXiv 2411.00640), eq. 4, with the small-sample factor.
    Agrees with statsmodels ``OLS(...).fit(cov_type="cluster")``, of which the factor is
    ``G/(G-1) · (n-1)/(n-1)``.
    """
    z_value(level)
    used = [cluster for cluster in clusters.values() if cluster.n]
    count = len(used)
    n = sum(cluster.n for cluster in used)
    if n == 0:
        return Clustered(Interval(None, None, None, level, 0, "clustered t"), 0, None)
    mean = sum(cluster.total for cluster in used) / n
    if count == 1:
        return Clustered(Interval(mean, None, None, level, n, "clustered t"), 1, None)
    between = sum((cluster.total - cluster.n * mean) ** 2 for cluster in used)
    variance = count / (count - 1) * between / n**2
    spread = sum(cluster.squares for cluster in used) - n * mean * mean
    alone = spread / (n - 1) / n if n > 1 else 0.0
    effect = variance / alone if alone > 0 and spread > 1e-12 * (1 + abs(mean)) else None
    if variance <= 0 or effect is None:
        return Clustered(Interval(mean, None, None, level, n, "clustered t"), count, None)
    from scipy.special import stdtrit

    half = -float(stdtrit(count - 1, (1 - level) / 2)) * sqrt(variance)
    bounds = Interval(mean, mean - half, mean + half, level, n, "clustered t")
    return Clustered(bounds, count, effect)


def clustered_difference(
    clusters: Mapping[str, ClusterSums], level: float = 0.95
) -> tuple[Clustered, float | None]:
    """Bound a mean of differences, item by item, of items in clusters, and test it against 0.

    Args:
        clusters: Sums by cluster of second minus first: of scores, or of ones and zeros.

    Returns:
        The mean with its bounds, and the two-sided p-value, by Student's t with G - 1 degrees of
        freedom; both ``None`` where nothing varies between clusters.

    Miller (2024, arXiv 2411.00640), sec. 4.2 with the clusters of sec. 2.2.
    """
    found = clustered_mean(clusters, level)
    mean = found.mean
    if mean.value is None or mean.high is None:
        return found, None
    from scipy.special import stdtr, stdtrit

    freedom = found.clusters - 1
    error = (mean.high - mean.value) / -float(stdtrit(freedom, (1 - level) / 2))
    return found, 2 * float(stdtr(freedom, -abs(mean.value) / error))


def clustered_rate(clusters: Mapping[str, ClusterSums], level: float = 0.95) -> Clustered:
    """Bound a rate of items in clusters; the bounds lie in [0, 1] and have width.

    The score interval with the effective size ``n / design effect`` and Student's t with G - 1
    degrees of freedom in place of z, as Korn and Graubard (1998) and Dean and Pagano (2015) do
    for surveys. Where all items passed or failed there is no design effect to be had: each
    cluster then counts as one item.

    Args:
        clusters: Sums by cluster of ones and zeros.
    """
    found = clustered_mean(clusters, level)
    rate, n = found.mean.value, found.mean.n
    if rate is None or found.clusters < 2:
        return found
    from scipy.special import stdtrit

    t = -float(stdtrit(found.clusters - 1, (1 - level) / 2))
    # A design effect below 1 is nearly always chance: no item counts for more than itself.
    size = n / max(found.design_effect, 1.0) if found.design_effect else float(found.clusters)
    low, high = score_bounds(rate, size, t)
    bounds = Interval(rate, low, high, level, n, "clustered wilson")
    return Clustered(bounds, found.clusters, found.design_effect)


def mean_of_shares(
    shares: Sequence[float], level: float = 0.95, most: float | None = None
) -> Interval:
    """Bound a mean of shares, one per item, each item counting alike; within [0, 1], with width.

    The score interval at the effective size p (1 - p) / (s² / m) of m items with the variance s²,
    with Student's t of m - 1 degrees of freedom. Where all shares are equal each is one item.

    Args:
        shares: Each within 0 and 1: of an item's answers, say.
        most: The effective size is at most this: how many answers there are in all.

    Raises:
        ValueError: A share is not within 0 and 1.

    The idea is that of `clustered_rate` (Dean and Pagano 2015), with equal weights.
    """
    z_value(level)
    n, method = len(shares), "wilson, shares by item"
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError("shares must be within 0 and 1")
    if not n:
        return Interval(None, None, None, level, 0, method)
    mean = min(max(fsum(shares) / n, 0.0), 1.0)
    if n == 1:
        return Interval(mean, None, None, level, 1, method)
    from scipy.special import stdtrit

    variance = fsum((share - mean) ** 2 for share in shares) / (n - 1) / n
    size = mean * (1 - mean) / variance if variance > 1e-15 else float(n)
    if most is not None:
        size = min(size, most)
    low, high = score_bounds(mean, size, -float(stdtrit(n - 1, (1 - level) / 2)))
    return Interval(mean, low, high, level, n, method)


def score_bounds(rate: float, size: float, quantile: float) -> tuple[float, float]:
    """The score interval of a rate at any effective size, within [0, 1]."""
    squared = quantile * quantile
    middle = (rate + squared / (2 * size)) / (1 + squared / size)
    half = (
        quantile
        / (1 + squared / size)
        * sqrt(rate * (1 - rate) / size + squared / (4 * size * size))
    )
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return min(low, rate), max(high, rate)


def design_effect(cluster_size: float, rho: float) -> float:
    """Give the factor by which clusters (questions on one document) multiply a size.

    Args:
        cluster_size: Items per cluster m, on average; at least 1.
        rho: Correlation of two scores of one cluster, from 0 to 1.

    Raises:
        ValueError: ``cluster_size`` is below 1 or ``rho`` is not within [0, 1].

    Kish (1965): 1 + (m - 1) rho. Known answer: 5 a cluster at 0.2 -> 1.8.
    """
    if not (cluster_size >= 1 and isfinite(cluster_size) and 0 <= rho <= 1):
        raise ValueError(
            f"cluster_size must be at least 1 and rho within 0 and 1, got {cluster_size} and {rho}"
        )
    return 1 + (cluster_size - 1) * rho


def cluster_size_of(sizes: Iterable[int]) -> float:
    """Give the cluster size that counts where sizes differ: Σ m² / Σ m.

    It is the size of the cluster of an item drawn at random, the mean times 1 + the squared
    coefficient of variation; for equal clusters their size.

    Args:
        sizes: Items in each cluster; empty ones do not count.

    Raises:
        ValueError: There are no items, or a size is negative.

    Kish (1965); Eldridge, Ashby and Kerry (2006). Known answers: 5, 5 -> 5; 1, 9 -> 8.2.
    """
    counts = list(sizes)
    if min(counts, default=0) < 0 or not any(counts):
        raise ValueError("clusters must hold at least one item, and none fewer than 0")
    return sum(size * size for size in counts) / sum(counts)


def drawn_design_effect(n: float, population: int, cluster_size: float, rho: float) -> float:
    """Give the factor for items that are drawn one by one, not cluster by cluster.

    Few of them have a mate from their own cluster in the sample: (n - 1) / (N - 1) of the m - 1
    there are. So 1 + (m - 1) ρ (n - 1) / (N - 1), which is `design_effect` when all are drawn.

    Args:
        population: Items in the whole dataset, N.

    Raises:
        ValueError: An argument is out of range.

    From the variance of a mean of equally correlated values (Kish 1965) with the hypergeometric
    number of mates. Checked by simulation.
    """
    whole = design_effect(cluster_size, rho)
    if not 1 <= n <= population:
        raise ValueError(f"n must be from 1 to {population}, got {n}")
    return 1 + (whole - 1) * (n - 1) / max(1, population - 1)


def drawn_size(n0: float, population: int, cluster_size: float, rho: float) -> float | None:
    """Solve n = n0 times `drawn_design_effect` of n, unrounded; ``None`` when no n does.

    Raises:
        ValueError: An argument is out of range.
    """
    slope = (design_effect(cluster_size, rho) - 1) / max(1, population - 1)
    if n0 * slope >= 1:
        return None
    size = n0 * (1 - slope) / (1 - n0 * slope)
    return size if size <= population else None


def intraclass_correlation(clusters: Iterable[Sequence[float]]) -> float | None:
    """Estimate how alike the scores of one cluster are, by analysis of variance.

    (B - W) / (B + (m - 1) W) with the mean squares between and within clusters and
    m = (n - Σ m² / n) / (k - 1).

    Returns:
        From about -1 / (m - 1), which is chance, to 1; ``None`` when no cluster has two scores,
        there is one cluster only, or all scores are equal.

    Donner (1986). Known answer: {1, 2}, {3, 4}, {5, 6} -> 0.8824.
    """
    groups = [list(scores) for scores in clusters if scores]
    n, k = sum(map(len, groups)), len(groups)
    if k < 2 or n <= k:
        return None
    overall = fsum(fsum(scores) for scores in groups) / n
    means = [fsum(scores) / len(scores) for scores in groups]
    between = fsum(
        len(scores) * (mean - overall) ** 2 for scores, mean in zip(groups, means, strict=True)
    )
    within = fsum(
        (score - mean) ** 2 for scores, mean in zip(groups, means, strict=True) for score in scores
    )
    between, within = between / (k - 1), within / (n - k)
    size = (n - sum(len(scores) ** 2 for scores in groups) / n) / (k - 1)
    total = between + (size - 1) * within
    return (between - within) / total if total else None
