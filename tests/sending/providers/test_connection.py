"""One connection: what is written of a request, and heads of replies as servers and others write
them.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest

from llm_batch.errors import ProviderError, Timeout, Unavailable
from llm_batch.sending.providers import connection
from llm_batch.sending.providers.connection import Pool, host_of
from llm_batch.sending.providers.wire import Received, Wire

Answer = bytes | Callable[[socket.socket], None]


@contextmanager
def _replying(*connections: Answer | tuple[Answer, ...]) -> Iterator[tuple[str, list[bytes]]]:
    """A server of connections one after the other, which are answered so and then closed."""
    listening = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []

    def serve() -> None:
        with suppress(OSError):  # the other side leaves
            for replies in connections:
                client, _ = listening.accept()
                with client:
                    for reply in replies if isinstance(replies, tuple) else (replies,):
                        received.append(_request_from(client))
                        reply(client) if callable(reply) else client.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", received
    finally:
        listening.close()
        thread.join(10)


def _request_from(client: socket.socket) -> bytes:
    heard = b""
    while not heard.endswith((b"\r\n\r\n", b"{}")) and (part := client.recv(1 << 16)):
        heard += part
    return heard


KEPT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLOSED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def _sent(reply: bytes, kept: bool) -> Received:
    """What is made of a reply, on a new connection or on one that brought another before."""
    with _replying((KEPT, reply) if kept else reply) as (url, _), closing(Wire(url, 1)) as wire:
        if kept:
            assert wire.send("GET", "/v1", {}, seconds=10).body == b"ok"
        return wire.send("POST", "/v1", {"Accept": "*/*"}, b"{}", seconds=10)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(
    ("head", "body", "read"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", b"ab", b"ab"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n", b"a" * 300_000, b"a" * 300_000),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n", b"a" * 3_000_000, b"a" * 3_000_000),
        (b"HTTP/1.1 200\r\ncontent-length:2\r\n", b"abc", b"ab"),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n", b"ab", b"ab"),
        (b"HTTP/1.0 200 OK\r\n", b"ab", b"ab"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n", b"ab", b"ab"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n", b"ab", b"ab"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n" % (b"9" * 5000), b"ab", b"ab"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n", b"ab", b"ab"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n",
            b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
            b"ab",
        ),
        (b"HTTP/1.1 204 Nothing\r\nContent-Length: 2\r\n", b"", b""),
        (
            b"HTTP/1.1 200 OK\r\nno header\r\n: nor this\r\nX-A: 1\r\nContent-Length: 2\r\n",
            b"ab",
            b"ab",
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
            b"ab",
            b"ab",
        ),
    ],
)
def test_a_reply_is_read_to_its_end_however_its_head_is_written(
    head: bytes, body: bytes, read: bytes, kept: bool
) -> None:
    assert _sent(head + b"\r\n" + body, kept).body == read


@pytest.mark.parametrize("kept", [False, True])
def test_headers_have_names_in_lower_case_and_one_value_each(kept: bool) -> None:
    reply = (
        b"HTTP/1.1 200 OK\r\nX-A:  1 \r\nx-a: 2\r\nX-B: one\r\n  two\r\nContent-Length: 0\r\n\r\n"
    )
    assert _sent(reply, kept).headers == {"x-a": "1, 2", "x-b": "one two", "content-length": "0"}


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\r\n\r\n",
        b"no http\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        # A file of lines that ends behind one of them may have had more.
        b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"custom_id": "a"}\n',
        b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"a" * 200_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab",
    ],
)
def test_a_reply_that_is_no_whole_one_is_an_error_and_the_next_is_read(
    reply: bytes, kept: bool
) -> None:
    # What was never answered is asked once whether it speaks TLS, so there is an answer before.
    # The server closes: without saying so, the next request could meet the closing.
    connections = ((KEPT, reply), CLOSED) if kept else (CLOSED, reply, CLOSED)
    with _replying(*connections) as (url, _), closing(Wire(url, 1)) as wire:
        assert wire.send("GET", "/", {}, seconds=10).body == b"ok"
        with pytest.raises(ProviderError, match="the connection broke"):
            wire.send("POST", "/", {}, b"{}", seconds=10)
        assert wire.send("GET", "/", {}, seconds=10).body == b"ok"


def test_a_reply_in_drops_has_one_deadline_on_a_connection_that_was_kept_too() -> None:
    def drops(client: socket.socket) -> None:
        with suppress(OSError):
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
            while True:
                client.sendall(b"a")
                time.sleep(0.02)

    with _replying((KEPT, drops)) as (url, _), closing(Wire(url, 1)) as wire:
        wire.send("GET", "/", {}, seconds=10)
        with pytest.raises(Timeout):
            wire.send("POST", "/", {}, b"{}", seconds=0.2)


def test_a_request_is_its_line_its_headers_its_length_and_its_body() -> None:
    with _replying(*[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"] * 3) as (
        url,
        received,
    ):
        wire = Wire(url, 1)
        wire.send("POST", "/v1?a=b", {"X-A": "é"}, b"{}", seconds=10)
        wire.send("GET", "/v1", {}, seconds=10)
        wire.send("POST", "/v1", {}, seconds=10)
        wire.close()
    host = f"Host: {url.removeprefix('http://')}".encode()
    assert received == [
        b"POST /v1?a=b HTTP/1.1\r\n" + host + b"\r\nX-A: \xe9\r\nContent-Length: 2\r\n\r\n{}",
        b"GET /v1 HTTP/1.1\r\n" + host + b"\r\n\r\n",
        b"POST /v1 HTTP/1.1\r\n" + host + b"\r\nContent-Length: 0\r\n\r\n",
    ]


@pytest.mark.parametrize("value", ["a\r\nX-B: c", "a\nb", "a\rb"])
def test_a_header_cannot_carry_another(value: str) -> None:
    with (
        _replying(b"") as (url, received),
        pytest.raises(ValueError, match="more than one line"),
        closing(Wire(url, 1)) as wire,
    ):
        wire.send("GET", "/", {"X-A": value}, seconds=10)
    assert not any(received)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.example.com/v1", "api.example.com"),
        ("https://API.example.com:443/v1", "api.example.com"),
        ("http://localhost:8000/v1", "localhost:8000"),
        ("http://user:secret@localhost:80", "localhost"),
        ("http://[::1]:8000/v1", "[::1]:8000"),
        ("https://bücher.example/v1", "xn--bcher-kva.example"),
    ],
)
def test_the_host_is_named_as_it_is_looked_up(url: str, host: str) -> None:
    assert host_of(url) == host


def test_a_kept_connection_is_given_up_once_the_other_side_says_anything() -> None:
    """Whatever came would be taken for the next reply."""
    pool = Pool("127.0.0.1")
    connection = pool.ConnectionCls("127.0.0.1")
    assert not connection.is_connected
    for word in (b"408", b""):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            connection.sock = ours
            assert connection.is_connected
            theirs.sendall(word) if word else theirs.close()
            assert not connection.is_connected


def test_the_connection_that_was_used_last_is_used_next_and_what_is_too_much_is_closed() -> None:
    pool = Pool("127.0.0.1", maxsize=2)
    made = [pool._get_conn() for _ in range(3)]
    pairs = [socket.socketpair() for _ in made]
    for each, (ours, _) in zip(made, pairs, strict=True):
        each.sock = ours
        pool._put_conn(each)
    assert [each.sock is None for each in made] == [False, False, True]
    assert [pool._get_conn() for _ in range(2)] == [made[1], made[0]]
    assert pool._get_conn() not in made
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells of it")
def test_a_kept_connection_that_had_been_closed_bills_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with _replying(KEPT) as (url, _), closing(Wire(url, 1)) as wire:
        assert wire.send("POST", "/", {}, b"{}", seconds=30).body == b"ok"
        kept: Any = wire._pool.pool[-1]  # type: ignore[index]
        select.select([kept.sock], [], [], 30)
        # As if it were closed after that was looked at.
        monkeypatch.setattr(type(kept), "is_connected", True)
        with pytest.raises(Unavailable, match="before the request was sent") as caught:
            wire.send("POST", "/", {}, b"{}", seconds=30)
    assert (caught.value.kind, caught.value.maybe_billed) == ("reset", False)


@pytest.mark.parametrize("kept", [False, True])
def test_a_connection_that_is_closed_behind_a_request_may_have_been_billed(
    kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_REFUSED_MS", 0)
    with pytest.raises(Unavailable) as caught:
        _sent(b"", kept)
    assert (caught.value.kind, caught.value.maybe_billed) == ("reset", True)
