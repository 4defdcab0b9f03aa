"""The HTTP transport that litellm is given, which keeps a deadline and notes what came back.

litellm's own timeout starts anew with every read, so a reply that comes in drops has no end; its
pool queues silently above 100 connections; and its exceptions say little of what was received.
Here a call has one deadline, from connecting to the last byte, a reply has one size, no redirect is
followed, and what came over the wire can be looked at when litellm made nothing of it.

Not covered: the look-up of a host's name, and what some vendors' own libraries send (Google's and
Amazon's, to sign in).
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import httpcore
import httpx

from llm_batch.errors import ProviderError
from llm_batch.records import Request
from llm_batch.sending.providers.connection import (
    CONNECT_SECONDS,
    HELLO_SECONDS,
    was_closed_before,
)
from llm_batch.sending.providers.decoding import within_depth
from llm_batch.sending.providers.endpoints import not_that_scheme, proxy_for
from llm_batch.sending.providers.wire import (
    ENCODINGS,
    MOST_BYTES,
    BrokenOff,
    TooLarge,
    Undecodable,
    gathered,
    of_use,
    other_scheme,
    too_large,
    undecodable,
)

_CHUNK = 65536
_LONGEST_ERROR = 1 << 14
# litellm asks Ollama what a model can do, up to five times per call and some of them in threads of
# its own, and does well without an answer.
_ASIDE = "/api/show"
_local = threading.local()


class Exchange:
    """What the calling thread sent last and what came back, unpacked; within it, by one deadline.

    ``url`` is empty when nothing was sent, ``status`` is 0 without a reply, and ``failure`` is why
    none was whole. What is ``rehearsed`` answers in the place of the network.
    """

    def __init__(
        self, timeout_seconds: float, most: int = MOST_BYTES, asked: Request | None = None
    ) -> None:
        self.asked = asked
        self.deadline = time.monotonic() + timeout_seconds
        self.most = most
        self.rehearsed: Callable[[httpx.Request], httpx.Response] | None = None
        self.begin("")

    def __enter__(self) -> Self:
        _local.exchange = self
        return self

    def __exit__(self, *_: object) -> None:
        _local.exchange = None

    def begin(self, url: str) -> None:
        self.url = url
        self.sent = True  # until writing it fails, or the connection had been closed before
        self.heard = False  # anything since
        self.tunnels = False  # a proxy was asked for the host, and has not brought us there
        self.failure: httpx.TransportError | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.body = b""

    def received(self, reply: httpx.Response) -> None:
        self.status = reply.status_code
        self.headers = reply.headers
        self.body = reply.content


class UnusableReply(httpx.TransportError):
    """No use in reading on or asking again; ``error`` says why our way.

    A reply of status 200 is too large or cannot be unpacked, or http met TLS.
    """

    def __init__(self, error: ProviderError) -> None:
        super().__init__(error.message)
        self.error = error


def _current() -> Exchange | None:
    return getattr(_local, "exchange", None)


class WatchedTransport(httpx.BaseTransport):
    """Sends as httpx does, without a limit on connections; outside an `Exchange`, just that."""

    def __init__(self, verify: ssl.SSLContext | str | bool, connections: int) -> None:
        self._verify = verify
        self._limits = httpx.Limits(max_connections=None, max_keepalive_connections=connections)
        self._lock = threading.Lock()
        self._by_origin: dict[str, httpx.HTTPTransport] = {}
        self._answered: set[str] = set()
        self._wrong_scheme: set[str] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith(_ASIDE):
            raise httpx.ConnectError("not asked", request=request)
        seen = _current()
        origin = f"{request.url.scheme}://{request.url.netloc.decode()}"
        transport = self._transport(origin)
        if seen is None:
            response = transport.handle_request(request)
            response.headers.pop("location", None)
            return response
        seen.begin(str(request.url))
        request.headers["accept-encoding"] = ENCODINGS
        if seen.rehearsed is not None:
            reply = seen.rehearsed(request)
            seen.received(reply)
            return _handed_on(reply)
        if origin in self._wrong_scheme:
            seen.failure = UnusableReply(not_that_scheme(seen.url))
            raise seen.failure
        try:
            response = transport.handle_request(request)
            self._answered.add(origin)
            reply = _whole(response, seen.most)
        except httpx.TransportError as error:
            seen.failure = error
            if (
                origin not in self._answered
                and "CERTIFICATE_VERIFY_FAILED" not in str(error)
                and (wrong := other_scheme(seen.url)) is not None
            ):
                self._wrong_scheme.add(origin)
                seen.failure = UnusableReply(wrong)
                raise seen.failure from error
            raise
        seen.received(reply)
        return _handed_on(reply)

    def close(self) -> None:
        """Nothing: litellm drops its clients now and then, and the transport is theirs together."""

    def _transport(self, origin: str) -> httpx.HTTPTransport:
        with self._lock:
            if origin not in self._by_origin:
                proxy = proxy_for(origin)
                made = httpx.HTTPTransport(verify=self._verify, limits=self._limits, proxy=proxy)
                # httpx has no argument for it; a test notices if this stops working.
                made._pool._network_backend = _Backend()
                self._by_origin[origin] = made
            return self._by_origin[origin]


def _whole(response: httpx.Response, most: int) -> httpx.Response:
    """The reply with its body, unpacked and within its size; an error is cut there."""
    headers = httpx.Headers(response.headers)
    encoding = headers.pop("content-encoding", "")
    stream: Any = response.stream
    try:
        body = gathered(stream, encoding, most)
    except BrokenOff as broken:
        body = of_use(broken, response.status_code, encoding, most)
    except TooLarge as error:
        if response.is_success:
            raise UnusableReply(too_large(most, response.status_code)) from None
        body = error.start
    except Undecodable as error:
        if response.is_success:
            raise UnusableReply(undecodable(error, response.status_code)) from error
        body = b""
    finally:
        _drop_if_more_came(stream)
        response.close()
    return httpx.Response(response.status_code, headers=headers, content=body)


def _drop_if_more_came(stream: Any) -> None:
    """Keep no connection that brought more than a reply: httpcore takes that for the next one.

    httpx has no way to ask; a test notices if this stops working.
    """
    for name in ("_httpcore_stream", "_stream", "_connection", "_h11_state"):
        stream = getattr(stream, name, None)
    if stream is not None and stream.trailing_data[0]:
        stream.send_failed()


def _handed_on(reply: httpx.Response) -> httpx.Response:
    """The reply as litellm gets it.

    Without the address a redirect names: some of its clients would follow it, with the key. And
    without a long error: litellm takes seconds for one, and its kind is told from what came. And
    without depths that it would fail in.
    """
    headers = httpx.Headers(reply.headers)
    headers.pop("location", None)
    content = within_depth(reply.content)
    if not reply.is_success and len(content) > _LONGEST_ERROR:
        content = b"{}"
    headers.pop("content-length", None)
    return httpx.Response(reply.status_code, headers=headers, stream=httpx.ByteStream(content))


def _left(timeout: float | None, too_late: type[Exception]) -> float | None:
    seen = _current()
    if seen is None:
        return timeout
    left = seen.deadline - time.monotonic()
    if left <= 0:
        raise too_late("the deadline is over")
    return left if timeout is None else min(timeout, left)


class _Backend(httpcore.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        if _current() is not None and left is not None:
            left = min(left, CONNECT_SECONDS)
        return _Stream(super().connect_tcp(host, port, left, local_address, socket_options))


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        heard = self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))
        if (seen := _current()) is not None:
            if not (heard or seen.heard) and was_closed_before(self.get_extra_info("socket")):
                seen.sent = False
            seen.heard = True
        return heard

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer.startswith(b"CONNECT ") and (seen := _current()) is not None:
            seen.tunnels = True
        for start in range(0, len(buffer), _CHUNK):
            left = _left(timeout, httpcore.WriteTimeout)
            try:
                self._stream.write(buffer[start : start + _CHUNK], left)
            except httpcore.WriteError:  # httpcore reads on: the server may have said why
                if (seen := _current()) is not None:
                    seen.sent = False
                raise

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        if _current() is not None and left is not None:
            left = min(left, HELLO_SECONDS)
        stream = _Stream(self._stream.start_tls(ssl_context, server_hostname, left))
        if (seen := _current()) is not None:
            seen.tunnels = False
        return stream

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def close(self) -> None:
        self._stream.close()
