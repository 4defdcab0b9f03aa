"""How many items a rate, a mean, a rare failure or a difference needs, and what some number shows.

Scoring every item removes the doubt which items were drawn. What a judge gets wrong stays: judged
anew, the same items would have other verdicts. So the variance of one item has two parts, and the
finite population takes off the first alone. With a perfect judge this is Cochran's formula.

Rates and margins are fractions of one (0.05 is 5 points); means, their margins and standard
deviations are in the unit of the score. Sizes are whole items, rounded up as ``ceil(x - 1e-9)``
so that an exact integer is not pushed up by the last bit of a float, and at least 1. Everything
here is planning by the normal approximation; what was measured is reported by ``interval``.
Sizes of a difference come whole (``…_size``) and before any rounding (``…_n0``), which is what
factors multiply; ``power``, the probability of seeing it, is at least 0.5.
Nothing heavier than the standard library is imported: ``estimate`` needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, expm1, floor, isfinite, lgamma, log1p, sqrt
from statistics import NormalDist

from llm_batch.stats.interval import z_value

#: Where a sample is a smaller share of the dataset, what is said of the dataset and of items like
#: these is nearly the same.
FINITE_SHARE = 0.05


def round_up(size: float) -> int:
    """Whole items: ``ceil(x - 1e-9)``, so that the last bit of a float adds none; at least 1."""
    return max(1, ceil(check_size(size) - 1e-9))


def square(x: float) -> float:
    """The square, infinite where it is too large for a float."""
    return x * x  # x ** 2 raises OverflowError where this gives infinity, which is checked


def z_power(power: float) -> float:
    """The one-sided normal quantile of a power: 0.8 -> 0.8416.

    Raises:
        ValueError: ``power`` is below 0.5, where more items would lower it, or not below 1.
    """
    if not 0.5 <= power < 1:
        raise ValueError(f"power must be at least 0.5 and below 1, got {power}")
    return NormalDist().inv_cdf(power)


def check_fraction(name: str, value: float) -> None:
    """Make sure that a value lies strictly between 0 and 1, else ``ValueError``."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1 (0.05 for 5 points), got {value}")


def check_positive(name: str, value: float) -> None:
    """Make sure that a value is finite and above 0, else ``ValueError``."""
    if not (value > 0 and isfinite(value)):
        raise ValueError(f"{name} must be above 0, got {value}")


def check_size(size: float) -> float:
    """Pass a size on, unless it is beyond any number: then ``ValueError``."""
    if not isfinite(size):
        raise ValueError("the size is beyond any number: ask for a larger margin or difference")
    return size


@dataclass(frozen=True, slots=True)
class SampleSize:
    """How many items a rate needs, with the figures people quote for it.

    Attributes:
        n0: Cochran's size before any rounding (384.146).
        n_classic: ``n0`` to the nearest integer, the figure of textbooks (384, which holds a
            margin of 5.001 points).
        n_min: The least size that holds the margin when the population is large (385).
        n_fpc: The least size that holds it in this population (380 of 30,000); ``None`` without
            a population.
        margin: Half width of the interval, as a fraction of one.
        population: Items in the whole dataset; ``None`` when taken as unlimited.
        rate: The rate it was planned for; 0.5 is the worst case.
    """

    n0: float
    n_classic: int
    n_min: int
    n_fpc: int | None
    level: float
    margin: float
    population: int | None
    rate: float


def cochran(margin: float, level: float = 0.95, rate: float = 0.5) -> float:
    """Give the size n0 = z² p (1 - p) / e², unrounded, for a rate in an unlimited population.

    Args:
        margin: Half width e of the interval, as a fraction of one: 0.05 is 5 points.
        rate: The rate p expected; 0.5 needs most.

    Raises:
        ValueError: An argument does not lie between 0 and 1, or the size is beyond any number.

    Cochran (1977), eq. 4.2. Agrees with statsmodels
    ``samplesize_confint_proportion(method="normal")``. Known answer: 0.05 -> 384.146.
    """
    check_fraction("margin", margin)
    check_fraction("rate", rate)
    return check_size(square(z_value(level) / margin) * rate * (1 - rate))


def sample_size(
    margin: float = 0.05, level: float = 0.95, rate: float = 0.5, population: int | None = None
) -> SampleSize:
    """Say how many items hold a margin on a rate, in a population of a known size or without.

    Args:
        margin: Half width of the interval, as a fraction of one.
        rate: The rate expected; 0.5 needs most.

    Raises:
        ValueError: A fraction does not lie between 0 and 1, or the population is below 1.

    Cochran (1977), eqs. 4.2 and 4.3: n = n0 / (1 + (n0 - 1) / N). Krejcie and Morgan (1970) use
    the same formula and round to nearest (379 at N = 30,000, where it gives 379.30; the least
    size is 380). Known answers: ±5 points at 95 % -> 384 (textbook), 385, and 380 of 30,000.
    """
    n0 = cochran(margin, level, rate)
    return SampleSize(
        n0=n0,
        n_classic=max(1, floor(n0 + 0.5)),
        n_min=round_up(n0),
        n_fpc=None if population is None else finite_size(n0, population),
        level=level,
        margin=margin,
        population=population,
        rate=rate,
    )


def margin_of(
    n: int, level: float = 0.95, rate: float = 0.5, population: int | None = None
) -> float:
    """Give the margin a size holds on a rate: the half width of the interval, a fraction of one.

    Args:
        n: Items scored, at least 1.

    Raises:
        ValueError: ``n`` is below 1 or above the population, or a fraction is not between 0 and 1.

    Cochran (1977), eq. 4.1 solved for the margin; the inverse of ``sample_size``. Known answers
    at 95 % and N = 30,000: 384 -> 0.0497, 500 -> 0.0435, 1,000 -> 0.0305.
    """
    check_fraction("rate", rate)
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if population is not None and n > population:
        raise ValueError(f"{n} items cannot be drawn from a population of {population}")
    unseen = 1.0
    if population is not None:
        unseen = (population - n) / max(1, population - 1)
    return z_value(level) * sqrt(rate * (1 - rate) / n * unseen)


def mean_size(sd: float, margin: float, level: float = 0.95, population: int | None = None) -> int:
    """Say how many items hold a margin on a mean score: (z sd / e)², then the population.

    Args:
        sd: Standard deviation of the scores, from a pilot, in their unit.
        margin: Half width of the interval, in the same unit.

    Raises:
        ValueError: ``sd`` or ``margin`` is not positive, or the population is below 1.

    Cochran (1977), ch. 4. The finite population enters as for rates, n0 / (1 + (n0 - 1) / N),
    which is less than one item more than his n0 / (1 + n0 / N). Agrees with statsmodels
    ``normal_sample_size_one_tail`` at a power of one half. Known answers: sd 1.2, ±0.1 -> 554;
    of 2,000 -> 434.
    """
    check_positive("sd", sd)
    check_positive("margin", margin)
    n0 = check_size(square(z_value(level) * sd / margin))
    return round_up(n0) if population is None else finite_size(n0, population)


def finite_size(n0: float, population: int) -> int:
    """The size that is needed of a population where ``n0`` are of one without end."""
    if population < 1:
        raise ValueError(f"population must be at least 1, got {population}")
    return min(population, round_up(n0 / (1 + (n0 - 1) / population)))


# The same slack as for sizes, on a probability: an exact answer is not pushed off by a float.
_SLACK = 1e-9


def zero_failures_size(rate: float, level: float = 0.95, population: int | None = None) -> int:
    """Say how many items, all without failure, show that failures are rarer than a rate.

    Args:
        rate: The rate of failures to rule out.
        level: One-sided confidence level.

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

    Raises:
        ValueError: ``n`` is below 1 or above the population.

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


@dataclass(frozen=True, slots=True)
class Spread:
    """The variance of one item.

    Attributes:
        drawn: The part that comes from which items are drawn.
        judged: The part that a judge's errors add.
    """

    drawn: float
    judged: float = 0.0

    def times(self, factor: float) -> Spread:
        """Both parts multiplied: clusters do that."""
        return Spread(self.drawn * factor, self.judged * factor)


def rate_spread(
    rate: float, sensitivity: float | None = None, specificity: float | None = None
) -> Spread:
    """The variance of one verdict; with a judge that errs, of the corrected rate.

    Args:
        rate: The share p of passes that is expected, as the judge reports it.
        sensitivity: Share of good answers the judge passes; taken as known. ``None``: no error.
        specificity: Share of bad answers the judge fails; both or none.

    Raises:
        ValueError: A share is out of range, the judge is no better than chance, or no true rate
            makes this judge report ``rate``.

    The variance of the corrected rate (p + specificity - 1) / J is p (1 - p) / J² (Rogan and
    Gladen 1978); of it π (1 - π) is that of the true verdicts.
    """
    check_fraction("rate", rate)
    whole = rate * (1 - rate)
    if sensitivity is None or specificity is None:
        return Spread(whole)
    factor = imperfect_judge_factor(sensitivity, specificity)
    true = (rate + specificity - 1) / (sensitivity + specificity - 1)
    if not -1e-9 <= true <= 1 + 1e-9:
        raise ValueError(
            f"a judge of sensitivity {sensitivity} and specificity {specificity} passes from"
            f" {1 - specificity:.6g} to {sensitivity:.6g} of the items, never {rate}"
        )
    drawn = max(0.0, true * (1 - true))
    return Spread(drawn, max(0.0, whole * factor - drawn))


def mean_spread(sd: float) -> Spread:
    """The variance of one score."""
    check_positive("sd", sd)
    return Spread(sd * sd)


def size_for(
    spread: Spread, margin: float, level: float = 0.95, population: int | None = None
) -> float:
    """Give the size that holds a margin, before rounding; it may be beyond the population.

    Args:
        margin: Half width of the interval, in the unit of the score.

    Raises:
        ValueError: The margin or the population is not positive, or the level out of range.

    (a N / (N - 1) + b) / (1 + a / (N - 1)) with a and b the sizes that either part alone needs;
    for b = 0 that is n0 / (1 + (n0 - 1) / N), Cochran (1977), eq. 4.3.
    """
    check_positive("margin", margin)
    factor = square(z_value(level) / margin)
    drawn, judged = check_size(factor * spread.drawn), check_size(factor * spread.judged)
    if population is None:
        return drawn + judged
    if population < 1:
        raise ValueError(f"population must be at least 1, got {population}")
    others = population - 1
    if not others:
        return judged  # the one item has nobody to be drawn instead of it
    return (drawn * population + judged * others) / (others + drawn)


def whole_size_for(
    spread: Spread, margin: float, level: float = 0.95, population: int | None = None
) -> int | None:
    """The same in whole items; ``None`` when not even all items hold the margin."""
    size = round_up(size_for(spread, margin, level, population))
    return None if population is not None and size > population else size


def margin_for(
    spread: Spread, n: float, level: float = 0.95, population: int | None = None
) -> float:
    """Give the margin that n items hold, in the unit of the score.

    Args:
        n: Items scored, above 0.

    Raises:
        ValueError: ``n`` is not positive or above the population, or the level is out of range.
    """
    check_positive("n", n)
    unseen = 1.0
    if population is not None:
        if n > population:
            raise ValueError(f"{n} items cannot be drawn from a population of {population}")
        unseen = (population - n) / max(1, population - 1)
    return z_value(level) * sqrt((spread.drawn * unseen + spread.judged) / n)


def imperfect_judge_factor(sensitivity: float, specificity: float) -> float:
    """Give the factor by which a judge's errors multiply a size: 1 / J².

    Holds when sensitivity and specificity are known; estimating them costs labels on top.

    Raises:
        ValueError: One is not within [0, 1], or J = sensitivity + specificity - 1 is not above 0:
            such a judge says nothing, whatever the size.

    Rogan and Gladen (1978): the corrected rate is (p + specificity - 1) / J. Known answer: 0.9 and
    0.8 -> 2.041.
    """
    if not (0 <= sensitivity <= 1 and 0 <= specificity <= 1):
        raise ValueError(
            "sensitivity and specificity must be within 0 and 1,"
            f" got {sensitivity} and {specificity}"
        )
    youden = sensitivity + specificity - 1
    # A coin as a judge: 0.7 + 0.3 - 1 is not exactly 0.
    if youden < 1e-9:
        raise ValueError(
            f"a judge of sensitivity {sensitivity} and specificity {specificity} is no better"
            " than chance: no number of items makes up for it"
        )
    return 1 / (youden * youden)


def two_rates_size(p1: float, p2: float, level: float = 0.95, power: float = 0.8) -> int:
    """Say how many items each of two separate groups needs to tell their rates apart.

    [z √(2 p q) + z_power √(p1 q1 + p2 q2)]² / (p1 - p2)² with p the mean of both and q = 1 - p.
    For two models on the same items see ``paired_rates_size``, which needs far fewer.

    Raises:
        ValueError: The rates are equal or not between 0 and 1, or level or power is out of range.

    Fleiss, Levin and Paik (2003), ch. 4, without continuity correction. Agrees with statsmodels
    ``samplesize_proportions_2indep_onetail``. Known answer: 0.80 and 0.83 -> 2,629 a group.
    """
    return round_up(two_rates_n0(p1, p2, level, power))


def two_rates_n0(p1: float, p2: float, level: float = 0.95, power: float = 0.8) -> float:
    """The size of `two_rates_size` before it is rounded."""
    check_fraction("p1", p1)
    check_fraction("p2", p2)
    if p1 == p2:
        raise ValueError(f"no number of items tells equal rates apart: both are {p1}")
    mean = (p1 + p2) / 2
    null, other = sqrt(2 * mean * (1 - mean)), sqrt(p1 * (1 - p1) + p2 * (1 - p2))
    return check_size(square((z_value(level) * null + z_power(power) * other) / (p1 - p2)))


def paired_rates_size(
    delta: float, discordance: float, level: float = 0.95, power: float = 0.8
) -> int:
    """Say how many pairs (items scored under both) tell two pass rates apart by McNemar's test.

    [z √ψ + z_power √(ψ - δ²)]² / δ².

    Args:
        delta: Difference δ of the two pass rates; the sign does not matter.
        discordance: Share ψ of items that one passes and the other fails, at least ``|delta|``.

    Raises:
        ValueError: Not ``0 < |delta| <= discordance <= 1``, or level or power is out of range.

    Connor (1987), after Miettinen (1968). Agrees with statsmodels
    ``normal_sample_size_one_tail``. Known answer: 3 points at a discordance of 9 % -> 783 pairs.
    """
    return round_up(paired_rates_n0(delta, discordance, level, power))


def paired_rates_n0(
    delta: float, discordance: float, level: float = 0.95, power: float = 0.8
) -> float:
    """The size of `paired_rates_size` before it is rounded."""
    if not 0 < abs(delta) <= discordance <= 1:
        raise ValueError(
            "delta must not be 0, nor larger than the discordance, which is at most 1;"
            f" got delta {delta} and discordance {discordance}"
        )
    other = sqrt(max(0.0, discordance - delta * delta))
    return check_size(square((z_value(level) * sqrt(discordance) + z_power(power) * other) / delta))


def margin_rates_size(
    delta: float, discordance: float, margin: float, level: float = 0.95, power: float = 0.8
) -> int | None:
    """Say how many pairs tell on which side of a margin the difference of two pass rates lies.

    [z √(ψ - m²) + z_power √(ψ - δ²)]² / (δ - m)², with the one-sided z of the level; where nothing
    changed, the least n at which the score test rejects.

    Args:
        delta: The true difference δ, second minus first.
        discordance: Share ψ of items that change, at least ``|delta|``.
        margin: The margin m, such as -0.02 for a loss of 2 points.

    Returns:
        ``None`` where δ is the margin, or so close that a billion pairs do not tell.

    As `paired_rates_n0` (Connor 1987), with the variance at the margin in place of that at 0; for
    m = 0 they are equal, at a two-sided ``2 level - 1``. Checked by simulation of the score test.
    Known answers: 0 at a discordance of 10 % and a margin of -2 points -> 1,542; no change at all
    and -2 points -> 133.
    """
    if delta == margin:
        return None
    z = z_value(2 * level - 1)
    if discordance <= 0:
        return round_up(z * z * (1 - abs(margin)) / abs(margin))
    null, other = max(discordance - margin**2, 0.0), max(discordance - delta**2, 0.0)
    size = square((z * sqrt(null) + z_power(power) * sqrt(other)) / (delta - margin))
    return round_up(size) if size < 1e9 else None


def paired_scores_size(
    delta: float,
    variance: float,
    noise_a: float = 0.0,
    noise_b: float = 0.0,
    repeats_a: int = 1,
    repeats_b: int = 1,
    level: float = 0.95,
    power: float = 0.8,
) -> int:
    """Say how many items tell the mean scores of two models on the same items apart.

    (z + z_power)² (w² + s²_A / K_A + s²_B / K_B) / δ².

    Args:
        delta: Difference δ of the mean scores, in their unit; the sign does not matter.
        variance: w², the variance over items of the difference of expected scores. When it was
            measured on single answers it holds the noise too: leave the noise at 0 then.
        noise_a: s²_A, the variance of a score of model A over repeats of one item, averaged.
        noise_b: s²_B, likewise of model B.
        repeats_a: K_A, how often A answers each item.
        repeats_b: K_B, likewise B.

    Raises:
        ValueError: ``delta`` is 0, a variance is negative or all are 0, a repeat count is below
            1, or level or power is out of range.

    Miller (2024), arXiv 2411.00640, section on power analysis. Agrees with statsmodels
    ``normal_sample_size_one_tail``. Known answer: 0.03 at w² = 1/9 without noise -> 969.
    """
    if not (min(variance, noise_a, noise_b) >= 0 and min(repeats_a, repeats_b) >= 1):
        raise ValueError("variances must not be negative and repeats must be at least 1")
    total = variance + noise_a / repeats_a + noise_b / repeats_b
    return round_up(scores_n0(delta, total, level, power))


def scores_n0(delta: float, variance: float, level: float = 0.95, power: float = 0.8) -> float:
    """The size of `paired_scores_size` before it is rounded, for a total variance.

    With the sum of the variances of two models' scores as ``variance`` it is the size of each of
    two separate groups: 2 (z + z_power)² s² / δ² (Cohen 1988, ch. 2).
    """
    check_positive("the size of delta", abs(delta))
    check_positive("the total variance", variance)
    return check_size(square((z_value(level) + z_power(power)) / delta) * variance)


def least_difference(n: float, size: Callable[[float], float], most: float) -> float | None:
    """Give the smallest difference that ``n`` items would find.

    Args:
        n: Items, or pairs, or items a group; a factor on the size divides it.
        size: The size that a difference above 0 needs; larger differences need fewer items.
        most: The largest difference there can be.

    Returns:
        The difference to 1 part in a million; ``None`` when ``n`` items would not even find
        ``most``.
    """
    if size(most) > n:
        return None
    low, high = 0.0, most
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) > n else (low, middle)
    return high
