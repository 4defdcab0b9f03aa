"""Rows that are in no file: from Python, or from a query of DuckDB, SQLite or Postgres.

They may come in another order the next time, so what tells whether they are the same again is a
sum of hashes of the rows, which no order changes. What depends on an order must say which: see
`chain.addresses.check_address`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import msgspec

from llm_batch.chain.addresses import database_of
from llm_batch.dataset.readers import rows_of_batches
from llm_batch.dataset.shape import Row, Shape, column_names
from llm_batch.errors import DataError
from llm_batch.paper import words

_encode_sorted = msgspec.json.Encoder(order="deterministic").encode
_BITS = 256
_BATCH = 256  # rows that are Python objects at once


class Rows:
    """An `Input` of objects, each with the fields of a row."""

    in_place = is_table = is_headed = False
    file = io.RawIOBase()  # nobody reads from it

    def __init__(self, name: str) -> None:
        self.name = name
        self.shape = Shape()
        self._sum = 0

    def fields(self) -> Iterator[dict[str, Any] | str]:
        """The fields of each row, as JSON can hold them, or what is wrong with it."""
        raise NotImplementedError

    def rows(self) -> Iterator[Row]:
        for number, fields in enumerate(self.fields(), 1):
            if not isinstance(fields, str):
                try:
                    digest = blake2b(_encode_sorted(fields), digest_size=_BITS // 8)
                except UnicodeEncodeError:
                    fields = "it holds text that is not Unicode: half of a surrogate pair"
                else:
                    self._sum += int.from_bytes(digest.digest())
            yield number, fields, b"", 0

    def at(self, *numbers: int) -> str:
        return f"row{'s' * (len(numbers) > 1)} {' and '.join(map(str, numbers))}"

    @property
    def notes(self) -> tuple[str, ...]:
        count = self.shape.not_finite
        values = words.counted(count, "value")
        return (f"{values} of {self.name} NaN or infinite, taken as missing",) if count else ()

    def sha256(self) -> str:
        return f"{self._sum % (1 << _BITS):0{_BITS // 4}x}"

    def check_unchanged(self) -> None:
        """What was read is kept, since it cannot be read again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


#: What the manifest calls data that a program gave.
GIVEN = "data of the program"


class Given(Rows):
    """Rows of a program's own: dicts, a frame of pandas, Polars or pyarrow, a Dataset of any kind.

    Whatever they are in, they are gone through once, some at a time.
    """

    def __init__(self, data: Any) -> None:
        super().__init__(GIVEN)
        self._data = data

    def fields(self) -> Iterator[dict[str, Any] | str]:
        for row in self._rows_of(self._data):
            if not isinstance(row, Mapping):
                yield f"of the type {type(row).__name__}, and no dict of fields"
                continue
            try:
                plain = msgspec.to_builtins(dict(row), str_keys=True, enc_hook=_plain)
            except (TypeError, ValueError, OverflowError, RecursionError) as error:
                yield f"it holds a value that JSON cannot: {error}"
                continue
            # What is a field in a file has a name, and so here.
            named = {str(name): value for name, value in plain.items()}
            if len(named) < len(row):
                yield "two of its fields have the same name, as text"
                continue
            yield self.shape.finite(named)

    def _rows_of(self, data: Any) -> Iterator[Any]:
        """The rows of what was given, by what it can do and not by its type."""
        if hasattr(data, "iter_batches") and hasattr(data, "iter_rows"):  # Ray Data
            return iter(data.iter_rows())
        if hasattr(data, "iter_rows") and hasattr(data, "rows"):  # Polars
            return iter(data.iter_rows(named=True))
        if hasattr(data, "collect_batches"):  # lazy, of Polars
            return (row for frame in data.collect_batches() for row in self._rows_of(frame))
        if hasattr(data, "collect_schema") and hasattr(data, "collect"):  # of an older one
            return self._rows_of(data.collect())
        if hasattr(data, "itertuples"):  # pandas; its iterator gives columns, not rows
            names = column_names(list(map(str, data.columns)), self.name)
            tuples = data.itertuples(index=False, name=None)
            return (dict(zip(names, values, strict=True)) for values in tuples)
        if hasattr(data, "scanner"):  # a dataset of pyarrow
            data = data.scanner().to_reader()
        if hasattr(data, "__arrow_c_stream__") and not hasattr(
            data, "features"
        ):  # as of `datasets`
            return self._rows_of_arrow(data)
        return _dicts(data)

    def _rows_of_arrow(self, data: Any) -> Iterator[Any]:
        """Of a table or a stream of pyarrow, a relation of DuckDB, and whatever else gives one."""
        import pyarrow

        try:
            reader = pyarrow.RecordBatchReader.from_stream(data)
        except pyarrow.ArrowInvalid:  # one column, without a name
            return _dicts(data)
        column_names(reader.schema.names, self.name)
        small = (
            batch.slice(start, _BATCH)
            for batch in reader
            for start in range(0, batch.num_rows, _BATCH)
        )
        return (fields for _, fields, _, _ in rows_of_batches(small, self.name, self.shape))


def _dicts(data: Any) -> Iterator[Any]:
    if isinstance(data, Mapping | str | bytes) or not _goes_through(data):
        parts = list(data.values()) if isinstance(data, Mapping) else []
        columns = bool(parts) and all(isinstance(part, list | tuple) for part in parts)
        columns = columns and not any(isinstance(each, Mapping) for part in parts for each in part)
        raise DataError(
            f"data of the type {type(data).__name__} has no rows",
            "these are columns: data=pandas.DataFrame(DATA)"
            if columns
            else f"choose one of its parts: data=DATA[{next(iter(data))!r}]"
            if any(map(_goes_through, parts))
            else "give a list of dicts, a frame of pandas or Polars, or a path as [data] path",
        )
    return iter(data)


def _goes_through(data: Any) -> bool:
    return isinstance(data, Iterable) and not isinstance(data, str)


def _plain(value: Any) -> Any:
    """What a library's own number, date or missing value is in plain Python."""
    if type(value).__name__ in ("NAType", "NaTType"):  # of pandas
        return None
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars
        return value.tolist()
    if hasattr(value, "to_list"):  # a series
        return value.to_list()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"of the type {type(value).__name__}")


_FETCHED = 1024
_LONGEST_ERROR = 300
_NOT_OF_ARROW = ("BIT", "INTERVAL", "TIME WITH TIME ZONE")


class Query(Rows):
    """The rows that a query of ``duckdb:``, ``sqlite:`` or ``postgres:`` gives, by batches.

    It only reads: files are opened so, and DuckDB is asked for its kind before it is played. What
    DuckDB reads itself (Parquet, CSV, Postgres) can be asked as well.
    """

    def __init__(self, address: str) -> None:
        self._scheme, self._place, self._query = database_of(address)
        super().__init__(f"{self._scheme}:{self._place}")
        is_file = self._scheme != "postgres" and not Path(self._place).is_dir()
        if is_file and not Path(self._place).is_file():
            raise DataError(
                f"no database {self._place!r}",
                "name its file, or of duckdb: a folder, whose files the query names",
            )

    def fields(self) -> Iterator[dict[str, Any] | str]:
        return self._of_sqlite() if self._scheme == "sqlite" else self._of_duckdb()

    def _of_sqlite(self) -> Iterator[dict[str, Any] | str]:
        import sqlite3

        uri = Path(self._place).resolve().as_uri()
        try:
            with closing(sqlite3.connect(f"{uri}?mode=ro", uri=True)) as database:
                # Read-only is what is opened; ATTACH would make a file.
                database.set_authorizer(
                    lambda action, *_: (
                        sqlite3.SQLITE_DENY
                        if action == sqlite3.SQLITE_ATTACH
                        else sqlite3.SQLITE_OK
                    )
                )
                cursor = database.execute(self._query)
                if cursor.description is None:
                    raise self._no_select()
                names = column_names([each[0] for each in cursor.description], self.name)
                while rows := cursor.fetchmany(_FETCHED):
                    for row in rows:
                        fields = dict(zip(names, msgspec.to_builtins(row), strict=True))
                        yield self.shape.finite(fields)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise self._failed(error) from error

    def _of_duckdb(self) -> Iterator[dict[str, Any] | str]:
        try:
            import duckdb
        except ImportError as error:
            raise DataError(
                f"{self._scheme}: is read with the package duckdb, which is not installed",
                "pip install 'llmb[sql]'",
            ) from error
        try:
            with self._connected(duckdb) as database:
                kinds = [each.type for each in duckdb.extract_statements(self._query)]
                if kinds != [duckdb.StatementType.SELECT]:
                    raise self._no_select()
                relation = database.sql(self._query)
                names = column_names(list(relation.columns), self.name)
                # Arrow has none of these types, and would give what DuckDB keeps of them inside.
                texts = [
                    '"{0}"::VARCHAR AS "{0}"'.format(name.replace('"', '""'))
                    for name, kind in zip(names, relation.types, strict=True)
                    if str(kind) in _NOT_OF_ARROW
                ]
                if texts:
                    # A view may end in ; and a comment, which a query in brackets may not.
                    database.execute(f"CREATE TEMP VIEW llmb_asked AS {self._query}")
                    relation = database.sql(
                        f"SELECT * REPLACE ({', '.join(texts)}) FROM temp.main.llmb_asked"
                    )
                # Called otherwise before DuckDB 2. Not of a cursor: that keeps every row.
                reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
                for _, fields, _, _ in rows_of_batches(reader(_FETCHED), self.name, self.shape):
                    yield fields
        except (duckdb.Error, OSError) as error:
            raise self._failed(error) from error

    def _connected(self, duckdb: Any) -> Any:
        if self._scheme == "postgres":
            database = duckdb.connect()
            place = self._place.replace("'", "''")
            database.execute(f"ATTACH '{place}' AS given (TYPE postgres, READ_ONLY)")
            database.execute("USE given")
        elif Path(self._place).is_dir():
            database = duckdb.connect()
            database.execute("SET file_search_path = ?", [self._place])
        else:
            database = duckdb.connect(self._place, read_only=True)
        return database

    def _no_select(self) -> DataError:
        return DataError(
            f"{self.name}: the query is no single SELECT", "write one, which only reads"
        )

    def _failed(self, error: Exception) -> DataError:
        said = re.sub(r"\s+", " ", str(error)).strip()[:_LONGEST_ERROR]
        if "sqlite_scanner" in said:
            return DataError(
                f"{self.name} is a database of SQLite",
                f"ask it: --data 'sqlite:{self._place}?SELECT …'",
            )
        if "download extension" in said:
            return DataError(
                f"{self.name} is read with an extension of DuckDB, which it cannot fetch",
                "it is fetched once, from extensions.duckdb.org: let this machine reach that, or "
                f"type INSTALL {self._scheme} in DuckDB where it can",
            )
        return DataError(f"{self.name}: the query failed: {said}", "try it there by itself first")
