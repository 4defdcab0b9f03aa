"""Everything litellm knows and the direct provider does not.

litellm takes seconds to import, so this module is imported only when a request must go through it.
Its retries are off, and so are its look-ups of files on the network. Errors are told by what came
over the wire, because its exception classes mislead: a missing key, a refused connection and HTML
in a 200 all come as a 500.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import httpx

from llm_batch.chain.answers import BROKEN, EMPTY, REASONING, TOOL_CALL, WHOLE, ending, word_of
from llm_batch.chain.credentials import without_keys
from llm_batch.chain.options import Model
from llm_batch.errors import ProviderError, Refused, Unavailable, status_of
from llm_batch.records import Completion, Request, Usage, writable
from llm_batch.sending.providers import Prepared, Reply, Route, headers_of, no_key, too_slow
from llm_batch.sending.providers.decoding import CUT_OFF, Words, value_in
from llm_batch.sending.providers.dialect import Dialect, Form, content_of
from llm_batch.sending.providers.endpoints import (
    ENDPOINTS,
    OWN_SERVERS,
    is_loopback,
    renamed_for,
    shown,
)
from llm_batch.sending.providers.exchange import Exchange, UnusableReply, WatchedTransport
from llm_batch.sending.providers.refusals import error_from_reply, failure_in, limit_headers
from llm_batch.sending.providers.replies import (
    COST_HEADER,
    broke_off,
    completion_from_reply,
    text_of,
    unreadable,
    usage_from,
)
from llm_batch.sending.providers.wire import broken, most_bytes, not_connected, out_of_files

# Keys that litellm needs and its own check does not know of.
_KEY_ENVS = {"bytez": "BYTEZ_API_KEY"}
# litellm sends extra_body to these as a field of that name; strange parameters reach the body.
_KEEPS_EXTRA_BODY = ("anthropic",)
# For what litellm prepares or reads without anything being sent.
_REHEARSAL_SECONDS = 60.0
_BYTEZ_PATH = "/models/v2"
_OLLAMA_URL = "http://localhost:11434"

_NO_KEY = ("api_key client option must be set", "missing api", "missing credentials")
_UNREACHABLE = ("connection refused", "name or service not known", "cannot connect", "getaddrinfo")
# Anthropic's and Cohere's, Bedrock's, Gemini's, Ollama's, Titan's, and that of the Responses API.
_ENDINGS = (
    *("stop_reason", "stopReason", "finishReason", "finish_reason", "done_reason"),
    *("completionReason", "blockReason", "reason"),
)
_SAYS_USAGE = re.compile(rb'"\w*(usage|tokens?|token_?count|eval_count)\w*"\s*:', re.IGNORECASE)

_setting_up = threading.Lock()


def _import_litellm(connections: int) -> Any:
    """The library, set up to stay offline, quiet and out of our retries."""
    # Read at import. A file .env beside the project would set keys and addresses for us.
    os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
    # "1" does not work for the first.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"
    import litellm

    with _setting_up:
        if getattr(litellm, "sync_transport", None) is not None:
            return litellm
        from litellm.llms.bytez.chat.transformation import BytezChatConfig
        from litellm.llms.custom_httpx.http_handler import get_ssl_configuration

        BytezChatConfig.get_complete_url = _bytez_url(BytezChatConfig.get_complete_url)

        litellm.suppress_debug_info = True
        litellm.disable_hf_tokenizer_download = True
        litellm.telemetry = False
        logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
        # Of its own code, for its authors.
        warnings.filterwarnings("ignore", r"Items? '.*' on TypedDict|Pydantic serializer")
        transport = WatchedTransport(get_ssl_configuration(), connections)
        # Two ways lead out of litellm: the openai package's client, and litellm's own.
        litellm.sync_transport = transport
        if litellm.client_session is None:
            litellm.client_session = httpx.Client(transport=transport)
        litellm.in_memory_llm_clients_cache.flush_cache()
        # What was imported stays; walking it at every collection took a third of a call's time.
        gc.collect()
        gc.freeze()
    return litellm


def _bytez_url(stated: Callable[..., str]) -> Callable[..., str]:
    """Where Bytez is called: litellm has one address in its code, and passes api_base over."""

    def url(self: Any, api_base: str | None, *args: Any, **more: Any) -> str:
        whole = stated(self, api_base, *args, **more)
        if not api_base:
            return whole
        base = api_base.rstrip("/").removesuffix(_BYTEZ_PATH)
        return base + _BYTEZ_PATH + whole.partition(_BYTEZ_PATH)[2]

    return url


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """Within it litellm hands nothing to its logging threads.

    They price and describe every answer once more, for callbacks that nobody has set here, at a
    sixth of a call's CPU. Without that name in a later litellm, calls only cost what they did.
    """
    try:
        from litellm._internal_context import is_internal_call
    except ImportError:
        yield
        return
    before = is_internal_call.set(True)
    try:
        yield
    finally:
        is_internal_call.reset(before)


class LitellmProvider:
    """One model behind ``litellm.completion``.

    Raises:
        ConfigError: litellm knows the variable its key must be in, and it is not set.
    """

    simulated = False

    def __init__(
        self, model: str, settings: Model, route: Route, *, structured: str, connections: int
    ) -> None:
        self._litellm = _import_litellm(connections)
        # A server of one's own that litellm has no name for is spoken to as OpenAI.
        plain = route.vendor == "openai" and not model.startswith("openai/")
        self._model = f"openai/{model}" if plain else model
        self.vendor = route.vendor
        self.on_this_machine = is_loopback(settings.api_base or _default_url(route.vendor))
        self._max_reply = settings.max_reply_bytes
        self.dialect = Dialect(structured, renamed_for(route.vendor, model.rpartition("/")[2]))
        # Both are needed, else the openai package makes 3 attempts of its own.
        self._fixed: dict[str, Any] = {"max_retries": 0, "num_retries": 0}
        endpoint = ENDPOINTS.get(route.vendor)
        self._named = dict(endpoint.renamed) if endpoint else {}
        # As the direct way says to such endpoints; litellm itself does not say it.
        speaks_openai = plain or endpoint is not None or route.vendor in OWN_SERVERS
        self._live: dict[str, Any] = {"stream": False} if speaks_openai else {}
        if settings.api_base is not None:
            self._fixed["api_base"] = settings.api_base
        if route.key is not None:
            self._fixed["api_key"] = route.key
        elif missing := self._missing_keys():
            if settings.api_base is None:
                raise no_key(model, missing[0])
            # A server of one's own may need none, and litellm will not go without.
            self._fixed["api_key"] = "none"

    def complete(self, request: Request, timeout_seconds: float) -> Reply:
        most = most_bytes(request.max_tokens, self._max_reply)
        with Exchange(timeout_seconds, most, request) as seen:
            return self.dialect.ask(
                request, lambda form: self._reply(request, form, timeout_seconds, seen, self._live)
            )

    def prepared(self, request: Request) -> Prepared:
        """What `complete` would send, for those who send it by another way."""
        sent: list[httpx.Request] = []

        def keep(asked: httpx.Request) -> httpx.Response:
            asked.read()
            sent.append(asked)
            return httpx.Response(400, json={"error": {"message": "a rehearsal"}})

        with Exchange(_REHEARSAL_SECONDS) as seen:
            seen.rehearsed = keep
            try:
                self._ask(request, self.dialect.form, _REHEARSAL_SECONDS)
            except Exception as error:
                if not sent:
                    raise translated(error, seen, _REHEARSAL_SECONDS) from error
        return Prepared(str(sent[-1].url), dict(sent[-1].headers), sent[-1].content)

    def read(self, request: Request, body: bytes) -> Completion:
        """The completion in a reply that came by another way; errors as in `complete`."""
        headers = {"content-type": "application/json"}
        with Exchange(_REHEARSAL_SECONDS, asked=request) as seen:
            seen.rehearsed = lambda asked: httpx.Response(200, headers=headers, content=body)
            return self._reply(request, self.dialect.form, _REHEARSAL_SECONDS, seen).completion

    def close(self) -> None:
        """Connections are shared by all models and live as long as the process."""

    def _reply(
        self,
        request: Request,
        form: Form,
        timeout_seconds: float,
        seen: Exchange,
        beside: Mapping[str, Any] = MappingProxyType({}),
    ) -> Reply:
        try:
            response = self._ask(request, form, timeout_seconds, beside)
            completion = _completion(response, self._model, seen, request)
            return Reply(completion, limit_headers(seen.headers or _headers_of(response)))
        except ProviderError:
            raise
        except Exception as error:
            if (whole := _whole_answer(seen)) is not None:
                return Reply(whole, limit_headers(seen.headers))
            raise translated(error, seen, timeout_seconds) from error

    def _ask(
        self,
        request: Request,
        form: Form,
        timeout_seconds: float,
        beside: Mapping[str, Any] = MappingProxyType({}),
    ) -> Any:
        """Ask litellm; ``beside`` goes into the body past its own parameters."""
        with _unlogged():
            return self._litellm.completion(
                model=self._model,
                messages=[
                    {"role": m.role, "content": content_of(m)} for m in form.messages(request)
                ],
                timeout=timeout_seconds,
                **self._fixed,
                **self._params(request, form, beside),
            )

    def _params(self, request: Request, form: Form, beside: Mapping[str, Any]) -> dict[str, Any]:
        sent = dict(form.params(request))
        # Past litellm's own names for the model, as the deployment wants them. It has an
        # ``extra_body`` of its own for those of the vendor, and ours would replace it.
        names = {**self._named, **form.renamed}
        past = {other: sent.pop(name) for name, other in names.items() if name in sent}
        if past or beside:
            sent["extra_body"] = {**beside, **past, **sent.get("extra_body", {})}
        if "extra_headers" in sent:
            sent["extra_headers"] = headers_of(request.params)
        if self.vendor in _KEEPS_EXTRA_BODY:
            sent.update(sent.pop("extra_body", {}))
        return sent

    def _missing_keys(self) -> list[str]:
        if self.vendor in _KEY_ENVS:
            name = _KEY_ENVS[self.vendor]
            return [] if os.environ.get(name) else [name]
        model = self._model if "/" in self._model else f"{self.vendor}/{self._model}"
        found = self._litellm.validate_environment(model)
        if found.get("keys_in_environment"):
            return []
        # Where one variable is missing, litellm may name those that are there as well.
        missing = found.get("missing_keys") or ()
        return [name for name in missing if "KEY" in name and not os.environ.get(name)]


def _default_url(vendor: str) -> str:
    if vendor in ("ollama", "ollama_chat"):
        return os.environ.get("OLLAMA_API_BASE") or _OLLAMA_URL
    return ""


def _completion(response: Any, model: str, seen: Exchange, request: Request) -> Completion:
    """What litellm read, with the ending that came over the wire.

    litellm takes words that it does not know for a whole answer, and errors for an empty one.
    """
    if (read := _read_on_the_wire(seen)) is not None:
        return _with_tools_for_schemas(read, response, request)
    on_the_wire = _ending_on_the_wire(seen)
    named = str(response.model or "").removeprefix(f"{model.partition('/')[0]}/")
    response_id = str(response.id or "")
    usage = _usage(getattr(response, "usage", None), seen)
    came = Completion("", named, EMPTY, usage, response_id)
    if not response.choices:
        return came
    choice = response.choices[0]
    word = on_the_wire or word_of(choice.finish_reason)
    reason = ending(word)
    if reason == BROKEN:
        raise broke_off(word, came)
    text = choice.message.content or ""
    if reason == TOOL_CALL and _is_made_of_tool(choice.message, request):
        reason = WHOLE
    if not text.strip() and reason == WHOLE:
        thought = getattr(choice.message, "reasoning_content", None)
        reason = TOOL_CALL if choice.message.tool_calls else REASONING if thought else EMPTY
    return replace(came, text=text, finish_reason=reason)


def _read_on_the_wire(seen: Exchange) -> Completion | None:
    """What the direct provider would read; ``None`` when the layout is another than OpenAI's."""
    body = seen.body
    found = b'"choices' in body.replace(b"\0", b"")  # in UTF-16, and written twice, too
    return completion_from_reply(body, seen.headers.get(COST_HEADER), seen.asked) if found else None


def _with_tools_for_schemas(read: Completion, response: Any, request: Request) -> Completion:
    """The completion, with the text that litellm made of the call of a tool it had sent itself."""
    message: Any = response.choices[0].message if response.choices else None
    if read.finish_reason == TOOL_CALL and _is_made_of_tool(message, request):
        return replace(read, text=message.content, finish_reason=WHOLE)
    return read


def _is_made_of_tool(message: Any, request: Request) -> bool:
    """Whether a text is the call of a tool that stood for the schema: litellm's way at some."""
    if message is None or not message.content or message.tool_calls:
        return False
    return "response_format" in request.params


def _ending_on_the_wire(seen: Exchange) -> str:
    """The word for the end of an answer in another layout than OpenAI's; empty without one."""
    if (value := _object_on_the_wire(seen)) is None:
        return ""
    if (failure := failure_in(value, {}, seen.asked)) is not None:
        raise failure
    if value.get("done") is False:  # Ollama's: a piece of an answer
        return CUT_OFF
    places = [value]
    for name in ("candidates", "results", "generations", "promptFeedback", "incomplete_details"):
        inner = value.get(name)
        inner = inner[0] if isinstance(inner, list) and inner else inner
        places += [inner] if isinstance(inner, dict) else []
    words = (word_of(place.get(name)) for place in places for name in _ENDINGS)
    word = next(filter(None, words), "")
    feedback = value.get("promptFeedback")
    blocked = word_of(feedback.get("blockReason")) if isinstance(feedback, dict) else ""
    # Gemini's, of a prompt that has no answer whatever the reason.
    return f"blocked: {blocked}" if blocked and not value.get("candidates") else word


def _object_on_the_wire(seen: Exchange) -> dict[str, Any] | None:
    try:
        value = value_in(seen.body)
    except (ValueError, RecursionError):
        return None
    value = value[0] if isinstance(value, list) and value else value
    return value if isinstance(value, dict) else None


def _whole_answer(seen: Exchange) -> Completion | None:
    """What litellm stumbled over although it holds an answer, which is paid for by now.

    It turns a reply down for a count of tokens that is a text, say.
    """
    if not 200 <= seen.status < 300:
        return None
    if (read := _read_on_the_wire(seen)) is not None:
        return read
    word = _ending_on_the_wire(seen)
    reason = ending(word) if word else WHOLE
    if reason == BROKEN:
        raise broke_off(word, Completion("", "", BROKEN, None))
    # A filter that lets nothing through leaves a shape that litellm does not take.
    value = _object_on_the_wire(seen) or {}
    text, _ = text_of(_parts_in(value))
    if reason == WHOLE and not (text and text.strip()):
        return None
    named, response_id = (
        next((said for name in names if isinstance(said := value.get(name), str)), "")
        for names in (("model", "modelVersion"), ("id", "responseId"))
    )
    usage = usage_from(value.get("usage"))
    return Completion(writable(text or ""), writable(named), reason, usage, writable(response_id))


def _parts_in(value: Mapping[str, Any]) -> list[Any]:
    """The parts of an answer in Gemini's layout or Anthropic's; none of one that has no list."""
    candidates = value.get("candidates")
    first = candidates[0] if isinstance(candidates, list) and candidates else value
    content = first.get("content") if isinstance(first, dict) else None
    parts = content.get("parts") if isinstance(content, dict) else content
    return parts if isinstance(parts, list) else []


def _usage(said: Any, seen: Exchange) -> Usage | None:
    """Usage as the provider counted it; litellm makes it up for those that say nothing."""
    if said is None or (seen.body and not _SAYS_USAGE.search(seen.body)):
        return None
    read = getattr(said, "prompt_tokens_details", None)
    made = getattr(said, "completion_tokens_details", None)
    return usage_from(
        {
            "prompt_tokens": said.prompt_tokens,
            "completion_tokens": said.completion_tokens,
            "total_tokens": said.total_tokens,
            "prompt_tokens_details": {
                "cached_tokens": getattr(read, "cached_tokens", None),
                "cache_creation_tokens": getattr(read, "cache_creation_tokens", None),
            },
            "completion_tokens_details": {
                "reasoning_tokens": getattr(made, "reasoning_tokens", None)
            },
        }
    )


def _headers_of(carrier: Any) -> Mapping[str, str]:
    for name in ("_response_headers", "litellm_response_headers"):
        headers = getattr(carrier, name, None)
        if headers:
            return {str(key): str(value) for key, value in dict(headers).items()}
    return {}


def _said(error: Exception) -> str:
    name = type(error).__name__
    text = str(getattr(error, "message", "") or error).partition("Traceback (most recent")[0]
    return text.removeprefix(f"litellm.{name}: ")


def translated(error: Exception, seen: Exchange, timeout_seconds: float) -> ProviderError:
    """Its own exceptions do not survive pickling, and say less than what was received."""
    text = without_keys(_said(error))
    if not seen.status and (ours := out_of_files(seen.failure or error)) is not None:
        return ours
    if seen.failure is not None:
        return _not_received(seen.failure, seen, timeout_seconds)
    if seen.status >= 300:
        return error_from_reply(seen.status, seen.body, seen.headers, seen.asked)
    if seen.status:
        return unreadable(seen.body, text)
    return _not_sent(error, text, timeout_seconds, seen.asked)


def _not_received(
    failure: httpx.TransportError, seen: Exchange, timeout_seconds: float
) -> ProviderError:
    if isinstance(failure, UnusableReply):
        return failure.error
    said = without_keys(str(failure) or type(failure).__name__)
    by_proxy = seen.tunnels or isinstance(failure, httpx.ProxyError)
    if by_proxy or isinstance(failure, httpx.ConnectError | httpx.ConnectTimeout):
        return not_connected(shown(seen.url), said, by_proxy)
    if isinstance(failure, httpx.TimeoutException):
        return too_slow(timeout_seconds)
    if isinstance(failure, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return Refused(said, kind="setting", hint="check api_base and the key")
    return broken(said, seen.sent)


def _not_sent(
    error: Exception, text: str, timeout_seconds: float, asked: Request | None
) -> ProviderError:
    low = text.lower()
    if any(words in low for words in _NO_KEY):
        return Refused(text, kind="key", hint="set the provider's key variable")
    if "llm provider not provided" in low:
        return Refused(text, kind="model", hint="name the provider: openai/…")
    if "timed out" in low:
        return too_slow(timeout_seconds)
    if any(words in low for words in _UNREACHABLE):
        return Unavailable(text, kind="unreachable")
    headers = _headers_of(error)
    status = getattr(error, "status_code", None)
    if headers and isinstance(status, int) and status >= 300:
        body = getattr(error, "body", None)
        code = body.get("code") if isinstance(body, dict) else getattr(error, "code", None)
        return error_from_reply(status, f"{code or ''} {text}", headers, asked)
    if any(isinstance(cause, OSError) for cause in _causes(error)):
        return Unavailable(text, kind="reset", maybe_billed=True)
    # A parameter it does not map, or a message that the model does not take.
    refused = Refused(text, kind="setting", hint=status_of("setting").advice)
    refused.words = Words(text)
    return refused


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
