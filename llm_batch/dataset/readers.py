"""Rows out of a stream of bytes: one reader per kind of file, found by suffix in ``READERS``.

A reader never stops at a bad row: it yields what is wrong with it, and whoever reads decides.
What makes the whole file unreadable is a `DataError`.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import accumulate, chain, islice
from typing import Any, BinaryIO, NamedTuple

import msgspec

from llm_batch.dataset.shape import Row, Shape, column_names, decode_lines, decoded, is_utf8
from llm_batch.dataset.workbook import read_workbook
from llm_batch.errors import DataError

#: Characters in one CSV cell. More means a quote that is never closed: without a limit the rest
#: of the file would become one cell.
_CELL_LIMIT = 16 << 20

_BOM = b"\xef\xbb\xbf"
_CHUNK = 1 << 20
#: Bytes of a file that is one object and holds its rows.
_WHOLE_LIMIT = 512 << 20
_DEEPEST_ROWS = 3
# What may stand between objects that are not in an array.
_BETWEEN = b" \t\r\n,\x1e"
#: Rows of a batch that are Python objects at once.
_BATCH = 256
_ARROW_FILE = b"ARROW1"
# Lines that are decoded at once, and bytes.
_SOME_LINES, _SOME_BYTES = 512, 1 << 18
#: Bytes of one row. More means a file that has no rows of this kind.
ROW_LIMIT = 64 << 20


class Reader(NamedTuple):
    """How one kind of file is read.

    Attributes:
        rows: From an open stream, the name of the file (for messages) and its shape to its rows.
            It reads to the end, because the file is hashed as it is read.
        place: What numbers of rows count, from 1: ``line``, ``element`` or ``row``.
        by_offset: True when offsets of rows are given.
        random_access: True when the stream must be seekable.
        title: What a message calls such a file.
    """

    rows: Callable[[BinaryIO, str, Shape], Iterator[Row]]
    place: str = "line"
    by_offset: bool = False
    random_access: bool = False
    title: str = "CSV"


def read_jsonl(stream: BinaryIO, name: str, shape: Shape) -> Iterator[Row]:
    """One JSON object a line; blank lines are passed over."""
    end = count = 0
    lines_of = iter(partial(stream.readline, ROW_LIMIT), b"")
    several = 1  # first, since the first line may begin with a mark
    while lines := list(islice(lines_of, several)):
        size = sum(map(len, lines))
        several = min(max(_SOME_BYTES * len(lines) // size, 1), _SOME_LINES)
        if (found := _objects(lines)) is not None:
            offsets = accumulate(map(len, lines), initial=end)
            yield from zip(range(count + 1, sys.maxsize), found, lines, offsets)  # noqa: B905
            end, count = end + size, count + len(lines)
            continue
        for number, line in enumerate(lines, count + 1):
            if len(line) == ROW_LIMIT:
                raise _too_long(name, f"line {number}")
            start, end = end, end + len(line)
            if number == 1 and line.startswith(_BOM):
                start, line = len(_BOM), line[len(_BOM) :]
            try:
                fields = decoded(line, shape)
            except (ValueError, RecursionError) as error:
                if line.strip():
                    yield number, _problem(line, error), b"", start
            else:
                yield number, fields, line, start
        count += len(lines)


def _objects(lines: list[bytes]) -> list[dict[str, Any]] | None:
    """One for each line, where all are objects and nothing needs a closer look."""
    text = b"".join(lines)
    # So none goes over several lines, and no line can have two where there are as many as lines.
    if text[:1] != b"{" or text[-2:] != b"}\n" or text.count(b"}\n{") != len(lines) - 1:
        return None
    try:
        found = decode_lines(text)
    except (ValueError, RecursionError):
        return None
    return found if len(found) == len(lines) else None


def read_json(stream: BinaryIO, name: str, shape: Shape) -> Iterator[Row]:
    """The objects of an array, or one after another, or those under a key of a single object.

    Only a single object is ever in memory as a whole.
    """
    pieces = _pieces(stream, name)
    first = next(pieces, None)
    if first is None:
        return
    before = [first]
    if first[0] == b"{":
        second = next(pieces, None)
        if second is None:
            yield from _held(first[2], name, shape)
            return
        before.append(second)
    pieces = chain(before, pieces)
    for number, (_, line, element) in enumerate(pieces, 1):
        try:
            fields = decoded(element, shape)
        except (ValueError, RecursionError) as error:
            yield number, f"{_problem(element, error)} (line {line})", b"", 0
        else:
            yield number, fields, element, 0


def _held(text: bytes, name: str, shape: Shape) -> Iterator[Row]:
    """The rows that a single object holds: under one key, as columns, or itself as the only one.

    `DataError` where it holds several lists of objects.
    """
    try:
        whole = decoded(text, shape)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} cannot be read: {_problem(text, error)}") from error
    lists = dict(_lists_of_objects(whole))
    if len(lists) > 1:
        keys = sorted(lists, key=lambda key: len(lists[key]), reverse=True)
        raise DataError(
            f"{name} is one object with several lists of rows: {', '.join(keys[:5])}",
            f"write one of them as a file of its own: jq -c '.{keys[0]}[]' {name} > rows.jsonl",
        )
    rows = next(iter(lists.values())) if lists else _columns_of(whole) or [whole]
    for number, row in enumerate(rows, 1):
        yield number, row, b"", 0


def _lists_of_objects(
    value: dict[str, Any], before: str = "", depth: int = 1
) -> Iterator[tuple[str, list[Any]]]:
    for key, inner in value.items():
        path = f"{before}{key}"
        if isinstance(inner, list) and inner and all(isinstance(one, dict) for one in inner):
            yield path, inner
        elif isinstance(inner, dict) and depth < _DEEPEST_ROWS:
            yield from _lists_of_objects(inner, f"{path}.", depth + 1)


def _columns_of(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of a table that pandas wrote by columns, or with its ``split``; none of another."""
    columns, rows = value.get("columns"), value.get("data")
    if isinstance(columns, list) and isinstance(rows, list):
        named = [row for row in rows if isinstance(row, list) and len(row) == len(columns)]
        if named and len(named) == len(rows):
            return [dict(zip(map(str, columns), row, strict=True)) for row in named]
    by_index = [inner for inner in value.values() if isinstance(inner, dict)]
    if len(by_index) == len(value) and all(set(one) == set(by_index[0]) for one in by_index):
        return [{name: value[name][index] for name in value} for index in by_index[0]]
    return []


# A whole string, or what may be the start of one, or what opens, parts or closes elements. The
# possessive loops make a string that is cut off by the end of a chunk cost one pass, not many.
_token = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{},]', re.DOTALL)
_DEPTH = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}


def _pieces(stream: BinaryIO, name: str) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield the elements of an array, or the objects of a stream of them, as they are written.

    Each with ``[`` or ``{``, whichever the stream begins with, and the line it starts on.
    """
    head = stream.read(len(_BOM)).removeprefix(_BOM)
    buffer = bytearray()
    line = 1  # the one that buffer[start] is on
    start = at = depth = count = 0
    kind = b""
    for chunk in chain([head], iter(partial(stream.read, _CHUNK), b"")):
        del buffer[:start]
        buffer += chunk
        at, start = at - start, 0
        if len(buffer) > (ROW_LIMIT if kind == b"[" else _WHOLE_LIMIT):
            raise _too_long(name, f"line {line}")
        if not kind:
            kind = bytes(buffer[: len(chunk)].lstrip()[:1])
            if kind not in (b"", b"[", b"{"):
                raise DataError(
                    f"{name} is not JSON: it begins with {kind.decode('utf-8', 'replace')!r}",
                    "write the rows as [{...}, {...}], or one object a line",
                )
        for token in _token.finditer(buffer, at):
            char = token[0]
            if char == b'"':  # the rest of this string is in the next chunk
                at = token.start()
                break
            at = token.end()
            if kind == b"[" and count < 0:
                break
            depth += _DEPTH.get(char, 0)
            if depth < 0:
                raise DataError(
                    f"{name}, line {line}: a bracket closes that never opened",
                    "take it out, or see whether a part of the file is missing",
                )
            if kind == b"{":
                if depth or char not in (b"}", b"]"):
                    continue
                piece = bytes(buffer[start:at])
                element = piece.lstrip(_BETWEEN)
                yield kind, line + piece.count(b"\n", 0, len(piece) - len(element)), element
            elif depth == 0 or (depth == 1 and char == b","):
                piece = bytes(buffer[start : token.start()])
                element = piece.lstrip()
                if count == 0:
                    element = element.removeprefix(b"[").lstrip()
                if element or depth or count:  # [] has no element, [1,] an empty second one
                    yield kind, line + piece.count(b"\n", 0, len(piece) - len(element)), element
                    count += 1
                if not depth:
                    count = -1
            else:
                continue
            line += buffer.count(b"\n", start, at)
            start = at
    rest = bytes(buffer[start:])
    if depth:
        line += rest.count(b"\n", 0, len(rest) - len(rest.lstrip()))
        what = "array" if kind == b"[" else "object"
        raise DataError(
            f"{name}, line {line}: the {what} does not end",
            "is the file cut off, or a quote or bracket not closed?",
        )
    if kind and rest.strip(_BETWEEN):
        raise DataError(
            f"{name}, line {line}: there is text after the end of the "
            f"{'array' if kind == b'[' else 'objects'}",
            "if each line is a value of its own, name the file .jsonl",
        )


def read_csv(stream: BinaryIO, name: str, shape: Shape) -> Iterator[Row]:
    """Cells under a header; every value is text. A row is known by the line it starts on.

    A column without a name is left out: nothing could name it. Rows without any text are passed
    over and counted.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _CELL_LIMIT))
    # Bytes that are not UTF-8 become lone surrogates here, so that they spoil their row only.
    text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
    above = sum(1 for _ in range(shape.lines_before) if text.readline())
    # Not strict, an unclosed quote would swallow the rows after it without a word.
    rows = csv.reader(text, delimiter=shape.delimiter, strict=True)
    names: tuple[str, ...] = ()
    while True:
        number = above + rows.line_num + 1
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
        if not any(map(str.strip, cells)):
            shape.empty_rows += bool(names)
        elif not names:
            names = shape.columns = tuple(column_names([cell.strip() for cell in cells], name))
        elif not is_utf8("".join(cells)):
            yield number, "not UTF-8 text", b"", 0
        elif (len(cells) != len(names) and any(cells[len(names) :])) or len(cells) < len(names):
            title = "; if the first line is a title, delete it" if len(names) == 1 else ""
            yield number, f"{len(cells)} cells, but the header has {len(names)}{title}", b"", 0
        else:
            yield number, shape.fields(cells), b"", 0


def read_parquet(stream: BinaryIO, name: str, shape: Shape) -> Iterator[Row]:
    """Rows of a Parquet file, a batch at a time, with JSON values only.

    Of its columns those that the shape wants are read, all where it wants one that is not there.
    Dates and times become ISO 8601 text (finer than microseconds is cut), decimals text, bytes
    base64, NaN and infinite numbers ``None``.
    """
    import pyarrow
    from pyarrow import parquet

    pool = pyarrow.default_memory_pool()
    # The default pool keeps some 30 MB more for itself, and is no faster here.
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    try:
        # Without these two, a row group is read whole, and it may be the whole file.
        file = parquet.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 16)
        names = _chosen(column_names(file.schema_arrow.names, name), shape)
        batches = file.iter_batches(batch_size=_BATCH, use_threads=False, columns=names)
        yield from rows_of_batches(batches, name, shape)
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{name} cannot be read as Parquet: {error}",
            "is it damaged, or not Parquet? then name it by what it is",
        ) from error
    finally:
        pyarrow.set_memory_pool(pool)


def read_arrow(stream: BinaryIO, name: str, shape: Shape) -> Iterator[Row]:
    """Rows of an Arrow file (Feather) or stream, with values and columns as `read_parquet` has."""
    import pyarrow
    from pyarrow import ipc

    is_file = stream.read(len(_ARROW_FILE)) == _ARROW_FILE
    stream.seek(0)
    try:
        kind = ipc.RecordBatchFileReader if is_file else ipc.RecordBatchStreamReader
        schema = kind(stream).schema
        stream.seek(0)
        names = _chosen(column_names(schema.names, name), shape)
        places = [place for place, title in enumerate(schema.names) if title in names]
        reader = kind(stream, options=ipc.IpcReadOptions(included_fields=places, use_threads=False))
        if is_file:
            batches = map(reader.get_batch, range(reader.num_record_batches))
        else:
            batches = iter(reader)
        small = (
            batch.slice(start, _BATCH)
            for batch in batches
            for start in range(0, batch.num_rows, _BATCH)
        )
        yield from rows_of_batches(small, name, shape)
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{name} cannot be read as Arrow: {error}",
            "is it damaged, or of Feather's first version? save it anew",
        ) from error


def rows_of_batches(batches: Iterable[Any], name: str, shape: Shape) -> Iterator[Row]:
    """The rows of pyarrow's record batches, with JSON values as of `read_parquet`."""
    number = 0
    for batch in batches:
        names = batch.schema.names
        columns = [
            _column(title, column, name, shape)
            for title, column in zip(names, batch.columns, strict=True)
        ]
        for values in zip(*columns, strict=True):
            number += 1
            yield number, dict(zip(names, values, strict=True)), b"", 0


def _chosen(names: list[str], shape: Shape) -> list[str]:
    wanted = shape.wanted
    every = wanted is None or not wanted <= set(names)
    return [name for name in names if name and (every or (wanted and name in wanted))]


def _column(title: str, column: Any, name: str, shape: Shape) -> list[Any]:
    """The values of a pyarrow array as plain Python.

    `DataError` for a value that has no place in JSON: the year 148,000, or nanoseconds in a list.
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
        return [shape.finite(value) for value in values]
    return values


#: Types whose values need no conversion.
_PLAIN = {"string", "large_string", "bool", "double", "float", "halffloat"} | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def _too_long(name: str, where: str) -> DataError:
    return DataError(
        f"{name}, {where}: the row is longer than {ROW_LIMIT >> 20} MB",
        "is a quote, a bracket or a line end missing?",
    )


def _problem(row: bytes, error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return "not UTF-8 text"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if "Expected `object`" in str(error):
        return "not a JSON object"
    return f"not valid JSON: {error}"


_WORKBOOK = Reader(read_workbook, place="row", random_access=True, title="a workbook")
_ARROW = Reader(read_arrow, place="row", random_access=True, title="Arrow")

#: Kinds of files by suffix; to add one, write its function and a row here.
READERS = {
    ".jsonl": Reader(read_jsonl, by_offset=True, title="JSON Lines"),
    ".ndjson": Reader(read_jsonl, by_offset=True, title="JSON Lines"),
    ".json": Reader(read_json, place="element", title="JSON"),
    ".csv": Reader(read_csv),
    ".tsv": Reader(read_csv),
    ".parquet": Reader(read_parquet, place="row", random_access=True, title="Parquet"),
    ".arrow": _ARROW,
    ".feather": _ARROW,
    ".xlsx": _WORKBOOK,
    ".xlsm": _WORKBOOK,
    ".xlsb": _WORKBOOK,
    ".xls": _WORKBOOK,
    ".ods": _WORKBOOK,
}
