"""Servers that do what `tests.server` does not: TLS, tunnels, and waiting for a crowd."""

from __future__ import annotations

import http.server
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

#: Signed by itself for localhost and api.example.test, until 2125; its key is no secret.
CERTIFICATE = Path(__file__).parent / "tls" / "certificate.pem"
_KEY = CERTIFICATE.with_name("key.pem")

ANSWER = msgspec.json.encode(
    {
        "id": "r1",
        "object": "chat.completion",
        "created": 1,
        "model": "m1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Paris"},
                "finish_reason": "stop",
            }
        ],
        "service_tier": "default",  # litellm stumbles over a reply of Groq's without
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
)


Asked = tuple[str, dict[str, str]]


class _Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        server: Any = self.server
        server.asked.append((self.path, dict(self.headers)))
        server.crowd.wait()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER + server.more)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves, or does not trust the certificate, is no error here."""


@contextmanager
def answering(
    crowd: int = 1, tls: bool = False, more: bytes = b""
) -> Iterator[tuple[int, list[Asked]]]:
    """A server that answers once ``crowd`` requests are waiting at the same time.

    It sends ``more`` behind each answer, whose stated length does not have it.

    Yields:
        Its port on 127.0.0.1, and what it was asked: targets and headers.
    """
    server = _Server(("127.0.0.1", 0), _Answering)
    server.asked, server.more = [], more  # type: ignore[attr-defined]
    server.crowd = threading.Barrier(crowd, timeout=60)  # type: ignore[attr-defined]
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, _KEY)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    with _running(server):
        yield server.server_address[1], server.asked  # type: ignore[attr-defined]


class _Tunnel(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        head = []
        while (line := self.rfile.readline().strip()) != b"":
            head.append(line.decode())
        server: Any = self.server
        server.asked.append(head)
        if server.target is None:
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", server.target)) as onward:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(onward, self.request))
            back.start()
            _pump(self.request, onward)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other side is gone


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def tunnelling(target: int | None) -> Iterator[tuple[int, list[list[str]]]]:
    """A proxy that leads every CONNECT to one port, or refuses it when there is none.

    Yields:
        Its port on 127.0.0.1, and the heads of the requests made of it, line by line.
    """
    server = _Proxy(("127.0.0.1", 0), _Tunnel)
    server.target = target  # type: ignore[attr-defined]
    server.asked = []  # type: ignore[attr-defined]
    with _running(server):
        yield server.server_address[1], server.asked  # type: ignore[attr-defined]


class _Greeted(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        first = self.request.recv(1, socket.MSG_PEEK)
        server.greeted.append(first)
        if first != b"\x16":
            self.request.recv(65536)
            self.request.sendall(server.plain[min(len(server.greeted), len(server.plain)) - 1])
        elif server.hello == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE, _KEY)
            context.wrap_socket(self.request, server_side=True).close()
        elif server.hello == "silent":
            self.request.recv(65536)
            self.request.recv(1)  # until the client goes


@contextmanager
def greeted(hello: str, *plain: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server that tells by its first byte what a client speaks.

    Args:
        hello: What TLS meets: ``tls``, ``silent``, or ``closed``.
        plain: What connections are answered in turn, the last one for ever, before they are closed.

    Yields:
        Its port on 127.0.0.1, and the first byte of every connection.
    """
    server = _Silent(("127.0.0.1", 0), _Greeted)
    server.hello, server.plain, server.greeted = hello, plain, []  # type: ignore[attr-defined]
    with _running(server):
        yield server.server_address[1], server.greeted  # type: ignore[attr-defined]


class _Leaving(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(1)
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close()


@contextmanager
def leaving() -> Iterator[int]:
    """A server that resets every connection on which a request begins; yields its port."""
    server = _Silent(("127.0.0.1", 0), _Leaving)
    with _running(server):
        yield server.server_address[1]


class _Silent(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no error here."""


@contextmanager
def _running(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
