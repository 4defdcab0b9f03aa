"""Whatever a provider sends becomes one completion or one error of the right kind."""

from __future__ import annotations

import contextlib
import re
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.errors import ProviderError, RateLimited, Refused, Rejected, Unavailable
from llm_batch.records import Completion, Usage
from llm_batch.sending.providers import replies
from llm_batch.sending.providers.decoding import words_of
from llm_batch.sending.providers.refusals import error_from_reply, is_about_format, limit_headers
from llm_batch.sending.providers.replies import completion_from_reply, cost_from, usage_from


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
    # The date goes with them where one of them is a time.
    date = {"date": "Sat, 28 Nov 2026 20:00:00 GMT"}
    later = {"retry-after": "Sat, 28 Nov 2026 20:00:30 GMT"}
    assert limit_headers({**sent, "Date": date["date"]}) == limit_headers(sent)
    assert (
        limit_headers({"Retry-After": later["retry-after"], "Date": date["date"]}) == later | date
    )


def test_a_date_to_wait_for_counts_from_the_replys_own() -> None:
    headers = {
        "Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT",
        "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
    }
    error = error_from_reply(429, b"", headers)
    assert isinstance(error, RateLimited)
    assert error.retry_after_seconds == 30.0


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
        b'{"choices": [{"message": {"content": [[5]]}}]}',
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


PART = "The capital of Austr"
USED = {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            "stop STOP Stop stop_sequence end_turn endTurn COMPLETE complete completed eos "
            "eos_token finished done FINISH FinishReason.STOP normal STOP_CRITERIA_MET END_ID "
            "stop_sequence_reached <|im_end|>",
            "stop",
        ),
        (
            "length MAX_TOKENS max_tokens maxTokens max_output_tokens max_completion_tokens "
            "max-tokens model_length model_context_window_exceeded context_length_exceeded "
            "token_limit ERROR_LIMIT FINISH_REASON_MAX_TOKENS truncated maximum_tokens "
            "max_num_tokens CONTEXT_OVERFLOW max_total_tokens too_many_tokens",
            "length",
        ),
        (
            "content_filter SAFETY sensitive RECITATION PROHIBITED_CONTENT BLOCKLIST SPII refusal "
            "guardrail_intervened content_filtered ERROR_TOXIC safety_filter content-policy "
            "blacklist MODEL_ARMOR",
            "content_filter",
        ),
        ("tool_calls function_call tool_use TOOL_CALL", "tool_calls"),
        ("</s> eos_token_id stopped", "stop"),
        ("something_new", "something_new"),
        ("pause_turn", "pause_turn"),
        ("OTHER", "OTHER"),
        ("MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL"),
    ],
)
def test_only_words_that_are_known_to_mean_whole_do(words: str, reason: str) -> None:
    for word in words.split():
        made = completion_from_reply(body(choices=[choice(PART, word)], usage=USED))
        assert (made.text, made.finish_reason) == (PART, reason), word


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (["stop"], "stop"),
        ({"type": "stop"}, "stop"),
        ({"reason": "MAX_TOKENS"}, "length"),
        (1, "stop"),
        (2, "length"),
        (3, "content_filter"),
        (77, "77"),
        (True, "stop"),
        (False, "false"),
        ("", "stop"),
        ("null", "stop"),
        ([], "stop"),
    ],
)
def test_a_reason_that_is_no_word_is_read_as_far_as_it_can_be(said: Any, reason: str) -> None:
    sent = body(choices=[{"message": {"content": PART}, "finish_reason": said}], usage=USED)
    assert completion_from_reply(sent).finish_reason == reason


@pytest.mark.parametrize(
    "word",
    ["error", "ERROR", "abort", "aborted", "network_error", "insufficient_system_resource"]
    + ["timeout", "cancelled", "engine_overloaded", "rate_limit", "internal_error"],
)
def test_an_answer_that_broke_off_is_tried_again_and_says_what_it_took(word: str) -> None:
    with pytest.raises(Unavailable) as caught:
        completion_from_reply(body(choices=[choice(PART, word)], usage=USED | {"cost": 0.25}))
    assert word in caught.value.message
    assert caught.value.maybe_billed
    assert caught.value.partial.usage == Usage(10, 9)
    assert caught.value.partial.reported_cost == 0.25


@pytest.mark.parametrize(
    "sent",
    [
        {"error": None},
        {"error": ""},
        {"error": {}},
        {"error": False},
        {"error": []},
        {"error": {"code": 0, "message": ""}},
        {"error": {"code": 0, "message": "success"}},
        {"error": {"code": None, "message": None}},
        {"errors": []},
        {"code": 200, "msg": "ok"},
        {"code": 0, "message": "success"},
        {"code": "0", "msg": ""},
        {"code": 10000, "msg": "Success."},
        {"code": 1, "msg": "Request successful"},
        {"code": 1, "msg": "成功"},
        {"code": "42"},
        {"success": True},
        {"status": "completed"},
        {"status": 200},
        {"base_resp": {"status_code": 0, "status_msg": ""}},
        {"detail": "extra"},
        {"error_msg": "", "error_message": None},
    ],
)
def test_an_error_that_is_none_does_not_cost_the_answer(sent: dict[str, Any]) -> None:
    made = completion_from_reply(body(choices=[choice()], usage=USED, **sent))
    assert (made.text, made.finish_reason) == ("Paris", "stop")


def base_resp(code: int, message: str) -> dict[str, Any]:
    return {"base_resp": {"status_code": code, "status_msg": message}, "choices": None}


@pytest.mark.parametrize(
    ("sent", "error", "kind"),
    [
        ({"error": "broken", "choices": [choice()]}, Unavailable, "unavailable"),
        ({"error": {"message": "x", "code": 429}, "choices": [choice()]}, RateLimited, ""),
        ({"choices": [{**choice(PART, None), "error": {"code": 502}}]}, Unavailable, ""),
        ({"choices": [choice(PART, None, error={"message": "x"})]}, Unavailable, ""),
        ({"errors": [{"message": "no capacity"}], "choices": [choice()]}, Unavailable, ""),
        ({"choices": [{**choice(), "errors": ["no capacity"]}]}, Unavailable, ""),
        ({"choices": [choice(error="no capacity")]}, Unavailable, ""),
        ({"error_message": "it crashed", "choices": [choice()]}, Unavailable, ""),
        ({"errorMessage": "it crashed", "choices": [choice()]}, Unavailable, ""),
        ({"error_code": 18, "error_msg": "qps", "choices": [choice()]}, Unavailable, ""),
        (base_resp(1002, "rate limit") | {"usage": USED}, RateLimited, "rate_limited"),
        (base_resp(1039, "TPM"), RateLimited, "rate_limited"),
        (base_resp(1004, "not authorized"), Refused, "key"),
        (base_resp(1008, "no balance"), Refused, "quota"),
        (base_resp(2061, "your current token plan not support model"), Refused, "key"),
        (base_resp(1027, "output new"), Rejected, "filtered"),
        (base_resp(1000, "unknown error"), Unavailable, "unavailable"),
        (base_resp(1002, "rate limit") | {"choices": [choice()]}, RateLimited, "rate_limited"),
        ({"code": 1302, "msg": "too many concurrent requests"}, RateLimited, "rate_limited"),
        ({"code": 50001, "msg": "internal"}, Unavailable, "unavailable"),
        ({"code": 50001, "msg": "internal", "choices": [choice()]}, Unavailable, "unavailable"),
        ({"code": 7, "msg": "not successful", "choices": [choice()]}, Unavailable, "unavailable"),
        ({"code": 500, "message": "oops", "choices": []}, Unavailable, "unavailable"),
        ({"error_code": 18, "error_msg": "qps request limit reached"}, RateLimited, ""),
        ({"error_code": 110, "error_msg": "Access token invalid"}, Refused, "key"),
        ({"success": False, "message": "Insufficient balance"}, Refused, "quota"),
        ({"status": "error", "message": "Invalid API key"}, Refused, "key"),
        ({"detail": "Rate limit exceeded"}, RateLimited, "rate_limited"),
        ({"__type": "ThrottlingException", "message": "Too many tokens"}, RateLimited, ""),
        ({"code": 30001, "message": "your account balance is insufficient"}, Refused, "quota"),
        ({"error": {"code": "AccountOverdueError", "message": "no"}}, Refused, "quota"),
        ({"error": "`inputs` must have less than 1024 tokens"}, Rejected, "too_long"),
        ({"error_code": 336003, "error_msg": "the max length is 2000"}, Rejected, "rejected"),
        ({"code": 10013, "message": "输入内容审核不通过"}, Rejected, "filtered"),
        ({"error": {"code": 403, "message": "Input was flagged"}}, Rejected, "filtered"),
        ({"object": "error", "message": "the prompt is too long", "code": 40303}, Rejected, ""),
        ({"error": {"type": "rate_limit_error", "message": "slow"}}, RateLimited, ""),
        ({"error": {"type": "invalid_request_error", "message": "no"}}, Rejected, "rejected"),
        ({"message": "Invalid API key"}, Refused, "key"),
        ({"ok": False, "error_description": "no"}, Unavailable, "unavailable"),
        ({"ret": 1, "retmsg": "rate limited"}, RateLimited, "rate_limited"),
        ({"errno": 17, "errmsg": "daily request limit reached"}, Refused, "quota"),
        ({"Response": {"Error": {"Code": "x", "Message": "no"}}}, Unavailable, "unavailable"),
        ({"result": {"error": {"message": "too many requests"}}}, RateLimited, "rate_limited"),
        ({"header": {"code": 10013, "message": "no model", "sid": "x"}}, Unavailable, ""),
        ({"choices": None, "usage": USED}, Unavailable, "garbage"),
        ({"usage": USED}, Unavailable, "garbage"),
    ],
)
def test_an_error_in_whatever_envelope_is_that_error_whatever_stands_beside_it(
    sent: dict[str, Any], error: type[ProviderError], kind: str
) -> None:
    with pytest.raises(error) as caught:
        completion_from_reply(body(**sent))
    assert type(caught.value) is error
    assert caught.value.kind == (kind or caught.value.kind)
    assert caught.value.maybe_billed
    assert caught.value.partial.usage == (Usage(10, 9) if "usage" in sent else None)


def test_an_error_that_says_that_nothing_was_used_costs_nothing() -> None:
    used = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    with pytest.raises(RateLimited) as caught:
        completion_from_reply(body(**base_resp(1002, "rate limit"), usage=used))
    assert caught.value.partial.usage == Usage()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"content": None, "tool_calls": [{"id": "1"}]}, "tool_calls"),
        ({"content": "", "tool_calls": []}, "empty"),
        ({"content": "", "function_call": {"name": "f"}}, "tool_calls"),
        ({"content": None, "reasoning_content": "Hm."}, "reasoning"),
        ({"content": " ", "reasoning": "Hm."}, "reasoning"),
        ({"content": [{"type": "thinking", "thinking": "Hm."}]}, "reasoning"),
        ({"content": [{"type": "reasoning", "text": "Hm."}]}, "reasoning"),
        ({"content": "", "reasoning_content": None}, "empty"),
        ({"content": [{"type": "refusal", "refusal": "I cannot"}]}, "content_filter"),
    ],
)
def test_an_answer_without_text_says_what_came_instead(
    message: dict[str, Any], reason: str
) -> None:
    made = completion_from_reply(
        body(choices=[{"message": message, "finish_reason": "stop"}], usage=USED)
    )
    assert (made.text.strip(), made.finish_reason) == ("", reason)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"tool_calls": [{"id": "1", "type": "function"}]}, "tool_calls"),
        ({"function_call": {"name": "f"}}, "tool_calls"),
        ({"refusal": "I cannot"}, "content_filter"),
        ({"tool_calls": [{"type": "web_search"}], "refusal": ""}, "stop"),
    ],
)
def test_words_beside_a_tool_call_or_a_refusal_are_no_answer(
    message: dict[str, Any], reason: str
) -> None:
    made = completion_from_reply(body(choices=[choice("I will look.", **message)]))
    assert (made.text, made.finish_reason) == ("I will look.", reason)


@pytest.mark.parametrize("beside", [{"output_sensitive": True}, {"input_sensitive": True}])
def test_what_a_vendor_calls_sensitive_is_filtered_whatever_the_choice_says(
    beside: dict[str, Any],
) -> None:
    found = completion_from_reply(body(choices=[choice()], **beside))
    assert found.finish_reason == "content_filter"


def test_a_blocked_prompt_without_a_choice_is_filtered() -> None:
    sent = body(choices=[], promptFeedback={"blockReason": "PROHIBITED_CONTENT"})
    assert completion_from_reply(sent).finish_reason == "content_filter"


def test_a_reply_that_calls_itself_incomplete_is_not_whole() -> None:
    sent = body(
        choices=[choice()], status="incomplete", incomplete_details={"reason": "max_output_tokens"}
    )
    assert completion_from_reply(sent).finish_reason == "length"


def test_where_one_name_for_the_ending_says_nothing_another_one_does() -> None:
    sent = choice(reason=None) | {"stop_reason": "max_tokens"}
    assert completion_from_reply(body(choices=[sent])).finish_reason == "length"


@pytest.mark.parametrize("name", ["finish_reason", "finishReason", "stop_reason"])
def test_the_ending_may_stand_beside_the_choices_or_in_the_message(name: str) -> None:
    outside = body(choices=[choice(reason=None)], **{name: "length"})
    inside = body(choices=[choice(reason=None, **{name: "length"})])
    assert {completion_from_reply(sent).finish_reason for sent in (outside, inside)} == {"length"}


def test_what_was_all_thought_is_reasoning_where_it_was_cut_as_well() -> None:
    sent = choice("", "length", reasoning_content="Hm.")
    made = completion_from_reply(body(choices=[sent], usage=USED))
    assert (made.finish_reason, made.usage) == ("length", Usage(10, 9, reasoning_tokens=9))


def test_a_gateways_word_gives_way_to_the_models_own() -> None:
    for native, reason in (("STOP", "stop"), ("MAX_TOKENS", "length"), ("new", "stop")):
        sent = choice() | {"native_finish_reason": native}
        assert completion_from_reply(body(choices=[sent])).finish_reason == reason


PLAIN = body(id="r1", model="m1", choices=[choice()], usage=USED)


@pytest.mark.parametrize(
    "sent",
    [
        PLAIN,
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.decode().encode("utf-16"),
        PLAIN.decode().encode("utf-16-le"),
        b"\n\n  " + PLAIN + b"\n\n",
        PLAIN + b"\0\0garbage",
        PLAIN + b"</html>",
        PLAIN[:-1] + b', "logprobs": NaN, "x": [Infinity, -Infinity]}',
        PLAIN[:-1] + b', "created": "soon", "object": 5}',
        PLAIN[:-1] + b', "x": ' + b"9" * 5000 + b"}",
        PLAIN[:-1] + b', "x": "\xff\xfe"}',
        PLAIN[:-1] + b', "x": "\\ud83d"}',
        b": OPENROUTER PROCESSING\n\n" * 3 + PLAIN,
        b"[" + PLAIN + b"]",
        PLAIN.replace(b'"stop"', b'["stop"]'),
        PLAIN.replace(b'"Paris"', b'["Pa", "ris"]'),
        PLAIN.replace(b'"Paris"', b'[{"type": "text", "text": "Pa"}, "ris"]'),
        PLAIN.replace(b'"Paris"', b'{"type": "text", "text": "Paris"}'),
        PLAIN.replace(b'"Paris"', b'{"parts": [{"text": "Paris"}]}'),
        PLAIN.replace(b'"Paris"', b'[{"type": "text", "text": {"value": "Paris"}}]'),
        b'{"code": 0, "data": ' + PLAIN + b"}",
        msgspec.json.encode(PLAIN.decode()),
        PLAIN.replace(b'[{"message"', b'{"message"').replace(b"}],", b"},"),
    ],
)
def test_a_paid_answer_that_can_be_read_is_read(sent: bytes) -> None:
    made = completion_from_reply(sent)
    assert (made.text, made.finish_reason, made.usage) == ("Paris", "stop", Usage(10, 9))


def test_half_an_emoji_is_written_as_one_that_cannot_be_shown() -> None:
    sent = rb'{"id": "\ud83d", "model": "\ud83d", "choices": [{"message": {"content": "a\ud83d"}}]}'
    assert completion_from_reply(sent) == Completion("a\ufffd", "\ufffd", "stop", None, "\ufffd")


def test_a_number_that_the_server_has_read_already_is_written_again() -> None:
    assert completion_from_reply(body(choices=[choice(4)])).text == "4"


def test_json_that_the_server_has_read_already_is_written_again() -> None:
    made = completion_from_reply(body(choices=[choice({"score": 4, "reason": "é"})]))
    assert made.text == '{"score": 4, "reason": "é"}'


@pytest.mark.parametrize(
    "deep", [b"[" * 200_000, b'{"a":' * 200_000, b'{"choices": ' + b"[" * 200_000]
)
def test_json_without_a_floor_is_a_failed_call(deep: bytes) -> None:
    for sent in (deep, PLAIN[:-1] + b', "x": ' + deep):
        with pytest.raises(Unavailable, match="deep"):
            completion_from_reply(sent)


FLOORS = {
    "lists": b"[" * 200_000 + b"]" * 200_000,
    "objects": b'{"a":' * 200_000 + b'"]"' + b"}" * 200_000,
    "strings between": b'[{"\\"[":"{","a":' * 50_000 + b"1" + b"}]" * 50_000,
    "again and again": b"[" + b",".join([b"[" * 400 + b"]" * 400] * 500) + b"]",
    "a level too deep": b"[" * 201
    + b"1"
    + b"]" * 201
    + b","
    + b'"x":'
    + b"[" * 2_000
    + b"]" * 2_000,
}


@pytest.mark.parametrize("deep", FLOORS.values(), ids=FLOORS)
@pytest.mark.parametrize("place", ["beside", "before", "usage", "message", "event"])
def test_an_answer_beside_what_has_no_floor_is_read(deep: bytes, place: str) -> None:
    choices = b'"choices": [{"message": {"content": "4 [\\"{"%s}, "finish_reason": "stop"}]'
    sent = (
        b'{"id": "r1", %s}'
        % {
            "beside": choices % b""
            + b', "usage": {"prompt_tokens": 3, "completion_tokens": 1}, "x": '
            + deep,
            "before": b'"x": '
            + deep
            + b', "usage": {"prompt_tokens": 3, "completion_tokens": 1}, '
            + choices % b"",
            "usage": choices % b""
            + b', "usage": {"prompt_tokens": 3, "completion_tokens": 1, "x": '
            + deep
            + b"}",
            "message": choices % (b', "x": ' + deep)
            + b', "usage": {"prompt_tokens": 3, "completion_tokens": 1}',
            "event": choices % b""
            + b', "usage": {"prompt_tokens": 3, "completion_tokens": 1}, "x": '
            + deep,
        }[place]
    )
    if place == "event":
        sent = b"data: " + sent + b"\n\ndata: [DONE]\n\n"
    made = completion_from_reply(sent)
    assert (made.text, made.finish_reason, made.response_id) == ('4 ["{', "stop", "r1")
    assert made.usage is not None and made.usage.input_tokens == 3


@pytest.mark.parametrize("tail", [b" ", b"a", b'"', b'\\"', b"]", b"{", b'"\\'])
def test_what_follows_the_depths_takes_time_in_step_with_its_length(tail: bytes) -> None:
    sent = PLAIN[:-1] + b', "x": ' + FLOORS["lists"] + b"}" + tail * 2_000_000
    began = time.process_time()
    with contextlib.suppress(Unavailable):
        assert completion_from_reply(sent).text
    assert time.process_time() - began < 10


def test_an_error_without_a_floor_beside_an_answer_is_an_error() -> None:
    deep = b"[" * 9_000 + b"]" * 9_000
    with pytest.raises(ProviderError, match="no such luck"):
        completion_from_reply(
            PLAIN[:-1] + b', "error": {"message": "no such luck", "x": ' + deep + b"}}"
        )


def event(content: str | None = None, **more: Any) -> bytes:
    delta = {} if content is None else {"content": content}
    return body(id="r1", model="m1", choices=[{"index": 0, "delta": delta, **more}])


LAST = event(finish_reason="stop")
BILL = body(choices=[], usage=USED)


@pytest.mark.parametrize(
    "sent",
    [
        [event("Pa"), event("ris"), LAST, BILL, b"[DONE]"],
        [event("Pa"), event("ris"), LAST, BILL],
        [event("Pa"), event("ris"), BILL, b"[DONE]"],
        [event("Paris", finish_reason="STOP"), BILL],
        [event("Pa"), event("ris"), PLAIN],
        [PLAIN],
    ],
)
@pytest.mark.parametrize("between", ["\n\n", "\r\n\r\n", "\n"])
def test_a_stream_that_nobody_asked_for_is_read(sent: list[bytes], between: str) -> None:
    stream = b"".join(b"data: " + one + between.encode() for one in sent)
    made = completion_from_reply(b": hello\n\n" + stream)
    assert (made.text, made.finish_reason, made.usage) == ("Paris", "stop", Usage(10, 9))
    lines = b"\n".join(one for one in sent if one != b"[DONE]")
    if sent[-1] != b"[DONE]":
        assert completion_from_reply(lines) == made


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"data: " + event("Pa") + b"\n\n", "unavailable"),
        (b"data: " + event("Pa") + b"\n\ndata: " + event("ris")[:20], "unavailable"),
        (event("Pa") + b"\n" + event("ris"), "unavailable"),
        # A piece in the middle that cannot be read is missing from the answer.
        (
            b"data: " + b"\n\ndata: ".join((event("Pa"), b'{"choices', LAST, b"[DONE]")),
            "unavailable",
        ),
        (b"data: " + event("Pa") + b'\n\ndata: {"error": {"code": 429}}\n\n', "rate_limited"),
        (b"data: " + event("Pa") + b'\n\nevent: error\ndata: {"code": 503}\n\n', "unavailable"),
        (b"event: error\ndata: overloaded\n\n", "unavailable"),
        (b"data: " + event("Pa", finish_reason="abort") + b"\n\n", "unavailable"),
        (b"data: [DONE]\n\n", "garbage"),
    ],
)
def test_a_stream_without_its_end_or_with_an_error_is_no_answer(sent: bytes, kind: str) -> None:
    with pytest.raises(ProviderError) as caught:
        completion_from_reply(sent)
    assert (caught.value.kind, caught.value.maybe_billed) == (kind, True)


@pytest.mark.parametrize(
    ("sent", "cost"),
    [
        ({"cost": 0.25}, 0.25),
        ({"cost": "0.25"}, 0.25),
        ({"cost": 0}, 0.0),
        ({"cost": {"total_cost": 0.25, "request_cost": 0.1}}, 0.25),
        ({"estimated_cost": 0.25}, 0.25),
        ({"cost_in_usd_ticks": 2_500_000_000}, 0.25),
        ({"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.24}}, 0.25),
        ({"cost": 0.2, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.2}}, 0.2),
        ({"cost": 0.2, "cost_details": {"upstream_inference_cost": None}}, 0.2),
        ({"cost": -1}, None),
        ({"cost": float("nan")}, None),
        ({"cost": float("inf")}, None),
        ({"cost": 1e9}, None),
        ({"cost": 10**390}, None),
        ({"cost": True}, None),
        ({"cost": "much"}, None),
        ({"cost": []}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_cost_that_a_provider_reports_is_read_where_it_can_be_true(
    sent: Any, cost: float | None
) -> None:
    assert cost_from(sent) == pytest.approx(cost)


def test_the_cost_in_a_gateways_header_counts_where_the_usage_has_none() -> None:
    told = body(choices=[choice()], usage=USED | {"cost": 0.5})
    for sent, header, cost in (
        (PLAIN, "0.25", 0.25),
        (PLAIN, "None", None),
        (PLAIN, "nan", None),
        (told, "0.25", 0.5),
        (PLAIN.replace(b"stop", b"STOP"), "0.25", 0.25),
    ):
        assert completion_from_reply(sent, header).reported_cost == cost


@given(
    st.text(max_size=8),
    st.sampled_from(["stop", "STOP", "length", "SAFETY", "new", "tool_calls", "", None]),
    st.sampled_from([None, USED, USED | {"cost": 1}, {"prompt_tokens": "x"}]),
    st.dictionaries(
        st.sampled_from(
            ["code", "status", "success", "error", "errors", "error_message"]
            + ["native_finish_reason", "stop_reason", "x"]
        ),
        st.sampled_from([None, "", 0, 200, "ok", False, {}]),
    ),
)
def test_the_fast_way_to_read_says_what_the_slow_one_says(
    text: str, word: str | None, usage: Any, more: dict[str, Any]
) -> None:
    sent = body(id="r", model="m", choices=[choice(text, word) | more], usage=usage, **more)

    def outcome(read: Any) -> Any:
        try:
            return read(sent)
        except ProviderError as error:
            return type(error), error.kind, error.message

    assert outcome(completion_from_reply) == outcome(replies._read)


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
        # Thoughts that only the total has; Gemini's endpoint for OpenAI's clients.
        (
            {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 319},
            Usage(10, 309, reasoning_tokens=300),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 319, **details(7)},
            Usage(10, 309, reasoning_tokens=7),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 5}, Usage(10, 9)),
        ({"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 10**12}, Usage(10, 9)),
        ({"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": "many"}, Usage(10, 9)),
        (
            {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": "319"},
            Usage(10, 309, reasoning_tokens=300),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 9, "reasoning_tokens": 300},
            Usage(10, 309, reasoning_tokens=300),
        ),
        # Cached input under the names of DeepSeek, Moonshot, Anthropic and OpenAI's other API.
        (
            {"prompt_tokens": 10, "completion_tokens": 9, "prompt_cache_hit_tokens": 6},
            Usage(10, 9, cache_read_tokens=6),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 9, "cached_tokens": 6},
            Usage(10, 9, cache_read_tokens=6),
        ),
        (
            {
                "input_tokens": 10,
                "output_tokens": 9,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 30,
            },
            Usage(100, 9, cache_read_tokens=60, cache_write_tokens=30),
        ),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 9,
                "total_tokens": 109,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 30,
            },
            Usage(100, 9, cache_read_tokens=60, cache_write_tokens=30),
        ),
        (
            {
                "input_tokens": 10,
                "output_tokens": 9,
                "input_tokens_details": {"cached_tokens": 6},
                "output_tokens_details": {"reasoning_tokens": 5},
            },
            Usage(10, 9, cache_read_tokens=6, reasoning_tokens=5),
        ),
        (
            {
                "prompt_tokens": 160,
                "completion_tokens": 9,
                "prompt_tokens_details": {"cached_tokens": 50, "cache_write_tokens": 100},
            },
            Usage(160, 9, cache_read_tokens=50, cache_write_tokens=100),  # OpenRouter
        ),
        ({"prompt_tokens": 10.0, "completion_tokens": 9.0, "total_tokens": 19.0}, Usage(10, 9)),
        ({"input_tokens": 10, "output_tokens": 9}, Usage(10, 9)),
        ({"prompt_tokens": "10", "completion_tokens": "9"}, Usage(10, 9)),
        # Cached input that a gateway counts beside the rest.
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "total_tokens": 113,
                "prompt_tokens_details": {"cached_tokens": 100},
            },
            Usage(109, 4, cache_read_tokens=100),
        ),
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
        {"prompt_tokens": "9 tokens", "completion_tokens": "4"},
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
    assert is_about_format(words_of(sent)) is expected


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
