"""Data that SQL asks for."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_batch.chain.config import load_config
from llm_batch.chain.overrides import Overrides, Typed
from llm_batch.dataset import draw
from llm_batch.errors import ConfigError, DataError
from tests.dataset.test_shards import ROWS, as_parquet, jsonl

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
