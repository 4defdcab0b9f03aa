"""Requests to a vendor's batch endpoints, over the same connections as the live ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from llm_batch.errors import ProviderError, Unavailable
from llm_batch.providers.address import shown
from llm_batch.providers.base import Prepared
from llm_batch.providers.refusals import error_from_reply
from llm_batch.providers.wire import ENCODINGS, MOST_BYTES, Wire

# Questions are answered at once; files of up to 256 MB go up and down.
_SECONDS = 60.0
_FILE_SECONDS = 900.0
_MOST_OF_A_FILE = 1 << 30
#: Of the headers of a live request, those that belong to its body or its client and not to us.
_OF_THE_BODY = frozenset(
    {"host", "content-length", "content-type", "accept", "accept-encoding", "connection"}
)


class Http:
    """Talks to the host of a model.

    Args:
        like: A live request to it: its address and its headers, the key among them.
    """

    def __init__(self, like: Prepared) -> None:
        self._origin = urlsplit(like.url)._replace(query="", fragment="", path="").geturl()
        self._shown = shown(self._origin)
        self.resemble(like)
        self._wire = Wire(self._origin, 1)

    def resemble(self, like: Prepared) -> None:
        """Send the headers of this request, but for those that belong to its body."""
        self._headers = {
            name: value
            for name, value in like.headers.items()
            if name.lower() not in _OF_THE_BODY and not name.lower().startswith("x-stainless")
        }
        self._headers |= {"Accept": "application/json", "Accept-Encoding": ENCODINGS}

    def json(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str = "application/json",
        large: bool = False,
    ) -> dict[str, Any]:
        """Send, and decode the object that comes back, which may be ``large``.

        Raises:
            ProviderError: There is none, or its status is not one of success.
        """
        large = large or (body is not None and len(body) >= 1 << 16)
        seconds = _FILE_SECONDS if large else _SECONDS
        raw = self._send(method, path, body, content_type, seconds)
        try:
            value = msgspec.json.decode(raw or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(f"{self._shown}{path} did not answer in JSON: {error}") from error
        if not isinstance(value, dict):
            raise Unavailable(f"{self._shown}{path} did not answer with an object")
        return value

    def lines(self, path: str) -> Iterator[dict[str, Any]]:
        """The objects of a file of JSON lines; a line that is none is passed over.

        One bad line must not keep the answers around it from those who paid for them.

        Raises:
            ProviderError: It cannot be had to its end, or is something else altogether.
        """
        raw = self._send("GET", path, None, "", _FILE_SECONDS)
        # Not splitlines(): a JSON text may hold other line ends than \n.
        lines = [line for line in raw.split(b"\n") if line.strip()]
        cut = lines and not raw.endswith(b"\n") and _object(lines[-1]) is None
        if cut or (lines and all(_object(line) is None for line in lines)):
            raise Unavailable(
                f"{self._shown}{path} is not a whole file of JSON lines", kind="garbage"
            )
        for line in lines:
            value = _object(line)
            if value is not None:
                yield value

    def close(self) -> None:
        """Give back the connections."""
        self._wire.close()

    def _send(
        self, method: str, path: str, body: bytes | None, content_type: str, seconds: float
    ) -> bytes:
        headers: Mapping[str, str] = self._headers
        if body is not None:
            headers = {**headers, "Content-Type": content_type}
        most = _MOST_OF_A_FILE if seconds == _FILE_SECONDS else MOST_BYTES
        reply = self._wire.send(method, path, headers, body, seconds=seconds, most=most)
        if not 200 <= reply.status < 300:
            refusal = error_from_reply(reply.status, reply.body, reply.headers)
            if reply.status == 404:
                refusal.message = f"{self._shown}{path.partition('?')[0]}: {refusal.message}"
                refusal.hint = "is there a batch API? --engine threads does without"
            raise refusal
        return reply.body


def _object(line: bytes) -> dict[str, Any] | None:
    """The object of a line; ``None`` when it is not one."""
    try:
        try:
            value = msgspec.json.decode(line)
        except ValueError:
            # Half a surrogate pair, NaN, bytes that are no UTF-8: said anew without them.
            lax = json.loads(line.decode("utf-8", "replace"), parse_constant=lambda _: None)
            plain = json.dumps(lax, ensure_ascii=False).encode("utf-8", "replace")
            value = msgspec.json.decode(plain)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_over(error: ProviderError) -> bool:
    """Whether cancelling failed because there was nothing left to cancel."""
    return error.status_code in (400, 404, 409)
