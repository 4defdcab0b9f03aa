"""Endpoints that speak OpenAI chat completions, reached without litellm.

What goes over the wire (URL, key, body) is what litellm would send; a contract test compares the
two. Without litellm's overhead a call costs less than a tenth of the CPU time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from llm_batch import __version__
from llm_batch.errors import Timeout
from llm_batch.records import Completion, Parts, Request
from llm_batch.sending.providers import Prepared, Reply, headers_of, too_slow
from llm_batch.sending.providers.dialect import Dialect, Form, content_of
from llm_batch.sending.providers.endpoints import is_loopback
from llm_batch.sending.providers.refusals import error_from_reply, limit_headers
from llm_batch.sending.providers.replies import COST_HEADER, completion_from_reply
from llm_batch.sending.providers.wire import ENCODINGS, Wire, most_bytes

_encoder = msgspec.json.Encoder()


class DirectProvider:
    """One endpoint and one model on it; ``base_url`` goes up to and without ``/chat/completions``.

    ``renamed`` are parameters that it calls otherwise, ``extra`` is in every body besides.

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
        self._model = model
        self._renamed = dict(renamed or {})
        self._extra = dict(extra or {})
        self._max_reply = max_reply
        self.dialect = Dialect(structured, self._renamed)
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": ENCODINGS,
            "User-Agent": f"llm_batch/{__version__}",
        }
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        parts = urlsplit(base_url)
        parts = parts._replace(path=parts.path.rstrip("/") + "/chat/completions")
        self._url = parts.geturl()
        self._target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._wire = Wire(base_url, connections)

    def complete(self, request: Request, timeout_seconds: float) -> Reply:
        deadline = time.monotonic() + timeout_seconds

        def send(form: Form) -> Reply:
            left = deadline - time.monotonic()
            if left <= 0:
                raise too_slow(timeout_seconds)
            try:
                status, headers, body = self._wire.send(
                    "POST",
                    self._target,
                    self._headers_for(request),
                    self._body(request, form, stream=False),
                    seconds=left,
                    most=most_bytes(request.max_tokens, self._max_reply),
                )
            except Timeout as error:
                raise too_slow(timeout_seconds) from error
            if 200 <= status < 300:
                completion = completion_from_reply(body, headers.get(COST_HEADER), request)
                return Reply(completion, limit_headers(headers))
            raise error_from_reply(status, body, headers, request)

        return self.dialect.ask(request, send)

    def prepared(self, request: Request) -> Prepared:
        """What `complete` would send, but for ``stream``, for those who send it by another way."""
        return Prepared(
            self._url, self._headers_for(request), self._body(request, self.dialect.form)
        )

    def read(self, request: Request, body: bytes) -> Completion:
        """The completion in a reply that came by another way; errors as in `complete`."""
        return completion_from_reply(body, asked=request)

    def close(self) -> None:
        self._wire.close()

    def _body(self, request: Request, form: Form, **more: Any) -> bytes:
        messages: Sequence[Any] = form.messages(request)
        if any(isinstance(message, Parts) for message in messages):
            messages = [{"role": m.role, "content": content_of(m)} for m in messages]
        body: dict[str, Any] = {"model": self._model, "messages": messages, **more}
        for name, value in form.params(request).items():
            if name not in ("extra_body", "extra_headers"):
                body[form.renamed.get(name) or self._renamed.get(name, name)] = value
        body.update(self._extra)
        body.update(request.params.get("extra_body") or {})
        return _encoder.encode(body)

    def _headers_for(self, request: Request) -> dict[str, str]:
        """The step's own in the place of ours; names differ in no case."""
        own = headers_of(request.params)
        if not own:
            return self._headers
        names = {name.lower() for name in own}
        return {n: v for n, v in self._headers.items() if n.lower() not in names} | own
