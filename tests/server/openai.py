"""OpenAI's chat completions: a strict reader of requests, and a writer of replies."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tests.server.answers import Answer, ApiError, Ask

# Null is what many clients send for "not set", and OpenAI takes it so.
_Count = Annotated[int, Meta(ge=1)] | None
_Penalty = Annotated[float, Meta(ge=-2, le=2)] | None


class _Text(msgspec.Struct, forbid_unknown_fields=True, tag="text"):
    text: str


class _Url(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    url: Annotated[str, Meta(pattern=r"^(https?://|data:image/(png|jpeg|gif|webp);base64,)")]
    detail: Literal["auto", "low", "high"] | None = None


class _Picture(msgspec.Struct, forbid_unknown_fields=True, tag="image_url"):
    image_url: _Url


class _Data(msgspec.Struct, forbid_unknown_fields=True):
    filename: str
    file_data: Annotated[str, Meta(pattern="^data:application/pdf;base64,JVBER")]


class _File(msgspec.Struct, forbid_unknown_fields=True, tag="file"):
    file: _Data


class _Message(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Text | _Picture | _File]
    name: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if isinstance(part, _Text))


class _JsonSchema(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, Any]
    strict: bool | None = None
    description: str | None = None


class _ResponseFormat(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JsonSchema | None = None


class _Request(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[_Message], Meta(min_length=1)]
    max_tokens: _Count = None
    max_completion_tokens: _Count = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=1)] | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    response_format: _ResponseFormat | None = None
    frequency_penalty: _Penalty = None
    presence_penalty: _Penalty = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    user: str | None = None
    stream: Literal[False] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None


_decoder = msgspec.json.Decoder(_Request)
_encode = msgspec.json.Encoder().encode
# With sorted keys, so that equal requests have equal bytes.
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode
_reasoning_model = re.compile(r"^(o\d|gpt-5)")


def read(body: bytes, _path: str, _headers: Mapping[str, str]) -> Ask:
    """Check a request as OpenAI would.

    Raises:
        ApiError: 400, with the parameter at fault.
    """
    try:
        request = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except ValueError as error:
        raise ApiError(400, f"We could not parse the JSON body of your request: {error}") from None
    request.stream = None  # the same request, whether it says so or not
    response_format = request.response_format
    if request.max_tokens is not None or response_format is not None:
        _check_combinations(request)
    if request.temperature not in (None, 1.0) and _reasoning_model.match(request.model):
        raise ApiError(
            400,
            f"Unsupported value: 'temperature' does not support {request.temperature} with this "
            "model. Only the default (1) value is supported.",
            code="unsupported_value",
            param="temperature",
        )
    schema = None
    if response_format is not None and response_format.json_schema is not None:
        schema = response_format.json_schema.schema
    return Ask(
        model=request.model,
        messages=[(message.role, message.text) for message in request.messages],
        body_hash=blake2b(_encode_sorted(request), digest_size=8).hexdigest(),
        max_tokens=request.max_completion_tokens or request.max_tokens,
        schema=schema,
        json_object=response_format is not None and response_format.type == "json_object",
    )


def _invalid(message: str) -> ApiError:
    text, _, where = message.partition(" - at `")
    param = where.rstrip("`").removeprefix("$").removeprefix(".") or None
    if unknown := re.search(r"unknown field `(.+)`", text):
        name = f"{param}.{unknown[1]}" if param else unknown[1]
        return ApiError(400, f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
    if missing := re.search(r"missing required field `(.+)`", text):
        name = f"{param}.{missing[1]}" if param else missing[1]
        message = f"Missing required parameter: '{name}'."
        return ApiError(400, message, code="missing_required_parameter", param=name)
    code = "invalid_type" if " got " in text else "invalid_value"
    return ApiError(400, f"Invalid value for '{param}': {text}.", code=code, param=param)


def _check_combinations(request: _Request) -> None:
    if request.max_tokens is not None:
        if request.max_completion_tokens is not None:
            raise ApiError(
                400,
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not "
                "supported.",
                code="invalid_parameter_combination",
                param="max_tokens",
            )
        if _reasoning_model.match(request.model):
            raise ApiError(
                400,
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                "'max_completion_tokens' instead.",
                code="unsupported_parameter",
                param="max_tokens",
            )
    wanted = request.response_format
    if wanted is None:
        return
    if (wanted.type == "json_schema") != (wanted.json_schema is not None):
        raise ApiError(
            400,
            "'json_schema' belongs to the response_format of type 'json_schema', and only there.",
            param="response_format.json_schema",
        )
    if wanted.type == "json_object" and not any(
        "json" in message.text.lower() for message in request.messages
    ):
        raise ApiError(
            400,
            "'messages' must contain the word 'json' in some form, to use 'response_format' of "
            "type 'json_object'.",
            param="messages",
        )
    if wanted.json_schema is not None and wanted.json_schema.strict:
        _check_strict(wanted.json_schema.schema, "()")


def _check_strict(schema: Any, where: str) -> None:
    """OpenAI's rules for ``strict``: closed objects, all of whose properties are required."""
    if isinstance(schema, list):
        for part in schema:
            _check_strict(part, where)
        return
    if not isinstance(schema, dict):
        return
    problem = ""
    if "properties" in schema or schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            problem = "'additionalProperties' is required to be supplied and to be false."
        elif set(schema.get("required", ())) != set(schema.get("properties", ())):
            problem = "'required' is required to be an array of every key in properties."
    if problem:
        raise ApiError(
            400,
            f"Invalid schema for response_format: In context={where}, {problem}",
            code="invalid_json_schema",
            param="response_format",
        )
    for name in ("properties", "$defs"):
        for key, part in schema.get(name, {}).items():
            _check_strict(part, f"('{name}', '{key}')")
    for name in ("items", "anyOf"):
        _check_strict(schema.get(name), f"('{name}')")


def refuse(body: bytes, names: list[str]) -> None:
    """Turn a request down as deployments do that do not take all that OpenAI does.

    Raises:
        ApiError: It has something that is named, in words of one that does not take it. The names
            ``context:N`` and ``output:N`` are limits in tokens, a word of a prompt being one.
    """
    sent: dict[str, Any] = msgspec.json.decode(body)
    wanted = sent.get("response_format") or {}
    has = {
        **dict.fromkeys(sent, True),
        "system": any(each["role"] == "system" for each in sent["messages"]),
        "json_schema": wanted.get("type") == "json_schema",
        "minimum": b'"minimum"' in body,
        "grammar": bool(wanted),
    }
    prompt = sum(len(str(each["content"]).split()) for each in sent["messages"])
    wants = sent.get("max_tokens") or 0
    for name in names:
        kind, _, limit = name.partition(":")
        if kind == "context" and wants + prompt > int(limit):
            raise ApiError(
                400,
                f"'max_tokens' or 'max_completion_tokens' is too large: {wants}. This model's "
                f"maximum context length is {limit} tokens and your request has {prompt} input "
                f"tokens ({wants} > {limit} - {prompt}).",
            )
        if kind == "output" and wants > int(limit):
            raise ApiError(
                400,
                f"max_tokens is too large: {wants}. This model supports at most {limit} "
                f"completion tokens, whereas you provided {wants}.",
            )
        if has.get(name):
            status, message = _REFUSALS.get(
                name, (400, f"Unsupported parameter: '{name}' is not supported with this model.")
            )
            raise ApiError(status, message)


_REFUSALS = {
    "max_tokens": (400, "max_tokens is not supported with this model, use max_completion_tokens"),
    "max_completion_tokens": (400, "max_completion_tokens: Extra inputs are not permitted"),
    "system": (400, "System role not supported"),
    "json_schema": (400, "This model does not support json_schema."),
    "response_format": (400, "Something about this request is not right."),
    "minimum": (400, "The grammar compiler does not support minimum for integer"),
    "grammar": (500, "failed to parse grammar"),
}


def write(ask: Ask, answer: Answer) -> bytes:
    """The body of a chat completion."""
    choice = {
        "index": 0,
        "message": {
            "role": "assistant",
            "content": answer.text,
            "refusal": None,
            "annotations": [],
        },
        "logprobs": None,
        "finish_reason": answer.finish,
    }
    reply: dict[str, Any] = {
        "id": f"chatcmpl-{ask.body_hash}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": ask.model,
        "choices": [choice] if answer.choices else [],
        "usage": answer.usage,
        "service_tier": "default",
        "system_fingerprint": "fp_test",
    }
    if answer.usage is None:
        del reply["usage"]
    return _encode(reply)


def write_error(error: ApiError) -> bytes:
    """The body of an error reply."""
    return _encode(
        {
            "error": {
                "message": error.message,
                "type": error.type,
                "param": error.param,
                "code": error.code,
            }
        }
    )


def key(headers: Mapping[str, str], _query: str) -> str | None:
    """The key a client presented: a bearer token, or Azure's ``api-key``."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token if scheme == "Bearer" else headers.get("api-key")
