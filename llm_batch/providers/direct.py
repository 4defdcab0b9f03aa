"""Endpoints that speak OpenAI chat completions, reached without litellm.

What goes over the wire (URL, key, body) is what litellm would send; a contract test compares the
two. Without litellm's overhead a call costs about a tenth of the CPU time.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from llm_batch import __version__
from llm_batch.errors import ProviderError, Refused, Timeout, Unavailable
from llm_batch.providers.base import Reply
from llm_batch.providers.replies import (
    completion_from_reply,
    error_from_reply,
    limit_headers,
    mentions_response_format,
    without_keys,
)
from llm_batch.records import Request

_CONNECT_SECONDS = 10.0
_CHUNK = 65536
#: How a step's output schema can be asked for, strictest first.
STRUCTURED = ("json_schema", "json_object", "prompt")
_LOOPBACK = ("localhost", "127.", "::1", "0.0.0.0")

_encoder = msgspec.json.Encoder()


def is_loopback(url: str) -> bool:
    """Whether a URL points at this machine."""
    return (urlsplit(url).hostname or "").startswith(_LOOPBACK)


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
    ) -> None:
        parts = urlsplit(base_url)
        self.vendor = vendor
        self.on_this_machine = is_loopback(base_url)
        self._base_url = base_url.rstrip("/")
        self._path = parts.path.rstrip("/") + "/chat/completions"
        if parts.query:
            self._path += f"?{parts.query}"
        self._model = model
        self._renamed = dict(renamed or {})
        self._structured = STRUCTURED.index(structured)
        self._lock = threading.Lock()
        self._answered = False
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": f"llm_batch/{__version__}",
        }
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._manager, self._pool = _pool(base_url, connections)

    def complete(self, request: Request, timeout_seconds: float) -> Reply:
        while True:
            level = self._structured
            status, headers, body = self._send(self._body(request, level), timeout_seconds)
            if 200 <= status < 300:
                completion = completion_from_reply(body)
                self._answered = True
                return Reply(completion, limit_headers(headers))
            asked = "response_format" in request.params and level < len(STRUCTURED) - 1
            if status in (400, 404, 415, 422, 501) and asked and mentions_response_format(body):
                with self._lock:
                    self._structured = max(self._structured, level + 1)
                continue
            raise error_from_reply(status, body, headers)

    def close(self) -> None:
        self._manager.clear()

    def _body(self, request: Request, level: int) -> bytes:
        body: dict[str, Any] = {"model": self._model, "messages": request.messages}
        for name, value in request.params.items():
            if name == "response_format" and STRUCTURED[level] != "json_schema":
                if STRUCTURED[level] == "json_object":
                    body[name] = {"type": "json_object"}
                continue
            body[self._renamed.get(name, name)] = value
        return _encoder.encode(body)

    def _send(self, body: bytes, timeout_seconds: float) -> tuple[int, Mapping[str, str], bytes]:
        """One POST; status, headers and the whole body, or an error of ours."""
        deadline = time.monotonic() + timeout_seconds
        try:
            response = self._pool.urlopen(
                "POST",
                self._path,
                body=body,
                headers=self._headers,
                retries=False,
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(
                    connect=min(_CONNECT_SECONDS, timeout_seconds), read=timeout_seconds
                ),
            )
            return response.status, response.headers, _read_all(response, deadline)
        except Timeout:
            raise
        except (ConnectTimeoutError, NewConnectionError, SSLError) as error:
            raise self._unreachable(error) from error
        except ReadTimeoutError as error:
            raise _too_slow(timeout_seconds) from error
        except (ProtocolError, HTTPError, OSError) as error:
            if time.monotonic() >= deadline:
                raise _too_slow(timeout_seconds) from error
            text = without_keys(f"the connection broke: {error}")
            raise Unavailable(text, kind="reset", maybe_billed=True) from error

    def _unreachable(self, error: Exception) -> ProviderError:
        text = without_keys(f"cannot connect to {self._base_url}: {error}")
        return Unavailable(text, kind="unreachable")


def _read_all(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """The body, however slowly it drips, unless the deadline comes first."""
    chunks: list[bytes] = []
    connection = getattr(response, "connection", None)
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise _too_slow(None)
            sock = getattr(connection, "sock", None)
            if sock is not None and chunks:
                # Each read may take what is left of the whole, not the whole again.
                sock.settimeout(left)
            chunk = response.read1(_CHUNK)  # type: ignore[attr-defined]
            if not chunk:
                response.release_conn()
                return b"".join(chunks)
            chunks.append(chunk)
    except BaseException:
        response.close()
        raise


def _too_slow(timeout_seconds: float | None) -> Timeout:
    within = f" within {timeout_seconds:g} s" if timeout_seconds else " before the deadline"
    return Timeout(f"no complete answer{within}", maybe_billed=True)


def _pool(
    base_url: str, connections: int
) -> tuple[urllib3.PoolManager, urllib3.HTTPConnectionPool]:
    parts = urlsplit(base_url)
    options: dict[str, Any] = {"num_pools": 4, "maxsize": connections, "block": False}
    if parts.scheme == "https":
        options["ssl_context"] = ssl.create_default_context(cafile=os.environ.get("SSL_CERT_FILE"))
    proxy = getproxies().get(parts.scheme)
    host = parts.hostname or ""
    manager: urllib3.PoolManager
    if proxy and not is_loopback(base_url) and not proxy_bypass(host):
        manager = urllib3.ProxyManager(proxy, **options)
    else:
        manager = urllib3.PoolManager(**options)
    try:
        return manager, manager.connection_from_url(base_url)
    except (HTTPError, ValueError) as error:
        raise Refused(f"{base_url} is not a URL that can be called: {error}") from error
