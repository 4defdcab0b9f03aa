"""What formulas for sizes share: arguments checked, sizes rounded up, one-sided quantiles.

Nothing heavier than the standard library is imported: ``estimate`` needs it.
"""

from __future__ import annotations

from math import ceil, isfinite
from statistics import NormalDist


def round_up(size: float) -> int:
    """Whole items: ``ceil(x - 1e-9)``, so that the last bit of a float adds none; at least 1."""
    return max(1, ceil(check_size(size) - 1e-9))


def square(x: float) -> float:
    """The square, infinite where it is too large for a float."""
    return x * x  # x ** 2 raises OverflowError where this gives infinity, which is checked


def z_power(power: float) -> float:
    """The one-sided normal quantile of a power: 0.8 -> 0.8416.

    Raises:
        ValueError: ``power`` is below 0.5, where more items would lower it, or not below 1.
    """
    if not 0.5 <= power < 1:
        raise ValueError(f"power must be at least 0.5 and below 1, got {power}")
    return NormalDist().inv_cdf(power)


def check_fraction(name: str, value: float) -> None:
    """Make sure that a value lies strictly between 0 and 1, else ``ValueError``."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1 (0.05 for 5 points), got {value}")


def check_positive(name: str, value: float) -> None:
    """Make sure that a value is finite and above 0, else ``ValueError``."""
    if not (value > 0 and isfinite(value)):
        raise ValueError(f"{name} must be above 0, got {value}")


def check_size(size: float) -> float:
    """Pass a size on, unless it is beyond any number: then ``ValueError``."""
    if not isfinite(size):
        raise ValueError("the size is beyond any number: ask for a larger margin or difference")
    return size
