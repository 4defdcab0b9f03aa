"""Endpoints that speak OpenAI chat completions, reached without litellm.

What goes over the wire (URL, key, body) is what litellm would send; a contract test compares the
two. Without litellm's overhead a call costs less than a tenth of the CPU time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from llm_batch import __version__
from llm_batch.providers.address import is_loopback
from llm_batch.providers.base import STRUCTURED, Prepared, Reply, too_slow
from llm_batch.providers.refusals import error_from_reply, limit_headers, mentions_response_format
from llm_batch.providers.replies import completion_from_reply
from llm_batch.providers.variables import headers_of
from llm_batch.providers.wire import ENCODINGS, Wire, most_bytes
from llm_batch.records import Completion, Request

__all__ = ["DirectProvider", "is_loopback"]

_encoder = msgspec.json.Encoder()


class DirectProvider:
    """One endpoint and one model on it.

    Args:
        base_url: Up to and without ``/chat/completions``.
        model: The name the endpoint knows the model by.
        key: The API key, or ``None`` to send no Authorization header.
        vendor: Whose rules of counting apply.
        connections: How many are kept open; as many as there are workers.
        structured: How to ask for objects to begin with (see ``STRUCTURED``); an endpoint that
            turns it down is asked the next laxer way from then on.
        renamed: Parameters this endpoint calls otherwise (``max_tokens`` →
            ``max_completion_tokens``).
        extra: What every body has besides.
        max_reply: Bytes that a reply may have; by default what its ``max_tokens`` may need.

    Raises:
        ConfigError: The URL, the proxy or the file of certificates cannot be used.
    """

    simulated = False

    def __init__(
        self,
        base_url: str,
        model: str,
        key: str | None,
        *,
        vendor: str = "openai",
        connections: int = 5,
        structured: str = "json_schema",
        renamed: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        max_reply: int | None = None,
    ) -> None:
        self.vendor = vendor
        self.on_this_machine = is_loopback(base_url)
        self._base_url = base_url
        self._model = model
        self._renamed = dict(renamed or {})
        self._extra = dict(extra or {})
        self._max_reply = max_reply
        self._structured = STRUCTURED.index(structured)
        self._lock = threading.Lock()
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": ENCODINGS,
            "User-Agent": f"llm_batch/{__version__}",
        }
        parts = urlsplit(base_url)
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._target = parts.path.rstrip("/") + "/chat/completions"
        if parts.query:
            self._target += f"?{parts.query}"
        self._wire = Wire(base_url, connections)

    def complete(self, request: Request, timeout_seconds: float) -> Reply:
        deadline = time.monotonic() + timeout_seconds
        left = timeout_seconds
        while left > 0:
            level = self._structured
            status, headers, body = self._wire.send(
                "POST",
                self._target,
                self._headers_for(request),
                self._body(request, level),
                seconds=left,
                most=most_bytes(request.max_tokens, self._max_reply),
            )
            if 200 <= status < 300:
                return Reply(completion_from_reply(body), limit_headers(headers))
            asked = "response_format" in request.params and level < len(STRUCTURED) - 1
            if not (asked and status < 500 and mentions_response_format(body)):
                raise error_from_reply(status, body, headers)
            with self._lock:
                self._structured = max(self._structured, level + 1)
            left = deadline - time.monotonic()
        raise too_slow(timeout_seconds)

    def prepared(self, request: Request) -> Prepared:
        """What `complete` would send, for those who send it by another way."""
        parts = urlsplit(self._base_url)
        url = parts._replace(path=parts.path.rstrip("/") + "/chat/completions").geturl()
        return Prepared(url, self._headers_for(request), self._body(request, self._structured))

    def read(self, request: Request, body: bytes) -> Completion:
        """The completion in a reply that came by another way; errors as in `complete`."""
        return completion_from_reply(body)

    @property
    def level(self) -> int:
        """How laxly objects are asked for; 0 is the strictest way."""
        return self._structured

    def relax(self, level: int) -> bool:
        """Ask for objects more laxly than at a level from now on; ``False`` when nothing is."""
        if level + 1 >= len(STRUCTURED):
            return False
        with self._lock:
            self._structured = max(self._structured, level + 1)
        return True

    def close(self) -> None:
        self._wire.close()

    def _body(self, request: Request, level: int) -> bytes:
        body: dict[str, Any] = {"model": self._model, "messages": request.messages}
        for name, value in request.params.items():
            if name == "response_format" and STRUCTURED[level] != "json_schema":
                if STRUCTURED[level] == "json_object":
                    body[name] = {"type": "json_object"}
                continue
            if name not in ("extra_body", "extra_headers"):
                body[self._renamed.get(name, name)] = value
        body.update(self._extra)
        body.update(request.params.get("extra_body") or {})
        return _encoder.encode(body)

    def _headers_for(self, request: Request) -> dict[str, str]:
        """Ours, and those of the step in their place; names differ in no case."""
        own = headers_of(request.params)
        names = {name.lower() for name in own}
        return {n: v for n, v in self._headers.items() if n.lower() not in names} | own
