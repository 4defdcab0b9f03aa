"""A run with ``-o results.parquet``: its table, and every verb that is given its name."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pandas
import polars
import pytest
from pyarrow import parquet
from typer.testing import CliRunner, Result

import llm_batch
from llm_batch.cli import app
from llm_batch.errors import LlmbError
from llm_batch.reporting import table
from tests.settings import SCORED

CONFIG = f"""
[data]
path = "data.jsonl"
id = "id"
{SCORED}[run]
output = "results.parquet"
"""
TABLE = Path("results.parquet")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"id": f"i{n}", "question": f"What is {n}?", "votes": n} for n in range(30)]
    Path("data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("llmb.toml").write_text(CONFIG)
    return tmp_path


def llmb(*words: str) -> Result:
    made = CliRunner().invoke(app, words)
    if made.exception is not None and not isinstance(made.exception, SystemExit):
        raise made.exception
    assert made.exit_code == 0, made.output
    return made


def refused(*words: str, code: int = 2) -> str:
    """What a command says that ends with this code, with what to type."""
    made = CliRunner().invoke(app, words)
    assert isinstance(made.exception, LlmbError), made.output
    assert made.exception.exit_code == code
    return f"{made.exception.message} / {made.exception.hint}"


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("results.jsonl").read_text().splitlines()]


def test_a_run_writes_typed_columns_that_every_reader_takes_without_a_flag(folder: Path) -> None:
    assert llmb("run").stdout == f"{TABLE}\n"
    said = {line["id"]: line["outputs"]["generate"] for line in lines()}
    frame = pandas.read_parquet(TABLE)
    assert dict(zip(frame["id"], frame["output.generate"], strict=True)) == said
    assert [str(frame.dtypes[name]) for name in ("score", "passed", "field.votes")] == [
        "float64", "bool", "int64"]  # fmt: skip
    assert polars.read_parquet(TABLE)["field.votes"].sum() == sum(range(30))
    counted = duckdb.sql(f"SELECT count(*) FROM '{TABLE}' WHERE score >= 50").fetchall()
    assert counted == [(sum(line["passed"] for line in lines()),)]
    assert parquet.read_metadata(TABLE).row_group(0).column(0).compression == "ZSTD"
    assert os.stat(TABLE).st_mode & 0o777 == 0o600
    # Nothing new: the file is left alone.
    before = os.stat(TABLE)
    llmb("run")
    assert os.stat(TABLE) == before
    # Another sample: it is made anew.
    llmb("run", "--sample", "10")
    assert len(pandas.read_parquet(TABLE)) == len(lines()) == 10


def test_every_verb_takes_the_table_for_its_run(folder: Path) -> None:
    llmb("run")
    llmb("run", "--seed", "7", "--output", "other.jsonl")
    for words in (
        ["report", "results", "--format", "json"],
        ["show", "i7", "results"],
        ["failures", "results"],
        ["compare", "other.jsonl", "results"],
        ["baseline", "set", "results", "-o", "-"],
        ["export", "results", "-o", "-"],
        ["label", "results"],
        ["estimate", "--from", "results"],
    ):
        of_table, of_lines = (
            llmb(*(f"results{end}" if word == "results" else word for word in words)).output
            for end in (".parquet", ".jsonl")
        )
        assert of_table.replace(".parquet", ".jsonl") == of_lines
    os.remove("results.jsonl")
    said = refused("report", str(TABLE))
    assert "not written yet" in said and "the same llmb run command again" in said
    llmb("run")  # of the journal alone
    assert len(lines()) == 30


def test_a_table_without_its_run_is_that_of_a_stranger(folder: Path) -> None:
    llmb("run")
    os.mkdir("away")
    away = str(TABLE.rename("away/results.parquet"))
    said = refused("report", away)
    assert "no results of a run lie beside it" in said and "--score FIELD" in said
    assert '"read": 30' in llmb("report", away, "--score", "score", "--format", "json").output


def test_a_table_holds_what_was_finished_when_the_run_stopped(folder: Path) -> None:
    config = llm_batch.load_config("llmb.toml", engine="serial")
    stop = llm_batch.Stop()
    made = llm_batch.run(
        config, stop=stop, progress=lambda state: stop("interrupted") if state.done == 5 else None
    )
    assert made.path == TABLE and made.status == "interrupted"
    assert len(pandas.read_parquet(TABLE)) == made.progress.done < 30
    assert len(pandas.read_parquet(llm_batch.run(config).path)) == 30


def test_a_killed_run_leaves_no_half_table_and_goes_on(folder: Path) -> None:
    Path("llmb.toml").write_text(CONFIG + '[models."fake/writer"]\nlatency = 0.2\n')
    slow = subprocess.Popen(
        [sys.executable, "-m", "llm_batch", "run", "--workers", "1"], stderr=subprocess.DEVNULL
    )
    while b"\n" not in (Path("results.calls.jsonl").read_bytes() if slow.poll() is None and
                        Path("results.calls.jsonl").exists() else b""):  # fmt: skip
        assert slow.poll() is None
        time.sleep(0.01)
    slow.kill()
    slow.wait()
    assert not TABLE.exists()
    Path(".results.parquet.0123456789abcdef.tmp").write_bytes(b"PAR1")  # killed as it was written
    Path("llmb.toml").write_text(CONFIG)
    llmb("run")
    assert len(pandas.read_parquet(TABLE)) == 30 and not list(folder.glob(".*.tmp"))


@pytest.mark.parametrize("made", ["file", "folder", "other run"])
def test_what_lies_in_the_place_of_the_table_is_never_lost(made: str, folder: Path) -> None:
    if made == "other run":
        llmb("run")
        for path in folder.glob("results.*[!t]"):
            path.unlink()
        assert TABLE.exists()
    elif made == "file":
        TABLE.write_text("my own")
    else:
        TABLE.mkdir()
    there = sorted(os.listdir())
    said = refused("run")
    assert "which this run would replace" in said and "--overwrite" in said
    assert sorted(os.listdir()) == there
    llmb("run", "--overwrite")
    assert Path("results.1.parquet").exists() and len(pandas.read_parquet(TABLE)) == 30
    assert "write over its own data" in refused("run", "--data", str(TABLE))


def test_a_full_disk_costs_the_table_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llmb("run", "--sample", "10")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(table, "write_parquet", full)
        said = refused("run", code=4)
    assert "cannot write results.parquet: No space left" in said and "results.jsonl" in said
    assert len(pandas.read_parquet(TABLE)) == 10 and len(lines()) == 30
    assert not list(folder.glob(".*.tmp"))
    llmb("run")
    assert len(pandas.read_parquet(TABLE)) == 30


def test_the_tables_of_shards_are_one_table(folder: Path) -> None:
    for number in (1, 2, 3):
        llmb("run", "--shard", f"{number}/3")
    shards = [f"results-{number}-of-3.parquet" for number in (1, 2, 3)]
    said = refused("merge", *shards[:2], "-o", str(TABLE))
    assert "llmb run --shard 3/3" in said
    assert llmb("merge", *shards, "-o", str(TABLE)).stdout == f"{TABLE}\n"
    whole = pandas.read_parquet(TABLE).set_index("id").sort_index()
    parts = pandas.concat(map(pandas.read_parquet, shards)).set_index("id").sort_index()
    pandas.testing.assert_frame_equal(whole, parts)
    before = os.stat(TABLE)
    llmb("run")  # one run of all: nothing is left to do
    assert os.stat(TABLE) == before
