"""What looks like a key, told in time that grows no faster than the text."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.chain.credentials import (
    heard_echo,
    is_whole_secret,
    looks_random,
    remember_key,
    without_echoes,
    without_keys,
    without_shapes,
)
from llm_batch.records import Completion
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


# Put together here, so that nobody takes them for keys that leaked.
OPENAI = "sk-" + "proj-" + "a1B2c3D4e5F6g7H8"
GROQ = "gsk_" + "Abc123Def456Ghi789"
GOOGLE = "AIza" + "SyD1234567890abcdefgh"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Incorrect API key provided: {OPENAI}.", "Incorrect API key provided: [key]"),
        ("Incorrect API key provided: sk-abc1*****wxyz.", "Incorrect API key provided: [key]"),
        (f"invalid {GROQ}", "invalid [key]"),
        (f"key {GOOGLE} is blocked", "key [key] is blocked"),
        ("header 'Authorization: Bearer abcdefgh12'", "header 'Authorization: Bearer [key]"),
        ("GET http://host/v1?api-key=abcdef&x=1", "GET http://host/v1?api-key=[key]&x=1"),
        ("via http://user:word@proxy:80", "via http://[key]@proxy:80"),
    ],
)
def test_what_looks_like_a_key_is_struck_out_of_a_message(text: str, expected: str) -> None:
    assert without_keys(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided",
        "skyscrapers and key-value-pairs are words",
        "the pk-fields of risk-averse people",
        "max_tokens is too large: 100000",
        "context_length_exceeded: 8192 tokens, you asked for 9001",
    ],
)
def test_ordinary_words_of_a_message_stay(text: str) -> None:
    assert without_keys(text) == text


def test_the_value_of_any_variable_that_holds_a_key_is_struck_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ODDVENDOR_API_KEY", "no pattern knows this one\n")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "/a/folder/of/caches")
    said = without_keys("refused: no pattern knows this one, in /a/folder/of/caches")
    assert said == "refused: [key], in /a/folder/of/caches"


def test_a_key_from_a_variable_of_any_name_is_struck_out_once_it_was_read() -> None:
    remember_key("plain-words-as-a-key")
    assert without_keys("bad plain-words-as-a-key!") == "bad [key]!"


@given(st.text(max_size=400), st.sampled_from(" .:'\"(=0"), st.text())
def test_a_key_never_survives_shortening(before: str, mark: str, after: str) -> None:
    said = without_keys(f"{before}{mark}{OPENAI} {after}")
    assert OPENAI[8:] not in said
    assert len(said) <= 300


@pytest.mark.parametrize("placeholder", ["test", "none", "EMPTY", "dummy", "lm-studio", "sk-xxx"])
def test_a_placeholder_is_not_struck_out_of_ordinary_words(placeholder: str) -> None:
    remember_key(placeholder)
    said = f"the latest {placeholder} of {placeholder}s is nonexistent"
    assert without_keys(said) == said


def test_a_password_that_is_a_word_is_not_struck_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "password")
    assert without_keys("wrong password given") == "wrong password given"


def test_a_key_is_struck_out_as_it_stands_in_a_url_too() -> None:
    remember_key("abc/def+ghi=123456789")
    assert without_keys("at /x/abc%2Fdef%2Bghi%3D123456789/y") == "at /x/[key]/y"


@pytest.mark.parametrize("part", ["sk-", "<", "key=", "a b "])
def test_a_message_of_any_length_takes_a_moment(part: str) -> None:
    text = part * 3_000_000
    assert len(without_keys(text)) <= 300
    assert effort(lambda: without_keys(text), 5.0) < 5.0


ECHO = "echoed-key-0123456789"


@pytest.mark.parametrize("place", ["text", "model", "response_id", "finish_reason"])
def test_a_key_that_a_server_repeats_is_struck_out_of_the_answer(place: str) -> None:
    remember_key(ECHO)
    heard_echo()
    answer = replace(Completion("Paris", "m", "stop", None, "r1"), **{place: f"it is {ECHO}!"})
    assert getattr(without_echoes(answer), place) == "it is [key]!"
    assert (heard_echo(), heard_echo()) == (True, False)


def test_an_answer_without_a_key_is_the_same_answer() -> None:
    remember_key("short-k1")
    answer = Completion("the words short-k1 may be meant", "m", "stop", None, "r1")
    assert without_echoes(answer) is answer
