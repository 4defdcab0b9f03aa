"""Rows out of a stream of bytes: one reader per kind of file, found by suffix in ``READERS``.

A reader never stops at a bad row: it yields what is wrong with it, and whoever reads decides.
What makes the whole file unreadable is a `DataError`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any, BinaryIO, NamedTuple

import msgspec

from llm_batch.errors import DataError

#: Its number (see `Reader.place`); its fields, or else what is wrong with it; the JSON the fields
#: were read from (empty when they were not); and the offset of that JSON in the stream, 0 when
#: not known.
Row = tuple[int, dict[str, Any] | str, bytes, int]

#: Characters in one CSV cell. More means a quote that is never closed: without a limit the rest
#: of the file would become one cell.
_CELL_LIMIT = 16 << 20

_BOM = b"\xef\xbb\xbf"
_CHUNK = 1 << 20
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Reader(NamedTuple):
    """How one kind of file is read.

    Attributes:
        rows: From an open stream and the name of the file (for messages) to its rows. It reads
            to the end, because the file is hashed as it is read.
        place: What numbers of rows count, from 1: ``line``, ``element`` or ``row``.
        by_offset: True when offsets of rows are given.
        random_access: True when the stream must be seekable, and is read uncompressed.
    """

    rows: Callable[[BinaryIO, str], Iterator[Row]]
    place: str = "line"
    by_offset: bool = False
    random_access: bool = False


def read_jsonl(stream: BinaryIO, name: str) -> Iterator[Row]:
    """One JSON object a line; blank lines are passed over."""
    end = 0
    for number, line in enumerate(stream, 1):
        start, end = end, end + len(line)
        if number == 1 and line.startswith(_BOM):
            start, line = len(_BOM), line[len(_BOM) :]
        try:
            fields = _decode(line)
        except (ValueError, RecursionError) as error:
            if line.strip():
                problem = _problem(line, error)
                if number == 1 and line.lstrip().startswith(b"["):
                    problem += ' (of an array? then set format = "json" under [data])'
                yield number, problem, b"", start
        else:
            yield number, fields, line, start


def read_json(stream: BinaryIO, name: str) -> Iterator[Row]:
    """An array of JSON objects. The whole of it is never in memory, only one element at a time."""
    for number, (line, element) in enumerate(_elements(stream, name), 1):
        try:
            fields = _decode(element)
        except (ValueError, RecursionError) as error:
            yield number, f"{_problem(element, error)} (line {line})", b"", 0
        else:
            yield number, fields, element, 0


# A whole string, or what may be the start of one, or what opens, parts or closes elements. The
# possessive loops make a string that is cut off by the end of a chunk cost one pass, not many.
_token = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{},]', re.DOTALL)
_DEPTH = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


def _elements(stream: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the elements of an array as they are written, each with the line it starts on."""
    head = stream.read(len(_BOM)).removeprefix(_BOM)
    buffer = b""
    line = 1  # the one that buffer[start] is on
    start = at = depth = count = 0
    opened = False
    for chunk in chain([head], iter(partial(stream.read, _CHUNK), b"")):
        buffer = buffer[start:] + chunk
        at, start = at - start, 0
        if not opened and buffer.lstrip()[:1] not in (b"", b"["):
            raise DataError(
                f"{name} is not a JSON array",
                'write the rows as [{...}, {...}], or set format = "jsonl" under [data] '
                "if each line is an object",
            )
        for token in _token.finditer(buffer, at):
            char = token[0]
            if char == b'"':  # the rest of this string is in the next chunk
                at = token.start()
                break
            at = token.end()
            if opened and not depth:
                break
            depth += _DEPTH.get(char, 0)
            if not opened:
                opened = True
            elif depth == 0 or (depth == 1 and char == b","):
                piece = buffer[start : token.start()]
                element = piece.lstrip()
                if element or depth or count:  # [] has no element, [1,] an empty second one
                    yield line + piece.count(b"\n", 0, len(piece) - len(element)), element
                    count += 1
            else:
                continue
            line += buffer.count(b"\n", start, at)
            start = at
    if depth:
        rest = buffer[start:]
        line += rest.count(b"\n", 0, len(rest) - len(rest.lstrip()))
        raise DataError(
            f"{name}, line {line}: the array does not end",
            "is the file cut off, or a quote or bracket not closed?",
        )
    if opened and buffer[start:].strip():
        raise DataError(
            f"{name}, line {line}: there is text after the end of the array",
            'set format = "jsonl" under [data] if each line is a value of its own',
        )


def read_csv(stream: BinaryIO, name: str, delimiter: str = ",") -> Iterator[Row]:
    """Cells under a header; every value is text. A row is known by the line it starts on."""
    csv.field_size_limit(max(csv.field_size_limit(), _CELL_LIMIT))
    # Bytes that are not UTF-8 become lone surrogates here, so that they spoil their row only.
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    # Not strict, an unclosed quote would swallow the rows after it without a word.
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    names: list[str] = []
    while True:
        number = rows.line_num + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if not names:
                raise DataError(f"{name}, line {number}: not valid CSV: {error}") from error
            yield number, f"not valid CSV: {error}", b"", 0
            continue
        if not cells:
            continue
        if not names:
            names = _names([cell.strip() for cell in cells], name)
        elif not _is_utf8("".join(cells)):
            yield number, "not UTF-8 text", b"", 0
        elif len(cells) != len(names):
            yield number, f"{len(cells)} cells, but the header has {len(names)}", b"", 0
        else:
            yield number, dict(zip(names, cells, strict=True)), b"", 0


def read_parquet(stream: BinaryIO, name: str) -> Iterator[Row]:
    """Rows of a Parquet file, a batch at a time, with JSON values only.

    Dates and times become ISO 8601 text (finer than microseconds is cut), decimals text, bytes
    base64. NaN and infinite numbers make a bad row, as they do in JSON.
    """
    import pyarrow
    from pyarrow import parquet

    pool = pyarrow.default_memory_pool()
    # The default pool keeps some 30 MB more for itself, and is no faster here.
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    try:
        # Without these two, a row group is read whole, and it may be the whole file.
        file = parquet.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 16)
        names = _names(file.schema_arrow.names, name)
        number = 0
        for batch in file.iter_batches(batch_size=256, use_threads=False):
            columns = [_column(*pair, name) for pair in zip(names, batch.columns, strict=True)]
            for values in zip(*columns, strict=True):
                number += 1
                bad = [n for n, value in zip(names, values, strict=True) if value is _NOT_JSON]
                if bad:
                    yield number, f"{bad[0]!r} is or holds NaN or an infinite number", b"", 0
                else:
                    yield number, dict(zip(names, values, strict=True)), b"", 0
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{name} cannot be read as Parquet: {error}",
            "is it damaged, or not Parquet? then set format under [data]",
        ) from error
    finally:
        pyarrow.set_memory_pool(pool)


_NOT_JSON = object()


def _column(title: str, column: Any, name: str) -> list[Any]:
    """The values of a pyarrow array as plain Python; ``_NOT_JSON`` for those with NaN.

    Raises:
        DataError: A value has no place in JSON: the year 148,000, or nanoseconds in a list.
    """
    import pyarrow

    kind = str(column.type)
    if "[ns" in kind and not pyarrow.types.is_nested(column.type):
        # Python's own types end at microseconds, and pyarrow would rather fail than round.
        column = column.cast(
            pyarrow.duration("us")
            if pyarrow.types.is_duration(column.type)
            else pyarrow.time64("us")
            if pyarrow.types.is_time(column.type)
            else pyarrow.timestamp("us", column.type.tz),
            safe=False,
        )
    try:
        values: list[Any] = column.to_pylist()
        if kind not in _PLAIN:
            values = msgspec.to_builtins(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{name}: column {title!r} ({kind}) holds a value that JSON cannot: {error}",
            "store the column as text, or leave it out",
        ) from error
    if "float" in kind or "double" in kind:
        return [value if _is_finite(value) else _NOT_JSON for value in values]
    return values


#: Types whose values need no conversion.
_PLAIN = {"string", "large_string", "bool", "double", "float", "halffloat"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def _is_finite(value: Any) -> bool:
    match value:
        case float():
            return value - value == 0
        case list() | tuple():
            return all(map(_is_finite, value))
        case dict():
            return all(map(_is_finite, value.values()))
    return True


def _is_utf8(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _names(names: list[str], name: str) -> list[str]:
    """Check the names of columns.

    Raises:
        DataError: One is empty, used twice or not UTF-8.
    """
    hint = "give every column a name of its own"
    for number, column in enumerate(names, 1):
        if not column:
            raise DataError(f"{name}: column {number} of the header has no name", hint)
        if not _is_utf8(column):
            raise DataError(f"{name}: the header is not UTF-8 text", "save the file as UTF-8")
        if column in names[: number - 1]:
            raise DataError(f"{name}: two columns of the header are named {column!r}", hint)
    return names


def _problem(row: bytes, error: Exception) -> str:
    """What is wrong with the JSON of a row, in words."""
    if isinstance(error, UnicodeError):
        return "not UTF-8 text"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if "Expected `object`" in str(error):
        return "not a JSON object"
    if b"NaN" in row or b"Infinity" in row:
        return f"not valid JSON, which has no NaN or Infinity: {error}"
    return f"not valid JSON: {error}"


#: Kinds of files by suffix; to add one, write its function and a row here.
READERS = {
    ".jsonl": Reader(read_jsonl, by_offset=True),
    ".ndjson": Reader(read_jsonl, by_offset=True),
    ".json": Reader(read_json, place="element"),
    ".csv": Reader(read_csv),
    ".tsv": Reader(partial(read_csv, delimiter="\t")),
    ".parquet": Reader(read_parquet, place="row", random_access=True),
}
