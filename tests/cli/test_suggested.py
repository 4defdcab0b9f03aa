"""Every command that is suggested can be pasted, and plays what it was suggested for."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llm_batch.chain.overrides import Overrides, Typed, command
from llm_batch.cli import app
from llm_batch.errors import LlmbError

#: Names that a shell takes apart unless they are quoted.
CONFIG, DATA, RESULTS = "it's mine.toml", "my data.csv", "out $1/re sults.jsonl"
TYPED = ["-c", CONFIG, "--data", DATA, "--model", "fake/b", "--judge", "fake/c", "--seed", "7"]
#: Where a command ends in a sentence.
_COMMAND = re.compile(r"llmb (?:run|estimate|report|label|init)\b.*?(?=`|\n|, or |   |; |$)")

TEXT = """
[data]
id = "id"
[limits]
workers = 2
[models."fake/b"]
input_price = 900
output_price = 900
[models."fake/c"]
script = "judge.jsonl"
input_price = 900
output_price = 900
[[steps]]
name = "generate"
model = "openai/never"
prompt = "{{ question }}"
max_tokens = 100
[[steps]]
name = "judge"
model = "openai/never"
prompt = "{{ question }} {{ generate }}"
max_tokens = 100
[steps.output]
score = { type = "integer", min = 1, max = 5 }
[score]
field = "judge.score"
pass_at = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LLMB_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-sent")
    monkeypatch.chdir(tmp_path)
    (tmp_path / CONFIG).write_text(TEXT.replace("judge.jsonl", str(tmp_path / "judge.jsonl")))
    rows = "".join(f"q{n},What is {n}?,so {n}\n" for n in range(1500))
    (tmp_path / DATA).write_text("id,question,answer\n" + rows)
    scores = [json.dumps(json.dumps({"score": 5 if n % 3 else 1})) for n in range(97)]
    (tmp_path / "judge.jsonl").write_text("\n".join(scores) + "\n")
    (tmp_path / Path(RESULTS).parent).mkdir()
    return tmp_path


def play(words: list[str], typed: str = "") -> str:
    """What a command prints and says; it has to do what it is for."""
    done = CliRunner().invoke(app, words, input=typed)
    if isinstance(done.exception, LlmbError):
        raise done.exception
    assert done.exit_code in (0, 4), done.output
    return done.output


def suggested(text: str) -> list[list[str]]:
    """The words of every command in a text, as a shell has them."""
    return [shlex.split(found) for found in dict.fromkeys(_COMMAND.findall(text))]


def said_by(report: str) -> str:
    """The sentences of a report or an estimate in JSON, one a line."""
    made = json.loads(report)
    hints = [f"{each['hint']}" for each in made.get("warnings", []) if isinstance(each, dict)]
    command = made.get("next_command", "")
    return "\n".join([*hints, *made.get("next_steps", []), f"`{command}`"])


def manifest(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def plays_the_same(made: dict[str, Any]) -> None:
    assert [step["model"] for step in made["config"]["steps"]] == ["fake/b", "fake/c"]
    assert Path(made["dataset"]["path"]).name == DATA
    assert made["sample"]["seed"] == 7


def test_what_an_estimate_suggests_plays_what_it_priced(here: Path) -> None:
    out = play(["estimate", *TYPED, "--sample", "0", "--format", "json"])
    commands = suggested(said_by(out))
    runs = [words for words in commands if words[1] == "run"]
    pilots = [words for words in commands if "--pilot" in words]
    assert runs and pilots
    for words in runs:
        play([*words[1:], "--yes", "-o", "tried.jsonl", "--overwrite"])
        plays_the_same(manifest(here / "tried.manifest.json"))
    play([*pilots[0][1:], "--yes"])
    plays_the_same(manifest(here / "results.manifest.json"))


def test_a_budget_that_is_too_small_suggests_a_sample_that_keeps_the_flags(here: Path) -> None:
    out = play(["estimate", *TYPED, "--sample", "0", "--budget", "5", "--format", "json"])
    (words,) = suggested(said_by(out))[:1]
    assert words[:2] == ["llmb", "run"] and "--sample" in words
    for flag in (*TYPED, "--budget"):
        assert flag in words or flag == "-c"
    play([*words[1:], "--yes"])
    plays_the_same(manifest(here / "results.manifest.json"))


def test_of_a_number_of_items_alone_the_data_is_still_to_be_named(here: Path) -> None:
    words = ["estimate", "--n", "30000", "--model", "openai/gpt-4o", "--judge", "openai/gpt-4o"]
    commands = suggested(said_by(play([*words, "--format", "json"])))
    assert commands
    for each in commands:
        assert each[each.index("--data") + 1] == "FILE"
        assert each[each.index("--model") + 1] == "openai/gpt-4o"
        if each[1] == "run":
            filled = [word.replace("FILE", DATA) for word in each[1:]]
            assert "[user]" in play([*filled, "--dry-run"])


def test_what_a_run_and_its_report_suggest_goes_on_with_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = play(["run", *TYPED, "--sample", "20", "--yes", "-o", RESULTS])
    (report,) = suggested(said)
    assert report == ["llmb", "report", RESULTS]
    for folder, name in ((here, RESULTS), (here / Path(RESULTS).parent, Path(RESULTS).name)):
        monkeypatch.chdir(folder)
        before = manifest(here / RESULTS.replace(".jsonl", ".manifest.json"))
        commands = suggested(said_by(play(["report", name, "--format", "json"])))
        verbs = [words[1] for words in commands]
        assert "run" in verbs and "label" in verbs
        for words in commands:
            words = [word.replace("FIELD", "answer") for word in words]
            if words[1] == "run":
                play([*words[1:], "--yes"])
                made = manifest(here / RESULTS.replace(".jsonl", ".manifest.json"))
                plays_the_same(made)
                assert made["sample"]["size"] > before["sample"]["size"]
                assert made["run_id"] == before["run_id"]
            else:
                play(words[1:], "q\n")
    assert not list(here.rglob("results.*"))


def test_what_a_comparison_suggests_plays_both_runs(here: Path) -> None:
    play(["run", *TYPED, "--sample", "30", "--yes", "-o", "a.jsonl"])
    scores = [json.dumps(json.dumps({"score": 5 if n % 4 else 1})) for n in range(89)]
    (here / "judge.jsonl").write_text("\n".join(scores) + "\n")
    play(["run", *TYPED, "--sample", "30", "--yes", "-o", "b.jsonl"])
    out = play(["report", "a.jsonl", "b.jsonl", "--format", "json"])
    runs = [words for words in suggested(said_by(out)) if words[1] == "run"]
    assert [words[-1] for words in runs] == ["a.jsonl", "b.jsonl"]
    for words in runs:
        assert words[words.index("-c") + 1] == CONFIG
        play([*words[1:], "--yes", "--dry-run"])


def test_a_label_session_suggests_the_same_items_and_file(here: Path) -> None:
    play(["run", *TYPED, "--sample", "30", "--yes", "-o", RESULTS])
    flags = ["--n", "3", "--show", "question", "-o", "my labels.csv"]
    said = play(["label", RESULTS, *flags], "1\n0\n1\n")
    report, more = suggested(said)
    assert report == ["llmb", "report", RESULTS, "--labels", "my labels.csv"]
    play(report[1:])
    assert more[-4:] == ["--show", "question", "--output", "my labels.csv"]
    assert "3 of 6 done" in play(more[1:], "q\n")


@pytest.mark.parametrize(
    ("words", "then"),
    [
        (["run", "-c", "no where.toml"], ["init", "no where.toml"]),
        (["report", "out $1"], ["report", "out $1/results.jsonl"]),
        (["init", CONFIG], ["init", "--force", CONFIG]),
    ],
    ids=["no config", "a folder", "there already"],
)
def test_what_an_error_suggests_is_quoted(words: list[str], then: list[str], here: Path) -> None:
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, LlmbError)
    assert suggested(done.exception.hint) == [["llmb", *then]]


# How they are built


def test_a_command_has_the_flags_that_were_typed_and_no_others() -> None:
    flags = Overrides(
        data="a b.csv", sample=20, budget=5.0, rpm=0.5, output="x.jsonl", engine="batch"
    )
    typed = Typed("conf/my.toml", flags)
    assert typed.command("run", sample=100) == (
        "llmb run -c conf/my.toml --data 'a b.csv' --sample 100 --rpm 0.5 --budget 5 "
        "--engine batch --output x.jsonl"
    )
    assert typed.command("estimate", "--pilot", "20") == (
        "llmb estimate -c conf/my.toml --data 'a b.csv' --sample 20 --rpm 0.5 --budget 5 --pilot 20"
    )
    assert command("report", "-", Path("it's")) == "llmb report - 'it'\"'\"'s'"


def test_the_usual_config_is_named_only_where_another_would_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LLMB_CONFIG", raising=False)
    assert Typed("llmb.toml").command("run") == Typed().command("run") == "llmb run"
    monkeypatch.setenv("LLMB_CONFIG", "other.toml")
    assert Typed("llmb.toml").command("run") == "llmb run -c llmb.toml"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"config": "../c.toml", "sample": 5}, "llmb run -c ../../c.toml --sample 5"),
        ({"config": "", "sample": "many"}, None),
        ({"config": 3}, None),
        ({}, None),
        ({"config": "", "api_base": "http://127.0.0.1:8000/v1"}, "--api-base http://127.0.0.1"),
        ({"config": "", "api_base": "https://strange.example/v1"}, None),
        ({"config": "", "api_base": "http://127.0.0.1.strange.example/v1"}, None),
    ],
    ids=["known", "wrong type", "no name", "older", "own server", "elsewhere", "looks own"],
)
def test_a_manifest_says_what_was_typed_where_it_can_be_believed(
    made: dict[str, Any], said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llm_batch.record.manifest import Manifest

    monkeypatch.chdir(tmp_path)
    typed = Manifest.of({"made": made}).typed("../deep/results.jsonl")
    if said is None:
        assert typed is None
    else:
        assert typed is not None
        words = typed.command("run")
        assert said.replace("../../", "../") in words
        assert words.endswith("--output ../deep/results.jsonl")
