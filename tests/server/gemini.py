"""Gemini's generateContent: POST .../models/{model}:generateContent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote

import msgspec

from tests.server.answers import Answer, ApiError, Ask
from tests.server.bodies import (
    Json,
    Text,
    body_hash,
    counts,
    decode,
    encode,
    plain_text,
    take,
    take_object,
)


class _Content(msgspec.Struct):
    parts: list[Text]
    role: str = "user"


class _Generation(msgspec.Struct, rename="camel"):
    max_output_tokens: int | None = None
    response_schema: Json | None = None
    response_json_schema: Json | None = None
    response_mime_type: str | None = None


def _generation(config: Json) -> _Generation:
    # Gemini takes both spellings of every key, and clients use both.
    camel = {re.sub(r"_(.)", lambda m: m[1].upper(), name): config[name] for name in config}
    try:
        return msgspec.convert(camel, _Generation)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"generationConfig: {error}") from None


def read(raw: bytes, path: str, _headers: Mapping[str, str]) -> Ask:
    """A request of Gemini's generateContent; the model is in the path."""
    body = decode(raw)
    contents = take(body, "contents", list[_Content])
    messages = [
        ("assistant" if turn.role == "model" else "user", plain_text(list(turn.parts)))
        for turn in contents
    ]
    for name in ("systemInstruction", "system_instruction"):
        if name in body:
            messages.insert(0, ("system", plain_text(list(take(body, name, _Content).parts))))
    config = _generation(take_object(body, "generationConfig"))
    schema = config.response_json_schema or config.response_schema
    return Ask(
        model=unquote(path.rpartition("/models/")[2].rpartition(":")[0]),
        messages=messages,
        body_hash=body_hash(body, path),
        max_tokens=config.max_output_tokens,
        schema=schema,
        json_object=config.response_mime_type == "application/json",
    )


def write(ask: Ask, answer: Answer) -> bytes:
    """Gemini's candidates."""
    finish = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}[answer.finish]
    candidate: Json = {"finishReason": finish, "index": 0, "content": {"role": "model"}}
    if answer.text is not None:
        candidate["content"]["parts"] = [{"text": answer.text}]
    reply: Json = {"modelVersion": ask.model, "responseId": ask.body_hash}
    if answer.choices:
        reply["candidates"] = [candidate]
    if answer.usage is not None:
        prompt, completion = counts(answer)
        reply["usageMetadata"] = {
            "promptTokenCount": prompt,
            # Unlike others, Gemini counts what it thought beside the candidates, not in them.
            "candidatesTokenCount": 0 if answer.reasoning_tokens else completion,
            "totalTokenCount": answer.usage.get("total_tokens"),
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        }
        if answer.reasoning_tokens:
            reply["usageMetadata"]["thoughtsTokenCount"] = answer.reasoning_tokens
    return encode(reply)


_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def write_error(error: ApiError) -> bytes:
    """Google's error body."""
    status = _STATUS.get(error.status, "INTERNAL")
    detail = {"code": error.status, "message": error.message, "status": status}
    return encode({"error": detail})


def key(headers: Mapping[str, str], query: str) -> str | None:
    """The key a client presented to Gemini, in a header or in the URL."""
    return headers.get("x-goog-api-key") or parse_qs(query).get("key", [None])[0]
