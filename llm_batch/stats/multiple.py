"""Several tests at once: p-values that stay honest when many are looked at."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that any false alarm among all of them is as rare as a single one's.

    Needs no independence and is never weaker than Bonferroni's correction.

    Args:
        p_values: One per test, in any order.

    Returns:
        The adjusted values in the same order, each between its p-value and 1.

    Raises:
        ValueError: A value is not within 0 and 1.

    Holm (1979). Agrees with statsmodels ``multipletests(method="holm")``. Known answer:
    0.01, 0.04, 0.03, 0.005 -> 0.03, 0.06, 0.06, 0.02.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError("p-values must be within 0 and 1")
    adjusted = [0.0] * len(p_values)
    greatest = 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(order):
        greatest = max(greatest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = greatest
    return adjusted
