"""Rows as CSV (RFC 4180, but with line feeds alone), safe to open in a spreadsheet.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return
for a formula, which may run commands or send data away. Such text gets an apostrophe in front
(OWASP, CSV Injection); numbers stay numbers, so that ``-1.5`` can be summed. Where commas are
decimal points, spreadsheets part cells at semicolons, and others at tabs, and neither heeds a quote
within a cell: for them a cell begins after each semicolon, tab and line break of a text, so these
get their apostrophe too. `unguarded` takes all of them away again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from math import isfinite, nan
from typing import Any, Protocol, runtime_checkable

import msgspec

# What may begin a formula, past what readers take away before it: blanks, quotes, marks of order.
_FORMULA = tuple("=+-@＝＋－＠﹢﹣﹦﹫−")
_TAKEN_AWAY = " \xa0\u2002\u2003\u2009\u200b\u200e\u200f\u3000\ufeff\v\f\"'“”‘’"
_BEGINS = re.compile(r"([;\t\r\n])")  # a cell, in one of the readers
_LONG_NUMBER = 40


#: Some rows by their columns, which all have as many cells.
Columns = Iterable[Sequence[Any]]


@runtime_checkable
class InParts(Protocol):
    """Rows that come from parts of a large file, which are worked on at once.

    Going through them gives all, in order.
    """

    def __iter__(self) -> Iterator[Iterable[Any]]: ...

    def each_part(self, made: Callable[[Iterable[Columns]], str]) -> Iterator[str]:
        """What a function makes of the rows of each part, in their order."""


_PIECE_ROWS = 1000


def format(rows: Iterable[Iterable[Any]]) -> str:
    """The rows, the header first; all have as many cells."""
    return "".join(pieces(rows))


def pieces(rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """The same, some rows at a time."""
    if isinstance(rows, InParts):
        yield from rows.each_part(_text)
        return
    left = iter(rows)
    while some := list(islice(left, _PIECE_ROWS)):
        yield _text([zip(*some, strict=True)])


def _text(blocks: Iterable[Columns]) -> str:
    lines: list[str] = []
    for columns in blocks:
        lines += map(",".join, zip(*map(_cells, columns), strict=True))
    if not all(lines):  # one with nothing in it would be no row
        lines = [line or '""' for line in lines]
    return "\n".join([*lines, ""])


_BOOLS = {True: "true", False: "false", None: ""}
_SPECIAL = '\0;\t\r\n,"'


def _cells(column: Sequence[Any]) -> Sequence[str]:
    """A column as text; what is done to a cell depends on its kind, which most columns have one of.

    Looking for a character in all texts at once takes a tenth of the time.
    """
    kinds = set(map(type, column)) - {type(None)}
    if not kinds:
        return [""] * len(column)
    if kinds == {str}:
        texts = ["" if value is None else value for value in column]
        together = "".join(texts)
        if not any(map(together.__contains__, _SPECIAL)):
            firsts = "".join([text[:1] for text in texts])
            if not firsts or firsts.isalnum():
                return texts
        return [text if not text or _plain(text) else _quoted(_cell(text)) for text in texts]
    if kinds == {float}:
        return ["" if value is None or not isfinite(value) else f"{value:.12g}" for value in column]
    if kinds == {int}:
        return ["" if value is None else str(value) for value in column]
    if kinds == {bool}:
        return [_BOOLS[value] for value in column]
    return [_quoted(_cell(value)) for value in column]


# A text that stands in a cell as it is, and begins with a letter or a digit.
_plain = re.compile(r'[^\W_][^\0;\t\r\n,"]*').fullmatch


def _quoted(cell: str) -> str:
    """The text of a cell, in quotes where it would be taken for several."""
    if '"' in cell:
        return '"' + cell.replace('"', '""') + '"'
    return f'"{cell}"' if "," in cell or "\n" in cell or "\r" in cell else cell


def _cell(value: Any) -> str:
    """A value as the text of a cell: numbers as they are, objects as JSON."""
    if value.__class__ is str:
        text = value
    elif value is None:
        return ""
    elif value.__class__ is float and isfinite(value):
        return f"{value:.12g}"
    elif isinstance(value, bool):
        return "true" if value else "false"
    elif isinstance(value, int | float):
        if isinstance(value, float) and not isfinite(value):
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
        number = float(text) if len(text) <= _LONG_NUMBER else nan
    except ValueError:
        return False
    return isfinite(number) and text.strip() == text and text.isascii()
