"""``llmb estimate`` as it is typed: pilots, earlier runs, tiers, exact counts, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli import FAKE, ROOT, llmb

PRICED = (
    FAKE
    + """
[sample]
size = 30
[models."fake/writer"]
input_price = 1
output_price = 2
[models."fake/judge"]
input_price = 1
output_price = 2
"""
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "llmb.toml").write_text(PRICED)
    return tmp_path


def test_a_batch_is_estimated_at_its_price(folder: Path) -> None:
    (folder / "llmb.toml").write_text(PRICED.replace("fake/", "openai/"))
    live, batch = (
        as_json("--n", "100", *words, cwd=folder) for words in ((), ("--engine", "batch"))
    )
    assert batch["cost"]["value"] == pytest.approx(live["cost"]["value"])  # of prices of one's own
    assert "batches" in batch["bound_by"] and "batches" not in live["bound_by"]


def as_json(*words: str, cwd: Path) -> dict[str, Any]:
    done = llmb("estimate", *words, "--format", "json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def journal(folder: Path) -> int:
    path = folder / "results.calls.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def test_a_pilot_is_played_once_and_the_run_goes_on_from_it(folder: Path) -> None:
    made = as_json("--pilot", "10", "--quiet", cwd=folder)
    assert (made["measured"], made["reused"], journal(folder)) == (10, 10, 20)
    assert made["simulated"] is True and made["spent"] > 0
    assert made["cost"]["level"] == 0.9
    assert as_json("--pilot", "10", cwd=folder)["cost"] == made["cost"]
    assert journal(folder) == 20
    assert llmb("run", "--quiet", cwd=folder).returncode == 0
    assert journal(folder) == 60


def test_an_earlier_run_is_measured_without_sending_or_writing_anything(folder: Path) -> None:
    llmb("run", "--quiet", cwd=folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    made = as_json("--from", "results.jsonl", "--sample", "100", cwd=folder)
    assert (made["n"], made["measured"], made["reused"]) == (100, 30, 30)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    alone = as_json("--from", "../results.jsonl", "--n", "5000", cwd=elsewhere)
    assert [step["model"] for step in alone["steps"]] == ["fake/writer", "fake/judge"]
    assert (alone["n"], alone["reused"]) == (5000, 0)


def test_a_pilot_above_a_dollar_needs_yes_where_nobody_can_be_asked(folder: Path) -> None:
    (folder / "llmb.toml").write_text(PRICED.replace("output_price = 2", "output_price = 9000"))
    refused = llmb("estimate", "--pilot", "10", cwd=folder)
    assert refused.returncode == 2 and "--yes" in refused.stderr
    assert journal(folder) == 0
    assert llmb("estimate", "--pilot", "10", "--yes", cwd=folder).returncode == 0
    assert journal(folder) == 20


def test_a_tier_bounds_the_time_and_is_named_with_its_date(folder: Path) -> None:
    words = ("--n", "30000", "--judge", "gpt-4o", "--model", "gpt-4.1-mini", "--tier", "openai-1")
    (folder / "llmb.toml").unlink()
    made = as_json(*words, "--workers", "50", cwd=folder)
    assert made["bound_by"] == (
        "Limited by 30,000 tokens a minute of gpt-4o; more workers will not help; batch would take "
        "up to 24 h at half the price."
    )
    assert made["steps"][1]["tpm"] == 30_000
    assert "2025-10" in made["steps"][1]["limits_from"]


def test_exact_counts_all_and_a_bar_is_only_for_terminals(folder: Path) -> None:
    rows = "".join(f'{{"question": "What is {i}?"}}\n' for i in range(2500))
    (folder / "rows.jsonl").write_text(rows)
    words = ("--data", "rows.jsonl", "--sample", "0")
    assert as_json(*words, cwd=folder)["counted"] == 2000
    done = llmb("estimate", *words, "--exact", "--format", "json", cwd=folder)
    assert json.loads(done.stdout)["counted"] == 2500
    assert done.stderr == ""


def test_on_a_terminal_a_bar_says_how_many_prompts_were_counted(folder: Path) -> None:
    rows = "".join(f'{{"question": "What is {i}?"}}\n' for i in range(2500))
    (folder / "rows.jsonl").write_text(rows)
    ours, theirs = os.openpty()
    words = ["estimate", "--data", "rows.jsonl", "--sample", "0", "--exact", "--format", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "llm_batch", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=60,
        env=os.environ | {"TERM": "xterm", "PYTHONPATH": str(ROOT)},
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.returncode == 0 and json.loads(done.stdout)["counted"] == 2500
    assert "of 2,500" in shown and "Traceback" not in shown


def test_a_pilot_stands_for_a_larger_dataset_of_which_nothing_is_done(folder: Path) -> None:
    rows = "".join(f'{{"question": "What is {i}?"}}\n' for i in range(40))
    (folder / "rows.jsonl").write_text(rows)
    words = ("--data", "rows.jsonl", "--pilot", "35", "--quiet")
    made = as_json(*words, "--n", "5000", cwd=folder)
    assert (made["n"], made["measured"], made["reused"]) == (5000, 35, 0)
    assert journal(folder) == 70
    assert as_json(*words, "--n", "40", cwd=folder)["reused"] == 35
    few = as_json(*words, "--n", "30", cwd=folder)
    assert (few["n"], few["population"], few["reused"]) == (30, 30, 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pilot", "5", "--from", "results.jsonl"], "choose one"),
        (["--from", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--n", "100", "--pilot", "5"], "--data"),
        (["--tier", "opnai-1"], "openai-1"),
    ],
    ids=str,
)
def test_bad_input_ends_with_2_and_says_what_to_type(
    folder: Path, words: list[str], said: str
) -> None:
    done = llmb("estimate", *words, cwd=folder)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == "" and journal(folder) == 0
