"""Rows out of bytes, for each kind of file."""

from __future__ import annotations

import csv
import datetime
import io
import json
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from llm_batch.dataset import readers
from llm_batch.dataset.readers import READERS, Row
from llm_batch.errors import DataError


def read(suffix: str, data: bytes) -> list[Row]:
    return list(READERS[suffix].rows(io.BytesIO(data), "q" + suffix))


def values(suffix: str, data: bytes) -> list[Any]:
    """Number and either fields or what is wrong, of each row."""
    return [(number, fields) for number, fields, _, _ in read(suffix, data)]


def as_parquet(table: dict[str, Any] | pa.Table) -> bytes:
    file = io.BytesIO()
    parquet.write_table(table if isinstance(table, pa.Table) else pa.table(table), file)
    return file.getvalue()


# JSON a model could be asked about: any text, numbers that JSON and Python agree on.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(TEXT, JSON, max_size=4), max_size=8)


@given(rows=ROWS, ascii_only=st.booleans(), bom=st.booleans(), end=st.sampled_from(["\n", "\r\n"]))
def test_jsonl_reads_back_what_json_wrote(
    rows: list[dict[str, Any]], ascii_only: bool, bom: bool, end: str
) -> None:
    text = end.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    data = text.encode("utf-8-sig" if bom else "utf-8")
    got = read(".jsonl", data)
    assert [fields for _, fields, _, _ in got] == rows
    for _, fields, row, offset in got:
        assert data[offset : offset + len(row)] == row
        assert msgspec.json.decode(row) == fields


@given(
    rows=ROWS,
    indent=st.sampled_from([None, 0, 2]),
    bom=st.booleans(),
    chunk=st.integers(1, 40),
)
def test_a_json_array_reads_back_however_it_is_cut_into_chunks(
    rows: list[dict[str, Any]], indent: int | None, bom: bool, chunk: int
) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "_CHUNK", chunk)
        got = values(".json", text.encode("utf-8-sig" if bom else "utf-8"))
    assert got == list(enumerate(rows, 1))


@given(
    names=st.lists(
        TEXT.map(str.strip).filter(lambda name: name and "\0" not in name),
        min_size=2,
        max_size=4,
        unique=True,
    ),
    data=st.data(),
)
def test_csv_and_tsv_read_back_any_text(names: list[str], data: st.DataObject) -> None:
    cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    rows = data.draw(st.lists(st.lists(cell, min_size=len(names), max_size=len(names))))
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([names, *rows])
        got = [fields for _, fields in values(suffix, text.getvalue().encode("utf-8-sig"))]
        assert got == [dict(zip(names, row, strict=True)) for row in rows]


# Python ends a line of JSONL in nothing but \n, so these characters are text like any other.
@pytest.mark.parametrize("char", ["\u2028", "\x85", "\x0b", "\x1e"])
def test_only_a_newline_ends_a_line_of_jsonl(char: str) -> None:
    line = msgspec.json.encode({"q": f"a{char}b"})
    assert values(".jsonl", line + b"\n") == [(1, {"q": f"a{char}b"})]


def test_blank_lines_of_jsonl_are_passed_over_and_counted() -> None:
    assert values(".jsonl", b'\n{"a":1}\n  \r\n\n{"a":2}') == [(2, {"a": 1}), (5, {"a": 2})]


DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"{'a': 1}", "not valid JSON"),
        (b'{"a" 1}', "not valid JSON"),
        (b'{"a": 1} {"a": 2}', "not valid JSON"),
        (b'{"a": NaN}', "no NaN or Infinity"),
        (b'{"a": -Infinity}', "no NaN or Infinity"),
        (b'{"a": "\\ud83d"}', "not valid JSON"),
        (b'"a"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"a": "caf\xe9"}', "not UTF-8"),
        (b'{"caf\xe9": 1}', "not UTF-8"),
        (DEEP, "nested too deeply"),
    ],
    ids=lambda value: value[:18].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_a_bad_row_of_json_does_not_spoil_the_others(row: bytes, problem: str) -> None:
    for suffix, data in (
        (".jsonl", b'{"a":1}\n' + row + b'\n{"a":3}\n'),
        (".json", b'[{"a":1},\n' + row + b',\n{"a":3}]'),
    ):
        first, (number, found), last = values(suffix, data)
        assert (first, number, last) == ((1, {"a": 1}), 2, (3, {"a": 3}))
        assert problem in found


def test_a_line_cut_off_does_not_spoil_the_others() -> None:
    first, (number, problem), last = values(".jsonl", b'{"a":1}\n{"a": 1\n{"a":3}')
    assert (first, number, last) == ((1, {"a": 1}), 2, (3, {"a": 3}))
    assert "not valid JSON" in problem


def test_an_array_in_a_jsonl_file_is_recognised() -> None:
    number, problem = values(".jsonl", b'[\n{"a":1},\n{"a":2}\n]\n')[0]
    assert number == 1
    assert 'format = "json"' in problem


def test_a_bad_element_of_an_array_names_its_line() -> None:
    (_, one), (two, problem) = values(".json", b'[\n {"a":\n 1},\n\n\n {"a" 2}\n]')
    assert one == {"a": 1}
    assert two == 2
    assert problem.endswith("(line 6)")


@pytest.mark.parametrize("data", [b"[]", b" [ \n ] \n", b"\xef\xbb\xbf[]", b"  \n"])
def test_an_empty_array_has_no_rows(data: bytes) -> None:
    assert values(".json", data) == []


def test_the_shortest_array_with_a_row_is_read() -> None:
    assert values(".json", b"[1]") == [(1, "not a JSON object (line 1)")]


def test_a_comma_too_many_is_a_bad_row() -> None:
    assert [type(fields) for _, fields in values(".json", b'[{"a":1},]')] == [dict, str]
    assert [type(fields) for _, fields in values(".json", b'[{"a":1},,{"a":2}]')] == [
        dict,
        str,
        dict,
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"a": 1}\n{"a": 2}', "q.json is not a JSON array"),
        (b"hello", "q.json is not a JSON array"),
        (b'[{"a": 1},\n{"a": 2}', "q.json, line 2: the array does not end"),
        (b'[{"a": "1}]', "q.json, line 1: the array does not end"),
        (b'[{"a": 1}]\n]', "line 1: there is text after the end"),
        (b'[{"a": 1}] x', "line 1: there is text after the end"),
        (b'[{"a": 1}] "x', "line 1: there is text after the end"),
    ],
)
def test_what_is_no_array_is_refused_as_a_whole(data: bytes, message: str) -> None:
    for chunk in (1, 5, 1 << 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(readers, "_CHUNK", chunk)
            with pytest.raises(DataError, match=message) as caught:
                read(".json", data)
        assert caught.value.hint


def test_rows_of_csv_are_known_by_the_line_they_start_on() -> None:
    data = b'id,q\r\n1,"two\r\nlines"\r\n\r\n2,x\r\n3,"a ""b"", c"\r\n'
    assert values(".csv", data) == [
        (2, {"id": "1", "q": "two\r\nlines"}),
        (5, {"id": "2", "q": "x"}),
        (6, {"id": "3", "q": 'a "b", c'}),
    ]


def test_names_in_a_header_are_trimmed_and_cells_are_not() -> None:
    assert values(".csv", b"\nid , q\n 1, x \n") == [(3, {"id": " 1", "q": " x "})]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"2", "1 cells, but the header has 2"),
        (b"2,x,y", "3 cells, but the header has 2"),
        (b"2,caf\xe9", "not UTF-8 text"),
        (b'2,"x"y', "not valid CSV"),
    ],
)
def test_a_bad_row_of_csv_does_not_spoil_the_others(row: bytes, problem: str) -> None:
    first, (number, found), last = values(".csv", b"id,q\n1,a\n" + row + b"\n3,c\n")
    assert (first, number, last) == ((2, {"id": "1", "q": "a"}), 3, (4, {"id": "3", "q": "c"}))
    assert problem in found


def test_a_quote_never_closed_loses_no_row_without_a_word() -> None:
    rows = values(".csv", b'id,q\n1,a\n2,"b\n3,c\n4,d\n')
    assert rows[0] == (2, {"id": "1", "q": "a"})
    assert rows[1][0] == 3
    assert "not valid CSV" in rows[1][1]


def test_a_cell_may_be_longer_than_the_csv_module_allows_by_default() -> None:
    cell = "x" * 200_000
    assert values(".csv", f"q\n{cell}\n".encode()) == [(2, {"q": cell})]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"id,q,id\n1,2,3\n", "q.csv: two columns of the header are named 'id'"),
        (b"id,,q\n1,2,3\n", "q.csv: column 2 of the header has no name"),
        (b"id,caf\xe9\n1,2\n", "q.csv: the header is not UTF-8 text"),
        (b'"id"x,q\n1,2\n', "q.csv, line 1: not valid CSV"),
    ],
)
def test_a_header_must_name_every_column_once(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(".csv", data)


def test_parquet_values_become_json() -> None:
    utc = datetime.UTC
    table = pa.table(
        {
            "text": ["a", None],
            "int": [2**60, -1],
            "float": pa.array([0.5, None]),
            "bool": [True, False],
            "date": [datetime.date(2024, 2, 29)] * 2,
            "time": pa.array([1_500_000_001, 0], pa.time64("ns")),
            "naive": pa.array([1_500_000_001, 0], pa.timestamp("ns")),
            "aware": pa.array([datetime.datetime(2024, 1, 2, 3, tzinfo=utc)] * 2),
            "took": pa.array([1_500_000_000, 0], pa.duration("ns")),
            "price": pa.array([Decimal("1.50"), Decimal("0.01")]),
            "bytes": [b"\xff\x00", b""],
            "list": [[1, 2], []],
            "struct": [{"a": {"b": Decimal("2.0")}}, None],
            "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int8())),
            "word": pa.array(["x", "y"]).dictionary_encode(),
            "null": pa.nulls(2),
        }
    )
    (_, first), (number, second) = values(".parquet", as_parquet(table))
    assert first == {
        "text": "a",
        "int": 2**60,
        "float": 0.5,
        "bool": True,
        "date": "2024-02-29",
        "time": "00:00:01.500000",
        "naive": "1970-01-01T00:00:01.500000",
        "aware": "2024-01-02T03:00:00Z",
        "took": "PT1.5S",
        "price": "1.50",
        "bytes": "/wA=",
        "list": [1, 2],
        "struct": {"a": {"b": "2.0"}},
        "map": [("k", 1)],
        "word": "x",
        "null": None,
    }
    assert number == 2
    assert (second["text"], second["float"], second["struct"], second["bytes"]) == (
        None,
        None,
        None,
        "",
    )
    assert json.loads(json.dumps(first)) == msgspec.json.decode(msgspec.json.encode(first))


def test_parquet_rows_are_counted_across_batches_and_row_groups() -> None:
    file = io.BytesIO()
    parquet.write_table(pa.table({"n": list(range(1_000))}), file, row_group_size=300)
    assert values(".parquet", file.getvalue()) == [(n + 1, {"n": n}) for n in range(1_000)]


@pytest.mark.parametrize(
    "column",
    [
        [0.5, float("nan"), 1.5],
        [0.5, float("-inf"), 1.5],
        [[0.5], [0.5, float("nan")], []],
        [{"x": 0.5}, {"x": float("inf")}, None],
    ],
    ids=["nan", "inf", "list", "struct"],
)
def test_parquet_numbers_that_json_does_not_know_are_bad_rows(column: list[Any]) -> None:
    rows = values(".parquet", as_parquet({"id": [1, 2, 3], "x": column}))
    assert [type(fields) for _, fields in rows] == [dict, str, dict]
    assert rows[1] == (2, "'x' is or holds NaN or an infinite number")


def test_two_parquet_columns_of_one_name_are_refused() -> None:
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(DataError, match="two columns of the header are named 'a'"):
        read(".parquet", as_parquet(table))


NOT_UTF8 = pa.Array.from_buffers(
    pa.string(), 1, [None, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff")]
)


@pytest.mark.parametrize(
    "column",
    [pa.array([[1]], pa.list_(pa.duration("ns"))), pa.array([2**62], pa.timestamp("us")), NOT_UTF8],
    ids=["nanoseconds in a list", "year 148,000", "not UTF-8"],
)
def test_a_parquet_column_that_json_cannot_hold_is_named(column: pa.Array) -> None:
    with pytest.raises(DataError, match=r"q\.parquet: column 'odd'") as caught:
        read(".parquet", as_parquet({"id": [1], "odd": column}))
    assert "leave it out" in caught.value.hint


def test_what_is_no_parquet_is_refused() -> None:
    with pytest.raises(DataError, match=r"q\.parquet cannot be read as Parquet"):
        read(".parquet", b'{"a": 1}\n' * 10)


def test_reading_parquet_leaves_the_memory_pool_of_others_alone() -> None:
    before = pa.default_memory_pool().backend_name
    rows = READERS[".parquet"].rows(io.BytesIO(as_parquet({"a": [1, 2]})), "q")
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert pa.default_memory_pool().backend_name == before
