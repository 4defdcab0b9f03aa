"""Counts agree with tiktoken, need no network, and say when they are approximate."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tiktoken import load, registry

from llm_batch.errors import LlmbError
from llm_batch.models import tokens
from llm_batch.models.table import litellm_folder
from llm_batch.models.tokens import counter
from llm_batch.records import Message


@pytest.fixture
def fresh() -> Iterator[None]:
    """No encoding loaded yet, neither here nor in tiktoken."""
    held = dict(registry.ENCODINGS)
    registry.ENCODINGS.clear()
    tokens._counter_of.cache_clear()
    yield
    registry.ENCODINGS.update(held)
    tokens._counter_of.cache_clear()


@pytest.fixture
def bundled() -> Path:
    """The folder of encodings inside litellm."""
    folder = litellm_folder()
    assert folder is not None
    return folder / "litellm_core_utils" / "tokenizers"


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4", "cl100k_base"),
        ("openai/gpt-4-0613", "cl100k_base"),
        ("gpt-3.5-turbo", "cl100k_base"),
        ("azure/gpt-35-turbo", "cl100k_base"),
        ("gpt-4o", "o200k_base"),
        ("openai/gpt-4o-mini", "o200k_base"),
        ("azure/eu/gpt-4o-2024-08-06", "o200k_base"),
        ("gpt-4.1", "o200k_base"),
        ("openai/gpt-5", "o200k_base"),
        ("gpt-5.4", "o200k_base"),
        ("o1", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("o4-mini", "o200k_base"),
        ("openrouter/openai/gpt-4", "cl100k_base"),
        ("ft:gpt-4-0613:org::x", "cl100k_base"),
        ("openai/ft:gpt-4.1-2025-04-14:org::x", "o200k_base"),
    ],
)
def test_openai_models_are_counted_exactly_whatever_prefix_they_carry(
    model: str, encoding: str
) -> None:
    found = counter(model)
    assert (found.encoding, found.exact, found.upper_factor) == (encoding, True, 1.0)


@pytest.mark.parametrize(
    "model",
    [
        "anthropic/claude-sonnet-4-5",
        "claude-sonnet-4-5",
        "gemini/gemini-2.5-pro",
        "openai/my-model",
        "ollama/gpt-4",
        "groq/openai/gpt-oss-120b",
        "local/smollm2-135m-instruct",
        "davinci",
        "",
    ],
)
def test_all_other_models_are_counted_approximately_with_a_factor_for_worst_cases(
    model: str,
) -> None:
    found = counter(model)
    assert (found.encoding, found.exact, found.upper_factor) == ("o200k_base", False, 2.0)


@pytest.mark.parametrize(
    ("model", "text", "expected"),
    [
        ("gpt-4", "tiktoken is great!", 6),
        ("gpt-4o", "tiktoken is great!", 6),
        ("gpt-4", "antidisestablishmentarianism", 6),
        ("gpt-4", "2 + 2 = 4", 7),
        ("gpt-4", "お誕生日おめでとう", 9),
        ("gpt-4o", "お誕生日おめでとう", 8),
        ("gpt-4o", "", 0),
    ],
)
def test_known_texts_have_their_published_counts(model: str, text: str, expected: int) -> None:
    # From OpenAI's cookbook, "How to count tokens with tiktoken", section 5.
    assert counter(model).count(text) == expected


# The example of section 6 there: role, name, text.
COOKBOOK = [
    (
        "system",
        "",
        (
            "You are a helpful, pattern-following assistant that translates corporate jargon into "
            "plain English."
        ),
    ),
    ("system", "example_user", "New synergies will help drive top-line growth."),
    ("system", "example_assistant", "Things working well together will increase revenue."),
    (
        "system",
        "example_user",
        (
            "Let's circle back when we have more bandwidth to touch base on opportunities for "
            "increased leverage."
        ),
    ),
    (
        "system",
        "example_assistant",
        "Let's talk later when we're less busy about how to do better.",
    ),
    (
        "user",
        "",
        "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    ),
]


@pytest.mark.parametrize(("model", "billed"), [("gpt-4", 129), ("gpt-4o", 124)])
def test_a_chat_request_has_the_count_openai_bills(model: str, billed: int) -> None:
    found = counter(model)
    messages = [Message(role, text) for role, _, text in COOKBOOK]
    # Our messages carry no names; a name costs its own tokens and 1 more.
    names = sum(1 + found.count(name) for _, name, _ in COOKBOOK if name)
    assert found.count_messages(messages) + names == billed


def test_a_chat_request_of_one_word_takes_eight_tokens() -> None:
    assert counter("gpt-4").count_messages([Message("user", "hi")]) == 8
    assert counter("gpt-4").count_messages([]) == 3


@pytest.mark.parametrize("model", ["gpt-4", "gpt-4o"])
def test_every_role_is_one_token(model: str) -> None:
    assert counter(model).count_many(["system", "user", "assistant"]) == [1, 1, 1]


@given(st.text(max_size=200), st.sampled_from(["gpt-4", "gpt-4o"]))
def test_counts_are_tiktokens(text: str, model: str) -> None:
    found = counter(model)
    count = found.count(text)  # loads the encoding from the right folder
    assert count == len(tiktoken.get_encoding(found.encoding).encode_ordinary(text))


def test_markers_in_a_text_are_plain_text() -> None:
    assert counter("gpt-4o").count("<|endoftext|>") > 1


def test_half_a_surrogate_pair_is_counted_and_not_an_error() -> None:
    assert counter("gpt-4o").count("broken \ud83d text") >= 3


@given(st.lists(st.text(min_size=1, max_size=12).filter(lambda word: not re.search(r"\s", word))))
def test_cutting_a_long_text_between_words_changes_no_count(words: list[str]) -> None:
    text = " ".join(words)
    found = counter("gpt-4")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "_CHUNK_CHARACTERS", 50)
        patch.setattr(tokens, "_CUT_WITHIN", 50)
        parts = list(tokens._chunks(text))
        in_parts = found.count(text)
    assert "".join(parts) == text
    assert max(map(len, parts)) <= 50
    assert in_parts == found.count(text)


@pytest.mark.parametrize("character", [" ", "\t", "\n", "a"])
def test_a_million_times_one_character_is_counted(character: str) -> None:
    # tiktoken itself panics on a million spaces or tabs.
    many = counter("gpt-4o").count(character * 1_200_000)
    few = counter("gpt-4o").count(character * 12_000)
    assert many == pytest.approx(100 * few, rel=0.02)


def test_counting_works_offline_and_imports_no_litellm(tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "def no(*a, **k): raise SystemExit('it went to the network')\n"
        "socket.socket.connect = socket.getaddrinfo = no\n"
        "from llm_batch.models.tokens import counter\n"
        "print(counter('gpt-4').count('hello world'), counter('gpt-4o').count('hello world'))\n"
        "print(sum(m in sys.modules for m in ('litellm', 'numpy', 'requests')))\n"
    )
    # An empty TMPDIR, since tiktoken may have left its files in the usual one.
    unset = ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
    env = {key: value for key, value in os.environ.items() if key not in unset}
    env["TMPDIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    assert done.stdout.split() == ["2", "2", "0"]


def test_importing_the_module_does_not_import_tiktoken() -> None:
    code = "import sys, llm_batch.models.tokens; print('tiktoken' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", sorted(tokens._FILES))
def test_litellm_ships_the_file_under_the_name_tiktoken_looks_for(name: str, bundled: Path) -> None:
    url = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
    assert tokens._FILES[name] == hashlib.sha1(url.encode()).hexdigest()
    assert (bundled / tokens._FILES[name]).is_file()


@pytest.mark.parametrize("value", [None, "/nowhere"])
def test_the_users_environment_is_as_it_was_after_loading(
    fresh: None, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    if value is not None:
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", value)
    assert counter("gpt-4").count("hello") == 1
    assert os.environ.get("TIKTOKEN_CACHE_DIR") == value


@pytest.mark.parametrize("holds_the_file", [True, False])
def test_a_cache_folder_of_the_users_is_used_if_it_holds_the_file(
    fresh: None,
    bundled: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    holds_the_file: bool,
) -> None:
    file = tokens._FILES["cl100k_base"]
    if holds_the_file:
        (tmp_path / file).symlink_to(bundled / file)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    used: list[str] = []
    read = load.read_file_cached

    def spy(path: str, expected_hash: str | None = None) -> bytes:
        used.append(os.environ["TIKTOKEN_CACHE_DIR"])
        return read(path, expected_hash)

    monkeypatch.setattr(load, "read_file_cached", spy)
    assert counter("gpt-4").count("hello") == 1
    assert used == [str(tmp_path if holds_the_file else bundled)]


def test_a_table_that_is_nowhere_and_cannot_be_fetched_is_a_users_error(
    fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreachable(path: str) -> bytes:
        raise OSError("no route to host")

    monkeypatch.setattr(load, "read_file", unreachable)
    monkeypatch.setattr(tokens, "litellm_folder", lambda: tmp_path)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    with pytest.raises(LlmbError, match="cl100k_base.*no route to host") as caught:
        counter("gpt-4").count("hello")
    assert "TIKTOKEN_CACHE_DIR" in caught.value.hint


@given(st.text(st.characters(exclude_categories=())))
def test_a_bound_is_never_below_the_count(text: str) -> None:
    for model in ("gpt-4", "gpt-4o", "anthropic/claude-x"):
        assert counter(model).at_most().count(text) >= counter(model).count(text)
