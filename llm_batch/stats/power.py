"""How many items tell two rates, or two mean scores, apart; what some number of items can tell.

Units and rounding as in ``sizes``. Each size comes whole (``…_size``) and before any rounding
(``…_n0``), which is what factors multiply. ``power``, the probability of seeing the difference, is
at least 0.5. Nothing heavier than the standard library is imported: ``estimate`` needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

from llm_batch.stats.interval import z_value
from llm_batch.stats.sizes import (
    check_fraction,
    check_positive,
    check_size,
    round_up,
    square,
    z_power,
)


def two_rates_size(p1: float, p2: float, level: float = 0.95, power: float = 0.8) -> int:
    """Say how many items each of two separate groups needs to tell their rates apart.

    [z √(2 p q) + z_power √(p1 q1 + p2 q2)]² / (p1 - p2)² with p the mean of both and q = 1 - p.
    For two models on the same items see ``paired_rates_size``, which needs far fewer.

    Raises:
        ValueError: The rates are equal or not between 0 and 1, or level or power is out of range.

    Fleiss, Levin and Paik (2003), ch. 4, without continuity correction. Agrees with statsmodels
    ``samplesize_proportions_2indep_onetail``. Known answer: 0.80 and 0.83 -> 2,629 a group.
    """
    return round_up(two_rates_n0(p1, p2, level, power))


def two_rates_n0(p1: float, p2: float, level: float = 0.95, power: float = 0.8) -> float:
    """The size of `two_rates_size` before it is rounded."""
    check_fraction("p1", p1)
    check_fraction("p2", p2)
    if p1 == p2:
        raise ValueError(f"no number of items tells equal rates apart: both are {p1}")
    mean = (p1 + p2) / 2
    null, other = sqrt(2 * mean * (1 - mean)), sqrt(p1 * (1 - p1) + p2 * (1 - p2))
    return check_size(square((z_value(level) * null + z_power(power) * other) / (p1 - p2)))


def paired_rates_size(
    delta: float, discordance: float, level: float = 0.95, power: float = 0.8
) -> int:
    """Say how many pairs (items scored under both) tell two pass rates apart by McNemar's test.

    [z √ψ + z_power √(ψ - δ²)]² / δ².

    Args:
        delta: Difference δ of the two pass rates; the sign does not matter.
        discordance: Share ψ of items that one passes and the other fails, at least ``|delta|``.

    Raises:
        ValueError: Not ``0 < |delta| <= discordance <= 1``, or level or power is out of range.

    Connor (1987), after Miettinen (1968). Agrees with statsmodels
    ``normal_sample_size_one_tail``. Known answer: 3 points at a discordance of 9 % -> 783 pairs.
    """
    return round_up(paired_rates_n0(delta, discordance, level, power))


def paired_rates_n0(
    delta: float, discordance: float, level: float = 0.95, power: float = 0.8
) -> float:
    """The size of `paired_rates_size` before it is rounded."""
    if not 0 < abs(delta) <= discordance <= 1:
        raise ValueError(
            "delta must not be 0, nor larger than the discordance, which is at most 1;"
            f" got delta {delta} and discordance {discordance}"
        )
    other = sqrt(max(0.0, discordance - delta * delta))
    return check_size(square((z_value(level) * sqrt(discordance) + z_power(power) * other) / delta))


def margin_rates_size(
    delta: float, discordance: float, margin: float, level: float = 0.95, power: float = 0.8
) -> int | None:
    """Say how many pairs tell on which side of a margin the difference of two pass rates lies.

    [z √(ψ - m²) + z_power √(ψ - δ²)]² / (δ - m)², with the one-sided z of the level; where nothing
    changed, the least n at which the score test rejects.

    Args:
        delta: The true difference δ, second minus first.
        discordance: Share ψ of items that change, at least ``|delta|``.
        margin: The margin m, such as -0.02 for a loss of 2 points.

    Returns:
        ``None`` where δ is the margin, or so close that a billion pairs do not tell.

    As `paired_rates_n0` (Connor 1987), with the variance at the margin in place of that at 0; for
    m = 0 they are equal, at a two-sided ``2 level - 1``. Checked by simulation of the score test.
    Known answers: 0 at a discordance of 10 % and a margin of -2 points -> 1,542; no change at all
    and -2 points -> 133.
    """
    if delta == margin:
        return None
    z = z_value(2 * level - 1)
    if discordance <= 0:
        return round_up(z * z * (1 - abs(margin)) / abs(margin))
    null, other = max(discordance - margin**2, 0.0), max(discordance - delta**2, 0.0)
    size = square((z * sqrt(null) + z_power(power) * sqrt(other)) / (delta - margin))
    return round_up(size) if size < 1e9 else None


def paired_scores_size(
    delta: float,
    variance: float,
    noise_a: float = 0.0,
    noise_b: float = 0.0,
    repeats_a: int = 1,
    repeats_b: int = 1,
    level: float = 0.95,
    power: float = 0.8,
) -> int:
    """Say how many items tell the mean scores of two models on the same items apart.

    (z + z_power)² (w² + s²_A / K_A + s²_B / K_B) / δ².

    Args:
        delta: Difference δ of the mean scores, in their unit; the sign does not matter.
        variance: w², the variance over items of the difference of expected scores. When it was
            measured on single answers it holds the noise too: leave the noise at 0 then.
        noise_a: s²_A, the variance of a score of model A over repeats of one item, averaged.
        noise_b: s²_B, likewise of model B.
        repeats_a: K_A, how often A answers each item.
        repeats_b: K_B, likewise B.

    Raises:
        ValueError: ``delta`` is 0, a variance is negative or all are 0, a repeat count is below
            1, or level or power is out of range.

    Miller (2024), arXiv 2411.00640, section on power analysis. Agrees with statsmodels
    ``normal_sample_size_one_tail``. Known answer: 0.03 at w² = 1/9 without noise -> 969.
    """
    if not (min(variance, noise_a, noise_b) >= 0 and min(repeats_a, repeats_b) >= 1):
        raise ValueError("variances must not be negative and repeats must be at least 1")
    total = variance + noise_a / repeats_a + noise_b / repeats_b
    return round_up(scores_n0(delta, total, level, power))


def scores_n0(delta: float, variance: float, level: float = 0.95, power: float = 0.8) -> float:
    """The size of `paired_scores_size` before it is rounded, for a total variance.

    With the sum of the variances of two models' scores as ``variance`` it is the size of each of
    two separate groups: 2 (z + z_power)² s² / δ² (Cohen 1988, ch. 2).
    """
    check_positive("the size of delta", abs(delta))
    check_positive("the total variance", variance)
    return check_size(square((z_value(level) + z_power(power)) / delta) * variance)


def least_difference(n: float, size: Callable[[float], float], most: float) -> float | None:
    """Give the smallest difference that ``n`` items would find.

    Args:
        n: Items, or pairs, or items a group; a factor on the size divides it.
        size: The size that a difference above 0 needs; larger differences need fewer items.
        most: The largest difference there can be.

    Returns:
        The difference to 1 part in a million; ``None`` when ``n`` items would not even find
        ``most``.
    """
    if size(most) > n:
        return None
    low, high = 0.0, most
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) > n else (low, middle)
    return high
