"""What a shell offers behind a half-typed word, and what it never offers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_batch.cli import app
from tests.reporting.made import full_manifest, result, write

FIELDS = {"question": "Why?", "topic": "a", "$(touch owned)": 1, "two words": 2}


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


@pytest.fixture
def offered(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """What a shell is told about the last word of a line."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("LLMB_CONFIG", raising=False)

    def ask(line: str, shell: str = "bash") -> list[str]:
        monkeypatch.setenv("_LLMB_COMPLETE", f"complete_{shell}")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        with pytest.raises(SystemExit):
            app(args=[], prog_name="llmb")
        return [word for word in capsys.readouterr().out.split("\n") if word]

    return ask


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
    line: str, has: str, count: int | None, offered: Callable[..., list[str]]
) -> None:
    found = offered(line)
    assert not has or has in found
    assert found if count is None else len(found) == count, found
    assert len(found) <= 200
    assert not any(set(name) & set(" $`'\"();|&<>\\") for name in found)


def test_zsh_is_offered_no_name_that_it_would_evaluate(
    offered: Callable[..., list[str]],
) -> None:
    found = "\n".join(offered("llmb show ", "zsh"))
    assert "item-1" in found and "id)" not in found and "`" not in found


def test_where_nothing_is_known_the_shell_offers_files(offered: Callable[..., list[str]]) -> None:
    assert offered("llmb report res") == []
    assert offered("llmb report res", "zsh") == ["_files"]
