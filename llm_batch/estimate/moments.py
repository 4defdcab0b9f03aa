"""The mean of a sample and how far it may be from that of the whole, without scipy."""

from __future__ import annotations

from math import sqrt

from llm_batch.stats.interval import z_value

#: Confidence level of the sampling error that ranges include.
LEVEL = 0.95


class Moments:
    """Count, sum and sum of squares of one figure over items."""

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
        `llm_batch.stats.interval.mean_t`, but without scipy. One item says nothing of the
        spread: its mean may then be off by as much as it is.
        """
        if self.count >= population or not self.count:
            return 0.0
        mean = self.total / self.count
        if self.count == 1:
            return abs(mean)
        variance = max(0.0, (self.squares - self.count * mean * mean) / (self.count - 1))
        unseen = 1 - self.count / population
        return t_value(LEVEL, self.count - 1) * sqrt(variance * unseen / self.count)


def t_value(level: float, df: int) -> float:
    """The two-sided quantile of Student's t, from that of the normal distribution.

    Abramowitz and Stegun (1964), 26.7.5: within 1 % of ``scipy.stats.t`` from 3 degrees of
    freedom on, within 0.1 % from 6 on.
    """
    z = z_value(level)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / float(df) ** power for power, term in enumerate(terms, 1))
