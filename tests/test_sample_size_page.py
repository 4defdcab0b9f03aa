"""Every number that docs/sample-size.md shows is what the program says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llm_batch.cli import app
from llm_batch.stats import clusters, sizes, strata
from tests.test_docs import flags_of

PAGE = (Path(__file__).parents[1] / "docs/sample-size.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(.+?)` \| (.+?) \|$", PAGE, re.MULTILINE)
COMMANDS = [(call, said) for call, said in ROWS if call.startswith("llmb ")]
CALLS = [(call, said) for call, said in ROWS if "(" in call and not call.startswith("llmb ")]


def answered(command: str) -> dict[str, Any]:
    _, *words = shlex.split(command)
    done = CliRunner().invoke(app, [*words, "--format", "json"])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.output)
    return found


@pytest.mark.parametrize(("command", "said"), COMMANDS, ids=[call for call, _ in COMMANDS])
def test_a_command_answers_as_shown(
    command: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert answered(command)["claim_notes"][0] == said


@pytest.mark.parametrize(("call", "said"), CALLS, ids=[call for call, _ in CALLS])
def test_a_formula_answers_as_shown(call: str, said: str) -> None:
    known = {
        name: value for module in (clusters, sizes, strata) for name, value in vars(module).items()
    } | {"finite": lambda n0, population: n0 / (1 + (n0 - 1) / population)}
    found = eval(call, known)  # noqa: S307 - our own page
    expected = json.loads(said)
    assert found == pytest.approx(expected, abs=5e-4 if isinstance(expected, float) else 0)


def test_the_page_shows_commands_and_formulas() -> None:
    assert len(COMMANDS) >= 10 and len(CALLS) >= 18


def test_every_flag_of_the_page_exists() -> None:
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) <= flags_of("estimate") | flags_of("run")


def test_every_key_of_the_json_that_belongs_to_it_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = answered("llmb estimate --n 3000 --budget 20 --cluster-size 5 --icc 0.2 --judge gpt-4o")
    explained = PAGE[PAGE.index("## JSON") :]
    own = ("sample_size", "claim", "claim_notes", "options", "verdict", "strata", "budget")
    for key in (*own, "alternatives"):
        assert f"`{key}" in explained, key
    for part in (made["claim"], made["claim"]["clusters"], made["options"][0]):
        for key in part:
            assert re.search(rf"\b{key}\b", explained), key
    for part in (made["alternatives"][0], made["alternatives"][0]["buys"][0]):
        for key in part:
            assert re.search(rf"\b{key}\b", explained), key
