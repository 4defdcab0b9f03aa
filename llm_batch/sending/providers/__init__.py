"""What a provider is, and which one serves a model string.

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

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

from llm_batch.chain.config import Config
from llm_batch.chain.credentials import remember_key
from llm_batch.chain.options import Model
from llm_batch.chain.params import FROM_ENVIRONMENT
from llm_batch.errors import ConfigError, Timeout
from llm_batch.models.table import ModelInfo, model_info, names_like, vendors
from llm_batch.records import Completion, Request
from llm_batch.sending.providers.endpoints import (
    ENDPOINTS,
    OWN_SERVERS,
    Endpoint,
    is_loopback,
    renamed_for,
    shown,
)

if TYPE_CHECKING:
    from llm_batch.sending.providers.dialect import Dialect

# Models that take JSON objects but no schema; the table has no field for it.
_JSON_OBJECT = ("gpt-4-turbo", "gpt-3.5-turbo", "deepseek-chat")
_OLLAMA = ("ollama", "ollama_chat")


@dataclass(frozen=True, slots=True)
class Reply:
    """A completion, and the response headers that speak of limits (names in lower case)."""

    completion: Completion
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What would be sent for a request; the key is among the headers, so it is never written."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Provider(Protocol):
    """Serves the requests of one model. Used from many threads at once.

    Attributes:
        vendor: Whose rules of counting apply (``openai``, ``anthropic``, ``local``, …).
        on_this_machine: True when requests do not leave it; no limit is assumed then.
        simulated: True when nothing it answers is real.
    """

    vendor: str
    on_this_machine: bool
    simulated: bool

    def complete(self, request: Request, timeout_seconds: float) -> Reply:
        """Send a request once, and wait no longer than this for its last byte.

        Raises:
            ProviderError: One of its kinds; nothing else for anything the provider does.
        """

    def close(self) -> None:
        """Give back connections and processes. May be called again."""


@runtime_checkable
class Adapting(Protocol):
    """A provider that learns what its deployment takes, and has to say so."""

    dialect: Dialect


def too_slow(timeout_seconds: float) -> Timeout:
    """What was answered by then may be billed."""
    return Timeout(f"no complete answer within {timeout_seconds:g} s", maybe_billed=True)


@dataclass(frozen=True, slots=True)
class Route:
    """How a model string is served: ``provider`` is a key of `PROVIDERS`, ``vendor`` has limits.

    ``base_url`` is empty where litellm alone knows, and so is ``key_env``, the variable in which
    a key must be; that also where none is needed.
    """

    provider: str
    vendor: str
    name: str
    base_url: str = ""
    key: str | None = None
    key_env: str = ""

    @property
    def is_inside(self) -> bool:
        """Whether this process answers itself."""
        return self.provider in PREFIXES.values()

    @property
    def is_here(self) -> bool:
        """Whether requests stay on this machine."""
        return self.is_inside or is_loopback(self.base_url)


def route(model: str, settings: Model) -> Route:
    """Decide how a model is served; sends nothing and imports no provider.

    Raises:
        ConfigError: The string names nothing that can be served.
    """
    prefix, slash, rest = model.partition("/")
    if slash and prefix in PREFIXES:
        return Route(PREFIXES[prefix], prefix, rest)
    info = model_info(model)
    known = slash and prefix in {*ENDPOINTS, *OWN_SERVERS, *vendors()}
    vendor = prefix if known else info.provider if info else ""
    name = rest if known else model
    if not vendor:
        if settings.api_base is None:
            raise ConfigError(f"model {model!r} is not known", _meant(model))
        vendor = "openai"
    endpoint = ENDPOINTS.get(vendor) or OWN_SERVERS.get(vendor)
    key = _key(settings, endpoint)
    # Models of the responses API need litellm to translate.
    bridged = info is not None and info.mode != "chat"
    wants_litellm = settings.transport == "litellm" or endpoint is None or bridged
    if wants_litellm and settings.transport != "direct":
        return Route("litellm", vendor, model, settings.api_base or "", key)
    base_url = settings.api_base or (endpoint.url() if endpoint else "")
    if not base_url:
        raise ConfigError(
            f"model {model!r} is on a server of your own, and api_base does not say where",
            f'set api_base under [models."{model}"]',
        )
    # A server of one's own may have no key; a vendor's has one for sure.
    vendors_own = vendor in ENDPOINTS and settings.api_base is None and not is_loopback(base_url)
    key_env = ENDPOINTS[vendor].key_envs[0] if vendors_own else ""
    return Route("direct", vendor, name, base_url, key, key_env)


def _meant(model: str) -> str:
    """What to type in place of a model that nobody serves: the name most like it, if any is."""
    prefix, slash, rest = model.partition("/")
    if slash:
        # The vendors with an endpoint first: of several names as near, theirs is the likely one.
        for known in ({*PREFIXES, *ENDPOINTS}, {*OWN_SERVERS, *vendors()}):
            near = difflib.get_close_matches(prefix.lower(), known, n=1, cutoff=0.75)
            if near:
                return f"did you mean {near[0]}/{rest}? Or set api_base for a server of your own"
    elif names := names_like(model, most=1):
        return f"did you mean {names[0]}? Or set api_base for a server of your own"
    return (
        "name the provider too, as in openai/gpt-4o-mini, or set api_base for a server of your own"
    )


def check_servable(model: str, settings: Model) -> None:
    """Refuse, with `ConfigError`, what cannot be served as far as can be told without sending."""
    way = route(model, settings)
    if way.provider == "direct" and way.key is None and way.key_env:
        raise no_key(model, way.key_env)


def where(model: str, settings: Model) -> str:
    way = route(model, settings)
    if way.is_inside:
        return "this machine"
    return shown(way.base_url) if way.base_url else f"{way.vendor} (by {way.provider})"


def own_server(model: str, settings: Model) -> str:
    """The address of a model that no vendor serves; empty where one does, or nobody is asked."""
    way = route(model, settings)
    if way.is_inside:
        return ""
    url = way.base_url
    if not url and way.vendor in _OLLAMA:
        url = os.environ.get("OLLAMA_API_BASE") or "http://localhost:11434"
    host = urlsplit(url).hostname
    vendors_own = {urlsplit(each.base_url).hostname for each in ENDPOINTS.values()}
    return "" if host in vendors_own else shown(url)


def make_provider(model: str, settings: Model, workers: int) -> Provider:
    """The provider for a model, which so many threads will call.

    Raises:
        ConfigError: It cannot be served as configured (no key, unknown name, not installed).
    """
    return PROVIDERS[route(model, settings).provider](model, settings, workers)


def _direct(model: str, settings: Model, workers: int) -> Provider:
    from llm_batch.sending.providers.direct import DirectProvider

    check_servable(model, settings)
    way = route(model, settings)
    endpoint = ENDPOINTS.get(way.vendor)
    return DirectProvider(
        way.base_url,
        way.name,
        way.key,
        vendor=way.vendor,
        connections=workers,
        structured=structured_mode(way, settings, model_info(model)),
        renamed=renamed_for(way.vendor, way.name),
        extra=endpoint.extra if endpoint else {},
        max_reply=settings.max_reply_bytes,
    )


def _litellm(model: str, settings: Model, workers: int) -> Provider:
    from llm_batch.sending.providers.litellm import LitellmProvider

    way = route(model, settings)
    mode = structured_mode(way, settings, model_info(model))
    return LitellmProvider(model, settings, way, structured=mode, connections=workers)


def _embedded(model: str, settings: Model, workers: int) -> Provider:
    from llm_batch.sending.providers.embedded import EmbeddedProvider

    return EmbeddedProvider(model.partition("/")[2], workers)


def _fake(model: str, settings: Model, workers: int) -> Provider:
    from llm_batch.sending.providers.fake import FakeProvider

    return FakeProvider.from_settings(model, settings)


#: Providers that a prefix of the model string chooses, before anything else is looked at.
PREFIXES: Mapping[str, str] = {"local": "embedded", "fake": "fake"}

#: Provider by name: a function from a model string, its settings and the number of workers.
PROVIDERS: Mapping[str, Callable[[str, Model, int], Provider]] = {
    "direct": _direct,
    "litellm": _litellm,
    "embedded": _embedded,
    "fake": _fake,
}


def structured_mode(way: Route, settings: Model, info: ModelInfo | None) -> str:
    """How to ask a model for an object: its schema, any JSON object, or words alone.

    A model that the table does not know, on a server of one's own, is taken to know schemas (vLLM,
    llama.cpp and Ollama do); one that turns them down is asked more laxly from then on.
    """
    if settings.structured != "auto":
        return settings.structured
    if info is None:
        own = settings.api_base is not None or way.vendor in (*OWN_SERVERS, *_OLLAMA)
        return "json_schema" if own else "prompt"
    if info.supports_response_schema:
        return "json_schema"
    return "json_object" if way.name.rpartition("/")[2].startswith(_JSON_OBJECT) else "prompt"


def no_key(model: str, variable: str) -> ConfigError:
    return ConfigError(
        f"model {model!r} needs a key and the environment variable {variable} is not set",
        f'export {variable}=…   (or set api_key_env under [models."{model}"])',
    )


def _key(settings: Model, endpoint: Endpoint | None) -> str | None:
    """The key for an endpoint; never that of another vendor."""
    if settings.api_key_env is not None:
        key = read_key(settings.api_key_env)
        if not key:
            raise ConfigError(
                f"api_key_env names {settings.api_key_env}, which is not set",
                f"export {settings.api_key_env}=…",
            )
        return key
    return next(filter(None, map(read_key, endpoint.key_envs)), None) if endpoint else None


def read_key(variable: str) -> str | None:
    """The key in a variable, which is kept out of all texts from now on; ``None`` without one.

    Raises:
        ConfigError: The value cannot be a key.
    """
    # Files of keys end in a newline, and on Windows in two characters.
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(f"the value of {variable} is not a key: it has characters no key has")
    if key:
        remember_key(key)
    return key or None


def headers_of(params: Mapping[str, Any]) -> dict[str, str]:
    """``extra_headers`` as they are sent: with the values of the variables they name."""
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


#: Vendors whose batch API `llm_batch.engines.batch` speaks.
BATCH_VENDORS = ("openai", "azure", "anthropic", "gemini", "groq", "mistral", "together_ai")


def batch_vendor(model: str, settings: Model) -> str:
    """Whose batch API serves a model; empty where there is none.

    Needs no key. A server of one's own counts as OpenAI's when its model string says so: some
    (gateways, vLLM behind one) have the batch endpoints. Models that are reached by another API
    than chat completions have none here.
    """
    try:
        way = route(model, settings.model_copy(update={"api_key_env": None}))
    except ConfigError:
        return ""
    info = model_info(model)
    chats = info is None or info.mode == "chat"
    return way.vendor if way.vendor in BATCH_VENDORS and chats and not settings.endpoints else ""


def goes_by_batch(model: str, config: Config) -> bool:
    """Whether a run sends a model's requests by its batch API; it calls the others live."""
    return config.engine.by_batch and bool(batch_vendor(model, config.model(model)))
