"""The exact interval for a rate of a finite dataset, by choice in place of Wilson's."""

from __future__ import annotations

from llm_batch.records import Interval
from llm_batch.stats.interval import ALL_SCORED


def hypergeometric(successes: int, n: int, population: int, level: float = 0.95) -> Interval:
    """Bound the rate of a dataset so that the coverage is never below the level.

    All numbers of passing items in the dataset are kept for which what was seen, or something
    more extreme, has a probability above half the error on its side.

    Args:
        successes: How many of the scored items passed.
        n: How many items were scored; with 0 the value and the bounds are ``None``.
        population: How many items the dataset has.
        level: Two-sided confidence level.

    Raises:
        ValueError: Not ``0 <= successes <= n <= population``, or ``level`` is not between 0 and 1.

    Konijn (1973); Wright (1991), "Exact confidence bounds when sampling from small finite
    universes". The tail probabilities are those of ``scipy.stats.hypergeom``.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1 (0.95 for 95 %), got {level}")
    if not 0 <= successes <= n <= population:
        raise ValueError(f"{successes} of {n} out of {population} is no sample")
    method = "hypergeometric, exact"
    if n == 0:
        return Interval(None, None, None, level, 0, method)
    rate = successes / n
    if n == population:
        return Interval(rate, rate, rate, level, n, ALL_SCORED)
    most = _most(successes, n, population, (1 - level) / 2)
    least = population - _most(n - successes, n, population, (1 - level) / 2)
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
