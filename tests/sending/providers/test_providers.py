"""What the rest of the program relies on, whichever provider serves it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from llm_batch.chain.options import Model
from llm_batch.sending.providers import Provider, make_provider
from tests.sending.providers.asking import SCHEMA, ask, at_once
from tests.server import Server

BUNDLED = "local/smollm2-135m-instruct"
#: The embedded model computes in earnest, and other work may share the machine.
LONG = 120


@pytest.fixture(
    scope="module",
    params=[
        "fake",
        "direct",
        pytest.param("embedded", marks=pytest.mark.embedded),
        pytest.param("litellm", marks=pytest.mark.litellm),
    ],
)
def provider(request: pytest.FixtureRequest, shared_server: Server) -> Iterator[Provider]:
    """Each kind of provider in turn, made as a run makes it."""
    settings = {
        "fake": Model(),
        "embedded": Model(),
        "direct": Model(api_base=f"{shared_server.url}/v1"),
        "litellm": Model(api_base=f"{shared_server.url}/v1", transport="litellm"),
    }[request.param]
    model = {"fake": "fake/a", "embedded": BUNDLED}.get(request.param, "openai/gpt-4o-mini")
    made = make_provider(model, settings, workers=8)
    yield made
    made.close()
    made.close()  # harmless


def test_an_answer_has_words_tokens_and_a_reason_to_end(provider: Provider) -> None:
    completion = provider.complete(
        ask("Say hello.", max_tokens=200, temperature=0.0), LONG
    ).completion
    assert completion.text.strip()
    assert completion.finish_reason == "stop"
    assert completion.model
    assert "/" not in completion.model or provider.simulated
    assert completion.response_id
    assert completion.usage is not None
    assert completion.usage.input_tokens > 0
    assert completion.usage.output_tokens > 0


def test_an_answer_that_was_cut_says_so(provider: Provider) -> None:
    completion = provider.complete(ask("Count to 100.", max_tokens=2), LONG).completion
    assert completion.finish_reason == "length"
    assert completion.usage is not None
    assert completion.usage.output_tokens == 2


def test_an_object_follows_its_schema(provider: Provider) -> None:
    request = ask(
        "Rate this answer: Paris. Reply as JSON.",
        max_tokens=200,
        temperature=0.0,
        response_format=SCHEMA,
    )
    made = msgspec.json.decode(provider.complete(request, LONG).completion.text)
    assert set(made) == {"score", "reason"}
    assert made["score"] in range(1, 6)
    assert isinstance(made["reason"], str)


def test_eight_threads_get_an_answer_each(provider: Provider) -> None:
    def call(number: int) -> str:
        asked = ask(f"What is {number} + 1?", str(number), max_tokens=8)
        return provider.complete(asked, LONG).completion.text

    texts = at_once(8, call)
    assert all(texts)


def test_it_says_what_limits_apply_and_whether_it_is_real(provider: Provider) -> None:
    assert provider.on_this_machine  # all four are, here
    assert provider.vendor in ("fake", "local", "openai")
    assert provider.simulated is (provider.vendor == "fake")
