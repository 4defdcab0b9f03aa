"""A cheap judge on all items and a dear one on a random share: what it gives for its money.

The estimate itself is that of `llm_batch.stats.calibrate` with the dear judge's verdicts in the
place of people's labels: `ppi_rate` for passes, `ppi_mean` for scores. In surveys it is called
two-phase or double sampling with a regression estimate, and its variance is

    S² [(1 - ρ²) / n + ρ² / N]

for N items of which n are audited, S the spread of the dear judge's scores over items and ρ their
correlation with those of the cheap one (Cochran 1977, sec. 12.6). What is planned here are N and n.

Nothing heavier than the standard library is imported: ``estimate`` needs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, sqrt

from llm_batch.stats.agreement import BinaryTable
from llm_batch.stats.interval import z_value

#: An audit of fewer items cannot tell how far the two judges go together.
LEAST_AUDITED = 30

_SLACK = 1 + 1e-12  # a budget for a whole number of items must not lose one to rounding


@dataclass(frozen=True, slots=True)
class Costs:
    """What one item costs, in one unit.

    Attributes:
        answer: The steps that are judged; 0 where the answers are there already.
        cheap: A verdict of the cheap judge.
        dear: A verdict of the dear one.
    """

    answer: float
    cheap: float
    dear: float

    def __post_init__(self) -> None:
        if not all(cost >= 0 and isfinite(cost) for cost in (self.answer, self.cheap, self.dear)):
            raise ValueError(f"costs must be 0 or above, got {self}")
        if not self.dear:
            raise ValueError("a dear judge that costs nothing needs no audit")


@dataclass(frozen=True, slots=True)
class Design:
    """Who judges how many items.

    Attributes:
        items: Items that are answered.
        audited: Items of these that the dear judge judges; all, where it judges alone.
        margin: Expected half width of the interval of the rate or mean.
        cost: Of answers and verdicts.
    """

    items: int
    audited: int
    margin: float
    cost: float

    @property
    def share(self) -> float:
        """The share of items that are audited."""
        return self.audited / self.items if self.items else 0.0


def phi(table: BinaryTable) -> float | None:
    """Correlate two verdicts of yes and no; ``None`` where either never varies.

    Yule (1912). Agrees with scikit-learn ``matthews_corrcoef``. Known answer: 40 / 5 / 5 / 50 ->
    0.7980.
    """
    (a, b), (c, d) = table.rows
    square = (a + b) * (c + d) * (a + c) * (b + d)
    return (a * d - b * c) / sqrt(square) if square else None


def with_audit(
    items: int, audited: int, sd: float, correlation: float, costs: Costs, level: float = 0.95
) -> Design:
    """Say what a cheap judge on all items and a dear one on some of them give and cost.

    Args:
        sd: Standard deviation of the dear judge's scores (of a rate: √(p (1 - p))).
        correlation: Of both judges' scores of an item; its sign does not matter.

    Raises:
        ValueError: ``audited`` is not within 1 and ``items``, or another number is out of range.

    Cochran (1977), sec. 12.6. Known answer: 1,000 items, 100 audited, sd 0.4, correlation 0.8 ->
    ±5.1 points, where 100 alone give ±7.8.
    """
    _check(sd, correlation)
    if not 1 <= audited <= items:
        raise ValueError(f"audited must be within 1 and the {items} items, got {audited}")
    squared = correlation * correlation
    margin = z_value(level) * sd * sqrt((1 - squared) / audited + squared / items)
    cost = items * (costs.answer + costs.cheap) + audited * costs.dear
    return Design(items, audited, margin, cost)


def dear_alone(
    budget: float, sd: float, costs: Costs, population: int | None = None, level: float = 0.95
) -> Design:
    """Say what the dear judge alone gives for the same money: fewer items, each judged by it.

    Returns:
        With a margin of infinity where the budget pays for no item.

    Raises:
        ValueError: The budget or ``sd`` is negative or not finite.
    """
    _check(sd, 0.0)
    _check_budget(budget)
    each = costs.answer + costs.dear
    items = floor(budget / each * _SLACK)
    items = items if population is None else min(items, population)
    margin = z_value(level) * sd / sqrt(items) if items else inf
    return Design(items, items, margin, items * each)


def best_share(correlation: float, costs: Costs) -> float:
    """The share of items to audit that makes most of any budget, 1 at most.

    √((1 - ρ²) / ρ² · c_item / c_dear), with c_item the cost of an answer and its cheap verdict:
    the better the cheap judge and the dearer the other, the fewer. 1 for a cheap judge that tells
    nothing, 0 for one that tells all.

    Raises:
        ValueError: ``correlation`` is not within -1 and 1.

    Neyman (1938); Cochran (1977), sec. 12.7. Known answer: correlation 0.8, costs 0, 1 and 20 ->
    0.1677.
    """
    _check(0.0, correlation)
    squared = correlation * correlation
    if squared == 0:
        return 1.0
    return min(1.0, sqrt((1 - squared) / squared * (costs.answer + costs.cheap) / costs.dear))


def best_audit(
    budget: float,
    sd: float,
    correlation: float,
    costs: Costs,
    population: int | None = None,
    level: float = 0.95,
) -> Design | None:
    """Share a budget between items and audits so that the interval is as narrow as it can be.

    The best share, with `LEAST_AUDITED` at least. Once all items of a dataset are judged, what is
    left of the budget goes into audits.

    Args:
        population: Items there are, when the dataset has an end.

    Returns:
        ``None`` where the budget does not pay for `LEAST_AUDITED` audited items. Whether the dear
        judge alone would do better, `dear_alone` says.

    Raises:
        ValueError: A number is out of range.

    Cochran (1977), sec. 12.7.
    """
    _check(sd, correlation)
    _check_budget(budget)
    money, each = budget * _SLACK, costs.answer + costs.cheap
    most = money / each if each else inf
    if population is not None:
        most = min(most, float(population))
    dearly = best_share(correlation, costs) * costs.dear
    items = min(most, money / (each + dearly)) if each + dearly else most
    if money - items * each < LEAST_AUDITED * costs.dear and each:
        items = min(most, (money - LEAST_AUDITED * costs.dear) / each)
    if not LEAST_AUDITED <= items < inf:
        return None
    whole = floor(items)
    audited = min(floor((money - whole * each) / costs.dear), whole)
    if audited < LEAST_AUDITED:
        return None
    return with_audit(whole, audited, sd, correlation, costs, level)


def audited_for(
    margin: float, items: int, sd: float, correlation: float, level: float = 0.95
) -> int | None:
    """Say how many items to audit for a margin; ``None`` when not even all of them give it.

    n = (1 - ρ²) / ((margin / (z S))² - ρ² / N), at least `LEAST_AUDITED` (or all items).

    Raises:
        ValueError: ``margin`` is not above 0, or another number is out of range.

    From the variance of `with_audit`. Known answer: ±5 points, 1,000 items, sd 0.4, correlation
    0.8 -> 106.
    """
    _check(sd, correlation)
    if not (margin > 0 and isfinite(margin)) or items < 1:
        raise ValueError(f"margin must be above 0 and items at least 1, got {margin} and {items}")
    squared = correlation * correlation
    least = min(LEAST_AUDITED, items)
    if sd == 0:
        return least
    left = (margin / (z_value(level) * sd)) ** 2 - squared / items
    if left * items < (1 - squared) / _SLACK or left <= 0:
        return None
    return min(items, max(least, ceil((1 - squared) / left / _SLACK)))


def _check(sd: float, correlation: float) -> None:
    if not (sd >= 0 and isfinite(sd) and -1 <= correlation <= 1):
        raise ValueError(
            f"sd must be 0 or above and the correlation within -1 and 1, got {sd}, {correlation}"
        )


def _check_budget(budget: float) -> None:
    if not (budget >= 0 and isfinite(budget)):
        raise ValueError(f"the budget must be 0 or above, got {budget}")
