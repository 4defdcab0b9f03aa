"""Strata: their shares of a sample, and estimates weighted to the population.

Nothing heavier than the standard library is imported: ``estimate`` needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor, inf, isfinite, sqrt

from llm_batch.records import Interval
from llm_batch.stats.clusters import score_bounds
from llm_batch.stats.interval import ALL_SCORED, z_value


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
        sds: Standard deviation of the scores in each stratum (of a rate: √(p (1 - p))).

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


@dataclass(frozen=True, slots=True)
class Stratum:
    """What was seen of one stratum.

    Attributes:
        population: Its items in the dataset.
        n: Values seen of them.
        total: Their sum.
        squares: The sum of their squares.
    """

    population: int
    n: int
    total: float
    squares: float


def stratified_mean(
    strata: Sequence[Stratum], level: float = 0.95, future: bool = False
) -> Interval:
    """Estimate the mean of a dataset from its strata, each with the weight it has in the dataset.

    The mean is Σ W_h s̄_h with the variance Σ W_h² (1 - n_h/N_h) sd_h² / n_h. A stratum of one
    value, or of equal ones, lends the variance of all values, the latter by the n_h-th part:
    that a few values are equal does not make the others so.

    Args:
        future: Bound the mean of items like these in place of that of the dataset, which is
            then a sample itself: nothing is taken off for the items seen, and the doubt in the
            shares of the strata is added.

    Returns:
        The weighted mean. All ``None`` without values; no bounds where a stratum that has items
        has no value, since nothing is known of it, or where nothing varies.

    Raises:
        ValueError: More values than items.

    Cochran (1977), eq. 5.1, 5.13 and 5.15; degrees of freedom by Satterthwaite (1946), eq. 5.16.
    """
    z_value(level)
    found = _weighted(strata, future, _spreads(strata))
    method = "t, stratified"
    if found.value is None or not found.complete:
        return Interval(found.value, None, None, level, found.n, method)
    if found.all_seen and not future:
        return Interval(found.value, found.value, found.value, level, found.n, ALL_SCORED)
    if found.variance <= 0:
        return Interval(found.value, None, None, level, found.n, method)
    half = found.quantile(level) * sqrt(found.variance)
    return Interval(found.value, found.value - half, found.value + half, level, found.n, method)


def stratified_rate(
    strata: Sequence[Stratum], level: float = 0.95, future: bool = False
) -> Interval:
    """Estimate the rate of a dataset from its strata; ``total`` counts what passed.

    The weighted rate with the score interval at the effective size p (1 - p) / variance, which is
    the size of a simple sample as good as this one (Dean and Pagano 2015). A stratum in which all
    pass adds doubt too: the variance, and p in the size, are those of (passed + 1) / (n + 2) in
    each stratum.

    Returns:
        As `stratified_mean`, with bounds in [0, 1] that have width until all items are scored.

    Raises:
        ValueError: More values than items.

    Simulated with 2 to 100 strata of 2 to 180 values, weights and rates unequal, it covers 93.8 to
    98.5 %; without the smoothing it fell to 28 %.
    """
    rate, size, freedom = effective_rate(strata, future)
    n = sum(stratum.n for stratum in strata)
    method = "wilson, stratified"
    if rate is None or not size:
        z_value(level)
        return Interval(rate, None, None, level, n, method)
    if size == inf:
        return Interval(rate, rate, rate, level, n, ALL_SCORED)
    low, high = score_bounds(rate, size, _quantile(freedom, level))
    return Interval(rate, low, high, level, n, method)


def effective_rate(strata: Sequence[Stratum], future: bool) -> tuple[float | None, float, float]:
    """The weighted rate, the size of a simple sample as good, and the degrees of freedom.

    The size is 0 where a stratum that has items has no value, and infinite where all were seen.
    """
    smooth = [(each.total + 1) / (each.n + 2) for each in strata]
    found = _weighted(strata, future, [p * (1 - p) for p in smooth])
    if found.value is None or not found.complete:
        return found.value, 0.0, 0.0
    if found.variance <= 0:
        return found.value, inf, inf
    whole = sum(each.population for each in strata)
    middle = sum(each.population / whole * p for each, p in zip(strata, smooth, strict=True))
    return found.value, max(middle * (1 - middle) / found.variance, 1.0), found.freedom


@dataclass(frozen=True, slots=True)
class _Weighted:
    value: float | None
    n: int
    variance: float = 0.0
    freedom: float = 0.0
    complete: bool = False
    all_seen: bool = False

    def quantile(self, level: float) -> float:
        return _quantile(self.freedom, level)


def _quantile(freedom: float, level: float) -> float:
    from scipy.special import stdtrit

    return -float(stdtrit(freedom, (1 - level) / 2))


def _weighted(strata: Sequence[Stratum], future: bool, spreads: Sequence[float]) -> _Weighted:
    """The weighted mean and its variance, from the variance of a value within each stratum."""
    if any(stratum.n > stratum.population for stratum in strata):
        raise ValueError("more values than the stratum has items")
    seen = [(stratum, own) for stratum, own in zip(strata, spreads, strict=True) if stratum.n]
    n = sum(stratum.n for stratum, _ in seen)
    if not n:
        return _Weighted(None, 0)
    # What a stratum without values is like nobody knows: the others stand for it, without bounds.
    whole = sum(stratum.population for stratum, _ in seen)
    mean = sum(stratum.population / whole * stratum.total / stratum.n for stratum, _ in seen)
    within = squares = between = 0.0
    for stratum, own in seen:
        share = stratum.population / whole
        unseen = 1.0 if future else 1 - stratum.n / stratum.population
        part = share * share * unseen * own / stratum.n
        within += part
        squares += part * part / max(stratum.n - 1, 1)
        between += share * (stratum.total / stratum.n - mean) ** 2 / whole
    return _Weighted(
        mean,
        n,
        within + (between if future else 0.0),
        max(within * within / squares, 2.0) if squares > 0 else 2.0,
        not any(stratum.population and not stratum.n for stratum in strata),
        n == whole,
    )


def _spreads(strata: Sequence[Stratum]) -> list[float]:
    """The variance of a value within each stratum."""
    n = sum(stratum.n for stratum in strata)
    total, squares = sum(s.total for s in strata), sum(s.squares for s in strata)
    pooled = _variance(n, total, squares)
    return [
        _variance(each.n, each.total, each.squares) or pooled / max(each.n, 1) for each in strata
    ]


def _variance(n: int, total: float, squares: float) -> float:
    """Sample variance (divisor n - 1) from sums; 0 for one value, and for what rounding leaves."""
    if n < 2:
        return 0.0
    left = squares - total * total / n
    return left / (n - 1) if left > 1e-12 * squares else 0.0
