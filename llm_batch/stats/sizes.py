"""How many items one rate or one mean needs, and the margin that a size holds.

Rates and margins are fractions of one (0.05 is 5 points); means, their margins and standard
deviations are in the unit of the score. Sizes are whole items, rounded up as ``ceil(x - 1e-9)``
so that an exact integer is not pushed up by the last bit of a float, and at least 1. Everything
here is planning by the normal approximation; what was measured is reported by ``interval``.
Nothing heavier than the standard library is imported: ``estimate`` needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, sqrt

from llm_batch.stats.guards import check_fraction, check_positive, check_size, round_up, square
from llm_batch.stats.interval import z_value


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
        level: Confidence level.
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
        level: Two-sided confidence level.
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
        level: Two-sided confidence level.
        rate: The rate expected; 0.5 needs most.
        population: Items in the whole dataset, at least 1.

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
        n_fpc=None if population is None else _finite_size(n0, population),
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
        level: Two-sided confidence level.
        rate: The rate expected; 0.5 gives the widest margin.
        population: Items in the whole dataset; the margin is 0 when all of them are scored.

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
        level: Two-sided confidence level.
        population: Items in the whole dataset, at least 1.

    Raises:
        ValueError: ``sd`` or ``margin`` is not positive, the population is below 1, or ``level``
            is not between 0 and 1.

    Cochran (1977), ch. 4. The finite population enters as for rates, n0 / (1 + (n0 - 1) / N),
    which is less than one item more than his n0 / (1 + n0 / N). Agrees with statsmodels
    ``normal_sample_size_one_tail`` at a power of one half. Known answers: sd 1.2, ±0.1 -> 554;
    of 2,000 -> 434.
    """
    check_positive("sd", sd)
    check_positive("margin", margin)
    n0 = check_size(square(z_value(level) * sd / margin))
    return round_up(n0) if population is None else _finite_size(n0, population)


def _finite_size(n0: float, population: int) -> int:
    if population < 1:
        raise ValueError(f"population must be at least 1, got {population}")
    return min(population, round_up(n0 / (1 + (n0 - 1) / population)))
