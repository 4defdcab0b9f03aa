"""Rows out of bytes, for each kind of file."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
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
from llm_batch.dataset.shape import Shape
from llm_batch.errors import DataError


def read(suffix: str, data: bytes) -> list[Row]:
    return list(
        READERS[suffix].rows(
            io.BytesIO(data), "q" + suffix, Shape(delimiter="\t" if suffix == ".tsv" else ",")
        )
    )


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
        told = [row for row in rows if any(map(str.strip, row))]
        assert got == [dict(zip(names, row, strict=True)) for row in told]


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
        (b'{"a": NaN "b"}', "not valid JSON"),
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


LINES = (
    b'{"a": 1}', b'{"b": "\xc3\xa9"}', b'{"a": 1} {"b": 2}', b'{"c": {"x": 1}', b"}", b'{"c":', b"",
    b'{"d": NaN}', b'{"e": "caf\xe9"}', b"[1]", b'{"f": 3}\r',
)  # fmt: skip


@given(
    lines=st.lists(st.sampled_from(LINES), min_size=1, max_size=12), end=st.sampled_from(["\n", ""])
)
def test_lines_of_jsonl_are_read_as_each_would_be_alone(lines: list[bytes], end: str) -> None:
    """However many are decoded at once: none takes what another one lacks."""
    data = b'{"z": 0}\n' + b"\n".join(lines) + end.encode()
    alone = [(1, {"z": 0})]
    for number, line in enumerate(lines, 2):
        alone += [(number, fields) for _, fields in values(".jsonl", line + b"\n")]
    assert [(n, str(v)[:9]) for n, v in values(".jsonl", data)] == [
        (n, str(v)[:9]) for n, v in alone
    ]


def test_a_line_cut_off_does_not_spoil_the_others() -> None:
    first, (number, problem), last = values(".jsonl", b'{"a":1}\n{"a": 1\n{"a":3}')
    assert (first, number, last) == ((1, {"a": 1}), 2, (3, {"a": 3}))
    assert "not valid JSON" in problem


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_nan_and_infinity_become_null_and_are_counted(suffix: str) -> None:
    rows = [{"x": [0.5, math.nan]}, {"x": [math.inf, 1.0]}, {"x": []}]
    table = pa.Table.from_pylist(rows)
    data = as_parquet(table) if suffix == ".parquet" else "\n".join(map(json.dumps, rows)).encode()
    shape = Shape()
    got = [fields for _, fields, *_ in READERS[suffix].rows(io.BytesIO(data), "q", shape)]
    assert got == [{"x": [0.5, None]}, {"x": [None, 1.0]}, {"x": []}]
    assert shape.not_finite == 2


def test_a_nan_in_a_text_is_text() -> None:
    assert values(".jsonl", b'{"q": "what is NaN?", "x": NaN}') == [
        (1, {"q": "what is NaN?", "x": None})
    ]


@pytest.mark.parametrize("between", ["", "\n", "\n\n", " ", ",\n", "\x1e"])
def test_objects_one_after_another_are_rows(between: str) -> None:
    rows = [{"q": "a }{ b"}, {"q": 'say "x"', "deep": {"a": [1]}}, {"q": "\\"}]
    text = between.join(json.dumps(row, indent=2) for row in rows).encode()
    for chunk in (1, 7, 1 << 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(readers, "_CHUNK", chunk)
            assert values(".json", text) == list(enumerate(rows, 1))


ROWS = [{"id": 1, "score": 0.5}, {"id": 2, "score": None}]


@pytest.mark.parametrize(
    "whole",
    [
        {"samples": ROWS, "version": 2, "eval": {"task": "t"}, "tags": ["a"]},
        {"evalId": "e", "results": {"version": 3, "results": ROWS, "stats": {"n": 2}}},
        {"columns": ["id", "score"], "data": [[1, 0.5], [2, None]]},
        {"id": {"0": 1, "1": 2}, "score": {"0": 0.5, "1": None}},
    ],
    ids=["under a key", "two keys deep", "split", "by columns"],
)
def test_an_object_that_holds_rows_gives_them(whole: Any) -> None:
    assert values(".json", json.dumps(whole, indent=1).encode()) == list(enumerate(ROWS, 1))


def test_a_single_object_without_rows_is_one_row() -> None:
    assert values(".json", b'{"id": 1, "q": "one?", "tags": ["a"]}') == [
        (1, {"id": 1, "q": "one?", "tags": ["a"]})
    ]


def test_an_object_with_several_lists_of_rows_is_refused_with_a_way_that_works() -> None:
    whole = json.dumps({"a": ROWS, "b": {"c": [*ROWS, *ROWS]}}).encode()
    with pytest.raises(DataError, match=r"several lists of rows: b\.c, a") as caught:
        read(".json", whole)
    assert "jq -c '.b.c[]' q.json > rows.jsonl" in caught.value.hint


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_a_row_without_end_is_refused_with_its_line(
    suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "ROW_LIMIT", 1 << 16)
    monkeypatch.setattr(readers, "_WHOLE_LIMIT", 1 << 16)
    monkeypatch.setattr(readers, "_CHUNK", 1 << 12)
    long = b'{"q": "' + b"x" * (1 << 18) + b'"}'
    data = b'{"q": "a"}\n' + long if suffix == ".jsonl" else b'[{"q": "a"},\n' + long + b"]"
    with pytest.raises(DataError, match=f"q{suffix}, line [12]: the row is longer than"):
        read(suffix, data)


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
        (b'{"a": 1}\n{"a": 2', "q.json, line 2: the object does not end"),
        (b'{"a": 1}]', "a bracket closes that never opened"),
        (b'{"a": 1} {"a": 2} x', "text after the end of the objects"),
        (b"hello", "q.json is not JSON: it begins with 'h'"),
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
        (b"id,q,,q\n1,2,3,4\n", "two columns of the header are named 'q'"),
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
    ("column", "becomes"),
    [
        ([0.5, math.nan, 1.5], None),
        ([0.5, -math.inf, 1.5], None),
        ([[0.5], [0.5, math.nan], []], [0.5, None]),
        ([{"x": 0.5}, {"x": math.inf}, None], {"x": None}),
    ],
    ids=["nan", "inf", "list", "struct"],
)
def test_parquet_numbers_that_json_does_not_know_are_null(column: list[Any], becomes: Any) -> None:
    rows = values(".parquet", as_parquet({"id": [1, 2, 3], "x": column}))
    assert rows[1] == (2, {"id": 2, "x": becomes})


def test_a_column_without_a_name_is_left_out() -> None:
    assert values(".csv", b",id,q\n0,a,x\n1,b,y\n") == [
        (2, {"id": "a", "q": "x"}),
        (3, {"id": "b", "q": "y"}),
    ]
    assert values(".csv", b"id,q,\na,x,\nb,y,,\n") == [
        (2, {"id": "a", "q": "x"}),
        (3, {"id": "b", "q": "y"}),
    ]


def test_rows_of_empty_cells_are_passed_over_and_counted() -> None:
    shape = Shape()
    rows = READERS[".csv"].rows(io.BytesIO(b"id,q\n\n,\na,x\n , \n,,,\n"), "q", shape)
    assert [fields for _, fields, *_ in rows] == [{"id": "a", "q": "x"}]
    assert shape.empty_rows == 3


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
    rows = READERS[".parquet"].rows(io.BytesIO(as_parquet({"a": [1, 2]})), "q", Shape())
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert pa.default_memory_pool().backend_name == before
