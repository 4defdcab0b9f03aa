"""What a model is asked and what it answers, free of any provider's format.

The answer follows from a hash of the messages: the same question always gets the same text, by
whatever client, provider format or order it arrives. A question may carry a script of its own,
``[[server: {...}]]`` (see `Directive`).
"""

from __future__ import annotations

import json
import random
from hashlib import blake2b
from typing import Any

import msgspec

from tests.server.schemas import WORDS, value_for

_MARK = "[[server:"


class ApiError(Exception):
    """A reply that is an error; each provider format words it in its own way.

    Args:
        status: The HTTP status.
        message: The sentence in the body.
        type: OpenAI's ``error.type``.
        code: OpenAI's ``error.code``.
        param: The parameter at fault, for a 400.
    """

    def __init__(
        self,
        status: int,
        message: str,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.code = code
        self.param = param


class Ask(msgspec.Struct):
    """A valid request.

    Attributes:
        model: As the client named it.
        messages: Pairs of role and text.
        body_hash: Hash of the parsed body: equal for equal requests, whatever the spacing.
        max_tokens: Cap on output tokens.
        schema: JSON Schema the answer must follow.
        json_object: Whether the answer must be any JSON object.
        tool: Name of the tool the answer must be a call of (Anthropic's way to structured output).
    """

    model: str
    messages: list[tuple[str, str]]
    body_hash: str
    max_tokens: int | None = None
    schema: dict[str, Any] | None = None
    json_object: bool = False
    tool: str | None = None

    @property
    def input_tokens(self) -> int:
        """Tokens of the prompt: a quarter of its characters, at least 1."""
        return max(1, sum(len(text) for _, text in self.messages) // 4)

    @property
    def limit_tokens(self) -> int:
        """What the request counts towards tokens per minute, as OpenAI counts it."""
        return max(self.max_tokens or 0, self.input_tokens)


class Answer(msgspec.Struct):
    """What the model answered.

    Attributes:
        text: ``None`` for a null content.
        finish: ``stop``, ``length`` or ``content_filter``.
        input_tokens: As billed.
        output_tokens: As billed, reasoning included.
        usage: What the reply claims, in OpenAI's words; ``None`` when it says nothing.
        reasoning_tokens: The part of the output nobody sees.
        choices: False for a reply without any choice.
    """

    text: str | None
    finish: str
    input_tokens: int
    output_tokens: int
    usage: dict[str, Any] | None = None
    reasoning_tokens: int = 0
    choices: bool = True

    def count(self) -> None:
        """Make ``usage`` say what was billed."""
        self.usage = {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


class Directive(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The script inside a question: ``[[server: {"fault": "reset", "times": 2}]]``.

    Attributes:
        fault: A name from the table of faults.
        times: How often the fault strikes the same body before the answer comes; without it,
            always.
        reply: The text of the answer; anything else than a string is sent as JSON.
        usage: What the reply claims as usage: an object (billed, when it holds counts), or null
            for none.
        latency: Seconds, instead of the server's.
        retry_after: Value of a Retry-After header on the faulty replies.
        model: Only requests to this model are meant: the judge's prompt often quotes the question.
    """

    fault: str | None = None
    times: int | None = None
    reply: Any = msgspec.UNSET
    usage: dict[str, Any] | None | msgspec.UnsetType = msgspec.UNSET
    latency: float | None = None
    retry_after: str | float | None = None
    model: str | None = None


def directive(ask: Ask) -> Directive | None:
    """The script in the last user message, if it has one for this model.

    Raises:
        ApiError: A script that cannot be read: a mistake in a test must not pass for an answer.
    """
    text = next((text for role, text in reversed(ask.messages) if role == "user"), "")
    if _MARK not in text:
        return None
    merged: dict[str, Any] = {}
    for part in text.split(_MARK)[1:]:
        part = part.lstrip()
        try:
            value, end = json.JSONDecoder().raw_decode(part)
            script = msgspec.convert(value, Directive)
        except ValueError as error:
            raise ApiError(400, f"cannot read [[server: {part[:80]}: {error}") from None
        if not part[end:].lstrip().startswith("]]"):
            raise ApiError(400, f"[[server: {part[:80]} does not end in ]]")
        if script.model in (None, ask.model):
            merged |= value
    return msgspec.convert(merged, Directive) if merged else None


def answer(ask: Ask, words: int = 12, script: Directive | None = None) -> Answer:
    """The answer to a request: by its script, its schema, or words drawn by the hash."""
    if script is not None and script.reply is not msgspec.UNSET:
        reply = script.reply
        text = reply if isinstance(reply, str) else msgspec.json.encode(reply).decode()
    else:
        text = _text(ask, words)
    tokens = max(1, len(text) // 4)
    finish = "stop"
    if ask.max_tokens is not None and tokens > ask.max_tokens:
        tokens, finish = ask.max_tokens, "length"
        text = text[: 4 * tokens]
    result = Answer(text, finish, ask.input_tokens, tokens)
    result.count()
    if script is not None and script.usage is not msgspec.UNSET:
        _claim(result, script.usage)
    return result


def _claim(result: Answer, usage: dict[str, Any] | None) -> None:
    """Report ``usage``, and bill it when it consists of counts."""
    result.usage = usage
    if usage is not None:
        given = usage.get("prompt_tokens"), usage.get("completion_tokens")
        if all(type(n) is int and n >= 0 for n in given):
            result.input_tokens, result.output_tokens = given  # type: ignore[assignment]


def _text(ask: Ask, words: int) -> str:
    digest = blake2b(repr(ask.messages).encode(), digest_size=32).digest()
    if ask.schema is not None:
        try:
            value = value_for(ask.schema, random.Random(digest), ask.schema)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            message = f"Invalid schema for response_format: {error!r}"
            raise ApiError(400, message, code="invalid_json_schema") from None
        return msgspec.json.encode(value).decode()
    while len(digest) < words:
        digest += blake2b(digest, digest_size=32).digest()
    text = " ".join([WORDS[byte & 31] for byte in digest[:words]])
    return msgspec.json.encode({"answer": text}).decode() if ask.json_object else text
