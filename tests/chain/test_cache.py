"""``cache = true``: what is marked, in which requests, and what the estimate makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from llm_batch.chain.chain import Chain
from llm_batch.chain.outputs import OutputField
from llm_batch.chain.steps import Step
from llm_batch.records import Parts, Request
from llm_batch.sending.providers.dialect import content_of
from tests.builders import item

CLAUDE = "anthropic/claude-sonnet-4-5"
MARK = {"cache_control": {"type": "ephemeral"}}
SHOTS = [
    {"role": "user", "content": "1 + 1"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "{{ question }}"},
]


def asked(cache: bool = True, model: str = CLAUDE, **more: Any) -> Request:
    step = Step(name="ask", model=model, cache=cache, **more)
    request = Chain([step]).next_request(item(turns=[{"role": "user", "content": "Hi"}]), [])
    assert request is not None
    return request


def marked(request: Request) -> list[str]:
    """All text up to the mark."""
    texts: list[str] = []
    for message in request.messages:
        content = content_of(message)
        if isinstance(content, list):
            assert content[0]["cache_control"] == MARK["cache_control"]
            assert not any("cache_control" in part for part in content[1:])
            assert "".join(part["text"] for part in content) == message.content
            return [*texts, content[0]["text"]]
        texts.append(message.content)
    return []


@pytest.mark.parametrize(
    ("step", "kept"),
    [
        ({"system": "Be brief.", "prompt": "{{ question }}"}, ["Be brief."]),
        ({"prompt": "Rules. {{ question }} End."}, ["Rules. "]),
        ({"system": "S {{ answer }}", "prompt": "Rules. {{ question }}"}, ["S "]),
        ({"messages": SHOTS}, ["1 + 1", "2"]),
        ({"system": "S", "prompt": "Same for all"}, ["S", "Same for all"]),
        ({"system": "S", "prompt": "P {{ question }}", "conversation": "turns"}, ["S"]),
        ({"prompt": "P {{ question }}", "conversation": "turns"}, []),
        ({"prompt": "{{ question }}"}, []),
        ({"prompt": "{% if answer %}Yes{% endif %}"}, []),
    ],
    ids=str,
)
def test_the_mark_stands_where_items_begin_to_differ(step: dict[str, Any], kept: list[str]) -> None:
    assert marked(asked(**step)) == kept


def test_what_is_asked_and_its_key_are_the_same_with_a_mark_and_without() -> None:
    step: dict[str, Any] = {
        "system": "S",
        "prompt": "Rules. {{ question }}",
        "output": {"score": OutputField(type="integer")},
    }
    with_mark, without = asked(**step), asked(cache=False, **step)
    assert marked(with_mark) == ["S", "Rules. "]
    assert with_mark.key == without.key
    texts = [[(m.role, m.content) for m in each.messages] for each in (with_mark, without)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("model", "marks"),
    [
        (CLAUDE, True),
        ("claude-sonnet-4-5", True),
        ("bedrock/us.anthropic.claude-3-5-sonnet-20241022-v2:0", True),
        ("openrouter/anthropic/claude-sonnet-4.5", True),
        ("openai/gpt-4o", False),
        ("gemini/gemini-2.5-flash", False),
        ("openai/claude-like", False),
    ],
)
def test_only_a_vendor_that_wants_it_gets_a_mark(model: str, marks: bool) -> None:
    request = asked(model=model, system="S", prompt="{{ question }}")
    assert any(isinstance(message, Parts) for message in request.messages) == marks
