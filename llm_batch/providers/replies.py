"""From the body of a reply with status 200 to a completion, whichever way it arrived.

A body that holds no completion is an error of one of our kinds: half an answer, an HTML page of a
proxy or a vendor's error in a 200 is never taken for an answer.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from llm_batch.errors import ProviderError, Unavailable
from llm_batch.providers.redact import without_keys
from llm_batch.providers.refusals import error_from_reply
from llm_batch.records import Completion, Usage


# Only what is used is decoded: the rest of a reply is skipped at full speed.
class _Message(msgspec.Struct):
    content: str | list[Any] | None = None
    refusal: Any = None


class _Choice(msgspec.Struct):
    message: _Message | None = None
    finish_reason: str | None = None
    error: Any = None


class _Reply(msgspec.Struct):
    id: Any = ""
    model: Any = ""
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Reply)


def completion_from_reply(body: bytes) -> Completion:
    """The completion in the body of a 200, in OpenAI's layout.

    No choice or no content is a completion with an empty text and the finish reason ``empty``
    (or ``length`` and ``content_filter`` as given); it is never taken for an answer.

    Raises:
        Unavailable: The body is not such a reply; it may have been billed all the same.
        ProviderError: The body holds an error in spite of its status.
    """
    try:
        reply = _decoder.decode(body)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise unreadable(body, str(error)) from error
    if not reply.choices:
        # Without any of the three it is the reply of something else.
        if reply.error or (reply.choices is None and reply.usage is None):
            raise unreadable(body, "no choices")
        choice = _Choice(_Message(), "empty")
    else:
        choice = reply.choices[0]
    if choice.error and choice.finish_reason == "error":  # OpenRouter, halfway through an answer
        raise unreadable(msgspec.json.encode({"error": choice.error}), "an error")
    text = _text_of(choice.message)
    reason = finish_reason(choice.finish_reason, text)
    if choice.message is not None and choice.message.refusal and not text:
        reason = "content_filter"
    usage = usage_from(reply.usage)
    return Completion(text, str(reply.model or ""), reason, usage, str(reply.id or ""))


def unreadable(body: bytes, why: str) -> ProviderError:
    """The error that a reply with status 200 stands for when there is no completion in it.

    The provider may have worked for it, so it may be billed.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = None
    inner = value.get("error") if isinstance(value, dict) else None
    if inner:
        code = str(inner.get("code") if isinstance(inner, dict) else None)
        status = int(code) if re.fullmatch(r"[45]\d\d", code) else 502
        error = error_from_reply(status, body, {})
        error.maybe_billed = True
        return error
    start = without_keys(body[:2000].decode("utf-8", "replace"), longest=80)
    return Unavailable(
        f"the reply is not a chat completion ({without_keys(why)}): {start}",
        kind="garbage",
        status_code=200,
        maybe_billed=True,
    )


def finish_reason(said: str | None, text: str) -> str:
    """Why an answer ended, in the words of `Completion`."""
    if said in ("model_length", "max_tokens"):  # Mistral's and others' for a cut answer
        return "length"
    if not text and said in (None, "", "stop"):
        return "empty"
    return said or "stop"


def _text_of(message: _Message | None) -> str:
    if message is None or message.content is None:
        return ""
    if isinstance(message.content, str):
        return message.content
    parts = (part.get("text") for part in message.content if isinstance(part, dict))
    return "".join(part for part in parts if isinstance(part, str))


#: No single call of any model has this many tokens; a larger count is noise.
_MOST_TOKENS = 100_000_000


def usage_from(value: Any) -> Usage | None:
    """Usage in OpenAI's layout; ``None`` when it is missing or cannot be true."""
    if not isinstance(value, dict):
        return None
    details_in = value.get("prompt_tokens_details") or {}
    details_out = value.get("completion_tokens_details") or {}
    read = details_in if isinstance(details_in, dict) else {}
    made = details_out if isinstance(details_out, dict) else {}
    counts = (
        value.get("prompt_tokens"),
        value.get("completion_tokens"),
        read.get("cached_tokens") or 0,
        read.get("cache_creation_tokens") or value.get("cache_creation_input_tokens") or 0,
        made.get("reasoning_tokens") or 0,
    )
    if not all(type(count) is int and 0 <= count <= _MOST_TOKENS for count in counts):
        return None
    usage = Usage(*counts)  # type: ignore[arg-type]  # each was just seen to be an int
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    if usage.input_tokens == 0 or cached > usage.input_tokens:
        return None  # no prompt has no tokens
    beside = usage.input_tokens + usage.output_tokens + usage.reasoning_tokens
    if usage.reasoning_tokens and (
        usage.reasoning_tokens > usage.output_tokens or value.get("total_tokens") == beside
    ):
        # Some (xAI) count reasoning beside the output instead of inside it.
        return Usage(*counts[:1], usage.output_tokens + usage.reasoning_tokens, *counts[2:])  # type: ignore[arg-type]
    return usage
