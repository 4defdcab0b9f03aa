"""From an HTTP reply that is no answer to an error of one of our kinds.

Status codes and exception names mislead: an exhausted quota comes as 429, a context that is too
long as 400, a wrong key as 400. So an error is told by status, body code and message together, in
one place, whichever way the reply arrived.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_batch.clock import clock_words
from llm_batch.errors import ProviderError, RateLimited, Refused, Rejected, Unavailable
from llm_batch.headers import reset_seconds, retry_after_seconds
from llm_batch.providers.redact import without_keys

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
# A limit of a day: Gemini's quotaId, OpenRouter's free models, Groq's RPD and TPD, and plain words.
_DAILY = re.compile(
    r"per[-_ ]?day|daily (limit|quota)|\((rpd|tpd)\)|(requests|tokens) / day", re.IGNORECASE
)
_DAILY_ID = re.compile(r'"quotaId"\s{0,9}:\s{0,9}"\w{0,200}PerDay')
_MINUTELY = re.compile(r"per[-_ ]?(minute|min|second|sec)\b|PerMinute", re.IGNORECASE)
# A window that is whole again after this long is no minute's.
_DAILY_SECONDS = 3600.0
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
# OpenRouter's is a time in milliseconds.
_RESETS = ("x-ratelimit-reset", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens")
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
        wait = _wait(limits, body, message)
        if _for_the_day(body, wait):
            return Refused(text, kind="quota", hint=_come_back(limits, wait), **more)
        return RateLimited(text, retry_after_seconds=wait, **more)
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


def _for_the_day(body: bytes | str, wait: float | None) -> bool:
    """Whether a 429 is about a quota of a day, which no run waits for."""
    if wait is not None and wait > _DAILY_SECONDS:
        return True
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    if _DAILY_ID.search(text):
        return True
    # Where both are named the minute may be what is used up, and waiting shows it.
    return bool(_DAILY.search(text)) and not _MINUTELY.search(text)


def _come_back(headers: Mapping[str, str], wait: float | None) -> str:
    """When to run again, as far as the reply tells."""
    resets = (headers.get(name) for name in _RESETS)
    known = next((s for value in resets if (s := reset_seconds(value or "", time.time()))), None)
    seconds = max(wait or 0.0, known or 0.0)
    if seconds < _DAILY_SECONDS / 4:
        # Gemini sends a retryDelay of seconds beside a quota of a day.
        return "the quota of the day is used up; run the same command again when it is renewed"
    return f"run the same command again after {clock_words(time.time(), seconds)}"


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
