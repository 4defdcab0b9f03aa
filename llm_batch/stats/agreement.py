"""How far raters agree: a judge and a reference, several raters, one rater asked again.

Items come as their ratings, with a count of how many items have the same ones: most items of a
run share few combinations, so a million of them stay small. A rater may have left an item out.

Of two raters one is the *reference*, taken to be right, and the other the *judge*. Rates carry
Wilson intervals. What cannot be computed is ``None``, never NaN: without items there is no rate,
and kappa has no meaning when both raters put every item into one and the same class.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import atanh, isfinite, sqrt, tanh
from typing import TYPE_CHECKING, Any, Literal

from llm_batch.records import Interval
from llm_batch.stats.interval import jeffreys, wilson, z_value
from llm_batch.stats.means import mean_t

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]


Weights = Literal["none", "linear", "quadratic"]

#: Ranks of fewer items than this have no bounds.
_FEWEST_RANKED = 5

#: Items added to a table of more than two classes, all its cells together.
_SPREAD_OVER_CELLS = 2.5


@dataclass(frozen=True, slots=True)
class BinaryTable:
    """Counts of items by what the reference and the judge say, each yes or no.

    Attributes:
        both_yes: True positives.
        only_judge: False positives: the judge says yes, the reference no.
        only_reference: False negatives: the reference says yes, the judge no.
        both_no: True negatives.
    """

    both_yes: int = 0
    only_judge: int = 0
    only_reference: int = 0
    both_no: int = 0

    def __post_init__(self) -> None:
        if min(self.both_yes, self.only_judge, self.only_reference, self.both_no) < 0:
            raise ValueError(f"counts must not be negative, got {self}")

    @classmethod
    def counted(cls, verdicts: Mapping[tuple[bool, bool], int]) -> BinaryTable:
        """Of how often each verdict of the reference came with each of the judge."""
        return cls(
            both_yes=verdicts.get((True, True), 0),
            only_judge=verdicts.get((False, True), 0),
            only_reference=verdicts.get((True, False), 0),
            both_no=verdicts.get((False, False), 0),
        )

    @property
    def n(self) -> int:
        """How many items both have judged."""
        return self.both_yes + self.only_judge + self.only_reference + self.both_no

    @property
    def rows(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """The counts as a square: rows are the reference, columns the judge, yes first."""
        return ((self.both_yes, self.only_reference), (self.only_judge, self.both_no))


@dataclass(frozen=True, slots=True)
class Kappa:
    """Agreement beyond chance: 1 is perfect, 0 is what chance gives, below 0 is worse.

    Attributes:
        interval: Kappa with its bounds, cut to [-1, 1]. They have width even for perfect
            agreement, where the standard error is 0: a few items that all agree do not prove that
            all others would.
        standard_error: ``None`` when kappa is undefined.
    """

    interval: Interval
    standard_error: float | None


def agreement(table: BinaryTable, level: float = 0.95) -> Interval:
    """Give the share of items on which judge and reference say the same, with Wilson bounds."""
    return wilson(table.both_yes + table.both_no, table.n, level)


def sensitivity(table: BinaryTable, level: float = 0.95) -> Interval:
    """Give the share of the reference's yes items to which the judge says yes.

    Altman and Bland (1994), with Jeffreys' bounds. Agrees with scikit-learn ``recall_score``.
    Known answer: 9 of 10 -> 0.9, from 0.6187 to 0.9890.
    """
    return jeffreys(table.both_yes, table.both_yes + table.only_reference, level)


def specificity(table: BinaryTable, level: float = 0.95) -> Interval:
    """Give the share of the reference's no items to which the judge says no, with Jeffreys bounds.

    Altman and Bland (1994). Agrees with scikit-learn ``recall_score(pos_label=0)``.
    """
    return jeffreys(table.both_no, table.both_no + table.only_judge, level)


def cohen_kappa(
    counts: Sequence[Sequence[int]], weights: Weights = "none", level: float = 0.95
) -> Kappa:
    """Measure the agreement of two raters beyond what their habits alone would give.

    Args:
        counts: A square table: ``counts[i][j]`` items were put into class i by one rater and
            into class j by the other. Ordered classes stand in their order.
        weights: ``none`` takes every disagreement alike; ``linear`` and ``quadratic`` count a
            disagreement by its distance or its squared distance in classes, for ordered scores.

    Raises:
        ValueError: The table is not square or has fewer than 2 classes, a count is negative,
            or the weights are unknown.

    Bounds of two classes are those of the table with an item more in each cell: with 20 to 100
    items they cover 93.7 % or more, the plain ones 84.8 %. Of more classes they are those of the
    table with two and a half items more, spread evenly over its cells, with Student's t of n/2
    degrees of freedom: of 3 to 10 classes, with all three weights and 20 to 200 items, they cover
    92.9 % or more, the plain ones 56 %.

    Cohen (1960, 1968); standard error by Fleiss, Cohen and Everitt (1969), eq. 8 and 13. Agrees
    with scikit-learn ``cohen_kappa_score`` and statsmodels ``cohens_kappa``. Known answer:
    ((20, 5), (10, 15)) -> 0.4, standard error 0.1270.
    """
    return _kappa(counts, weights, level, False)


def _kappa(
    counts: Sequence[Sequence[float]], weights: Weights, level: float, smooth: bool
) -> Kappa:
    z_value(level)
    k = len(counts)
    if k < 2 or any(len(row) != k for row in counts):
        raise ValueError("counts must be a square table of at least 2 classes")
    if any(count < 0 for row in counts for count in row):
        raise ValueError("counts must not be negative")
    size = sum(map(sum, counts))
    n = round(size)
    method = "kappa" if weights == "none" else f"kappa, {weights} weights"
    rows = [sum(row) for row in counts]
    columns = [sum(row[j] for row in counts) for j in range(k)]
    weight = [[_weight(i, j, k, weights) for j in range(k)] for i in range(k)]
    # With all items of both raters in one class chance agreement is 1 and kappa is 0/0.
    if n == 0 or any(rows[i] == columns[i] == size for i in range(k)):
        return Kappa(Interval(None, None, None, level, n, method), None)
    p = [row / size for row in rows]
    q = [column / size for column in columns]
    cells = [(i, j) for i in range(k) for j in range(k)]
    observed = sum(weight[i][j] * counts[i][j] for i, j in cells) / size
    expected = sum(weight[i][j] * p[i] * q[j] for i, j in cells)
    kappa = (observed - expected) / (1 - expected)
    row_mean = [sum(weight[i][j] * q[j] for j in range(k)) for i in range(k)]
    column_mean = [sum(weight[i][j] * p[i] for i in range(k)) for j in range(k)]
    spread = (
        sum(
            counts[i][j] / size * (weight[i][j] - (row_mean[i] + column_mean[j]) * (1 - kappa)) ** 2
            for i, j in cells
        )
        - (kappa - expected * (1 - kappa)) ** 2
    )
    # Rounding leaves 1e-17 of either sign where the spread is 0.
    error = sqrt(spread / size) / (1 - expected) if spread > 1e-15 else 0.0
    if smooth:
        return Kappa(Interval(kappa, None, None, level, n, method), error)
    # The plain bounds cover 56 to 90 % with 20 to 60 items (simulated).
    more = 1.0 if k == 2 else _SPREAD_OVER_CELLS / k**2
    filled = _kappa([[count + more for count in row] for row in counts], weights, level, True)
    half = z_value(level) * (filled.standard_error or error)
    if k > 2:
        from scipy.special import stdtrit

        half *= -float(stdtrit(n / 2, (1 - level) / 2)) / z_value(level)
    middle = kappa if filled.interval.value is None else filled.interval.value
    low, high = max(-1.0, min(middle - half, kappa)), min(1.0, max(middle + half, kappa))
    return Kappa(Interval(kappa, low, high, level, n, method), error)


def _weight(i: int, j: int, k: int, weights: Weights) -> float:
    """How much of an agreement it is when one rater says class i and the other class j."""
    if weights == "none":
        return float(i == j)
    distance = abs(i - j) / (k - 1)
    if weights == "linear":
        return 1 - distance
    if weights == "quadratic":
        return 1 - distance * distance
    raise ValueError(f"weights must be none, linear or quadratic, got {weights!r}")


@dataclass(frozen=True, slots=True)
class RankAgreement:
    """How far two raters put the same items into the same order: 1 the same, -1 the opposite.

    Attributes:
        kendall: Tau-b: pairs in the same order less pairs in the opposite one, among those that
            neither rater ties.
    """

    spearman: Interval
    kendall: Interval


def rank_agreement(
    labels: Sequence[float], judged: Sequence[float], level: float = 0.95
) -> RankAgreement:
    """Correlate the scores of two raters by their ranks; ties get the mean of theirs.

    Returns:
        All ``None`` where a rater gives all items one score; no bounds for fewer than 5 items, or
        where both say the very same order.

    Raises:
        ValueError: The two differ in length.

    Spearman (1904), Kendall (1945). Agree with ``scipy.stats.spearmanr`` and ``kendalltau``. The
    bounds are jackknifed (Efron and Tibshirani 1993, ch. 11) on Fisher's scale with Student's t:
    the formulas in use (Fieller 1957, Bonett and Wright 2000) know no ties, and scores of a rubric
    are nearly all tied.
    """
    z_value(level)
    n = len(labels)
    if n != len(judged):
        raise ValueError(f"{n} labels and {len(judged)} judged of them")
    import numpy

    x, y = (numpy.asarray(values, dtype=float) for values in (labels, judged))
    untied_x, untied_y, same, u, v, of_x, of_y, of_xx, of_yy = numpy.zeros((9, n))
    for i in range(n):  # a row at a time: all pairs at once take n² of memory
        s, t = numpy.sign(x[i] - x), numpy.sign(y[i] - y)
        untied_x[i], untied_y[i], same[i] = s @ s, t @ t, s @ t
        u[i], v[i] = s.sum() / 2, t.sum() / 2
    for i in range(n):
        s, t = numpy.sign(x - x[i]), numpy.sign(y - y[i])
        of_x[i], of_y[i], of_xx[i], of_yy[i] = s @ v, t @ u, s @ u, t @ v
    # Without item i each centred rank u_j loses half the sign of x_j - x_i.
    ranks = jackknifed(
        (u @ v, u @ u, v @ v),
        (
            u * v + of_x / 2 + of_y / 2 - same / 4,
            u * u + of_xx - untied_x / 4,
            v * v + of_yy - untied_y / 4,
        ),
        level,
        "spearman, jackknife",
    )
    pairs = jackknifed(
        (same.sum(), untied_x.sum(), untied_y.sum()),
        (2 * same, 2 * untied_x, 2 * untied_y),
        level,
        "kendall tau-b, jackknife",
    )
    return RankAgreement(ranks, pairs)


def jackknifed(whole: Any, without: Any, level: float, method: str) -> Interval:
    """A ratio a / √(b c) with bounds, from its parts and what each item has of them."""
    import numpy
    from scipy.special import stdtrit

    n = len(without[0])
    if n < 2 or whole[1] <= 0 or whole[2] <= 0:
        return Interval(None, None, None, level, n, method)
    value = float(min(max(whole[0] / sqrt(whole[1] * whole[2]), -1.0), 1.0))
    left = [all_ - own for all_, own in zip(whole, without, strict=True)]
    if n < _FEWEST_RANKED or abs(value) > 1 - 1e-9 or min(left[1].min(), left[2].min()) <= 0:
        return Interval(value, None, None, level, n, method)
    each = numpy.arctanh(numpy.clip(left[0] / numpy.sqrt(left[1] * left[2]), -1 + 1e-9, 1 - 1e-9))
    error = sqrt((n - 1) / n * float(((each - each.mean()) ** 2).sum()))
    half = -float(stdtrit(n - 2, (1 - level) / 2)) * error
    if half <= 0:
        return Interval(value, None, None, level, n, method)
    return Interval(value, tanh(atanh(value) - half), tanh(atanh(value) + half), level, n, method)


Scale = Literal["nominal", "ordinal", "interval"]

#: Ratings of one item, in any order, ``None`` where a rater has none.
Ratings = Sequence[float | None]

_RESAMPLES = 1000
_SEED = 20110125  # any number; the same data always gives the same bounds
_SCALES = ("nominal", "ordinal", "interval")


@dataclass(frozen=True, slots=True)
class SelfConsistency:
    """How often repeats of a judgement agree.

    Attributes:
        all_agree: Share of items on which all ratings are equal, with Wilson bounds.
        within: Mean over items of the share of pairs of ratings that are equal, with t bounds;
            the bounds are ``None`` where all items are alike.
    """

    all_agree: Interval
    within: Interval


def krippendorff_alpha(
    items: Iterable[Ratings] | Mapping[tuple[float | None, ...], int],
    scale: Scale = "nominal",
    level: float = 0.95,
) -> Interval:
    """Measure the agreement of any number of raters beyond chance: 1 is full, 0 is chance.

    Args:
        items: The ratings of each item, or a count of items by their ratings. Items with fewer
            than two ratings say nothing and are left out.
        scale: ``nominal`` takes all disagreements alike, ``ordinal`` counts how many ratings lie
            between two values, ``interval`` squares their difference.

    Returns:
        ``n`` counts the items with two ratings or more. All ``None`` where alpha is undefined:
        without such items, or when all ratings are one value. The bounds alone are ``None``
        when all agree or fewer than two such items are there.

    Raises:
        ValueError: The scale is unknown, or a rating is NaN or infinite.

    Krippendorff (2011), "Computing Krippendorff's alpha-reliability": its data gives .743
    (nominal), .815 (ordinal) and .849 (interval), and so does the package ``krippendorff``. The
    bounds are percentiles of 1,000 seeded bootstrap samples of items (Zapf et al. 2016). The
    ordinal difference of two values is that of their mid-ranks, so every scale is a sum of
    squares, and no table of pairs is needed.
    """
    z_value(level)
    if scale not in _SCALES:
        raise ValueError(f"scale must be nominal, ordinal or interval, got {scale!r}")
    counted = _pairable(items)
    n = sum(counted.values())
    method = f"krippendorff's alpha, {scale}, bootstrap"
    values = sorted({value for ratings in counted for value in ratings})
    if len(values) < 2:
        return Interval(None, None, None, level, n, method)
    data = _Flat(counted, values, scale)
    alpha = data.alpha(data.weights)
    assert alpha is not None  # there are two values at least
    if all(ratings[0] == ratings[-1] for ratings in counted) or n < 2:
        return Interval(alpha, None, None, level, n, method)
    low, high = _bounds(data, n, level)
    if low == high:
        return Interval(alpha, None, None, level, n, method)
    return Interval(alpha, min(low, alpha), max(high, alpha), level, n, method)


def self_consistency(
    items: Iterable[Ratings] | Mapping[tuple[float | None, ...], int], level: float = 0.95
) -> SelfConsistency:
    """Say how often repeats of one judgement come out the same.

    Unlike alpha this is not corrected for chance: a judge that always says pass is perfectly
    consistent, and useless.

    Raises:
        ValueError: A rating is NaN or infinite.

    Known answer: items (1, 1), (1, 0), (0, 0), (1, 1) -> 3 of 4 agree, 0.75 within items.
    """
    counted = _pairable(items)
    n = sum(counted.values())
    agree = sum(count for ratings, count in counted.items() if len(set(ratings)) == 1)
    shares = [share for ratings, count in counted.items() for share in [_pairs(ratings)] * count]
    within = mean_t(shares, level)
    if within.low == within.high:
        within = Interval(within.value, None, None, level, n, within.method)
    elif within.low is not None and within.high is not None:
        low, high = max(within.low, 0.0), min(within.high, 1.0)
        within = Interval(within.value, low, high, level, n, within.method)
    return SelfConsistency(wilson(agree, n, level), within)


def _pairs(ratings: tuple[float, ...]) -> float:
    """The share of pairs of ratings that are equal."""
    m = len(ratings)
    return sum(count * (count - 1) for count in Counter(ratings).values()) / (m * (m - 1))


def _pairable(
    items: Iterable[Ratings] | Mapping[tuple[float | None, ...], int],
) -> Counter[tuple[float, ...]]:
    """Items with two ratings or more by their ratings, sorted, with those missing left out."""
    counted: Counter[tuple[float, ...]] = Counter()
    pairs = items.items() if isinstance(items, Mapping) else ((ratings, 1) for ratings in items)
    for ratings, count in pairs:
        there = tuple(sorted(float(rating) for rating in ratings if rating is not None))
        if not all(map(isfinite, there)):
            raise ValueError("ratings must be finite numbers; leave the others out")
        if len(there) > 1 and count:
            counted[there] += count
    return counted


class _Flat:
    """All ratings in a row, so that alpha takes a few passes over them.

    Attributes:
        weights: How many items have the ratings of each entry of ``counted``.
    """

    def __init__(
        self, counted: Mapping[tuple[float, ...], int], values: Sequence[float], scale: Scale
    ) -> None:
        import numpy

        self._scale = scale
        self._values = numpy.array(values) - values[0]
        self._sizes = numpy.array([len(ratings) for ratings in counted], dtype=float)
        self._rows = numpy.repeat(numpy.arange(len(counted)), [len(r) for r in counted])
        # Which value each rating is, as a number from 0.
        self._places = numpy.array([bisect_left(values, v) for r in counted for v in r])
        self.weights = numpy.array(list(counted.values()), dtype=float)
        self._unlike = numpy.array([_unlike(ratings) for ratings in counted], dtype=float)

    def alpha(self, weights: Array) -> float | None:
        """Alpha when each entry counts ``weights`` times; ``None`` where it is undefined."""
        import numpy

        n = float(weights @ self._sizes)
        totals = numpy.bincount(self._places, weights[self._rows], len(self._values))
        if numpy.count_nonzero(totals) < 2:
            return None
        if self._scale == "nominal":
            observed = float(weights @ self._unlike)
            expected = n * n - float(totals @ totals)
        else:
            points = self._values
            if self._scale == "ordinal":
                points = numpy.cumsum(totals) - totals / 2
            points = points - float(totals @ points) / n
            given = points[self._places]
            sums = numpy.bincount(self._rows, given)
            squares = numpy.bincount(self._rows, given * given)
            # Over ordered pairs; rounding may leave 1e-17 below 0.
            pairs = numpy.maximum(2 * (self._sizes * squares - sums * sums), 0)
            observed = float(weights @ (pairs / (self._sizes - 1)))
            expected = 2 * n * float(totals @ (points * points))
        return 1 - (n - 1) * observed / expected


def _unlike(ratings: tuple[float, ...]) -> float:
    """Ordered pairs of ratings that differ, by the number of ratings less one."""
    m = len(ratings)
    return m * (1 - _pairs(ratings))


def _bounds(data: _Flat, n: int, level: float) -> tuple[float, float]:
    """Percentiles of alpha over resampled items; resamples of one value only have none."""
    import numpy

    generator = numpy.random.default_rng(_SEED)
    shares = data.weights / n
    drawn = (data.alpha(generator.multinomial(n, shares)) for _ in range(_RESAMPLES))
    alphas = [alpha for alpha in drawn if alpha is not None]
    low, high = numpy.quantile(alphas, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
