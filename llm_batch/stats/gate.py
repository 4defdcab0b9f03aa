"""Gates: whether a figure is on the right side of a limit, or the items do not tell.

Each side is tested at the one-sided level. It passes where the wrong side is ruled out and fails
where the right one is; between the two it is undecided, which no rounding up or down hides. An
interval here is two-sided at ``2 level - 1``, so that each end is a one-sided bound at the level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, hypot, isfinite, log, sqrt
from statistics import NormalDist
from typing import Literal

from llm_batch.records import Interval
from llm_batch.stats.clusters import ClusterSums, clustered_mean
from llm_batch.stats.compare import holm, paired_difference, tango_statistic
from llm_batch.stats.interval import clopper_pearson, tail_of
from llm_batch.stats.means import mean_and_sd, mean_t, quantile_interval
from llm_batch.stats.sizes import margin_rates_size, round_up, z_power

Side = Literal["above", "below"]
POWER = 0.8


@dataclass(frozen=True, slots=True)
class Tested:
    """A figure against a limit.

    Attributes:
        interval: Its ends are one-sided bounds; ``None`` where none can be given.
        good: The side of the limit that passes.
        p_failed: Of "it is on the good side, or at the limit"; small where that is ruled out.
            ``None`` where nothing can be tested.
        p_passed: Of "it is on the other side"; likewise.
        needed: Items that would decide it in 80 % of cases, were the figure the true one; ``None``
            where no number of items would, or that is not known.
    """

    interval: Interval
    limit: float
    good: Side
    p_failed: float | None
    p_passed: float | None
    needed: int | None


def decide(tests: Sequence[Tested], level: float) -> list[str]:
    """The verdict of each of several tests that must all pass: passed, failed or undecided.

    Failures are Holm-adjusted, so that a family in which all is well fails in at most
    ``1 - level`` of cases. Passes need no correction: all must pass for the whole to pass, and
    that happens wrongly no more often than for the one that should not (Berger 1982).
    """
    alpha = tail_of(level) * 2
    adjusted = holm([1.0 if test.p_failed is None else test.p_failed for test in tests])
    return [
        "failed"
        if p_failed < alpha
        else "passed"
        if test.p_passed is not None and test.p_passed < alpha
        else "undecided"
        for test, p_failed in zip(tests, adjusted, strict=True)
    ]


def rate_test(gained: int, lost: int, n: int, limit: float, level: float = 0.95) -> Tested:
    """Hold the difference of two pass rates on the same items against a limit.

    Args:
        gained: Items that fail in the first run and pass in the second; ``lost`` the reverse.
        limit: Above which it passes: -0.02 for a loss of less than 2 points.

    Tango (1998): the score test with the limit as the difference, whose one-sided bounds are the
    ends of its interval. Liu et al. (2002) recommend it for non-inferiority. At a limit of 0 it is
    McNemar's test without correction.
    """
    interval = paired_difference(gained, lost, n, _both(level))
    if not n:
        return Tested(interval, limit, "above", None, None, None)
    p_passed = NormalDist().cdf(-tango_statistic(gained, lost, n, limit))
    needed = margin_rates_size((gained - lost) / n, (gained + lost) / n, limit, level, POWER)
    return _sized(Tested(interval, limit, "above", 1 - p_passed, p_passed, needed))


def mean_test(
    differences: Sequence[float], limit: float, level: float = 0.95, width: float | None = None
) -> Tested:
    """Hold a mean of differences, item by item, against a limit, by the paired t test.

    Args:
        limit: Above which it passes.
        width: Greatest score less the least there can be. Where all differences are equal there is
            no spread to judge by, and this bounds what an item that was not seen may add: no more
            than a share of ``1 - (1 - level)^(1/n)`` differ (Hanley and Lippman-Hand 1983).
            Without it nothing is tested then.
    """
    n = len(differences)
    mean, sd = mean_and_sd(differences)
    if mean is not None and sd == 0 and width:
        return _equal(mean, n, limit, level, width + abs(mean))
    if mean is None or not sd:
        return Tested(
            Interval(mean, None, None, _both(level), n, "paired t"),
            limit, "above", None, None, None,
        )  # fmt: skip
    interval = replace(mean_t(differences, _both(level)), method="paired t")
    return _by_t(interval, sd / sqrt(n), n - 1, limit, "above", level)


def clustered_test(
    clusters: Mapping[str, ClusterSums], limit: float, level: float = 0.95
) -> Tested:
    """The same of items in clusters, by Student's t over these (Miller 2024)."""
    found = clustered_mean(clusters, _both(level))
    interval = found.mean
    if interval.value is None or interval.high is None:
        return Tested(interval, limit, "above", None, None, None)
    from scipy.special import stdtrit

    quantile_t = -float(stdtrit(found.clusters - 1, 1 - level))
    error = (interval.high - interval.value) / quantile_t
    return _by_t(interval, error, found.clusters - 1, limit, "above", level)


def ratio_test(
    first: Sequence[float], second: Sequence[float], limit: float, level: float = 0.95
) -> Tested:
    """Hold the ratio of two means on the same items, second by first, against a limit.

    The paired t test of ``second - limit * first``; the bounds are the ratios it does not reject,
    and there are none where the first mean may be 0.

    Args:
        limit: Up to which it passes.

    Raises:
        ValueError: The first mean is not above 0.

    Fieller (1954).
    """
    n = len(first)
    one, two = (mean_and_sd(values)[0] for values in (first, second))
    if one is None or two is None or one <= 0:
        raise ValueError("a ratio needs a mean above 0 to divide by")
    left = [b - limit * a for a, b in zip(first, second, strict=True)]
    mean, sd = mean_and_sd(left)
    value, method = two / one, "fieller"
    if mean is None or sd is None:
        return Tested(
            Interval(value, None, None, _both(level), n, method), limit, "below", None, None, None
        )
    low, high = _fieller(first, second, one, two, level)
    interval = Interval(value, low, high, _both(level), n, method)
    if sd <= 1e-12 * (abs(mean) + limit * one):  # every item costs so many times as much
        over = float(mean <= 1e-12 * limit * one)
        return Tested(interval, limit, "below", over, 1 - over, None)
    found = _by_t(replace(interval, value=mean), sd / sqrt(n), n - 1, 0.0, "below", level)
    return replace(found, interval=interval, limit=limit)


def _fieller(
    first: Sequence[float], second: Sequence[float], one: float, two: float, level: float
) -> tuple[float | None, float | None]:
    from scipy.special import stdtrit

    n = len(first)
    squared = float(stdtrit(n - 1, level)) ** 2 / (n * (n - 1))
    aa = squared * sum((a - one) ** 2 for a in first)
    bb = squared * sum((b - two) ** 2 for b in second)
    ab = squared * sum((a - one) * (b - two) for a, b in zip(first, second, strict=True))
    lead, half = one * one - aa, one * two - ab
    root = half * half - lead * (two * two - bb)
    if lead <= 0:
        return None, None
    return (half - sqrt(max(root, 0.0))) / lead, (half + sqrt(max(root, 0.0))) / lead


def quantile_ratio_test(
    first: Sequence[float], second: Sequence[float], q: float, limit: float, level: float = 0.95
) -> Tested:
    """Hold the ratio of two quantiles, such as of latencies, second by first, against a limit.

    Each has its bounds from order statistics; the bounds of the logarithm of the ratio are made
    from these (Zou and Donner 2008). That the items are the same ones is not used, so the test is
    careful.

    Args:
        limit: Up to which it passes.

    Raises:
        ValueError: The first quantile is not above 0.
    """
    columns = [sorted(values) for values in (first, second)]
    one, two = (quantile_interval(values, q, _both(level)) for values in columns)
    n, method = min(one.n, two.n), "order statistics, log ratio"
    if not one.value or one.value < 0 or two.value is None:
        raise ValueError("a ratio needs a quantile above 0 to divide by")
    value = two.value / one.value
    ends = (one.low, one.high, two.low, two.high)
    if not value or any(end is None or end <= 0 for end in ends):
        return Tested(
            Interval(value, None, None, _both(level), n, method), limit, "below", None, None, None
        )
    low_one, high_one, low_two, high_two = (log(end) for end in ends if end)
    centre = log(value)
    low = centre - hypot(log(two.value) - low_two, high_one - log(one.value))
    high = centre + hypot(high_two - log(two.value), log(one.value) - low_one)
    found = bounded(Interval(centre, low, high, _both(level), n, method), log(limit), "below")
    shown = Interval(value, exp(low), exp(high), _both(level), n, method)
    return replace(found, interval=shown, limit=limit)


def at_least(passed: int, n: int, limit: float, level: float = 0.95) -> Tested:
    """Hold a pass rate against a limit by the exact binomial test; the bounds are Clopper's and
    Pearson's (1934).
    """
    interval = clopper_pearson(passed, n, _both(level))
    if not n:
        return Tested(interval, limit, "above", None, None, None)
    from scipy.special import bdtr

    p_passed = 1 - float(bdtr(passed - 1, n, limit)) if passed else 1.0
    return replace(
        bounded(interval, limit, "above"), p_failed=float(bdtr(passed, n, limit)), p_passed=p_passed
    )


def bounded(interval: Interval, limit: float, good: Side) -> Tested:
    """Hold any figure with bounds against a limit.

    The p-values are those of a normal distribution with the bound that lies towards the limit; they
    fall below ``1 - level`` exactly where that bound does not reach it.
    """
    value, low, high = interval.value, interval.low, interval.high
    if value is None or low is None or high is None:
        return Tested(interval, limit, good, None, None, None)
    z = -NormalDist().inv_cdf(tail_of(interval.level))
    half = value - low if value > limit else high - value
    distance = value - limit
    if half <= 0:
        score = float("inf") if distance > 0 else float("-inf") if distance < 0 else 0.0
    else:
        score = distance / half * z
    p_above = NormalDist().cdf(-score) if isfinite(score) else float(score < 0)
    p_passed = p_above if good == "above" else 1 - p_above
    needed = None
    if distance and half > 0:
        size = interval.n * ((z + z_power(POWER)) / z * half / distance) ** 2
        needed = round_up(size) if size < _MOST else None
    return _sized(Tested(interval, limit, good, 1 - p_passed, p_passed, needed))


#: More items than this are as good as none at all.
_MOST = 1e9


def _both(level: float) -> float:
    """The two-sided level whose ends are one-sided bounds at this one."""
    if not 0.5 < level < 1:
        raise ValueError(f"a one-sided level lies between 0.5 and 1, got {level}")
    return round(2 * level - 1, 12)


def _by_t(
    interval: Interval, error: float, freedom: int, limit: float, good: Side, level: float
) -> Tested:
    from scipy.special import stdtr

    assert interval.value is not None
    distance = interval.value - limit
    p_above = float(stdtr(freedom, -distance / error))
    p_passed = p_above if good == "above" else 1 - p_above
    needed = None
    if distance:
        z = NormalDist().inv_cdf(level) + z_power(POWER)
        size = interval.n * (z * error / distance) ** 2
        needed = round_up(size) if size < _MOST else None
    return _sized(Tested(interval, limit, good, 1 - p_passed, p_passed, needed))


def _equal(value: float, n: int, limit: float, level: float, most: float) -> Tested:
    """All values are equal, and one that was not seen is at most so far away."""
    reach = (1 - (1 - level) ** (1 / n)) * most
    interval = Interval(value, value - reach, value + reach, _both(level), n, "none differs")
    share = min(abs(value - limit) / most, 1.0)
    p_value = (1 - share) ** n
    above, below = (p_value, 1.0) if value > limit else (1.0, p_value)
    if value == limit:
        above = below = 1.0
    needed = None
    if 0 < share < 1:
        size = log(1 - level) / log(1 - share)
        needed = round_up(size) if size < _MOST else None
    return _sized(Tested(interval, limit, "above", below, above, needed))


def _sized(test: Tested) -> Tested:
    """With more items needed than there are: fewer have not decided it."""
    needed = test.needed
    return test if needed is None else replace(test, needed=max(needed, test.interval.n + 1))
