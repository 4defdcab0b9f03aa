"""One connection to a host and the reply that comes over it, in HTTP/1.1.

urllib3 keeps the connections, opens them by a proxy and through TLS, and tells what went wrong.
What it and `http.client` do for each request and reply anew costs several times the CPU of all else
in a call. So requests are written here, one over a connection that is open already goes past them,
and a plain reply (its head and so many bytes) is read in one piece. Any other is left to them.
"""

from __future__ import annotations

import errno
import http.client
import io
import queue
import re
import select
import socket
import ssl
import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn, cast

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    IncompleteRead,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

#: A host that does not take a connection within this many seconds is not there.
CONNECT_SECONDS = 10.0
#: Nor one that does not answer the first words of TLS within these.
HELLO_SECONDS = 5.0


# Timeouts that differ by less are the same.
_ABOUT_SECONDS = 0.01
_CHUNK = 1 << 16
# Of one line, and lines of headers, as in `http.client`.
_LONGEST_LINE = 1 << 16
_MOST_LINES = 100
# Of the length of a plain body: less than 1 MB.
_DIGITS = 7
_HAVE_BODY = ("POST", "PUT", "PATCH")
_PORTS = {"http": 80, "https": 443}


def host_of(url: str) -> str:
    """What the header ``Host`` says of a URL; host names are in ASCII."""
    parts = urllib3.util.parse_url(url)
    host = re.sub(r"%[^\]]*", "", parts.host or "")
    return host if parts.port in (None, _PORTS.get(parts.scheme or "")) else f"{host}:{parts.port}"


class _Deadlined(io.RawIOBase):
    """What a socket receives, until its timeout from now is over.

    urllib3's timeout starts anew with every read, so a reply that comes in drops has no end. Here
    every read, of headers too, gets what is left of the time that the whole reply was given.
    ``heard`` was received before.
    """

    def __init__(self, sock: socket.socket, heard: bytes) -> None:
        self._sock = sock
        self._heard = memoryview(heard)
        self._deadline = time.monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if size := min(len(self._heard), len(buffer)):
            buffer[:size], self._heard = self._heard[:size], self._heard[size:]
            return size
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._sock.recv_into(buffer)


class _File:
    """A socket whose file keeps the deadline; all that `http.client` asks of a socket."""

    def __init__(self, sock: socket.socket, heard: bytes) -> None:
        self._sock = sock
        self._heard = heard

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Deadlined(self._sock, self._heard))


class Plain(NamedTuple):
    """A reply that came whole, as `Response` shows it."""

    status: int
    fields: Mapping[str, str]
    body: bytes

    def pieces(self) -> Generator[bytes]:
        yield self.body


def _raise(error: BaseException, pool: urllib3.HTTPConnectionPool, said: str) -> NoReturn:
    """An error of the connection as urllib3 has it; any other as it is."""
    if isinstance(error, TimeoutError):
        raise ReadTimeoutError(pool, "", "Read timed out.") from error
    if isinstance(error, ssl.SSLError):
        raise SSLError(error) from error
    if isinstance(error, http.client.HTTPException | OSError):
        raise ProtocolError(said, error) from error
    raise error


class Response(http.client.HTTPResponse):
    """A reply; names of its headers are in lower case, and those of one name are joined."""

    # What urllib3 sets, and what it wants for its log.
    _connection: HTTPConnection
    _pool: urllib3.HTTPConnectionPool
    version_string = "HTTP/1.1"
    length_remaining = None

    def __init__(self, sock: Any, *args: Any, heard: bytes = b"", **more: Any) -> None:
        super().__init__(_File(sock, heard), *args, **more)  # type: ignore[arg-type]

    @property
    def fields(self) -> Mapping[str, str]:
        return cast("Mapping[str, str]", self.headers)

    def begin(self) -> None:
        """Read the head of the reply; interim ones before it are passed over."""
        status = 100
        while 100 <= status < 200 and status != 101:
            version, status, reason = self._read_status()  # type: ignore[attr-defined]
            if not version.startswith(("HTTP/1.", "HTTP/0.9")):
                raise http.client.UnknownProtocol(version)
            fields = _fields_in(self.fp)
        self.code = self.status = status
        self.reason = reason.strip()
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        self.headers = self.msg = fields  # type: ignore[assignment]
        self.chunked = fields.get("transfer-encoding", "").lower().endswith("chunked")
        self.chunk_left = None
        length = fields.get("content-length", "").partition(",")[0].strip()
        self.length = int(length) if re.fullmatch("[0-9]{1,18}", length) else None
        if self.chunked:
            self.length = None
        elif status in (101, 204, 304) or self._method == "HEAD":  # type: ignore[attr-defined]
            self.length = 0
        self.will_close = self._check_close()  # type: ignore[attr-defined]
        if not self.chunked and self.length is None:
            self.will_close = True

    def pieces(self) -> Generator[bytes]:
        """The body as it comes; the connection is given back behind the last one."""
        had = 0
        try:
            while piece := self.read(_CHUNK):
                had += len(piece)
                yield piece
            if self.length:
                raise IncompleteRead(had, self.length)
            if self.will_close:
                self._connection.close()
        except BaseException as error:
            self._connection.close()
            if isinstance(said := getattr(error, "partial", None), bytes) and said:
                yield said
            _raise(error, self._pool, f"Connection broken: {error!r}")
        finally:
            self.close()
            self._pool._put_conn(self._connection)


def _allow(sock: socket.socket, seconds: float) -> None:
    """Let a socket take about so many seconds from now on; to set it anew is a system call.

    Raises:
        TimeoutError: None are left.
    """
    if seconds <= 0:
        raise TimeoutError("timed out")
    had = sock.gettimeout()
    if had is None or abs(had - seconds) > _ABOUT_SECONDS:
        sock.settimeout(seconds)


# Of a reply that `_plain` reads: a body of stated length that a keeping connection brings.
_PLAIN_STATUS = re.compile(r"HTTP/1\.1 ([2-5][0-9][0-9])(?: |$)")


def _plain(sock: socket.socket, deadline: float) -> Plain | bytes:
    """A reply, where it is the plain one that nearly all are; or else what came of it so far.

    Raises:
        TimeoutError, OSError: Nothing came by then, or the connection broke before.
    """
    _allow(sock, deadline - time.monotonic())
    heard = sock.recv(_CHUNK)
    end = heard.find(b"\r\n\r\n")
    if end < 0:
        return heard
    head = heard[:end].decode("iso-8859-1")
    first, *lines = head.split("\r\n")
    said = _PLAIN_STATUS.match(first)
    fields = {}
    for line in lines:
        name, colon, value = line.partition(":")
        fields[name.strip().lower() if colon else ""] = value.strip()
    length = fields.get("content-length", "")
    if (
        said is None
        or said[1] in ("204", "304")
        or len(fields) != len(lines)  # some of one name
        or len(lines) > _MOST_LINES
        or head.count("\n") != len(lines)
        or "\n " in head
        or "\n\t" in head
        or not (length.isascii() and length.isdigit() and len(length) < _DIGITS)
        or "transfer-encoding" in fields
        or fields.get("connection", "keep-alive").lower() != "keep-alive"
        or "" in fields
    ):
        return heard
    missing = end + 4 + int(length) - len(heard)
    with suppress(OSError):  # what breaks here is met again by whoever reads the rest
        while missing > 0 and (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            if not (piece := sock.recv(_CHUNK)):
                break
            heard += piece
            missing -= len(piece)
    return heard if missing else Plain(int(said[1]), fields, heard[end + 4 :])


def _fields_in(file: io.BufferedReader) -> dict[str, str]:
    """The headers that come next; a line that is none is passed over."""
    fields: dict[str, str] = {}
    name = ""
    for _ in range(_MOST_LINES):
        line = file.readline(_LONGEST_LINE + 1)
        if len(line) > _LONGEST_LINE:
            raise http.client.LineTooLong("header line")
        if line in (b"\r\n", b"\n"):
            return fields
        if not line.endswith(b"\n"):
            raise http.client.RemoteDisconnected("Remote end closed connection within the headers")
        if line[0] in b" \t":  # goes on from the line before
            said = line.decode("iso-8859-1").strip()
            if name:
                fields[name] = f"{fields[name]} {said}"
            continue
        name, colon, said = line.decode("iso-8859-1").partition(":")
        name, said = name.strip().lower() if colon else "", said.strip()
        if name:
            fields[name] = f"{fields[name]}, {said}" if name in fields else said
    raise http.client.HTTPException(f"got more than {_MOST_LINES} headers")


# How long the other side's machine may take to turn down what was sent to it.
_REFUSED_MS = 500


def was_closed_before(sock: Any) -> bool:
    """Whether a connection that has ended was closed before what was sent last came there.

    Servers close what has been idle, and some whatever they have answered, without a word. The
    machine then refuses what comes, which Linux tells of as a broken pipe. Elsewhere, and of one
    that was closed later, nothing is certain (RFC 9112, 9.3.1).
    """
    with suppress(OSError, ValueError, TypeError, AttributeError):
        watched = select.poll()
        watched.register(sock, 0)  # errors alone
        watched.poll(_REFUSED_MS)
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EPIPE  # type: ignore[no-any-return]
    return False


class NotSent(ProtocolError):
    """The connection broke before all of a request was written, so nobody can have served it.

    Or it is one that `was_closed_before`.
    """


class _Connection(HTTPConnection):
    response_class = Response
    broke: OSError | None = None  # while the request was written
    _watched: tuple[socket.socket, select.poll] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether it is open, and nothing has come that nobody asked for."""
        if self.sock is None or not hasattr(select, "poll"):  # Windows
            return super().is_connected
        if self._watched is None or self._watched[0] is not self.sock:
            self._watched = self.sock, select.poll()
            self._watched[1].register(self.sock, select.POLLIN)
        return not self._watched[1].poll(0)

    def connect(self) -> None:
        """Connect within 10 s, with 5 s more for TLS, then allow a request what its call is."""
        whole: Any = self.timeout
        self.timeout = min(whole, CONNECT_SECONDS)
        try:
            super().connect()
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"no connection in time ({error})") from error
        except (OSError, http.client.HTTPException) as error:  # the latter is a proxy's
            if isinstance(error, ssl.SSLCertVerificationError):
                raise
            raise NewConnectionError(self, str(error)) from error
        finally:
            self.timeout = whole
        self.sock.settimeout(whole)

    def request(  # type: ignore[override]
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str], **_: Any
    ) -> None:
        """Send a request with these headers, ``Host`` among them, and its length."""
        if self.sock is None:
            self.connect()
        else:
            _allow(self.sock, self.timeout or 0.0)
        self._method = method
        lines = [f"{method} {url} HTTP/1.1", *map(": ".join, headers.items())]
        if body is not None or method in _HAVE_BODY:
            lines.append(f"Content-Length: {len(body or b'')}")
        head = "\r\n".join(lines)
        if head.count("\r") + head.count("\n") != 2 * (len(lines) - 1):
            raise ValueError("a header has more than one line")
        sent = f"{head}\r\n\r\n".encode("latin-1")
        if body is not None and len(body) <= _CHUNK:
            sent, body = sent + body, None
        self.broke = None
        try:
            self.sock.sendall(sent)
            if body is not None:
                self.sock.sendall(body)
        except TimeoutError:
            raise
        except OSError as error:  # a server that wants no more may have said why
            self.broke = error

    def getresponse(self, heard: bytes = b"") -> Any:
        self.sock.settimeout(self.timeout)
        response = Response(self.sock, method=self._method, heard=heard)
        try:
            response.begin()
        except BaseException as error:
            response.close()
            if self.broke is not None and isinstance(error, OSError | http.client.HTTPException):
                raise NotSent("Connection aborted.", self.broke) from error
            raise
        response.will_close = response.will_close or self.broke is not None
        return response


class _TlsConnection(_Connection, HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        if self.proxy is None:  # which would have to answer within these as well
            sock.settimeout(min(self.timeout, HELLO_SECONDS))  # type: ignore[type-var]
        return sock


@lru_cache(maxsize=64)
def _encoded(target: str) -> str:
    return urllib3.util.parse_url(target).request_uri


class _Stack(list[HTTPConnection | None]):
    """Connections that are kept, the last one on top, without the locks of urllib3's queue."""

    qsize = list.__len__

    def __init__(self, most: int) -> None:
        self._most = most

    def put(self, connection: HTTPConnection | None, block: bool = True) -> None:
        if len(self) >= self._most:
            raise queue.Full
        self.append(connection)

    def get(self, block: bool = True, timeout: float | None = None) -> HTTPConnection | None:
        try:
            return self.pop()
        except IndexError:
            raise queue.Empty from None


class _Keeping:
    """What urllib3's pools have in common here."""

    def ask(
        self: Any,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None,
        seconds: float,
    ) -> Plain | Response | None:
        """Send over a connection that is open already; ``None`` where there is none.

        Raises:
            HTTPError: As `urlopen`.
        """
        if self.proxy is not None or not target.startswith("/"):
            return None
        connection: _Connection = self._get_conn()
        if connection.sock is None:
            self._put_conn(connection)
            return None
        heard: Plain | bytes = b""
        try:
            deadline = time.monotonic() + seconds
            connection.timeout = seconds
            connection.request(method, _encoded(target), body, headers)
            if method != "HEAD" and connection.broke is None:
                heard = _plain(connection.sock, deadline)
            if isinstance(heard, Plain):
                self._put_conn(connection)
                return heard
            connection.timeout = max(deadline - time.monotonic(), 0.001)
            response: Response = connection.getresponse(heard)
        except BaseException as error:
            ended = not heard and isinstance(error, http.client.RemoteDisconnected)
            closed = ended and was_closed_before(connection.sock)
            connection.close()
            self._put_conn(connection)
            if closed:
                raise NotSent("Connection aborted.", error) from error
            _raise(error, self, "Connection aborted.")
        response._connection, response._pool = connection, self
        return response


class Pool(_Keeping, urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection  # type: ignore[assignment]
    QueueCls = _Stack  # type: ignore[assignment]


class TlsPool(_Keeping, urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection  # type: ignore[assignment]
    QueueCls = _Stack  # type: ignore[assignment]
