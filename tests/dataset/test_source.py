"""Where bytes come from: files and standard input, packed or not, hashed on their way."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from llm_batch.dataset.source import Source
from llm_batch.errors import DataError

LINES = b'{"a":1}\n{"a":2}\n'
FIELDS = [{"a": 1}, {"a": 2}]


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def table() -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table({"a": [1, 2]}), file)
    return file.getvalue()


def fields_of(source: Source) -> list[Any]:
    return [fields for _, fields, _, _ in source.rows()]


FILES = {
    "q.jsonl": LINES,
    "Q.JSONL": LINES,
    "q.ndjson": LINES,
    "q.json": b'[{"a":1},{"a":2}]',
    "q.jsonl.gz": gzip.compress(LINES),
    "q.jsonl.zst": zstd(LINES),
    "q.json.gz": gzip.compress(b'[{"a":1},{"a":2}]'),
    "two-members.jsonl.gz": gzip.compress(LINES[:8]) + gzip.compress(LINES[8:]),
    "two-frames.jsonl.zst": zstd(LINES[:8]) + zstd(LINES[8:]),
    "packed-without-saying.jsonl": gzip.compress(LINES),
    "not-packed.jsonl.gz": LINES,
    "q.parquet": table(),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_by_its_suffix_and_hashed_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    with Source(path) as source:
        assert fields_of(source) == FIELDS
        assert source.sha256() == hashlib.sha256(FILES[name]).hexdigest()


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("Q")])
def test_standard_input_is_read_by_the_format_and_hashed_whole(name: str) -> None:
    kind = "json" if ".json" in name and ".jsonl" not in name else None
    kind = "parquet" if name.endswith(".parquet") else kind
    stdin = io.BytesIO(FILES[name])
    with Source("-", kind, stdin) as source:
        assert fields_of(source) == FIELDS
        assert source.sha256() == hashlib.sha256(FILES[name]).hexdigest()
    assert not stdin.closed


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_csv_and_tsv_are_read_by_suffix(suffix: str, delimiter: str, tmp_path: Path) -> None:
    path = tmp_path / f"q{suffix}.gz"
    path.write_bytes(gzip.compress(f"a{delimiter}b\n1{delimiter}2\n".encode()))
    with Source(path) as source:
        assert fields_of(source) == [{"a": "1", "b": "2"}]


def test_the_format_overrules_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "q.txt"
    path.write_bytes(LINES)
    with Source(path, "jsonl") as source:
        assert fields_of(source) == FIELDS


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    """As in ``--data <(zcat q.jsonl.gz)``."""
    reading, writing = os.pipe()
    os.write(writing, LINES)
    os.close(writing)
    try:
        with Source(Path(f"/dev/fd/{reading}"), "jsonl") as source:
            assert fields_of(source) == FIELDS
            assert not source.in_place
    finally:
        os.close(reading)


@pytest.mark.parametrize("name", ["q.jsonl", "q.json", "q.jsonl.gz", "q.parquet"])
def test_only_plain_jsonl_can_be_read_again_by_offset(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    with Source(path) as source:
        fields_of(source)
        assert source.in_place == (name == "q.jsonl")


def nothing(path: Path) -> None:
    """Leave the place empty."""


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("q.jsonl", nothing, "no data file '.*q.jsonl'"),
        ("q.jsonl", Path.mkdir, "'.*q.jsonl' is a directory"),
        ("q.txt", content(b"Why?\nWho, then?\n"), r"the format of '.*q\.txt': it is neither JSON"),
        ("q", content(b"<html><table>"), "q': it is a web page or XML"),
        ("q.gz", content(gzip.compress(bytes(range(256)))), "it is neither JSON"),
        ("q.jsonl", content(b""), "q.jsonl is empty"),
        ("q.parquet", content(b""), "q.parquet is empty"),
        ("q.jsonl.gz", content(gzip.compress(b"")), "q.jsonl.gz is empty"),
        ("q.jsonl.zst", content(zstd(b"")), "q.jsonl.zst is empty"),
        ("q.csv", content("id,q\n1,é\n".encode("utf-16")[:-1]), "q.csv is not utf-16 text"),
        ("q.csv", content(b"PK\x03\x04..."), "q.csv cannot be read as a workbook: it is cut off"),
        ("q", content(b"ARROW1\0\0"), "q cannot be read as Arrow"),
        ("q.jsonl.bz2", content(bz2.compress(LINES)[:-9]), "q.jsonl.bz2 cannot be read"),
        ("q.jsonl.xz", content(lzma.compress(LINES)[:-9]), "q.jsonl.xz cannot be read"),
        ("q.jsonl.gz", content(gzip.compress(LINES)[:-9]), "q.jsonl.gz cannot be read"),
        ("q.jsonl.gz", content(gzip.compress(LINES) + b"junk"), "q.jsonl.gz cannot be read"),
        ("q.jsonl.zst", content(zstd(LINES)[:-3]), "zst cannot be read: the packed data is cut"),
        ("q.jsonl.zst", content(zstd(LINES) + b"junk"), "q.jsonl.zst cannot be read"),
        ("q.jsonl.zst", content(zstd(LINES)[:-1] + b"!"), "q.jsonl.zst cannot be read"),
        ("q.parquet", content(table()[:-20]), "q.parquet cannot be read as Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(
    name: str, make: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises(DataError, match=message) as caught, Source(path) as source:
        fields_of(source)
    assert caught.value.hint


def test_a_file_that_may_not_be_opened_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match=r"cannot open '.*q\.jsonl': Permission denied"):
        Source(tmp_path / "q.jsonl")


@pytest.mark.parametrize("name", ["q.jsonl", "q.jsonl.gz", "q.parquet"])
def test_a_file_that_changes_while_it_is_read_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    with Source(path) as source:
        rows = source.rows()
        next(rows)
        os.utime(path, ns=(0, 0))
        with pytest.raises(DataError, match="has changed since it was opened"):
            list(rows)


def test_packed_data_of_many_frames_and_much_text_is_read_whole(tmp_path: Path) -> None:
    line = b'{"a":"' + b"x" * 1_000 + b'"}\n'
    path = tmp_path / "q.jsonl.zst"
    path.write_bytes(zstd(line * 3_000) + zstd(b"") + b"".join(zstd(line) for _ in range(50)))
    with Source(path) as source:
        assert sum(1 for _ in source.rows()) == 3_050


def test_importing_the_package_loads_nothing_slow() -> None:
    code = (
        "import sys, llm_batch.dataset;"
        "print({'pyarrow', 'zstandard', 'numpy', 'scipy', 'pydantic'} & set(sys.modules) or 'none')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "none"
