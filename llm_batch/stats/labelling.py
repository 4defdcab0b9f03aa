"""How many labels by people are worth their time, before or after the first of them are made.

Nothing heavier than the standard library is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

from llm_batch.stats.interval import z_value

#: What is assumed of a judge that no label has tested: both of its rates.
ASSUMED_RATE = 0.85

#: Twice as many labels are worth it while they narrow the margin by this much.
WORTH = 0.015

_FIRST = 25


@dataclass(frozen=True, slots=True)
class Labelling:
    """What a number of labels is expected to give.

    Attributes:
        labels: How many items are labelled.
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
        level: Two-sided confidence level of the interval.

    Raises:
        ValueError: ``labels`` is not within 1 and ``items``, a rate is not within 0 and 1, or
            ``level`` is not between 0 and 1.

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
