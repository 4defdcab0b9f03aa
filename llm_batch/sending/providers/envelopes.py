"""Errors inside a reply with status 200: ``error`` objects and vendors' own envelopes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_batch.errors import ProviderError
from llm_batch.records import Request, writable
from llm_batch.sending.providers.refusals import error_from_reply, unquoted

#: Codes, and words beside a code, that say that all is well.
_OF_FINE = """
    0 0000 200 201 202 10000 20000 none null ok success succeeded successful true false completed
    finished done
"""
_FINE = frozenset(("", "no error", *_OF_FINE.split()))
_WELL = re.compile(r"^(?!.*(not|un)).*success|成功")
_CODES = (
    *("code", "error_code", "errcode", "err_code", "errorCode", "status_code", "statusCode"),
    "__type",
)
# What holds an error by its name alone.
_ERRORS = ("error", "errors", "error_msg", "error_message", "errorMessage")
_WORDS = (
    *("message", "msg", "error_msg", "errmsg", "error_message", "errorMessage", "status_msg"),
    *("statusMessage", "detail", "description", "reason", "title"),
)
_FAILED = ("error", "failed", "failure", "fail", "exception")
_HTTP_ERROR = re.compile(r"[45]\d\d")

_FILTERED = 0
# MiniMax's; https://platform.minimax.io/docs/api-reference/errorcode
_OF_BASE_RESP: dict[str, int] = {
    **dict.fromkeys(("1002", "1039", "1041", "2045", "2056"), 429),
    **dict.fromkeys(("1004", "2049"), 401),
    "1008": 402,
    "2013": 400,
    **dict.fromkeys(("1026", "1027"), _FILTERED),
}
# What the words stand for, where there is no status: the first that is found. All repeats are
# bounded, and so is the text they are looked for in.
_MEANING = tuple(
    (status, re.compile(words, re.IGNORECASE))
    for status, words in (
        (400, r"too long|context.{0,8}(length|window|size)|max(imum)?\b.{0,10}(length|context)"),
        (
            _FILTERED,
            r"sensitive|content.?filter|safety|moderation|policy.?violation|敏感|违规|审核",
        ),
        (_FILTERED, r"inappropriate|content.{0,8}(risk|blocked)"),
        (402, r"(insufficient|not enough).{0,20}(balance|quota|credit|fund)|arrear|欠费|余额不足"),
        (
            402,
            r"(balance|credit|quota).{0,8}(insufficient|overdue|used up)|overdue|额度已?(用|不足)",
        ),
        (429, r"(rate|request|qps|token|daily|usage).{0,8}limit|too many|throttl|concurren"),
        (429, r"limit.{0,12}(reach|exceed)|quota|\b[qtr]pm\b|频率|限流|并发|请求过多"),
        (401, r"api.?key|unauthori[sz]|authenticat|access.?token|鉴权"),
        (401, r"invalid.{0,12}token|token.{0,12}(invalid|expired)"),
        (404, r"model.{0,40}(not.{0,4}found|not.{0,4}exist)|no such model"),
        (400, r"(invalid|bad|illegal|missing).{0,8}(request|param|argument|input)"),
    )
)
_LONGEST = 2000


def failure_in(
    value: Mapping[str, Any], choice: Mapping[str, Any], asked: Request | None = None
) -> ProviderError | None:
    """The error that a reply with status 200 tells of; ``None`` when it tells of none.

    Args:
        value: The reply.
        choice: Its first choice; empty without one.
        asked: What was asked: an error may quote it.
    """
    message = choice.get("message")
    holders = (value, choice, message if isinstance(message, dict) else {})
    for holder in holders:
        for name in _ERRORS:
            if is_error(said := holder.get(name)):
                if isinstance(said, list):
                    said = next(filter(is_error, said[:8]))
                if isinstance(said, dict):
                    return _told(said, asked)
                # A text may have its code beside it.
                beside = {code: value[code] for code in _CODES if holder is value and code in value}
                return _told({**beside, "message": "" if said is True else str(said)}, asked)
    base = value.get("base_resp")
    if isinstance(base, dict) and not _is_fine(base.get("status_code")):
        return _told(base, asked)
    if _is_envelope_of_failure(value, bool(choice)):
        return _told(value, asked)
    return None


def is_error(said: Any) -> bool:
    """Whether what stands under ``error`` is one: many send an empty one with every answer."""
    if isinstance(said, list):
        return any(map(is_error, said[:8]))
    if not isinstance(said, dict):
        return said is True or not _is_fine(said)
    known = [said[name] for name in (*_CODES, "type", "status", *_WORDS) if name in said]
    return not all(map(_is_fine, known or said.values()))


def _is_fine(said: Any) -> bool:
    if said is None or said is True or said is False:
        return True
    if isinstance(said, dict | list):
        return not said
    if isinstance(said, float) and said.is_integer():
        said = int(said)
    word = str(said)[:_LONGEST].strip().rstrip(".!。").casefold()
    return word in _FINE or (len(word) < 40 and _WELL.search(word) is not None)


def _words_in(holder: Mapping[str, Any]) -> list[Any]:
    return [holder[name] for name in _WORDS if holder.get(name) not in (None, "", [], {})]


def _is_envelope_of_failure(value: Mapping[str, Any], answered: bool) -> bool:
    if value.get("success") is False or value.get("object") == "error":
        return True
    status = value.get("status")
    if isinstance(status, str) and status.casefold() in _FAILED:
        return True
    codes = [value.get(name) for name in _CODES]
    if isinstance(status, int) and not isinstance(status, bool) and status >= 400:
        codes.append(status)
    bad = any(not _is_fine(code) for code in codes)
    words = _words_in(value)
    said = bool(words) and not _is_fine(words[0])
    if answered:  # it may carry any code of the vendor's; only words tell it from an error
        return bad and said
    return bad or ("detail" in value and said and value.get("choices") is None)


def _told(error: Mapping[str, Any], asked: Request | None) -> ProviderError:
    """The error of ours for what a vendor says, as if it had come with a fitting status."""
    codes = [str(error[name]) for name in (*_CODES, "type", "status") if error.get(name)]
    words = _words_in(error)
    said = unquoted(str(words[0])[:_LONGEST], asked) if words else ""
    both = f"{' '.join(codes)} {said}"[:_LONGEST]
    status = next((int(code) for code in codes if _HTTP_ERROR.fullmatch(code)), None)
    meaning = next((status for status, found in _MEANING if found.search(both)), None)
    if "status_msg" in error and codes:
        meaning = _OF_BASE_RESP.get(codes[0], meaning)
    body = {name: said for name, said in error.items() if name not in ("choices", "usage")}
    body["message"] = words[0] if words else ""
    if meaning == _FILTERED and status in (None, 400, 403, 422, 451):
        body["type"], status = "content_filter", 400
    written = {name: writable(str(said))[:_LONGEST] for name, said in body.items() if said}
    sent = msgspec.json.encode({"error": written})
    told = error_from_reply(status or meaning or 400, sent, {}, asked)
    if status is None and meaning is None and told.kind == "rejected":
        # Nothing tells that the request is at fault.
        told = error_from_reply(502, sent, {}, asked)
    told.maybe_billed = True
    return told
