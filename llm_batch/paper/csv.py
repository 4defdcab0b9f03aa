"""Rows as CSV (RFC 4180, but with line feeds alone), safe to open in a spreadsheet.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return
for a formula, which may run commands or send data away. Such text gets an apostrophe in front
(OWASP, CSV Injection); numbers stay numbers, so that ``-1.5`` can be summed. Where commas are
decimal points, spreadsheets part cells at semicolons, and others at tabs, and neither heeds a quote
within a cell: for them a cell begins after each semicolon, tab and line break of a text, so these
get their apostrophe too. `unguarded` takes all of them away again.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable
from typing import Any

import msgspec

# What may begin a formula, past what readers take away before it: blanks, quotes, marks of order.
_FORMULA = tuple("=+-@＝＋－＠﹢﹣﹦﹫−")
_TAKEN_AWAY = " \xa0\u2002\u2003\u2009\u200b\u200e\u200f\u3000\ufeff\v\f\"'“”‘’"
_BEGINS = re.compile(r"([;\t\r\n])")  # a cell, in one of the readers
_RISKY = re.compile(f"[{re.escape(''.join(_FORMULA))}\t\r\n]")
_LONG_NUMBER = 40


def format(rows: Iterable[Iterable[Any]]) -> str:
    """The rows, the header first."""
    # One long text and no list of a million short ones.
    whole, target = io.StringIO(newline=""), io.StringIO(newline="")
    # A writer quotes a lone carriage return only where its own line ends hold one.
    write = csv.writer(target, lineterminator="\r\n").writerow
    for row in rows:
        write([value if value.__class__ is int else _cell(value) for value in row])
        whole.write(target.getvalue()[:-2])
        whole.write("\n")
        target.seek(0)
        target.truncate()
    return whole.getvalue()


def line(values: Iterable[Any]) -> str:
    """One row with its line feed; texts that a spreadsheet would compute are made harmless."""
    return format([values])


def _cell(value: Any) -> str:
    """A value as the text of a cell: numbers as they are, objects as JSON."""
    if value.__class__ is str:
        text = value
    elif value is None:
        return ""
    elif isinstance(value, bool):
        return "true" if value else "false"
    elif isinstance(value, int | float):
        if isinstance(value, float) and not math.isfinite(value):
            return ""
        return f"{value:.12g}" if isinstance(value, float) else str(value)
    else:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if "\0" in text:  # many readers stop at it
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return guarded(text) if text else ""


def guarded(text: str) -> str:
    """The text with an apostrophe before whatever a spreadsheet would compute."""
    if not _RISKY.search(text):
        return text
    pieces = _BEGINS.split(text)
    opened = len(pieces) > 1 and not pieces[0].strip(_TAKEN_AWAY) and pieces[1] != ";"
    for place in range(0, len(pieces), 2):
        if _computed(pieces[place]) or (opened and not place):
            pieces[place] = f"'{pieces[place]}"
    return "".join(pieces)


def unguarded(text: str) -> str:
    """The text that `guarded` made this of."""
    if "'" not in text:
        return text
    pieces = _BEGINS.split(text)
    opened = len(pieces) > 1 and not pieces[0].strip(_TAKEN_AWAY) and pieces[1] != ";"
    for place in range(0, len(pieces), 2):
        rest = pieces[place][1:]
        if pieces[place].startswith("'") and (_computed(rest) or (opened and not place)):
            pieces[place] = rest
    return "".join(pieces)


def _computed(piece: str) -> bool:
    """Whether a spreadsheet takes a cell that begins so for a formula."""
    return piece.lstrip(_TAKEN_AWAY).startswith(_FORMULA) and not _is_number(piece)


def _is_number(text: str) -> bool:
    """Whether text is a plain number, as it stands in cells of a CSV that was read."""
    try:
        number = float(text) if len(text) <= _LONG_NUMBER else math.nan
    except ValueError:
        return False
    return math.isfinite(number) and text.strip() == text and text.isascii()
