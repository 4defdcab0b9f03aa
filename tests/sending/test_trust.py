"""A config is code: what it may send where is asked before anything is sent, and by one rule."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_batch.chain.config import Config, load_config
from llm_batch.chain.overrides import Overrides
from llm_batch.engines.batch.engine import cancel_jobs
from llm_batch.errors import ConfigError
from llm_batch.running.pilot import pilot
from llm_batch.running.run import run
from llm_batch.sending.clock import FakeClock
from llm_batch.sending.providers.endpoints import is_key_of_models, is_vendors_own, vendor_of_key
from llm_batch.sending.trust import (
    concerns,
    entries,
    not_agreed,
    refusal,
    remember,
    trusted_list,
    variables_of,
)
from tests.server import Server, serve

ROOT = Path(__file__).parents[2]
EVIL = "http://evil.example:8000"
#: Not in the folder of any test.
SYSTEM_FILE = "/etc/passwd"
KEYS = {
    "OPENAI_API_KEY": "sk-trust-0123456789abcdef",
    "ANTHROPIC_API_KEY": "anthropic-0123456789",
    "AWS_SECRET_ACCESS_KEY": "aws-0123456789abcdef",
    "GITHUB_TOKEN": "github-0123456789",
    "DATABASE_URL": "postgres-0123456789",
    "MY_KEY": "mine-0123456789",
    "GATEWAY_KEY": "gateway-0123456789",
}


@pytest.fixture(autouse=True)
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell with keys of much, and a home of its own."""
    for name in list(os.environ):
        if name.endswith(("_BASE_URL", "_API_BASE", "_API_KEY")):
            monkeypatch.delenv(name)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    home = "APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME"
    monkeypatch.setenv(home, str(tmp_path / "home"))
    project = tmp_path / "project"
    project.mkdir()
    (project / "q.jsonl").write_text('{"id": "q1", "question": "one?", "answer": "1"}\n')
    monkeypatch.chdir(project)


def config(
    models: str = "", model: str = "openai/m", more: str = "", step: str = "", **flags: Any
) -> Config:
    """What a file in the project's folder says, under some flags."""
    prompt = "" if "prompt_file" in step else 'prompt = "{{ question }}"\n'
    data = "" if "[data]" in more else '[data]\npath = "q.jsonl"\nid = "id"\n'
    Path("llmb.toml").write_text(
        f"{data}{more}\n{models}\n[[steps]]\n"
        f'name = "generate"\nmodel = "{model}"\nmax_tokens = 40\n{prompt}{step}\n'
    )
    return load_config(None, Overrides(**flags))


def served(url: str, key_env: str = "", model: str = "openai/m") -> str:
    named = f'api_key_env = "{key_env}"\n' if key_env else ""
    priced = "input_price = 1.0\noutput_price = 1.0\n"
    return f'[models."{model}"]\napi_base = "{url}/v1"\n{named}{priced}'


def found(made: Config) -> list[str]:
    return [concern.what for concern in concerns(made)]


# Keys


@pytest.mark.parametrize(
    ("url", "key_env", "model", "expected"),
    [
        (EVIL, "", "openai/m", ["OPENAI_API_KEY"]),
        (EVIL, "", "m", ["OPENAI_API_KEY"]),
        ("https://api.openai.com.evil.example", "", "openai/m", ["OPENAI_API_KEY"]),
        ("https://evilapi.openai.com", "", "openai/m", ["OPENAI_API_KEY"]),
        ("http://api.openai.com", "", "openai/m", ["OPENAI_API_KEY"]),  # not encrypted
        ("http://192.168.0.7:8000", "", "openai/m", ["OPENAI_API_KEY"]),
        ("http://127.0.0.1.evil.example", "", "openai/m", ["OPENAI_API_KEY"]),
        (EVIL, "", "anthropic/claude-sonnet-4-5", ["ANTHROPIC_API_KEY"]),
        (EVIL, "MY_KEY", "openai/m", ["MY_KEY"]),
        (EVIL, "AWS_SECRET_ACCESS_KEY", "openai/m", ["AWS_SECRET_ACCESS_KEY"]),
        (EVIL, "ANTHROPIC_API_KEY", "openai/m", ["ANTHROPIC_API_KEY"]),
        ("http://127.0.0.1:8000", "AWS_SECRET_ACCESS_KEY", "openai/m", ["AWS_SECRET_ACCESS_KEY"]),
        ("http://127.0.0.1:8000", "GITHUB_TOKEN", "openai/m", ["GITHUB_TOKEN"]),
        ("https://api.openai.com", "DATABASE_URL", "openai/m", ["DATABASE_URL"]),
        ("https://api.openai.com", "ANTHROPIC_API_KEY", "openai/m", ["ANTHROPIC_API_KEY"]),
        # Ordinary: the vendor's own host, this machine, and what has no key.
        ("https://api.openai.com", "", "openai/m", []),
        ("https://eu.api.openai.com", "", "openai/m", []),
        ("https://API.openai.com.", "MY_KEY", "openai/m", []),
        ("https://api.anthropic.com", "ANTHROPIC_API_KEY", "openai/m", []),
        ("https://mine.openai.azure.com", "", "azure/m", []),
        ("http://127.0.0.1:8000", "", "openai/m", []),
        ("http://localhost:8000", "MY_KEY", "openai/m", []),
        ("http://[::1]:8000", "", "openai/m", []),
        (EVIL, "", "hosted_vllm/m", []),
        (EVIL, "", "groq/m", []),
        # These need no variable: what is signed in with lies in the home directory.
        (EVIL, "", "vertex_ai/m", ["this machine's sign-in to vertex_ai"]),
        (EVIL, "", "github_copilot/m", ["this machine's sign-in to github_copilot"]),
        (EVIL, "", "bedrock/m", ["AWS_SECRET_ACCESS_KEY"]),
        (EVIL, "", "ollama/m", []),
    ],
)
def test_a_key_goes_to_its_vendor_or_this_machine_and_elsewhere_is_asked_about(
    url: str, key_env: str, model: str, expected: list[str]
) -> None:
    made = config(served(url, key_env, model), model)
    assert found(made) == [f"{key} to {url}" for key in expected]


def test_every_endpoint_of_a_pool_is_looked_at() -> None:
    made = config(
        '[models."openai/m"]\nendpoints = [{ api_base = "http://127.0.0.1:8000/v1" }, '
        f'{{ api_base = "{EVIL}/v1" }}]'
    )
    assert found(made) == [f"OPENAI_API_KEY to {EVIL}"]


def test_a_key_in_a_header_counts_like_any_other() -> None:
    headers = 'params.extra_headers = { "X-Key" = "env:GATEWAY_KEY", "X-Aws" = "env:GITHUB_TOKEN" }'
    assert found(config(served(EVIL), step=headers)) == [
        f"OPENAI_API_KEY to {EVIL}",
        f"GATEWAY_KEY to {EVIL}",
        f"GITHUB_TOKEN to {EVIL}",
    ]
    assert found(config(step=headers)) == ["GITHUB_TOKEN to https://api.openai.com"]


@pytest.mark.parametrize("address", ["evil.example:6379", "ray://evil.example:10001"])
def test_a_cluster_that_the_file_names_is_asked_about(address: str) -> None:
    cluster = f'[run]\nengine = "ray"\nray_address = "{address}"'
    assert found(config(more=cluster)) == [f"OPENAI_API_KEY to the Ray cluster at {address}"]
    assert found(config(more=cluster.replace(address, "auto"))) == []
    assert found(config(more=cluster.replace(address, "127.0.0.1:6379"))) == []


def test_models_of_batch_jobs_alone_are_looked_at_too() -> None:
    made = config(served(EVIL, model="openai/other"), "fake/a")
    assert found(made) == []
    assert [each.what for each in concerns(made, jobs=True)] == [f"OPENAI_API_KEY to {EVIL}"]


# What the user said himself


def test_a_typed_address_is_agreed_to_for_the_keys_of_the_model() -> None:
    typed: dict[str, Any] = {"api_base": f"{EVIL}/v1"}
    assert found(config(**typed)) == []
    assert found(config(served("http://other.example"), **typed)) == []
    assert found(config(served(EVIL, "MY_KEY"), **typed)) == []
    # Which key goes there is the file's word still.
    for name in ("AWS_SECRET_ACCESS_KEY", "ANTHROPIC_API_KEY"):
        assert found(config(served(EVIL, name), **typed)) == [f"{name} to {EVIL}"]


def test_an_address_of_the_environment_is_agreed_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{EVIL}/v1")
    assert found(config()) == []
    named = '[models."openai/m"]\napi_key_env = "GITHUB_TOKEN"'
    assert found(config(named)) == [f"GITHUB_TOKEN to {EVIL}"]


def test_a_config_that_is_no_file_is_the_users_own() -> None:
    made = config(served(EVIL)).model_copy(update={"source": None})
    assert concerns(made) == []
    assert concerns(load_config(ROOT / "llm_batch/demo/llmb.toml")) == []


def test_a_typed_model_does_not_hide_what_the_file_says_of_it() -> None:
    assert found(config(served(EVIL, model="openai/gpt-4o-mini"), "fake/a")) == []
    made = load_config(None, Overrides(model="openai/gpt-4o-mini"))
    assert found(made) == [f"OPENAI_API_KEY to {EVIL}"]


# Files


def test_a_prompt_file_stays_below_the_configs_folder(tmp_path: Path) -> None:
    (tmp_path / "judge.txt").write_text("x")
    Path("below").mkdir()
    Path("below/judge.txt").write_text("x")
    Path("link.txt").symlink_to(tmp_path / "judge.txt")
    Path("inner.txt").symlink_to("below/judge.txt")
    for name in ("below/judge.txt", "inner.txt", f"{Path.cwd()}/below/judge.txt"):
        assert found(config(model="fake/a", step=f'prompt_file = "{name}"')) == []
    for name in ("../judge.txt", "link.txt", "below/../../judge.txt", str(tmp_path / "judge.txt")):
        made = config(model="fake/a", step=f'prompt_file = "{name}"')
        assert found(made) == [f"{os.path.realpath(tmp_path / 'judge.txt')} as a prompt"]


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/stdin", "."])
def test_a_prompt_file_that_has_no_end_is_not_read(path: str) -> None:
    with pytest.raises(ConfigError, match="is no file"):
        config(model="fake/a", step=f'prompt_file = "{path}"')


def test_data_of_elsewhere_is_asked_about_where_a_stranger_would_get_it() -> None:
    data = f'[data]\npath = "{SYSTEM_FILE}"\nformat = "csv"'
    strange = served(EVIL, model="hosted_vllm/m")
    assert found(config(strange, "hosted_vllm/m", data)) == [f"{SYSTEM_FILE} to {EVIL}"]
    Path("link.csv").symlink_to(SYSTEM_FILE)
    linked = data.replace(SYSTEM_FILE, "link.csv")
    assert found(config(strange, "hosted_vllm/m", linked)) == [f"{SYSTEM_FILE} to {EVIL}"]
    assert found(config("", "openai/m", data)) == []
    assert found(config(served("http://127.0.0.1:1"), "openai/m", data)) == []
    assert found(config(strange, "hosted_vllm/m", data, data=SYSTEM_FILE)) == []


def test_pictures_that_data_names_count_like_data() -> None:
    pictures = 'images = ["{{ picture }}"]'
    named = f"pictures and PDFs that q.jsonl names to {EVIL}"
    model = "hosted_vllm/m"
    assert found(config(served(EVIL, model=model), model, step=pictures)) == [named]
    assert found(config(served(EVIL, model=model), model, step=pictures, data="q.jsonl")) == []
    assert found(config(step=pictures)) == []


def test_a_script_of_elsewhere_counts_like_data() -> None:
    step = '[[steps]]\nname = "judge"\nmodel = "hosted_vllm/m"\nprompt = "{{ generate }}"'
    script = f'[models."fake/a"]\nscript = "{SYSTEM_FILE}"\n'
    made = config(script + served(EVIL, model="hosted_vllm/m"), "fake/a", step=step)
    assert found(made) == [f"{SYSTEM_FILE} to {EVIL}"]


# The user's list


def test_what_was_agreed_to_is_remembered_for_its_folder_and_its_host() -> None:
    made = config(served(EVIL))
    path = remember(made, not_agreed(made))
    assert path == trusted_list() and path is not None
    assert not_agreed(made) == []
    assert os.name == "nt" or path.stat().st_mode & 0o777 == 0o600
    other = "http://evil.example:9000"
    assert [each.what for each in not_agreed(config(served(other)))] == [
        f"OPENAI_API_KEY to {other}"
    ]
    assert not_agreed(config(served(EVIL, "MY_KEY")))
    Path("../elsewhere").mkdir()
    os.chdir("../elsewhere")
    assert not_agreed(config(served(EVIL)))


def test_an_entry_without_a_folder_holds_in_all() -> None:
    path = trusted_list()
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_text(f'[[agreed]]\nwhat = "OPENAI_API_KEY to {EVIL}"\n')
    assert not_agreed(config(served(EVIL))) == []


@pytest.mark.parametrize("text", ["[[agreed", "\x00", "agreed = 3\n[x"])
def test_a_list_that_cannot_be_read_agrees_to_nothing(text: str) -> None:
    path = trusted_list()
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ConfigError, match="cannot read"):
        not_agreed(config(served(EVIL)))
    assert not_agreed(config()) == []  # nothing to ask, so nobody looks


def test_a_list_of_other_shapes_agrees_to_nothing() -> None:
    path = trusted_list()
    assert path is not None
    path.parent.mkdir(parents=True)
    for text in ("agreed = 3", "agreed = [3]", "[[agreed]]\nfolder = 3", ""):
        path.write_text(text)
        assert not_agreed(config(served(EVIL)))


def test_what_is_to_be_typed_can_be_pasted_into_the_list() -> None:
    made = config(served(EVIL))
    said = refusal(made, concerns(made), "add --yes to agree")
    assert "add --yes" in said.hint and str(trusted_list()) in said.hint
    [entry] = tomllib.loads(said.hint[said.hint.index("[[agreed]]") :])["agreed"]
    assert entry == {"folder": str(Path.cwd()), "what": f"OPENAI_API_KEY to {EVIL}"}
    assert entries(made, concerns(made)) in said.hint


# Every way to run


def test_the_library_refuses_as_the_command_does() -> None:
    made = config(served(EVIL))
    for engine in ("threads", "serial", "batch", "ray"):
        this = made.model_copy(update={"run": made.run.model_copy(update={"engine": engine})})
        with pytest.raises(ConfigError, match="OPENAI_API_KEY to http://evil"):
            run(this)
        with pytest.raises(ConfigError, match="OPENAI_API_KEY to http://evil"):
            pilot(this, 1)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY to http://evil"):
        cancel_jobs(made, FakeClock(), print)
    assert {path.name for path in Path.cwd().iterdir()} == {"llmb.toml", "q.jsonl"}


@pytest.mark.parametrize(
    ("variable", "vendor", "of_models"),
    [
        ("OPENAI_API_KEY", "openai", True), ("OPENAI_API_KEY_2", "openai", True),
        ("TEAM_OPENAI_KEY", "openai", True), ("AZURE_OPENAI_API_KEY", "azure", True),
        ("HF_TOKEN", "huggingface", True), ("BYTEZ_API_KEY", "bytez", True),
        ("API_KEY", "", True), ("MY_KEY", "", True), ("LLM_API_KEY", "", True),
        ("AWS_SECRET_ACCESS_KEY", "", False), ("AWS_ACCESS_KEY_ID", "", False),
        ("GITHUB_TOKEN", "", False), ("MY_GITHUB_TOKEN", "", False), ("NPM_TOKEN", "", False),
        ("DATABASE_URL", "", False), ("SSH_AUTH_SOCK", "", False), ("SSH_PRIVATE_KEY", "", False),
        ("STRIPE_API_KEY", "", False), ("AZURE_STORAGE_KEY", "", False), ("HOME", "", False),
        ("GOOGLE_APPLICATION_CREDENTIALS", "", False), ("MY_OPENAI_SECRET_KEY", "", False),
    ],
)  # fmt: skip
def test_variables_that_look_like_keys_of_models(
    variable: str, vendor: str, of_models: bool
) -> None:
    assert (vendor_of_key(variable), is_key_of_models(variable)) == (vendor, of_models)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://api.openai.com/v1", True), ("https://eu.api.openai.com:443/v1", True),
        ("http://api.openai.com/v1", False), ("https://openai.com.evil.example", False),
        ("https://xapi.openai.com", False), ("https://evil.example/api.openai.com", False),
        ("https://evil.example#api.openai.com", False), ("", False),
    ],
)  # fmt: skip
def test_hosts_of_a_vendor_are_its_own_and_their_subdomains(url: str, own: bool) -> None:
    assert is_vendors_own("openai", url) is own


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example\\\\.api.openai.com/v1", "https://evil.example\\\\@api.openai.com/v1",
        "https://evil.example .api.openai.com/v1", "https://evil.example\\t.api.openai.com",
        "https://evil.example%2f.api.openai.com", "https://a@evil.example/v1",
    ],
)  # fmt: skip
def test_an_address_that_libraries_read_in_two_ways_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="api_base must"):
        config(f'[models."openai/m"]\napi_base = "{url}"')


# The command


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    with serve() as started:
        yield started


def llmb(*words: str) -> subprocess.CompletedProcess[str]:
    """The command without a terminal. No host is looked up: a name that is strange has none."""
    return subprocess.run(
        [sys.executable, "-m", "llm_batch", *words],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
    )  # fmt: skip


@pytest.mark.parametrize(
    "words",
    [
        ("run",), ("run", "--engine", "batch"), ("run", "--engine", "ray"), ("run", "--cancel"),
        ("estimate", "--pilot", "1"), ("run", "--model", "openai/m"),
        ("run", "--overwrite", "--budget", "1"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_strangers_folder_sends_nothing_and_says_what_to_type(words: tuple[str, ...]) -> None:
    free = served(EVIL, "AWS_SECRET_ACCESS_KEY").replace("= 1.0", "= 0")
    config(free, step=f'prompt_file = "{SYSTEM_FILE}"')
    ended = llmb(*words)
    assert ended.returncode == 2
    assert f"AWS_SECRET_ACCESS_KEY to {EVIL}" in ended.stderr
    assert f"{SYSTEM_FILE} as a prompt" in ended.stderr
    assert "--yes" in ended.stderr and "[[agreed]]" in ended.stderr
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in ended.stderr
    assert {path.name for path in Path.cwd().iterdir()} == {"llmb.toml", "q.jsonl"}


def test_a_dry_run_says_what_a_run_would_ask() -> None:
    config(served(EVIL))
    ended = llmb("run", "--dry-run")
    assert ended.returncode == 0
    asks = f"note: a run asks first, since this sends OPENAI_API_KEY to {EVIL}"
    assert asks in " ".join(ended.stdout.split())


def answered(words: tuple[str, ...], answer: str) -> tuple[int, str]:
    """The command at a terminal where somebody answers once."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "llm_batch", *words],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "TERM": "dumb"},
    )  # fmt: skip
    os.close(theirs)
    said, typed = b"", False
    try:
        while select.select([ours], [], [], 60)[0]:
            try:
                part = os.read(ours, 4096)
            except OSError:  # Linux says the end so
                break
            if not part:
                break
            said += part
            if b"[y/N]" in said and not typed:
                typed = True
                os.write(ours, answer.encode())
        return process.wait(60), said.decode()
    finally:
        process.kill()
        os.close(ours)


def test_a_terminal_is_asked_once_and_a_yes_is_remembered(one_server: Server) -> None:
    one_server.reset()
    config(served(one_server.url, "GITHUB_TOKEN"))
    code, said = answered(("run", "--quiet"), "n\n")
    assert code == 2 and one_server.stats()["requests"] == 0
    assert "GITHUB_TOKEN to http://127.0.0.1" in said and "Continue?" in said
    code, said = answered(("run", "--quiet"), "y\n")
    assert code == 0 and "remembered for this folder in" in said
    sent = [entry["headers"]["authorization"] for entry in one_server.log()]
    assert sent == [f"Bearer {KEYS['GITHUB_TOKEN']}"]
    again = llmb("run", "--overwrite")
    assert again.returncode == 0 and "GITHUB_TOKEN" not in again.stderr


def test_yes_agrees_for_one_command_and_names_what_goes_where(one_server: Server) -> None:
    config(served(one_server.url, "GITHUB_TOKEN"))
    ended = llmb("run", "--yes")
    assert ended.returncode == 0
    assert f"llmb.toml sends GITHUB_TOKEN to {one_server.url}" in ended.stderr
    path = trusted_list()
    assert path is not None and not path.exists()


def test_ordinary_commands_ask_nothing(one_server: Server) -> None:
    url = f"{one_server.url}/v1"
    Path("llmb.toml").unlink(missing_ok=True)
    ended = llmb("run", "--model", "openai/gpt-4o-mini", "--api-base", url, "--data", "q.jsonl")
    assert (ended.returncode, ended.stderr.count("sends")) == (0, 0)
    config(served(one_server.url))
    assert llmb("run", "-o", "a.jsonl").returncode == 0
    config(model="openai/gpt-4o-mini")
    assert llmb("run", "-o", "b.jsonl", "--api-base", url).returncode == 0


SHELL = {
    "OPENAI_API_KEY": "sk-1",
    "OPENAI_BASE_URL": "http://gateway.example/v1",
    "MY_LLM": "x",
    "ANTHROPIC_API_KEY": "sk-ant",
    "AZURE_API_KEY": "az",
    "AZURE_API_BASE": "https://az.example",
    "AZURE_API_VERSION": "2024-10-21",
    "AWS_REGION_NAME": "eu-central-1",
    "AWS_SECRET_ACCESS_KEY": "aws",
    "GEMINI_API_KEY": "gem",
    "GOOGLE_APPLICATION_CREDENTIALS": "/home/me/google.json",
    "VERTEXAI_PROJECT": "mine",
    "GROQ_API_KEY": "gsk",
    "OR_API_KEY": "or",
    "ORACLE_PASSWORD": "not for anyone",
    "GITHUB_TOKEN": "not for anyone",
    "DB_PASSWORD": "not for anyone",
}
AZURE = {"AZURE_API_KEY", "AZURE_API_BASE", "AZURE_API_VERSION"}


@pytest.mark.parametrize(
    ("model", "settings", "names"),
    [
        ("openai/gpt-4o-mini", "", {"OPENAI_API_KEY", "OPENAI_BASE_URL"}),
        ("openai/m", 'api_base = "http://gpu/v1"\napi_key_env = "MY_LLM"', {"MY_LLM"}),
        ("groq/llama-3.1-8b-instant", "", {"GROQ_API_KEY"}),
        ("openrouter/x/y", "", {"OR_API_KEY"}),
        ("openrouter/x/y", 'transport = "litellm"', {"OR_API_KEY"}),
        ("anthropic/claude-3-haiku", "", {"ANTHROPIC_API_KEY"}),
        ("azure/mine", "", AZURE),
        ("bedrock/x", "", {"AWS_REGION_NAME", "AWS_SECRET_ACCESS_KEY"}),
        ("gemini/gemini-2.0-flash", "", {"GEMINI_API_KEY"}),
        ("vertex_ai/x", "", {"GOOGLE_APPLICATION_CREDENTIALS", "VERTEXAI_PROJECT"}),
        ("fake/writer", "", set()),
        (
            "openai/m",
            'endpoints = [{ api_base = "http://a/v1", api_key_env = "MY_LLM" }, '
            '{ api_base = "http://b/v1" }]',
            {"MY_LLM", "OPENAI_API_KEY"},
        ),
    ],
)
def test_a_model_takes_its_own_variables_along_and_no_others(
    model: str,
    settings: str,
    names: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in SHELL.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "llmb.toml"
    path.write_text(
        f'[models."{model}"]\n{settings}\n'
        f'[[steps]]\nname = "a"\nmodel = "{model}"\nprompt = "{{{{ question }}}}"\n'
    )
    found = variables_of(load_config(path))
    ours = {name: value for name, value in found.items() if name in SHELL}
    # The address in the environment does not matter where the config names one.
    own_address = {"OPENAI_BASE_URL"} if "api_base" in settings else set()
    assert set(ours) - own_address == names
    assert all(SHELL[name] == value for name, value in ours.items())
