"""The list of models that an endpoint gives for nothing: who answers there, and to which names.

It is asked by the address and the headers of a request that would go live, so a key goes nowhere
else than a run takes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import msgspec

from llm_batch.errors import ProviderError, Unavailable
from llm_batch.sending.providers import Prepared
from llm_batch.sending.providers.refusals import error_from_reply, limit_headers
from llm_batch.sending.providers.wire import ENCODINGS, Wire

#: Beginnings of an address, by the end of a live one that is cut off; what is put in its place.
_ENDS = (
    ("/chat/completions", "/models", ""),
    ("/v1/messages", "/v1/models", "limit=1000"),
    ("/api/chat", "/api/tags", ""),
    ("/api/generate", "/api/tags", ""),
)
#: Gemini's address has the model in it.
_GEMINI = ":generateContent"
_MOST_BYTES = 8 << 20
_MOST_NAMES = 20_000
_LONGEST_NAME = 300
_MEMBERS = ("data", "models")
_NAMES = ("id", "name", "model")
# Of a request with a body.
_OF_BODY = ("content-type", "content-length", "transfer-encoding", "connection", "host")


@dataclass(frozen=True, slots=True)
class Listing:
    """What came.

    Attributes:
        names: The models; empty where the endpoint names none.
        headers: Those that speak of limits.
        seconds: What it took.
    """

    names: tuple[str, ...]
    headers: dict[str, str]
    seconds: float

    def has(self, name: str) -> bool:
        """Whether a model is among them; Ollama's are ``latest`` without a version."""
        return not {name, f"{name}:latest"}.isdisjoint(self.names)


def list_url(live: str) -> str:
    """Where the models of an endpoint are listed; empty where that is not known.

    Args:
        live: Where its chat completions are.
    """
    parts = urlsplit(live)
    path, query = parts.path, parts.query
    if path.endswith(_GEMINI):
        path, query = path.rpartition("/")[0], "&".join(filter(None, (query, "pageSize=1000")))
        return parts._replace(path=path, query=query).geturl()
    for end, instead, more in _ENDS:
        if path.endswith(end) and "/deployments/" not in path:
            query = "&".join(filter(None, (query, more)))
            return parts._replace(path=path.removesuffix(end) + instead, query=query).geturl()
    return ""


def listed(live: Prepared, seconds: float) -> Listing:
    """Ask for the list.

    Args:
        live: A request as it would go live, to an address that has a `list_url`.
        seconds: From connecting to the last byte.

    Raises:
        ProviderError: There is none, or something else came.
    """
    url = urlsplit(list_url(live.url))
    headers = {name: value for name, value in live.headers.items() if name.lower() not in _OF_BODY}
    names = {name.lower() for name in headers}
    if "accept-encoding" in names:
        headers = {n: v for n, v in headers.items() if n.lower() != "accept-encoding"}
    headers["Accept-Encoding"] = ENCODINGS
    wire = Wire(url.geturl(), 1)
    began = time.monotonic()
    try:
        target = f"{url.path}?{url.query}" if url.query else url.path
        status, answered, body = wire.send(
            "GET", target, headers, seconds=seconds, most=_MOST_BYTES
        )
    finally:
        wire.close()
    if not 200 <= status < 300:
        raise error_from_reply(status, body, answered)
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _no_list(status) from None
    if isinstance(value, dict) and value.get("error"):
        raise error_from_reply(status, body, answered)
    rows = _rows(value)
    if rows is None:
        raise _no_list(status)
    found = tuple(dict.fromkeys(islice(_names(rows), _MOST_NAMES)))
    return Listing(found, limit_headers(answered), time.monotonic() - began)


def _no_list(status: int) -> ProviderError:
    return Unavailable("what came is no list of models", kind="garbage", status_code=status)


def _rows(value: Any) -> list[Any] | None:
    """The models in a reply of any vendor; ``None`` where it is none."""
    if isinstance(value, dict):
        value = next((value[key] for key in _MEMBERS if isinstance(value.get(key), list)), None)
    return value if isinstance(value, list) else None


def _names(rows: list[Any]) -> Iterator[str]:
    for row in rows:
        for key in _NAMES:
            name = row.get(key) if isinstance(row, dict) else None
            if isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME:
                yield name.removeprefix("models/")
