"""What a shell offers behind a half-typed word, and what it never offers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli import ROOT
from tests.reporting.made import full_manifest, result, write

FIELDS = {"question": "Why?", "topic": "a", "$(touch owned)": 1, "two words": 2}
ASKED = "from llm_batch.cli import app; app(prog_name='llmb')"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("complete")
    ids = ["item-1", "item-2", "other", "x`id`", "$(id)", "'; id; '"]
    results = [result(n, fields=FIELDS, id=id) for n, id in enumerate(ids)]
    write(made, results, full_manifest(planned=6))
    (made / "q.jsonl").write_text(json.dumps({"id": 1, "lead": "x", "level": 2}) + "\n")
    (made / "empty").mkdir()
    (made / "bad.jsonl").write_bytes(b"\x00\xff{")
    return made


def _offered(folder: Path, line: str, shell: str = "bash") -> list[str]:
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", ASKED],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "_LLMB_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            "_TYPER_COMPLETE_ARGS": line,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not done.stderr, done.stderr
    return [line for line in done.stdout.split("\n") if line]


@pytest.mark.parametrize(
    ("line", "has", "count"),
    [
        ("llmb run --model anthropic/claude-haiku-4", "anthropic/claude-haiku-4-5", None),
        ("llmb run --model openai/gpt-4o,groq/", "openai/gpt-4o,groq/openai/gpt-oss-20b", None),
        ("llmb estimate --judge ", "openai/", None),
        ("llmb run --judge gpt-4o-mini", "gpt-4o-mini", None),
        ("llmb doctor --model local/", "local/smollm2-135m-instruct", 1),
        ("llmb models xai/gro", "xai/grok-4.3", None),
        ("llmb run --engine ba", "batch", 1),
        ("llmb run --tier anthropic-", "anthropic-2", None),
        ("llmb report --format h", "html", None),
        ("llmb estimate --format ", "json", None),
        ("llmb report --by ", "topic", 2),
        ("llmb report empty/none.jsonl --by ", "", 0),
        ("llmb estimate --data q.jsonl --cluster le", "level", 2),
        ("llmb report --judges judge", "judge.score", 2),
        ("llmb show item-", "item-1", 2),
        ("llmb show ", "other", 3),
        ("llmb show x bad.jsonl", "", 0),
    ],
)
def test_names_are_offered_and_nothing_that_a_shell_would_run(
    line: str, has: str, count: int | None, folder: Path
) -> None:
    found = _offered(folder, line)
    assert not has or has in found
    assert found if count is None else len(found) == count, found
    assert len(found) <= 200
    assert not any(set(name) & set(" $`'\"();|&<>\\") for name in found)


def test_zsh_is_offered_no_name_that_it_would_evaluate(folder: Path) -> None:
    found = "\n".join(_offered(folder, "llmb show ", "zsh"))
    assert "item-1" in found and "id)" not in found and "`" not in found


def test_where_nothing_is_known_the_shell_offers_files(folder: Path) -> None:
    assert _offered(folder, "llmb report res") == []
    assert _offered(folder, "llmb report res", "zsh") == ["_files"]
