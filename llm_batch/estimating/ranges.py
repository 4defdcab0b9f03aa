"""A figure in three cases, and how far off the mean of what has not been seen may be.

Lengths of answers and times of calls are skewed: most are short, some are very long. At 10 to 50
values Student's interval then covers the mean too rarely (75 to 89 % at nominal 90 %, lognormal
with a log-sd of 0.6 to 1.2), because the mean and its error are small together. So it is joined
with the modified Cox interval for the mean of a lognormal (Olsson 2005, Journal of Statistics
Education 13(1), method of section 3.4), and both take a stricter quantile while values are few.
Simulated over lognormal, gamma, Weibull, capped, uniform and normal lengths this covers 91 to
99 % at n = 10, 20 and 50 (``benchmarks/estimate.py coverage``).

No method sees what did not occur: when one answer in 50 runs on to ``max_tokens``, a sample of 50
misses all of them in 36 of 100 cases. So where answers have a cap, the share of them that the
sample may have missed at it, exactly bounded, is given the price of the cap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, hypot, inf, lgamma, log, log1p, pi, sqrt, tan
from typing import NamedTuple

from llm_batch.records import Interval
from llm_batch.stats.interval import t_value
from llm_batch.stats.sizes import may_miss


class Span(NamedTuple):
    """A figure in the low, the expected and the high case."""

    low: float
    value: float
    high: float

    def times(self, factor: float) -> Span:
        return Span(self.low * factor, self.value * factor, self.high * factor)

    def plus(self, other: Span) -> Span:
        """All cases added, low to low and high to high: they are taken to come together."""
        return Span(self.low + other.low, self.value + other.value, self.high + other.high)

    def interval(self, n: int, method: str, level: float = 0.0) -> Interval:
        """As a range that is assumed (level 0) or measured; ``n`` items were looked at for it."""
        return Interval(self.value, self.low, self.high, level, n, method)

    def by(self, other: Span) -> Span:
        """The product, low by low and high by high; both are at least 0."""
        return Span(self.low * other.low, self.value * other.value, self.high * other.high)

    def whole(self) -> Span:
        return Span(round(self.low), round(self.value), round(self.high))


NOTHING = Span(0.0, 0.0, 0.0)


def exactly(value: float) -> Span:
    return Span(value, value, value)


def total(spans: Iterable[Span]) -> Span:
    result = NOTHING
    for span in spans:
        result = result.plus(span)
    return result


#: Confidence level of the sampling error that ranges include.
LEVEL_OF_COUNTS = 0.95


class Moments:
    __slots__ = ("count", "squares", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.squares = 0.0

    def add(self, value: float, times: int = 1) -> None:
        self.count += times
        self.total += times * value
        self.squares += times * value * value

    def error_of_mean(self, population: int) -> float:
        """Half width of the interval for the mean of a population this is a sample of.

        Student's t with the finite population correction (Cochran 1977, eq. 2.20), as
        `llm_batch.stats.means.mean_t`, but without scipy. One item says nothing of the
        spread: its mean may then be off by as much as it is.
        """
        if self.count >= population or not self.count:
            return 0.0
        mean = self.total / self.count
        if self.count == 1:
            return abs(mean)
        variance = max(0.0, (self.squares - self.count * mean * mean) / (self.count - 1))
        unseen = 1 - self.count / population
        return t_value(LEVEL_OF_COUNTS, self.count - 1) * sqrt(variance * unseen / self.count)


class SpanMoments:
    __slots__ = ("cases",)

    def __init__(self) -> None:
        self.cases = (Moments(), Moments(), Moments())

    @property
    def count(self) -> int:
        return self.cases[0].count

    def add(self, span: Span, times: int = 1) -> None:
        for moments, value in zip(self.cases, span, strict=True):
            moments.add(value, times)

    def projected(self, items: float, population: int) -> Span:
        """The sum over so many items of a population; see `Moments.error_of_mean`."""
        low, value, high = (moments.total / moments.count for moments in self.cases)
        return Span(
            max(0.0, low - self.cases[0].error_of_mean(population)) * items,
            value * items,
            (high + self.cases[2].error_of_mean(population)) * items,
        )


#: Confidence level of what is projected from measured calls.
LEVEL = 0.9


#: With fewer values an interval would be made of the assumption alone.
FEWEST = 3


# Share of the error probability that is given up for few values: 3/n.
_STRICTER = 3.0


#: How far off a mean of one or two values is taken to be.
_GUESS = 3.0


def mean_of_unseen(
    values: Sequence[float],
    unseen: float = inf,
    *,
    level: float = LEVEL,
    most: float = inf,
    cap: float = inf,
) -> Span:
    """Bound the mean of ``unseen`` further values of the population that ``values`` are from.

    Args:
        values: At least one, none negative, drawn at random without replacement.
        unseen: How many there are besides. The variance of their mean about that of the values
            is s²(1/n + 1/unseen): the finite population correction for a total of which the
            sample is part (Cochran 1977, section 2.6).
        level: Two-sided, nominal.
        most: No value can be above this.
        cap: Where values end that would have been larger, up to ``most``.

    One or two values give a third to three times their mean. Equal values do not prove that all
    others are: those that may have been missed (`share_unseen`) are taken to be nothing, or twice
    as much.
    """
    n = len(values)
    mean = sum(values) / n
    if n < FEWEST:
        return Span(mean / _GUESS, mean, max(mean, min(most, mean * _GUESS)))
    missed = _at_the_cap(values, cap, level)
    if min(values) == max(values):
        rare = mean * share_unseen(n, level)
        return Span(mean - rare, mean, max(mean, min(most, mean + max(rare, missed))))
    quantile = quantile_for(n, level)
    unknown = sqrt(1 + n / unseen)
    variance = sum((value - mean) ** 2 for value in values) / (n - 1)
    below = above = quantile * sqrt(variance / n)
    positive = [value for value in values if value > 0]
    if len(positive) >= FEWEST:
        cox_below, cox_above = _cox_sides(positive, n, quantile)
        below, above = max(below, cox_below), max(above, cox_above)
    above = hypot(above * unknown, missed)
    return Span(max(0.0, mean - below * unknown), mean, max(mean, min(most, mean + above)))


def _at_the_cap(values: Sequence[float], cap: float, level: float) -> float:
    """How much more the mean is when as many are at the cap as these values allow."""
    if cap == inf:
        return 0.0
    n, count = len(values), sum(value >= cap for value in values)
    if count == n:
        return 0.0
    rest = sum(value for value in values if value < cap) / (n - count)
    return (_most_often(count, n, (1 - level) / 2) - count / n) * (cap - rest)


def _most_often(count: int, n: int, error: float) -> float:
    """The share under which as few as ``count`` of n have no more than this probability.

    Clopper and Pearson (1934), the upper bound, by bisection.
    """
    if count == 0:
        return float(1 - error ** (1 / n))
    low, high = count / n, 1.0
    for _ in range(50):
        share = (low + high) / 2
        if _at_most(count, n, share) > error:
            low = share
        else:
            high = share
    return high


def _at_most(count: int, n: int, share: float) -> float:
    """The probability of at most ``count`` of n where each has this one; 0 < share < 1."""
    logs = (
        lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(share) + (n - k) * log1p(-share)
        for k in range(count + 1)
    )
    return sum(map(exp, logs))


def share_unseen(n: int, level: float = LEVEL) -> float:
    """The greatest share of something rare of which n values may well have shown nothing.

    Half of the error probability is meant: 14 % after 20 values at 90 %.
    """
    return may_miss(n, (1 + level) / 2)


def quantile_for(n: int, level: float = LEVEL) -> float:
    """Student's two-sided quantile for the mean of n values, stricter while n is small."""
    return _quantile(1 - (1 - level) * (1 - min(_STRICTER, n - 1) / n), n - 1)


def _cox_sides(positive: Sequence[float], n: int, quantile: float) -> tuple[float, float]:
    """How far the modified Cox interval reaches below and above the mean of n values.

    Those that are 0 (items that failed) are a share of their own, whose error is added as a
    variance (zero-inflated lognormal, Zhou and Tu 2000, Biometrics 56, the delta method).
    """
    share = len(positive) / n
    mean = sum(positive) / len(positive)
    low, high = _modified_cox(positive, quantile)
    rate = quantile * mean * sqrt(share * (1 - share) / n)
    # The mean of a few need not lie within the interval that the lognormal fits to them.
    return hypot(share * max(0.0, mean - low), rate), hypot(share * max(0.0, high - mean), rate)


def _modified_cox(values: Sequence[float], quantile: float) -> tuple[float, float]:
    logs = [log(value) for value in values]
    n = len(logs)
    mean = sum(logs) / n
    variance = sum((each - mean) ** 2 for each in logs) / (n - 1)
    half = quantile * sqrt(variance / n + variance**2 / (2 * (n - 1)))
    center = mean + variance / 2
    return exp(min(center - half, 700.0)), exp(min(center + half, 700.0))


def _quantile(level: float, df: int) -> float:
    """Student's t, exact for 1 and 2 degrees of freedom, where the expansion is not close."""
    if df == 1:
        return tan(pi * level / 2)
    if df == 2:
        return level * sqrt(2 / (1 - level * level))
    return t_value(level, df)
