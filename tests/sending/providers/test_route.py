"""A model string says who serves it, where, and with which key."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from llm_batch.chain.options import Model
from llm_batch.errors import ConfigError
from llm_batch.models.table import model_info
from llm_batch.sending.providers import check_servable, make_provider, route, structured_mode
from llm_batch.sending.providers.endpoints import renamed_for

OWN = "http://gpu-box:8000/v1"


@pytest.mark.parametrize(
    ("model", "settings", "provider", "vendor", "name", "base_url"),
    [
        ("local/smollm2-135m-instruct", {}, "embedded", "local", "smollm2-135m-instruct", ""),
        ("local//models/x.gguf", {}, "embedded", "local", "/models/x.gguf", ""),
        ("fake/a", {}, "fake", "fake", "a", ""),
        ("openai/gpt-4o", {}, "direct", "openai", "gpt-4o", "https://api.openai.com/v1"),
        ("gpt-4", {}, "direct", "openai", "gpt-4", "https://api.openai.com/v1"),
        ("openai/not-listed", {}, "direct", "openai", "not-listed", "https://api.openai.com/v1"),
        (
            "groq/openai/gpt-oss-20b",
            {},
            "direct",
            "groq",
            "openai/gpt-oss-20b",
            "https://api.groq.com/openai/v1",
        ),
        (
            "openrouter/anthropic/claude-sonnet-4.5",
            {},
            "direct",
            "openrouter",
            "anthropic/claude-sonnet-4.5",
            "https://openrouter.ai/api/v1",
        ),
        ("llamafile/any", {}, "direct", "llamafile", "any", "http://127.0.0.1:8080/v1"),
        ("openai/my-model", {"api_base": OWN}, "direct", "openai", "my-model", OWN),
        ("gpt-4", {"api_base": OWN}, "direct", "openai", "gpt-4", OWN),
        ("my-model", {"api_base": OWN}, "direct", "openai", "my-model", OWN),
        ("my-org/my-model", {"api_base": OWN}, "direct", "openai", "my-org/my-model", OWN),
        ("hosted_vllm/org/m", {"api_base": OWN}, "direct", "hosted_vllm", "org/m", OWN),
        ("groq/x", {"api_base": OWN}, "direct", "groq", "x", OWN),
        ("azure/my-deployment", {"api_base": OWN}, "litellm", "azure", "azure/my-deployment", OWN),
        ("anthropic/claude-x", {}, "litellm", "anthropic", "anthropic/claude-x", ""),
        ("claude-sonnet-4-5", {}, "litellm", "anthropic", "claude-sonnet-4-5", ""),
        ("gemini/gemini-2.5-pro", {}, "litellm", "gemini", "gemini/gemini-2.5-pro", ""),
        ("bytez/org/model", {}, "litellm", "bytez", "bytez/org/model", ""),
        ("ollama/llama3", {}, "litellm", "ollama", "ollama/llama3", ""),
        # Models of the responses API need a translator, wherever they are.
        ("o1-pro", {}, "litellm", "openai", "o1-pro", ""),
        ("openai/gpt-4o", {"transport": "litellm"}, "litellm", "openai", "openai/gpt-4o", ""),
        (
            "my-model",
            {"api_base": OWN, "transport": "litellm"},
            "litellm",
            "openai",
            "my-model",
            OWN,
        ),
        # Somebody's gateway that speaks OpenAI's format for all.
        (
            "anthropic/claude-x",
            {"api_base": OWN, "transport": "direct"},
            "direct",
            "anthropic",
            "claude-x",
            OWN,
        ),
    ],
)
def test_a_model_string_goes_to_the_provider_that_speaks_its_format(
    model: str, settings: dict[str, Any], provider: str, vendor: str, name: str, base_url: str
) -> None:
    way = route(model, Model(**settings))
    assert (way.provider, way.vendor, way.name) == (provider, vendor, name)
    assert way.base_url == base_url


@pytest.mark.parametrize(
    ("model", "settings", "words"),
    [
        ("my-model", {}, "is not known"),
        ("my-org/my-model", {}, "is not known"),
        ("hosted_vllm/m", {}, "api_base does not say where"),
        ("anthropic/claude-x", {"transport": "direct"}, "api_base does not say where"),
    ],
)
def test_what_names_no_address_is_refused_with_a_way_out(
    model: str, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        check_servable(model, Model(**settings))
    assert "api_base" in caught.value.hint


@pytest.mark.parametrize(
    ("model", "meant"),
    [
        ("opneai/gpt-4o", "openai/gpt-4o"),
        ("Anthropc/claude-x", "anthropic/claude-x"),
        ("OpenAI/gpt-4o", "openai/gpt-4o"),
        ("fkae/a", "fake/a"),
        ("gemni/gemini-2.5-pro", "gemini/gemini-2.5-pro"),
        ("ollma/llama3", "ollama/llama3"),
        ("gpt4o", "gpt-4o"),
    ],
)
def test_a_misspelt_model_is_answered_with_the_one_that_was_meant(model: str, meant: str) -> None:
    with pytest.raises(ConfigError, match="is not known") as caught:
        check_servable(model, Model())
    assert f"did you mean {meant}?" in caught.value.hint


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("openai/gpt-4o", "OPENAI_API_KEY"),
        ("gpt-4", "OPENAI_API_KEY"),
        ("groq/x", "GROQ_API_KEY"),
        ("openrouter/a/b", "OPENROUTER_API_KEY"),
        ("together_ai/x", "TOGETHER_API_KEY"),
    ],
)
def test_a_vendor_without_its_key_is_refused_before_anything_is_sent(
    model: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for make in (
        lambda: check_servable(model, Model()),
        lambda: make_provider(model, Model(), workers=1),
    ):
        with pytest.raises(ConfigError, match=variable) as caught:
            make()
        assert f"export {variable}=" in caught.value.hint
    monkeypatch.setenv(variable, "k1")
    assert route(model, Model()).key == "k1"
    check_servable(model, Model())


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("openai/my-model", {"api_base": OWN}),
        ("openai/my-model", {"api_base": "http://127.0.0.1:8000/v1"}),
        ("my-org/my-model", {"api_base": OWN}),
        ("hosted_vllm/m", {"api_base": OWN}),
    ],
)
def test_a_server_of_ones_own_needs_no_key(model: str, settings: dict[str, Any]) -> None:
    check_servable(model, Model(**settings))
    assert route(model, Model(**settings)).key is None


def test_a_key_goes_to_its_own_vendor_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "openai-key")
    for model, settings in [
        ("groq/x", Model()),
        ("hosted_vllm/m", Model(api_base=OWN)),
        ("anthropic/claude-x", Model(api_base=OWN, transport="direct")),
        ("anthropic/claude-x", Model(api_base=OWN)),
        ("bytez/org/model", Model()),
    ]:
        assert route(model, settings).key is None


def test_api_key_env_names_the_key_and_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "the usual")
    monkeypatch.setenv("MY_KEY", "mine")
    settings = Model(api_key_env="MY_KEY", api_base=OWN)
    assert route("openai/m", settings).key == "mine"
    assert route("anthropic/claude-x", settings).key == "mine"
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match="MY_KEY") as caught:
        route("openai/m", settings)
    assert caught.value.hint == "export MY_KEY=…"


@pytest.mark.parametrize("value", ["k1\n", "k1\r\n", " k1 "])
def test_spaces_and_line_ends_around_a_key_do_not_count(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", value)
    assert route("gpt-4", Model()).key == "k1"


@pytest.mark.parametrize("value", ["half\nanother-secret", "ключ-secret", "two words-secret"])
def test_what_cannot_be_a_key_is_refused_without_showing_it(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", value)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as caught:
        route("gpt-4", Model())
    assert "secret" not in str(caught.value)


def test_the_environment_can_name_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", OWN)
    assert route("gpt-4", Model()).base_url == "http://127.0.0.1:9/v1"
    assert route("hosted_vllm/m", Model()).base_url == OWN
    assert route("gpt-4", Model(api_base=OWN)).base_url == OWN
    check_servable("gpt-4", Model())  # on this machine, so without a key


@pytest.mark.parametrize("address", ["api.openai.com/v1", "http://:8000/v1", "ftp://host/v1"])
def test_an_address_in_the_environment_that_is_none_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    monkeypatch.setenv("OPENAI_API_KEY", "k1")
    with pytest.raises(ConfigError, match="is no address to call"):
        make_provider("gpt-4", Model(), workers=1)


def test_a_proxy_that_cannot_be_spoken_to_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks5://user:word@proxy:1080")
    with pytest.raises(ConfigError, match="proxy socks5://proxy:1080") as caught:
        make_provider("openai/m", Model(api_base=OWN), workers=1)
    assert "word" not in caught.value.message


@pytest.mark.parametrize(
    ("model", "settings", "mode"),
    [
        ("gpt-4o-mini", {}, "json_schema"),
        ("gpt-4-turbo", {}, "json_object"),
        ("gpt-4", {}, "prompt"),
        ("openai/not-listed", {}, "prompt"),
        ("openai/my-model", {"api_base": OWN}, "json_schema"),
        ("ollama/llama-of-mine", {}, "json_schema"),
        ("bytez/org/model", {}, "prompt"),
        ("gpt-4o-mini", {"structured": "prompt"}, "prompt"),
    ],
)
def test_objects_are_asked_for_in_the_strictest_way_the_model_takes(
    model: str, settings: dict[str, Any], mode: str
) -> None:
    made = Model(**settings)
    assert structured_mode(route(model, made), made, model_info(model)) == mode


@pytest.mark.parametrize(
    ("vendor", "name", "renamed"),
    [
        ("openai", "gpt-4o", {}),
        ("openai", "gpt-5-mini", {"max_tokens": "max_completion_tokens"}),
        ("openai", "gpt-5-chat-latest", {}),
        ("openai", "o3-mini", {"max_tokens": "max_completion_tokens"}),
        ("openai", "olmo-7b", {}),
        ("groq", "o3-mini", {}),
    ],
)
def test_reasoning_models_get_max_completion_tokens(
    vendor: str, name: str, renamed: dict[str, str]
) -> None:
    assert renamed_for(vendor, name) == renamed


def test_choosing_a_provider_imports_none_of_their_libraries() -> None:
    check = (
        "import sys; from llm_batch.chain.config import Model; "
        "from llm_batch.sending.providers import route;"
        "route('openai/gpt-4o', Model()); route('claude-sonnet-4-5', Model());"
        "print([m for m in ('litellm', 'openai', 'httpx', 'urllib3', 'xllamacpp') "
        "if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_direct_provider_does_not_import_litellm() -> None:
    check = (
        "import sys; from llm_batch.chain.config import Model; "
        "from llm_batch.sending.providers import make_provider; "
        "make_provider('openai/m', Model(api_base='http://127.0.0.1:9/v1'), 1)"
        ".close(); print('litellm' in sys.modules, 'urllib3' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False True"
