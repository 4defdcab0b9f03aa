"""What headers say about limits, in every vendor's words."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate

import pytest

from llm_batch.sending.headers import StatedLimits, retry_after_seconds, stated_limits


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, StatedLimits()),
        (
            {"x-ratelimit-limit-requests": "500", "x-ratelimit-limit-tokens": "30000"},
            StatedLimits(500, 30_000),
        ),
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-input-tokens-limit": "40000",
                "anthropic-ratelimit-output-tokens-limit": "8000",
            },
            StatedLimits(50, 40_000),
        ),
        ({"x-ratelimit-limit-requests": " 12.5 "}, StatedLimits(12.5, None)),
        ({"x-ratelimit-limit-requests": "0"}, StatedLimits()),
        ({"x-ratelimit-limit-requests": "-5"}, StatedLimits()),
        ({"x-ratelimit-limit-requests": "unlimited"}, StatedLimits()),
        ({"x-ratelimit-limit-requests": "nan"}, StatedLimits()),
        ({"x-ratelimit-limit-requests": "1e9"}, StatedLimits()),
        ({"x-ratelimit-limit-requests": "100, 100;w=60"}, StatedLimits()),
        ({"x-ratelimit-limit-tokens": ""}, StatedLimits()),
    ],
    ids=lambda value: "" if isinstance(value, StatedLimits) else str(value)[:40],
)
def test_limits_are_read_from_headers_and_nonsense_is_ignored(
    headers: dict[str, str], expected: StatedLimits
) -> None:
    assert stated_limits(headers) == expected


NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": " 3 "}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"x-ms-retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "30s"}, 30.0),
        ({"retry-after": "500ms"}, 0.5),
        ({"retry-after": "1m30s"}, 90.0),
        ({"retry-after": "30 seconds"}, 30.0),
        ({"retry-after": "30, 30"}, 30.0),
        ({"retry-after": "2023-11-14T22:13:50Z"}, 30.0),
        ({"retry-after": "1700000030"}, 30.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Wed, 99 Foo 2015 07:28:00 GMT"}, None),
    ],
    ids=str,
)
def test_retry_after_is_read_in_each_form_and_nonsense_is_ignored(
    headers: dict[str, str], expected: float | None
) -> None:
    assert retry_after_seconds(headers, NOW) == expected


def openai(left: str, reset: str, limit: str = "600") -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": limit,
        "x-ratelimit-remaining-requests": left,
        "x-ratelimit-reset-requests": reset,
    }


@pytest.mark.parametrize(
    ("reset", "known"),
    [
        ("1s", True),
        ("120ms", True),
        ("59.95s", True),
        ("1m0s", True),
        ("0s", True),
        ("12", True),
        ("6m0s", False),
        ("2h0m1s", False),
        ("1d2h", False),
        ("7m12s", False),
        ("", False),
        ("soon", False),
        ("-1s", False),
    ],
)
def test_what_is_left_counts_only_where_it_is_left_of_a_minute(reset: str, known: bool) -> None:
    stated = stated_limits(openai("42", reset))
    assert stated == StatedLimits(rpm=600, requests_left=42 if known else None)


@pytest.mark.parametrize("left", ["", "many", "-3", "nan", "inf", "1e3"])
def test_nonsense_about_what_is_left_is_ignored(left: str) -> None:
    assert stated_limits(openai(left, "1s")) == StatedLimits(rpm=600)


def test_nothing_left_is_not_the_same_as_not_saying() -> None:
    assert stated_limits(openai("0", "30s")).requests_left == 0


def test_what_is_left_is_known_without_a_limit_beside_it() -> None:
    """Azure sends no limit with some of its models."""
    headers = {"x-ratelimit-remaining-tokens": "9000", "x-ratelimit-reset-tokens": "3s"}
    assert stated_limits(headers) == StatedLimits(tokens_left=9000)


@pytest.mark.parametrize(
    ("reset", "known"),
    [
        ("2023-11-14T22:13:50Z", True),  # 30 s after NOW
        ("2023-11-14T22:13:50+00:00", True),
        ("2023-11-14T22:13:00Z", True),  # past: it is whole already
        ("2023-11-14T22:19:20Z", False),
        ("2023-11-14T22:13:50", False),
        ("tomorrow", False),
    ],
)
def test_anthropic_says_the_time_at_which_a_limit_is_whole_again(reset: str, known: bool) -> None:
    headers = {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": reset,
        "anthropic-ratelimit-tokens-limit": "48000",
        "anthropic-ratelimit-tokens-remaining": "47000",
        "anthropic-ratelimit-tokens-reset": reset,
    }
    left = (49.0, 47_000.0) if known else (None, None)
    assert stated_limits(headers, NOW) == StatedLimits(50, 48_000, *left)
    headers |= {
        "anthropic-ratelimit-input-tokens-limit": "40000",
        "anthropic-ratelimit-input-tokens-remaining": "39000",
        "anthropic-ratelimit-input-tokens-reset": reset,
    }
    assert stated_limits(headers, NOW).tpm == 40_000


@pytest.mark.parametrize("skew", [-3600, -5, 0, 5, 3600])
@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms"])
def test_a_date_counts_from_the_date_of_the_reply_and_not_from_our_clock(
    name: str, skew: float
) -> None:
    there = NOW + skew
    headers = {name: formatdate(there + 30, usegmt=True), "date": formatdate(there, usegmt=True)}
    assert retry_after_seconds(headers, NOW) == 30.0


def test_a_date_that_is_none_leaves_our_clock() -> None:
    headers = {"retry-after": formatdate(NOW + 30, usegmt=True), "date": "today"}
    assert retry_after_seconds(headers, NOW) == 30.0


@pytest.mark.parametrize("skew", [-3600, 0, 3600])
def test_a_reset_at_a_time_counts_from_the_date_of_the_reply(skew: float) -> None:
    there = NOW + skew
    headers = {
        "anthropic-ratelimit-requests-remaining": "3",
        "anthropic-ratelimit-requests-reset": f"{datetime.fromtimestamp(there + 20, UTC):%FT%TZ}",
        "date": formatdate(there, usegmt=True),
    }
    assert stated_limits(headers, NOW).requests_left == 3.0
