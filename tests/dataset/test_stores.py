"""Counting hashes and keeping rows."""

from __future__ import annotations

import io
import itertools
from array import array
from collections import Counter
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.dataset import stores
from llm_batch.dataset.stores import InFile, Smallest, Spool, Store, Tally
from llm_batch.errors import DataError

U64 = st.integers(min_value=0, max_value=2**64 - 1)
ROWS = st.lists(st.tuples(st.tuples(U64, U64), st.binary(min_size=1, max_size=50)), max_size=60)


@given(keys=st.lists(U64 | st.integers(0, 3) | st.sampled_from([1 << 40, 2 << 40, 3 << 40])))
def test_a_tally_counts_like_a_counter_whatever_collides(keys: list[int]) -> None:
    tally, counter = Tally(), Counter[int]()
    for key in keys:
        counter[key] += 1
        assert tally.add(key) == counter[key]


def test_a_tally_keeps_its_counts_when_it_grows() -> None:
    tally = Tally()
    for key in range(0, 50_000 << 20, 1 << 20):  # the same slot for all of them at first
        assert tally.add(key ^ (key >> 20)) == 1
    for key in range(0, 50_000 << 20, 1 << 20):
        assert tally.add(key ^ (key >> 20)) == 2


def unchanged() -> None:
    """The file is as it was."""


@given(rows=ROWS, held=st.sampled_from([0, 10, stores.HELD_BYTES]), alone=st.integers(0, 60))
def test_rows_are_read_back_from_their_file_in_any_order(
    rows: list[tuple[tuple[int, int], bytes]], held: int, alone: int
) -> None:
    """However many of them come one by one, before the others come together."""
    file = io.BytesIO(b"--".join(row for _, row in rows))
    with mock.patch.object(stores, "HELD_BYTES", held):
        store = InFile(file, unchanged)  # type: ignore[arg-type]
    ends = itertools.accumulate((len(row) + 2 for _, row in rows), initial=0)
    offsets = list(ends)[:-1]
    for (key, row), at in zip(rows[:alone], offsets, strict=False):
        store.add(key, row, at)
    columns = (array("Q", [key[n] for key, _ in rows[alone:]]) for n in (0, 1))
    store.extend(*columns, [row for _, row in rows[alone:]], offsets[alone:])
    check_reads(store, rows)


@given(rows=ROWS)
def test_rows_are_read_back_from_a_spool_in_any_order(
    rows: list[tuple[tuple[int, int], bytes]],
) -> None:
    store = Spool()
    try:
        for key, row in rows:
            store.add(key, row, 0)
        check_reads(store, rows)
    finally:
        store.close()


def check_reads(store: Store, rows: list[tuple[tuple[int, int], bytes]]) -> None:
    for index in [*reversed(range(len(rows))), *range(len(rows))]:
        assert store.read(index) == rows[index][1]


def test_a_spool_larger_than_its_buffer_is_read_back_whole() -> None:
    rows = [bytes([n]) * 300_000 for n in range(20)]
    store = Spool()
    try:
        for row in rows:
            store.add((0, 0), row, 0)
        assert [store.read(index) for index in range(20)] == rows
    finally:
        store.close()


def test_a_spool_leaves_no_file_behind(tmp_path: Path) -> None:
    store = Spool(tmp_path)
    store.add((0, 0), b"row", 0)
    assert store.read(0) == b"row"
    assert list(tmp_path.iterdir()) == []
    store.close()


def test_a_spool_without_a_place_says_how_to_name_another(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="temporary file in .*nowhere") as caught:
        Spool(tmp_path / "nowhere")
    assert "TMPDIR=" in caught.value.hint


def test_a_full_disk_says_what_to_do() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    store = Spool()
    store._file.close()
    store._file = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
    try:
        store.add((0, 0), b"row", 0)
        with pytest.raises(DataError, match="No space left") as caught:
            store.read(0)
        assert "TMPDIR=" in caught.value.hint
    finally:
        store.close()


@given(rows=ROWS, size=st.integers(1, 20))
def test_the_smallest_rows_are_those_a_sample_needs(
    rows: list[tuple[tuple[int, int], bytes]], size: int
) -> None:
    store = Smallest(size)
    for key, row in rows:
        store.add(key, row, 0)
    # Of equal keys the earlier row counts as smaller, as in a stable sort.
    for index in sorted(range(len(rows)), key=lambda index: rows[index][0])[:size]:
        assert store.read(index) == rows[index][1]
    assert len(store._rows) == min(size, len(rows))
