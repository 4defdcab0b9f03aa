"""Several scores of one item: their weighted sum, and how far they say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import fsum, isfinite
from typing import TYPE_CHECKING, Any

from llm_batch.records import Interval
from llm_batch.stats.agreement import jackknifed, rank_agreement
from llm_batch.stats.interval import z_value

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

#: Beyond this many items ranks are correlated by a way that takes no pairs of items.
_MANY = 1_500


def weighted_sum(scores: Mapping[str, float | None], weights: Mapping[str, float]) -> float | None:
    """Add the scores of one item, each times its weight.

    Returns:
        ``None`` where a score with a weight other than 0 is missing: a sum of the others is no
        such sum.

    Raises:
        ValueError: A weight is not finite, or of no score.

    Known answer: 4 and 1 with weights 0.5 and 2 -> 4.
    """
    parts: list[float] = []
    for name, weight in weights.items():
        if not isfinite(weight) or name not in scores:
            raise ValueError(f"the weight of {name!r} must be a finite number and of a score")
        score = scores[name]
        if weight and score is None:
            return None
        parts.append(weight * (score or 0.0))
    return fsum(parts)


@dataclass(frozen=True, slots=True)
class Correlation:
    """How far two scores go together over the items that have both.

    Attributes:
        pearson: Of their values: how near they are to a line; of two verdicts it is phi.
        spearman: Of their ranks: how near to any order that both share.
    """

    pearson: Interval
    spearman: Interval


def correlations(
    scores: Mapping[str, Sequence[float | None]], level: float = 0.95
) -> dict[tuple[str, str], Correlation]:
    """Correlate every pair of scores, over the items that have both.

    Args:
        scores: By name, ``scores[name][item]``, all of one length.

    Raises:
        ValueError: Lengths differ, or a score is NaN or infinite.
    """
    if len({len(column) for column in scores.values()}) > 1:
        raise ValueError("every score needs a place, or None, for each item")
    found = {}
    for one, other in combinations(scores, 2):
        both = [
            (x, y)
            for x, y in zip(scores[one], scores[other], strict=True)
            if x is not None and y is not None
        ]
        x, y = [x for x, _ in both], [y for _, y in both]
        found[one, other] = Correlation(pearson(x, y, level), spearman(x, y, level))
    return found


def pearson(x: Sequence[float], y: Sequence[float], level: float = 0.95) -> Interval:
    """Correlate two scores by their values.

    Returns:
        All ``None`` where one does not vary; no bounds for fewer than 5 items, or where all lie
        on one line.

    Raises:
        ValueError: The two differ in length, or a score is NaN or infinite.

    Pearson (1895). Agrees with ``scipy.stats.pearsonr``, whose bounds (Fisher 1921) hold for
    normal scores only; these are jackknifed on Fisher's scale with Student's t, as
    `rank_agreement` has them.
    """
    z_value(level)
    u, v = _columns(x, y)
    n = len(u)
    method = "pearson, jackknife"
    if n < 2 or not (u.any() and v.any()):
        return Interval(None, None, None, level, n, method)
    # Of centred values; without item i sums of products lose n / (n - 1) of its own.
    own = n / (n - 1)
    return jackknifed(
        (float(u @ v), float(u @ u), float(v @ v)),
        (own * u * v, own * u * u, own * v * v),
        level,
        method,
    )


def spearman(x: Sequence[float], y: Sequence[float], level: float = 0.95) -> Interval:
    """Correlate two scores by their ranks; ties get the mean of theirs.

    As `rank_agreement` up to 1,500 items. Of more, what an item adds to the ranks of the others is
    taken from sorted values, without the pairs of items, and is right but for 1/n.

    Raises:
        ValueError: The two differ in length, or a score is NaN or infinite.

    Spearman (1904).
    """
    z_value(level)
    _columns(x, y)
    n = len(x)
    if n <= _MANY:
        return rank_agreement(x, y, level).spearman
    import numpy

    of_x, of_y = numpy.asarray(x, dtype=float), numpy.asarray(y, dtype=float)
    # Centred ranks: half of how many lie below, less half of how many above.
    u, v = (-_above(column, numpy.ones(n)) / 2 for column in (of_x, of_y))
    if not (u.any() and v.any()):
        return Interval(None, None, None, level, n, "spearman, jackknife")
    # Without item i the centred rank of j loses half the sign of x_j - x_i.
    return jackknifed(
        (float(u @ v), float(u @ u), float(v @ v)),
        (
            u * v + _above(of_x, v) / 2 + _above(of_y, u) / 2,
            u * u + _above(of_x, u),
            v * v + _above(of_y, v),
        ),
        level,
        "spearman, jackknife",
    )


def _columns(x: Sequence[float], y: Sequence[float]) -> tuple[Array, Array]:
    """Both scores, less their means; exactly 0 where one does not vary."""
    if len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} scores are no pairs")
    import numpy

    columns = []
    for values in (x, y):
        column = numpy.asarray(values, dtype=float)
        if not numpy.isfinite(column).all():
            raise ValueError("scores must be finite numbers; leave the others out")
        if len(column):
            same = column.min() == column.max()
            column = numpy.zeros(len(column)) if same else column - column.mean()
        columns.append(column)
    return columns[0], columns[1]


def _above(values: Array, weights: Array) -> Array:
    """Σ_j sign(values_j - values_i) weights_j of each i, from sorted values."""
    import numpy

    order = numpy.argsort(values, kind="stable")
    ordered = values[order]
    sums = numpy.concatenate([[0.0], numpy.cumsum(weights[order])])
    below = sums[numpy.searchsorted(ordered, values, "left")]
    above = sums[-1] - sums[numpy.searchsorted(ordered, values, "right")]
    found: Array = above - below
    return found
