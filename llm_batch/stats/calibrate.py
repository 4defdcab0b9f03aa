"""How many labels by people are worth their time, before or after the first of them are made.

Nothing heavier than the standard library is imported.

Three designs are kept apart. With labels from a *separate set* (other items, same judge) only the
judge's sensitivity and specificity carry over: ``rogan_gladen``. With labels on a *random subset
of the run* the labels themselves are an unbiased sample, and the judge's verdicts on the rest
make it more precise: ``ppi_rate`` and ``ppi_mean``, which need no assumption on the judge. With
labels drawn *within each verdict* the run's verdicts are the weights: ``by_verdict``.

Intervals are for items like these, and contain the doubt that few labels leave. What cannot be
computed is ``None``; no interval has a width of 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import fsum, hypot, sqrt

from llm_batch.records import Interval
from llm_batch.stats.agreement import BinaryTable
from llm_batch.stats.compare import fisher_mid_p
from llm_batch.stats.interval import jeffreys, wilson, z_value
from llm_batch.stats.means import mean_and_sd

LABELS_ALONE = "wilson, labels alone"


@dataclass(frozen=True, slots=True)
class Corrected:
    """A rate or a mean after correction.

    Attributes:
        interval: The estimate with its bounds; all ``None`` where no correction is possible.
        clipped: Whether a rate came out below 0 or above 1 and was put there: the labels and the
            run then contradict each other.
        weight: How far the judge's verdicts on unlabelled items count (lambda of PPI++), from 0
            (labels alone) to 1; ``None`` where the method has none.
    """

    interval: Interval
    clipped: bool = False
    weight: float | None = None


def youden(table: BinaryTable) -> float | None:
    """Give J = sensitivity + specificity - 1: 1 for a perfect judge, 0 for one that guesses.

    ``None`` when the labels hold no pass or no fail. Youden (1950). Known answer: 45 of 50 and
    40 of 50 -> 0.7.
    """
    positives = table.both_yes + table.only_reference
    negatives = table.both_no + table.only_judge
    if not positives or not negatives:
        return None
    return table.both_yes / positives + table.both_no / negatives - 1


def rogan_gladen(table: BinaryTable, passed: int, n: int, level: float = 0.95) -> Corrected:
    """Correct a judge's pass rate for its errors, as measured on a separate labelled set.

    The estimate is (p + specificity - 1) / J, cut to [0, 1]. It is valid when the judge errs on
    the labelled items as it does on those of the run; the share of passes may differ.

    Args:
        table: Labels (reference) against the judge's verdicts on the labelled items.
        passed: How many items of the run the judge passed.
        n: How many items of the run it gave a verdict on.

    Returns:
        All ``None`` when the labels hold no pass or no fail, when J is not above 0, or without
        verdicts.

    Raises:
        ValueError: Not ``0 <= passed <= n``.

    Rogan and Gladen (1978). The interval is Lee et al. (2025, arXiv 2511.21140), after Lang and
    Reiczigel (2014): counts smoothed by z²/2 of z² and by 1 of 2, and a variance with the
    errors of run, sensitivity and specificity. Agrees with the authors' ``llm_judge_reporting``,
    except that bounds which both lie outside [0, 1] are ``None`` here. Known answer:
    labels 90 of 100 and 80 of 100, 700 of 1,000 passed -> 0.7143, from 0.6387 to 0.8026.
    """
    z = z_value(level)
    if not 0 <= passed <= n:
        raise ValueError(f"passed must be within 0 and n, got {passed} of {n}")
    judge = youden(table)
    method = "rogan-gladen, lee et al."
    labels = table.n
    none = Corrected(Interval(None, None, None, level, labels, method))
    if judge is None or judge <= 0 or n == 0:
        return none
    positives = table.both_yes + table.only_reference
    negatives = table.both_no + table.only_judge
    raw = (passed / n + table.both_no / negatives - 1) / judge
    value = min(max(raw, 0.0), 1.0)
    p, size = (passed + z * z / 2) / (n + z * z), n + z * z
    specific, m0 = (table.both_no + 1) / (negatives + 2), negatives + 2
    sensitive, m1 = (table.both_yes + 1) / (positives + 2), positives + 2
    smooth = sensitive + specific - 1
    if smooth <= 0:
        return none
    rate = (p + specific - 1) / smooth
    of_fails = specific * (1 - specific) / m0
    of_passes = sensitive * (1 - sensitive) / m1
    shift = 2 * z * z * (rate * of_passes - (1 - rate) * of_fails)
    variance = p * (1 - p) / size + (1 - rate) ** 2 * of_fails + rate**2 * of_passes
    half = z * sqrt(variance) / smooth
    interval = _within_one(value, rate + shift - half, rate + shift + half, level, labels, method)
    return Corrected(interval, clipped=raw != value)


def ppi_rate(table: BinaryTable, passed: int, n: int, level: float = 0.95) -> Corrected:
    """Estimate the true pass rate from labels on a random subset and the judge on the rest.

    mean(Y - λF) over labelled + λ mean(F) over unlabelled items, with Y the label, F the
    verdict and λ chosen for the least variance. A useless judge gets λ = 0, which leaves the
    labels alone; so the judge never makes the estimate worse by much, however wrong it is.

    Args:
        passed: How many of the *unlabelled* items the judge passed.
        n: How many unlabelled items it gave a verdict on.

    Returns:
        With no unlabelled items: the labels' rate with Wilson bounds. All ``None`` without labels.

    Raises:
        ValueError: Not ``0 <= passed <= n``.

    Angelopoulos, Duchi and Zrnic (2023, PPI++). The estimate agrees with ppi-python
    ``ppi_mean_pointestimate``. Its interval is a normal one that covers badly with few labels
    (59 % in place of 95 % for 20 labels and a rate of .95), so the bounds come from the same
    formulas with half an item added to each cell of the table, as Agresti and Min (2005) do for
    paired rates: simulated for 20 to 200 labels, rates from .5 to .95 and judges from poor to
    nearly perfect, this covers 94.3 to 100 %. Known answer: labels 40 / 5 / 5 / 50 (both pass,
    judge only, label only, both fail), 200 of 400 others passed -> 0.4815, from 0.4120 to 0.5504.
    """
    z = z_value(level)
    if not 0 <= passed <= n:
        raise ValueError(f"passed must be within 0 and n, got {passed} of {n}")
    labels = table.n
    method = "ppi++, smoothed"
    if labels == 0:
        return Corrected(Interval(None, None, None, level, 0, method))
    if n == 0:
        alone = wilson(table.both_yes + table.only_reference, labels, level)
        return Corrected(
            Interval(alone.value, alone.low, alone.high, level, labels, LABELS_ALONE), weight=0.0
        )
    cells = (table.both_yes, table.only_reference, table.only_judge, table.both_no)
    raw, _, weight = _ppi_cells(cells, passed, n)
    value = min(max(raw, 0.0), 1.0)
    middle, variance, _ = _ppi_cells([cell + 0.5 for cell in cells], passed, n)
    half = z * sqrt(variance)
    interval = _within_one(value, middle - half, middle + half, level, labels, method)
    return Corrected(interval, clipped=raw != value, weight=weight)


def by_verdict(table: BinaryTable, passed: int, n: int, level: float = 0.95) -> Corrected:
    """Estimate the true pass rate from labels that were drawn within each verdict of the judge.

    W · (labels that pass among the judge's passes) + (1 - W) · (the same among its fails), with W
    the judge's pass rate over the run. Each verdict may be labelled as often as one likes: 50
    and 50, say, where the judge passes 9 of 10.

    Returns:
        All ``None`` where a verdict that the run has was not labelled, or without verdicts.

    Raises:
        ValueError: Not ``0 <= passed <= n``.

    Begg and Greenes (1983). Their variance is 0 where no label errs, so the bounds combine those
    of the three rates (MOVER, Zou and Donner
    2008): Jeffreys' for the labels within each verdict, Wilson's for W. Simulated for 10 + 10 to
    50 + 50, 20 + 80 and 80 + 20 labels, runs of 300 and 1,000, rates from .3 to .98 and four
    judges, this covers 93.1 to 99 %. Known answer: 45 of 50 passes and 10 of 50 fails are
    labelled a pass, 800 of 1,000 passed -> 0.76.
    """
    if not 0 <= passed <= n:
        raise ValueError(f"passed must be within 0 and n, got {passed} of {n}")
    method = "begg-greenes, mover"
    of_passes, of_fails = table.both_yes + table.only_judge, table.only_reference + table.both_no
    share = wilson(passed, n, level)
    weight = share.value
    if weight is None or (passed and not of_passes) or (passed < n and not of_fails):
        return Corrected(Interval(None, None, None, level, table.n, method))
    above, above_low, above_high = _rate_and_bounds(table.both_yes, of_passes, level)
    below, below_low, below_high = _rate_and_bounds(table.only_reference, of_fails, level)
    gap = above - below
    to_low, to_high = (
        weight - (share.low or 0.0),
        (1.0 if share.high is None else share.high) - weight,
    )
    if gap < 0:
        to_low, to_high = to_high, to_low
    value = weight * above + (1 - weight) * below
    low = hypot(weight * (above - above_low), (1 - weight) * (below - below_low), gap * to_low)
    high = hypot(weight * (above_high - above), (1 - weight) * (below_high - below), gap * to_high)
    return Corrected(_within_one(value, value - low, value + high, level, table.n, method))


def _rate_and_bounds(passed: int, n: int, level: float) -> tuple[float, float, float]:
    """A rate with Jeffreys' bounds; 0 without items, whose weight is 0."""
    found = jeffreys(passed, n, level)
    return found.value or 0.0, found.low or 0.0, 0.0 if found.high is None else found.high


def drawn_alike(labelled: tuple[int, int], run: tuple[int, int]) -> float | None:
    """Give the p-value of "the labelled items were drawn without regard to the verdict".

    Args:
        labelled: How many of the labelled items the judge passed, and how many there are.
        run: The same of all items of the run with a verdict, the labelled ones included.

    Returns:
        Fisher's exact test of labelled against unlabelled items, mid-p; ``None`` where there
        are none of either.
    """
    (passed, n), (all_passed, everyone) = labelled, run
    if not n or n >= everyone:
        return None
    return fisher_mid_p((passed, n), (all_passed - passed, everyone - n))


def drawn_alike_by_score(labelled: Sequence[float], run: Sequence[float]) -> float | None:
    """Give the p-value of "the labelled items were drawn without regard to the judge's score".

    Returns:
        The rank-sum test of labelled against unlabelled items, with ties and continuity corrected;
        ``None`` where there are none of either.

    Mann and Whitney (1947), by ``scipy.stats.mannwhitneyu``.
    """
    others = Counter(run)
    others.subtract(labelled)
    rest = list(others.elements())
    if not labelled or not rest or len(set(run)) < 2:
        return None
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(labelled, rest, method="asymptotic").pvalue)


def _ppi_cells(cells: Sequence[float], passed: int, n: int) -> tuple[float, float, float]:
    """Estimate, variance and λ from the four cells: both yes, only label, only judge, both no."""
    labels = fsum(cells)
    label_rate = (cells[0] + cells[1]) / labels
    judge_rate = (cells[0] + cells[2]) / labels
    covariance = cells[0] / labels - label_rate * judge_rate
    everyone = labels + n
    pooled = (cells[0] + cells[2] + passed) / everyone
    pooled_variance = pooled * (1 - pooled) * everyone / (everyone - 1)
    weight = _weight(covariance, pooled_variance, labels / n)
    rest = passed / n
    value = label_rate + weight * (rest - judge_rate)
    of_labels = label_rate * (1 - label_rate) - 2 * weight * covariance
    of_labels += weight * weight * judge_rate * (1 - judge_rate)
    variance = max(of_labels, 0.0) / labels + weight * weight * rest * (1 - rest) / n
    return value, variance, weight


def ppi_mean(
    labels: Sequence[float], judged: Sequence[float], everyone: Sequence[float], level: float = 0.95
) -> Corrected:
    """Estimate the mean score people would give, from labels on a random subset and the judge.

    As ``ppi_rate``, for scores in their own unit.

    Args:
        labels: What people gave the labelled items.
        judged: What the judge gave the same items, in the same order.
        everyone: What the judge gave all items of the run, the labelled ones included.

    Returns:
        Without labels all ``None``; with one, or with labels that differ from the judge by the
        same amount everywhere, the bounds are ``None``.

    Raises:
        ValueError: ``labels`` and ``judged`` differ in length, ``everyone`` is shorter, a score
            is NaN or infinite.

    Angelopoulos, Duchi and Zrnic (2023, PPI++). The estimate agrees with ppi-python
    ``ppi_mean_pointestimate``; the bounds use Student's t and the divisor n - 1 where that
    package uses the normal quantile and n.
    """
    z_value(level)
    n, rest = len(labels), len(everyone) - len(labels)
    if n != len(judged) or rest < 0:
        raise ValueError(f"{n} labels, {len(judged)} judged of them, {len(everyone)} in all")
    method = "ppi++, t"
    label_mean, label_sd = mean_and_sd(labels)
    judged_mean, _ = mean_and_sd(judged)
    mean, sd = mean_and_sd(everyone)
    if label_mean is None or judged_mean is None or mean is None:
        return Corrected(Interval(None, None, None, level, 0, method))
    if label_sd is None or sd is None:
        return Corrected(Interval(label_mean, None, None, level, n, method))
    pairs = list(zip(labels, judged, strict=True))
    covariance = fsum((y - label_mean) * (f - judged_mean) for y, f in pairs) / n
    weight = _weight(covariance, sd * sd, n / rest) if rest else 0.0
    residuals = [y - weight * f for y, f in pairs]
    residual_mean, residual_sd = mean_and_sd(residuals)
    assert residual_mean is not None and residual_sd is not None  # there are at least 2
    value, of_rest = residual_mean, 0.0
    if rest and weight:
        rest_mean = (mean * len(everyone) - judged_mean * n) / rest
        squares = sd * sd * (len(everyone) - 1) - fsum((f - mean) ** 2 for f in judged)
        of_rest = max(squares / rest - (rest_mean - mean) ** 2, 0.0) / rest
        value += weight * rest_mean
    if residual_sd == 0:
        return Corrected(Interval(value, None, None, level, n, method), weight=weight)
    from scipy.special import stdtrit

    error = sqrt(residual_sd * residual_sd / n + weight * weight * of_rest)
    half = -float(stdtrit(n - 1, (1 - level) / 2)) * error
    return Corrected(Interval(value, value - half, value + half, level, n, method), weight=weight)


def _weight(covariance: float, variance: float, share: float) -> float:
    """λ of PPI++ for labelled : unlabelled = ``share``, cut to [0, 1]; 0 for a constant judge."""
    if variance <= 0:
        return 0.0
    return min(max(covariance / ((1 + share) * variance), 0.0), 1.0)


def _within_one(
    value: float, low: float, high: float, level: float, n: int, method: str
) -> Interval:
    """Bounds cut to [0, 1] that hold the value, as the smoothed counts may not.

    Bounds that lie outside altogether are ``None``: the run is not what such labels expect.
    """
    if high <= 0 or low >= 1:
        return Interval(value, None, None, level, n, method)
    low, high = min(max(low, 0.0), value), max(min(high, 1.0), value)
    return Interval(value, low, high, level, n, method)


#: What is assumed of a judge that no label has tested: both of its rates.
ASSUMED_RATE = 0.85


@dataclass(frozen=True, slots=True)
class Labelling:
    """What a number of labels is expected to give.

    Attributes:
        margin: Expected half width of the corrected pass rate's interval.
        alone: The same if the judge's verdicts on the other items were not used.
    """

    labels: int
    margin: float
    alone: float


def label_margin(
    labels: int,
    items: int,
    rate: float,
    sensitivity: float = ASSUMED_RATE,
    specificity: float = ASSUMED_RATE,
    level: float = 0.95,
) -> Labelling:
    """Say how narrow the corrected pass rate gets with labels on a random subset of a run.

    z √(var Y / n - cov(Y, F)² / (n (1 + n/N) var F)): the variance of the prediction-powered
    mean at its best weight, for n labelled and N other items.

    Args:
        labels: Items to label, from 1 to ``items``.
        items: Items with a verdict.
        rate: The true pass rate that is expected; 0 and 1 are moved off by half an item.
        sensitivity: Share of true passes that the judge passes.
        specificity: Share of true fails that the judge fails.

    Raises:
        ValueError: ``labels`` is not within 1 and ``items``, or a rate is not within 0 and 1.

    Angelopoulos, Duchi and Zrnic (2023), prop. 2 with the best weight put in. Known answer: 100 of
    1,000, rate .8, both rates .85 -> ±6.3 points, labels alone ±7.8.
    """
    z = z_value(level)
    if not 1 <= labels <= items:
        raise ValueError(f"labels must be within 1 and the {items} items, got {labels}")
    if not all(0 <= share <= 1 for share in (rate, sensitivity, specificity)):
        raise ValueError("rates must be within 0 and 1")
    rate = min(max(rate, 0.5 / items), 1 - 0.5 / items)
    of_labels = rate * (1 - rate)
    judged = rate * sensitivity + (1 - rate) * (1 - specificity)
    covariance = max(rate * sensitivity - rate * judged, 0.0)
    alone = z * sqrt(of_labels / labels)
    others = items - labels
    if not others or not 0 < judged < 1:
        return Labelling(labels, alone, alone)
    saved = covariance * covariance / ((1 + labels / others) * judged * (1 - judged))
    return Labelling(labels, z * sqrt(max(of_labels - saved, 0.0) / labels), alone)


#: Twice as many labels are worth it while they narrow the margin by this much.
WORTH = 0.015

_FIRST = 25


def label_plan(
    items: int,
    rate: float,
    sensitivity: float = ASSUMED_RATE,
    specificity: float = ASSUMED_RATE,
    level: float = 0.95,
) -> tuple[Labelling, ...]:
    """What 25, 50, 100, … labels would give, up to all items of a run; none without items.

    Raises:
        ValueError: As `label_margin`.
    """
    sizes = []
    size = _FIRST
    while size < items:
        sizes.append(size)
        size *= 2
    sizes += [items] if items > 0 else []
    return tuple(label_margin(n, items, rate, sensitivity, specificity, level) for n in sizes)


def worth_labelling(plan: tuple[Labelling, ...]) -> int:
    """The number of labels after which twice as many gain under 1.5 points; 0 without a plan."""
    for here, following in pairwise(plan):
        if here.margin - following.margin < WORTH:
            return here.labels
    return plan[-1].labels if plan else 0
