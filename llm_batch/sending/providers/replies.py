"""From the body of a reply with status 200 to a completion and what it took, however it arrived.

A body that holds no completion is an error of one of our kinds: half an answer, an HTML page of a
proxy or a vendor's error in a 200 is never taken for an answer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from llm_batch.chain.answers import (
    BROKEN,
    CUT,
    EMPTY,
    FILTERED,
    REASONING,
    TOOL_CALL,
    WHOLE,
    ending,
    word_of,
)
from llm_batch.chain.credentials import without_keys
from llm_batch.errors import Unavailable, WebPage
from llm_batch.records import Completion, Request, Usage, writable
from llm_batch.sending.providers.decoding import value_in
from llm_batch.sending.providers.refusals import failure_in

_THOUGHTS = (
    *("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks"),
    "thoughts",
)
_ENDED = ("finish_reason", "finishReason", "stop_reason", "done_reason", "finish_details")
_PAGE = re.compile(rb"\s{0,99}(?:<!doctype html|<html)\b", re.IGNORECASE)
_THOUGHT = re.compile("think|reason|thought", re.IGNORECASE)
#: OpenRouter gives a model's own word beside OpenAI's; of these nothing more is to be said.
_PLAIN = (None, "stop", "STOP", "end_turn", "completed")


# Only what is used is decoded: the rest of a reply is skipped at full speed. What is anything but
# a plain answer, or cannot be decoded so, is read once more, slowly and tolerantly.
class _Message(msgspec.Struct):
    content: str
    tool_calls: Any = None
    function_call: Any = None
    refusal: Any = None
    error: Any = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str
    native_finish_reason: Any = None
    error: Any = None
    errors: Any = None


class _Reply(msgspec.Struct):
    choices: list[_Choice]
    id: str = ""
    model: str = ""
    usage: Any = None
    error: Any = None
    errors: Any = None
    error_msg: Any = None
    error_message: Any = None
    errorMessage: Any = None
    code: Any = None
    status: Any = None
    success: Any = None
    base_resp: Any = None
    error_code: Any = None
    input_sensitive: Any = None
    output_sensitive: Any = None


_decoder = msgspec.json.Decoder(_Reply)
_NOT_PLAIN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def completion_from_reply(
    body: bytes, cost: str | None = None, asked: Request | None = None
) -> Completion:
    """The completion in the body of a 200, in OpenAI's layout.

    No choice or no content is a completion with an empty text and the finish reason ``empty``
    (or ``length`` and ``content_filter`` as given); it is never taken for an answer. A gateway's
    header may say what it ``cost``, in USD; an error may quote what was ``asked``.

    Raises:
        Unavailable: The body is not such a reply, or the answer in it broke off; it may have been
            billed all the same.
        ProviderError: The body holds an error in spite of its status.
    """
    try:
        reply = _decoder.decode(body)
    except _NOT_PLAIN:
        return _read(body, cost, asked)
    if not reply.choices or not _is_plain(reply, reply.choices[0]):
        return _read(body, cost, asked)
    usage = reply.usage
    return Completion(
        reply.choices[0].message.content,
        reply.model,
        WHOLE,
        usage_from(usage),
        reply.id,
        cost_from(usage, cost),
    )


def _is_plain(reply: _Reply, choice: _Choice) -> bool:
    message = choice.message
    text = message.content
    return (
        choice.finish_reason == WHOLE
        and choice.native_finish_reason in _PLAIN
        and text != ""
        and not text.isspace()
        and not (choice.error or choice.errors or message.error or message.refusal)
        and not (message.tool_calls or message.function_call)
        and not (reply.error or reply.errors or reply.code or reply.status or reply.base_resp)
        and not (reply.error_code or reply.error_msg or reply.error_message or reply.errorMessage)
        and not (reply.input_sensitive or reply.output_sensitive)
        and reply.success is not False
    )


def _read(body: bytes, cost: str | None = None, asked: Request | None = None) -> Completion:
    try:
        return _of_value(value_in(body), body, cost, asked)
    except ValueError as error:
        raise unreadable(body, str(error)) from error
    except RecursionError:
        raise unreadable(body, "it is nested too deeply") from None


def _of_value(value: Any, body: bytes, cost: str | None, asked: Request | None) -> Completion:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        value = value_in(writable(value).encode())  # a gateway that wrote it twice
    if not isinstance(value, dict):
        raise unreadable(body, "no object")
    value = _unwrapped(value)
    came = _whatever_came(value, cost)
    choices = value.get("choices")
    if isinstance(choices, dict):
        choices = [choices]
    elif not isinstance(choices, list):
        choices = None
    first = choices[0] if choices else {}
    choice = first if isinstance(first, dict) else None
    if (failure := failure_in(value, choice or {}, asked)) is not None:
        failure.partial = came
        raise failure
    text, thought = _said_in(choice) if choice is not None else (None, False)
    message = choice.get("message") if choice is not None else None
    message = message if isinstance(message, dict) else {}
    if choices is None or choice is None or text is None:
        raise unreadable(body, "no choices" if choices is None else "no answer in it", came)
    word = _word_in(value, choice)
    reason = ending(word)
    if reason == BROKEN:
        raise broke_off(word, came)
    if reason == WHOLE:
        reason = _reason_beside(message)
    if not text.strip():
        if reason == WHOLE:
            reason = REASONING if thought else EMPTY
        usage = came.usage
        if thought and usage is not None and not usage.reasoning_tokens:
            # Where nothing else was said, all of it was thought.
            came = replace(came, usage=replace(usage, reasoning_tokens=usage.output_tokens))
    return replace(came, text=writable(text), finish_reason=writable(reason))


def _unwrapped(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """``{"code": 0, "data": {"choices": …}}`` with all of its keys on one level."""
    for name in () if "choices" in value else ("data", "result", "response", "output"):
        inner = value.get(name)
        if isinstance(inner, dict) and "choices" in inner:
            return {**value, **inner}
    return value


def _whatever_came(value: Mapping[str, Any], cost: str | None) -> Completion:
    """The accounts of a reply, whether or not there is an answer in it."""
    said = value.get("usage")
    usage = Usage() if nothing_used(said) else usage_from(said)
    model, response_id = (writable(str(value.get(name) or "")) for name in ("model", "id"))
    return Completion("", model, BROKEN, usage, response_id, cost_from(said, cost))


def _word_in(value: Mapping[str, Any], choice: Mapping[str, Any]) -> str:
    """The word for why an answer ended; a gateway's own word gives way to a worse one beneath."""
    # A gateway may have it a level further out or in.
    said = (
        word_of(holder.get(name))
        for holder in (choice, _table(choice.get("message")), value)
        for name in _ENDED
    )
    word = next(filter(None, said), "")
    native = word_of(choice.get("native_finish_reason"))
    if native and ending(word) == WHOLE and ending(native) in (CUT, FILTERED, BROKEN):
        return native  # OpenRouter
    if value.get("output_sensitive") is True or value.get("input_sensitive") is True:
        return "sensitive"  # MiniMax
    if blocked := word_of(_table(value.get("promptFeedback")).get("blockReason")):
        return f"blocked: {blocked}"  # Gemini, of a prompt
    if value.get("status") == "incomplete":  # as in the Responses API
        return word_of(value.get("incomplete_details")) or "incomplete"
    return word


def _reason_beside(message: Mapping[str, Any]) -> str:
    """Why a message that came whole is no answer all the same; what stands beside its text says.

    Words beside the call of a tool only announce it.
    """
    parts = message.get("content")
    listed = parts if isinstance(parts, list) else []
    if message.get("refusal") or any(_kind_of(part) == "refusal" for part in listed):
        return FILTERED
    calls = message.get("tool_calls")
    asked = any(map(_is_to_be_called, calls)) if isinstance(calls, list) else bool(calls)
    if asked or message.get("function_call") or any(_kind_of(one) == "tool_use" for one in listed):
        return TOOL_CALL
    return WHOLE


def _is_to_be_called(call: Any) -> bool:
    """Whether it waits for us: some list the searches that the server has made itself."""
    return not isinstance(call, dict) or call.get("type", "function") in ("function", None, "")


def _kind_of(part: Any) -> Any:
    return part.get("type") if isinstance(part, dict) else None


def _said_in(choice: Mapping[str, Any]) -> tuple[str | None, bool]:
    """The text of a choice, ``None`` when it is none, and whether thoughts stand beside it."""
    message = choice.get("message") or choice.get("delta")
    if not isinstance(message, dict):
        return text_of(choice.get("text") if message is None else message)
    text, thought = text_of(message.get("content"))
    return text, thought or any(message.get(name) for name in _THOUGHTS)


def text_of(content: Any) -> tuple[str | None, bool]:
    """The text of what a message says, ``None`` when it is none, and whether there are thoughts."""
    if content is None or isinstance(content, str):
        return content or "", False
    parts = content if isinstance(content, list) else [content]
    texts, thought = [], False
    for part in parts:
        if isinstance(part, dict) and _is_thought(part):
            thought = True
        elif (text := _text_of_part(part)) is None:
            return None, thought
        else:
            texts.append(text)
    return "".join(texts), thought


def _is_thought(part: Mapping[str, Any]) -> bool:
    kind = _kind_of(part)
    return part.get("thought") is True or (isinstance(kind, str) and bool(_THOUGHT.search(kind)))


def _text_of_part(part: Any) -> str | None:
    if part is None or isinstance(part, str):
        return part or ""
    if isinstance(part, int | float):
        return json.dumps(part)  # a score that was JSON, and that the server has read
    if not isinstance(part, dict):
        return None
    inner = part.get("text")
    if inner is None and ("type" in part or "role" in part or len(part) == 1):
        inner = part.get("content", part.get("parts"))
    if isinstance(inner, dict):
        inner = inner.get("value")
    if isinstance(inner, str):
        return inner
    if isinstance(inner, list):
        texts = (one.get("text") if isinstance(one, dict) else one for one in inner)
        return "".join(text for text in texts if isinstance(text, str))
    if "type" in part:
        return ""  # a picture, a call of a tool, a source
    # A server that has read the JSON it was asked for.
    return json.dumps(part, ensure_ascii=False)


def unreadable(body: bytes, why: str, came: Completion | None = None) -> Unavailable:
    """The error for a reply with status 200 that is no completion.

    The provider may have worked for it, so it may be billed.
    """
    start = without_keys(body[:2000].decode("utf-8", "replace"), longest=80)
    error = (WebPage if _PAGE.match(body) else Unavailable)(
        f"the reply is not a chat completion ({without_keys(why)}): {start}",
        kind="garbage",
        status_code=200,
        maybe_billed=True,
    )
    error.partial = came
    return error


def broke_off(word: str, came: Completion) -> Unavailable:
    error = Unavailable(
        f"the answer broke off: {without_keys(word)}", status_code=200, maybe_billed=True
    )
    error.partial = came
    return error


# What it says it took

#: No single call of any model has this many tokens; a larger count is noise.
_MOST_TOKENS = 100_000_000
#: USD that no single call costs.
_MOST_USD = 100_000.0
_COSTS = frozenset(("cost", "total_cost", "estimated_cost", "cost_in_usd_ticks", "cost_details"))
# LiteLLM's and OpenRouter's name for what was written to a cache.
_WRITTEN = ("cache_creation_tokens", "cache_write_tokens")
# DeepSeek's, Anthropic's, and Moonshot's name for what was read from a cache.
_CACHED = ("prompt_cache_hit_tokens", "cache_read_input_tokens", "cached_tokens")
#: Where LiteLLM's proxy says what a call cost.
COST_HEADER = "x-litellm-response-cost"
# xAI's; https://docs.x.ai/developers/cost-tracking
_TICKS = 1e10


def usage_from(value: Any) -> Usage | None:
    """Usage in OpenAI's layout; ``None`` when it is missing or cannot be true."""
    if not isinstance(value, dict):
        return None
    read = _table(value.get("prompt_tokens_details") or value.get("input_tokens_details"))
    made = _table(value.get("completion_tokens_details") or value.get("output_tokens_details"))
    counts: tuple[Any, ...] = (
        value.get("prompt_tokens", value.get("input_tokens")),
        value.get("completion_tokens", value.get("output_tokens")),
        read.get("cached_tokens") or (0 if read else _first(value, _CACHED)),
        _first(read, _WRITTEN) or value.get("cache_creation_input_tokens") or 0,
        made.get("reasoning_tokens") or value.get("reasoning_tokens") or 0,
    )
    for count in counts:
        if type(count) is not int or not 0 <= count <= _MOST_TOKENS:
            whole = tuple(map(_count, counts))
            if None in whole:
                return None
            counts = whole
            break
    usage = Usage(*counts)
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    total = value.get("total_tokens")
    total = total if type(total) is int and total <= _MOST_TOKENS else _count(total) or 0
    if cached and "prompt_tokens" not in value and "cache_read_input_tokens" in value:
        # Anthropic's own layout, in which input is what no cache had.
        usage = replace(usage, input_tokens=usage.input_tokens + cached)
    beside = total - usage.input_tokens - usage.output_tokens
    if cached > usage.input_tokens and beside == cached:
        # A gateway that counts cached input beside the rest.
        return replace(usage, input_tokens=usage.input_tokens + cached)
    if usage.input_tokens == 0 or cached > usage.input_tokens:
        return None  # no prompt has no tokens
    reasoning = usage.reasoning_tokens
    if beside > 0:
        # All that is in the total is billed. xAI counts thoughts beside the output, and Gemini's
        # endpoint for OpenAI clients names them nowhere else.
        output = usage.output_tokens + beside
        return replace(usage, output_tokens=output, reasoning_tokens=reasoning or beside)
    if reasoning > usage.output_tokens:
        return replace(usage, output_tokens=usage.output_tokens + reasoning)
    return usage


def _first(value: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next(filter(None, map(value.get, names)), 0)


def _count(said: Any) -> int | None:
    if isinstance(said, str) and len(said) < 10 and said.isascii() and said.isdigit():
        said = int(said)
    if isinstance(said, float) and said.is_integer():
        said = int(said)
    return said if type(said) is int and 0 <= said <= _MOST_TOKENS else None


def _table(said: Any) -> Mapping[str, Any]:
    return said if isinstance(said, dict) else {}


def nothing_used(value: Any) -> bool:
    counts = [said for name, said in _table(value).items() if name.endswith("tokens")]
    return bool(counts) and not any(counts)


def cost_from(value: Any, header: str | None = None) -> float | None:
    """In USD; ``None`` if nothing said can be true. The header counts where a usage is silent."""
    usage = _table(value)
    if _COSTS.isdisjoint(usage):
        return None if header is None else dollars(header)
    said = usage.get("cost")
    if isinstance(said, dict):  # Perplexity
        said = said.get("total_cost")
    if said is None:
        said = usage.get("total_cost", usage.get("estimated_cost"))  # DeepInfra
    cost = dollars(said)
    if cost is None and (ticks := usage.get("cost_in_usd_ticks")) is not None:
        cost = dollars(ticks, _TICKS)
    details = _table(usage.get("cost_details"))
    upstream = dollars(details.get("upstream_inference_cost"))
    if upstream is None or cost is None:
        return cost if upstream is None else upstream
    # OpenRouter: with a key of one's own its fee stands beside what the vendor takes.
    return cost + upstream if usage.get("is_byok") is True else max(cost, upstream)


def dollars(said: Any, divided_by: float = 1.0) -> float | None:
    if isinstance(said, bool) or not isinstance(said, int | float | str):
        return None
    try:
        amount = float(said) / divided_by
    except (ValueError, OverflowError):
        return None
    return amount if math.isfinite(amount) and 0 <= amount <= _MOST_USD else None
