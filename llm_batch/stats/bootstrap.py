"""The bootstrap, for means of scores whose distribution is small or skewed."""

from __future__ import annotations

from collections.abc import Iterable

from llm_batch.records import Interval
from llm_batch.stats.interval import mean_and_sd

#: Resamples, as a paper would name them.
RESAMPLES = 10_000

#: Beyond this many values the t interval is as good, and resampling takes long.
LARGE = 2_000

#: With fewer values the bootstrap is for those who ask for it.
AUTO_LEAST = 30

_BATCH_CELLS = 1 << 22
_SEED = 42


def bca_mean(values: Iterable[float], level: float = 0.95) -> Interval:
    """Bound a mean by the bias-corrected and accelerated bootstrap, 10,000 seeded resamples.

    Args:
        values: One number per item.
        level: Two-sided confidence level.

    Returns:
        The mean with its bounds, which lie within the range of the values. Without spread, or
        with fewer than 2 values, the bounds are ``None``.

    Raises:
        ValueError: A value is NaN or infinite, or ``level`` is not between 0 and 1.

    Efron (1987); Efron and Tibshirani (1993), sec. 14.3. The numerics are those of
    ``scipy.stats.bootstrap``.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1 (0.95 for 95 %), got {level}")
    numbers = list(values)
    mean, sd = mean_and_sd(numbers)
    n, method = len(numbers), f"BCa bootstrap, {RESAMPLES:,} resamples"
    if mean is None or not sd:
        return Interval(mean, None, None, level, n, method)
    import numpy
    from scipy import stats

    found = stats.bootstrap(
        (numpy.array(numbers, dtype=float),),
        numpy.mean,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, _BATCH_CELLS // n),
        confidence_level=level,
        method="BCa",
        rng=numpy.random.default_rng(_SEED),
    ).confidence_interval
    low, high = float(found.low), float(found.high)
    if not low <= mean <= high or low == high:  # a few tied values can give NaN or nothing
        return Interval(mean, None, None, level, n, method)
    return Interval(mean, low, high, level, n, method)


def skewness(values: Iterable[float]) -> float | None:
    """Sample skewness g1 = m3 / m2^1.5; ``None`` without spread. 0 for symmetric values.

    Agrees with ``scipy.stats.skew``.
    """
    numbers = list(values)
    mean, sd = mean_and_sd(numbers)
    if mean is None or not sd:
        return None
    n = len(numbers)
    second = sum((value - mean) ** 2 for value in numbers) / n
    third = sum((value - mean) ** 3 for value in numbers) / n
    return float(third / second**1.5)


def wants_bootstrap(n: int, skew: float | None) -> bool:
    """Whether the scores are too skewed for a t interval: fewer than 25 g1² of them.

    Cochran (1977), sec. 2.15: from there on a normal interval that should be wrong in 5 % of
    cases is wrong in less than 6 %. Below `AUTO_LEAST` values the answer is no: there the
    bootstrap covers less than t does (Hesterberg 2015, sec. 4).
    """
    return skew is not None and AUTO_LEAST <= n < 25 * skew * skew
