"""What is rare: how many items rule a failure rate out, and what a sample may miss.

Rates are fractions of one. Nothing heavier than the standard library is imported: ``estimate``
needs it.
"""

from __future__ import annotations

from math import expm1, lgamma, log1p

from llm_batch.stats.guards import check_fraction, round_up

# The same slack as for sizes, on a probability: an exact answer is not pushed off by a float.
_SLACK = 1e-9


def zero_failures_size(rate: float, level: float = 0.95, population: int | None = None) -> int:
    """Say how many items, all without failure, show that failures are rarer than a rate.

    Args:
        rate: The rate of failures to rule out.
        level: One-sided confidence level.
        population: Items in the whole dataset; then the question is about these, and fewer are
            enough.

    Raises:
        ValueError: ``rate`` or ``level`` does not lie between 0 and 1, or the population is
            below 1.

    ⌈ln(1 - level) / ln(1 - rate)⌉, Hahn and Meeker (1991); the inverse of
    ``interval.one_sided_bound`` of 0 failures. In a population the least n whose sample, drawn
    without replacement, would miss all of the fewest items that make up the rate with a
    probability of at most 1 - level (hypergeometric). Known answers: 5 % -> 59, 1 % -> 299; 1 %
    of 1,000 -> 258.
    """
    check_fraction("rate", rate)
    check_fraction("level", level)
    if population is None:
        return round_up(zero_failures_n0(rate, level))
    if population < 1:
        raise ValueError(f"population must be at least 1, got {population}")
    failing = round_up(rate * population)
    allowed = log1p(-level) + _SLACK
    low, high = 1, population - failing + 1
    while low < high:
        middle = (low + high) // 2
        if _log_missed(middle, failing, population) <= allowed:
            high = middle
        else:
            low = middle + 1
    return low


def zero_failures_n0(rate: float, level: float = 0.95) -> float:
    """The size of `zero_failures_size` in a population without end, before it is rounded."""
    check_fraction("rate", rate)
    check_fraction("level", level)
    return log1p(-level) / log1p(-rate)


def may_miss(n: int, level: float = 0.95, population: int | None = None) -> float:
    """Give the largest share of items that may show in none of n, a fraction of one.

    Whatever more items have is in the sample at least once with a probability of ``level``.

    Args:
        n: Items drawn at random, at least 1.
        level: How sure one wants to be.
        population: Items in the whole dataset; nothing is missed when all are drawn.

    Raises:
        ValueError: ``n`` is below 1 or above the population, or ``level`` is not between 0 and 1.

    1 - (1 - level)^(1/n), "the rule of three" (Hanley and Lippman-Hand 1983); in a population the
    hypergeometric count. Known answers: 384 -> 0.78 %, 384 of 30,000 -> 0.77 %.
    """
    check_fraction("level", level)
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if population is None:
        return -expm1(log1p(-level) / n)
    if n > population:
        raise ValueError(f"{n} items cannot be drawn from a population of {population}")
    missed = log1p(-level) + _SLACK
    low, high = 0, population - n
    while low < high:
        middle = (low + high + 1) // 2
        if _log_missed(n, middle, population) > missed:
            low = middle
        else:
            high = middle - 1
    return low / population


def rules_out(n: int, level: float = 0.95, population: int | None = None) -> float:
    """Give the least share of failing items that n items without a failure rule out.

    In a dataset of N items that is one item more than `may_miss` says: of 500 items 4 go unseen
    by 225 with a probability of 9.1 %, 5 with 4.9 %, so 1 % is ruled out and 0.8 % is not. All
    items rule out whatever fails: 0.

    Args:
        n: Items drawn at random, at least 1.
        level: One-sided confidence level.
        population: Items in the whole dataset.

    Raises:
        ValueError: As for `may_miss`.
    """
    missed = may_miss(n, level, population)
    return missed if population is None or n == population else missed + 1 / population


def _log_missed(n: int, failing: int, population: int) -> float:
    """Log of the probability that n items, drawn without replacement, hold none that fails."""
    rest = population - failing
    if n > rest:
        return -float("inf")
    # ln C(rest, n) / C(population, n); for few draws the product is exact where lgamma is not.
    if min(n, failing) <= 1000:
        few, many = sorted((n, failing))
        return sum(log1p(-many / (population - i)) for i in range(few))
    return (
        lgamma(rest + 1)
        - lgamma(rest - n + 1)
        - lgamma(population + 1)
        + lgamma(population - n + 1)
    )
