"""HTTP as everything but litellm sends it: live requests, batches, and whether a server is there.

A reply has one deadline, however it trickles in, and one size, before and after it is unpacked. A
redirect is a reply like any other: following it would hand key and prompt to another host.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import time
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from llm_batch.chain.credentials import without_keys
from llm_batch.errors import ConfigError, ProviderError, Refused, Rejected, Unavailable
from llm_batch.sending.providers import too_slow
from llm_batch.sending.providers.connection import NotSent, Plain, Pool, Response, TlsPool, host_of
from llm_batch.sending.providers.decoding import is_whole_reply
from llm_batch.sending.providers.endpoints import (
    how_to_look,
    not_that_scheme,
    plain_http,
    proxy_for,
    shown,
)

#: No reply may be larger, unpacked or not.
MOST_BYTES = 32 << 20
#: Encodings that a reply may come in, one at a time.
ENCODINGS = "gzip, deflate"

_GZIP = b"\x1f\x8b"
# How JSON, the page of a proxy and events begin.
_TEXT = (b"{", b"[", b"<", b"data:")
_CHUNK = 1 << 16
_PROBE_SECONDS = 2.0
_MOST_OF_AN_ERROR = 1 << 20
# A reply that was asked for few tokens may still bring long thoughts and its own request.
_LEAST_BYTES = 1 << 20
# Of a token with its twenty likeliest neighbours.
_BYTES_PER_TOKEN = 4096

_UNREACHABLE = (ConnectTimeoutError, NewConnectionError, ProxyError, LocationValueError)
# TLS errors that may come after the request was sent; the others end the handshake.
_TLS_BROKE = ("EOF", "BAD_RECORD_MAC")


class TooLarge(Exception):
    """A reply goes on beyond what it may have; how it begins, where it is not packed."""

    def __init__(self, start: bytes = b"") -> None:
        super().__init__()
        self.start = start


class Undecodable(Exception):
    """A reply is not encoded as its headers say, or in a way that was not asked for."""


class BrokenOff(Exception):
    """A reply ends too early; ``start`` is what came of it, and the cause is why no more did."""

    def __init__(self, start: bytes) -> None:
        super().__init__()
        self.start = start


class Received(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


def most_bytes(max_tokens: int | None, limit: int | None = None) -> int:
    """How large a reply may be: what the user set, or else what the tokens asked for may need."""
    if limit is not None:
        return limit
    if max_tokens is None:
        return MOST_BYTES
    return min(MOST_BYTES, _LEAST_BYTES + _BYTES_PER_TOKEN * max_tokens)


def gathered(chunks: Iterable[bytes], encoding: str, most: int) -> bytes:
    """The body that these pieces make, unpacked; it has ``most`` bytes before and after that.

    Whether it is packed is told by its bytes where they show it: some proxies leave the header out,
    and some send it beside plain text.

    Raises:
        TooLarge: It has more.
        Undecodable: It cannot be unpacked.
        BrokenOff: The pieces end in an error.
    """
    encoding = encoding.strip().lower()
    plain = encoding in ("", "identity")
    parts: list[bytes] = []
    size = 0
    try:
        for chunk in chunks:
            parts.append(chunk)
            size += len(chunk)
            if size > most:
                raise TooLarge(parts[0] if plain else b"")
    except TooLarge:
        raise
    except Exception as error:  # of any library's
        raise BrokenOff(b"".join(parts)) from error
    raw = parts[0] if len(parts) == 1 else b"".join(parts)
    if raw.startswith(_GZIP):
        return _unpacked(raw, 16 + zlib.MAX_WBITS, most)
    if not raw or plain:
        return raw
    try:
        if encoding == "deflate":
            # With the header that the standard asks for, or without, as many send it.
            with_header = raw[0] & 0x0F == 8 and len(raw) > 1 and (raw[0] << 8 | raw[1]) % 31 == 0
            return _unpacked(raw, zlib.MAX_WBITS if with_header else -zlib.MAX_WBITS, most)
        raise Undecodable(f"the reply is encoded as {encoding[:40]!r}, or is not what that means")
    except Undecodable:
        if raw.lstrip().startswith(_TEXT):
            return raw
        raise


def of_use(broken: BrokenOff, status: int, encoding: str, most: int) -> bytes:
    """The body of a reply that broke off but says enough: a refusal, or all of an answer.

    Raises:
        Exception: What it broke off with, where it does not.
    """
    try:
        body = gathered([broken.start], encoding, most)
    except (TooLarge, Undecodable):
        body = b""
    if 200 <= status < 300 and not is_whole_reply(body):
        assert broken.__cause__ is not None
        raise broken.__cause__
    return body


def _unpacked(raw: bytes, bits: int, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while raw:
        unpacker = zlib.decompressobj(bits)
        try:
            part = unpacker.decompress(raw, most + 1 - size)
        except zlib.error as error:
            if parts:
                break  # what follows the last member is padding
            raise Undecodable(f"the reply cannot be unpacked: {error}") from error
        size += len(part)
        if size > most:
            raise TooLarge
        if not unpacker.eof:
            raise Undecodable("the reply is cut within its compressed body")
        parts.append(part)
        raw = unpacker.unused_data
    return b"".join(parts)


def too_large(most: int, status: int) -> Rejected:
    return Rejected(
        f"the reply has more than {most / (1 << 20):.3g} MB",
        kind="oversized",
        status_code=status,
        maybe_billed=True,
        hint="if such replies are wanted, set max_reply under [limits]",
    )


def undecodable(why: Undecodable, status: int) -> Unavailable:
    return Unavailable(str(why), kind="garbage", status_code=status, maybe_billed=True)


class Wire:
    """Connections to one host, by the proxy and with the authorities that the environment names.

    Raises:
        ConfigError: The URL, the proxy or the file of certificates cannot be used.
    """

    def __init__(self, base_url: str, connections: int) -> None:
        parts = urlsplit(base_url)
        self._shown = shown(base_url)
        self._answered = self._wrong_scheme = False
        self._manager, self._pool = _open_pool(base_url, connections)
        self._host = {"Host": host_of(base_url)}
        # A proxy that is not tunnelled through wants the whole URL (RFC 9112, 3.2.2).
        by_proxy = self._pool.proxy is not None and parts.scheme == "http"
        self._before = f"http://{parts.netloc.rpartition('@')[2]}" if by_proxy else ""

    def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        seconds: float,
        most: int = MOST_BYTES,
    ) -> Received:
        """Send once, and wait so many seconds for the whole reply, whatever its status.

        It may have ``most`` bytes; one with an error is cut there.

        Raises:
            ProviderError: There is no whole reply.
        """
        if self._wrong_scheme:
            raise not_that_scheme(self._shown)
        started = time.monotonic()
        target, headers = self._before + target, {**self._host, **headers}
        try:
            plain = self._pool.ask(method, target, headers, body, seconds)
            response = plain or self._pool.urlopen(
                method,
                target,
                body=body,
                headers=headers,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
                assert_same_host=False,  # a proxy's host is another
                timeout=urllib3.Timeout(total=seconds, connect=seconds),
            )
            self._answered = True
            return _received(cast("Response | Plain", response), most)
        except (HTTPError, OSError) as error:
            took = time.monotonic() - started
            failure = not_received(error, self._shown, seconds, took)
            if not self._answered and not isinstance(failure, Refused):
                wrong = other_scheme(self._shown)
                self._wrong_scheme = wrong is not None
                failure = wrong or failure
            raise failure from error

    def close(self) -> None:
        self._manager.clear()


def _received(response: Response | Plain, most: int) -> Received:
    status, headers = response.status, response.fields
    answers = 200 <= status < 300
    if not answers:
        most = min(most, _MOST_OF_AN_ERROR)
    chunks = response.pieces()
    encoding = headers.get("content-encoding", "")
    try:
        return Received(status, headers, gathered(chunks, encoding, most))
    except BrokenOff as broken:
        return Received(status, headers, of_use(broken, status, encoding, most))
    except TooLarge as error:
        chunks.close()
        if answers:
            raise too_large(most, status) from None
        return Received(status, headers, error.start)
    except Undecodable as error:
        if answers:
            raise undecodable(error, status) from error
        return Received(status, headers, b"")


def not_received(error: Exception, where: str, seconds: float, took: float) -> ProviderError:
    if (ours := out_of_files(error)) is not None:
        return ours
    said = _said(error)
    if isinstance(error, _UNREACHABLE) or (
        isinstance(error, SSLError) and not any(sign in said for sign in _TLS_BROKE)
    ):
        return not_connected(where, said, isinstance(error, ProxyError))
    if isinstance(error, ReadTimeoutError) or took >= seconds:
        return too_slow(seconds)
    return broken(said, not isinstance(error, NotSent))


def not_connected(where: str, said: str, by_proxy: bool) -> ProviderError:
    """The error for a host that was not reached, or that is not the one that was meant."""
    if "CERTIFICATE_VERIFY_FAILED" in said and not by_proxy:
        return Refused(
            f"the certificate of {where} is not trusted here: {said}",
            hint="check api_base, or name your own authorities' file in SSL_CERT_FILE",
        )
    if (wrong := plain_http(where, said)) is not None and not by_proxy:
        return wrong
    by = " by its proxy" if by_proxy else ""
    message = f"cannot connect to {where}{by}: {said}"
    return Unavailable(message, kind="unreachable", hint=how_to_look(where))


def broken(said: str, sent: bool) -> Unavailable:
    """The error for a connection that broke; what was not sent whole cannot be billed."""
    before = "" if sent else " before the request was sent"
    return Unavailable(f"the connection broke{before}: {said}", kind="reset", maybe_billed=sent)


def _said(error: BaseException) -> str:
    """The words of the innermost error, without urllib3's name of the connection."""
    while error.args and isinstance(error.args[-1], Exception):
        error = error.args[-1]
    return without_keys(re.sub(r"^_\w*Connection\(.*?\): ", "", str(error)))


def other_scheme(url: str) -> Refused | None:
    """The refusal where http meets TLS or https meets plain http; ``None`` where neither is shown.

    For a host that has answered nothing yet, when no reply came. It is asked once more, in the
    other scheme, without key or prompt, and for few seconds. What is reached by a proxy is not.
    """
    parts = urlsplit(url)
    plain = parts.scheme == "http"
    if not parts.hostname or proxy_for(url) is not None:
        return None
    address = (parts.hostname, parts.port or (80 if plain else 443))
    try:
        with socket.create_connection(address, _PROBE_SECONDS) as sock:
            speaks = (
                _speaks_tls(sock, parts.hostname)
                if plain
                else _speaks_http(sock, parts.netloc.rpartition("@")[2])
            )
    except (OSError, ValueError):
        return None
    return not_that_scheme(url) if speaks else None


def _speaks_tls(sock: socket.socket, host: str) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # nothing is sent, so it need not be trusted
    context.verify_mode = ssl.CERT_NONE
    try:
        context.wrap_socket(sock, server_hostname=host).close()
    except ssl.SSLError as error:
        return "ALERT" in str(error)
    return True


def _speaks_http(sock: socket.socket, host: str) -> bool:
    """Whether plain http is served, and not merely answered with how it is not (nginx, Go)."""
    sock.sendall(f"HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    deadline = time.monotonic() + _PROBE_SECONDS
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _CHUNK:
        sock.settimeout(max(deadline - time.monotonic(), 0.001))
        if not (piece := sock.recv(4096)):
            break
        head += piece
    said = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    return (
        said is not None
        and said[1] not in (b"400", b"421", b"426", b"497")
        and b"\nlocation: https:" not in head.lower()
    )


def _open_pool(base_url: str, connections: int) -> tuple[urllib3.PoolManager, Pool | TlsPool]:
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
        manager.pool_classes_by_scheme = {"http": Pool, "https": TlsPool}
        return manager, cast("Pool | TlsPool", manager.connection_from_url(base_url))
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


def out_of_files(error: BaseException | None) -> Unavailable | None:
    """The error when this process may not open another file: ours, and nothing was sent."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return Unavailable(f"this machine opens no more connections: {error}", kind="files")
        inner = next((each for each in error.args if isinstance(each, BaseException)), None)
        error = error.__cause__ or inner or error.__context__
    return None
