"""Drawing samples from datasets."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from llm_batch.chain.config import DEMO_DATA
from llm_batch.chain.options import Data
from llm_batch.dataset import draw, drawn, stores
from llm_batch.dataset.stores import InFile, Smallest, Spool
from llm_batch.errors import DataError
from llm_batch.records import Item

ROWS: list[dict[str, Any]] = [
    {"id": f"q{n}", "topic": "abcd"[n % 7 % 4], "n": n} for n in range(60)
]


@pytest.fixture(scope="module", autouse=True)
def few_at_a_time() -> Iterator[None]:
    """So that few rows are also taken in together, which the first ones never are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawn, "_SOME_ROWS", 2)
        yield


def jsonl(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def drawing(rows: list[Any] | bytes, size: int = 0, **more: Any) -> list[Item]:
    """The items drawn from JSONL on standard input; keys of `Data` may be among the rest."""
    data = Data(**{key: more.pop(key) for key in ("id", "on_bad_row", "format") if key in more})
    raw = rows if isinstance(rows, bytes) else jsonl(rows)
    with draw(data, "-", size=size, stdin=io.BytesIO(raw), **more) as drawn:
        return list(drawn.items())


def ids(items: list[Item]) -> list[str]:
    return [item.id for item in items]


def write(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Path]:
    """The same rows in every kind of file; all values are text, as CSV has no other."""
    lines = jsonl(rows)
    sheet = io.StringIO(newline="")
    table = csv.DictWriter(sheet, rows[0].keys())
    table.writeheader()
    table.writerows(rows)
    contents = {
        "q.jsonl": lines,
        "q.jsonl.gz": gzip.compress(lines),
        "q.json": json.dumps(rows, indent=1).encode(),
        "q.csv": sheet.getvalue().encode(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    parquet.write_table(pa.Table.from_pylist(rows), folder / "q.parquet")
    return {name: folder / name for name in [*contents, "q.parquet"]}


TEXT_ROWS = [{key: str(value) for key, value in row.items()} for row in ROWS]


@pytest.mark.parametrize("field", ["id", None])
@pytest.mark.parametrize("size", [0, 7, 60, 1_000])
@pytest.mark.parametrize("stratify", [None, "topic"])
def test_every_kind_of_file_and_every_store_gives_the_same_items(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    field: str | None,
    size: int,
    stratify: str | None,
) -> None:
    got = []
    stores = set()
    for in_memory in (drawn.IN_MEMORY, 3):
        monkeypatch.setattr(drawn, "IN_MEMORY", in_memory)
        for path in write(tmp_path, TEXT_ROWS).values():
            with draw(Data(id=field), path, size=size, stratify=stratify) as sample:
                got.append(list(sample.items()))
                stores.add(type(sample._store))
                assert sample.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
                assert (sample.population, sample.size) == (60, min(size or 60, 60))
                assert sample.fields == ("id", "topic", "n")
    assert all(items == got[0] for items in got)
    assert len(got[0]) == min(size or 60, 60)
    assert stores == {InFile, Spool} | ({Smallest} if size and not stratify else set())


def test_items_can_be_iterated_again_and_at_the_same_time(tmp_path: Path) -> None:
    for path in write(tmp_path, TEXT_ROWS).values():
        for size in (0, 9):
            with draw(Data(id="id"), path, size=size) as sample:
                first, second = sample.items(), sample.items()
                pairs = list(zip(first, second, strict=True))
                assert len(pairs) == sample.size
                assert all(one == other for one, other in pairs)
                assert [item for item, _ in pairs] == list(sample.items())


def test_the_fields_of_an_item_keep_their_order_and_values() -> None:
    row = {"z": 1, "a": [None, True, 0.1, 10**30], "m": {"y": "é\u2028", "b": {}}}
    (item,) = drawing([row])
    assert item.fields == row
    assert list(item.fields) == ["z", "a", "m"]
    assert item.stratum == ""


@given(
    rows=st.permutations(ROWS),
    small=st.integers(1, 60),
    large=st.integers(1, 60),
    seed=st.integers(),
)
def test_samples_nest_and_do_not_depend_on_the_order_of_rows(
    rows: list[dict[str, Any]], small: int, large: int, seed: int
) -> None:
    small, large = sorted((small, large))
    inner = drawing(ROWS, small, seed=seed, id="id")
    outer = drawing(rows, large, seed=seed, id="id")
    assert outer[:small] == inner


@given(rows=st.permutations(ROWS), size=st.integers(1, 60))
def test_a_stratified_sample_does_not_depend_on_the_order_of_rows(
    rows: list[dict[str, Any]], size: int
) -> None:
    assert drawing(rows, size, stratify="topic") == drawing(ROWS, size, stratify="topic")


def test_a_stratified_sample_has_proportional_shares_and_says_so(tmp_path: Path) -> None:
    rows = [{"n": n, "kind": "big" if n % 10 else "small"} for n in range(1_000)]
    path = tmp_path / "q.jsonl"
    path.write_bytes(jsonl(rows))
    with draw(Data(), path, size=100, stratify="kind") as sample:
        assert sample.strata == {"big": 900, "small": 100}
        assert sample.sizes_by_stratum == {"big": 90, "small": 10}
        items = list(sample.items())
    assert Counter(item.stratum for item in items) == {"big": 90, "small": 10}
    assert all(item.stratum == item.fields["kind"] for item in items)
    assert Counter(item.stratum for item in items[:50])["small"] in (4, 5, 6)


@given(small=st.integers(4, 60), large=st.integers(4, 60))
def test_stratified_samples_nest_inside_each_stratum(small: int, large: int) -> None:
    inner, outer = (drawing(ROWS, size, stratify="topic") for size in (small, large))
    for topic in "abcd":
        one = [item.id for item in inner if item.stratum == topic]
        other = [item.id for item in outer if item.stratum == topic]
        shared = min(len(one), len(other))
        assert one[:shared] == other[:shared]


@pytest.mark.parametrize(
    ("value", "text"),
    [("x", "x"), (" x", " x"), (7, "7"), (-0.5, "-0.5"), (True, "true"), (10**20, str(10**20))],
)
def test_ids_and_strata_are_text(value: Any, text: str) -> None:
    (item,) = drawing([{"id": value}], id="id", stratify="id")
    assert (item.id, item.stratum) == (text, text)


# Content hashes.


def test_the_hash_of_content_never_changes_between_versions() -> None:
    """Were this to change, a resumed run would not know its own items again."""
    content = b'{"a":[1,2.5,null],"q":"\xc3\xa9"}'
    expected = hashlib.blake2b(content, digest_size=8).hexdigest()
    assert ids(drawing([{"q": "é", "a": [1, 2.5, None]}])) == [expected]


def test_the_order_of_keys_and_the_writing_of_json_do_not_change_an_id() -> None:
    one = drawing(b'{"a": 1, "b": {"x": "\\u00e9", "y": 2}}')
    other = drawing('{"b":{"y":2,"x":"é"},"a":1}'.encode())
    assert ids(one) == ids(other)


def test_copies_of_a_row_are_items_of_their_own(tmp_path: Path) -> None:
    rows = [{"q": "same"}, {"q": "other"}, {"q": "same"}, {"q": "same"}]
    base = ids(drawing([{"q": "same"}]))[0]
    for path in write(tmp_path, rows).values():
        for size in (0, 4):
            with draw(Data(), path, size=size) as sample:
                got = ids(list(sample.items()))
                assert sample.duplicates == 2
                assert "2 rows with the same content" in sample.notes[0]
            assert set(got) >= {base, f"{base}-2", f"{base}-3"}
            assert len(set(got)) == 4


def test_copies_of_a_row_are_spread_over_the_order() -> None:
    """Half of the rows are one and the same; any sample has about half of it."""
    rows = [{"q": "same"}] * 500 + [{"q": n} for n in range(500)]
    items = drawing(rows, 200)
    assert 75 <= sum(item.fields["q"] == "same" for item in items) <= 125


@settings(max_examples=50)
@given(rows=st.lists(st.integers(0, 5), min_size=1, max_size=40), size=st.integers(1, 40))
def test_samples_with_copies_nest_too(rows: list[int], size: int) -> None:
    table = [{"q": value} for value in rows]
    whole = drawing(table)
    assert drawing(table, size) == whole[:size]
    assert len({item.id for item in whole}) == len(rows)


# Duplicate ids.


@pytest.mark.parametrize("size", [0, 1])
def test_two_rows_with_one_id_are_refused_with_both_lines(size: int) -> None:
    data = b'{"id":"a"}\n\n{"id":7}\n{"id":"b"}\n{"id":"7"}\n'
    with pytest.raises(DataError, match=r"standard input, lines 3 and 5: both have the id '7'"):
        drawing(data, size, id="id")
    with pytest.raises(DataError, match="both have the id '7'") as caught:
        drawing(data, size, id="id", on_bad_row="skip")
    assert "leave out id" in caught.value.hint


@pytest.mark.parametrize(
    ("suffix", "places"),
    [("json", "elements 1 and 3"), ("csv", "lines 2 and 4"), ("parquet", "rows 1 and 3")],
)
def test_duplicates_are_named_in_the_units_of_the_file(
    suffix: str, places: str, tmp_path: Path
) -> None:
    path = write(tmp_path, [{"id": "x"}, {"id": "y"}, {"id": "x"}])[f"q.{suffix}"]
    with pytest.raises(DataError, match=places), draw(Data(id="id"), path):
        pass


def test_ids_that_merely_share_half_a_hash_are_not_duplicates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def colliding(seed: int, item_id: str) -> tuple[int, int]:
        return 5, int(item_id)

    monkeypatch.setattr(drawn, "order_key", colliding)
    rows = [{"id": n} for n in (3, 1, 2)]
    assert ids(drawing(rows, id="id")) == ["1", "2", "3"]
    with pytest.raises(DataError, match="lines 2 and 4: both have the id '1'"):
        drawing([*rows, {"id": 1}], id="id")


@settings(max_examples=30)
@given(rows=st.lists(st.integers(0, 30) | st.integers(0, 30).map(str), min_size=1, max_size=12))
def test_an_id_is_refused_if_and_only_if_it_comes_twice(rows: list[int | str]) -> None:
    rows = [str(rows[0]), *rows[1:]]
    table = [{"id": value} for value in rows]
    if len(set(map(str, rows))) == len(rows):
        assert sorted(ids(drawing(table, id="id"))) == sorted(map(str, rows))
    else:
        with pytest.raises(DataError, match="both have the id"):
            drawing(table, id="id")


# Bad rows.

GOOD = b'{"id":"ok","topic":"t"}\n'


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b"{oops}", "not valid JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"topic":"t"}', "no field 'id', it has topic"),
        (b"{}", "it has none"),
        (b'{"id":null,"topic":"t"}', "the field 'id' is null"),
        (b'{"id":"","topic":"t"}', "the field 'id' is empty"),
        (b'{"id":" \\t","topic":"t"}', "the field 'id' is empty"),
        (b'{"id":[1],"topic":"t"}', "the field 'id' is not text or a number"),
        (b'{"id":{},"topic":"t"}', "the field 'id' is not text or a number"),
        (b'{"id":"b"}', "no field 'topic', it has id"),
        (b'{"id":"b","topic":null}', "the field 'topic' is null"),
        (b'{"id":"b","topic":""}', "the field 'topic' is empty"),
    ],
)
def test_a_bad_row_is_refused_with_its_line_or_skipped_and_counted(
    row: bytes, problem: str
) -> None:
    data = GOOD + b"\n" + row + b"\n"
    with pytest.raises(DataError) as caught:
        drawing(data, id="id", stratify="topic")
    assert caught.value.message.startswith("standard input, line 3: ")
    assert problem in caught.value.message
    assert 'on_bad_row = "skip"' in caught.value.hint
    stdin = io.BytesIO(data)
    with draw(Data(id="id", on_bad_row="skip"), "-", stratify="topic", stdin=stdin) as sample:
        assert ids(list(sample.items())) == ["ok"]
        assert (sample.population, sample.skipped, sample.strata) == (1, 1, {"t": 1})
        (example,) = sample.skipped_examples
    assert example.startswith("line 3: ")
    assert problem in example
    assert sample.notes == (f"1 row skipped: {example}",)


def test_a_row_skipped_for_its_stratum_is_no_copy_of_another() -> None:
    data = b'{"q":1}\n{"q":1,"t":"x"}\n{"q":1}\n'
    stdin = io.BytesIO(data)
    with draw(Data(on_bad_row="skip"), "-", stratify="t", stdin=stdin) as sample:
        assert (sample.population, sample.skipped, sample.duplicates) == (1, 2, 0)
        assert "-" not in next(sample.items()).id


def test_only_the_first_three_skipped_rows_are_shown() -> None:
    stdin = io.BytesIO(b"1\n2\n" + GOOD + b"4\n5\n6\n")
    with draw(Data(on_bad_row="skip"), "-", stdin=stdin) as sample:
        assert sample.skipped == 5
        assert [text[:7] for text in sample.skipped_examples] == ["line 1:", "line 2:", "line 4:"]
        assert sample.notes[0].startswith("5 rows skipped, the first: line 1: ")


def test_items_after_skipped_rows_are_still_read_from_their_own_lines(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    lines = [b"oops\n" if row["n"] % 3 == 0 else jsonl([row]) + b" \n" for row in ROWS]
    path.write_bytes(b"\xef\xbb\xbf" + b"".join(lines))
    with draw(Data(id="id", on_bad_row="skip"), path) as sample:
        got = sorted(item.fields["n"] for item in sample.items())
    assert got == [row["n"] for row in ROWS if row["n"] % 3]


@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_an_id_field_no_row_has_names_those_there_are(on_bad_row: str) -> None:
    with pytest.raises(DataError, match="no field 'key', it has id, topic, n") as caught:
        drawing(ROWS, id="key", on_bad_row=on_bad_row)
    assert "set id under [data]" in caught.value.hint


@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_a_stratification_field_no_row_has_names_those_there_are(on_bad_row: str) -> None:
    with pytest.raises(DataError, match="no field 'kind', it has id, topic, n") as caught:
        drawing(ROWS, stratify="kind", on_bad_row=on_bad_row)
    assert "set stratify under [sample]" in caught.value.hint


def test_a_row_of_many_fields_lists_only_some_of_them() -> None:
    with pytest.raises(DataError, match=r"f19, \.\.\.$"):
        drawing([{f"f{n}": n for n in range(21)}], id="key")


def test_when_every_row_is_bad_the_first_is_shown() -> None:
    with pytest.raises(DataError, match="none of the 2 rows of standard input can be used; line 1"):
        drawing(b"oops\nagain\n", on_bad_row="skip")


@pytest.mark.parametrize(
    ("format", "data"), [("jsonl", b"\n \n"), ("json", b"[]"), ("csv", b"id,q\n"), ("tsv", b"\n")]
)
def test_a_dataset_without_rows_is_refused(format: str, data: bytes) -> None:
    with pytest.raises(DataError, match="standard input has no rows"):
        drawing(data, format=format)


def test_a_parquet_file_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.parquet"
    parquet.write_table(pa.table({"a": pa.array([], pa.int8())}), path)
    with pytest.raises(DataError, match=r"q\.parquet has no rows"), draw(Data(), path):
        pass


def test_a_field_with_too_many_values_is_no_stratification(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drawn, "MAX_STRATA", 60)
    assert len(drawing(ROWS, stratify="n")) == 60
    monkeypatch.setattr(drawn, "MAX_STRATA", 59)
    with pytest.raises(DataError, match="'n' has more than 59 values"):
        drawing(ROWS, stratify="n")


# Files that change, and what is left open.


@pytest.mark.parametrize("change", ["longer", "touched"])
def test_a_file_changed_after_drawing_is_noticed_at_the_next_item(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(jsonl(ROWS))
    monkeypatch.setattr(stores, "HELD_BYTES", 1)
    with draw(Data(id="id"), path) as sample:
        items = sample.items()
        next(items)
        if change == "longer":
            with path.open("ab") as file:
                file.write(b'{"id":"new"}\n')
        else:
            os.utime(path, ns=(0, 0))
        with pytest.raises(DataError, match=r"q\.jsonl has changed since it was opened") as caught:
            next(items)
    assert caught.value.hint


def test_a_file_replaced_after_drawing_is_still_read_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(jsonl(ROWS))
    with draw(Data(id="id"), path) as sample:
        (tmp_path / "new").write_bytes(jsonl(ROWS[:3]))
        (tmp_path / "new").replace(path)
        assert len(list(sample.items())) == 60


def test_closing_gives_back_every_file(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    for path in write(tmp_path, TEXT_ROWS).values():
        sample = draw(Data(id="id"), path, stratify="topic", scratch=tmp_path)
        list(sample.items())
        sample.close()
        sample.close()
    assert len(os.listdir("/dev/fd")) == before


def test_an_error_while_drawing_gives_back_every_file(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    for path in write(tmp_path, [*TEXT_ROWS, TEXT_ROWS[0]]).values():
        with pytest.raises(DataError, match="both have the id"):
            draw(Data(id="id"), path)
    assert len(os.listdir("/dev/fd")) == before


def test_the_bundled_questions_can_be_drawn_by_their_ids() -> None:
    with draw(Data(id="id"), DEMO_DATA, size=10, stratify="category") as sample:
        assert len(list(sample.items())) == 10
        assert sample.path == str(DEMO_DATA)
        assert sample.notes == ()
