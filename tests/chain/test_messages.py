"""A step's own messages, and conversations that the data has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llm_batch.chain.chain import Chain
from llm_batch.chain.config import load_config
from llm_batch.chain.forecast import forecast
from llm_batch.chain.outputs import OutputField, instruction
from llm_batch.chain.steps import Step
from llm_batch.chain.templates import PromptError
from llm_batch.errors import ConfigError
from llm_batch.models.tokens import counter
from llm_batch.records import Item, Message
from llm_batch.sending.checks import check_prompts
from tests.builders import item, step

SHOTS = [
    {"role": "system", "content": "Only {{ kind }}."},
    {"role": "user", "content": "1 + 1"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "{{ question }}"},
]
HEAD = '[[steps]]\nname = "ask"\nmodel = "fake/a"\n'
USER = '{ role = "user", content = "{{ question }}" }'


def shots(**more: Any) -> Step:
    return step("ask", "", messages=SHOTS, **more)


def sent(chain: Chain, item: Item) -> list[tuple[str, str]]:
    request = chain.next_request(item, [])
    assert request is not None
    return [(message.role, message.content) for message in request.messages]


def test_messages_are_sent_in_their_roles_and_the_object_is_asked_for_in_the_last() -> None:
    made = Chain([shots(output={"score": OutputField(type="integer")})])
    asked = sent(made, item(kind="numbers"))
    assert asked[:3] == [("system", "Only numbers."), ("user", "1 + 1"), ("assistant", "2")]
    role, text = asked[3]
    assert role == "user"
    assert text.startswith("What is 1?\n\n")
    assert text.endswith(instruction({"score": OutputField(type="integer")}))
    assert made.variables() == {"kind", "question"}


def test_every_message_is_counted_and_a_later_step_sees_the_answer() -> None:
    last = [*SHOTS[:3], {"role": "user", "content": "{{ first }}"}]
    made = Chain([step("first", "{{ question }}"), step("ask", "", messages=last)])
    (_, coming) = forecast(made, item(kind="numbers"), counter)
    messages = [Message("system", "Only numbers."), Message("user", "1 + 1")]
    messages += [Message("assistant", "2"), Message("user", "")]
    assert coming.input_tokens == counter("fake/a").count_messages(messages)
    assert coming.contains == {"first": 1}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (f'prompt = "x"\nmessages = [{USER}]', "line 4: steps.ask.prompt stands beside messages"),
        (f'messages = [{USER}]\nsystem = "x"', "line 5: steps.ask.system stands beside messages"),
        (f'messages = [{USER}]\nprompt_file = "x"', "line 5: steps.ask.prompt_file stands beside"),
        ("messages = []", "line 4: steps.ask.messages is empty"),
        (
            'messages = [\n  { role = "user", content = """\nx = 1\n""" },\n'
            '  { role = "assistant", content = "y" },\n]',
            "line 4: steps.ask.messages[2].role of the last message is assistant",
        ),
        (
            f'messages = [{USER}, {{ role = "system", content = "x" }}, {USER}]',
            "messages[2].role is system, which only the first message can be",
        ),
        (f'messages = [{{ role = "user", content = " " }}, {USER}]', "messages[1].content is empt"),
        (f'messages = [{{ role = "tool", content = "x" }}, {USER}]', "messages[1].role must be"),
        ('messages = [{ role = "user" }]', "line 4: steps.ask.messages[1]"),
        ("temperature = 0.0", "line 1: steps.ask has no prompt"),
        (
            'messages = [{ role = "user", content = "\\u0007" }]',
            "line 4: steps.ask.messages[1].content holds",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_line_and_key(keys: str, said: str, tmp_path: Path) -> None:
    config = tmp_path / "llmb.toml"
    config.write_text(HEAD + keys + "\n", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load_config(config)
    assert said in raised.value.message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{{ questoin }}", "line 4: the prompts use 'questoin'"),
        ("Answer {question}", "line 4: steps.ask.messages[2] has {question} in single"),
        ("{{ question.none.more }}", "line 4: item 'q1': steps.ask.messages[2]"),
    ],
)
def test_templates_of_messages_are_checked_against_the_data(
    content: str, said: str, tmp_path: Path
) -> None:
    keys = f'messages = [{{ role = "system", content = "x" }}, {USER}]\n'
    (tmp_path / "llmb.toml").write_text(
        HEAD + keys.replace("{{ question }}", content), encoding="utf-8"
    )
    config = load_config(tmp_path / "llmb.toml")
    with pytest.raises(ConfigError) as raised:
        check_prompts(config, config.chain(), item())
    assert said in raised.value.message


CHAT = [
    {"from": "system", "value": "Be kind."},
    {"from": "human", "value": "Hi"},
    {"from": "gpt", "value": "Hello", "weight": 1},
    {"from": "human", "value": "How much is {{ 1 + 1 }}?"},
]
OPENAI = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def talk(**more: Any) -> Chain:
    return Chain([Step(name="ask", model="fake/a", conversation="turns", **more)])


@pytest.mark.parametrize(
    "turns", [CHAT, tuple(CHAT), json.dumps(CHAT)], ids=["list", "tuple", "json"]
)
def test_a_conversation_of_the_data_is_sent_as_text_and_alone(turns: Any) -> None:
    asked = sent(talk(), item(turns=turns))
    assert [role for role, _ in asked] == ["system", "user", "assistant", "user"]
    assert asked[-1] == ("user", "How much is {{ 1 + 1 }}?")
    assert talk().variables() == {"turns"}


def test_a_conversation_comes_before_the_prompt_and_after_the_system_message() -> None:
    both = item(turns=CHAT, kind="numbers")
    asked = sent(talk(system="Short.", prompt="Sum it up: {{ question }}"), both)
    assert asked[0] == ("system", "Short.\n\nBe kind.")
    assert asked[1:4] == [("user", "Hi"), ("assistant", "Hello"), ("user", CHAT[3]["value"])]
    assert asked[4:] == [("user", "Sum it up: What is 1?")]
    shown = [text for _, text in sent(talk(messages=SHOTS), both)]
    assert shown[0] == "Only numbers.\n\nBe kind."
    assert shown[1:] == ["Hi", "Hello", CHAT[3]["value"], "1 + 1", "2", "What is 1?"]


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        (None, "is empty"),
        ("", "is empty"),
        ([], "is empty"),
        ("Hi there", "is a text, and no JSON"),
        ("[" * 100_000, "is a text, and no JSON"),
        ({"role": "user", "content": "x"}, "is no list of turns"),
        (["Hi"], "turn 1 is not {"),
        ([{"role": "tool", "content": "x"}], "turn 1 has the role 'tool'"),
        ([{"role": ["user"], "content": "x"}], "turn 1 has the role"),
        ([*OPENAI, {"role": "user", "content": [{"type": "text"}]}], "turn 3 has no text"),
        ([*OPENAI, {"role": "system", "content": "x"}], "turn 3 is of the system"),
        (OPENAI, "the last turn of 'turns' is of the assistant"),
        ([{"role": "system", "content": "x"}], "the last turn of 'turns' is of the system"),
    ],
)
def test_a_conversation_of_another_shape_fails_its_item(turns: Any, said: str) -> None:
    with pytest.raises(PromptError, match="steps.ask.conversation: ") as raised:
        talk().next_request(item(turns=turns), [])
    assert said in str(raised.value)


def test_a_conversation_is_counted() -> None:
    (coming,) = forecast(talk(), item(turns=CHAT), counter)
    asked = [Message(*each) for each in sent(talk(), item(turns=CHAT))]
    assert coming.input_tokens == counter("fake/a").count_messages(asked)


def test_a_column_that_is_not_there_is_named_with_the_key(tmp_path: Path) -> None:
    (tmp_path / "llmb.toml").write_text(HEAD + 'conversation = "turn"\n', encoding="utf-8")
    config = load_config(tmp_path / "llmb.toml")
    with pytest.raises(ConfigError) as raised:
        check_prompts(config, config.chain(), item(turns=CHAT))
    assert "line 4: steps.ask.conversation names 'turn'" in raised.value.message
    assert raised.value.hint == 'did you mean conversation = "turns"?'
