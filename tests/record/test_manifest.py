"""The manifest: written whole, read back equal, and compared in sentences."""

from __future__ import annotations

import copy
import errno
import json
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch import __version__
from llm_batch.chain.config import Config, load_config
from llm_batch.errors import OutputError
from llm_batch.record.manifest import (
    changes,
    config_record,
    hash_of,
    new_run_id,
    price_record,
    read_manifest,
    run_paths,
    utc,
    versions,
    write_manifest,
)
from llm_batch.records import SCHEMA, Price
from llm_batch.reporting.manifest import manifest_path


@pytest.mark.parametrize("output", ["results.jsonl", "out/a.b.jsonl", "/tmp/x y.jsonl"])
def test_the_three_files_lie_side_by_side_and_report_finds_the_manifest(output: str) -> None:
    results, journal, manifest = run_paths(output)
    stem = output.removesuffix(".jsonl")
    assert str(results) == output
    assert str(journal) == f"{stem}.calls.jsonl"
    assert str(manifest) == f"{stem}.manifest.json"
    assert manifest == manifest_path(results)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False,
    allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(content=st.dictionaries(st.text(), values, max_size=5))
def test_what_is_written_reads_back_equal(
    content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("run") / "results.manifest.json"
    written = {**content, "schema": SCHEMA}
    write_manifest(path, written)
    assert read_manifest(path) == written
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_manifest_is_read_by_people_too(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    write_manifest(path, {"schema": SCHEMA, "dataset": {"path": "fragen-ä.csv"}})
    text = path.read_text(encoding="utf-8")
    assert text == '{\n  "schema": 2,\n  "dataset": {\n    "path": "fragen-ä.csv"\n  }\n}\n'


def test_no_manifest_is_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b'{"a": "\xff"}', b'{"a":' * 5000 + b"1"]
)
def test_a_damaged_manifest_is_refused_with_a_way_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="cannot read") as raised:
        read_manifest(path)
    assert "delete it" in raised.value.hint


@pytest.mark.parametrize("schema", [SCHEMA + 1, "2", None])
def test_a_newer_manifest_is_refused(tmp_path: Path, schema: object) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"schema": schema}))
    with pytest.raises(OutputError, match="newer version") as raised:
        read_manifest(path)
    assert "upgrade" in raised.value.hint


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_manifest_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "m.json"
    write_manifest(path, {"schema": SCHEMA, "run_id": "old"})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_manifest(path, {"schema": SCHEMA, "run_id": "new"})
    assert read_manifest(path) == {"schema": SCHEMA, "run_id": "old"}
    assert [file.name for file in tmp_path.iterdir()] == ["m.json"]


def test_a_place_that_does_not_exist_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        write_manifest(tmp_path / "none" / "m.json", {})


def test_run_ids_and_times_are_utc() -> None:
    assert re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{6}", new_run_id())
    assert new_run_id() != new_run_id()
    assert utc(0) == "1970-01-01T00:00:00Z"


def test_versions_name_what_answers_and_prices_depend_on() -> None:
    found = versions()
    assert found["llm_batch"] == __version__
    assert found["python"].startswith("3.")
    assert found["prices"].startswith("litellm ")


def test_the_record_of_a_config_is_the_config(tmp_path: Path) -> None:
    (tmp_path / "judge.txt").write_text("Rate {{ generate }}")
    path = tmp_path / "llmb.toml"
    path.write_text(
        '[[steps]]\nname = "generate"\nmodel = "fake/a"\nprompt = "x"\n'
        '[[steps]]\nname = "judge"\nmodel = "fake/a"\nprompt_file = "judge.txt"\n'
        'output = { score = { type = "integer", min = 1 }, why = "string" }\n'
    )
    config = load_config(path)
    record = json.loads(json.dumps(config_record(config)))
    assert record["steps"][1]["prompt"] == "Rate {{ generate }}"
    assert "source" not in record
    record["steps"] = [
        {key: value for key, value in step.items() if key != "prompt_file"}
        for step in record["steps"]
    ]
    again = Config.model_validate(record)
    assert again.steps[1].output == config.steps[1].output
    assert again.limits == config.limits


def test_a_hash_does_not_depend_on_the_order_of_keys() -> None:
    assert hash_of({"a": 1, "b": {"c": 2, "d": 3}}) == hash_of({"b": {"d": 3, "c": 2}, "a": 1})
    assert hash_of({"a": 1}) != hash_of({"a": 2})


def test_a_price_is_recorded_with_its_source_and_unknown_stays_unknown() -> None:
    price = Price(Decimal("2.50"), Decimal(10), Decimal("1.25"), None, "2026-01", "litellm: gpt-4o")
    assert price_record(price) == {
        "input": 2.5,
        "output": 10.0,
        "cache_read": 1.25,
        "cache_write": None,
        "source": "litellm: gpt-4o",
        "as_of": "2026-01",
    }
    assert price_record(None) is None


def manifest() -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "dataset": {"path": "a.csv", "sha256": "11", "n": 450},
        "sample": {"size": 384, "seed": 42, "stratify": None},
        "config": {
            "models": {"openai/x": {"api_base": None, "rpm": 5}},
            "steps": [
                {"name": "generate", "model": "openai/x", "prompt": "a"},
                {"name": "judge", "model": "gpt-4", "prompt": "b", "params": {}},
            ],
            "score": {"field": "judge.score", "pass_at": 4},
        },
    }


def test_equal_manifests_have_no_changes() -> None:
    assert changes(manifest(), manifest()) == []


def changed(edit: Any) -> list[str]:
    new = copy.deepcopy(manifest())
    edit(new)
    return changes(manifest(), new)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (
            lambda m: m["dataset"].update(sha256="22", n=9, path="b.csv"),
            "the data changed: a.csv with 450 rows, now b.csv with 9",
        ),
        (lambda m: m["sample"].update(size=500), "the sample was 384, now 500"),
        (lambda m: m["sample"].update(seed=1), "the seed was 42, now 1"),
        (
            lambda m: m["sample"].update(stratify="category"),
            "the stratification was none, now category",
        ),
        (
            lambda m: m["config"]["steps"][1].update(prompt="c", model="gpt-5"),
            "step 'judge' changed: model, prompt",
        ),
        (
            lambda m: m["config"]["steps"].insert(0, {"name": "plan"}),
            "step 'plan' is new",
        ),
        (lambda m: m["config"]["steps"].pop(), "step 'judge' is gone"),
        (
            lambda m: m["config"]["score"].update(pass_at=5),
            "the [score] rule changed; scores are worked out again, nothing is sent",
        ),
        (
            lambda m: m["config"]["models"]["openai/x"].update(api_base="http://h/v1"),
            "openai/x is served from http://h/v1, was none; answers that the journal holds are "
            "kept",
        ),
    ],
)
def test_each_change_is_one_sentence(edit: Any, sentence: str) -> None:
    assert changed(edit) == [sentence]


def test_what_decides_nothing_is_not_mentioned() -> None:
    def edit(m: dict[str, Any]) -> None:
        m["dataset"]["path"] = "moved/a.csv"
        m["config"]["models"]["openai/x"]["rpm"] = 9
        m["config"]["models"]["openai/new"] = {"api_base": None}
        m["config"]["steps"][0]["key_of_a_later_version"] = None

    assert changed(edit) == []


def test_a_manifest_that_is_older_or_thin_can_be_compared() -> None:
    assert changes({}, manifest())[0].startswith("the data changed: None with None rows, now a.csv")
    assert "step 'judge' is gone" in changes(manifest(), {})
    assert changes({"sample": None, "config": None}, {"sample": {}, "config": {}}) == []
