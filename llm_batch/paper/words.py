"""How figures read in a report for people: percent, money, times, counts, foreign text."""

from __future__ import annotations

from math import floor, isfinite, log10

from llm_batch.records import Interval

UNKNOWN = "unknown"
NONE = "-"


def percent(share: float | None, places: int = 1) -> str:
    """A share as ``76.3 %``. Only a share of exactly 0 or 1 reads as 0 or 100 %."""
    return NONE if share is None else f"{_percent_number(share, places)} %"


def percent_range(interval: Interval) -> str:
    """The bounds of a rate as ``71.8 to 80.3 %``; a dash without bounds."""
    if interval.low is None or interval.high is None:
        return NONE
    return between(interval.low, interval.high)


def between(low: float, high: float) -> str:
    """Two shares as ``71.8 to 80.3 %``, or as one where they read the same."""
    first, last = _percent_number(low), _percent_number(high)
    return f"{last} %" if first == last else f"{first} to {last} %"


def number(value: float | None, digits: int = 3) -> str:
    """A score or another figure to three digits: ``4.02``, ``3.90``, ``1,250``, ``4``."""
    if value is None or not isfinite(value):
        return NONE
    if abs(value) >= 1e15 or 0 < abs(value) < 1e-4:
        return f"{value:.{digits}g}"
    if value == int(value):
        return f"{int(value):,}"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def mean(value: float | None) -> str:
    """A mean to three digits, whole or not, so that a column of them lines up: ``4.00``."""
    if value is None or not isfinite(value):
        return NONE
    return f"{value:.2f}" if value == int(value) and abs(value) < 10 else number(value)


def signed(value: float | None) -> str:
    """A mean difference with its sign."""
    return f"+{mean(value)}" if value is not None and value > 0 else mean(value)


def mean_range(interval: Interval) -> str:
    """The bounds of a mean as ``3.90 to 4.14``; a dash without bounds."""
    if interval.low is None or interval.high is None:
        return NONE
    first, last = mean(interval.low), mean(interval.high)
    return last if first == last else f"{first} to {last}"


def count(value: float | None) -> str:
    """A whole number with separators: ``30,000``."""
    return NONE if value is None else f"{value:,.0f}"


def items(n: int) -> str:
    """``1 item`` or ``30,000 items``."""
    return f"{n:,} item" if n == 1 else f"{n:,} items"


def usd(amount: float | None) -> str:
    """Money with cents, or with two digits where it is less: ``$12.30``, ``$0.0012``."""
    if amount is None or not isfinite(amount):
        return UNKNOWN
    if amount == 0:
        return "$0"
    places = 2
    if abs(amount) < 0.1:
        places = min(12, 1 - floor(log10(abs(amount))))
    return f"{'-' if amount < 0 else ''}${abs(amount):,.{places}f}"


def usd_range(low: float, high: float) -> str:
    """``$0.40 to $0.52``, or one amount where they read the same."""
    return usd(high) if usd(low) == usd(high) else f"{usd(low)} to {usd(high)}"


def duration(seconds: float | None) -> str:
    """A time to read at a glance: ``35 ms``, ``1.2 s``, ``2 min 3 s``, ``3 h 12 min``."""
    if seconds is None or not isfinite(seconds):
        return NONE
    if 0 < seconds < 0.0005:
        return "under 1 ms"
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = floor(seconds + 0.5)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def duration_range(interval: Interval) -> str:
    """The bounds of a time as ``1.1 s to 1.3 s``; a dash without bounds."""
    if interval.low is None or interval.high is None:
        return NONE
    low, high = duration(interval.low), duration(interval.high)
    return low if low == high else f"{low} to {high}"


def level(value: float) -> str:
    """A confidence level as ``95 %``."""
    return f"{100 * value:g} %"


def clean(text: str, limit: int = 200) -> str:
    """Foreign text on one line, without control characters, cut to ``limit`` characters.

    Data may hold terminal escapes or marks that turn the direction of writing; what cannot be
    printed shows as a replacement character.
    """
    # Cut first: an error may carry megabytes, of which a line is shown.
    words = " ".join(text[: 4 * limit].split())
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in words)
    cut = len(shown) > limit or len(text) > 4 * limit
    return f"{shown[: limit - 1]}…" if cut else shown


def _percent_number(share: float, places: int = 1) -> str:
    text = f"{100 * share:.{places}f}"
    while places < 4 and 0 < share < 1 and float(text) in (0.0, 100.0):
        places += 1
        text = f"{100 * share:.{places}f}"
    return text
