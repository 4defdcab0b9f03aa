"""Endpoints that speak OpenAI chat completions, reached without litellm.

What goes over the wire (URL, key, body) is what litellm would send; a contract test compares the
two. Without litellm's overhead a call costs less than a tenth of the CPU time.
"""

from __future__ import annotations

import http.client
import io
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from llm_batch import __version__
from llm_batch.errors import ConfigError, ProviderError, Refused, Unavailable
from llm_batch.providers.address import is_loopback, proxy_for, shown
from llm_batch.providers.base import (
    CONNECT_SECONDS,
    STRUCTURED,
    Prepared,
    Reply,
    out_of_files,
    too_slow,
)
from llm_batch.providers.redact import without_keys
from llm_batch.providers.refusals import error_from_reply, limit_headers, mentions_response_format
from llm_batch.providers.replies import completion_from_reply
from llm_batch.records import Completion, Request

__all__ = ["DirectProvider", "is_loopback", "not_received", "open_pool"]

_encoder = msgspec.json.Encoder()

_UNREACHABLE = (ConnectTimeoutError, NewConnectionError, ProxyError, LocationValueError)
# TLS errors that may come after the request was sent; the others end the handshake.
_TLS_BROKE = ("EOF", "BAD_RECORD_MAC")


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
    ) -> None:
        self.vendor = vendor
        self.on_this_machine = is_loopback(base_url)
        self._shown = shown(base_url)
        self._base_url = base_url
        self._model = model
        self._renamed = dict(renamed or {})
        self._extra = dict(extra or {})
        self._structured = STRUCTURED.index(structured)
        self._lock = threading.Lock()
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": f"llm_batch/{__version__}",
        }
        parts = urlsplit(base_url)
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._target = parts.path.rstrip("/") + "/chat/completions"
        if parts.query:
            self._target += f"?{parts.query}"
        self._manager, self._pool = open_pool(base_url, connections)
        if self._pool.proxy is not None and parts.scheme == "http":
            # A proxy that is not tunnelled through wants the whole URL (RFC 9112, 3.2.2).
            self._target = f"http://{parts.netloc.rpartition('@')[2]}{self._target}"

    def complete(self, request: Request, timeout_seconds: float) -> Reply:
        deadline = time.monotonic() + timeout_seconds
        left = timeout_seconds
        while left > 0:
            level = self._structured
            status, headers, body = self._send(self._body(request, level), left)
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
        return Prepared(url, self._headers, self._body(request, self._structured))

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
        self._manager.clear()

    def _body(self, request: Request, level: int) -> bytes:
        body: dict[str, Any] = {"model": self._model, "messages": request.messages}
        for name, value in request.params.items():
            if name == "response_format" and STRUCTURED[level] != "json_schema":
                if STRUCTURED[level] == "json_object":
                    body[name] = {"type": "json_object"}
                continue
            body[self._renamed.get(name, name)] = value
        body.update(self._extra)
        return _encoder.encode(body)

    def _send(self, body: bytes, seconds: float) -> tuple[int, Mapping[str, str], bytes]:
        """One POST; status, headers and the whole body, or an error of ours."""
        started = time.monotonic()
        try:
            response = self._pool.urlopen(
                "POST",
                self._target,
                body=body,
                headers=self._headers,
                retries=False,
                redirect=False,
                assert_same_host=False,  # a proxy's host is another
                timeout=urllib3.Timeout(total=seconds, connect=seconds),
            )
            return response.status, response.headers, response.data
        except (HTTPError, OSError) as error:
            took = time.monotonic() - started
            raise not_received(error, self._shown, seconds, took) from error


def not_received(error: Exception, where: str, seconds: float, took: float) -> ProviderError:
    """The error of ours for a reply that did not come.

    Args:
        error: What the connection raised.
        where: The address, as it may be shown.
        seconds: What the exchange was given.
        took: What it took.
    """
    if (ours := out_of_files(error)) is not None:
        return ours
    said = _said(error)
    if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in said:
        return Refused(
            f"the certificate of {where} is not trusted here: {said}",
            hint="check api_base, or name your own authorities' file in SSL_CERT_FILE",
        )
    if isinstance(error, _UNREACHABLE) or (
        isinstance(error, SSLError) and not any(sign in said for sign in _TLS_BROKE)
    ):
        by = " by its proxy" if isinstance(error, ProxyError) else ""
        return Unavailable(f"cannot connect to {where}{by}: {said}", kind="unreachable")
    if isinstance(error, ReadTimeoutError) or took >= seconds:
        return too_slow(seconds)
    if isinstance(error, DecodeError):
        return Unavailable(said, kind="garbage", status_code=200, maybe_billed=True)
    return Unavailable(f"the connection broke: {said}", kind="reset", maybe_billed=True)


def _said(error: BaseException) -> str:
    """The words of the innermost error, without urllib3's name of the connection."""
    while error.args and isinstance(error.args[-1], Exception):
        error = error.args[-1]
    return without_keys(re.sub(r"^_\w*Connection\(.*?\): ", "", str(error)))


# urllib3's timeout starts anew with every read, so a reply that comes in drops has no end. Here
# every read, of headers too, gets what is left of the time that the whole reply was given.


class _Deadlined(io.RawIOBase):
    """What a socket receives, until its timeout from now is over."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw: Any = sock.makefile("rb", buffering=0)
        self._deadline = time.monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _File:
    """A socket whose file keeps the deadline; all that `http.client` asks of a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Deadlined(self._sock))


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **more: Any) -> None:
        super().__init__(_File(sock), *args, **more)  # type: ignore[arg-type]


class _Connection(HTTPConnection):
    response_class = _Response

    def connect(self) -> None:
        """Connect within 10 s, TLS included, then allow a request what its call is allowed."""
        whole: Any = self.timeout
        self.timeout = min(whole, CONNECT_SECONDS)
        try:
            super().connect()
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"no connection in time ({error})") from error
        finally:
            self.timeout = whole
        self.sock.settimeout(whole)


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


def open_pool(
    base_url: str, connections: int
) -> tuple[urllib3.PoolManager, urllib3.HTTPConnectionPool]:
    """Connections to a host, by the proxy and with the authorities that the environment names.

    Every reply has one deadline, however it trickles in.

    Raises:
        ConfigError: The URL, the proxy or the file of certificates cannot be used.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{without_keys(base_url)!r} is no address to call: it must start with http:// or "
            "https:// and a host"
        )
    options: dict[str, Any] = {"num_pools": 4, "maxsize": connections, "block": False}
    if parts.scheme == "https":
        options["ssl_context"] = _tls_context()
    proxy = proxy_for(base_url)
    manager: urllib3.PoolManager
    try:
        if proxy is None:
            manager = urllib3.PoolManager(**options)
        else:
            user = urllib3.util.parse_url(proxy).auth
            headers = urllib3.make_headers(proxy_basic_auth=user) if user else None
            manager = urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager, manager.connection_from_url(base_url)
    except (HTTPError, ValueError) as error:
        where = shown(base_url) + (f" by the proxy {shown(proxy)}" if proxy else "")
        raise ConfigError(f"{where} cannot be called: {without_keys(str(error))}") from error


def _tls_context() -> ssl.SSLContext:
    """Authorities of ``SSL_CERT_FILE``, or else the system's, or else those of certifi."""
    named = os.environ.get("SSL_CERT_FILE")
    try:
        context = ssl.create_default_context(cafile=named)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"SSL_CERT_FILE={named} cannot be read: {error}") from error
    if not named and not context.get_ca_certs():
        import certifi  # a dependency of litellm

        context.load_verify_locations(certifi.where())
    return context
