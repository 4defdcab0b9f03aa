"""Anthropic's Messages API: POST /v1/messages."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tests.server.answers import Answer, ApiError, Ask
from tests.server.bodies import (
    Json,
    Text,
    Turn,
    body_hash,
    counts,
    decode,
    encode,
    plain_text,
    take,
    take_object,
)


class _Tool(msgspec.Struct):
    name: str
    input_schema: Json


def read(raw: bytes, path: str, headers: Mapping[str, str]) -> Ask:
    """A request of Anthropic's Messages API; ``max_tokens`` and the version are mandatory."""
    if "anthropic-version" not in headers:
        raise ApiError(400, "anthropic-version: header is required")
    body = decode(raw)
    turns = take(body, "messages", list[Turn])
    bad = next((turn.role for turn in turns if turn.role not in ("user", "assistant")), None)
    if bad is not None or not turns:
        raise ApiError(400, f"messages: unexpected role {bad!r}, or none at all", param="messages")
    messages = [(turn.role, plain_text(turn.content)) for turn in turns]
    if body.get("system"):
        messages.insert(0, ("system", plain_text(take(body, "system", str | list[Text]))))
    choice = take_object(body, "tool_choice")
    # Structured output by its present name, then by the name it had in beta.
    form = take_object(take_object(body, "output_config"), "format")
    form = form or take_object(body, "output_format")
    ask = Ask(
        model=take(body, "model", str),
        messages=messages,
        body_hash=body_hash(body, path),
        max_tokens=take(body, "max_tokens", int),
        schema=take(form, "schema", Json | None),
    )
    if choice.get("type") == "tool":
        for tool in take(body, "tools", list[_Tool]):
            if tool.name == choice.get("name"):
                ask.tool, ask.schema = tool.name, tool.input_schema
    return ask


def _object(text: str) -> Json | None:
    try:
        return msgspec.json.decode(text, type=Json)
    except ValueError:
        return None


def write(ask: Ask, answer: Answer) -> bytes:
    """A message of Anthropic's; a tool call where the request forces one."""
    content: list[Json] = [{"type": "text", "text": answer.text}]
    stop = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}[answer.finish]
    if not answer.choices or answer.text is None:
        content = []
    elif ask.tool is not None and (arguments := _object(answer.text)) is not None:
        tool_id = f"toolu_{ask.body_hash}"
        content = [{"type": "tool_use", "id": tool_id, "name": ask.tool, "input": arguments}]
        stop = "tool_use"
    reply: Json = {
        "id": f"msg_{ask.body_hash}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
    }
    if answer.usage is not None:
        prompt, completion = counts(answer)
        reply["usage"] = {
            "input_tokens": prompt,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": completion,
            "service_tier": "standard",
        }
    return encode(reply)


_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def write_error(error: ApiError) -> bytes:
    """Anthropic's error body."""
    kind = _TYPES.get(error.status, "api_error")
    detail = {"type": kind, "message": error.message}
    return encode({"type": "error", "error": detail, "request_id": "req_test"})


def key(headers: Mapping[str, str], _query: str) -> str | None:
    """The key a client presented to Anthropic."""
    return headers.get("x-api-key")
