"""How the figures of an estimate read: rounded to what they are worth."""

from __future__ import annotations

from math import floor, log10

from llm_batch.records import Interval

UNKNOWN = "unknown"


def count(value: float | None) -> str:
    """A whole number with separators: ``30,000``."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def counted(n: float, noun: str) -> str:
    """``1 item`` or ``30,000 items``."""
    return f"{n:,.0f} {noun}" if round(n) == 1 else f"{n:,.0f} {noun}s"


def tokens(value: float | None) -> str:
    """Tokens as ``850``, ``41 k`` or ``27.0 M``."""
    if value is None:
        return UNKNOWN
    if value < 9_999.5:
        return f"{value:,.0f}"
    return f"{value / 1e3:,.0f} k" if value < 999_500 else f"{value / 1e6:,.1f} M"


def usd(amount: float | None) -> str:
    """Money as ``$949``, ``$12.30`` or, below a dime, to two digits: ``$0.0012``."""
    if amount is None:
        return UNKNOWN
    if amount == 0:
        return "$0"
    if amount >= 99.995:
        return f"${amount:,.0f}"
    places = 2 if amount >= 0.0995 else min(9, 1 - floor(log10(amount)))
    return f"${amount:,.{places}f}"


def usd_range(cost: Interval | None) -> str:
    """``$364 to $1,448``, or one amount where both read the same."""
    if cost is None:
        return UNKNOWN
    low, high = usd(cost.low), usd(cost.high)
    return high if low == high else f"{low} to {high}"


def duration(seconds: float | None) -> str:
    """A time as ``36 s``, ``10 min``, ``2 h 30 min`` or ``4 days``."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0.95:
        return "under 1 s" if seconds else "0 s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{hours / 24:,.1f}".removesuffix(".0") + " days"


def duration_range(seconds: Interval) -> str:
    """``10 min to 17 min``, or one time where both read the same."""
    low, high = duration(seconds.low), duration(seconds.high)
    return high if low == high else f"{low} to {high}"


def points(margin: float) -> str:
    """A margin in percentage points: ``±4.97``."""
    return f"±{100 * margin:.2f}"


def clean(text: str, limit: int = 200) -> str:
    """Foreign text on one line, without control characters, cut to ``limit`` characters.

    Data may hold terminal escapes or marks that turn the direction of writing.
    """
    line = " ".join(text[: 4 * limit].split())
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return f"{shown[: limit - 1]}…" if len(shown) > limit or len(text) > 4 * limit else shown
