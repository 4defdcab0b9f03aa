"""Confidence sequences: intervals that hold at every look at once.

An ordinary 95 % interval is right in 95 % of the runs if it is looked at once, at an n that was
fixed beforehand. Looked at after every item until it excludes a threshold, it is wrong far more
often. A confidence sequence is wrong in at most 5 % of runs at any n whatsoever, so a run may be
stopped because of what it shows.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, lgamma, log, sqrt

from llm_batch.records import Interval

#: The n at which the sequence for a rate is at its narrowest.
T_OPT = 384
# The error at which Howard et al. tune the mixture, whatever level is asked for.
_ALPHA_OPT = 0.05
_BISECTIONS = 80


def beta_binomial(
    passed: int, n: int, level: float = 0.95, t_opt: float = T_OPT, *, method: str = ""
) -> Interval:
    """Confidence sequence for a pass rate of items like these (sampling without an end).

    The two-sided beta-binomial mixture of Howard, Ramdas, McAuliffe and Sekhon (2021),
    "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49(2),
    with the authors' choice of the mixture's parameters (their package confseq).

    Args:
        passed: Items that passed so far.
        n: Items so far.
        level: Of the whole sequence.
        t_opt: The n at which it is narrowest.
        method: Named in the result; a default otherwise.

    Raises:
        ValueError: The counts or the level make no sense.
    """
    _check(passed, n, level)
    name = method or "beta-binomial confidence sequence"
    if n == 0:
        return Interval(None, None, None, level, 0, name)
    threshold = -log(1.0 - level)

    def excluded(rate: float) -> bool:
        return _log_evidence(rate, passed, n, t_opt) > threshold

    value = passed / n
    low = _edge(excluded, 0.0, value) if passed else 0.0
    high = _edge(excluded, 1.0, value) if passed < n else 1.0
    return Interval(value, low, high, level, n, name)


def prior_posterior_ratio(passed: int, n: int, population: int, level: float = 0.95) -> Interval:
    """Confidence sequence for the pass rate of a finite dataset, drawn without replacement.

    Waudby-Smith and Ramdas (2020), "Confidence sequences for sampling without replacement",
    NeurIPS: those totals whose posterior is not less than 1 - level times their prior, with a
    uniform prior over the number of items that pass. At n = population it is a point.

    Raises:
        ValueError: The counts or the level make no sense.
    """
    _check(passed, n, level)
    if n > population:
        raise ValueError(f"{n} items cannot be drawn from {population}")
    name = "prior-posterior-ratio confidence sequence"
    if n == 0:
        return Interval(None, None, None, level, 0, name)
    failed, rest = n - passed, population - n
    least = log(1.0 - level) - log(population + 1)

    def inside(total: int) -> bool:
        return _log_beta_binomial(total - passed, rest, 1 + passed, 1 + failed) >= least

    # The most probable total; the posterior falls off on both sides of it.
    peak = passed + min(rest, int((rest + 1) * passed / n)) if rest else passed
    low = _least(lambda total: inside(total), passed, peak)
    high = population - _least(
        lambda mirrored: inside(population - mirrored), failed, population - peak
    )
    return Interval(passed / n, low / population, high / population, level, n, name)


class BoundedMean:
    """Confidence sequence for the mean of scores between two bounds, taken one by one.

    The predictable plug-in empirical Bernstein sequence of Waudby-Smith and Ramdas (2024),
    "Estimating means of bounded random variables by betting", JRSS B 86(1), theorem 2.

    Args:
        level: Of the whole sequence.

    Raises:
        ValueError: The bounds or the level make no sense.
    """

    def __init__(self, low: float, high: float, level: float = 0.95) -> None:
        _check(0, 0, level)
        if not low < high:
            raise ValueError(f"scores need two bounds, got {low} and {high}")
        self._low, self._width = low, high - low
        self._level = level
        self._cost = log(2.0 / (1.0 - level))
        self._n = 0
        # With one made-up score in the middle, as the authors have it.
        self._sum, self._squares = 0.5, 0.25
        self._weights = self._weighted = self._spread = 0.0

    def add(self, score: float) -> None:
        """Take in a score.

        Raises:
            ValueError: It is outside of the bounds.
        """
        x = (score - self._low) / self._width
        if not 0.0 <= x <= 1.0:
            raise ValueError(f"{score} is not within the bounds")
        self._n = n = self._n + 1
        mean, variance = self._sum / n, max(1e-9, self._squares / n)
        bet = min(0.5, sqrt(2.0 * self._cost / (variance * n * log(1.0 + n))))
        self._weights += bet
        self._weighted += bet * x
        self._spread += (x - mean) ** 2 * (-log(1.0 - bet) - bet)
        self._sum += x
        self._squares += (x - self._sum / (n + 1)) ** 2

    def interval(self) -> Interval:
        """What is known now."""
        name = "empirical Bernstein confidence sequence"
        if not self._n:
            return Interval(None, None, None, self._level, 0, name)
        centre = self._weighted / self._weights
        reach = (self._cost + self._spread) / self._weights
        value, low, high = (
            self._low + self._width * min(1.0, max(0.0, x))
            for x in (centre, centre - reach, centre + reach)
        )
        return Interval(value, low, high, self._level, self._n, name)


def _log_evidence(rate: float, passed: int, n: int, t_opt: float) -> float:
    """The logarithm of the mixture's evidence against a rate."""
    other = 1.0 - rate
    variance = rate * other
    error = -log(_ALPHA_OPT)
    rho = t_opt * variance / (2.0 * error + log(1.0 + 2.0 * error))
    mixed = max(rho - variance, 1e-3 * variance)
    a, b = mixed / other, mixed / rate
    null = passed * log(rate) + (n - passed) * log(other)
    return _log_beta(a + passed, b + n - passed) - _log_beta(a, b) - null


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _log_beta_binomial(k: int, n: int, a: float, b: float) -> float:
    if not 0 <= k <= n:
        return float("-inf")
    choose = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    return choose + _log_beta(k + a, n - k + b) - _log_beta(a, b)


def _edge(excluded: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where the sequence ends, between a bound of the rates and the observed one.

    Searched on a logarithmic scale near the bound, where rates of 1 in 10,000 are told apart.
    """
    near = 1e-12
    if not excluded(outside + near if outside < inside else outside - near):
        return outside
    small, large = log(near), log(abs(outside - inside))
    sign = 1.0 if outside < inside else -1.0
    for _ in range(_BISECTIONS):
        middle = (small + large) / 2.0
        if excluded(outside + sign * exp(middle)):
            small = middle
        else:
            large = middle
    return outside + sign * exp(small)


def _least(inside: Callable[[int], bool], low: int, peak: int) -> int:
    """The least number for which it holds; it holds at the peak and not below the least."""
    while low < peak:
        middle = (low + peak) // 2
        if inside(middle):
            peak = middle
        else:
            low = middle + 1
    return low


def _check(passed: int, n: int, level: float) -> None:
    if not 0 <= passed <= n:
        raise ValueError(f"{passed} of {n} cannot have passed")
    if not 0.0 < level < 1.0:
        raise ValueError(f"the level must lie between 0 and 1, got {level}")
