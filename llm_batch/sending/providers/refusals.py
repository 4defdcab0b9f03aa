"""From an HTTP reply that is no answer to an error of one of our kinds.

Status codes and exception names mislead: an exhausted quota comes as 429, a context that is too
long as 400, a wrong key as 400, a refused prompt as 403. So an error is told by status, code and
words together, in one place, whichever way the reply arrived.

The patterns are the vendors' own sentences. Every one is linear in what it reads, and what is read
of a body is bounded.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import msgspec

from llm_batch.chain.credentials import without_keys
from llm_batch.errors import (
    ProviderError,
    RateLimited,
    Refused,
    Rejected,
    Unavailable,
    status_of,
)
from llm_batch.records import Request, writable
from llm_batch.sending.clock import clock_words
from llm_batch.sending.headers import (
    DURATION,
    reset_seconds,
    retry_after_seconds,
    seconds_in,
)
from llm_batch.sending.providers.decoding import Words, bounded, words_of


class _Any:
    """Any of these patterns, in whatever case.

    They are compiled for the first reply that is no answer: that takes as long as many imports.
    """

    def __init__(self, *patterns: str) -> None:
        self._patterns = patterns

    @cached_property
    def search(self) -> Callable[[str], re.Match[str] | None]:
        return re.compile("|".join(self._patterns), re.IGNORECASE).search


_TOO_LONG = _Any(
    r"context[_ -]?(?:length|window|size|limit)",  # OpenAI, vLLM, xAI, DeepSeek, llama.cpp
    r"maximum (?:context|prompt|input|sequence|model)",  # xAI, Together
    r"\b(?:prompt|input|inputs|context|conversation|text|content|messages?|requests?)\b"
    r"[^.;]{0,40}\btoo (?:long|large|big|many tokens)",
    r"too many (?:input |prompt )?tokens",  # Cohere
    r"(?:reduce|shorten) the (?:length|size) of the (?:messages|prompt|input|conversation)",  # Groq
    r"exceed(?:s|ed|ing)? (?:the )?(?:available|max)",
    r"exceed(?:s|ed|ing)? [^.;]{0,40}(?:context|token limit|limit of [\d,]+ tokens)",
    r"(?:input|prompt)\b[^.;]{0,60}token[^.;]{0,60}(?:exceed|greater than|longer than)",
    r"(?:input|prompt|sequence|number of) tokens? (?:count|length)?[^.;]{0,40}exceed",
    r"longer than the (?:model|maximum|context)",  # SGLang
    r"must have less than \d+ tokens",  # TGI
    r"`inputs` tokens \+ `max_new_tokens` must be",  # TGI
    r"range of input length should be",  # DashScope
    r"tokens? (?:to keep|limit) [^.;]{0,40}(?:context|exceed)",  # LM Studio
    r"string_above_max_length|context_overflow|exceed_context_size",
    r"prompt (?:length|is)[^.;]{0,40}(?:exceed|longer than|too)",
    r"(?:total tokens|length of (?:the )?(?:prompt|input|messages))\b[^.;]{0,40}exceed",
    r"prompt has [\d,]+ tokens|max input (?:characters|length)",  # and Qianfan
    r"token count\b[^.;]{0,40}only supports|超长|超过[^。;]{0,12}长度",  # Vertex AI, Zhipu
)
# A cap on the output is the step's setting, and says nothing of the prompt.
_ABOUT_OUTPUT = _Any(
    r"max_(?:completion_|new_|output_)?tokens\b[^.;]{0,40}(?:too (?:large|big|high)|exceed|greater"
    r"|>|must|cannot|at most)",
    r"(?:request|response|operation|generation)\b[^.;]{0,20} took too long",
    r"array too long|name too long|too long to (?:respond|reply|answer|process)",
)
# What has this beside it is about the prompt all the same: vLLM names both.
_PROMPT_TOO = _Any(
    r"maximum context|context[_ -](?:length|window|size|limit)(?!`? for this model)|`inputs` tokens"
)
# Nor is a limit by the minute about the prompt, unless one request alone is above it.
_ABOVE_A_MINUTE = _Any(r"request too large")
_FILTERED = _Any(
    r"content[_ -]?(?:filter|polic|management|moderat|security|safety|guideline|violat)",
    r"content exists risk",  # DeepSeek
    r"(?:safety|usage|community|acceptable[_ ]use|responsible ai)[_ -]?(?:system|polic|guideline"
    r"|filter|check|reason|guard|violation)",
    r"moderation|prompt[_ ]guard|guardrail",
    r"sensitive[_ ](?:word|content|information|material|data)|new_sensitive",
    r"data_?inspection_?failed|inappropriate[_ ]content|responsibleaipolicyviolation",
    r"prohibited_content|blocked_?reason|block_reason|image_safety",
    r"(?:prompt|input|response|output|content|text)\b[^.;]{0,40}\b(?:blocked|flagged)\b",
    r"flagged (?:as|by|for|due)|flagged_input|blocked (?:input|output|prompt|content|response)",
    # Moonshot, Spark, StepFun, Qianfan
    r"considered high risk|content audit|censorship|content[^.;]{0,20} is illegal",
    r"(?:input|content|messages?|text) (?:\w{1,10} ){0,2}flagged",
    r"(?:unsafe|harmful|prohibited|disallowed|illegal|objectionable) (?:content|input|prompt)",
    r"violat\w{1,5} [^.;]{0,50}(?:polic|guideline|terms of (?:use|service))",
    r"违规|敏感|不安全|违反",
    # Firewalls in front of an endpoint, which judge the words of a prompt.
    r"sorry, you have been blocked|request (?:is |was |has been )?blocked"
    r"(?! (?:by|because|due|from)[^.;]{0,40}\b(?:ip|region|country|network|location))",
    r"attention required!|incapsula incident|the requested url was rejected",
    r"web application firewall|mod_?security|nsfw|access denied[\s\S]{0,600}\breference\b",
)
#: Codes for content that are told from a failure of the server whatever the status.
_FILTER_CODES = frozenset(
    (
        *("content_filter", "content_policy_violation", "invalid_prompt", "prohibited_content"),
        *("data_inspection_failed", "datainspectionfailed", "responsibleaipolicyviolation"),
        *("sensitive_words_detected", "1301", "base_resp 1026", "base_resp 1027"),
    )
)
_NO_QUOTA = _Any(
    r"insufficient[_ ](?:user_)?(?:quota|balance|credit|fund)|billing[_ ]hard[_ ]limit|arrearage",
    r"credit balance is too low|(?:balance|credits?) (?:is |are |has been )?(?:exhausted|used up)",
    r"(?:run|ran) out of credit|payment required|base_resp 1008|余额不足|欠费",
    r"(?:purchase|please add|used all)(?: more| available)* credits|billing_error",
    r"exceeded_current_quota|spend(?:ing)?[_ ]limit|budget[_ ](?:has been )?exceeded",
    r"\bkey limit exceeded|balance is (?:insufficient|negative)|overdue ?(?:balance|error)",
    r"free ?tier ?only|free (?:tier|quota)\b[^.;]{0,30}\bexhausted",
)
# Of a model there is nothing for this account: Gemini's free tier, OpenAI's lowest.
_NONE_ALLOWED = _Any(r"\blimit:? 0(?![\d.]*\d)")
# Of a 429 it says nothing: limits by the minute are called so as well.
_USED_UP = _Any(r"reached (?:its|your|the) [^.;]{0,30}usage limit|usage limit (?:was )?exceeded")
_WRONG_KEY = _Any(
    r"api[_ -]?key[_ ](?:is |was |has |has been )?(?:not valid|invalid|expired|not found|missing"
    r"|disabled|revoked|incorrect|wrong)",
    r"(?:incorrect|invalid|wrong|bad|missing|expired|unknown|no)[_ ]?(?:x-)?api[_ -]?key",
    r"(?:incorrect|invalid|wrong|expired) (?:\w+ )?(?:credentials|authorization)",
    r"invalid (?:access|auth\w*|bearer|jwt|id|user) token",
    r"\btoken (?:is |has |was |has been |was )?(?:expired|revoked)|expired token",
    r"authentication[_ ](?:error|fail|required|parameter)|could not authenticate|unauthenticated",
    r"no (?:auth\w*|api) (?:credentials|header|key)|missing (?:authentication|credentials)",
    r"(?:missing|no) authorization|authorization (?:header )?(?:is )?(?:missing|required)",
    r"base_resp (?:1004|2049)|无效的令牌|身份验证失败",
    r"x-api-key header|location is not supported|country, region,? or territory",
    r"organization_restricted|credential is only authorized",
)
# An account that was shut is no matter of one prompt, whatever the reason it names.
_SHUT = re.compile(
    r"\b(?:account|organi[sz]ation|project|workspace|key|access|user)\b[^.;]{0,60}"
    r"(?<!may )(?<!be )\b(?:deactivated|disabled|suspended|terminated|banned|blocked|revoked)\b",
    re.IGNORECASE,
)
_MAY_BE_SHUT = _Any(r"\b(?:may|might|could|can|will) (?:be|get|result|lead)")
_BUSY = _Any(
    r"rate[_ -]?limit|too[_ ]many[_ ]requests|throttl|requests per (?:second|minute|hour|day)",
    r"tokens per (?:second|minute)|base_resp 1002|resource_exhausted|访问频率|并发",
    r"concurren\w{1,5} (?:request )?limit|model (?:is )?too busy|速率限制",
    r"exceeds the service quota",  # Bedrock
)
_PASSING = _Any(
    r"please (?:re-?try|try again|try your request again)(?! with| using| by| without)",
    r"(?:re-?try|resend) (?:your|the|this) request(?! with| using| by| without)",
    r"(?:try again|re-?try) (?:later|soon|shortly|in (?:a|an|\d)|after (?:a|some|\d))",
    r"\boverloaded\b|(?:temporarily|currently|momentarily) (?:unavailable|overloaded|busy)",
    r"service (?:is )?unavailable|server is (?:busy|starting)|at (?:full )?capacity|heavy load",
    r"model\b[^.;]{0,80}\b(?:is|are) (?:still |currently |being )*(?:loading|loaded|starting)",
    r"loading model|warming up|cold[ -]start|no (?:healthy|available) (?:upstream|backend|worker)",
    r"upstream (?:connect |request )?(?:error|timeout|timed out)|high demand|capacity exceeded",
)
# A limit of a day or a month: Gemini's quotaId, OpenRouter's free models, RPD and TPD (Groq,
# Moonshot), GitHub's, Cohere's trial keys, Zhipu's, and plain words.
_DAILY = _Any(
    r"(?:per|by)[-_ ]?(?:day|month)|per 86400 ?s|\b(?:rpd|tpd)\b|今日|当日|每日|每天",
    r"(?:requests|tokens|calls) / (?:day|month)",
    r"(?:daily|monthly) (?:\w{1,12} ){0,2}(?:limit|quota|allocation|allowance|cap)\b",
)
_DAILY_ID = re.compile(r'"quotaId"\s{0,9}:\s{0,9}"\w{0,200}PerDay')
_MINUTELY = _Any(r"per[-_ ]?(?:minute|min|second|sec)\b|PerMinute")
# A window that is whole again after this long is no minute's.
_DAILY_SECONDS = 3600.0
_BAD_DRAW = _Any(
    r"json_validate_failed|failed to generate json|failed_generation",
    r"failed to parse tool call|tool_use_failed|generated json does not match",
    r"(?:model|output) (?:produced|generated|returned) (?:an )?invalid (?:json|tool call)",
)
_BAD_SETTING = _Any(
    r"unsupported_(?:parameter|value)|unknown_parameter|invalid_model|model_not_found",
    r"unsupported (?:parameter|value)|unrecognized request argument|unknown parameter",
    r"model .{0,80}(?:does not exist|not found|is not available|been decommissioned)",
    r"model not exist|model_not_available|model_decommissioned|模型不存在|no 'model_name' with",
    r"(?:invalid|not a valid) model\b|model identifier is invalid|model id\b.{0,80}throughput",
)
# nginx and Cloudflare, Go, Apache, Tomcat.
_WANTS_TLS = _Any(
    r"plain http request was sent to (?:an )?https port|http request to an https server",
    r"speaking plain http to an ssl|combination of host and port requires tls",
)
_ABOUT_FORMAT = _Any(
    r"response[_ ]?(?:format|schema|mime)|json[_ ]?(?:schema|mode|object|format)|grammar",
    r"structured.?output|output_(?:config|format)|guided|xgrammar|outlines|\bschema\b",
    r"no endpoints found that",  # OpenRouter, of the parameters that were asked for
)
_TRY_AGAIN_IN = _Any(
    r"(?:(?:try|trying) again|re-?try(?:ing)?(?: (?:your|the|this) request)?|wait|available"
    r"|resets?)"
    rf"(?: in| after| for)?:? (?:about |at least )?{DURATION}"
)
# Fields: Google's, and many gateways' by one of these names.
_RETRY_DELAY = _Any(rf"retryDelay\W{{1,6}}{DURATION}")
_RETRY_FIELD = _Any(
    r"(?:retry[_-]?after(?P<ms>[_-]?(?:ms|millis\w{0,7}))?(?:[_-]?s(?:ec(?:ond)?s?)?)?|estimated_time)"
    r"\W{1,6}(?P<number>\d{1,9}(?:\.\d{1,20})?)(?![\w.])"
)
# Of a request, a conflict, a wrong server, a dependency, a lock, or time: it may pass.
_PASSING_STATUSES = frozenset((408, 409, 421, 423, 424, 425, 449, 460, 498, 499))
# OpenRouter's is a time in milliseconds.
_RESETS = ("x-ratelimit-reset", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens")
# A gateway that gave up waiting does not stop the model behind it.
_MAYBE_BILLED = frozenset((499, 504, 520, 524, 598, 599))
# Failures of a gateway, never of a request.
_GATEWAYS = frozenset((502, 503, 504, *range(520, 531)))
# So many letters in a row that a request has too are quoted of it.
_QUOTED = 16
# Of a request's texts, from either end.
_MOST_ASKED = 200_000
_IN_QUOTES = re.compile(r"""(?<!\w)["'`“‘「]([^"'`“”‘’「」]{6,60})["'`”’」]""")


def limit_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that speak of limits, names in lower case; ``date`` too where one is a time."""
    found = {}
    date = ""
    for name, value in headers.items():
        lower = name.lower()
        if "ratelimit" in lower or "retry-after" in lower:
            found[lower] = value
        elif lower == "date":
            date = value
    if date and any(":" in value for value in found.values()):
        found["date"] = date  # what a time among them counts from
    return found


def error_from_reply(
    status: int,
    body: bytes | str,
    headers: Mapping[str, str],
    asked: Request | None = None,
) -> ProviderError:
    """The error that an HTTP reply other than 2xx stands for, or an error object in any reply.

    What it quotes of the request does not tell what kind of error it is.
    """
    words = words_of(body)
    words = replace(words, own=unquoted(words.message, asked))
    error = _told_by(status, words, body, headers)
    error.words = words
    return error


def unquoted(said: str, asked: Request | None) -> str:
    """What is said, without what it quotes of a request: that may be the words of any error.

    A quotation is what is as long as a short sentence, or two words in quotation marks. A name in
    quotation marks stays: it may be that of a parameter.
    """
    if asked is None:
        return said
    sent = "\n".join(message.content for message in asked.messages)
    if len(sent) > 2 * _MOST_ASKED:
        sent = f"{sent[:_MOST_ASKED]}\n{sent[-_MOST_ASKED:]}"
    theirs, ours = _letters(sent), _letters(said)
    at = [place for place, letter in enumerate(said) if letter.isalnum()]
    pieces = {theirs[n : n + _QUOTED] for n in range(len(theirs) - _QUOTED + 1)}
    cuts = [
        (at[n], at[n + _QUOTED - 1] + 1)
        for n in range(len(ours) - _QUOTED + 1)
        if ours[n : n + _QUOTED] in pieces
    ]
    for quote in _IN_QUOTES.finditer(said):
        if " " in quote[1].strip() and _letters(quote[1]) in theirs:
            cuts.append(quote.span(1))
    kept, end = [], 0
    for begin, behind in sorted(cuts):
        if begin > end:
            kept.append(said[end:begin])
        end = max(end, behind)
    return " … ".join([*kept, said[end:]])


def _letters(text: str) -> str:
    """Letters and digits alone, in lower case where that is one letter as well."""
    small = (letter.lower() for letter in text if letter.isalnum())
    return "".join(letter[0] for letter in small)


def _told_by(
    status: int, words: Words, body: bytes | str, headers: Mapping[str, str]
) -> ProviderError:
    said, limits = words.all, limit_headers(headers)
    text = without_keys(words.message) or f"HTTP {status} without a message"
    more: dict[str, Any] = {"status_code": status, "headers": limits}
    # A server that failed says so in words that may be about anything; 501 it will never do.
    failed = status >= 500 and status != 501
    codes = {code.lower() for code in words.codes}
    if status == 407:
        hint = "write the proxy's user and password into its address in HTTP_PROXY or HTTPS_PROXY"
        return Refused(text, kind="setting", hint=hint, **more)
    if status == 413 or (status not in _GATEWAYS and _is_too_long(status, said)):
        return Rejected(text, kind="too_long", **more)
    used_up = _NONE_ALLOWED if status == 429 else _USED_UP
    if status == 402 or _NO_QUOTA.search(said) or used_up.search(said):
        return _refused("quota", text, more)
    if status == 429:
        return _busy(text, body, words, limits, more)
    if _BAD_DRAW.search(said):
        return Unavailable(text, kind="unparsed", maybe_billed=True, **more)
    wrong_key = bool(_WRONG_KEY.search(said))
    shut = bool(_SHUT.search(said)) and not _MAY_BE_SHUT.search(said)
    if not (wrong_key or shut) and (
        status == 451
        or codes & _FILTER_CODES
        or (not failed and status not in (401, 404) and _FILTERED.search(said))
    ):
        return Rejected(text, kind="filtered", **more)
    if (wrong_key and status != 408) or status == 401 or (shut and status in (400, 403)):
        return _refused("key", text, more)
    if _BUSY.search(said) and status not in (404, 405):
        return _busy(text, body, words, limits, more)
    passing = _PASSING.search(said) or headers.get("x-should-retry") == "true"  # OpenAI, Anthropic
    if failed or status < 300 or status in _PASSING_STATUSES or passing:
        wait = _wait(limits, body, words.message)
        billed = status in _MAYBE_BILLED
        return Unavailable(text, retry_after_seconds=wait, maybe_billed=billed, **more)
    if status == 403:
        return _refused("key", text, more)
    if status in (404, 405, 410):
        return _refused("model", text, more)
    if _BAD_SETTING.search(said):
        return _refused("setting", text, more)
    if status >= 400 and _WANTS_TLS.search(said):
        return Refused(text, kind="setting", hint="write https:// in api_base", **more)
    target = headers.get("location") or headers.get("Location")
    if status < 400 and not target:  # a cache's 304, say, which is no answer to a POST
        return Unavailable(text, kind="garbage", **more)
    if status < 400:
        target = without_keys((target or "").partition("?")[0])
        return Refused(f"redirected to {target}", kind="model", hint="set api_base to it", **more)
    return Rejected(text, **more)


def _refused(kind: str, text: str, more: Mapping[str, Any]) -> Refused:
    return Refused(text, kind=kind, hint=status_of(kind).advice, **more)


def _is_too_long(status: int, said: str) -> bool:
    if status == 429 or _BUSY.search(said):
        return bool(_ABOVE_A_MINUTE.search(said))
    if _ABOUT_OUTPUT.search(said):
        return bool(_PROMPT_TOO.search(said))
    return bool(_TOO_LONG.search(said))


def _busy(
    text: str, body: bytes | str, words: Words, limits: Mapping[str, str], more: Mapping[str, Any]
) -> ProviderError:
    wait = _wait(limits, body, words.message)
    if _for_the_day(body, words, wait):
        return Refused(text, kind="quota", hint=_come_back(limits, wait), **more)
    return RateLimited(text, retry_after_seconds=wait, **more)


def _for_the_day(body: bytes | str, words: Words, wait: float | None) -> bool:
    """Whether a 429 is about a quota of a day, which no run waits for."""
    if wait is not None and wait > _DAILY_SECONDS:
        return True
    if _DAILY_ID.search(bounded(body)):
        return True
    # Where both are named the minute may be what is used up, and waiting shows it. Not the whole
    # body: it may quote the prompt.
    return bool(_DAILY.search(words.all)) and not _MINUTELY.search(words.all)


def _come_back(headers: Mapping[str, str], wait: float | None) -> str:
    resets = (headers.get(name) for name in _RESETS)
    known = next((s for value in resets if (s := reset_seconds(value or "", time.time()))), None)
    seconds = max(wait or 0.0, known or 0.0)
    if seconds < _DAILY_SECONDS / 4:
        # Gemini sends a retryDelay of seconds beside a quota of a day.
        return "the quota is used up; run the same command again when it is renewed"
    return f"run the same command again after {clock_words(time.time(), seconds)}"


def is_passing(words: Words) -> bool:
    return bool(_PASSING.search(words.all))


def is_about_format(words: Words) -> bool:
    """Whether words are about how an object was asked for, and not about one bad draw."""
    said = f"{words.param} {words.all}"
    return bool(_ABOUT_FORMAT.search(said)) and not _BAD_DRAW.search(said)


def _wait(headers: Mapping[str, str], body: bytes | str, message: str) -> float | None:
    """Seconds to wait, from the headers, else from the words (Groq) or fields (Gemini)."""
    seconds = retry_after_seconds(headers, time.time())
    if seconds is not None:
        return seconds
    said = _TRY_AGAIN_IN.search(message) or _RETRY_DELAY.search(bounded(body))
    if said is not None:
        return seconds_in(said)
    if (field := _RETRY_FIELD.search(bounded(body))) is None:
        return None
    return float(field["number"]) / (1000.0 if field["ms"] else 1.0)


# Errors inside a reply with status 200

#: Codes, and words beside a code, that say that all is well.
_OF_FINE = """
    0 0000 200 201 202 10000 20000 none null ok success succeeded successful true false completed
    finished done
"""
_FINE = frozenset(("", "no error", *_OF_FINE.split()))
_WELL = re.compile(r"^(?!.*(not|un)).*success|成功")
_CODES = (
    *("code", "error_code", "errcode", "err_code", "errorCode", "status_code", "statusCode"),
    *("__type", "errno", "ret", "retcode", "ret_code", "result_code", "resultCode"),
)
# What a gateway has around an error.
_AROUND = ("Response", "response", "result", "data", "header")
# What holds an error by its name alone.
_ERRORS = ("error", "errors", "error_msg", "error_message", "errorMessage")
_WORDS = (
    *("message", "msg", "error_msg", "errmsg", "error_message", "errorMessage", "status_msg"),
    *("statusMessage", "retmsg", "ret_msg", "error_description", "detail", "description"),
    *("reason", "title"),
)
_FAILED = ("error", "failed", "failure", "fail", "exception")
_HTTP_ERROR = re.compile(r"[45]\d\d")

_A_FILTERS = 0
# MiniMax's; https://platform.minimax.io/docs/api-reference/errorcode
_OF_BASE_RESP: dict[str, int] = {
    **dict.fromkeys(("1002", "1039", "1041", "2045", "2056"), 429),
    **dict.fromkeys(("1004", "2049"), 401),
    "1008": 402,
    "2061": 403,  # a model that the plan has not
    "2013": 400,
    **dict.fromkeys(("1026", "1027"), _A_FILTERS),
}
# What the words stand for, where there is no status: the first that is found. All repeats are
# bounded, and so is the text they are looked for in.
_MEANING = tuple(
    (status, re.compile(words, re.IGNORECASE))
    for status, words in (
        (400, r"too long|context.{0,8}(length|window|size)|max(imum)?\b.{0,10}(length|context)"),
        (
            _A_FILTERS,
            r"sensitive|content.?filter|safety|moderation|policy.?violation|敏感|违规|审核",
        ),
        (_A_FILTERS, r"inappropriate|content.{0,8}(risk|blocked|audit)|censor"),
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
    """The error that a reply with status 200, or its first choice, tells of."""
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
    for name in () if choice else _AROUND:
        inner = value.get(name)
        if isinstance(inner, dict):
            said = inner.get("error") or inner.get("Error")
            if is_error(said):
                return _told(said if isinstance(said, dict) else {"message": str(said)}, asked)
            if name == "header" and _is_envelope_of_failure(inner, False):  # Spark
                return _told(inner, asked)
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
    if value.get("success") is False or value.get("ok") is False or value.get("object") == "error":
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
    # Nothing but words.
    bare = "detail" in value or all(isinstance(each, str | int | None) for each in value.values())
    return bad or (bare and said and value.get("choices") is None)


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
    if meaning == _A_FILTERS and status in (None, 400, 403, 422, 451):
        body["type"], status = "content_filter", 400
    written = {name: writable(str(said))[:_LONGEST] for name, said in body.items() if said}
    sent = msgspec.json.encode({"error": written})
    told = error_from_reply(status or meaning or 400, sent, {}, asked)
    if status is None and meaning is None and told.kind == "rejected":
        # Nothing tells that the request is at fault.
        told = error_from_reply(502, sent, {}, asked)
    told.maybe_billed = True
    return told
