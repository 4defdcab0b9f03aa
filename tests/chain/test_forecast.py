"""Counting prompts before the answers they contain exist."""

from __future__ import annotations

import pytest

from llm_batch.chain.chain import Chain
from llm_batch.chain.forecast import forecast
from llm_batch.chain.steps import Step
from llm_batch.chain.templates import PromptError
from llm_batch.models.tokens import counter
from llm_batch.records import Attempt, Call, Completion, Item, Usage

ITEM = Item("1", {"question": "What is the capital of France?"})
GENERATE = Step(name="generate", model="gpt-4", prompt="{{ question }}", max_tokens=50)
JUDGE = Step.model_validate(
    {
        "name": "judge",
        "model": "gpt-4o",
        "prompt": "Q: {{ question }} A: {{ generate }} Again: {{ generate }}",
        "output": {"score": "integer", "reason": "string"},
    }
)
LAST = Step(
    name="last", model="gpt-4o", prompt="{{ judge.reason }} {{ judge.score }}: {{ generate }}"
)


def answered(chain: Chain, calls: list[Call], text: str) -> Call:
    request = chain.next_request(ITEM, calls)
    assert request is not None
    completion = Completion(text, "m", "stop", Usage(1, 1))
    return Call(request, (Attempt(1, 0.0, 0.1),), completion)


def test_one_forecast_per_step_and_each_says_what_it_contains() -> None:
    first, second, third = forecast(Chain([GENERATE, JUDGE, LAST]), ITEM, counter)
    assert dict(first.contains) == {}
    assert dict(second.contains) == {"generate": 2}
    assert dict(third.contains) == {"judge": 1, "generate": 1}


def test_a_forecast_plus_the_output_is_what_is_then_sent() -> None:
    chain = Chain([GENERATE, JUDGE])
    coming = forecast(chain, ITEM, counter)[1]
    words = " Paris is the capital of France." * 20
    request = chain.next_request(ITEM, [answered(chain, [], words)])
    assert request is not None
    tokens = counter("gpt-4o")
    schema = (
        coming.input_tokens
        - forecast(Chain([GENERATE, JUDGE.model_copy(update={"output": None})]), ITEM, counter)[
            1
        ].input_tokens
    )
    sent = tokens.count_messages(request.messages)
    predicted = coming.input_tokens_given({"generate": tokens.count(words)})
    # The schema's tokens are counted beside the messages; joins may add or save a token or two.
    assert schema > 0
    assert predicted - schema <= sent <= predicted + 4


def test_what_is_answered_already_is_not_forecast_again() -> None:
    chain = Chain([GENERATE, JUDGE])
    calls = [answered(chain, [], "Paris.")]
    (only,) = forecast(chain, ITEM, counter, calls)
    assert only.step.name == "judge"
    assert dict(only.contains) == {}, "the answer is known, so it is counted as text"


@pytest.mark.parametrize("model", ["gpt-4", "gpt-4o", "claude-sonnet-4-5"])
def test_longer_prompts_are_forecast_longer(model: str) -> None:
    step = GENERATE.model_copy(update={"model": model})
    (short,) = forecast(Chain([step]), ITEM, counter)
    (long,) = forecast(Chain([step]), Item("2", {"question": "word " * 500}), counter)
    assert 450 <= long.input_tokens - short.input_tokens <= 550


def test_a_prompt_that_needs_a_real_answer_is_guessed_by_what_it_names() -> None:
    judge = JUDGE.model_copy(
        update={"prompt": "{{ question }} {{ item.question }} {{ generate.split('#')[1] }}"}
    )
    chain = Chain([GENERATE, judge, LAST])
    with pytest.raises(PromptError):
        forecast(chain, ITEM, counter)
    _, guessed, last = forecast(chain, ITEM, counter, guess=True)
    assert (guessed.step.name, last.step.name) == ("judge", "last")
    assert dict(guessed.contains) == {"generate": 1}
    assert dict(last.contains) == {"generate": 1, "judge": 2}
    first = answered(chain, [], "a#b")
    real = forecast(chain, ITEM, counter, [first])[0]
    assert guessed.input_tokens >= real.input_tokens


def test_a_guess_changes_nothing_where_every_prompt_can_be_rendered() -> None:
    chain = Chain([GENERATE, JUDGE, LAST])
    assert forecast(chain, ITEM, counter, guess=True) == forecast(chain, ITEM, counter)
