"""Precision, recall and F1 of a classification, by class and over all, with intervals.

Rows of a table are what is right, columns what was answered; the last column is every answer that
is none of the classes. Such an answer misses its own class and is no wrong answer of another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_batch.records import Interval
from llm_batch.stats.clusters import score_bounds
from llm_batch.stats.interval import wilson, z_value

#: How F1 of one class is bounded, and what is averaged over all.
OF_F1 = "wilson of F*"
BY_DELTA = "wilson, delta method"


@dataclass(frozen=True, slots=True)
class Figures:
    """Precision, recall and F1; without a value where they are 0 of 0."""

    precision: Interval
    recall: Interval
    f1: Interval


@dataclass(frozen=True, slots=True)
class Averages:
    """Over all classes: ``macro`` counts each alike, ``weighted`` by its items, ``micro`` the items
    themselves.
    """

    macro: Figures
    weighted: Figures
    micro: Figures


def class_figures(table: Sequence[Sequence[int]], level: float = 0.95) -> list[Figures]:
    """The figures of each class.

    Precision and recall are rates, by Wilson. F1 = 2 F* / (1 + F*) with the rate
    F* = tp / (tp + fp + fn), whose Wilson bounds are carried over: the "indirect" Wilson interval
    of Lam, Gopal and Qian (2023), arXiv 2309.14621. Known answer: tp 40, fp 10, fn 20 -> precision
    0.8, recall 0.6667, F1 0.7273.
    """
    found = []
    for k, row in enumerate(table):
        right, items = row[k], sum(row)
        answered = sum(other[k] for other in table)
        found.append(_figures(right, answered, items, level))
    return found


def _figures(right: int, answered: int, items: int, level: float) -> Figures:
    star = wilson(right, answered + items - right, level)
    f1 = Interval(_f1(star.value), _f1(star.low), _f1(star.high), level, star.n, OF_F1)
    return Figures(wilson(right, answered, level), wilson(right, items, level), f1)


def _f1(star: float | None) -> float | None:
    return None if star is None else 2 * star / (1 + star)


def averages(table: Sequence[Sequence[int]], level: float = 0.95) -> Averages:
    """The figures over all classes.

    A class without an answer counts with a precision of 0, as in scikit-learn with
    ``zero_division=0``. The cells are multinomial and the variance is that of the delta method, as
    in Takahashi, Yamamoto, Kuchiba and Koyama (2022), "Confidence interval for micro-averaged F1
    and macro-averaged F1 scores", Applied Intelligence 52. The bounds are the score interval at the
    number of items that this variance is worth, so that they stay within 0 and 1; no average is
    taken to be worth more items than there are. Simulated coverage of nominal .95 with three
    classes: .92 to .97 at n = 50 and at most .97 at n = 200 and 1,000, at least .92; where the
    rarest class has one item in ten, macro averages cover .88 to .91 at n = 50.
    """
    n = sum(map(sum, table))
    right = sum(row[k] for k, row in enumerate(table))
    answered = sum(sum(row[: len(table)]) for row in table)
    rows = [sum(row) for row in table]
    columns = [sum(row[k] for row in table) for k in range(len(table))]
    even = [1 / len(table)] * len(table)
    shares = [items / n for items in rows] if n else even

    def made(weights: Sequence[float], by_items: bool) -> Figures:
        return Figures(
            *(
                _average(table, rows, columns, n, weights, by_items, kind, level)
                for kind in (_PRECISION, _RECALL, _F1)
            )
        )

    micro = Figures(
        wilson(right, answered, level),
        wilson(right, n, level),
        _micro_f1(table, right, answered, n, level),
    )
    return Averages(made(even, False), made(shares, True), micro)


def _micro_f1(
    table: Sequence[Sequence[int]], right: int, answered: int, n: int, level: float
) -> Interval:
    """Of all items: an error is both a wrong answer and a miss, so F* is no rate."""
    if not n:
        return Interval(None, None, None, level, 0, BY_DELTA)
    below = answered / n + 1
    value = 2 * right / n / below

    def slope(i: int, j: int) -> float:
        return (2 * (i == j) - value * (j < len(table))) / below

    return _bounded(value, _worth(table, n, value, slope), level, n)


# Of each figure, 0 and 1 for whether its denominator has the column and the row of its class; all
# are (denominators / cells of the diagonal), F1 twice.
_Kind = tuple[int, int]
_PRECISION: _Kind = (1, 0)
_RECALL: _Kind = (0, 1)
_F1: _Kind = (1, 1)


def _average(
    table: Sequence[Sequence[int]],
    rows: Sequence[int],
    columns: Sequence[int],
    n: int,
    weights: Sequence[float],
    by_items: bool,
    kind: _Kind,
    level: float,
) -> Interval:
    if not n:
        return Interval(None, None, None, level, 0, BY_DELTA)
    by_column, by_row = kind
    times = by_column + by_row
    below = [by_column * columns[k] + by_row * rows[k] for k in range(len(table))]
    values = [times * table[k][k] / below[k] if below[k] else 0.0 for k in range(len(table))]
    value = sum(weight * each for weight, each in zip(weights, values, strict=True))

    def slope(i: int, j: int) -> float:
        """How the average moves with the share of a cell."""
        moved = weights[i] * times * n / below[i] if i == j and below[i] else 0.0
        if by_row and below[i]:
            moved -= weights[i] * values[i] * n / below[i]
        if by_column and j < len(table) and below[j]:
            moved -= weights[j] * values[j] * n / below[j]
        return moved + (values[i] if by_items else 0.0)

    return _bounded(min(1.0, value), _worth(table, n, value, slope), level, n)


def _bounded(value: float, size: float, level: float, n: int) -> Interval:
    return Interval(value, *score_bounds(value, size, z_value(level)), level, n, BY_DELTA)


def _worth(
    table: Sequence[Sequence[int]], n: int, value: float, slope: Callable[[int, int], float]
) -> float:
    """The number of items whose rate would have the variance of the average."""
    cells = [
        (count / n, slope(i, j))
        for i, row in enumerate(table)
        for j, count in enumerate(row)
        if count
    ]
    mean = sum(share * each for share, each in cells)
    variance = sum(share * (each - mean) ** 2 for share, each in cells)
    spread = value * (1 - value)
    return min(float(n), n * spread / variance) if variance > 0 and spread > 0 else float(n)
