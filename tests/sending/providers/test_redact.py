"""No key is ever shown, whoever quotes it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.records import Completion
from llm_batch.sending.providers.redact import (
    heard_echo,
    remember_key,
    without_echoes,
    without_keys,
)
from tests.effort import effort

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
def test_what_looks_like_a_key_is_struck_out(text: str, expected: str) -> None:
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
def test_ordinary_words_stay(text: str) -> None:
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
