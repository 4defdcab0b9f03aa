"""Bytez: POST /models/v2/{model}."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from tests.server.answers import Answer, ApiError, Ask
from tests.server.bodies import Turn, body_hash, decode, encode, plain_text, take, take_object


def read(raw: bytes, path: str, _headers: Mapping[str, str]) -> Ask:
    """A request to Bytez: contents are lists of parts, parameters sit in ``params``."""
    body = decode(raw)
    turns = take(body, "messages", list[Turn])
    params = take_object(body, "params")
    return Ask(
        model=unquote(path.partition("/models/v2/")[2]),
        messages=[(turn.role, plain_text(turn.content)) for turn in turns],
        body_hash=body_hash(body, path),
        max_tokens=take(params, "max_new_tokens", int | None),
    )


def write(_ask: Ask, answer: Answer) -> bytes:
    """Bytez' reply; it speaks neither of usage nor of why it stopped."""
    content = [] if answer.text is None else [{"type": "text", "text": answer.text}]
    output = {"role": "assistant", "content": content} if answer.choices else None
    return encode({"error": None, "output": output})


def write_error(error: ApiError) -> bytes:
    """Bytez' error body."""
    return encode({"error": error.message, "output": None})


def key(headers: Mapping[str, str], _query: str) -> str | None:
    """The key a client presented to Bytez."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token if scheme in ("Key", "Bearer") else None
