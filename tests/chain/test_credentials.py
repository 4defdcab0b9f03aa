"""What looks like a key, told in time that grows no faster than the text."""

from __future__ import annotations

import pytest

from llm_batch.chain.credentials import is_whole_secret, looks_random, without_shapes
from tests.effort import effort

# Put together here, so that nobody takes them for keys that leaked.
JWT = "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP"
SIG = "9Xk2" + "b7QwErTy5uIoPa%3D"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"token {JWT} is expired", "token [key] is expired"),
        ("AKIA" + "IOSFODNN7EXAMPLE is no id", "[key] is no id"),
        ("ghp_" + "16C7e42F292c6912E7710c", "[key]"),
        ("GET https://host/f?code=abc&x=1", "GET https://host/f?code=[key]&x=1"),
        (f"https://host/c?sv=2024-01-01&sig={SIG}", "https://host/c?sv=2024-01-01&sig=[key]"),
        ("https://host/?Ocp-Apim-Subscription-Key=abc", "https://host/?Ocp-Apim-Subscription-Key=[key]"),
        ("https://host/?t=0123456789abcdef01", "https://host/?t=[key]"),
        ("git clone https://abc@host/x", "git clone https://[key]@host/x"),
        ('{"x-api-key": "abcdef123"}', '{"x-api-key": "[key]"}'),
        ("Ocp-Apim-Subscription-Key: abc123def", "Ocp-Apim-Subscription-Key: [key]"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic [key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "-----BEGIN RSA [key]"),
    ],
)  # fmt: skip
def test_what_looks_like_a_key_is_struck_out(text: str, expected: str) -> None:
    assert without_shapes(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "HTTP status code=429, retry later",
        "Basic authentication failed",
        "Bearer authentication is required",
        "api_key: missing.",
        "request req_011CSHoEeqs5C35K2UUqR7Fy failed",
        "see https://host/docs?page=2&lang=en",
        "no such model: lm-studio",
        "eyJ is how a token begins",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert without_shapes(text) == text


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        ("test", False), ("none", False), ("EMPTY", False), ("dummy", False), ("x", False),
        ("lm-studio", False), ("placeholder", False), ("not-needed", False), ("sk-xxx", False),
        ("", False), ("12345678", True), ("a-real-word-of-16", True), ("abc123def", True),
    ],
)  # fmt: skip
def test_a_placeholder_is_no_secret(value: str, whole: bool) -> None:
    assert is_whole_secret(value) is whole


@pytest.mark.parametrize(
    ("value", "random"),
    [
        ("0123456789abcdef0123456789abcdef", True),
        ("x=a1B2c3D4e5F6g7H8i9", True),
        ("prompt-caching-2024-07-31", False),
        ("claude-3-5-sonnet-20241022", False),
        ("application/json; charset=utf-8", False),
        ("internationalization", False),
    ],
)
def test_randomness_is_letters_and_digits_in_one_long_run(value: str, random: bool) -> None:
    assert looks_random(value) is random


#: Beginnings that some pattern takes up, again and again.
REPEATED = (
    "sk-", "sk-1", "key-", "eyJ", "AIza", "ghp_", "Bearer ", "Bearer a", "Basic ", "://", "://a",
    "://a@", "?", "&a", "?a=", "?key=", "key=", "api-key: ", "-key", "authorization: ", "a", "1",
    "a1", "-", "_", ".", "*", " ", '"', ":", "=", "@", "token=a ", "x-api-key\": \"", "PRIVATE KEY",
)  # fmt: skip


@pytest.mark.parametrize("part", REPEATED)
def test_time_grows_no_faster_than_the_text(part: str) -> None:
    short, long = (part * (size // len(part)) for size in (50_000, 500_000))
    # Ten times the text: a quadratic pattern takes a hundred times as long.
    most = 30 * min(effort(lambda: without_shapes(short), 0.0) for _ in range(3)) + 0.05
    assert effort(lambda: without_shapes(long), most) < most


@pytest.mark.parametrize("size", [1_000_000, 10_000_000])
def test_signs_of_keys_repeated_take_a_moment(size: int) -> None:
    text = "sk-" * (size // 3)
    assert effort(lambda: without_shapes(text), size / 1e6) < size / 1e6
