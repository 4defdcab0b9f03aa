"""Everything that can go wrong with a reply, by name.

A fault is one of three things: an error status with its body, an answer that was changed before
it was sent, or a way of sending it. What the model worked for is billed even if the client never
sees it, as providers do; ``usable`` says whether the client ends up with a whole answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.server.answers import Answer, ApiError


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table.

    Attributes:
        about: What happens, for ``--help``.
        error: The error reply; nothing is billed.
        alter: Changes the answer before it is written.
        spoil: Changes the bytes of the body.
        content_type: Of the reply, when it is not JSON.
        page: Sent in place of the body of an error, as a page of HTML.
        delivery: The name of a function in `tests.server.delivery`.
        latency_factor: Times the latency.
        usable: Whether the reply, once it is complete, holds a whole answer.
    """

    about: str
    error: tuple[int, str, str, str | None] | None = None
    alter: Callable[[Answer], None] | None = None
    spoil: Callable[[bytes], bytes] | None = None
    content_type: str = "application/json"
    page: bytes = b""
    delivery: str = "plain"
    latency_factor: float = 1.0
    usable: bool = False

    def raises(self) -> ApiError | None:
        """The error of this fault as an exception, or ``None`` when it answers."""
        if self.error is None:
            return None
        status, message, type_, code = self.error
        return ApiError(status, message, type_, code)


def _empty_choices(answer: Answer) -> None:
    answer.choices = False


def _null_content(answer: Answer) -> None:
    answer.text = None


def _content_filter(answer: Answer) -> None:
    answer.text = (answer.text or "")[: len(answer.text or "") // 2]
    answer.finish = "content_filter"


def _length(answer: Answer) -> None:
    answer.text = (answer.text or "")[: len(answer.text or "") // 2]
    answer.finish = "length"


def _no_cap(answer: Answer) -> None:
    answer.text = (answer.text or "") + " and so on" * 30_000
    answer.count()


def _prose(answer: Answer) -> None:
    answer.text = "Well, all things considered, it is rather good."


def _reasoning_only(answer: Answer) -> None:
    answer.text = None
    answer.finish = "length"
    answer.reasoning_tokens = answer.output_tokens
    answer.count()


def _usage(value: dict[str, Any] | None) -> Callable[[Answer], None]:
    def alter(answer: Answer) -> None:
        answer.usage = value

    return alter


def _absurd(value: Any) -> dict[str, Any]:
    return {"prompt_tokens": value, "completion_tokens": value, "total_tokens": value}


def _html(_: bytes) -> bytes:
    return b"<!DOCTYPE html><html><body><h1>One moment, please</h1></body></html>\n"


def _error_in_200(_: bytes) -> bytes:
    return b'{"error":{"message":"Provider returned error","code":502}}'


def _thoughts_beside(answer: Answer) -> None:
    """Thoughts that are billed, and stand in the total alone."""
    answer.count()
    answer.output_tokens += 300
    if answer.usage is not None:
        answer.usage["total_tokens"] += 300


def _cost_reported(answer: Answer) -> None:
    if answer.usage is not None:
        answer.usage |= {"cost": 0.5, "is_byok": False}


def _edited(change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    """Changes the reply and its choice; the text is in its message."""

    def spoil(body: bytes) -> bytes:
        reply = json.loads(body)
        made = change(reply, reply["choices"][0])
        return json.dumps(reply if made is None else made).encode()

    return spoil


def _half(choice: dict[str, Any]) -> str:
    text: str = choice["message"]["content"]
    return text[: len(text) // 2]


def _ended(word: Any, whole: bool = False) -> Callable[[bytes], bytes]:
    def change(_: dict[str, Any], choice: dict[str, Any]) -> None:
        choice["finish_reason"] = word
        if not whole:
            choice["message"]["content"] = _half(choice)

    return _edited(change)


def _message(**fields: Any) -> Callable[[bytes], bytes]:
    return _edited(lambda _, choice: choice["message"].update(fields))


def _said(write: Callable[[str], Any]) -> Callable[[bytes], bytes]:
    def change(_: dict[str, Any], choice: dict[str, Any]) -> None:
        choice["message"]["content"] = write(choice["message"]["content"])

    return _edited(change)


def _envelope(**fields: Any) -> Callable[[bytes], bytes]:
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return _edited(lambda reply, _: {"id": reply["id"], "usage": nothing, **fields})


def _error_in_choice(_: dict[str, Any], choice: dict[str, Any]) -> None:
    choice["message"]["content"] = _half(choice)
    choice["finish_reason"] = None
    choice["error"] = {"message": "Provider returned error", "code": 502}


def _pieces(body: bytes, whole: bool = True) -> list[str]:
    """A reply as a stream would have sent it."""
    reply = json.loads(body)
    choice = reply.pop("choices")[0]
    usage, text = reply.pop("usage", None), choice["message"]["content"]
    deltas = [{"content": text[at : at + 7]} for at in range(0, len(text), 7)]
    events = [reply | {"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    if not whole:
        return [json.dumps(event) for event in events[: len(events) // 2]]
    end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    events += [reply | {"choices": [end]}, reply | {"choices": [], "usage": usage}]
    return [json.dumps(event) for event in events]


def _events(body: bytes) -> bytes:
    pieces = [": PROCESSING", *(f"data: {piece}" for piece in _pieces(body)), "data: [DONE]"]
    return "\n\n".join(pieces).encode()


def _half_of_events(body: bytes) -> bytes:
    return "\n\n".join(f"data: {piece}" for piece in _pieces(body, whole=False)).encode()


_FAILED = "The server had an error while processing your request."
_INVALID = "invalid_request_error"
_SERVER = "server_error"

FAULTS: dict[str, Fault] = {
    # Error replies.
    "400": Fault("invalid request", (400, "The request is not valid.", _INVALID, None)),
    "401": Fault(
        "wrong key",
        (401, "Incorrect API key provided: sk-****.", _INVALID, "invalid_api_key"),
    ),
    "key_400": Fault(
        "wrong key, Google's way",
        (400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", None),
    ),
    "403": Fault(
        "country, project or model not allowed",
        (403, "Your project has no access to this model.", _INVALID, "unsupported_country"),
    ),
    "404": Fault(
        "no such model",
        (404, "The model does not exist or you have no access.", _INVALID, "model_not_found"),
    ),
    "408": Fault("the server gave up waiting", (408, "Request timeout.", _SERVER, None)),
    "413": Fault("body too large", (413, "Request entity too large.", _INVALID, None)),
    "429": Fault(
        "too many requests, whatever the limits say",
        (429, "Rate limit reached.", "requests", "rate_limit_exceeded"),
    ),
    "409": Fault("conflict", (409, "The request conflicts with another.", _SERVER, None)),
    "421": Fault("misdirected", (421, "Misdirected request.", _SERVER, None)),
    "424": Fault("failed dependency", (424, "The generation failed.", _SERVER, None)),
    "425": Fault("too early", (425, "Too early.", _SERVER, None)),
    "498": Fault(
        "no capacity, Groq's way",
        (498, "Flex tier capacity was exceeded.", _SERVER, "capacity_exceeded"),
    ),
    "499": Fault("a gateway stopped waiting", (499, "Client closed request.", _SERVER, None)),
    "520": Fault("a web server that says nothing", (520, "Unknown error.", _SERVER, None)),
    "wait_in_words": Fault(
        "429 that says how long to wait in its words alone",
        (429, "Too many requests. Please retry after 3 seconds.", _INVALID, None),
    ),
    "retry_later": Fault("400 that passes", (400, "Please retry later.", _INVALID, None)),
    "loading": Fault(
        "404 while a model is loaded", (404, "Model m1 is still loading.", _INVALID, None)
    ),
    "bad_draw": Fault(
        "400, the model wrote no valid JSON, Groq's way",
        (
            400,
            "Failed to generate JSON. Please adjust your prompt.",
            _INVALID,
            "json_validate_failed",
        ),
    ),
    "500": Fault("internal error", (500, _FAILED, _SERVER, None)),
    "502": Fault("bad gateway", (502, "Bad gateway.", _SERVER, None)),
    "503": Fault(
        "overloaded",
        (503, "The engine is currently overloaded, please try again later.", _SERVER, None),
    ),
    "504": Fault("gateway timeout", (504, "Gateway timeout.", _SERVER, None)),
    "529": Fault("overloaded, Anthropic's way", (529, "Overloaded", "overloaded_error", None)),
    "context_length": Fault(
        "400, prompt too long",
        (
            400,
            "This model's maximum context length is 8192 tokens. However, you asked for 9001.",
            _INVALID,
            "context_length_exceeded",
        ),
    ),
    "content_403": Fault(
        "403, prompt refused for its content",
        (403, "This content violates our usage guidelines.", _INVALID, None),
    ),
    "451": Fault(
        "451, prompt refused for legal reasons",
        (451, "Unavailable for legal reasons.", _INVALID, None),
    ),
    "firewall": Fault(
        "403, a firewall's page for a prompt it does not like",
        (403, "Blocked.", _INVALID, None),
        page=b"<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head>"
        b"<body><h1>Sorry, you have been blocked</h1></body></html>\n",
        content_type="text/html; charset=utf-8",
    ),
    "content_policy": Fault(
        "400, prompt refused by a filter",
        (
            400,
            "Your request was rejected as a result of our safety system.",
            _INVALID,
            "content_policy_violation",
        ),
    ),
    "insufficient_quota": Fault(
        "429 that no waiting cures",
        (
            429,
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
    ),
    # Replies with status 200 that hold no whole answer.
    "malformed_json": Fault(
        "200, not JSON", spoil=lambda body: body.replace(b":", b"=", 3).replace(b'"', b"'", 4)
    ),
    "truncated_json": Fault(
        "200, first half of the JSON, with an honest length",
        spoil=lambda body: body[: len(body) // 2],
    ),
    "html": Fault("200, a page of HTML", spoil=_html, content_type="text/html; charset=utf-8"),
    "error_in_200": Fault("200, an error object as the body", spoil=_error_in_200),
    "empty_choices": Fault("200, no choice", alter=_empty_choices),
    "null_content": Fault("200, content is null", alter=_null_content),
    "content_filter": Fault("200, finish_reason content_filter", alter=_content_filter),
    "length": Fault("200, finish_reason length, half the text", alter=_length),
    "reasoning_only": Fault("200, all output was reasoning", alter=_reasoning_only),
    # Replies with status 200 and half an answer, an error or no answer beside something else.
    "ended_as_error": Fault("200, finish_reason error, half the text", spoil=_ended("error")),
    "aborted": Fault("200, finish_reason abort, half the text", spoil=_ended("abort")),
    "network_error": Fault("200, finish_reason network_error", spoil=_ended("network_error")),
    "no_resource": Fault(
        "200, finish_reason insufficient_system_resource",
        spoil=_ended("insufficient_system_resource"),
    ),
    "error_in_choice": Fault("200, an error beside half the text", spoil=_edited(_error_in_choice)),
    "busy_in_envelope": Fault(
        "200, a rate limit in MiniMax's envelope",
        spoil=_envelope(base_resp={"status_code": 1002, "status_msg": "rate limit"}, choices=None),
    ),
    "busy_by_code": Fault(
        "200, a rate limit by code and words",
        spoil=_envelope(error_code=18, error_msg="Open api qps request limit reached"),
    ),
    "null_choices": Fault("200, choices are null, beside a usage", spoil=_envelope(choices=None)),
    "half_of_events": Fault("200, a stream without its end", spoil=_half_of_events),
    "safety": Fault("200, finish_reason SAFETY, half the text", spoil=_ended("SAFETY")),
    "recitation": Fault("200, finish_reason RECITATION", spoil=_ended("RECITATION")),
    "sensitive": Fault("200, finish_reason sensitive", spoil=_ended("sensitive")),
    "max_tokens": Fault("200, finish_reason MAX_TOKENS, half the text", spoil=_ended("MAX_TOKENS")),
    "context_full": Fault(
        "200, finish_reason model_context_window_exceeded",
        spoil=_ended("model_context_window_exceeded"),
    ),
    "strange_ending": Fault("200, finish_reason something_new", spoil=_ended("something_new")),
    "tool_call": Fault(
        "200, a call of a tool and no text",
        spoil=_message(
            content=None,
            tool_calls=[
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
            ],
        ),
    ),
    "tool_announced": Fault(
        "200, a call of a tool beside its announcement",
        spoil=_message(tool_calls=[{"id": "c1", "type": "function", "function": {"name": "f"}}]),
    ),
    "refusal_beside": Fault("200, a refusal beside the text", spoil=_message(refusal="I cannot.")),
    "only_reasoning": Fault(
        "200, all text in reasoning_content", spoil=_message(content="", reasoning_content="Hm.")
    ),
    "endless_thought": Fault(
        "200, thoughts that never end", spoil=_said(lambda text: f"<think>Hm. {text}")
    ),
    # Whole answers in bytes or types that few readers expect.
    "thoughts": Fault(
        "thoughts before the answer",
        spoil=_said(lambda text: f"<think>\nIs it 2? {text}\n</think>\n\n{text}"),
        usable=True,
    ),
    "thoughts_again": Fault(
        "thoughts that speak of their own end, and more of them after the answer",
        spoil=_said(
            lambda text: (
                f"<think>\nSee </think> below. 2? {text}\n</think>\n\n{text}"
                "\n<think>\nOr 3?\n</think>"
            )
        ),
        usable=True,
    ),
    "no_cap": Fault("300 kB of text, whatever max_tokens says", alter=_no_cap, usable=True),
    "half_emoji": Fault(
        "half an emoji after the text", spoil=_said(lambda text: f"{text} \ud83d"), usable=True
    ),
    "nan": Fault(
        "NaN and Infinity in fields nobody uses",
        spoil=_edited(lambda reply, choice: choice.update(logprobs=[float("nan"), float("inf")])),
        usable=True,
    ),
    "bom": Fault("a byte order mark", spoil=lambda body: b"\xef\xbb\xbf" + body, usable=True),
    "utf16": Fault("UTF-16", spoil=lambda body: body.decode().encode("utf-16"), usable=True),
    "written_twice": Fault(
        "JSON in a JSON string", spoil=lambda body: json.dumps(body.decode()).encode(), usable=True
    ),
    "deep": Fault(
        "lists 200,000 deep in a field that nobody uses",
        spoil=lambda body: body[:-1] + b',"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        usable=True,
    ),
    "tail": Fault("something after the JSON", spoil=lambda body: body + b"\n\x00OK", usable=True),
    "content_parts": Fault(
        "content as parts, one of them a thought",
        spoil=_said(
            lambda text: [
                {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                {"type": "text", "text": text},
            ]
        ),
        usable=True,
    ),
    "content_strings": Fault(
        "content as a list of texts", spoil=_said(lambda text: [text[:5], text[5:]]), usable=True
    ),
    "content_object": Fault(
        "content as an object",
        spoil=_said(lambda text: {"type": "text", "text": text}),
        usable=True,
    ),
    "ending_list": Fault(
        "finish_reason as a list", spoil=_ended(["STOP"], whole=True), usable=True
    ),
    "events": Fault("the events of a stream", spoil=_events, usable=True),
    "lines": Fault(
        "a stream, one JSON a line",
        spoil=lambda body: "\n".join(_pieces(body)).encode(),
        usable=True,
    ),
    # Whole answers that are not what was asked for, or have strange accounts.
    "prose": Fault("words, whatever schema was asked for", alter=_prose, usable=True),
    "usage_missing": Fault("no usage", alter=_usage(None), usable=True),
    "thoughts_beside": Fault(
        "300 tokens of thoughts, billed and in the total alone", alter=_thoughts_beside, usable=True
    ),
    "cost_reported": Fault("usage with a cost of $0.50", alter=_cost_reported, usable=True),
    "usage_huge": Fault("usage of 1e12 tokens", alter=_usage(_absurd(10**12)), usable=True),
    "usage_negative": Fault("usage of -5 tokens", alter=_usage(_absurd(-5)), usable=True),
    "usage_strings": Fault('usage of "many" tokens', alter=_usage(_absurd("many")), usable=True),
    # Ways of sending. The first five never complete.
    "reset": Fault("connection reset before the reply", delivery="reset"),
    "reset_mid_body": Fault(
        "connection reset in the middle of the body", delivery="reset_mid_body"
    ),
    "close_mid_body": Fault(
        "connection closed in the middle of the body", delivery="close_mid_body"
    ),
    "close_before": Fault("connection closed before the reply", delivery="close_before"),
    "hang": Fault("no reply, ever", delivery="hang"),
    "drip": Fault("body one byte every --drip-seconds", delivery="drip", usable=True),
    "drip_headers": Fault(
        "headers one byte every --drip-seconds", delivery="drip_headers", usable=True
    ),
    "slow": Fault("ten times the latency", latency_factor=10.0, usable=True),
    "chunked": Fault("Transfer-Encoding: chunked", delivery="chunked", usable=True),
    "gzip": Fault("Content-Encoding: gzip, if accepted", delivery="gzip", usable=True),
    "close": Fault("Connection: close after the reply", delivery="close", usable=True),
    "close_silently": Fault(
        "closes after the reply without saying so", delivery="close_silently", usable=True
    ),
}
