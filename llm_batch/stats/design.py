"""Factors on a size: items that come in clusters, and a judge that errs.

Nothing heavier than the standard library is imported: ``estimate`` needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum, isfinite


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
        n: Items drawn.
        population: Items in the whole dataset, N.
        cluster_size: See `cluster_size_of`.
        rho: Correlation of two scores of one cluster, from 0 to 1.

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

    Args:
        n0: The size without clusters.
        population: Items in the whole dataset, N.
        cluster_size: See `cluster_size_of`.
        rho: Correlation of two scores of one cluster, from 0 to 1.

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

    Args:
        clusters: The scores of each cluster.

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


def imperfect_judge_factor(sensitivity: float, specificity: float) -> float:
    """Give the factor by which a judge's errors multiply a size: 1 / J².

    Holds when sensitivity and specificity are known; estimating them costs labels on top.

    Args:
        sensitivity: Share of good answers the judge passes.
        specificity: Share of bad answers the judge fails.

    Raises:
        ValueError: One is not within [0, 1], or J = sensitivity + specificity - 1 is not above 0:
            such a judge says nothing, whatever the size.

    Rogan and Gladen (1978): the corrected rate is (p + specificity - 1) / J. Known answer: 0.9 and
    0.8 -> 2.041.
    """
    if not (0 <= sensitivity <= 1 and 0 <= specificity <= 1):
        raise ValueError(
            "sensitivity and specificity must be within 0 and 1,"
            f" got {sensitivity} and {specificity}"
        )
    youden = sensitivity + specificity - 1
    # A coin as a judge: 0.7 + 0.3 - 1 is not exactly 0.
    if youden < 1e-9:
        raise ValueError(
            f"a judge of sensitivity {sensitivity} and specificity {specificity} is no better"
            " than chance: no number of items makes up for it"
        )
    return 1 / (youden * youden)
