"""A run in shards is one run: ``--shard`` and ``llmb merge``, as schedulers start them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llm_batch.cli import app
from llm_batch.errors import ConfigError
from tests.settings import SCORED

ROOT = Path(__file__).parents[2]
SCALE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
CONFIG = f"""
[data]
path = "data.jsonl"
id = "id"
[sample]
size = 30
stratify = "kind"
{SCORED}"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = ({"id": f"i{n}", "kind": "ab"[n % 2], "question": f"What is {n}?"} for n in range(40))
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "llmb.toml").write_text(CONFIG)
    return tmp_path


def llmb(*words: str) -> str:
    made = CliRunner().invoke(app, words)
    if made.exception is not None and not isinstance(made.exception, SystemExit):
        raise made.exception
    assert made.exit_code == 0, made.output
    return made.output


def lines(path: str) -> list[dict[str, Any]]:
    """Without the times that calls took."""
    rows = map(json.loads, Path(path).read_text().splitlines())
    return [
        {key: value for key, value in row.items() if "seconds" not in key and key != "attempts"}
        for row in rows
    ]


def report(path: str) -> Any:
    return _timeless(json.loads(llmb("report", path, "--format", "json")))


def _timeless(value: Any) -> Any:
    """Without what depends on the clock or names the file."""
    own = re.compile("run|path|next_steps|timeline|latency.*")
    if isinstance(value, dict):
        return {key: _timeless(each) for key, each in value.items() if not own.fullmatch(key)}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def test_shards_put_together_are_the_run_itself(folder: Path) -> None:
    llmb("run", "-q", "--engine", "serial", "-o", "one.jsonl")
    for number in (2, 3, 1):
        llmb("run", "-q", "--shard", f"{number}/3", "--budget", "1")
    shards = sorted(map(str, Path().glob("results-*-of-3.jsonl")))
    assert shards == [f"results-{number}-of-3.jsonl" for number in (1, 2, 3)]
    assert "3 shards with 30 items" in llmb("merge", *shards)

    def order(row: dict[str, Any]) -> str:
        return str(row["id"])

    one, merged = lines("one.jsonl"), lines("results.jsonl")
    assert sorted(merged, key=order) == sorted(one, key=order)
    journals = [sorted(line["key"] for line in lines(f"{name}.calls.jsonl"))
                for name in ("one", "results")]  # fmt: skip
    assert journals[0] == journals[1]
    assert report("results.jsonl") == report("one.jsonl")
    manifests = [json.loads(Path(f"{name}.manifest.json").read_text())
                 for name in ("one", "results")]  # fmt: skip
    for key in ("dataset", "sample", "prices"):
        assert manifests[0][key] == manifests[1][key]
    assert manifests[0]["totals"]["items"] == manifests[1]["totals"]["items"]
    assert "0 calls made" in llmb("run", "--budget", "1")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["results-1-of-3.jsonl", "results-3-of-3.jsonl"], "of 3 shards 1 is missing: 2"),
        (["results-1-of-3.jsonl", "results-1-of-2.jsonl"], "different splits: of 2, 3"),
        (["whole.jsonl"], "of a whole run"),
        (["copy.jsonl", "results-1-of-3.jsonl"], "both shard 1 of 3"),
        (["results-1-of-2.jsonl", "other-2-of-2.jsonl"], "another seed"),
        (["nothing.jsonl"], "there is no nothing.manifest.json"),
    ],
)
def test_what_is_no_whole_set_of_shards_is_refused(
    folder: Path, names: list[str], said: str
) -> None:
    for flags in ("--shard 1/3", "--shard 3/3", "--shard 1/2", "-o whole.jsonl",
                  "--shard 2/2 --seed 7 -o other.jsonl"):  # fmt: skip
        llmb("run", "-q", *flags.split())
    for end in (".jsonl", ".manifest.json", ".calls.jsonl"):
        Path(f"copy{end}").write_bytes(Path(f"results-1-of-3{end}").read_bytes())
    with pytest.raises(ConfigError, match=said):
        llmb("merge", *names)
    assert not Path("results.jsonl").exists()


def test_a_shard_without_items_is_a_shard(folder: Path) -> None:
    """With few items a hash gives some shards none; a scheduler runs them all the same."""
    made = [llmb("run", "-q", "--sample", "3", "--shard", f"{n}/9") for n in range(1, 10)]
    empty = [said for said in made if "has no items" in said]
    assert len(empty) >= 6
    assert "when all are done: llmb merge results-*-of-9.jsonl -o results.jsonl" in empty[0]
    assert "9 shards with 3 items" in llmb("merge", "results-*-of-9.jsonl")  # by no shell
    assert len(lines("results.jsonl")) == 3
    assert json.loads(Path("results.manifest.json").read_text())["estimate"]["calls"] == 6
    assert "0 calls made" in llmb("run", "--sample", "3", "--budget", "1")
    number = 1 + made.index(empty[0])
    with pytest.raises(ConfigError, match=f"shard {number}/9 has no items"):
        llmb("run", "--dry-run", "--sample", "3", "--shard", f"{number}/9")


def test_shards_go_where_their_own_name_leads(folder: Path) -> None:
    """One that is named twice counts once."""
    for number in (1, 2):
        said = llmb("run", "-q", "--shard", f"{number}/2", "-o", "v 1/all.jsonl")
    assert "llmb merge 'v 1/all-'*-of-2.jsonl -o 'v 1/all.jsonl'" in said
    first, second = (f"v 1/all-{number}-of-2.jsonl" for number in (1, 2))
    said = llmb("merge", first, second, first)
    assert "2 shards with 30 items" in said
    assert said.splitlines()[-1] == "v 1/all.jsonl"
    assert len(lines("v 1/all.jsonl")) == 30


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "a/b"])
def test_a_shard_that_is_none_is_refused(folder: Path, shard: str) -> None:
    with pytest.raises(ConfigError, match="--shard is none of so many"):
        llmb("run", "--shard", shard)


def test_a_shard_says_that_its_limits_are_its_own(folder: Path) -> None:
    assert "shard 1 of 2: each has its own budget, rpm; all together may come to 2 times" in llmb(
        "run", "--shard", "1/2", "--budget", "1", "--rpm", "9000"
    )


@pytest.mark.parametrize(
    ("recipe", "tasks"),
    [
        (r"(exec llmb run --yes --shard \"\$SLURM.*)", [
            {"SLURM_ARRAY_TASK_ID": str(n), "SLURM_ARRAY_TASK_COUNT": "4"} for n in range(1, 5)
        ]),
        (r"- (exec llmb run --yes --shard .*JOB_COMPLETION.*)", [
            {"JOB_COMPLETION_INDEX": str(n)} for n in range(4)
        ]),
    ],
    ids=["slurm", "kubernetes"],
)  # fmt: skip
def test_the_recipes_of_the_guide_play_a_whole_run(
    folder: Path, recipe: str, tasks: list[dict[str, str]]
) -> None:
    (command,) = re.findall(recipe, SCALE)
    shim = folder / "bin" / "llmb"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llm_batch "$@"\n')
    shim.chmod(0o755)
    path = f"{shim.parent}{os.pathsep}{os.environ['PATH']}"
    own = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}
    running = [
        subprocess.Popen(["sh", "-c", command], cwd=folder, env={**own, **task},
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for task in tasks
    ]  # fmt: skip
    assert [process.communicate(timeout=240)[1] and process.returncode for process in running] == [
        0
    ] * 4
    assert "with 30 items" in llmb("merge", *map(str, folder.glob("results-*-of-4.jsonl")))
