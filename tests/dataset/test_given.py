"""Rows that are in no file: what a program gives, in whatever holds it, and what SQL asks for."""

from __future__ import annotations

import datetime
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import dataset

import llm_batch
from llm_batch.chain.config import load_config
from llm_batch.chain.options import Data
from llm_batch.chain.overrides import Overrides, Typed
from llm_batch.dataset import draw
from llm_batch.errors import ConfigError, DataError
from tests.dataset.test_shards import ROWS, as_parquet, jsonl


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


SELECT = "SELECT id, question FROM q WHERE n > 4"


def in_duckdb(folder: Path) -> str:
    duckdb = pytest.importorskip("duckdb")
    (folder / "rows.parquet").write_bytes(as_parquet(ROWS))
    with duckdb.connect(str(folder / "q.db")) as database:
        database.execute(f"CREATE TABLE q AS FROM '{folder / 'rows.parquet'}' ORDER BY id DESC")
    return "duckdb:q.db"


def in_sqlite(folder: Path) -> str:
    database = sqlite3.connect(folder / "q.sqlite")
    database.execute("CREATE TABLE q (id, question, lang, n)")
    database.executemany("INSERT INTO q VALUES (?, ?, ?, ?)", [tuple(r.values()) for r in ROWS])
    database.commit()
    database.close()
    return "sqlite:q.sqlite"


def in_files(folder: Path) -> str:
    pytest.importorskip("duckdb")
    (folder / "part-0.parquet").write_bytes(as_parquet(ROWS[:10]))
    (folder / "part-1.parquet").write_bytes(as_parquet(ROWS[10:]))
    return "duckdb:"


DATABASES = [in_duckdb, in_sqlite, in_files]


def config(folder: Path, *lines: str, **flags: Any) -> Any:
    path = folder / "llmb.toml"
    path.write_text("\n".join([
        "[data]", *lines, 'id = "id"',
        "[[steps]]", 'name = "a"', 'model = "fake/x"', 'prompt = "{{ question }}"',
    ]))  # fmt: skip
    return load_config(path, **flags)


def drawn_from(settings: Any) -> tuple[list[str], str]:
    with draw(settings.data, settings.data_path(), seed=1) as drawn:
        return [item.id for item in drawn.items()], drawn.sha256


@pytest.mark.parametrize("make", DATABASES)
def test_a_query_gives_the_sample_of_its_rows_in_whatever_order_they_come(
    make: Callable[[Path], str], tmp_path: Path
) -> None:
    (tmp_path / "q.jsonl").write_bytes(jsonl(ROWS[5:]))
    wanted, _ = drawn_from(config(tmp_path, 'path = "q.jsonl"'))
    where = make(tmp_path)
    query = SELECT.replace("FROM q", "FROM 'part-*.parquet'") if make is in_files else SELECT
    one = drawn_from(config(tmp_path, f'path = "{where}"', f'query = "{query}"'))
    other = drawn_from(config(tmp_path, f'path = "{where}?{query} ORDER BY question DESC"'))
    assert one == other and one[0] == wanted


def test_a_database_is_beside_the_config_and_for_a_flag_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_sqlite(tmp_path)
    monkeypatch.chdir(tmp_path)
    address = f"sqlite:q.sqlite?{SELECT}"
    settings = config(tmp_path, 'path = "none.jsonl"', data=address)
    assert settings.data_path() == f"sqlite:{tmp_path}/q.sqlite?{SELECT}"
    moved = Typed("", Overrides(data=address)).moved(tmp_path, tmp_path / "runs")
    assert moved.flags.data == f"sqlite:../q.sqlite?{SELECT}"


@pytest.mark.parametrize(
    ("make", "query", "message"),
    [
        (in_duckdb, "DROP TABLE q", "no single SELECT"),
        (in_duckdb, "SELECT 1; SELECT 2", "no single SELECT"),
        (in_duckdb, "COPY q TO 'stolen.csv'", "no single SELECT"),
        (in_duckdb, "SELECT * FROM z", "Table with name z does not exist"),
        (in_duckdb, "SELECT id, id FROM q", "two columns of the header are named 'id'"),
        (in_duckdb, "SELECT n AS id FROM q WHERE n > 99", "has no rows"),
        (in_sqlite, "DROP TABLE q", "attempt to write a readonly database"),
        (in_sqlite, "SELECT * FROM z", "no such table: z"),
        (in_sqlite, "SELECT 1; SELECT 2", "one statement at a time"),
        (in_sqlite, "ATTACH 'stolen.csv' AS other", "not authorized"),
        (lambda _: "sqlite:none.db", "SELECT 1", "no database"),
    ],
)
def test_what_a_database_cannot_give_is_one_sentence_and_nothing_is_written(
    make: Any, query: str, message: str, tmp_path: Path
) -> None:
    where = make(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    settings = config(tmp_path, f'path = "{where}"', f"query = {json.dumps(query)}")
    with pytest.raises(DataError) as caught:
        drawn_from(settings)
    assert message in caught.value.message and "\n" not in caught.value.message
    assert caught.value.hint
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(tmp_path.iterdir())) == len(before) + 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['path = "duckdb:q.db"'], "is a database, and there is no query"),
        (['path = "duckdb:q.db?SELECT 1"', 'query = "SELECT 1"'], "and query both ask"),
        (['path = "q.jsonl"', 'query = "SELECT 1"'], "stands beside a path that is no database"),
        (['path = "duckdb:q.db"', 'query = "SELECT * FROM q LIMIT 5"'], "LIMIT without ORDER BY"),
        (['path = "sqlite:q.db?SELECT * FROM q LIMIT 5"'], "LIMIT without ORDER BY"),
        (['path = "duckdb:q.db?FROM q USING SAMPLE 5"'], "draws by chance"),
        (['path = "duckdb:q.db?FROM q"', "limit = 5"], "limit stands beside a query"),
        (['path = "postgres:host=h password=x?FROM q"'], "holds a password"),
    ],
)
def test_a_config_whose_query_means_nothing_certain_is_refused(
    lines: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"llmb\.toml, line [23]: ") as caught:
        config(tmp_path, *lines)
    assert message in caught.value.message and "password=x" not in caught.value.message


def test_a_part_of_a_query_may_have_a_limit_when_all_of_it_is_in_order(tmp_path: Path) -> None:
    query = "SELECT * FROM q ORDER BY n LIMIT 5"
    settings = config(tmp_path, f'path = "{in_sqlite(tmp_path)}"', f'query = "{query}"')
    assert sorted(drawn_from(settings)[0]) == [f"q{n}" for n in range(5)]


def test_duckdb_that_is_not_there_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(tmp_path, f'path = "{in_duckdb(tmp_path)}"', f'query = "{SELECT}"')
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(DataError, match="the package duckdb") as caught:
        drawn_from(settings)
    assert caught.value.hint == "pip install 'llmb[sql]'"


def test_types_that_arrow_lacks_are_the_texts_that_duckdb_shows(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    query = (
        'SELECT \'a\' AS id, \'101\'::BIT AS "a ""b""", INTERVAL 1 MONTH AS every, '
        "'01:02:03+01'::TIMETZ AS at, 2::HUGEINT ** 70 AS n, 1.50::DECIMAL(9, 2) AS price; -- all"
    )
    settings = config(tmp_path, f"path = '''duckdb:{tmp_path}'''", f"query = '''{query}'''")
    with draw(settings.data, settings.data_path()) as drawn:
        (item,) = drawn.items()
    assert item.fields == {
        "id": "a", 'a "b"': "101", "every": "1 month", "at": "01:02:03+01",
        "n": 2.0**70, "price": "1.50",
    }  # fmt: skip
