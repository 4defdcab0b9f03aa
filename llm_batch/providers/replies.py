"""From what a provider sent to a completion or to an error of one of our kinds.

Status codes and exception names mislead: an exhausted quota comes as 429, a context that is too
long as 400, an HTML page of a proxy as 200. So an error is told by status, body code and message
together, in one place, whichever way the reply arrived.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_batch.errors import ProviderError, RateLimited, Refused, Rejected, Unavailable
from llm_batch.limits import retry_after_seconds
from llm_batch.providers.redact import without_keys
from llm_batch.records import Completion, Usage

_TOO_LONG = re.compile(
    r"context[_ ](length|window)|maximum context|too long|too many tokens"
    r"|exceeds? the (available|max)|input.{0,20}token.{0,40}exceed",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content[_ ](filter|policy|management)|safety system|moderation", re.IGNORECASE
)
_NO_QUOTA = re.compile(
    r"insufficient_quota|billing_hard_limit|credit balance is too low"
    r"|insufficient (balance|credit)",
    re.IGNORECASE,
)
_BAD_SETTING = re.compile(
    r"unsupported_(parameter|value)|unknown_parameter|invalid_model|model_not_found"
    r"|unsupported (parameter|value)|unrecognized request argument|unknown parameter"
    r"|model .{0,80}does not exist",
    re.IGNORECASE,
)
_TRY_AGAIN_IN = re.compile(
    r"(?:try again in|retry in|retryDelay\W+)\s*"
    r"(?:(?P<h>\d+)\s*h)?(?:(?P<m>\d+)\s*m(?!s))?"
    r"(?:(?P<s>\d+(?:\.\d+)?)\s*s|(?P<ms>\d+(?:\.\d+)?)\s*ms)?",
    re.IGNORECASE,
)
# A gateway that gave up waiting does not stop the model behind it.
_MAYBE_BILLED = (504, 524)


def limit_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that speak of limits, with lower-cased names."""
    found = {}
    for name, value in headers.items():
        lower = name.lower()
        if "ratelimit" in lower or lower.startswith("retry-after"):
            found[lower] = value
    return found


def error_from_reply(status: int, body: bytes | str, headers: Mapping[str, str]) -> ProviderError:
    """The error that an HTTP reply other than 2xx stands for.

    Args:
        status: The HTTP status.
        body: As received; JSON in any vendor's layout, or anything else.
        headers: As received.
    """
    message, code = _words(body)
    limits = limit_headers(headers)
    text = without_keys(message) or f"HTTP {status} without a message"
    more: dict[str, Any] = {"status_code": status, "headers": limits}
    both = f"{code} {message}"
    if status == 429 and not _NO_QUOTA.search(both):
        return RateLimited(text, retry_after_seconds=_wait(limits, body, message), **more)
    if status == 402 or _NO_QUOTA.search(both):
        hint = "add credit or raise the limit at the provider, then run the same command again"
        return Refused(text, kind="quota", hint=hint, **more)
    if status >= 500 or status in (408, 409, 425):
        wait = _wait(limits, body, message)
        billed = status in _MAYBE_BILLED
        return Unavailable(text, retry_after_seconds=wait, maybe_billed=billed, **more)
    if status != 401 and _FILTERED.search(both):
        return Rejected(text, kind="filtered", **more)
    if status in (401, 403):
        return Refused(text, kind="key", hint="check the key and what it may use", **more)
    if status == 413 or _TOO_LONG.search(both):
        return Rejected(text, kind="too_long", **more)
    if status == 404:
        return Refused(text, kind="model", hint="check the model's name and api_base", **more)
    if _BAD_SETTING.search(both):
        return Refused(text, kind="setting", hint="change the step in the config", **more)
    if 300 <= status < 400:
        target = headers.get("location") or headers.get("Location") or "elsewhere"
        target = without_keys(target.partition("?")[0])
        return Refused(f"redirected to {target}", kind="model", hint="set api_base to it", **more)
    return Rejected(text, **more)


def mentions_response_format(body: bytes | str) -> bool:
    """Whether an error is about structured output not being supported."""
    message, code = _words(body)
    said = f"{code} {message}"
    return bool(re.search(r"response_?format|json_?schema|structured.?output", said, re.IGNORECASE))


def _wait(headers: Mapping[str, str], body: bytes | str, message: str) -> float | None:
    """Seconds to wait, from the headers, else from the words (Groq) or details (Gemini)."""
    seconds = retry_after_seconds(headers, time.time())
    if seconds is not None:
        return seconds
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    said = _TRY_AGAIN_IN.search(message) or _TRY_AGAIN_IN.search(text)
    if said is None or not any(said.groups()):
        return None
    parts = {unit: float(number or 0) for unit, number in said.groupdict().items()}
    return parts["h"] * 3600 + parts["m"] * 60 + parts["s"] + parts["ms"] / 1000


def _words(body: bytes | str) -> tuple[str, str]:
    """Message and code of an error body, in any vendor's layout."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        plain = re.sub(r"<[^>]*>", " ", text)  # an HTML page of a proxy
        return plain, ""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return str(value), ""
    error = value.get("error") or value
    if not isinstance(error, dict):
        return str(error), ""
    message = error.get("message") or error.get("detail") or error.get("msg") or text
    if isinstance(message, list):
        message = "; ".join(_complaint(part) for part in message)
    code = " ".join(str(error[key]) for key in ("code", "type", "status") if error.get(key))
    return str(message), code


def _complaint(part: Any) -> str:
    """One of FastAPI's: where and what, without the input it quotes."""
    if not isinstance(part, dict) or "msg" not in part:
        return str(part)
    where = part.get("loc") or ()
    return f"{'.'.join(map(str, where))}: {part['msg']}" if where else str(part["msg"])


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
