"""The environment variables that the models of a run are served with, for other machines.

What nobody asked for stays here: a shell holds keys of much else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from llm_batch.config import Config, Model
from llm_batch.providers import route
from llm_batch.providers.endpoints import ENDPOINTS, OWN_SERVERS

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


def variables_of(config: Config) -> dict[str, str]:
    """The variables that are set here and that serving the models of a config reads."""
    found: dict[str, str] = {}
    for model in dict.fromkeys(step.model for step in config.steps):
        settings = config.model(model)
        places = [settings.at(each) for each in settings.endpoints] or [settings]
        for place in places:
            found |= {name: os.environ[name] for name in _read(model, place) if name in os.environ}
    return found


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
