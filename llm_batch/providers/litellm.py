"""Everything litellm knows and the direct provider does not.

litellm takes seconds to import, so this module is imported only when a request must go through it.
Its retries are off, its look-ups of files on the network are off, and its errors are told apart by
status, code and message, because their classes mislead (a missing key, a refused connection and
HTML in a 200 all come as a 500).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

from llm_batch.config import Model
from llm_batch.errors import ProviderError, Refused, Timeout, Unavailable
from llm_batch.providers import Route
from llm_batch.providers.base import Reply
from llm_batch.providers.direct import STRUCTURED, is_loopback
from llm_batch.providers.replies import (
    error_from_reply,
    limit_headers,
    mentions_response_format,
    usage_from,
    without_keys,
)
from llm_batch.records import Completion, Request

_UNREACHABLE = ("connection refused", "name or service not known", "cannot connect", "getaddrinfo")
_NO_KEY = ("api_key client option must be set", "missing api key", "missing credentials")


def _import_litellm(connections: int) -> Any:
    """The library, set up to stay offline, quiet and out of our retries."""
    # Both are read at import; "1" does not work for the first.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"
    import httpx
    import litellm

    litellm.suppress_debug_info = True
    litellm.disable_hf_tokenizer_download = True
    litellm.telemetry = False
    logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)
    if litellm.client_session is None:
        # Its own pool keeps 20 connections alive and queues silently above 100.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=connections)
        litellm.client_session = httpx.Client(limits=limits)
    return litellm


class LitellmProvider:
    """One model behind ``litellm.completion``.

    Args:
        model: The model string, as litellm understands it.
        settings: Its section in the config.
        route: How it was resolved.
        structured: How to ask for objects to begin with, as in `DirectProvider`.
        connections: How many threads will call it.

    Raises:
        ConfigError: litellm knows the variable its key must be in, and it is not set.
    """

    simulated = False

    def __init__(
        self, model: str, settings: Model, route: Route, *, structured: str, connections: int
    ) -> None:
        self._litellm = _import_litellm(connections)
        # A server of one's own that litellm has no name for is spoken to as OpenAI.
        self._model = model if "/" in model or not settings.api_base else f"openai/{model}"
        self.vendor = route.vendor
        self.on_this_machine = settings.api_base is not None and is_loopback(settings.api_base)
        self._structured = STRUCTURED.index(structured)
        self._lock = threading.Lock()
        self._fixed: dict[str, Any] = {"max_retries": 0, "num_retries": 0}
        if settings.api_base is not None:
            self._fixed["api_base"] = settings.api_base
        if route.key is not None and settings.api_key_env is not None:
            self._fixed["api_key"] = route.key
        elif not self.on_this_machine:
            self._check_key(model)

    def complete(self, request: Request, timeout_seconds: float) -> Reply:
        while True:
            level = self._structured
            try:
                response = self._litellm.completion(
                    model=self._model,
                    messages=[{"role": m.role, "content": m.content} for m in request.messages],
                    timeout=timeout_seconds,
                    **self._fixed,
                    **_params(request.params, level),
                )
            except Exception as error:
                asked = "response_format" in request.params and level < len(STRUCTURED) - 1
                if asked and mentions_response_format(_body(error)):
                    with self._lock:
                        self._structured = max(self._structured, level + 1)
                    continue
                raise translated(error, timeout_seconds) from error
            return Reply(_completion(response), limit_headers(_headers_of(response)))

    def close(self) -> None:
        """The session is shared by all models and lives as long as the process."""

    def _check_key(self, model: str) -> None:
        found = self._litellm.validate_environment(model)
        missing = [name for name in found.get("missing_keys") or () if "KEY" in name]
        if missing and not found.get("keys_in_environment"):
            from llm_batch.providers import no_key

            raise no_key(model, missing[0])


def _params(params: Mapping[str, Any], level: int) -> dict[str, Any]:
    sent = dict(params)
    if "response_format" in sent and STRUCTURED[level] == "json_object":
        sent["response_format"] = {"type": "json_object"}
    elif STRUCTURED[level] == "prompt":
        sent.pop("response_format", None)
    return sent


def _completion(response: Any) -> Completion:
    data = response.model_dump()
    usage = usage_from(data.get("usage"))
    model, response_id = str(data.get("model") or ""), str(data.get("id") or "")
    choices = data.get("choices") or []
    if not choices:
        return Completion("", model, "empty", usage, response_id)
    text = (choices[0].get("message") or {}).get("content") or ""
    reason = choices[0].get("finish_reason") or "stop"
    if not text and reason == "stop":
        reason = "empty"
    return Completion(text, model, reason, usage, response_id)


def _headers_of(carrier: Any) -> Mapping[str, str]:
    for name in ("_response_headers", "litellm_response_headers"):
        headers = getattr(carrier, name, None)
        if headers:
            return {str(key): str(value) for key, value in dict(headers).items()}
    return {}


def _body(error: Exception) -> str:
    return str(getattr(error, "message", "") or error)


def translated(error: Exception, timeout_seconds: float) -> ProviderError:
    """One of our errors for whatever ``litellm.completion`` raised.

    Its own exceptions do not survive pickling, and their headers are in a place of their own.
    """
    name = type(error).__name__
    text = _body(error).removeprefix(f"litellm.{name}: ")
    low = text.lower()
    status = getattr(error, "status_code", None)
    status = status if isinstance(status, int) else None
    if name == "Timeout" or "timed out" in low:
        return Timeout(f"no complete answer within {timeout_seconds:g} s", maybe_billed=True)
    if any(words in low for words in _NO_KEY):
        return Refused(without_keys(text), kind="key", hint="set the provider's key variable")
    if "llm provider not provided" in low:
        return Refused(without_keys(text), kind="model", hint="name the provider: openai/…")
    if any(words in low for words in _UNREACHABLE):
        return Unavailable(without_keys(text), kind="unreachable")
    if status is None or isinstance(error, TypeError | ValueError | KeyError):
        # What litellm stumbled over in a reply, or a parameter it does not map.
        return Unavailable(without_keys(text), kind="garbage", maybe_billed=True)
    if status in (400, 422) and ("json" in low or "expecting value" in low) and "{" not in text:
        return Unavailable(without_keys(text), kind="garbage", maybe_billed=True)
    body = getattr(error, "body", None)
    code = body.get("code") if isinstance(body, dict) else getattr(error, "code", None)
    known = error_from_reply(status, f"{code or ''} {text}", _headers_of(error))
    return known
