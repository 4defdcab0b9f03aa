"""How a file of rows is really written: its encoding, its delimiter, its kind.

Names say little: Excel writes semicolons and Windows-1252 into a ``.csv`` where the comma is the
decimal sign, and tools write JSON Lines, one object or an array into a ``.json``. What is found in
the first bytes is taken; what the user says overrules it.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from llm_batch.errors import ConfigError, DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: How much of a file is looked at.
HEAD_BYTES = 1 << 20
#: What may stand between cells.
DELIMITERS = (",", ";", "\t", "|")
DELIMITER_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}

#: Its number (see `Reader.place`); its fields, or else what is wrong with it; the JSON the fields
#: were read from (empty when they were not); and the offset of that JSON in the stream, 0 when
#: not known.
Row = tuple[int, dict[str, Any] | str, bytes, int]

UTF8 = "utf-8"
_WINDOWS = "windows-1252"
_BOMS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_EXCELS_OWN = re.compile(r'"?sep=(.)"?[ \t]*\r?\n', re.IGNORECASE)
_LOOKED_AT_ROWS = 100
_LOOKED_AT_TEXT = 1 << 16
# So many of the rows must have the header's cells for a delimiter that is not the usual one.
_SURE = 0.9
# How files begin that no text does, and the suffix of the reader that knows them.
_MAGIC = (
    (b"PAR1", ".parquet"),
    (b"ARROW1", ".arrow"),
    (b"\xff\xff\xff\xff", ".arrow"),  # a stream of Arrow's, which has no sign but this
    (b"PK\x03\x04", ".xlsx"),
    (b"\xd0\xcf\x11\xe0", ".xlsx"),
)
# The same of files that have no reader: where the sign stands, the sign, and what they are.
_OTHER_KINDS = (
    (0, b"FEA1", "of Feather's first version"),
    (0, b"SQLite format 3", "an SQLite database"),
    (8, b"DUCK", "a DuckDB database"),
    (0, b"%PDF", "a PDF"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"\x80\x04\x95", "a pickle of Python"),
    (0, b"\x93NUMPY", "an array of NumPy"),
    (257, b"ustar", "a tar archive"),
)
_ASKED = {"an SQLite database": "sqlite", "a DuckDB database": "duckdb"}
_WEB_PAGE = re.compile(r"<(!doctype|html|table|\?xml|body)", re.IGNORECASE)


@dataclass(slots=True)
class Shape:
    """How a text file is written, and what was met while it was read.

    Attributes:
        lines_before: Lines above the header (Excel's ``sep=;``).
        sheet: The sheet of a workbook that was asked for, by its name or from 1; once it is read,
            the name of the one that was taken. Empty for the first with anything in it.
        columns: The first row of a table; a text is empty where a column has no name.
        unnamed: Places of columns past the first that hold something and have no name.
        empty_rows: Rows that had no text in any cell; they are no items.
        not_finite: Values that were NaN or infinite; they became ``None``.
        wanted: The columns that are read of a file that keeps each for itself, where it has all
            of them; ``None`` for every column.
    """

    encoding: str = UTF8
    delimiter: str = ","
    lines_before: int = 0
    sheet: str = ""
    other_sheets: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    unnamed: set[int] = field(default_factory=set)
    empty_rows: int = 0
    not_finite: int = 0
    wanted: frozenset[str] | None = None

    @property
    def title(self) -> str:
        """What stands alone in the header above columns without a name; empty otherwise."""
        first, *others = self.columns or ("",)
        return first if self.unnamed and not any(others) else ""

    def fields(self, cells: Sequence[Any]) -> dict[str, Any]:
        """The cells of a row under the names of their columns; the others are left out."""
        names = self.columns
        if "" in names:
            self.unnamed.update(
                place
                for place, (name, cell) in enumerate(zip(names, cells, strict=False))
                if place and not name and cell != ""
            )
        return {name: cell for name, cell in zip(names, cells, strict=False) if name}

    def finite(self, value: Any) -> Any:
        """The value with ``None`` for every NaN and infinite number in it, which are counted."""
        if isinstance(value, float):
            if math.isfinite(value):
                return value
            self.not_finite += 1
            return None
        if isinstance(value, dict):
            return {name: self.finite(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.finite(inner) for inner in value]
        return value


_decoder = msgspec.json.Decoder(dict[str, Any])
decode, decode_lines = _decoder.decode, _decoder.decode_lines


def decoded(row: bytes, shape: Shape) -> dict[str, Any]:
    """The object that a piece of JSON is; Python's NaN and Infinity in it become ``None``.

    `ValueError` for what is none, `RecursionError` where it is nested too deeply.
    """
    try:
        return decode(row)
    except ValueError:
        if b"NaN" not in row and b"Infinity" not in row:
            raise
        try:
            value = json.loads(row)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise
        found: dict[str, Any] = shape.finite(value)
        return found


def refuse_other_kinds(head: bytes, name: str) -> None:
    """Say, by a `DataError`, what a file is that holds no text."""
    for place, sign, what in _OTHER_KINDS:
        if head.startswith(sign, place):
            hint = "save its rows as CSV, JSON Lines or Parquet"
            if scheme := _ASKED.get(what):
                hint = f"ask it: --data '{scheme}:{name}?SELECT …'"
            raise DataError(f"{name} is {what}", hint)


def kind_of_binary(head: bytes) -> str | None:
    """The suffix that says what a file is which holds no text; ``None`` for all others."""
    return next((suffix for sign, suffix in _MAGIC if head.startswith(sign)), None)


def kind_of_text(text: str, name: str, by_config: bool) -> str:
    """The suffix that says what a text is, by its beginning: JSON, or a table with a header.

    `DataError` for anything else; its hint may speak of a config only where there is one.
    """
    text = text.lstrip("\ufeff \t\r\n")
    if text.startswith("{") or re.match(r"\[\s*([{\]]|$)", text):
        return ".json" if is_whole_json(text.encode(errors="replace")) else ".jsonl"
    if _EXCELS_OWN.match(text):
        return ".csv"
    if "\0" not in text and not _WEB_PAGE.match(text):
        best = max(DELIMITERS, key=lambda each: _fit(text[:_LOOKED_AT_TEXT], each))
        share, columns, rows = _fit(text[:_LOOKED_AT_TEXT], best)
        if share >= _SURE and columns > 1 and rows > 1:
            return ".csv"
    page = _WEB_PAGE.match(text)
    what = "it is a web page or XML" if page else "it is neither JSON nor a table with columns"
    raise DataError(
        f"cannot tell the format of {name!r}: {what}",
        "name the file itself, not the page that shows it: /raw/ on GitHub, /resolve/ on a hub"
        if page and re.match(r"https?://", name)
        else "open it in a spreadsheet program and save it as CSV"
        if page
        else "name a table of one column .csv, with the column's name as its first line"
        + (", or set format under [data]" if by_config else ""),
    )


def is_utf8(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def column_names(names: list[str], name: str) -> list[str]:
    """The names of columns; `DataError` where none has one, or one is used twice or not UTF-8."""
    hint = "give every column a name of its own"
    if not any(names):
        raise DataError(f"{name}: no column of the header has a name", hint)
    for number, column in enumerate(names, 1):
        if not is_utf8(column):
            raise DataError(f"{name}: the header is not UTF-8 text", "save the file as UTF-8")
        if column and column in names[: number - 1]:
            raise DataError(f"{name}: two columns of the header are named {column!r}", hint)
    return names


def encoding_of(head: bytes, table: bool) -> str:
    """The encoding of a text that begins so; Excel writes tables in the code page of Windows."""
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return encoding
    pairs = len(head[:4096]) // 2
    even, odd = head[: 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if pairs and max(even, odd) > 0.4 * pairs and min(even, odd) < 0.1 * pairs:
        return "utf-16-le" if odd > even else "utf-16-be"
    try:
        codecs.getincrementaldecoder(UTF8)().decode(head)
    except UnicodeDecodeError:
        sequences = re.findall(rb"[\xc2-\xf4][\x80-\xbf]{1,3}", head)
        beyond_ascii = len(head) - len(head.translate(None, bytes(range(128, 256))))
        stray = beyond_ascii - sum(map(len, sequences))
        if table and stray > len(sequences) and _decodes(head, _WINDOWS):
            return _WINDOWS
    return UTF8


def _decodes(head: bytes, encoding: str) -> bool:
    try:
        head.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def known_encoding(name: str) -> str:
    """The encoding a user named; `ConfigError` without one of that name."""
    try:
        return codecs.lookup(name).name
    except LookupError as error:
        raise ConfigError(
            f"no encoding is called {name!r}", "write utf-8, utf-16, windows-1252 or latin-1"
        ) from error


def delimiter_of(text: str, usual: str) -> tuple[str, int]:
    """What stands between the cells of a CSV, and how many lines stand above its header.

    What its name makes one expect is ``usual``, and taken unless another fits better.
    """
    if excel := _EXCELS_OWN.match(text):
        return excel[1], 1
    text = text[:_LOOKED_AT_TEXT]
    found = {each: _fit(text, each) for each in DELIMITERS}
    best = max(DELIMITERS, key=lambda each: (found[each], each == usual))
    share, columns, _ = found[best]
    if best == usual or columns < 2 or share < _SURE or share <= found[usual][0]:
        return usual, 0
    return best, 0


def _fit(text: str, delimiter: str) -> tuple[float, int, int]:
    """The share of rows with as many cells as the header, how many that are, and the rows.

    All are 0 for a header of one cell.
    """
    rows = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for cells in islice(reader, _LOOKED_AT_ROWS):
            if any(cells):
                rows.append(len(cells))
    except csv.Error:
        return 0.0, 0, 0
    if len(text) >= _LOOKED_AT_TEXT and len(rows) > 1:
        rows.pop()  # it may be cut
    if not rows or rows[0] < 2:
        return 0.0, 0, 0
    return sum(count == rows[0] for count in rows) / len(rows), rows[0], len(rows)


def is_whole_json(head: bytes) -> bool:
    """Whether a file that begins so is one JSON value, or several that go over lines.

    The rest is JSON Lines, with mistakes perhaps.
    """
    first, _, rest = head.removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")
    first = first.strip()
    if first.startswith(b"["):
        return True
    if not first.startswith(b"{"):
        return False
    try:
        msgspec.json.decode(first, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return first == b"{" or not rest.lstrip().startswith(b"{")
    return not rest.strip()


class Pieces(io.RawIOBase):
    """A stream whose bytes are made a piece at a time."""

    _ready = b""

    def piece(self) -> bytes:
        """The next one; empty at the end."""
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def readinto(self, target: WriteableBuffer) -> int:
        self._ready = self._ready or self.piece()
        view = memoryview(target)
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


class Recoded(Pieces):
    def __init__(self, stream: io.BufferedIOBase, shape: Shape, name: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(shape.encoding)()
        self._shape = shape
        self._name = name
        self._pieces = filter(None, self._recoded())

    def piece(self) -> bytes:
        return next(self._pieces, b"")

    def _recoded(self) -> Iterator[bytes]:
        try:
            while piece := self._stream.read(_LOOKED_AT_TEXT):
                yield self._decoder.decode(piece).encode(errors="surrogatepass")
            yield self._decoder.decode(b"", final=True).encode(errors="surrogatepass")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self._name} is not {self._shape.encoding} text: {error.reason}",
                "save it as UTF-8",
            ) from error
