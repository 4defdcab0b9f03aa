"""Rows that SQL asks for: of DuckDB, of what DuckDB reads (Parquet, CSV, Postgres), or of SQLite.

A query only reads: files are opened so, and DuckDB is asked for its kind before it is played. The
order of its rows means nothing here, so what depends on one must say which: see `check_query`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from llm_batch.chain.addresses import database_of
from llm_batch.dataset.given import Rows
from llm_batch.dataset.readers import rows_of_batches
from llm_batch.dataset.shape import column_names
from llm_batch.errors import DataError

_BATCH = 1024
_LONGEST = 300
_NOT_OF_ARROW = ("BIT", "INTERVAL", "TIME WITH TIME ZONE")


class Query(Rows):
    """The rows that a query of ``duckdb:``, ``sqlite:`` or ``postgres:`` gives, by batches."""

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
                while rows := cursor.fetchmany(_BATCH):
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
                for _, fields, _, _ in rows_of_batches(reader(_BATCH), self.name, self.shape):
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
        said = re.sub(r"\s+", " ", str(error)).strip()[:_LONGEST]
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
