"""What a server may not do to us by size, packing and redirects, over every path."""

from __future__ import annotations

import gzip
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import repeat

import pytest

from llm_batch.chain.options import Model
from llm_batch.engines.batch.vendors import Http
from llm_batch.errors import ProviderError, Refused, Rejected
from llm_batch.sending.providers import Prepared, Provider, make_provider
from llm_batch.sending.providers.wire import gathered, most_bytes
from tests.sending.providers.asking import ask
from tests.sending.providers.servers import ANSWER

# litellm's own, of its types.
pytestmark = pytest.mark.filterwarnings("ignore:Items? .* on TypedDict")

_MB = 1 << 20
_SECRET = "sk-not-a-real-key-0123456789"


def _more(client: socket.socket) -> bytes:
    """What comes next; a client that has left sends nothing for ever, which would keep us busy."""
    if not (part := client.recv(_MB)):
        raise ConnectionResetError
    return part


@contextmanager
def _saying(head: str, body: Iterator[bytes] | bytes = b"") -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers everything so, for ever; its address, and what it received."""
    listening = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []

    def serve(client: socket.socket) -> None:
        with client:
            try:
                heard = b""
                while b"\r\n\r\n" not in heard:
                    heard += _more(client)
                start, _, rest = heard.partition(b"\r\n\r\n")
                length = start.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                while len(rest) < int(length or 0):
                    rest += _more(client)
                received.append(start + b"\r\n\r\n" + rest)
                client.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
                for part in [body] if isinstance(body, bytes) else body:
                    client.sendall(part)
            except OSError:
                pass  # it left, as it should

    def accept() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", received
    finally:
        listening.close()


#: Model strings and their keys' variables: each vendor's own format, and OpenAI's both ways.
VENDORS = {
    "direct": ("openai/m", "OPENAI_API_KEY", "direct", "/v1"),
    "openai": ("openai/m", "OPENAI_API_KEY", "litellm", "/v1"),
    "anthropic": ("anthropic/claude-sonnet-4-5", "ANTHROPIC_API_KEY", "litellm", ""),
    "gemini": ("gemini/gemini-2.5-flash", "GEMINI_API_KEY", "litellm", ""),
    "ollama": ("ollama/m", "OLLAMA_API_KEY", "litellm", ""),
    "cohere": ("cohere_chat/command-r", "COHERE_API_KEY", "litellm", "/v2/chat"),
    "mistral": ("mistral/m", "MISTRAL_API_KEY", "litellm", "/v1"),
}


def _provider(vendor: str, url: str, monkeypatch: pytest.MonkeyPatch, **more: object) -> Provider:
    model, variable, transport, path = VENDORS[vendor]
    monkeypatch.setenv(variable, _SECRET)
    settings = Model.model_validate({"api_base": url + path, "transport": transport, **more})
    return make_provider(model, settings, 2)


def _head(status: str, *headers: str) -> str:
    return "\n".join((f"HTTP/1.1 {status}", "Content-Type: application/json", *headers))


@pytest.mark.litellm
@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed_with_key_or_prompt(
    vendor: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    length = f"Content-Length: {len(ANSWER)}"
    with _saying(_head("200 OK", length), ANSWER) as (elsewhere, taken):
        location = f"Location: {elsewhere.replace('127.0.0.1', 'localhost')}/v1/chat/completions"
        head = _head(f"{status} Moved", location, "Content-Length: 0", "Connection: close")
        with _saying(head) as (url, received):
            provider = _provider(vendor, url, monkeypatch)
            with pytest.raises(ProviderError) as caught:
                provider.complete(ask(max_tokens=5), 20)
        assert received, repr(caught.value)
        assert not taken
    assert isinstance(caught.value, Refused)
    assert "redirected to http://localhost:" in caught.value.message


@pytest.mark.parametrize("status", [302, 307, 308])
def test_files_and_jobs_of_batches_follow_no_redirect(status: int) -> None:
    with _saying(_head("200 OK", "Content-Length: 2"), b"{}") as (elsewhere, taken):
        head = _head(
            f"{status} Moved", f"Location: {elsewhere}/x", "Content-Length: 0", "Connection: close"
        )
        with _saying(head) as (url, _):
            http = Http(Prepared(f"{url}/v1/x", {"Authorization": f"Bearer {_SECRET}"}, b""))
            with pytest.raises(ProviderError, match="redirected"):
                http.json("POST", "/v1/batches", b"{}")
            with pytest.raises(ProviderError, match="redirected"):
                list(http.lines("/v1/files/f/content"))
            http.close()
        assert not taken


def _packed(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(_MB)) for _ in range(size // _MB)) + packer.flush()


@cache
def _huge() -> dict[str, tuple[tuple[str, ...], Iterator[bytes] | bytes]]:
    """Made when they are needed, which takes seconds."""
    packed = _packed(600 * _MB)
    twice = gzip.compress(packed, 9)
    return {
        "a length of 10^12": (("Content-Length: 1000000000000",), repeat(b"x" * 65536)),
        "a length of 60,000 digits": (("Content-Length: " + "9" * 60_000,), repeat(b"x" * 65536)),
        "no end": ((), repeat(b" " * 65536)),
        "no end, in chunks": (("Transfer-Encoding: chunked",), repeat(b"10000\r\n" + bytes(65538))),
        "600 MB in 600 kB": (
            ("Content-Encoding: gzip", f"Content-Length: {len(packed)}"),
            packed,
        ),
        "packed twice": (
            ("Content-Encoding: gzip, gzip", f"Content-Length: {len(twice)}"),
            twice,
        ),
        "an encoding not asked for": (("Content-Encoding: br", "Content-Length: 3"), b"abc"),
    }


HUGE = (
    "a length of 10^12",
    "a length of 60,000 digits",
    "no end",
    "no end, in chunks",
    "600 MB in 600 kB",
    "packed twice",
    "an encoding not asked for",
)


@pytest.mark.litellm
@pytest.mark.parametrize("vendor", ["direct", "openai", "anthropic", "gemini"])
@pytest.mark.parametrize("status", ["200 OK", "500 Oops"])
@pytest.mark.parametrize("how", HUGE)
def test_a_reply_of_any_size_costs_little_memory_and_fails_its_call_alone(
    vendor: str, status: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers, body = _huge()[how]
    with _saying(_head(status, *headers), body) as (url, _):
        provider = _provider(vendor, url, monkeypatch)
        tracemalloc.start()
        try:
            with pytest.raises(ProviderError) as caught:
                provider.complete(ask(max_tokens=5), 30)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 40 * _MB
    if status.startswith("200"):
        assert caught.value.kind in ("oversized", "garbage", "reset")
        assert caught.value.maybe_billed
    else:
        assert caught.value.kind in ("unavailable", "reset")


def test_an_oversized_reply_is_not_asked_for_again_and_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with _saying(_head("200 OK"), repeat(b" " * 65536)) as (url, _):
        provider = _provider("direct", url, monkeypatch, max_reply=0.25)
        with pytest.raises(Rejected) as caught:
            provider.complete(ask(max_tokens=5), 30)
    assert caught.value.message == "the reply has more than 0.25 MB"
    assert "max_reply" in caught.value.hint


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "raw deflate", "identity", ""])
def test_a_reply_is_unpacked_as_its_header_says(encoding: str) -> None:
    text = b'{"a": 1}' * 1000
    bare = zlib.compressobj(9, zlib.DEFLATED, -15)
    sent = {
        "gzip": gzip.compress(text[:4000]) + gzip.compress(text[4000:]),
        "x-gzip": gzip.compress(text),
        "deflate": zlib.compress(text),
        "raw deflate": bare.compress(text) + bare.flush(),
    }.get(encoding, text)
    pieces = [sent[:7], sent[7:]]
    assert gathered(pieces, encoding.removeprefix("raw "), 10_000) == text


def test_how_large_a_reply_may_be_follows_what_was_asked_for() -> None:
    assert most_bytes(None) == 32 * _MB
    assert most_bytes(100) == _MB + 409_600
    assert most_bytes(10**9) == 32 * _MB
    assert most_bytes(100, 7) == 7


_CHUNKED = ("Transfer-Encoding: chunked",)


@pytest.mark.litellm
@pytest.mark.parametrize("vendor", ["direct", "openai"])
@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        # All of a paid answer is there, whatever breaks behind it.
        ("200 OK", _CHUNKED, b"%x\r\n%s\r\n" % (len(ANSWER), ANSWER), "Paris"),
        ("200 OK", _CHUNKED, b"%x\r\n%s\r\n0\r\n" % (len(ANSWER), ANSWER), "Paris"),
        ("200 OK", (f"Content-Length: {len(ANSWER) + 9}",), ANSWER, "Paris"),
        # Not packed as the header says.
        ("200 OK", ("Content-Encoding: gzip", "Connection: close"), ANSWER, "Paris"),
        ("200 OK", ("Content-Encoding: utf-8", "Connection: close"), ANSWER, "Paris"),
        ("200 OK", ("Connection: close",), gzip.compress(ANSWER), "Paris"),
        # Half of one is none.
        ("200 OK", (f"Content-Length: {len(ANSWER)}",), ANSWER[:-9], "reset"),
        ("200 OK", _CHUNKED, b"%x\r\n%s" % (len(ANSWER), ANSWER[:-9]), "reset"),
        # A refusal says enough before its body breaks off, and costs nothing.
        ("429 Slow", ("Retry-After: 7", "Content-Length: 99"), b"slow", "rate_limited"),
        ("401 No", ("Content-Length: 99",), b'{"error"', "key"),
        ("503 Busy", _CHUNKED, b"5\r\nab", "unavailable"),
    ],
)
def test_what_came_before_a_reply_broke_off_counts_where_it_says_enough(
    status: str,
    headers: tuple[str, ...],
    body: bytes,
    said: str,
    vendor: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with _saying(_head(status, *headers), body) as (url, _):
        provider = _provider(vendor, url, monkeypatch)
        if said == "Paris":
            assert provider.complete(ask(), 30).completion.text == said
            return
        with pytest.raises(ProviderError) as caught:
            provider.complete(ask(), 30)
    assert (caught.value.kind, caught.value.maybe_billed) == (said, said == "reset")
    if said == "rate_limited":
        assert getattr(caught.value, "retry_after_seconds", 0) == 7
