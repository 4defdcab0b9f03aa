"""No key is ever shown, whoever quotes it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.providers.redact import remember_key, without_keys

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
