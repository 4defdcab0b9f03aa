"""Differences between two runs, and p-values that stay honest when many are looked at.

A difference is always *second minus first*: above 0 the second is the higher. Rates are shares
of one. On the same items (paired) only those that changed say anything about the difference of
the rates, which is why a paired comparison needs far fewer items than one of different items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import erfc, hypot, sqrt

from llm_batch.records import Interval
from llm_batch.stats.interval import wilson, z_value
from llm_batch.stats.means import mean_and_sd, mean_t


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that any false alarm among all of them is as rare as a single one's.

    Needs no independence and is never weaker than Bonferroni's correction.

    Args:
        p_values: One per test, in any order.

    Returns:
        The adjusted values in the same order, each between its p-value and 1.

    Raises:
        ValueError: A value is not within 0 and 1.

    Holm (1979). Agrees with statsmodels ``multipletests(method="holm")``. Known answer:
    0.01, 0.04, 0.03, 0.005 -> 0.03, 0.06, 0.06, 0.02.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError("p-values must be within 0 and 1")
    adjusted = [0.0] * len(p_values)
    greatest = 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(order):
        greatest = max(greatest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = greatest
    return adjusted


_MANY_TABLES = 100_000

_STEPS = 60  # halvings of an interval of length 2: beyond the precision of a float


def paired_difference(gained: int, lost: int, n: int, level: float = 0.95) -> Interval:
    """Bound the difference of two pass rates on the same items by Tango's score interval.

    Args:
        gained: Items that fail in the first run and pass in the second.
        lost: Items that pass in the first run and fail in the second.
        n: All items with a verdict in both; with 0 the value and the bounds are ``None``.

    Returns:
        ``(gained - lost) / n`` with its bounds. They have width even where nothing changed.

    Raises:
        ValueError: A count is negative, or more items changed than there are.

    Tango (1998), eq. 8 and 9. Known answer, Fagerland, Lydersen and Laake (2014): 1 gained and 7
    lost of 21 -> -0.286, from -0.517 to -0.026.
    """
    z = z_value(level)
    if min(gained, lost) < 0 or gained + lost > n:
        raise ValueError(f"{gained} gained and {lost} lost do not fit {n} items")
    if n == 0:
        return Interval(None, None, None, level, 0, "tango")
    value = (gained - lost) / n

    def excess(difference: float) -> float:
        """The score statistic if this were the true difference; falls as it grows."""
        return tango_statistic(gained, lost, n, difference)

    low = -1.0 if value == -1 else _crossing(excess, z, -1.0, value)
    high = 1.0 if value == 1 else _crossing(excess, -z, value, 1.0)
    return Interval(value, min(low, value), max(high, value), level, n, "tango")


def tango_statistic(gained: int, lost: int, n: int, difference: float) -> float:
    """Give Tango's score statistic of paired counts, for a true difference of the rates.

    It is standard normal under that difference, and falls as it grows; ``n`` is at least 1.
    """
    # The likelihood is greatest, with the difference held, at this share of lost items.
    a = 2.0 * n
    b = -gained - lost + (2 * n - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    share = (sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * share + difference * (1 - difference))
    distance = gained - lost - n * difference
    if variance <= 0:
        return 0.0 if distance == 0 else distance * float("inf")
    return distance / sqrt(variance)


def _crossing(falling: Callable[[float], float], level: float, low: float, high: float) -> float:
    """Where a falling function takes a value, by halving."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if falling(middle) > level:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def mcnemar_exact(gained: int, lost: int) -> float:
    """Give the two-sided p-value of "as many items get better as get worse".

    Returns:
        The exact binomial probability; 1 when nothing changed. At most 5 of changed items can
        never give a value below 0.05.

    Raises:
        ValueError: A count is negative.

    McNemar (1947), exact by the binomial distribution, which is summed by the incomplete beta
    function. Agrees with statsmodels ``mcnemar(exact=True)`` and ``scipy.stats.binomtest``. Known
    answers: 1 and 7 -> 0.0703; 6 and 16 -> 0.0525.
    """
    if min(gained, lost) < 0:
        raise ValueError(f"counts must not be negative, got {gained} and {lost}")
    if gained == lost:
        return 1.0
    from scipy.special import bdtr

    return min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5)))


def mcnemar_mid_p(gained: int, lost: int) -> float:
    """Give the p-value of `mcnemar_exact` with half the probability of what was seen.

    The exact test is made for the worst case and rejects far less often than in 5 % of cases, so
    that a sample which promises a power of 80 % by the usual formulas has 75 %.

    Raises:
        ValueError: A count is negative.

    Lancaster (1961); recommended by Fagerland, Lydersen and Laake (2013), whose known answers are
    1 and 7 -> 0.0391; 6 and 16 -> 0.0347.
    """
    whole = mcnemar_exact(gained, lost)
    if gained == lost:
        return whole
    from scipy.special import bdtr

    n, least = gained + lost, min(gained, lost)
    before = float(bdtr(least - 1, n, 0.5)) if least else 0.0
    return whole - (float(bdtr(least, n, 0.5)) - before)


def paired_mean_difference(
    differences: Sequence[float], level: float = 0.95
) -> tuple[Interval, float | None]:
    """Bound a mean of differences, item by item, and test it against 0.

    Args:
        differences: Second score minus first, one per item, in the unit of the scores.

    Returns:
        The mean with its t interval, and the two-sided p-value. Where all differences are
        equal there is no spread to judge by: bounds and p-value are ``None``.

    Raises:
        ValueError: A difference is NaN or infinite.

    Student (1908). Agrees with ``scipy.stats.ttest_rel``. Known answer, Student's sleep data:
    0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0, 2 against 1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5,
    1.6, 4.6, 3.4 -> 1.58, from 0.70 to 2.46, p = 0.00283.
    """
    mean, sd = mean_and_sd(differences)
    n = len(differences)
    if mean is None or sd is None or sd == 0:
        return Interval(mean, None, None, level, n, "paired t"), None
    from scipy.special import stdtr

    bounds = mean_t(differences, level)
    p_value = 2 * float(stdtr(n - 1, -abs(mean) / (sd / sqrt(n))))
    return Interval(mean, bounds.low, bounds.high, level, n, "paired t"), p_value


def unpaired_difference(
    first: tuple[int, int], second: tuple[int, int], level: float = 0.95
) -> Interval:
    """Bound the difference of two rates on different items by Newcombe's hybrid score interval.

    Args:
        first: Items that passed and all items of the first group.
        second: The same of the second group.

    Returns:
        Second rate minus first with its bounds, all ``None`` when a group is empty. ``n`` counts
        both groups.

    Raises:
        ValueError: More passed than there are, or a count is negative.

    Newcombe (1998), method 10. Agrees with statsmodels ``confint_proportions_2indep(method=
    "newcomb")``. Known answer: 48 of 80, then 56 of 70 -> 0.2, from 0.0524 to 0.3339.
    """
    return difference_of(wilson(*first, level), wilson(*second, level))


def difference_of(one: Interval, two: Interval) -> Interval:
    """Bound the difference of two rates from the bounds that each has: second minus first.

    All ``None`` where one has no bounds. Newcombe (1998); with other intervals than Wilson's, Zou
    and Donner (2008).
    """
    n, level = one.n + two.n, one.level
    if (
        one.value is None
        or two.value is None
        or None in (bounds := (one.low, one.high, two.low, two.high))
    ):
        return Interval(None, None, None, level, n, "newcombe")
    low_one, high_one, low_two, high_two = (bound or 0.0 for bound in bounds)
    value = two.value - one.value
    low = value - hypot(two.value - low_two, high_one - one.value)
    high = value + hypot(high_two - two.value, one.value - low_one)
    return Interval(value, max(low, -1.0), min(high, 1.0), level, n, "newcombe")


def fisher_mid_p(first: tuple[int, int], second: tuple[int, int]) -> float | None:
    """Give the two-sided p-value of "both groups pass at the same rate", however small they are.

    Fisher's exact test with half the probability of the table seen: the full one is made for
    the worst case and rejects far too seldom (Lancaster 1961; Hirji, Tan and Elashoff 1991).

    Returns:
        The probability; ``None`` when a group is empty, 1 when all of both passed or failed.

    Known answer: 0 of 1 and 97 of 100 -> 0.0198, which is half of what the exact test gives.
    """
    (passed, n), (others_passed, others) = first, second
    if not n or not others:
        return None
    total = passed + others_passed
    if total in (0, n + others):
        return 1.0
    low, high = max(0, total - others), min(n, total)
    if high - low > _MANY_TABLES:  # then every cell is expected to be full
        return unpaired_p_value(first, second)
    import numpy
    from scipy.special import gammaln

    k = numpy.arange(low, high + 1)
    logs = -(gammaln(k + 1) + gammaln(n - k + 1) + gammaln(total - k + 1))
    logs -= gammaln(others - total + k + 1)
    chances = numpy.exp(logs - logs.max())
    chances /= chances.sum()
    seen = chances[passed - low]
    as_likely = numpy.isclose(chances, seen, rtol=1e-7, atol=0.0)
    return min(
        1.0, float(chances[(chances < seen) & ~as_likely].sum() + chances[as_likely].sum() / 2)
    )


def unpaired_p_value(first: tuple[int, int], second: tuple[int, int]) -> float | None:
    """Give the two-sided p-value of "both groups pass at the same rate".

    Returns:
        The probability of the chi-squared test with ``n - 1`` in place of ``n``; ``None`` when a
        group is empty, 1 when all of both passed or failed. With fewer than 1 item expected in a
        cell it is not to be trusted.

    Campbell (2007), who compares it with Fisher's exact test and the usual chi-squared. Known
    answer: 48 of 80 and 56 of 70 -> 0.0083.
    """
    (passed_one, n_one), (passed_two, n_two) = first, second
    if not n_one or not n_two:
        return None
    n, passed = n_one + n_two, passed_one + passed_two
    if passed in (0, n):
        return 1.0
    cross = passed_one * (n_two - passed_two) - passed_two * (n_one - passed_one)
    squared = (n - 1) * cross * cross / (passed * (n - passed) * n_one * n_two)
    return erfc(sqrt(squared / 2))
