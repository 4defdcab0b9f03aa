"""Ollama's own API: POST /api/chat and /api/generate."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from tests.server.answers import Answer, ApiError, Ask
from tests.server.bodies import (
    Json,
    Turn,
    body_hash,
    counts,
    decode,
    encode,
    plain_text,
    take,
    take_object,
)


def read(raw: bytes, path: str, _headers: Mapping[str, str]) -> Ask:
    """A request of Ollama's own API, either of both kinds."""
    body = decode(raw)
    if path.endswith("/generate"):
        messages = [("user", take(body, "prompt", str))]
        if body.get("system"):
            messages.insert(0, ("system", take(body, "system", str)))
    else:
        turns = take(body, "messages", list[Turn])
        messages = [(turn.role, plain_text(turn.content)) for turn in turns]
    cap = take_object(body, "options").get("num_predict")
    form = body.get("format")
    return Ask(
        model=take(body, "model", str),
        messages=messages,
        body_hash=body_hash(body, path),
        max_tokens=cap if isinstance(cap, int) and cap > 0 else None,
        schema=form if isinstance(form, dict) else None,
        json_object=form == "json",
    )


def _write(ask: Ask, answer: Answer, content: Json) -> bytes:
    reply: Json = {
        "model": ask.model,
        "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        **content,
        "done": True,
        "done_reason": "length" if answer.finish == "length" else "stop",
        "total_duration": 1_000_000,
        "load_duration": 1,
        "prompt_eval_duration": 1,
        "eval_duration": 1,
    }
    if answer.usage is not None:
        reply["prompt_eval_count"], reply["eval_count"] = counts(answer)
    return encode(reply)


def write_chat(ask: Ask, answer: Answer) -> bytes:
    """Ollama's reply to /api/chat, whole: also the one line of a stream that has a single one."""
    content = {"message": {"role": "assistant", "content": answer.text}}
    return _write(ask, answer, content if answer.choices else {})


def write_generate(ask: Ask, answer: Answer) -> bytes:
    """Ollama's reply to /api/generate."""
    return _write(ask, answer, {"response": answer.text} if answer.choices else {})


def write_error(error: ApiError) -> bytes:
    """Ollama's error body."""
    return encode({"error": error.message})


def key(headers: Mapping[str, str], _query: str) -> str | None:
    """The key a client presented to a proxy before Ollama; Ollama itself asks for none."""
    return headers.get("authorization", "").removeprefix("Bearer ") or None
