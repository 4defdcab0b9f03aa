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

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch import __version__
from llm_batch.chain.config import Config, load_config
from llm_batch.errors import OutputError
from llm_batch.record.changes import changed_steps, changes
from llm_batch.record.files import run_paths
from llm_batch.record.lines import SCHEMA
from llm_batch.record.manifest import (
    RUNNING,
    Dataset,
    ListPrice,
    Manifest,
    Sample,
    Stopping,
    Totals,
    config_record,
    hash_of,
    new_run_id,
    utc,
    versions,
)
from llm_batch.records import Price


@pytest.mark.parametrize("output", ["results.jsonl", "out/a.b.jsonl", "/tmp/x y.jsonl"])
def test_the_files_of_a_run_lie_side_by_side_and_each_reader_finds_them(output: str) -> None:
    paths = run_paths(output)
    stem = output.removesuffix(".jsonl")
    assert str(paths.results) == output
    assert str(paths.journal) == f"{stem}.calls.jsonl"
    assert str(paths.manifest) == f"{stem}.manifest.json"
    assert str(paths.jobs) == f"{stem}.batches.jsonl"
    assert run_paths(paths.journal) == paths


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False,
    allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip
OWN = ("steps", "score", "models", "limits")
counts = st.none() | st.integers(0, 2**53)


@given(
    config=st.dictionaries(st.text().filter(lambda name: name not in OWN), values, max_size=5),
    limits=st.dictionaries(st.text(), values, max_size=3),
    versions=st.dictionaries(st.text(), st.text(), max_size=3),
    dataset=st.builds(Dataset, path=st.text(), sha256=st.text(), n=counts, skipped=counts,
                      strata=st.none() | st.dictionaries(st.text(), st.integers(0, 99))),
    sample=st.builds(Sample, size=counts, seed=st.none() | st.integers(-(2**63), 2**63 - 1),
                     stratify=st.none() | st.text()),
    totals=st.builds(Totals, status=st.sampled_from(["done", "budget", ""]), cost=st.none()
                     | st.floats(0, 1e100), calls=counts, seconds=st.floats(0, 1e9)),
    stopping=st.none() | st.builds(Stopping, margin=st.floats(0, 1), n=st.integers(0, 99)),
)  # fmt: skip
def test_what_is_written_reads_back_equal_by_both_doors(
    tmp_path_factory: pytest.TempPathFactory, **parts: Any
) -> None:
    path = tmp_path_factory.mktemp("run") / "results.manifest.json"
    written = Manifest(run_id="x", created_at="y", engine="threads", **parts)
    written.write(path)
    assert Manifest.read(path) == written
    assert Manifest.beside(path.with_name("results.jsonl")) == (written, "")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


WRITTEN = """{
  "schema": 2,
  "run_id": "r",
  "created_at": "",
  "updated_at": "",
  "versions": {},
  "config": {},
  "config_hash": "",
  "code": {},
  "dataset": {
    "path": "fragen-ä.csv",
    "sha256": null,
    "n": null,
    "skipped": null,
    "strata": null
  },
  "sample": {
    "size": null,
    "seed": null,
    "stratify": null
  },
  "prices": {},
  "engine": "",
  "limits": {},
  "estimate": null,
  "totals": {
    "status": "running",
    "seconds": 2.5
  }
}
"""


def test_a_manifest_is_read_by_people_too_and_a_run_that_goes_on_has_no_totals_yet(
    tmp_path: Path,
) -> None:
    path = tmp_path / "m.json"
    dataset = Dataset(path="fragen-ä.csv")
    Manifest(run_id="r", dataset=dataset, totals=Totals(RUNNING, seconds=2.5)).write(path)
    assert path.read_text(encoding="utf-8") == WRITTEN


def test_no_manifest_is_none(tmp_path: Path) -> None:
    assert Manifest.read(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b'{"a": "\xff"}',
        b'{"a":' * 5000 + b"1",
        b'{"dataset": 3}',
        b'{"config": {"steps": [{"model": "x"}]}}',
        b'{"a":' * 200 + b"1" + b"}" * 200,
    ],  # fmt: skip
)
def test_a_damaged_manifest_is_refused_with_a_way_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(content)
    with pytest.raises(OutputError, match="cannot read") as raised:
        Manifest.read(path)
    assert "delete it" in raised.value.hint


@pytest.mark.parametrize("schema", ["2", None, 2.5, [2]], ids=str)
def test_a_manifest_whose_schema_is_no_number_is_damaged_and_not_newer(
    tmp_path: Path, schema: object
) -> None:
    path = tmp_path / "results.manifest.json"
    path.write_text(json.dumps({"schema": schema}))
    with pytest.raises(OutputError, match="its schema is no number") as raised:
        Manifest.read(path)
    assert "delete it" in raised.value.hint
    assert "no number" in Manifest.beside(tmp_path / "results.jsonl")[1]


def test_a_newer_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"schema": SCHEMA + 1}))
    with pytest.raises(OutputError, match="newer version") as raised:
        Manifest.read(path)
    assert "upgrade" in raised.value.hint


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failing_disk_leaves_the_old_manifest_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "m.json"
    Manifest(run_id="old").write(path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    with pytest.raises(OutputError, match="No space left on device"):
        Manifest(run_id="new").write(path)
    assert Manifest.read(path) == Manifest(run_id="old")
    assert [file.name for file in tmp_path.iterdir()] == ["m.json"]


def test_a_place_that_does_not_exist_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        Manifest().write(tmp_path / "none" / "m.json")


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
    assert msgspec.to_builtins(ListPrice.of(price)) == {
        "input": 2.5,
        "output": 10.0,
        "cache_read": 1.25,
        "cache_write": None,
        "source": "litellm: gpt-4o",
        "as_of": "2026-01",
    }
    assert ListPrice.of(None) is None


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
    assert changed(lambda m: None) == []


def changed(edit: Any) -> list[str]:
    new = copy.deepcopy(manifest())
    edit(new)
    return changes(Manifest.of(manifest()), Manifest.of(new))


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
            "the [score] rule changed: scores are recalculated from the stored answers",
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
    thin, full = Manifest.of({}), Manifest.of(manifest())
    assert changes(thin, full)[0].startswith("the data changed: None with None rows, now a.csv")
    assert "step 'judge' is gone" in changes(full, thin)
    nothing = {"sample": None, "config": None}, {"sample": {}, "config": {}}
    assert changes(*map(Manifest.of, nothing)) == []


def test_a_prompt_is_the_same_wherever_its_file_lies() -> None:
    configs = [
        {"steps": [{"name": "a", "prompt": "Hi", "prompt_file": file}]} for file in ("x.txt", None)
    ]
    assert changed_steps(*configs) == {}
    assert changes(*(Manifest(config=config) for config in configs)) == []
    configs[1]["steps"][0]["prompt"] = "Hello"
    assert changed_steps(*configs) == {"a": ["prompt"]}


def test_a_newer_schema_is_named_whatever_else_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "results.manifest.json"
    path.write_text(json.dumps({"schema": SCHEMA + 1, "dataset": [1], "config": "other"}))
    with pytest.raises(OutputError, match="newer version"):
        Manifest.read(path)
    with pytest.raises(OutputError, match="newer version"):
        Manifest.beside(tmp_path / "results.jsonl")


@pytest.mark.parametrize(
    ("score", "output", "scale"),
    [
        ({"min": 0, "max": 9}, {"type": "integer", "min": 1, "max": 5}, (0, 9)),
        ({}, {"type": "integer", "min": 1, "max": 5}, (1, 5)),
        ({}, "boolean", (0, 1)),
        ({}, {"type": "boolean"}, (0, 1)),
        ({"labels": {"right": 1, "half": 0.5, "wrong": -1}}, {"type": "string"}, (-1, 1)),
        ({}, {"type": "integer", "min": 1}, None),
        ({}, "integer", None),
        ({"labels": {"right": "one"}}, None, None),
    ],
)
def test_the_ends_of_the_scale_are_found_wherever_the_user_wrote_them(
    score: dict[str, Any], output: Any, scale: tuple[float, float] | None
) -> None:
    step = {"name": "judge", "output": output and {"grade": output}}
    rule = {"field": "judge.grade", **score}
    assert Manifest.of({"config": {"steps": [step], "score": rule}}).scale == scale
