"""Results as a table: Parquet with typed columns, packed, in groups of rows.

The table of a run (``-o results.parquet``) is made of its lines as the run ends, whole or not at
all: a Parquet file can be read once its end is written, and only at the end it is known which
columns there are and of which types. The lines stay the working file of every verb.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec

from llm_batch import __version__
from llm_batch.errors import ConfigError
from llm_batch.record.files import (
    FREE_SPACE,
    Writing,
    in_place_of,
    left_beside,
    make_own,
    real_path,
)
from llm_batch.record.manifest import Manifest
from llm_batch.record.results import ItemLine, item_lines
from llm_batch.reporting.items import COLUMNS, row

_ROWS = 2_000
# As DuckDB's own files have them; fewer where rows are long, since a group is held whole.
_GROUP_ROWS = 120_000
_GROUP_BYTES = 64 << 20
# What a table says of itself: the run, and the state of its results.
_RUN, _STATE = b"llmb.run", b"llmb.results"
_LARGEST = 2**63
_EXACT = 2**53  # up to here a float has every whole number
_encode = msgspec.json.Encoder().encode

#: Of columns that may be empty throughout.
_KNOWN_TYPES: dict[str, type] = {
    "score": float,
    "passed": bool,
    "cost_usd": float,
    "latency_seconds": float,
    "attempts": int,
}


def check_table(table: Path, manifest: Manifest | None) -> None:
    """Refuse to write a run's table over what is not of this run: a `ConfigError`.

    ``manifest`` is that of the earlier run of the same output, if there is one.
    """
    if not os.path.lexists(table):
        return
    of = _about(table).get(_RUN, b"").decode()
    if of and manifest is not None and of == manifest.run_id:
        return
    what = f"the table of another run ({of})" if of else "something that no run wrote"
    raise ConfigError(
        f"{table} is {what}, which this run would replace",
        "write elsewhere: --output other.parquet; or add --overwrite: what is there is renamed, "
        "not deleted",
    )


def write_table(table: Path, results: Path, manifest: Manifest, mode: int) -> None:
    """Write the table of a run that has ended, unless it is there as it would be written.

    Args:
        mode: As in `llm_batch.record.files.open_beside`.

    Raises:
        OutputError: The disk is full, or the results cannot be read.
    """
    stamp = manifest.totals.results_file
    state = f"{__version__} {stamp['hash']}" if isinstance(stamp, dict) else ""
    if state and _about(table).get(_STATE, b"").decode() == state:
        return
    with Writing(table, f"; all results are in {results}", FREE_SPACE):
        real = real_path(table)
        for left in left_beside(real):
            left.unlink()
        make_own(real)
        with in_place_of(real, mode) as file:
            about = {_RUN: manifest.run_id, _STATE: state}
            write_parquet(file, lambda: item_lines(results), about)


def of_run(results: str) -> dict[bytes, str]:
    """What a table says of itself that holds some of a run's results."""
    manifest, _ = Manifest.beside(results)
    return {_RUN: manifest.run_id} if manifest else {}


def _about(table: Path) -> Mapping[bytes, bytes]:
    from pyarrow import ArrowException, parquet

    try:
        return parquet.read_metadata(table).metadata or {}
    except (OSError, ArrowException):
        return {}


def write_parquet(
    file: IO[bytes], items: Callable[[], Iterable[ItemLine]], about: Mapping[bytes, str]
) -> None:
    """Typed columns; what has several types, and every object, is text.

    Args:
        items: Gives them from the first each time: they are gone through twice.
        about: What the file says of itself.
    """
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema(
        (name, getattr(pyarrow, kind)()) for name, kind in _columns(items()).items()
    ).with_metadata(about)
    texts = [field.name for field in schema if field.type == pyarrow.string()]

    def tables() -> Iterator[Any]:
        left = iter(items())
        while rows := [row(item, item.stratum) for item in islice(left, _ROWS)]:
            for made in rows:
                for name in texts:
                    if not isinstance(made.get(name), str | None):
                        made[name] = _encode(made[name]).decode()
            yield pyarrow.Table.from_pylist(rows, schema)

    with closing(parquet.ParquetWriter(file, schema, compression="zstd")) as writer:
        group: list[Any] = []

        def close_group() -> None:
            if group:
                writer.write_table(pyarrow.concat_tables(group), _GROUP_ROWS)
                group.clear()

        for table in tables():
            group.append(table)
            if len(group) * _ROWS >= _GROUP_ROWS or sum(t.nbytes for t in group) >= _GROUP_BYTES:
                close_group()
        close_group()


def _columns(items: Iterable[ItemLine]) -> dict[str, str]:
    """The columns of all rows, with their types in pyarrow's words."""
    found: dict[str, set[object]] = {name: set() for name in COLUMNS}
    for item in items:
        for name, value in row(item, item.stratum).items():
            kind: object = type(value)
            if kind is int and not -_EXACT <= value <= _EXACT:
                kind = _LONG if -_LARGEST <= value < _LARGEST else str
            found.setdefault(name, set()).add(kind)
    for kinds in found.values():
        kinds.discard(type(None))
    return {
        name: _TYPES.get(frozenset(kinds or [_KNOWN_TYPES.get(name, str)]), "string")
        for name, kinds in found.items()
    }


_LONG = "of more digits than a float has"
_TYPES: dict[frozenset[object], str] = {
    frozenset([bool]): "bool_",
    frozenset([int]): "int64",
    frozenset([_LONG]): "int64",
    frozenset([int, _LONG]): "int64",
    frozenset([float]): "float64",
    frozenset([int, float]): "float64",
}
