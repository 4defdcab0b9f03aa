"""``llmb estimate`` asked how many items prove a claim, and what other models would cost."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

from llm_batch.chain.config import load_config
from llm_batch.chain.overrides import Overrides
from llm_batch.stats.clusters import intraclass_correlation
from tests.cli.test_cli import FAKE, llmb, modules_after
from tests.cli.test_estimate import as_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        {"id": f"q{i}", "question": f"What is {i}?", "doc": f"d{i // 4}", "kind": "ab"[i % 5 > 0]}
        for i in range(60)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "llmb.toml").write_text(FAKE + '[data]\npath = "rows.jsonl"\nid = "id"\n')
    return tmp_path


def test_models_with_commas_are_compared_with_what_a_budget_buys(tmp_path: Path) -> None:
    words = ("--n", "30000", "--judge", "gpt-4,gpt-4o", "--model", "gpt-4o-mini,gpt-4.1-mini")
    made = as_json(*words, "--budget", "20", cwd=tmp_path)
    pairs = [tuple(model["model"] for model in row["models"]) for row in made["alternatives"]]
    assert pairs == [
        ("gpt-4o-mini", "gpt-4"),
        ("gpt-4o-mini", "gpt-4o"),
        ("gpt-4.1-mini", "gpt-4"),
        ("gpt-4.1-mini", "gpt-4o"),
    ]
    assert made["alternatives"][0]["cost"] == made["cost"]
    assert made["budget"] == 20
    assert [way["way"] for way in made["alternatives"][1]["buys"]] == ["live", "batch"]


def test_a_comparison_on_the_same_items_needs_783_pairs(tmp_path: Path) -> None:
    words = ("--n", "30000", "--judge", "gpt-4", "--detect", "0.03", "--paired")
    done = llmb("estimate", *words, "--discordance", "0.09", cwd=tmp_path)
    assert done.returncode == 0
    assert "783 items answered by both models find a difference of 3 points" in done.stdout
    assert "Take 783: " in done.stdout


def test_an_earlier_run_tells_spread_and_likeness(folder: Path) -> None:
    assert llmb("run", "--sample", "40", "--quiet", cwd=folder).returncode == 0
    words = ("--from", "results.jsonl", "--cluster", "doc", "--stratify", "kind", "--margin", "0.1")
    made = as_json(*words, "--sample", "0", cwd=folder)
    passes: dict[str, list[float]] = {}
    for line in (folder / "results.jsonl").read_text().splitlines():
        row = json.loads(line)
        passes.setdefault(row["fields"]["doc"], []).append(float(row["passed"]))
    alike = intraclass_correlation(passes.values())
    assert alike is not None
    clusters = made["claim"]["clusters"]
    assert clusters["icc"] == pytest.approx(max(0.0, alike))
    assert clusters["icc_from"] == "results.jsonl"
    shares = made["strata"]["shares"]
    assert sum(share["measured"] for share in shares) == 40
    for way in ("proportional", "neyman"):
        assert sum(share[way] for share in shares) == made["strata"]["n"]
    assert any("40 scores" in note for note in made["claim_notes"])


def test_clusters_and_strata_come_from_the_data(folder: Path) -> None:
    words = ("--cluster", "doc", "--icc", "0.5", "--stratify", "kind", "--margin", "0.1")
    made = as_json(*words, "--sample", "0", cwd=folder)
    assert made["claim"]["clusters"] == {
        "field": "doc",
        "count": 15,
        "mean_size": 4.0,
        "size": 4.0,
        "icc": 0.5,
        "icc_from": "",
    }
    assert made["claim"]["design_effect"] == 2.5
    shares = {share["stratum"]: share["size"] for share in made["strata"]["shares"]}
    assert shares == {"a": 12, "b": 48}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--margin", "5"], "--margin 0.05"),
        (["--icc", "0.1"], "--cluster"),
        (["--n", "100", "--cluster", "doc", "--icc", "0.1"], "doc"),
        (["--judge", "gpt-4,,gpt-4o"], "empty name"),
        (["--judge", ",".join(f"m{i}" for i in range(25))], "25 combinations"),
    ],
    ids=str,
)
def test_bad_input_ends_with_2_and_says_what_to_type(
    tmp_path: Path, words: list[str], said: str
) -> None:
    done = llmb("estimate", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and "Traceback" not in done.stderr


def test_planning_needs_neither_scipy_nor_litellm(tmp_path: Path) -> None:
    words = ["estimate", "--n", "30000", "--judge", "gpt-4,gpt-4o", "--budget", "20"]
    claim = ["--judge-sensitivity", "0.9", "--judge-specificity", "0.8", "--margin", "0.03"]
    assert not {"scipy", "numpy", "litellm"} & modules_after([*words, *claim], tmp_path)


def test_without_a_config_what_run_would_play_is_priced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLMB_CONFIG", raising=False)
    importlib.import_module("llm_batch.cli")
    settings = sys.modules["llm_batch.cli.estimate"]._settings  # the package has the function
    for flags in (Overrides(), Overrides(judge="gpt-4"), Overrides(model="gpt-4o-mini")):
        assert settings(None, flags, None) == load_config(None, flags)
