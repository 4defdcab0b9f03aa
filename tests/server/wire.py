"""HTTP/1.1 by hand: requests out of bytes, the heads of replies into bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

import msgspec

from tests.server.stats import Bill, Stats

_MAX_HEAD = 65_536
_MAX_BODY = 64 * 2**20
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Site is overloaded"}


class WireError(Exception):
    """The bytes are not a request; the connection is answered with a status and closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Request(msgspec.Struct):
    """A request as received; header names are in small letters."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""
    close: bool = False


class Reply(msgspec.Struct):
    """A reply and how to send it.

    Attributes:
        headers: Further header lines, each ended by CRLF.
        delay: Seconds until the first byte.
        delivery: The name of a function in `tests.server.delivery`.
        gzip: Whether the client takes gzip.
        close: Whether the connection ends with this reply.
        drip_seconds: Between two bytes of a dripping delivery.
        stats: Where its end is counted; ``None`` for the server's own endpoints.
        bill: What is charged for it.
        usable: Whether it holds a whole answer.
        may_be_held: Whether it waits while the server holds answers back.
        ended: Called when it is over, however it ends.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: str = ""
    delay: float = 0.0
    delivery: str = "plain"
    gzip: bool = True
    close: bool = False
    drip_seconds: float = 0.0
    stats: Stats | None = None
    bill: Bill | None = None
    usable: bool = False
    may_be_held: bool = False
    ended: Callable[[], None] | None = None

    def end(self, label: str, whole: bool) -> None:
        """Count the end of this reply."""
        if self.ended is not None:
            self.ended()
        if self.stats is not None:
            self.stats.end(label, whole, self.usable, self.bill)


class Parser:
    """Cuts the bytes of one connection into requests."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: Request | None = None
        self._continued = False

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    @property
    def pending(self) -> bool:
        """Whether there are bytes that belong to no finished request."""
        return bool(self._buffer)

    def next(self) -> Request | None:
        """The next whole request, or ``None`` until more bytes arrive.

        Raises:
            WireError: The bytes are not HTTP/1.1.
        """
        buffer = self._buffer
        request = self._head
        if request is None:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(buffer) > _MAX_HEAD:
                    raise WireError(431, "the header is too long")
                return None
            request = self._head = _parse_head(buffer[:end].decode("latin-1"))
            self._continued = False
            del buffer[: end + 4]
        headers = request.headers
        if "transfer-encoding" in headers:
            body, used = _parse_chunks(buffer)
        else:
            used = _length(headers.get("content-length", "0"))
            body = bytes(buffer[:used]) if len(buffer) >= used else None
        if body is None:
            return None
        del buffer[:used]
        request.body = body
        self._head = None
        return request

    def wants_continue(self) -> bool:
        """Whether the client waits for ``100 Continue``; true once for each request."""
        waiting = (
            self._head is not None
            and not self._continued
            and self._head.headers.get("expect", "").lower() == "100-continue"
        )
        self._continued = self._continued or waiting
        return waiting


def _length(text: str) -> int:
    if not text.isdecimal():
        raise WireError(400, "the content length is not a number")
    if int(text) > _MAX_BODY:
        raise WireError(413, "the body is too long")
    return int(text)


def _parse_head(head: str) -> Request:
    first, *lines = head.split("\r\n")
    try:
        method, target, version = first.split(" ")
    except ValueError:
        raise WireError(400, "the request line does not consist of three words") from None
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise WireError(505, "only HTTP/1.1 is spoken here")
    if not target.startswith("/"):
        raise WireError(400, "the target must be a path")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or " " in name or "\t" in name:
            raise WireError(400, "a header line has no proper name")
        name, value = name.lower(), value.strip(" \t")
        if name in headers:
            if name in ("host", "content-length", "authorization"):
                raise WireError(400, f"the header {name} occurs twice")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    if "host" not in headers and version == "HTTP/1.1":
        raise WireError(400, "the host header is missing")
    encoding = headers.get("transfer-encoding")
    if encoding is not None and (encoding.lower() != "chunked" or "content-length" in headers):
        raise WireError(400, "the length of the body is ambiguous")
    path, _, query = target.partition("?")
    connection = headers.get("connection", "").lower()
    close = connection != "keep-alive" if version == "HTTP/1.0" else "close" in connection
    return Request(method, path, query, headers, close=close)


def _parse_chunks(buffer: bytearray) -> tuple[bytes | None, int]:
    """The body in chunks at the start of ``buffer`` and its length there."""
    body, at = bytearray(), 0
    while True:
        end = buffer.find(b"\r\n", at)
        if end < 0:
            return None, 0
        try:
            size = int(buffer[at:end].partition(b";")[0], 16)
        except ValueError:
            raise WireError(400, "a chunk has no proper size") from None
        if size < 0 or len(body) + size > _MAX_BODY:
            raise WireError(413, "the body is too long")
        at = end + 2
        if size == 0:
            # Trailer lines, if any, up to the empty one.
            while (end := buffer.find(b"\r\n", at)) > at:
                at = end + 2
            return (bytes(body), end + 2) if end == at else (None, 0)
        if len(buffer) < at + size + 2:
            return None, 0
        body += buffer[at : at + size]
        if buffer[at + size : at + size + 2] != b"\r\n":
            raise WireError(400, "a chunk is longer than it says")
        at += size + 2


_date = (0, "")


def _http_date() -> str:
    global _date
    now = int(time.time())
    if now != _date[0]:
        _date = (now, formatdate(now, usegmt=True))
    return _date[1]


def head(reply: Reply, length: str | None = None) -> bytes:
    """Status line and headers; ``length`` replaces the header line that gives the length."""
    status = reply.status
    length = length or f"content-length: {len(reply.body)}\r\n"
    close = "connection: close\r\n" if reply.close else ""
    return (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\ndate: {_http_date()}\r\n"
        f"content-type: {reply.content_type}\r\n{length}{close}{reply.headers}\r\n"
    ).encode("latin-1")
