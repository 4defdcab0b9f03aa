"""How figures read to people: percent, money, times, counts, foreign text. One voice for all.

What was measured or paid is exact to the eye (`usd`, `duration`); what is predicted is rounded to
what it is worth (`about_usd`, `about_duration`).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from math import floor, isfinite, log10
from typing import Any, Protocol

from llm_batch.records import Interval

UNKNOWN = "unknown"
NONE = "-"
#: A group or a model without a name.
NAMELESS = "(none)"
_LONG_LINE = 8_000
#: The id of an item that has none in its data.
_HASHED = re.compile(r"[0-9a-f]{16}(?:-\d+)?")


class Bounds(Protocol):
    """What has two ends, such as an interval."""

    @property
    def low(self) -> float | None: ...

    @property
    def high(self) -> float | None: ...


def _range(bounds: Bounds, shown: Callable[[float], str], same: bool = True) -> str:
    """Both ends; a dash without, and one alone where they read the ``same``."""
    if bounds.low is None or bounds.high is None:
        return NONE
    low, high = shown(bounds.low), shown(bounds.high)
    return high if same and low == high else f"{low} to {high}"


def percent(share: float | None, places: int = 1) -> str:
    """A share as ``76.3 %``. Only a share of exactly 0 or 1 reads as 0 or 100 %."""
    return NONE if share is None else f"{_percent_number(share, places)} %"


def percent_range(interval: Bounds) -> str:
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


def mean_range(interval: Bounds) -> str:
    """The bounds of a mean as ``3.90 to 4.14``; a dash without bounds."""
    return _range(interval, mean)


def count(value: float | None) -> str:
    """A whole number with separators: ``30,000``."""
    return NONE if value is None else f"{value:,.0f}"


def counted(n: float, noun: str, plural: str = "") -> str:
    """``1 item`` or ``30,000 items``."""
    return f"{n:,.0f} {noun}" if round(n) == 1 else f"{n:,.0f} {plural or noun + 's'}"


def items(n: int) -> str:
    """``1 item`` or ``30,000 items``."""
    return counted(n, "item")


def tokens(value: float | None) -> str:
    """Tokens of a prediction as ``850``, ``41 k`` or ``27.0 M``."""
    if value is None or value < 9_999.5:
        return count(value)
    return f"{value / 1e3:,.0f} k" if value < 999_500 else f"{value / 1e6:,.1f} M"


def usd(amount: float | None) -> str:
    """Money with cents, or with two digits below a dime: ``$12.30``, ``$0.0012``."""
    if amount is None or not isfinite(amount):
        return UNKNOWN
    if amount == 0:
        return "$0"
    places = 2
    if abs(amount) < 0.1:
        # Rounded first: 0.0996 is a dime, with two places.
        places = min(12, max(2, 1 - floor(log10(float(f"{abs(amount):.1e}")))))
    return f"{'-' if amount < 0 else ''}${abs(amount):,.{places}f}"


def exact_usd(amount: float) -> str:
    """Money to six digits where cents do not say it, such as a budget as it was typed."""
    shown, told = usd(amount), float(f"{amount:.6g}")
    if not isfinite(amount) or float(shown.replace("$", "").replace(",", "")) == told:
        return shown
    return f"${told:,.12f}".rstrip("0").rstrip(".")


def price(amount: Decimal) -> str:
    """A price per million tokens, to its last digit: ``$0.60``, ``$0.0375``."""
    return f"${amount:.2f}" if amount == round(amount, 2) else f"${amount:f}"


def about_usd(amount: float | None) -> str:
    """Money that is predicted or agreed to: from 100 dollars on without cents, ``$949``."""
    if amount is None or not 99.995 <= amount < float("inf"):
        return usd(amount)
    return f"${amount:,.0f}"


def usd_range(amount: Bounds) -> str:
    """``$0.40 to $0.52``, or one amount where they read the same."""
    return _range(amount, usd)


def about_usd_range(amount: Bounds | None) -> str:
    """``$364 to $1,448``, or one amount where they read the same."""
    return UNKNOWN if amount is None else _range(amount, about_usd)


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


def duration_range(interval: Bounds) -> str:
    """The bounds of a time as ``1.1 s to 1.3 s``; a dash without bounds."""
    return _range(interval, duration)


def about_duration(seconds: float | None) -> str:
    """A time that is predicted: ``36 s``, ``10 min``, ``2 h 30 min`` or ``4 days``."""
    if seconds is None or not isfinite(seconds):
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


def about_duration_range(interval: Bounds) -> str:
    """``10 min to 17 min``, or one time where both read the same."""
    return _range(interval, about_duration)


def margin(share: float) -> str:
    """A margin of a rate in percentage points: ``±4.97``."""
    return f"±{100 * share:.2f}"


def points(value: float | None) -> str:
    """A difference of rates in percentage points, with its sign: ``+1.2``."""
    if value is None:
        return NONE
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text


def points_range(interval: Bounds) -> str:
    """The bounds of such a difference: ``-2.1 to +4.5``."""
    return _range(interval, points, same=False)


def signed_range(interval: Bounds) -> str:
    """The bounds of a difference of means; a dash without bounds."""
    return _range(interval, signed, same=False)


def coefficient_range(interval: Bounds) -> str:
    """The bounds of a kappa, an alpha or a correlation: ``0.41 to 0.72``."""
    return _range(interval, lambda value: number(value, 2), same=False)


def p_value(value: float | None) -> str:
    """``0.032``, or ``< 0.001``."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.0995 else f"{value:.2f}"


def interval(found: Interval, between: Callable[[Interval], str]) -> str:
    """``95 % interval 71.8 to 80.3 %``, or that there is none."""
    return "no interval" if found.low is None else f"{level(found.level)} interval {between(found)}"


def level(value: float) -> str:
    """A confidence level as ``95 %``."""
    return f"{100 * value:g} %"


def left_estimate(
    seconds: float | None,
    expected_seconds: Bounds | None,
    cost: float | None,
    expected_cost: Bounds | None,
    whole: bool,
) -> str:
    """By what a run left the ranges of its estimate; empty where it did not.

    Times are seconds, costs USD, ``None`` where not known. With less than the ``whole`` played,
    less than the least says nothing.
    """
    told = []
    for verb, value, expected, shown, slack in (
        ("took", seconds, expected_seconds, duration, 5.0),  # less nobody waits for
        ("cost", cost, expected_cost, usd, 0.0),
    ):
        if value is None or expected is None or expected.low is None or expected.high is None:
            continue
        # What reads the same as a bound has not left it.
        least, most = shown(expected.low), shown(expected.high)
        above = value > expected.high + slack and shown(value) != most
        if above or (whole and value < expected.low - slack and shown(value) != least):
            told.append(f"{verb} {shown(value)} (estimated {least} to {most})")
    return f"The estimate was off: the run {' and '.join(told)}." if told else ""


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


def listed(texts: Iterable[str], most: int | None = None) -> str:
    """Foreign texts one after the other, the first of them where there are many."""
    all_of_them = list(texts)
    shown = [clean(text, 40) for text in all_of_them[:most]]
    more = len(all_of_them) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def sentence(clause: str) -> str:
    """A clause with the capital and the full stop of a sentence."""
    return f"{clause[:1].upper()}{clause[1:].rstrip('.')}."


def quoted(text: str, limit: int = 20_000) -> str:
    """Foreign text with its lines, without control characters; says how much it leaves out."""
    lines = text[:limit].expandtabs(4).splitlines()
    shown = "\n".join(
        "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
        for line in lines
    )
    return shown if len(text) <= limit else f"{shown} … ({len(text) - limit:,} characters more)"


def wrapped(text: str, width: int) -> Iterator[str]:
    """Yield the lines of a text in no more than that width; an empty line for none."""
    for line in text.splitlines() or [""]:
        # The time to wrap a word grows with the square of its length.
        for start in range(0, len(line) or 1, _LONG_LINE):
            part = line[start : start + _LONG_LINE]
            yield from textwrap.wrap(part, width, break_on_hyphens=False) or [""]


def is_hash(id: str) -> bool:
    """Whether an id was made from the content of its row, so that nobody knows it."""
    return bool(_HASHED.fullmatch(id))


def item(id: str, fields: Mapping[str, Any]) -> str:
    """An item by its id in quotes and, where that is a hash, by the beginning of its row."""
    said = repr(clean(id, 60))
    if not is_hash(id):
        return said
    cells = (str(value) for value in fields.values() if isinstance(value, str | int | float))
    row = clean("; ".join(cell for cell in cells if cell.strip()), 50)
    return f'{said}, the row "{row}"' if row else said


def named(text: str, limit: int = 200) -> str:
    """The name of a group or a model as `clean` has it, or a word where it has none."""
    return clean(text, limit) or NAMELESS


def _percent_number(share: float, places: int = 1) -> str:
    text = f"{100 * share:.{places}f}"
    while places < 4 and 0 < share < 1 and float(text) in (0.0, 100.0):
        places += 1
        text = f"{100 * share:.{places}f}"
    return text
