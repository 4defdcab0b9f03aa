"""The environment variables that the models of a run are served with.

What nobody asked for stays here: a shell holds keys of much else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from llm_batch.chain.config import Config, Model
from llm_batch.chain.steps import FROM_ENVIRONMENT
from llm_batch.errors import ConfigError
from llm_batch.sending.providers import read_key, route
from llm_batch.sending.providers.endpoints import ENDPOINTS, OWN_SERVERS, VENDOR_HOSTS

# The first words of the variables that litellm reads for a vendor, where they are not its name.
_FIRST_WORDS = {
    "aiml": ("AIML", "AIMLAPI"),
    "aleph_alpha": ("ALEPH_ALPHA", "ALEPHALPHA"),
    "anthropic_text": ("ANTHROPIC",),
    "azure_ai": ("AZURE",),
    "azure_text": ("AZURE",),
    "bedrock": ("AWS", "BEDROCK"),
    "bedrock_mantle": ("AWS", "BEDROCK"),
    "cohere": ("COHERE", "CO_API"),
    "cohere_chat": ("COHERE", "CO_API"),
    "fireworks_ai": ("FIREWORKS", "FIREWORKS_AI", "FIREWORKSAI"),
    "friendliai": ("FRIENDLI", "FRIENDLIAI"),
    "gemini": ("GEMINI", "GOOGLE_API"),
    "github": ("GITHUB_API",),
    "huggingface": ("HUGGINGFACE", "HF"),
    "jina_ai": ("JINA", "JINA_AI"),
    "lambda_ai": ("LAMBDA",),
    "meta_llama": ("LLAMA", "META"),
    "ollama_chat": ("OLLAMA",),
    "openrouter": ("OPENROUTER", "OR"),
    "perplexity": ("PERPLEXITY", "PERPLEXITYAI"),
    "sagemaker": ("AWS",),
    "sagemaker_chat": ("AWS",),
    "scaleway": ("SCW",),
    "text-completion-codestral": ("CODESTRAL",),
    "text-completion-openai": ("OPENAI",),
    "together_ai": ("TOGETHER", "TOGETHER_AI", "TOGETHERAI"),
    "vertex_ai": ("VERTEX", "VERTEXAI", "GOOGLE"),
    "volcengine": ("VOLCENGINE", "ARK"),
    "voyage": ("VOYAGE", "VOYAGE_AI"),
    "watsonx": ("WATSONX", "WX", "WML"),
    "watsonx_text": ("WATSONX", "WX", "WML"),
}


_NAMES_KEY = re.compile(r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(?:_|$)")
# How a variable ends that holds a key; what stands before it says whose.
_KEY = re.compile(r"_(?:API_?)?(?:KEY|TOKEN)(?:_\w+)?$")
# Who may be asked for answers, beside the vendors: gateways, and servers of one's own.
_OWN_WORDS = {"API", "CHAT", "GATEWAY", "INFERENCE", "JUDGE", "LLM", "LOCAL", "MODEL", "MY", "OWN",
              "SGLANG", "TGI", "VLLM"}  # fmt: skip
# Keys to much more than answers begin with these, and vendors of models share some of them.
_NO_WORDS = re.compile(r"(?:^|_)(?:SECRET|PRIVATE|ACCESS|SSH|SIGNING|ENCRYPTION|STORAGE)(?:_|$)")


def variables_of(config: Config) -> dict[str, str]:
    """The variables that are set here and that serving the models of a config reads.

    They go to other machines with the run.
    """
    found: dict[str, str] = {}
    for step in config.steps:
        settings = config.model(step.model)
        places = [settings.at(each) for each in settings.endpoints] or [settings]
        names = [name for place in places for name in _read(step.model, place)]
        names += variables_in_headers(step.params)
        found |= {name: os.environ[name] for name in names if name in os.environ}
    return found


def keys_of(model: str, settings: Model) -> list[str]:
    """Names of the variables that are set here and whose keys go where a model is served."""
    return [
        name
        for name in dict.fromkeys(_read(model, settings))
        if os.environ.get(name, "").strip()
        and (name == settings.api_key_env or _NAMES_KEY.search(name))
    ]


def vendor_of_key(variable: str) -> str:
    """Whose key a variable holds by its name (``openai`` for OPENAI_API_KEY_2); empty if unknown.

    No key to anything else than answers of a model counts: AWS_SECRET_ACCESS_KEY, GITHUB_TOKEN.
    """
    found = _KEY.search(variable)
    if found is None or _NO_WORDS.search(variable):
        return ""
    for vendor, endpoint in {**ENDPOINTS, **OWN_SERVERS}.items():
        if variable in endpoint.key_envs:
            return vendor
    whole = f"_{variable}_"
    fits = [
        (whole.index(f"_{word}_"), -len(word), vendor)
        for vendor in (*VENDOR_HOSTS, *OWN_SERVERS)
        for word in _FIRST_WORDS.get(vendor, (vendor.upper(),))
        if f"_{word}_" in whole
    ]
    return min(fits)[2] if fits else ""


def is_key_of_models(variable: str) -> bool:
    """Whether a variable looks like the key of somebody who answers prompts."""
    found = _KEY.search(f"_{variable}")
    if found is None or _NO_WORDS.search(variable):
        return False
    before = {word for word in f"_{variable}"[: found.start()].split("_") if word}
    return bool(vendor_of_key(variable)) or before <= _OWN_WORDS


def variables_in_headers(params: Mapping[str, Any]) -> list[str]:
    """The variables that ``extra_headers`` of a step name."""
    values = (params.get("extra_headers") or {}).values()
    return [
        value.removeprefix(FROM_ENVIRONMENT)
        for value in values
        if value.startswith(FROM_ENVIRONMENT)
    ]


def headers_of(params: Mapping[str, Any]) -> dict[str, str]:
    """``extra_headers`` as they are sent: with the values of the variables they name.

    Raises:
        ConfigError: A variable is not set, or holds what no header can.
    """
    headers = {}
    for name, value in (params.get("extra_headers") or {}).items():
        if value.startswith(FROM_ENVIRONMENT):
            variable = value.removeprefix(FROM_ENVIRONMENT)
            value = read_key(variable)
            if value is None:
                raise ConfigError(
                    f"the header {name} is read from {variable}, which is not set",
                    f"export {variable}=…",
                )
        # In any other case the openai package would send its own beside it.
        headers["User-Agent" if name.lower() == "user-agent" else name] = value
    return headers


def _read(model: str, settings: Model) -> Iterator[str]:
    """Names of variables; some may not be set."""
    way = route(model, settings)
    if way.provider in ("embedded", "fake"):
        return
    if settings.api_key_env is not None:
        yield settings.api_key_env
    if (endpoint := ENDPOINTS.get(way.vendor) or OWN_SERVERS.get(way.vendor)) is not None:
        if settings.api_key_env is None:
            yield from endpoint.key_envs
        yield from endpoint.base_envs
    if way.provider == "litellm":
        vendor = way.vendor.partition("/")[0]
        words = _FIRST_WORDS.get(vendor, (re.sub(r"\W", "_", vendor.upper()),))
        begin = tuple(f"{word}_" for word in words)
        yield from (name for name in os.environ if name.startswith(begin))
