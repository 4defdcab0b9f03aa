"""How many items to score: sizes before a run, margins of a size, shares of strata.

Rates, margins and differences are fractions of one (0.05 is 5 points); means, their margins and
standard deviations are in the unit of the score. Sizes are whole items, rounded up as
``ceil(x - 1e-9)`` so that an exact integer is not pushed up by the last bit of a float, and at
least 1. Everything here is planning by the normal approximation; what was measured is reported
by ``interval``. Nothing heavier than the standard library is imported: ``estimate`` needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, isfinite, log1p, sqrt
from statistics import NormalDist

from llm_batch.stats.interval import z_value


@dataclass(frozen=True, slots=True)
class SampleSize:
    """How many items a rate needs, with the figures people quote for it.

    Attributes:
        n0: Cochran's size before any rounding (384.146).
        n_classic: ``n0`` to the nearest integer, the figure of textbooks (384, which holds a
            margin of 5.001 points).
        n_min: The least size that holds the margin when the population is large (385).
        n_fpc: The least size that holds it in this population (380 of 30,000); ``None`` without
            a population.
        level: Confidence level.
        margin: Half width of the interval, as a fraction of one.
        population: Items in the whole dataset; ``None`` when taken as unlimited.
        rate: The rate it was planned for; 0.5 is the worst case.
    """

    n0: float
    n_classic: int
    n_min: int
    n_fpc: int | None
    level: float
    margin: float
    population: int | None
    rate: float


def cochran(margin: float, level: float = 0.95, rate: float = 0.5) -> float:
    """Give the size n0 = z² p (1 - p) / e², unrounded, for a rate in an unlimited population.

    Args:
        margin: Half width e of the interval, as a fraction of one: 0.05 is 5 points.
        level: Two-sided confidence level.
        rate: The rate p expected; 0.5 needs most.

    Raises:
        ValueError: An argument does not lie between 0 and 1, or the size is beyond any number.

    Cochran (1977), eq. 4.2. Agrees with statsmodels
    ``samplesize_confint_proportion(method="normal")``. Known answer: 0.05 -> 384.146.
    """
    _check_fraction("margin", margin)
    _check_fraction("rate", rate)
    return _check_size(_square(z_value(level) / margin) * rate * (1 - rate))


def sample_size(
    margin: float = 0.05, level: float = 0.95, rate: float = 0.5, population: int | None = None
) -> SampleSize:
    """Say how many items hold a margin on a rate, in a population of a known size or without.

    Args:
        margin: Half width of the interval, as a fraction of one.
        level: Two-sided confidence level.
        rate: The rate expected; 0.5 needs most.
        population: Items in the whole dataset, at least 1.

    Raises:
        ValueError: A fraction does not lie between 0 and 1, or the population is below 1.

    Cochran (1977), eqs. 4.2 and 4.3: n = n0 / (1 + (n0 - 1) / N). Krejcie and Morgan (1970) use
    the same formula and round to nearest (379 at N = 30,000, where it gives 379.30; the least
    size is 380). Known answers: ±5 points at 95 % -> 384 (textbook), 385, and 380 of 30,000.
    """
    n0 = cochran(margin, level, rate)
    return SampleSize(
        n0=n0,
        n_classic=max(1, floor(n0 + 0.5)),
        n_min=_round_up(n0),
        n_fpc=None if population is None else _finite_size(n0, population),
        level=level,
        margin=margin,
        population=population,
        rate=rate,
    )


def margin_of(
    n: int, level: float = 0.95, rate: float = 0.5, population: int | None = None
) -> float:
    """Give the margin a size holds on a rate: the half width of the interval, a fraction of one.

    Args:
        n: Items scored, at least 1.
        level: Two-sided confidence level.
        rate: The rate expected; 0.5 gives the widest margin.
        population: Items in the whole dataset; the margin is 0 when all of them are scored.

    Raises:
        ValueError: ``n`` is below 1 or above the population, or a fraction is not between 0 and 1.

    Cochran (1977), eq. 4.1 solved for the margin; the inverse of ``sample_size``. Known answers
    at 95 % and N = 30,000: 384 -> 0.0497, 500 -> 0.0435, 1,000 -> 0.0305.
    """
    _check_fraction("rate", rate)
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if population is not None and n > population:
        raise ValueError(f"{n} items cannot be drawn from a population of {population}")
    unseen = 1.0
    if population is not None:
        unseen = (population - n) / max(1, population - 1)
    return z_value(level) * sqrt(rate * (1 - rate) / n * unseen)


def mean_size(sd: float, margin: float, level: float = 0.95, population: int | None = None) -> int:
    """Say how many items hold a margin on a mean score: (z sd / e)², then the population.

    Args:
        sd: Standard deviation of the scores, from a pilot, in their unit.
        margin: Half width of the interval, in the same unit.
        level: Two-sided confidence level.
        population: Items in the whole dataset, at least 1.

    Raises:
        ValueError: ``sd`` or ``margin`` is not positive, the population is below 1, or ``level``
            is not between 0 and 1.

    Cochran (1977), ch. 4. The finite population enters as for rates, n0 / (1 + (n0 - 1) / N),
    which is less than one item more than his n0 / (1 + n0 / N). Agrees with statsmodels
    ``normal_sample_size_one_tail`` at a power of one half. Known answers: sd 1.2, ±0.1 -> 554;
    of 2,000 -> 434.
    """
    _check_positive("sd", sd)
    _check_positive("margin", margin)
    n0 = _check_size(_square(z_value(level) * sd / margin))
    return _round_up(n0) if population is None else _finite_size(n0, population)


def two_rates_size(p1: float, p2: float, level: float = 0.95, power: float = 0.8) -> int:
    """Say how many items each of two separate groups needs to tell their rates apart.

    [z √(2 p q) + z_power √(p1 q1 + p2 q2)]² / (p1 - p2)² with p the mean of both and q = 1 - p.
    For two models on the same items see ``paired_rates_size``, which needs far fewer.

    Args:
        p1: One rate.
        p2: The other.
        level: One minus the two-sided significance level.
        power: Probability of seeing the difference, at least 0.5.

    Raises:
        ValueError: The rates are equal or not between 0 and 1, or level or power is out of range.

    Fleiss, Levin and Paik (2003), ch. 4, without continuity correction. Agrees with statsmodels
    ``samplesize_proportions_2indep_onetail``. Known answer: 0.80 and 0.83 -> 2,629 a group.
    """
    _check_fraction("p1", p1)
    _check_fraction("p2", p2)
    if p1 == p2:
        raise ValueError(f"no number of items tells equal rates apart: both are {p1}")
    mean = (p1 + p2) / 2
    null, other = sqrt(2 * mean * (1 - mean)), sqrt(p1 * (1 - p1) + p2 * (1 - p2))
    return _round_up(_square((z_value(level) * null + _z_power(power) * other) / (p1 - p2)))


def paired_rates_size(
    delta: float, discordance: float, level: float = 0.95, power: float = 0.8
) -> int:
    """Say how many pairs (items scored under both) tell two pass rates apart by McNemar's test.

    [z √ψ + z_power √(ψ - δ²)]² / δ².

    Args:
        delta: Difference δ of the two pass rates; the sign does not matter.
        discordance: Share ψ of items that one passes and the other fails, at least ``|delta|``.
        level: One minus the two-sided significance level.
        power: Probability of seeing the difference, at least 0.5.

    Raises:
        ValueError: Not ``0 < |delta| <= discordance <= 1``, or level or power is out of range.

    Connor (1987), after Miettinen (1968). Agrees with statsmodels
    ``normal_sample_size_one_tail``. Known answer: 3 points at a discordance of 9 % -> 783 pairs.
    """
    if not 0 < abs(delta) <= discordance <= 1:
        raise ValueError(
            "delta must not be 0, nor larger than the discordance, which is at most 1;"
            f" got delta {delta} and discordance {discordance}"
        )
    other = sqrt(max(0.0, discordance - delta * delta))
    return _round_up(
        _square((z_value(level) * sqrt(discordance) + _z_power(power) * other) / delta)
    )


def paired_scores_size(
    delta: float,
    variance: float,
    noise_a: float = 0.0,
    noise_b: float = 0.0,
    repeats_a: int = 1,
    repeats_b: int = 1,
    level: float = 0.95,
    power: float = 0.8,
) -> int:
    """Say how many items tell the mean scores of two models on the same items apart.

    (z + z_power)² (w² + s²_A / K_A + s²_B / K_B) / δ².

    Args:
        delta: Difference δ of the mean scores, in their unit; the sign does not matter.
        variance: w², the variance over items of the difference of expected scores. When it was
            measured on single answers it holds the noise too: leave the noise at 0 then.
        noise_a: s²_A, the variance of a score of model A over repeats of one item, averaged.
        noise_b: s²_B, likewise of model B.
        repeats_a: K_A, how often A answers each item.
        repeats_b: K_B, likewise B.
        level: One minus the two-sided significance level.
        power: Probability of seeing the difference, at least 0.5.

    Raises:
        ValueError: ``delta`` is 0, a variance is negative or all are 0, a repeat count is below
            1, or level or power is out of range.

    Miller (2024), arXiv 2411.00640, section on power analysis. Agrees with statsmodels
    ``normal_sample_size_one_tail``. Known answer: 0.03 at w² = 1/9 without noise -> 969.
    """
    _check_positive("the size of delta", abs(delta))
    if not (min(variance, noise_a, noise_b) >= 0 and min(repeats_a, repeats_b) >= 1):
        raise ValueError("variances must not be negative and repeats must be at least 1")
    total = variance + noise_a / repeats_a + noise_b / repeats_b
    _check_positive("the total variance", total)
    return _round_up(_square((z_value(level) + _z_power(power)) / delta) * total)


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


def zero_failures_size(rate: float, level: float = 0.95) -> int:
    """Say how many items, all without failure, show that failures are rarer than a rate.

    Args:
        rate: The rate of failures to rule out.
        level: One-sided confidence level.

    Raises:
        ValueError: ``rate`` or ``level`` does not lie between 0 and 1.

    ⌈ln(1 - level) / ln(1 - rate)⌉, Hahn and Meeker (1991); the inverse of
    ``interval.one_sided_bound`` of 0 failures. Known answers: 5 % -> 59, 1 % -> 299.
    """
    _check_fraction("rate", rate)
    _check_fraction("level", level)
    return _round_up(log1p(-level) / log1p(-rate))


def allocate(sizes: Mapping[str, int], n: int) -> dict[str, int]:
    """Share a sample among strata in proportion to their sizes, by largest remainder.

    Every stratum gets at least 2 items (its one item if it has no more), because a variance
    needs two, and never more than it has. When ``n`` is too small for that, strata get their
    first item from the largest down, then their second: 20 items over 15 strata are 1 each and
    a second for the 5 largest. Such shares, and those lifted to 2, are not proportional: weight
    the strata in the report. Ties go to the first name, so the order of rows does not matter.

    Largest remainder has a trap, the Alabama paradox: one item more in all can take one away
    from a stratum. {600, 600, 200} share 24 as 10, 10, 4 and 25 as 11, 11, 3. A stratum never
    loses more than one, and none when its own proportional share grew by one or more.

    Args:
        sizes: Items in each stratum, by name.
        n: Items to draw in all; capped at the number there are.

    Returns:
        Items to draw from each stratum, in the order of ``sizes``; they sum to ``n``, capped.

    Raises:
        ValueError: A size or ``n`` is negative.

    Cochran (1977), ch. 5; largest remainder as in Balinski and Young (1982). Known answer:
    {700, 200, 100} at 384 -> 269, 77, 38.
    """
    return _apportion(sizes, {name: Fraction(size) for name, size in sizes.items()}, n)


def neyman(sizes: Mapping[str, int], sds: Mapping[str, float], n: int) -> dict[str, int]:
    """Share a sample among strata so that the overall mean is sharpest: n_h ∝ N_h S_h.

    The bounds, the small ``n`` and the ties are those of ``allocate``. A stratum that hits a
    bound is set to it and the rest is shared anew. The shares are not proportional to the sizes:
    weight the strata in the report. Without any spread (all sds 0) sizes decide alone.

    Args:
        sizes: Items in each stratum, by name.
        sds: Standard deviation of the scores in each stratum (of a rate: √(p (1 - p))).
        n: Items to draw in all; capped at the number there are.

    Returns:
        Items to draw from each stratum, in the order of ``sizes``; they sum to ``n``, capped.

    Raises:
        ValueError: A size, an sd or ``n`` is negative or not finite, or a stratum has no sd.

    Neyman (1934); Cochran (1977), eq. 5.26; the bounds as in Bitran and Hax (1981). Checked
    against the best of all allocations of small samples. Known answer: two strata of 1,000 with
    sds 1 and 3 at 100 -> 25 and 75.
    """
    if sizes.keys() != sds.keys():
        raise ValueError(f"sizes and sds must name the same strata: {sorted(sizes.keys() ^ sds)}")
    for name, sd in sds.items():
        if not (sd >= 0 and isfinite(sd)):
            raise ValueError(f"the sd of stratum {name!r} must be 0 or above, got {sd}")
    # Fractions: the shares of an exact tie must not hang on the last bit of a float.
    return _apportion(sizes, {name: sizes[name] * Fraction(sds[name]) for name in sizes}, n)


def _apportion(sizes: Mapping[str, int], weights: Mapping[str, Fraction], n: int) -> dict[str, int]:
    if n < 0 or any(size < 0 for size in sizes.values()):
        raise ValueError("n and the sizes of strata must not be negative")
    shares = dict.fromkeys(sizes, 0)
    free = sorted((name for name in sizes if sizes[name]), key=lambda name: (-sizes[name], name))
    least = {name: min(2, sizes[name]) for name in free}
    left = min(n, sum(sizes.values()))
    if left <= sum(least.values()):
        turns = [(name, turn) for turn in (1, 2) for name in free if turn <= least[name]]
        shares.update(turns[:left])
        return shares
    while True:
        # Strata without weight have a claim only when the others are full.
        claims = {name: weights[name] for name in free}
        if not any(claims.values()):
            claims = {name: Fraction(sizes[name]) for name in free}
        total = sum(claims.values())
        quotas = {name: left * claim / total for name, claim in claims.items()}
        short = {name: least[name] for name in free if quotas[name] < least[name]}
        over = {name: sizes[name] for name in free if quotas[name] > sizes[name]}
        if not short and not over:
            break
        # Only the heavier side is certain to stay at its bound once the rest is shared anew.
        lacking = sum(bound - quotas[name] for name, bound in short.items())
        excess = sum(quotas[name] - bound for name, bound in over.items())
        pinned = short if lacking >= excess else over
        shares.update(pinned)
        left -= sum(pinned.values())
        free = [name for name in free if name not in pinned]
    shares.update((name, floor(quota)) for name, quota in quotas.items())
    rest = left - sum(floor(quota) for quota in quotas.values())
    for name in sorted(free, key=lambda name: (floor(quotas[name]) - quotas[name], name))[:rest]:
        shares[name] += 1
    return shares


def _finite_size(n0: float, population: int) -> int:
    if population < 1:
        raise ValueError(f"population must be at least 1, got {population}")
    return min(population, _round_up(n0 / (1 + (n0 - 1) / population)))


def _round_up(size: float) -> int:
    return max(1, ceil(_check_size(size) - 1e-9))


def _square(x: float) -> float:
    return x * x  # x ** 2 raises OverflowError where this gives infinity, which is checked


def _z_power(power: float) -> float:
    if not 0.5 <= power < 1:
        raise ValueError(f"power must be at least 0.5 and below 1, got {power}")
    return NormalDist().inv_cdf(power)


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1 (0.05 for 5 points), got {value}")


def _check_positive(name: str, value: float) -> None:
    if not (value > 0 and isfinite(value)):
        raise ValueError(f"{name} must be above 0, got {value}")


def _check_size(size: float) -> float:
    if not isfinite(size):
        raise ValueError("the size is beyond any number: ask for a larger margin or difference")
    return size
