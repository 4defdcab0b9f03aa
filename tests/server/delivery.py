"""One connection, and the ways a reply can travel over it."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from tests.server.wire import Parser, Reply, Request, WireError, head

#: Seconds between half a body and the end of its connection, so that the half arrives.
_GAP = 0.02
#: Seconds until a reply that is held back looks again.
_LOOK_AGAIN = 0.005


class Server(Protocol):
    """What a connection needs of the application."""

    connections: set[Connection]

    @property
    def holds(self) -> bool:
        """Whether answers are held back now."""

    @property
    def keep_alive(self) -> float:
        """Seconds an idle connection is kept; 0 for ever."""

    def respond(self, request: Request) -> Reply:
        """The reply to a request, not sent yet."""

    def garbage(self, error: WireError) -> Reply:
        """The reply to bytes that are no request."""


class Connection(asyncio.Protocol):
    """Answers the requests of one connection, one after the other."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._parser = Parser()
        self._reply: Reply | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._server.connections.add(self)
        self._idle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._cancel()
        if self._reply is not None:
            # A client that ends a hanging request does what is expected of it.
            hanging = self._reply.delivery == "hang"
            self._reply.end("hang" if hanging else "abandoned", whole=False)
            self._reply = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        if self._reply is None:
            self._advance()

    def _advance(self) -> None:
        """Start on the next request, if all of it is here."""
        self._cancel()
        try:
            request = self._parser.next()
        except WireError as error:
            self._reply = self._server.garbage(error)
            DELIVERIES["close"](self, self._reply)
            return
        if request is None:
            if self._parser.wants_continue():
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        reply = self._reply = self._server.respond(request)
        reply.close = request.close
        if reply.delay > 0:
            self.later(reply.delay, self._deliver, reply)
        else:
            self._deliver(reply)

    def _deliver(self, reply: Reply) -> None:
        if reply.may_be_held and self._server.holds:
            self.later(_LOOK_AGAIN, self._deliver, reply)
        else:
            DELIVERIES[reply.delivery](self, reply)

    def later(self, seconds: float, function: Callable[..., None], *args: object) -> None:
        """Call a function later, unless the connection is lost first."""
        self._timer = self._loop.call_later(seconds, function, *args)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _idle(self) -> None:
        if self._server.keep_alive:
            self.later(self._server.keep_alive, self.transport.close)

    def done(self, reply: Reply, label: str = "", close: bool = False) -> None:
        """The reply is over: with ``label``, before all of it was sent.

        Args:
            reply: The reply.
            label: How it ended; empty when it is whole.
            close: End the connection.
        """
        self._reply = None
        self._timer = None
        reply.end(label or str(reply.status), whole=not label)
        if close or reply.close:
            self.transport.close()
        else:
            self._idle()
            if self._parser.pending:
                # A pipelining client has sent more; not called in place, or it could go deep.
                self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self._reply is None and not self.transport.is_closing():
            self._advance()

    def reset(self, reply: Reply, label: str) -> None:
        """End the connection with a TCP reset."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._reply = None
        reply.end(label, whole=False)
        self.transport.abort()


def _plain(connection: Connection, reply: Reply) -> None:
    connection.transport.write(head(reply) + reply.body)
    connection.done(reply)


def _close(connection: Connection, reply: Reply) -> None:
    reply.close = True
    _plain(connection, reply)


def _close_silently(connection: Connection, reply: Reply) -> None:
    transport = connection.transport
    if cork := getattr(socket, "TCP_CORK", 0):
        # With the reply comes its end: a client that sends between them cannot know of it.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, cork, 1)
    transport.write(head(reply) + reply.body)
    transport.write_eof()
    connection.done(reply, close=True)


def _close_before(connection: Connection, reply: Reply) -> None:
    connection.done(reply, "close_before", close=True)


def _reset(connection: Connection, reply: Reply) -> None:
    connection.reset(reply, "reset")


def _half(connection: Connection, reply: Reply) -> None:
    connection.transport.write(head(reply) + reply.body[: len(reply.body) // 2])


def _reset_mid_body(connection: Connection, reply: Reply) -> None:
    _half(connection, reply)
    connection.later(_GAP, connection.reset, reply, "reset_mid_body")


def _close_mid_body(connection: Connection, reply: Reply) -> None:
    _half(connection, reply)
    connection.done(reply, "close_mid_body", close=True)


def _hang(_connection: Connection, _reply: Reply) -> None:
    """Nothing: the client ends it, or nobody."""


def _drip_from(connection: Connection, reply: Reply, data: bytes, at: int, until: int) -> None:
    """Send ``data[at:until]`` byte by byte, then what is left at once."""
    if at < until:
        connection.transport.write(data[at : at + 1])
        connection.later(reply.drip_seconds, _drip_from, connection, reply, data, at + 1, until)
    else:
        connection.transport.write(data[at:])
        connection.done(reply)


def _drip(connection: Connection, reply: Reply) -> None:
    connection.transport.write(head(reply))
    _drip_from(connection, reply, reply.body, 0, len(reply.body))


def _drip_headers(connection: Connection, reply: Reply) -> None:
    start = head(reply)
    _drip_from(connection, reply, start + reply.body, 0, len(start))


def _chunked(connection: Connection, reply: Reply) -> None:
    parts = [head(reply, "transfer-encoding: chunked\r\n")]
    size = 1
    rest = reply.body
    while rest:
        # Sizes from 1 up, and an extension that a client must skip.
        chunk, rest = rest[:size], rest[size:]
        parts.append(b"%x;part=%d\r\n%b\r\n" % (len(chunk), size, chunk))
        size = size * 2 + 1
    parts.append(b"0\r\n\r\n")
    connection.transport.write(b"".join(parts))
    connection.done(reply)


def _gzip(connection: Connection, reply: Reply) -> None:
    if reply.gzip:
        reply.body = gzip.compress(reply.body)
        reply.headers += "content-encoding: gzip\r\n"
    _plain(connection, reply)


DELIVERIES: dict[str, Callable[[Connection, Reply], None]] = {
    "plain": _plain,
    "close": _close,
    "close_silently": _close_silently,
    "close_before": _close_before,
    "reset": _reset,
    "reset_mid_body": _reset_mid_body,
    "close_mid_body": _close_mid_body,
    "hang": _hang,
    "drip": _drip,
    "drip_headers": _drip_headers,
    "chunked": _chunked,
    "gzip": _gzip,
}
