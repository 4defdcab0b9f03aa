"""Rows as CSV (RFC 4180, but with line feeds alone), safe to open in a spreadsheet.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return
for a formula, which may run commands or send data away. Such text gets an apostrophe in front
(OWASP, CSV Injection); numbers stay numbers, so that ``-1.5`` can be summed. Where commas are
decimal points, spreadsheets part cells at semicolons, and others at tabs, and neither heeds a quote
within a cell: for them a cell begins after each semicolon, tab and line break of a text, so these
get their apostrophe too. `unguarded` takes all of them away again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import msgspec

# What may begin a formula, past what readers take away before it: blanks, quotes, marks of order.
_FORMULA = tuple("=+-@＝＋－＠﹢﹣﹦﹫−")
_TAKEN_AWAY = " \xa0\u2002\u2003\u2009\u200b\u200e\u200f\u3000\ufeff\v\f\"'“”‘’"
_BEGINS = re.compile(r"([;\t\r\n])")  # a cell, in one of the readers
_LONG_NUMBER = 40


@runtime_checkable
class InParts(Protocol):
    """Rows that come from parts of a large file, which are worked on at once.

    Going through them gives all, in order.
    """

    def __iter__(self) -> Iterator[Iterable[Any]]: ...

    def each_part(self, made: Callable[[Iterable[Iterable[Any]]], str]) -> Iterator[str]:
        """What a function makes of the rows of each part, in their order."""


_PIECE_ROWS = 1000


def format(rows: Iterable[Iterable[Any]]) -> str:
    """The rows, the header first."""
    return "".join(pieces(rows))


def pieces(rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """The same, some rows at a time."""
    if isinstance(rows, InParts):
        yield from rows.each_part(_text)
        return
    left = iter(rows)
    while text := _text(islice(left, _PIECE_ROWS)):
        yield text


def _text(rows: Iterable[Iterable[Any]]) -> str:
    lines = []
    for row in rows:
        cells = []
        for value in row:
            kind = value.__class__
            if kind is str:
                cells.append(value if not value or _plain(value) else _quoted(_cell(value)))
            elif value is None:
                cells.append("")
            elif kind is int:
                cells.append(str(value))
            else:
                cells.append(_quoted(_cell(value)))
        # A line with nothing in it would be no row.
        lines.append(",".join(cells) if cells != [""] else '""')
    return "\n".join([*lines, ""])


# A text that stands in a cell as it is, and begins with a letter or a digit.
_plain = re.compile(r'[^\W_][^\0;\t\r\n,"]*').fullmatch


def _quoted(cell: str) -> str:
    """The text of a cell, in quotes where it would be taken for several."""
    if '"' in cell:
        return '"' + cell.replace('"', '""') + '"'
    return f'"{cell}"' if "," in cell or "\n" in cell or "\r" in cell else cell


def line(values: Iterable[Any]) -> str:
    """One row with its line feed; texts that a spreadsheet would compute are made harmless."""
    return format([values])


def _cell(value: Any) -> str:
    """A value as the text of a cell: numbers as they are, objects as JSON."""
    if value.__class__ is str:
        text = value
    elif value is None:
        return ""
    elif value.__class__ is float and math.isfinite(value):
        return f"{value:.12g}"
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
    if not _BEGINS.search(text):
        plain = text[:1].isalnum() or not _computed(text)
        return text if plain else f"'{text}"
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
