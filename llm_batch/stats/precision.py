"""How closely n items out of N show a rate or a mean, with clusters and a judge that errs.

Scoring every item removes the doubt which items were drawn. What a judge gets wrong stays: judged
anew, the same items would have other verdicts. So the variance of one item has two parts, and the
finite population takes off the first alone. With a perfect judge this is Cochran's formula.
Nothing heavier than the standard library is imported: ``estimate`` needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from llm_batch.stats.design import imperfect_judge_factor
from llm_batch.stats.guards import check_fraction, check_positive, check_size, round_up, square
from llm_batch.stats.interval import z_value


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
        spread: The variance of one item.
        margin: Half width of the interval, in the unit of the score.
        level: Two-sided confidence level.
        population: Items in the whole dataset, N; without it, of very many.

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
        spread: The variance of one item.
        n: Items scored, above 0.
        level: Two-sided confidence level.
        population: Items in the whole dataset; with all of them only the judge's part is left.

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
