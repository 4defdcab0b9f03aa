"""Vendors and servers that speak OpenAI chat completions: their addresses, keys and differences."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from llm_batch.errors import Refused

# What OpenSSL says of an answer in plain text, by its versions.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False  # a name, such as 127.0.0.1.example.com
    return address.is_loopback or address.is_unspecified


def how_to_look(url: str) -> str:
    base = _base(url)
    if is_loopback(url):
        return f"is the server on this machine up? see with: curl {base}/models"
    return f"check api_base and the network; see with: curl {base}/models"


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a URL; ``None`` to go straight there.

    Read from ``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``, in either case, as
    other tools do. This machine is never reached by a proxy.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or is_loopback(url) or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def shown(url: str) -> str:
    """A URL as it may be shown: without user, password, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _base(url: str) -> str:
    return shown(url).removesuffix("/chat/completions").rstrip("/")


def plain_http(where: str, said: str) -> Refused | None:
    """The refusal where https met a port without TLS, as far as words tell."""
    if not where.startswith("https://") or not any(sign in said for sign in _NO_TLS):
        return None
    return not_that_scheme(where)


def not_that_scheme(where: str) -> Refused:
    where = _base(where)
    scheme, _, rest = where.partition("://")
    other, speaks = ("http", "plain http") if scheme == "https" else ("https", "https (TLS)")
    return Refused(
        f"{where} speaks {speaks}, not {scheme}", kind="setting", hint=f"write {other}://{rest}"
    )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where chat completions are, and how they differ from OpenAI's.

    Of ``key_envs`` the first that is set is used; ``base_envs`` may name another address, and
    ``base_url`` is empty for a server of one's own. ``renamed`` is by OpenAI's names.
    """

    base_url: str
    key_envs: tuple[str, ...]
    base_envs: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def url(self) -> str:
        named = (os.environ[env] for env in self.base_envs if os.environ.get(env))
        return next(named, self.base_url)


#: Vendors, by the prefix of a model string. Addresses, variables, names and additions are
#: litellm's; the contract test compares all of them.
ENDPOINTS: Mapping[str, Endpoint] = {
    "openai": Endpoint(
        "https://api.openai.com/v1", ("OPENAI_API_KEY",), ("OPENAI_BASE_URL", "OPENAI_API_BASE")
    ),
    "openrouter": Endpoint(
        "https://openrouter.ai/api/v1",
        ("OPENROUTER_API_KEY", "OR_API_KEY"),
        ("OPENROUTER_API_BASE",),
        extra={"usage": {"include": True}},
    ),
    "groq": Endpoint("https://api.groq.com/openai/v1", ("GROQ_API_KEY",), ("GROQ_API_BASE",)),
    "mistral": Endpoint(
        "https://api.mistral.ai/v1",
        ("MISTRAL_AZURE_API_KEY", "MISTRAL_API_KEY"),
        ("MISTRAL_AZURE_API_BASE",),
        renamed={"seed": "random_seed"},
    ),
    "deepseek": Endpoint(
        "https://api.deepseek.com/beta", ("DEEPSEEK_API_KEY",), ("DEEPSEEK_API_BASE",)
    ),
    "together_ai": Endpoint(
        "https://api.together.ai/v1",
        ("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN"),
        ("TOGETHER_AI_API_BASE",),
    ),
    "xai": Endpoint("https://api.x.ai/v1", ("XAI_API_KEY",), ("XAI_API_BASE",)),
    "cerebras": Endpoint(
        "https://api.cerebras.ai/v1", ("CEREBRAS_API_KEY",), ("CEREBRAS_API_BASE",)
    ),
    "nvidia_nim": Endpoint(
        "https://integrate.api.nvidia.com/v1", ("NVIDIA_NIM_API_KEY",), ("NVIDIA_NIM_API_BASE",)
    ),
}
#: Servers of one's own. None of them needs a key.
OWN_SERVERS: Mapping[str, Endpoint] = {
    "hosted_vllm": Endpoint("", ("HOSTED_VLLM_API_KEY",), ("HOSTED_VLLM_API_BASE",)),
    "lm_studio": Endpoint("", ("LM_STUDIO_API_KEY",), ("LM_STUDIO_API_BASE",)),
    "llamafile": Endpoint(
        "http://127.0.0.1:8080/v1", ("LLAMAFILE_API_KEY",), ("LLAMAFILE_API_BASE",)
    ),
    "custom_openai": Endpoint("", ("OPENAI_API_KEY",), ()),
}
#: Hosts of vendors: those and their subdomains belong to nobody else, so a key of the vendor may
#: go there. Hosts on which customers run what they like (API gateways, cloud functions) are not
#: among them.
VENDOR_HOSTS: Mapping[str, tuple[str, ...]] = {
    **{name: (str(urlsplit(each.base_url).hostname),) for name, each in ENDPOINTS.items()},
    "together_ai": ("api.together.ai", "api.together.xyz"),
    "mistral": ("api.mistral.ai", "codestral.mistral.ai"),
    "ai21": ("api.ai21.com",),
    "anthropic": ("api.anthropic.com",),
    "azure": ("openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com"),
    "azure_ai": ("services.ai.azure.com", "models.ai.azure.com", "openai.azure.com"),
    "bytez": ("api.bytez.com",),
    "cohere": ("api.cohere.ai", "api.cohere.com"),
    "dashscope": ("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com"),
    "deepinfra": ("api.deepinfra.com",),
    "featherless_ai": ("api.featherless.ai",),
    "fireworks_ai": ("api.fireworks.ai",),
    "gemini": ("generativelanguage.googleapis.com",),
    "github": ("models.inference.ai.azure.com", "models.github.ai"),
    "huggingface": ("router.huggingface.co",),
    "hyperbolic": ("api.hyperbolic.xyz",),
    "lambda_ai": ("api.lambda.ai",),
    "meta_llama": ("api.llama.com",),
    "minimax": ("api.minimax.io", "api.minimaxi.com"),
    "moonshot": ("api.moonshot.ai", "api.moonshot.cn"),
    "nebius": ("api.studio.nebius.ai",),
    "novita": ("api.novita.ai",),
    "perplexity": ("api.perplexity.ai",),
    "replicate": ("api.replicate.com",),
    "sambanova": ("api.sambanova.ai",),
    "volcengine": ("volces.com",),
    "zai": ("api.z.ai",),
}
#: Vendors that litellm signs in to with no variable: with files of the home directory, or with the
#: account that a machine in a cloud has.
SIGNED_IN = frozenset(
    (
        *("bedrock", "bedrock_converse", "bedrock_mantle", "sagemaker", "sagemaker_chat"),
        *("vertex_ai", "vertex_ai_beta", "github_copilot", "chatgpt", "databricks", "oci", "sap"),
    )
)
# Models that refuse max_tokens. The chat variants of gpt-5 do not reason and take it.
_REASONING = re.compile(r"(?:ft:)?o\d|.*gpt-(?!5-chat)[5-9]")


def is_vendors_own(vendor: str, url: str) -> bool:
    """Whether a URL leads to a host of the vendor itself, and by TLS."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    return parts.scheme == "https" and any(
        host == own or host.endswith(f".{own}") for own in VENDOR_HOSTS.get(vendor, ())
    )


def renamed_for(vendor: str, name: str) -> Mapping[str, str]:
    if vendor == "openai":
        new = _REASONING.match(name)
        return {"max_tokens": "max_completion_tokens"} if new else {}
    endpoint = ENDPOINTS.get(vendor)
    return endpoint.renamed if endpoint else {}


# Whose keys variables hold

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


# How a variable ends that holds a key; what stands before it says whose.
_KEY = re.compile(r"_(?:API_?)?(?:KEY|TOKEN)(?:_\w+)?$")
# Who may be asked for answers, beside the vendors: gateways, and servers of one's own.
_OWN_WORDS = {"API", "CHAT", "GATEWAY", "INFERENCE", "JUDGE", "LLM", "LOCAL", "MODEL", "MY", "OWN",
              "SGLANG", "TGI", "VLLM"}  # fmt: skip
# Keys to much more than answers begin with these, and vendors of models share some of them.
_NO_WORDS = re.compile(r"(?:^|_)(?:SECRET|PRIVATE|ACCESS|SSH|SIGNING|ENCRYPTION|STORAGE)(?:_|$)")


def first_words_of(vendor: str) -> tuple[str, ...]:
    """How the variables begin that litellm reads for a vendor, without the underscore."""
    return _FIRST_WORDS.get(vendor, (re.sub(r"\W", "_", vendor.upper()),))


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
        for word in first_words_of(vendor)
        if f"_{word}_" in whole
    ]
    return min(fits)[2] if fits else ""


def is_key_of_models(variable: str) -> bool:
    found = _KEY.search(f"_{variable}")
    if found is None or _NO_WORDS.search(variable):
        return False
    before = {word for word in f"_{variable}"[: found.start()].split("_") if word}
    return bool(vendor_of_key(variable)) or before <= _OWN_WORDS
