"""Which provider serves a model string.

========================  =================================================================
``local/…``               `embedded`: a GGUF model inside this process
``fake/…``                `fake`: scripted answers, marked as simulated everywhere
endpoints below           `direct`: OpenAI chat completions over HTTP
``api_base`` is set       `direct`, unless the prefix names a vendor with a format of its own
everything else           `litellm`
========================  =================================================================

``transport = "litellm"`` in the config sends anything but ``local/`` and ``fake/`` through litellm.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llm_batch.config import Model
from llm_batch.errors import ConfigError
from llm_batch.models import ModelInfo, model_info, vendors
from llm_batch.providers.base import Provider


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a vendor speaks OpenAI chat completions, and which variables hold its key."""

    base_url: str
    key_envs: tuple[str, ...]
    base_envs: tuple[str, ...] = ()


#: Base URLs and key variables as litellm has them; a test compares the two.
ENDPOINTS: Mapping[str, Endpoint] = {
    "openai": Endpoint(
        "https://api.openai.com/v1", ("OPENAI_API_KEY",), ("OPENAI_BASE_URL", "OPENAI_API_BASE")
    ),
    "groq": Endpoint("https://api.groq.com/openai/v1", ("GROQ_API_KEY",)),
    "deepseek": Endpoint("https://api.deepseek.com/beta", ("DEEPSEEK_API_KEY",)),
    "together_ai": Endpoint(
        "https://api.together.ai/v1", ("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY")
    ),
    "xai": Endpoint("https://api.x.ai/v1", ("XAI_API_KEY",)),
    "cerebras": Endpoint("https://api.cerebras.ai/v1", ("CEREBRAS_API_KEY",)),
    "nvidia_nim": Endpoint("https://integrate.api.nvidia.com/v1", ("NVIDIA_NIM_API_KEY",)),
}
#: Prefixes of servers of one's own that speak OpenAI chat completions at ``api_base``.
_OWN_SERVERS = ("openai", "hosted_vllm", "custom_openai", "lm_studio", "llamafile")
# Models that take JSON objects but no schema; the table has no field for it.
_JSON_OBJECT = ("gpt-4-turbo", "gpt-3.5-turbo", "deepseek-chat")
_NEW_MAX_TOKENS = ("o1", "o3", "o4", "gpt-5")


@dataclass(frozen=True, slots=True)
class Route:
    """How a model string is served.

    Attributes:
        provider: A key of `PROVIDERS`.
        vendor: Whose limits and rules apply.
        name: What the endpoint calls the model.
        base_url: For direct routes; empty otherwise.
        key: The API key found, or ``None``.
        key_env: The variable a key is expected in; empty when none is.
    """

    provider: str
    vendor: str
    name: str
    base_url: str = ""
    key: str | None = None
    key_env: str = ""


def route(model: str, settings: Model) -> Route:
    """Decide how a model is served; sends nothing and imports no provider.

    Args:
        model: The model string of a step.
        settings: Its section in the config.

    Raises:
        ConfigError: The string names nothing that can be served.
    """
    prefix, slash, rest = model.partition("/")
    if slash and prefix in ("local", "fake"):
        return Route("embedded" if prefix == "local" else "fake", prefix, rest)
    info = model_info(model)
    vendor = (
        prefix
        if slash and prefix in {*ENDPOINTS, *_OWN_SERVERS, *vendors()}
        else (info.provider if info else "")
    )
    name = rest if vendor == prefix else model
    if not vendor and settings.api_base is None:
        raise ConfigError(
            f"model {model!r} is not known",
            "name the provider too, as in openai/gpt-4o-mini, or set api_base for a server of "
            "your own",
        )
    endpoint = ENDPOINTS.get(vendor)
    key, key_env = _key(settings, endpoint)
    speaks_openai = endpoint is not None or (
        settings.api_base is not None and (not vendor or vendor in _OWN_SERVERS)
    )
    # Models of the responses API need litellm to translate.
    bridged = info is not None and info.mode != "chat"
    wants_litellm = settings.transport == "litellm" or not speaks_openai or bridged
    if wants_litellm and settings.transport != "direct":
        return Route("litellm", vendor or "openai", model, key=key, key_env=key_env)
    base_url = settings.api_base or _base_url(endpoint)
    if not base_url:
        raise ConfigError(
            f'model {model!r}: transport = "direct" needs api_base',
            f'set api_base under [models."{model}"]',
        )
    return Route("direct", vendor or "openai", name, base_url, key, key_env)


def check_servable(model: str, settings: Model) -> None:
    """Refuse a model that cannot be served as configured, as far as can be told without sending.

    Raises:
        ConfigError: The string names nothing, or a direct route has no key.
    """
    way = route(model, settings)
    if way.provider == "direct" and way.key is None and way.key_env:
        from llm_batch.providers.direct import is_loopback

        if not is_loopback(way.base_url):
            raise no_key(model, way.key_env)


def make_provider(model: str, settings: Model, workers: int) -> Provider:
    """The provider for a model.

    Args:
        model: The model string of a step.
        settings: Its section in the config.
        workers: How many threads will call it.

    Raises:
        ConfigError: It cannot be served as configured (no key, unknown name, not installed).
    """
    return PROVIDERS[route(model, settings).provider](model, settings, workers)


def _direct(model: str, settings: Model, workers: int) -> Provider:
    from llm_batch.providers.direct import DirectProvider

    check_servable(model, settings)
    way = route(model, settings)
    info = model_info(model)
    renamed = (
        {"max_tokens": "max_completion_tokens"}
        if way.vendor == "openai" and way.name.startswith(_NEW_MAX_TOKENS)
        else {}
    )
    return DirectProvider(
        way.base_url,
        way.name,
        way.key,
        vendor=way.vendor,
        connections=workers,
        structured=structured_mode(way.name, settings, info),
        renamed=renamed,
    )


def _litellm(model: str, settings: Model, workers: int) -> Provider:
    from llm_batch.providers.litellm import LitellmProvider

    way = route(model, settings)
    mode = structured_mode(way.name, settings, model_info(model))
    return LitellmProvider(model, settings, way, structured=mode, connections=workers)


def _embedded(model: str, settings: Model, workers: int) -> Provider:
    from llm_batch.providers.embedded import EmbeddedProvider

    return EmbeddedProvider(model.partition("/")[2], workers)


def _fake(model: str, settings: Model, workers: int) -> Provider:
    from llm_batch.providers.fake import FakeProvider

    return FakeProvider.from_settings(model, settings)


PROVIDERS: Mapping[str, Callable[[str, Model, int], Provider]] = {
    "direct": _direct,
    "litellm": _litellm,
    "embedded": _embedded,
    "fake": _fake,
}


def structured_mode(name: str, settings: Model, info: ModelInfo | None) -> str:
    """How to ask a model for an object: its schema, any JSON object, or words alone.

    A model that the table does not know behind ``api_base`` is taken to know schemas (vLLM,
    llama.cpp and Ollama do); one that turns them down is asked more laxly from then on.
    """
    if settings.structured != "auto":
        return settings.structured
    if info is None:
        return "json_schema" if settings.api_base else "prompt"
    if info.supports_response_schema:
        return "json_schema"
    return "json_object" if name.rpartition("/")[2].startswith(_JSON_OBJECT) else "prompt"


def no_key(model: str, variable: str) -> ConfigError:
    """The refusal when a key is missing."""
    return ConfigError(
        f"model {model!r} needs a key and the environment variable {variable} is not set",
        f'export {variable}=…   (or set api_key_env under [models."{model}"])',
    )


def _key(settings: Model, endpoint: Endpoint | None) -> tuple[str | None, str]:
    if settings.api_key_env is not None:
        key = os.environ.get(settings.api_key_env)
        if not key:
            raise ConfigError(
                f"api_key_env names {settings.api_key_env}, which is not set",
                f"export {settings.api_key_env}=…",
            )
        return key, settings.api_key_env
    envs = endpoint.key_envs if endpoint else ("OPENAI_API_KEY",) if settings.api_base else ()
    found = next((os.environ[env] for env in envs if os.environ.get(env)), None)
    return found, envs[0] if endpoint else ""


def _base_url(endpoint: Endpoint | None) -> str:
    if endpoint is None:
        return ""
    named = (os.environ[env] for env in endpoint.base_envs if os.environ.get(env))
    return next(named, endpoint.base_url)
