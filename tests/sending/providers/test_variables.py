"""Which variables of this environment go to other machines: those of the models, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_batch.chain.config import load_config
from llm_batch.sending.providers.variables import variables_of

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
