"""Whatever a provider sends becomes one completion or one error of the right kind."""

from __future__ import annotations

import re
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.errors import ProviderError, RateLimited, Refused, Rejected, Unavailable
from llm_batch.providers.refusals import error_from_reply, limit_headers, mentions_response_format
from llm_batch.providers.replies import completion_from_reply, usage_from
from llm_batch.records import Usage


def body(**fields: Any) -> bytes:
    return msgspec.json.encode(fields)


def choice(content: Any = "Paris", reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"message": {"content": content, **more}, "finish_reason": reason}


DAILY = {
    "gemini": {
        "code": 429,
        "message": "You exceeded your current quota",
        "details": [
            {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},
            {"retryDelay": "31s"},
        ],
    },
    "openrouter": {"message": "Rate limit exceeded: free-models-per-day", "code": 429},
    "groq": {"message": "Rate limit reached on tokens per day (TPD). Try again in 7m12s."},
    "openai": {"message": "Rate limit reached for m on requests per day (RPD): Limit 200"},
    "plain": {"message": "You have reached your daily limit"},
    "hours": {"message": "Slow down, try again in 5h3m"},
}


@pytest.mark.parametrize("error", DAILY.values(), ids=DAILY)
def test_a_quota_of_a_day_ends_the_run_and_says_when_to_come_back(error: dict[str, Any]) -> None:
    made = error_from_reply(429, body(error=error), {})
    assert isinstance(made, Refused) and made.kind == "quota"
    assert "run the same command again" in made.hint


def test_the_time_to_come_back_is_that_of_the_reset_in_milliseconds() -> None:
    headers = {"X-RateLimit-Reset": str((int(time.time()) + 5 * 3600) * 1000)}
    made = error_from_reply(429, body(error=DAILY["openrouter"]), headers)
    assert re.search(r"again after (\d{4}-\d\d-\d\d )?\d\d:\d\d$", made.hint)


@pytest.mark.parametrize(
    "message", ["Rate limit: 20 requests per minute; 200 per day", "You exceeded your quota"]
)
def test_what_may_be_a_limit_of_a_minute_is_waited_for(message: str) -> None:
    assert isinstance(error_from_reply(429, body(error={"message": message}), {}), RateLimited)


@pytest.mark.parametrize(
    ("status", "error", "kind", "code_or_words"),
    [
        (429, RateLimited, "rate_limited", {"message": "Rate limit reached."}),
        (429, Refused, "quota", {"message": "quota", "code": "insufficient_quota"}),
        (429, RateLimited, "rate_limited", {"message": "You exceeded your current quota"}),
        (400, Refused, "quota", {"message": "Your credit balance is too low"}),
        (402, Refused, "quota", {"message": "Insufficient credits"}),
        (401, Refused, "key", {"message": "Incorrect API key"}),
        (401, Refused, "key", {"message": "Key blocked by content policy"}),
        (403, Refused, "key", {"message": "Not allowed"}),
        (403, Rejected, "filtered", {"message": "requires moderation and was flagged"}),
        (404, Refused, "model", {"message": "The model `x` does not exist"}),
        (400, Refused, "setting", {"message": "bad", "code": "unsupported_parameter"}),
        (400, Refused, "setting", {"message": "Unrecognized request argument supplied: x"}),
        (400, Rejected, "too_long", {"message": "bad", "code": "context_length_exceeded"}),
        (400, Rejected, "too_long", {"message": "prompt is too long: 200001 tokens"}),
        (
            400,
            Rejected,
            "too_long",
            {"message": "request (9031 tokens) exceeds the available context size"},
        ),
        (413, Rejected, "too_long", {"message": "Request entity too large"}),
        (400, Rejected, "filtered", {"message": "bad", "code": "content_filter"}),
        (422, Rejected, "rejected", {"message": "something else"}),
        (408, Unavailable, "unavailable", {"message": "Request timeout"}),
        (500, Unavailable, "unavailable", {"message": "error"}),
        (529, Unavailable, "unavailable", {"message": "Overloaded"}),
    ],
)
def test_an_error_is_told_by_status_code_and_words_together(
    status: int, error: type[ProviderError], kind: str, code_or_words: dict[str, str]
) -> None:
    made = error_from_reply(status, body(error=code_or_words), {})
    assert type(made) is error
    assert (made.kind, made.status_code) == (kind, status)
    assert made.message == code_or_words["message"]


@pytest.mark.parametrize(("status", "billed"), [(500, False), (502, False), (504, True)])
def test_only_a_gateway_that_gave_up_leaves_a_bill_open(status: int, billed: bool) -> None:
    assert error_from_reply(status, b"", {}).maybe_billed is billed


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b'{"error": {"message": "no"}}', "no"),
        (b'{"error": "no"}', "no"),
        (b'[{"error": {"code": 400, "message": "no", "status": "INVALID"}}]', "no"),
        (b'{"message": "no"}', "no"),
        (b'{"detail": "no"}', "no"),
        (
            b'{"detail": [{"loc": ["body", "n"], "msg": "wrong", "input": {"q": "secret"}}]}',
            "body.n: wrong",
        ),
        (b'{"error": null, "message": "no"}', "no"),
        (b"<html><body><h1>Bad  Gateway</h1></body></html>", "Bad Gateway"),
        (b"", "HTTP 400 without a message"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b'"no"', "no"),
    ],
)
def test_the_message_is_found_in_any_vendors_layout(sent: bytes, message: str) -> None:
    assert error_from_reply(400, sent, {}).message == message


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"Retry-After": "7"}, "", 7.0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, "", 1.5),
        ({"retry-after": "nonsense"}, "", None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, "", 0.0),
        ({}, "Rate limit reached. Please try again in 20s. Visit", 20.0),
        ({}, "Please try again in 850ms.", 0.85),
        ({}, "Please try again in 7m12.5s.", 432.5),
        ({}, "Please try again in 1h0m0s.", 3600.0),
        ({}, "Please retry in 34.07s.", 34.07),
        ({}, "try again in 20 seconds", 20.0),
        ({}, "try again in a while", None),
        ({}, "", None),
    ],
)
def test_how_long_to_wait_is_read_from_headers_or_else_from_the_words(
    headers: dict[str, str], message: str, seconds: float | None
) -> None:
    error = error_from_reply(429, body(error={"message": message}), headers)
    assert isinstance(error, RateLimited)
    assert error.retry_after_seconds == seconds


def test_how_long_to_wait_is_read_from_geminis_details() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]
    sent = body(error={"code": 429, "message": "Quota", "details": details})
    error = error_from_reply(429, sent, {})
    assert isinstance(error, RateLimited)
    assert error.retry_after_seconds == 34.0


def test_an_overloaded_server_may_say_how_long_to_wait_too() -> None:
    error = error_from_reply(503, b"", {"retry-after": "3"})
    assert isinstance(error, Unavailable)
    assert error.retry_after_seconds == 3.0


def test_a_redirect_names_where_to_without_what_is_secret_there() -> None:
    error = error_from_reply(301, b"", {"location": "https://host/v1?key=abc123"})
    assert isinstance(error, Refused)
    assert error.message == "redirected to https://host/v1"


def test_only_headers_that_speak_of_limits_are_kept() -> None:
    sent = {"X-RateLimit-Limit-Requests": "60", "Retry-After": "1", "Set-Cookie": "a=b"}
    assert limit_headers(sent) == {"x-ratelimit-limit-requests": "60", "retry-after": "1"}


@pytest.mark.parametrize(
    ("sent", "text", "reason"),
    [
        ([choice()], "Paris", "stop"),
        ([choice(reason=None)], "Paris", "stop"),
        ([choice(reason="length")], "Paris", "length"),
        ([choice(reason="model_length")], "Paris", "length"),
        ([choice(reason="content_filter")], "Paris", "content_filter"),
        (
            [choice([{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris"}])],
            "Paris",
            "stop",
        ),
        ([choice([{"type": "thinking", "thinking": []}, {"text": "Paris"}])], "Paris", "stop"),
        ([choice(None)], "", "empty"),
        ([choice("")], "", "empty"),
        ([choice("", reason="")], "", "empty"),
        ([choice(None, reason="length")], "", "length"),
        ([choice(None, refusal="I cannot")], "", "content_filter"),
        ([choice(None, reason="tool_calls")], "", "tool_calls"),
        ([{"finish_reason": "stop"}], "", "empty"),
        ([], "", "empty"),
    ],
)
def test_an_answer_is_text_with_the_reason_it_ended(
    sent: list[Any], text: str, reason: str
) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    made = completion_from_reply(body(id="r1", model="m1", choices=sent, usage=usage))
    assert (made.text, made.finish_reason) == (text, reason)
    assert (made.model, made.response_id, made.usage) == ("m1", "r1", Usage(5, 2))


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"<html>One moment</html>",
        b'{"id": "x", "choices": [{"mess',
        b'{"choices": 5}',
        b"[]",
        b"null",
        b'"text"',
        b'{"choices": [{"message": {"content": 5}}]}',
        b"{}",
        b'{"status": "ok"}',
        b"\xff",
    ],
)
def test_what_is_no_completion_is_garbage_that_may_be_billed(sent: bytes) -> None:
    with pytest.raises(Unavailable) as caught:
        completion_from_reply(sent)
    assert (caught.value.kind, caught.value.maybe_billed) == ("garbage", True)


@pytest.mark.parametrize(
    ("sent", "error", "kind"),
    [
        (
            {"error": {"message": "Provider returned error", "code": 502}},
            Unavailable,
            "unavailable",
        ),
        ({"error": {"message": "slow down", "code": "429"}}, RateLimited, "rate_limited"),
        ({"error": "broken"}, Unavailable, "unavailable"),
        ({"error": {"message": "x", "code": 401}, "choices": []}, Refused, "key"),
        (
            {"choices": [{"finish_reason": "error", "error": {"message": "x", "code": 429}}]},
            RateLimited,
            "rate_limited",
        ),
    ],
)
def test_an_error_inside_a_200_is_that_error_and_may_be_billed(
    sent: dict[str, Any], error: type[ProviderError], kind: str
) -> None:
    with pytest.raises(error) as caught:
        completion_from_reply(msgspec.json.encode(sent))
    assert (caught.value.kind, caught.value.maybe_billed) == (kind, True)


def details(reasoning: int = 0, **more: int) -> dict[str, Any]:
    return {"completion_tokens_details": {"reasoning_tokens": reasoning}, **more}


@pytest.mark.parametrize(
    ("sent", "usage"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 4}, Usage(9, 4)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 8},
            },
            Usage(9, 4, cache_read_tokens=8),
        ),
        # Reasoning inside the output, as OpenAI counts it, and beside it, as xAI does.
        (
            {"prompt_tokens": 9, "completion_tokens": 14, "total_tokens": 23, **details(10)},
            Usage(9, 14, reasoning_tokens=10),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 14, "total_tokens": 33, **details(10)},
            Usage(9, 24, reasoning_tokens=10),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 4, **details(10)},
            Usage(9, 14, reasoning_tokens=10),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": None}, Usage(9, 4)),
    ],
)
def test_usage_includes_what_was_cached_and_what_was_thought(
    sent: dict[str, Any], usage: Usage
) -> None:
    assert usage_from(sent) == usage


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "many",
        {},
        {"prompt_tokens": 9},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": -5, "completion_tokens": 5},
        {"prompt_tokens": 10**12, "completion_tokens": 5},
        {"prompt_tokens": "9", "completion_tokens": "4"},
        {"prompt_tokens": True, "completion_tokens": 4},
        {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 10},
        },
    ],
)
def test_usage_that_cannot_be_true_is_no_usage(sent: Any) -> None:
    assert usage_from(sent) is None


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b'{"error": {"message": "response_format is not supported"}}', True),
        (b'{"error": {"message": "json_schema is not available", "code": "x"}}', True),
        (b'{"error": "This model has no structured outputs"}', True),
        (b'{"detail": [{"loc": ["body", "response_format"], "msg": "extra"}]}', True),
        (b'{"error": {"message": "temperature is too high"}}', False),
        (
            b'{"detail": [{"loc": ["body", "n"], "msg": "no", "input": {"response_format": 1}}]}',
            False,
        ),
    ],
)
def test_a_complaint_about_the_format_is_recognised(sent: bytes, expected: bool) -> None:
    assert mentions_response_format(sent) is expected


@given(st.binary(max_size=200), st.integers(300, 599))
def test_any_bytes_become_an_error_and_nothing_else(sent: bytes, status: int) -> None:
    assert isinstance(error_from_reply(status, sent, {}), ProviderError)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 600) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "content",
                    "error",
                    "code",
                    "usage",
                    "finish_reason",
                    "detail",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(_json)
def test_any_json_becomes_a_completion_or_an_error_and_nothing_else(value: Any) -> None:
    sent = msgspec.json.encode(value)
    assert isinstance(error_from_reply(400, sent, {}), ProviderError)
    try:
        completion_from_reply(sent)
    except ProviderError as error:
        assert error.maybe_billed
