"""Data that a program gives, in whatever it holds its rows."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import dataset

import llm_batch
from llm_batch.chain.options import Data
from llm_batch.dataset import draw
from llm_batch.errors import DataError
from tests.dataset.test_shards import ROWS


class Dataset:
    """As that of ``datasets``: it goes through dicts and has none of a frame's methods."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(ROWS)


def pandas_frame() -> Any:
    return pytest.importorskip("pandas").DataFrame(ROWS)


def polars_frame() -> Any:
    return pytest.importorskip("polars").DataFrame(ROWS)


def lazy_frame() -> Any:
    return polars_frame().lazy()


GIVEN: dict[str, Callable[[], Any]] = {
    "list": lambda: ROWS,
    "iterator": lambda: iter(ROWS),
    "pandas": pandas_frame,
    "polars": polars_frame,
    "lazy": lazy_frame,
    "pyarrow": lambda: pa.Table.from_pylist(ROWS),
    "pyarrow's stream": lambda: pa.Table.from_pylist(ROWS).to_reader(),
    "pyarrow's dataset": lambda: dataset.dataset(pa.Table.from_pylist(ROWS)),
    "pyarrow's batch": lambda: pa.RecordBatch.from_pylist(ROWS),
    "duckdb": lambda: pytest.importorskip("duckdb").from_arrow(pa.Table.from_pylist(ROWS)),
    "dataset": Dataset,
    "reversed": lambda: ROWS[::-1],
}
TWICE = pa.Table.from_arrays([pa.array([each]) for each in (1, 2, 3)], ["id", "q", "q"])


@pytest.mark.parametrize("kind", GIVEN)
def test_whatever_holds_the_rows_gives_the_same_items_and_is_known_again(kind: str) -> None:
    def drawn(given: Any) -> Any:
        with draw(Data(id="id", where="{{ n > 3 }}"), "-", given=given) as sample:
            return [(item.id, dict(item.fields)) for item in sample.items()], sample.sha256

    assert drawn(GIVEN[kind]()) == drawn(ROWS)
    assert drawn(ROWS[:-1])[1] != drawn(ROWS)[1]


def test_values_of_libraries_become_those_of_a_file() -> None:
    pandas = pytest.importorskip("pandas")
    rows = {
        "when": pandas.to_datetime(["2026-11-28T12:00:00", None]),
        "day": [datetime.date(2026, 11, 28), None],
        "whole": pandas.array([7, None], dtype="Int64"),
        "rate": [0.5, float("nan")],
        "many": [pandas.Series([1, 2]).to_numpy(), None],
    }
    with draw(Data(), "-", given=pandas.DataFrame(rows)) as drawn:
        got = {item.fields["whole"]: dict(item.fields) for item in drawn.items()}
        assert any("1 value" in note and "missing" in note for note in drawn.notes)
    whole = {"when": "2026-11-28T12:00:00", "day": "2026-11-28", "whole": 7, "rate": 0.5}
    assert got[7] == {**whole, "many": [1, 2]}
    assert set(got[None].values()) == {None}


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"train": ROWS, "test": ROWS}, "type dict has no rows", "data=DATA['train']"),
        ({"id": ["a"], "q": ["?"]}, "type dict has no rows", "pandas.DataFrame(DATA)"),
        ("q.jsonl", "type str has no rows", "list of dicts"),
        (7, "type int has no rows", "list of dicts"),
        ([["a", "b"]], "row 1: of the type list, and no dict of fields", ""),
        ([{"id": "a", "q": object()}], "row 1: it holds a value that JSON cannot", ""),
        ([{"id": "a"}, {"id": "a"}], "rows 1 and 2: both have the id 'a'", ""),
        ([{"id": "a", "q": "\ud800"}], "row 1: it holds text that is not Unicode", ""),
        ([{"id": "a", 2: "x", "2": "y"}], "row 1: two of its fields have the same name", ""),
        (TWICE, "two columns of the header are named 'q'", "a name of its own"),
        (TWICE.to_pandas(), "two columns of the header are named 'q'", "a name of its own"),
        (TWICE.to_pandas()["id"], "row 1: of the type int, and no dict of fields", ""),
        ([], "has no rows", ""),
    ],
)
def test_what_has_no_rows_is_one_clear_error(given: Any, message: str, hint: str) -> None:
    with pytest.raises(DataError) as caught, draw(Data(id="id"), "-", given=given):
        pass
    assert message in caught.value.message and hint in (caught.value.hint or "")


def test_a_run_takes_them_and_the_same_call_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without a config, whose demo questions have an ``id`` that these rows need not have."""
    monkeypatch.chdir(tmp_path)
    rows = [{"question": row["question"], "answer": str(row["n"])} for row in ROWS]
    config = llm_batch.load_config(model="fake/rehearsal", judge="fake/rehearsal")
    assert f"{len(rows)} items" in str(llm_batch.estimate(config, data=iter(rows)))
    first = llm_batch.run(config, data=iter(rows))
    again = llm_batch.run(config, data=rows[::-1])
    assert first.progress.done == again.progress.done == len(rows)
    assert again.progress.reused == first.progress.calls and again.progress.calls == 0
    manifest = json.loads((tmp_path / "results.manifest.json").read_text())
    assert manifest["dataset"]["path"] == "data of the program"
    assert manifest["dataset"]["n"] == len(rows)
