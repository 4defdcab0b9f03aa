"""Intervals for rates: what a sample says about what it was drawn from.

A rate is ``successes`` of ``n`` scored items and its bounds lie in [0, 1]. Two questions are kept
apart by which function is called. *This dataset*: the items not scored are the only doubt, which
is gone when all are scored (``wilson_finite``, ``hypergeometric``). *Future items*: the dataset is
itself a sample (``wilson``, ``clopper_pearson``).

Without data the value and the bounds are ``None``; no function here returns NaN. The normal
quantile comes from the standard library and scipy is imported by the functions that need it,
because planning a run imports this module too.
"""

from __future__ import annotations

from collections.abc import Callable
from math import erfc, inf, sqrt
from statistics import NormalDist
from typing import Literal

from llm_batch.records import Interval

ALL_SCORED = "all items were judged"


#: The method of an interval that holds whatever the missing verdicts would have been.
WHATEVER_MISSING = "imbens-manski"


def z_value(level: float) -> float:
    """Give the two-sided normal quantile of a confidence level: 0.95 -> 1.959964.

    Checked against ``scipy.stats.norm.ppf``.
    """
    # The lower tail is as exact as the upper one, and never rounds to a probability of 1.
    return -NormalDist().inv_cdf(tail_of(level))


def t_value(level: float, df: int) -> float:
    """The two-sided quantile of Student's t, from that of the normal distribution.

    Abramowitz and Stegun (1964), 26.7.5: within 1 % of ``scipy.stats.t`` from 3 degrees of
    freedom on, within 0.1 % from 6 on; from thousands on there is no difference.
    """
    z = z_value(level)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(df) ** power for power, term in enumerate(terms, 1))


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Bound a rate by the score interval, the default for future items.

    Raises:
        ValueError: Not ``0 <= successes <= n``.

    Wilson (1927); Brown, Cai and DasGupta (2001), eq. 4. Agrees with statsmodels
    ``proportion_confint(method="wilson")``. Known answer: 7 of 10 -> 0.3968 to 0.8922. Over rates
    from 0.05 to 0.95 at n = 384 it covers at least 93.8 %, on average 95.0 %.
    """
    z = z_value(level)
    _check_counts(successes, n)
    if n == 0:
        return Interval(None, None, None, level, 0, "wilson")
    rate = successes / n
    return _around(rate, _wilson_bounds(rate, n, z), level, n, "wilson")


def wilson_finite(successes: int, n: int, population: int, level: float = 0.95) -> Interval:
    """Bound the rate of a whole dataset of which ``n`` items, drawn at random, were scored.

    The score interval with the effective size ``n (N - 1) / (N - n)``, cut where the counts
    themselves set a limit: the rate of all N is at least ``successes / N`` and at most
    ``(N - failures) / N``. When ``n`` equals the population, low, value and high are one number.

    Raises:
        ValueError: Not ``0 <= successes <= n <= population``.

    Over rates from 0.05 to 0.95 it covers 95.0 % on average at 384 of 1,000 and of 30,000, at
    least 93.7 %; where few items are left (990 of 1,000) it falls to 90 % at single rates.

    The variance of sampling without replacement is Cochran (1977), eq. 3.8. Agrees with
    statsmodels' Wilson interval at the effective size. Known answer: 192 of 384 drawn from
    30,000 -> 0.4506 to 0.5494 (0.4502 to 0.5498 without the correction).
    """
    z = z_value(level)
    _check_counts(successes, n)
    check_population(n, population)
    method = "wilson, finite population"
    if n == 0:
        return Interval(None, None, None, level, 0, method)
    rate = successes / n
    if n == population:
        return Interval(rate, rate, rate, level, n, ALL_SCORED)
    low, high = _wilson_bounds(rate, n * (population - 1) / (population - n), z)
    least, most = successes / population, (population - n + successes) / population
    return _around(rate, (max(low, least), min(high, most)), level, n, method)


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Bound a rate so that the coverage is never below the level, at the price of width.

    Raises:
        ValueError: Not ``0 <= successes <= n``.

    Clopper and Pearson (1934), in the beta form of Brown, Cai and DasGupta (2001), sec. 4.2.1.
    Agrees with statsmodels ``proportion_confint(method="beta")`` and
    ``scipy.stats.binomtest(...).proportion_ci()``. Known answer: 7 of 10 -> 0.3475 to 0.9333.
    """
    tail = tail_of(level)
    _check_counts(successes, n)
    if n == 0:
        return Interval(None, None, None, level, 0, "clopper-pearson")
    bounds = _exact_low(successes, n, tail), 1 - _exact_low(n - successes, n, tail)
    return _around(successes / n, bounds, level, n, "clopper-pearson")


def jeffreys(successes: int, n: int, level: float = 0.95) -> Interval:
    """Bound a rate by the quantiles of Beta(k + ½, n - k + ½); 0 and 1 where none or all pass.

    For sensitivity and specificity: their n is itself a matter of chance, and with some 30 labels
    of a kind Wilson's interval covers 90 % at worst and this one 92.6 %.

    Raises:
        ValueError: Not ``0 <= successes <= n``.

    Brown, Cai and DasGupta (2001), sec. 4.1.1. Agrees with statsmodels
    ``proportion_confint(method="jeffreys")`` but at 0 and n. Known answer: 9 of 10 -> 0.6187 to
    0.9890.
    """
    tail = tail_of(level)
    _check_counts(successes, n)
    if n == 0:
        return Interval(None, None, None, level, 0, "jeffreys")
    from scipy.special import betaincinv

    a, b = successes + 0.5, n - successes + 0.5
    low = float(betaincinv(a, b, tail)) if successes else 0.0
    high = float(betaincinv(a, b, 1 - tail)) if successes < n else 1.0
    return _around(successes / n, (low, high), level, n, "jeffreys")


def one_sided_bound(
    successes: int, n: int, side: Literal["lower", "upper"], level: float = 0.95
) -> Interval:
    """Say how low or how high a rate may be at most, exactly; the other bound is 0 or 1.

    What a gate compares with its threshold, and what to print when every item passed or failed.

    Args:
        side: ``"upper"`` for "at most", ``"lower"`` for "at least".
        level: One-sided confidence level.

    Raises:
        ValueError: Not ``0 <= successes <= n``, or another side.

    Clopper and Pearson (1934); with no successes the upper bound is ``1 - (1 - level)^(1/n)``
    (Hanley and Lippman-Hand 1983, whose "rule of three" approximates it). Agrees with
    ``scipy.stats.binomtest(alternative=...).proportion_ci()``. Known answers: 0 of 200 -> at most
    1.49 %; 200 of 200 -> at least 98.51 %.
    """
    tail_of(level)
    _check_counts(successes, n)
    if side not in ("lower", "upper"):
        raise ValueError(f"side must be 'lower' or 'upper', got {side!r}")
    method = f"clopper-pearson, one-sided {side}"
    if n == 0:
        return Interval(None, None, None, level, 0, method)
    if side == "lower":
        bounds = _exact_low(successes, n, 1 - level), 1.0
    else:
        bounds = 0.0, 1 - _exact_low(n - successes, n, 1 - level)
    return _around(successes / n, bounds, level, n, method)


def missing_bounds(successes: int, scored: int, missing: int) -> tuple[float, float] | None:
    """Give the least and the greatest rate that the missing verdicts leave possible.

    The first takes every missing item for a failure, the second for a success. The pair is no
    confidence interval: it says nothing of items that were not sampled.

    Returns:
        The two rates among ``scored + missing`` items; ``None`` when there are none.

    Raises:
        ValueError: Not ``0 <= successes <= scored``, or ``missing`` is negative.

    Horowitz and Manski (2000). Known answer: 80 of 95 scored, 5 missing -> 0.80 to 0.85.
    """
    _check_counts(successes, scored)
    if missing < 0:
        raise ValueError(f"missing must not be negative, got {missing}")
    total = scored + missing
    if total == 0:
        return None
    return successes / total, (successes + missing) / total


def missing_interval(
    value: float,
    least: tuple[float, float],
    most: tuple[float, float],
    level: float = 0.95,
    n: int = 0,
) -> Interval:
    """Bound a rate of which some verdicts are missing, whatever these would have been.

    Score bounds below the least rate and above the greatest. The rate lies between these two, and
    cannot be at both ends: so where they lie apart each bound is a one-sided one.

    Args:
        least: The rate were all missing verdicts fails, and the size of a simple random sample
            that would tell it as well; infinite for a census.
        most: The same were all of them passes.

    Imbens and Manski (2004), sec. 4, with score bounds in place of normal ones. Known answer: 360
    of 400 with a verdict pass, 100 have none, of 500 items -> 0.72 to 0.92 in a census,
    0.6859 to 0.9377 in a sample.
    """
    errors = [sqrt(rate * (1 - rate) / size) for rate, size in (least, most)]
    gap = (most[0] - least[0]) / max(errors) if max(errors) > 0 else inf
    quantile = _imbens_manski(gap, level)
    bounds = [
        _wilson_bounds(rate, size, quantile)[side] if size < inf else rate
        for side, (rate, size) in enumerate((least, most))
    ]
    low, high = max(0.0, min(bounds[0], value)), min(1.0, max(bounds[1], value))
    return Interval(value, low, high, level, n, WHATEVER_MISSING)


def missing_mean(
    value: float,
    ends: Callable[[float], tuple[Interval, Interval]],
    level: float = 0.95,
    n: int = 0,
) -> Interval:
    """Bound a mean of which some scores are missing, whatever these would have been.

    As `missing_interval`, on a scale whose ends are known.

    Args:
        ends: Gives for a two-sided level the intervals of the mean were all missing scores the
            least of the scale, and were they the greatest.

    Imbens and Manski (2004), sec. 4.
    """
    z = z_value(level)
    least, most = ends(level)
    wide = max(
        (each.high - each.low) / 2
        for each in (least, most, Interval(0.0, 0.0, 0.0, level, 0, ""))
        if each.low is not None and each.high is not None
    )
    gap = (most.value or 0.0) - (least.value or 0.0)
    quantile = _imbens_manski(gap / (wide / z) if wide > 0 else inf, level)
    least, most = ends(2 * _normal(quantile) - 1)
    low = least.value if least.low is None else least.low
    high = most.value if most.high is None else most.high
    assert low is not None and high is not None  # there are scores
    return Interval(value, min(low, value), max(high, value), level, n, WHATEVER_MISSING)


def _imbens_manski(gap: float, level: float) -> float:
    """The quantile for two ends that lie ``gap`` standard errors apart, by halving."""
    low, high = z_value(2 * level - 1) if level > 0.5 else 0.0, z_value(level)
    for _ in range(60):
        middle = (low + high) / 2
        if _normal(middle + gap) - _normal(-middle) < level:
            low = middle
        else:
            high = middle
    return high


def _normal(z: float) -> float:
    return erfc(-z / sqrt(2)) / 2


def tail_of(level: float) -> float:
    """The probability of an error on each side; `ValueError` unless 0 < ``level`` < 1."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1 (0.95 for 95 %), got {level}")
    return (1 - level) / 2


def _check_counts(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be within 0 and n, got {successes} of {n}")


def check_population(n: int, population: int) -> None:
    """Refuse more items than there are, with `ValueError`."""
    if n > population:
        raise ValueError(f"{n} items cannot be drawn from a population of {population}")


def _wilson_bounds(rate: float, n: float, z: float) -> tuple[float, float]:
    scale = 1 + z * z / n
    center = (rate + z * z / (2 * n)) / scale
    half = z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / scale
    return center - half, center + half


def _exact_low(successes: int, n: int, tail: float) -> float:
    """The rate at which this many successes or more have a probability of ``tail``."""
    if successes == 0:
        return 0.0
    if successes == n:
        return float(tail ** (1 / n))
    from scipy.special import betaincinv

    return float(betaincinv(successes, n - successes + 1, tail))


def _around(
    rate: float, bounds: tuple[float, float], level: float, n: int, method: str
) -> Interval:
    # Rounding may leave a bound 1e-17 beyond 0 or 1, or short of a rate that is 0 or 1.
    low, high = max(0.0, min(bounds[0], rate)), min(1.0, max(bounds[1], rate))
    return Interval(rate, low, high, level, n, method)


def hypergeometric(successes: int, n: int, population: int, level: float = 0.95) -> Interval:
    """Bound the rate of a dataset so that the coverage is never below the level.

    All numbers of passing items in the dataset are kept for which what was seen, or something
    more extreme, has a probability above half the error on its side.

    Raises:
        ValueError: Not ``0 <= successes <= n <= population``.

    Konijn (1973); Wright (1991), "Exact confidence bounds when sampling from small finite
    universes". The tail probabilities are those of ``scipy.stats.hypergeom``.
    """
    tail = tail_of(level)
    if not 0 <= successes <= n <= population:
        raise ValueError(f"{successes} of {n} out of {population} is no sample")
    method = "hypergeometric, exact"
    if n == 0:
        return Interval(None, None, None, level, 0, method)
    rate = successes / n
    if n == population:
        return Interval(rate, rate, rate, level, n, ALL_SCORED)
    most = _most(successes, n, population, tail)
    least = population - _most(n - successes, n, population, tail)
    return Interval(rate, least / population, most / population, level, n, method)


def _most(successes: int, n: int, population: int, tail: float) -> int:
    """The greatest number in the dataset under which as few successes are not too unlikely."""
    from scipy.stats import hypergeom

    low, high = successes, population - (n - successes)
    while low < high:
        middle = (low + high + 1) // 2
        if float(hypergeom.cdf(successes, population, middle, n)) > tail:
            low = middle
        else:
            high = middle - 1
    return low
