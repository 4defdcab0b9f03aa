"""The chain: which request comes next, and what an item's calls came to."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.chain import answers
from llm_batch.chain.chain import Chain
from llm_batch.chain.outputs import OutputField, instruction
from llm_batch.chain.score_rules import ScoreRule
from llm_batch.chain.steps import Step
from llm_batch.chain.templates import PromptError
from llm_batch.errors import ConfigError
from llm_batch.records import Attempt, Call, Completion, Failure, Item, Message, Request, Usage
from tests.builders import answer, chain, failure, item, step

SCORE = {"score": OutputField(type="integer", min=1, max=5)}


def done(request: Request | None, text: str, **more: Any) -> Call:
    """A request answered, with the details of the completion that matter."""
    assert request is not None
    usage = more.pop("usage", Usage(10, 5))
    finish_reason = more.pop("finish_reason", "stop")
    completion = Completion(text, "m", finish_reason, usage)
    return Call(request, (Attempt(1, 1.0, 0.5),), completion=completion, **more)


def played(chain: Chain, item: Item, *texts: str) -> list[Call]:
    """The calls of an item that is answered with these texts in turn."""
    calls: list[Call] = []
    for text in texts:
        calls.append(done(chain.next_request(item, calls), text, cost=0.25))
    return calls


def prompts(request: Request | None) -> list[tuple[str, str]]:
    assert request is not None
    return [(message.role, message.content) for message in request.messages]


def one_step(**more: Any) -> Chain:
    return Chain([step("generate", "{{ question }}", **more)])


# Requests


def test_a_reply_is_read_once_however_often_its_item_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, read = chain(), list[str]()
    monkeypatch.setattr(answers, "parse_object", lambda text, _: read.append(text) or {"score": 4})
    calls = played(made, item(), "One.", "4")
    for _ in range(3):
        assert made.next_request(item(), calls) is None
    assert made.result(item(), calls).status == "ok"
    assert read == ["4"]


def test_one_reply_to_two_steps_is_read_by_the_rules_of_each() -> None:
    made = Chain([step("a", "x"), step("b", "{{ a }}", output=SCORE), step("c", "{{ b.score }}")])
    calls = played(made, item(), '{"score": 4}')
    again = made.next_request(item(), calls)
    assert again is not None
    calls.append(Call(again, (), completion=calls[0].completion))
    assert prompts(made.next_request(item(), calls)) == [("user", "4")]


def test_what_is_remembered_of_replies_does_not_grow_with_the_items() -> None:
    made = chain()
    for number in range(20):
        made.result(item(number), played(made, item(number), "One.", '{"score": 4}'))
    assert not made._outcomes


def test_the_first_request_is_the_first_steps_prompt_over_the_items_fields() -> None:
    request = one_step(system="Be {{ tone }}.").next_request(item(1, tone="kind"), [])
    assert prompts(request) == [("system", "Be kind."), ("user", "What is 1?")]
    assert (request.item_id, request.step, request.model) == ("q1", "generate", "fake/a")


def test_a_later_prompt_sees_the_outputs_above_it_and_asks_for_the_object() -> None:
    request = chain().next_request(item(), played(chain(), item(), "One."))
    assert prompts(request) == [("user", f"What is 1? 1 One.\n\n{instruction(SCORE)}")]


def test_fields_of_an_object_are_reached_by_name() -> None:
    made = Chain(
        [
            step("judge", "rate", output=SCORE),
            step("explain", "{{ judge.score }} {{ judge }}"),
        ]
    )
    request = made.next_request(item(), played(made, item(), '{"score": 4}'))
    assert prompts(request) == [("user", '4 {"score": 4}')]


def test_a_field_whose_name_is_no_identifier_is_reached_through_item() -> None:
    made = Chain([step("a", '{{ item["Question text"] }}')])
    assert prompts(made.next_request(Item("1", {"Question text": "Why?"}), [])) == [
        ("user", "Why?")
    ]
    assert made.variables() == set()


def test_a_field_called_item_is_the_field() -> None:
    made = Chain([step("a", "{{ item }}")])
    assert prompts(made.next_request(Item("1", {"item": "soap"}), [])) == [("user", "soap")]


def test_an_output_hides_a_field_of_the_same_name() -> None:
    made = Chain([step("a", "x"), step("b", "{{ a }}")])
    calls = played(made, item(1, a="field"), "output")
    assert prompts(made.next_request(item(1, a="field"), calls)) == [("user", "output")]


def test_what_a_model_said_is_text_in_the_next_prompt() -> None:
    calls = played(chain(), item(), "{{ 7*7 }} {% if %}")
    assert "{{ 7*7 }} {% if %}" in prompts(chain().next_request(item(), calls))[0][1]


def test_params_are_those_of_the_step_and_the_schema_of_its_output() -> None:
    made = one_step(
        temperature=0.5, params={"top_p": 0.9, "logit_bias": {"1": 2}}, output=SCORE
    )  # fmt: skip
    request = made.next_request(item(), [])
    assert request is not None
    schema = {
        "type": "object",
        "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 5}},
        "required": ["score"],
        "additionalProperties": False,
    }
    assert dict(request.params) == {
        "max_tokens": 20,
        "temperature": 0.5,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        },
        "top_p": 0.9,
        "logit_bias": {"1": 2},
    }


def test_a_step_without_settings_sends_none() -> None:
    request = Chain([Step(name="a", model="m", prompt="x")]).next_request(item(), [])
    assert request is not None
    assert dict(request.params) == {}


def test_the_whole_chain_is_two_requests_and_then_nothing() -> None:
    calls = played(chain(), item(), "One.", '{"score": 5}')
    assert [call.request.step for call in calls] == ["generate", "judge"]
    assert chain().next_request(item(), calls) is None


replies = st.sampled_from(
    ["One.", "", '{"score": 4}', '{"score": 9}', "no idea", "Score: 2", "{{ x }}", "{'score': 3}"]
)


@given(st.lists(st.tuples(replies, st.sampled_from(["stop", "length", "content_filter", "x"]))))
def test_the_chain_is_a_pure_function_of_history_and_ends(
    answers: list[tuple[str, str]],
) -> None:
    calls: list[Call] = []
    for text, reason in [*answers, *[("no idea", "stop")] * 5]:
        before = copy.deepcopy(calls)
        request = chain().next_request(item(), calls)
        assert request == chain().next_request(item(), list(calls))
        assert calls == before
        if request is None:
            break
        calls.append(done(request, text, finish_reason=reason, cost=0.1))
    # Each step twice where nothing comes, and the judge once more where it cannot be read.
    assert len(calls) <= 5
    assert len({call.request.key for call in calls}) == len(calls)
    result = chain().result(item(), calls)
    assert result == chain().result(item(), calls)
    assert (result.score is not None) == (result.status == "ok")


# Asking again


def test_an_unreadable_object_is_asked_for_again_once_with_what_was_wrong() -> None:
    calls = played(chain(), item(), "One.", "I think it is fine.")
    again = chain().next_request(item(), calls)
    assert again is not None
    assert again.step == "judge"
    assert again.params == calls[1].request.params
    assert again.messages == (
        *calls[1].request.messages,
        Message("assistant", "I think it is fine."),
        Message(
            "user",
            "That reply cannot be used: no JSON object in the reply. " + instruction(SCORE),
        ),
    )


def test_a_readable_second_answer_counts_and_both_are_paid_for() -> None:
    calls = played(chain(), item(), "One.", "fine", '{"score": 4}')
    result = chain().result(item(), calls)
    assert (result.status, result.score.value if result.score else None) == ("ok", 4.0)
    assert result.steps["judge"].cost == 0.5
    assert result.steps["judge"].usage == Usage(20, 10)
    assert result.steps["judge"].latency_seconds == 1.0
    assert result.steps["judge"].attempts == 2


def test_two_unreadable_answers_are_unparsed_and_never_a_score() -> None:
    calls = played(chain(), item(), "One.", "fine", '{"score": 7}')
    assert chain().next_request(item(), calls) is None
    result = chain().result(item(), calls)
    assert (result.status, result.score, result.passed) == ("unparsed", None, None)
    assert result.error == "judge: field 'score' is 7, not an integer from 1 to 5"
    assert result.outputs == {"generate": "One."}


def test_text_steps_are_never_asked_again() -> None:
    calls = played(one_step(), item(), "anything")
    assert one_step().next_request(item(), calls) is None


# Statuses

STOPPED = "the provider's content filter stopped the answer"
CUT_AT_20 = "the answer was cut at 20 output tokens; raise max_tokens"
CUT_IN_THOUGHT = (
    "the answer was cut at 20 output tokens in the middle of thoughts; raise max_tokens"
)
THOUGHTS = "the answer is thoughts and nothing after them"
ELSEWHERE = (
    "all text is in the reply's field for reasoning and none in its content; lower the reasoning "
    "effort, or correct how the server parts the two"
)
CALLED = "the model called a tool instead of answering"


def ended(word: str) -> str:
    return f"the answer ended as {word!r}, which may be half of it"


@pytest.mark.parametrize(("text", "reason"), [("", "stop"), (" \n", "stop"), ("", "empty")])
def test_an_empty_answer_is_asked_for_once_more_and_then_the_item_is_empty(
    text: str, reason: str
) -> None:
    calls = [done(chain().next_request(item(), []), text, finish_reason=reason, cost=0.1)]
    again = chain().next_request(item(), calls)
    assert again == replace(calls[0].request, sample=1)
    calls.append(done(again, text, finish_reason=reason, cost=0.1))
    assert chain().next_request(item(), calls) is None
    result = chain().result(item(), calls)
    assert (result.status, result.error) == ("empty", "generate: the provider sent no text")
    assert result.steps["generate"].cost == 0.2


def test_what_comes_after_an_empty_answer_counts_and_may_be_asked_for_again() -> None:
    calls = played(chain(), item(), "", "One.", "", "fine", '{"score": 4}')
    assert chain().next_request(item(), calls) is None
    # A sample is a repeat of the same request, and a re-ask says something else.
    assert [call.request.sample for call in calls] == [0, 1, 0, 1, 0]
    result = chain().result(item(), calls)
    assert (result.status, result.score.value if result.score else None) == ("ok", 4.0)


@pytest.mark.parametrize("reason", ["stop", "STOP", "end_turn", "COMPLETE", "eos_token", ""])
def test_only_a_word_that_is_known_to_mean_whole_makes_an_answer(reason: str) -> None:
    calls = [done(one_step().next_request(item(), []), "One.", finish_reason=reason)]
    assert one_step().result(item(), calls).status == "ok"


def test_later_steps_and_a_re_ask_never_see_thoughts_and_the_call_keeps_them() -> None:
    calls = played(chain(), item(), "<think>Two?</think>One.", "<think>4</think>I like it.")
    assert prompts(calls[1].request)[0][1].startswith("What is 1? 1 One.\n")
    again = chain().next_request(item(), calls)
    assert prompts(again)[1] == ("assistant", "I like it.")
    assert chain().result(item(), calls[:1], "stopped").outputs == {"generate": "One."}
    assert calls[0].completion is not None
    assert calls[0].completion.text == "<think>Two?</think>One."


def test_a_score_is_never_read_from_a_draft_in_the_thoughts() -> None:
    draft = 'Let me see. The draft says {"reason":"draft","score":2} … </think>\n{"score": 5}'
    result = chain().result(item(), played(chain(), item(), "One.", draft))
    assert result.score is not None
    assert result.score.value == 5.0


@pytest.mark.parametrize(
    ("text", "finish_reason", "reasoning", "status", "error"),
    [
        ("", "length", 0, "truncated", "generate: no text within 20 output tokens"),
        (
            "",
            "length",
            20,
            "reasoning",
            "generate: all 20 output tokens went into reasoning; raise max_tokens",
        ),
        (
            "The ans",
            "length",
            0,
            "truncated",
            "generate: the answer was cut at 20 output tokens; raise max_tokens",
        ),
        (
            "Well,",
            "content_filter",
            0,
            "filtered",
            "generate: the provider's content filter stopped the answer",
        ),
        (
            "",
            "content_filter",
            0,
            "filtered",
            "generate: the provider's content filter stopped the answer",
        ),
        ("Well,", "SAFETY", 0, "filtered", f"generate: {STOPPED}"),
        ("Well,", "MAX_TOKENS", 0, "truncated", f"generate: {CUT_AT_20}"),
        ("", "tool_calls", 0, "tool_call", f"generate: {CALLED}"),
        ("Let me look.", "tool_use", 0, "tool_call", f"generate: {CALLED}"),
        ("Well,", "something_new", 0, "incomplete", f"generate: {ended('something_new')}"),
        ("", "something_new", 0, "incomplete", f"generate: {ended('something_new')}"),
        ("Well,", "abort", 0, "incomplete", f"generate: {ended('abort')}"),
        ("", "reasoning", 0, "reasoning", f"generate: {ELSEWHERE}"),
        ("<think>So", "stop", 0, "reasoning", f"generate: {THOUGHTS}"),
        ("<think>So</think>\n", "stop", 0, "reasoning", f"generate: {THOUGHTS}"),
        ("<think>So", "length", 0, "reasoning", f"generate: {CUT_IN_THOUGHT}"),
    ],
)
def test_an_answer_that_is_none_has_its_own_status_and_ends_the_item(
    text: str, finish_reason: str, reasoning: int, status: str, error: str
) -> None:
    usage = Usage(10, 20, reasoning_tokens=reasoning)
    first = chain().next_request(item(), [])
    calls = [done(first, text, finish_reason=finish_reason, usage=usage, cost=0.1)]
    assert chain().next_request(item(), calls) is None
    result = chain().result(item(), calls)
    assert (result.status, result.error) == (status, error)
    assert (result.outputs, result.score, result.passed) == ({}, None, None)
    assert result.steps["generate"].cost == 0.1


def test_a_cut_answer_is_kept_where_the_step_says_so() -> None:
    made = one_step(on_truncated="keep")
    calls = [done(made.next_request(item(), []), "The ans", finish_reason="length")]
    assert made.result(item(), calls).outputs == {"generate": "The ans"}
    nothing = [done(made.next_request(item(), []), "", finish_reason="length")]
    assert made.result(item(), nothing).status == "truncated"


def test_a_cut_object_is_truncated_even_if_it_could_be_read() -> None:
    # {"score": 1 may have been going to be 10.
    calls = played(chain(), item(), "One.")
    calls.append(done(chain().next_request(item(), calls), '{"score": 1}', finish_reason="length"))
    assert chain().next_request(item(), calls) is None
    assert chain().result(item(), calls).status == "truncated"


def test_a_failed_call_gives_the_item_its_kind_of_failure() -> None:
    calls = played(chain(), item(), "One.")
    judge = chain().next_request(item(), calls)
    assert judge is not None
    calls.append(failure(judge, "timeout"))
    assert chain().next_request(item(), calls) is None
    result = chain().result(item(), calls)
    assert (result.status, result.error) == ("timeout", "judge: no luck")
    assert result.outputs == {"generate": "One."}
    assert list(result.steps) == ["generate", "judge"]


def test_a_prompt_that_cannot_be_rendered_is_said_and_becomes_a_status() -> None:
    odd = Item("q9", {"question": "x"})  # no reference answer
    calls = played(chain(), odd, "One.")
    with pytest.raises(PromptError) as raised:
        chain().next_request(odd, calls)
    assert str(raised.value) == "steps.judge.prompt: 'answer' is undefined"
    result = chain().result(odd, calls, str(raised.value))
    assert (result.status, result.error) == ("prompt", str(raised.value))
    assert result.outputs == {"generate": "One."}


def test_a_bad_system_prompt_is_named_as_such() -> None:
    with pytest.raises(PromptError, match=r"^steps\.generate\.system: 'tone' is undefined"):
        one_step(system="{{ tone }}").next_request(item(), [])


def test_an_unfinished_item_has_no_result() -> None:
    with pytest.raises(ValueError, match="'q1' is not finished: judge is to come"):
        chain().result(item(), played(chain(), item(), "One."))


def test_what_providers_report_adds_up_by_step_beside_ours() -> None:
    calls = played(chain(), item(), "One.", "fine", '{"score": 4}')
    calls = [
        replace(
            call,
            completion=replace(call.completion, reported_cost=0.5),
            list_cost=0.25,
            # As of an answer that another run paid for.
            cost=0.0 if number == 1 else 0.5,
        )
        for number, call in enumerate(calls)
    ]  # fmt: skip
    steps = chain().result(item(), calls).steps
    told = {name: (totals.reported_cost, totals.list_cost) for name, totals in steps.items()}
    assert told == {"generate": (0.5, 0.25), "judge": (0.5, 0.25)}


# Scores


@pytest.mark.parametrize(("score", "passed"), [(3, False), (4, True), (5, True)])
def test_an_item_passes_at_the_threshold_and_above(score: int, passed: bool) -> None:
    result = chain().result(item(), played(chain(), item(), "One.", f'{{"score": {score}}}'))
    assert result.score is not None
    assert (result.score.value, result.passed) == (float(score), passed)


def scored(rule: ScoreRule, output: dict[str, OutputField] | None, text: str) -> Any:
    made = Chain([step("judge", "rate", output=output)], rule)
    return made.result(item(), played(made, item(), text))


def test_without_a_threshold_nothing_passes_or_fails() -> None:
    result = scored(ScoreRule(field="judge.score"), SCORE, '{"score": 4}')
    assert (result.score.value, result.passed) == (4.0, None)


def test_without_a_rule_there_is_no_score() -> None:
    result = one_step().result(item(), played(one_step(), item(), "4"))
    assert (result.status, result.score, result.passed) == ("ok", None, None)


def test_the_judges_reason_goes_with_the_score() -> None:
    output = {"reason": OutputField(type="string"), **SCORE}
    result = scored(ScoreRule(field="judge.score"), output, '{"reason": "good", "score": 4}')
    assert result.score.reason == "good"


def test_a_boolean_scores_one_or_zero() -> None:
    output = {"ok": OutputField(type="boolean")}
    rule = ScoreRule(field="judge.ok", pass_at=1)
    assert scored(rule, output, '{"ok": true}').passed is True
    no = scored(rule, output, '{"ok": false}')
    assert (no.score.value, no.passed) == (0.0, False)


def test_labels_score_what_they_stand_for() -> None:
    output = {"verdict": OutputField(type="string", choices=("same", "other"))}
    rule = ScoreRule(field="judge.verdict", labels={"same": 1, "other": 0}, pass_at=1)
    result = scored(rule, output, '{"verdict": "Same"}')
    assert (result.score.value, result.score.label, result.passed) == (1.0, "same", True)


@pytest.mark.parametrize(("text", "value"), [("4/5", 4.0), ("Score: 4", 4.0), ("4", 4.0)])
def test_a_text_score_is_read_where_it_is_certain(text: str, value: float) -> None:
    assert scored(ScoreRule(field="judge"), None, text).score.value == value


def test_a_text_without_a_certain_score_is_unparsed() -> None:
    result = scored(ScoreRule(field="judge", pass_at=3), None, "between 3 and 4")
    assert (result.status, result.score, result.passed) == ("unparsed", None, None)
    assert result.error == "judge: no score in 'between 3 and 4'"


# The judge of P7 has no schema: only one of these is a score.
SAID = [
    ("Wrong; the treaty was signed in 1648.", None),
    ("1. It names Sydney, which is wrong.", None),
    ("Please call 911", None),
    ("Wrong: the right answer is 42", None),
    ("Score: 2", 2.0),
]


@pytest.mark.parametrize(("text", "value"), SAID, ids=[text for text, _ in SAID])
@pytest.mark.parametrize("bounds", [{}, {"min": 1, "max": 5}], ids=["no scale", "1 to 5"])
def test_a_number_in_a_judges_prose_is_no_score(
    text: str, value: float | None, bounds: dict[str, float]
) -> None:
    result = scored(ScoreRule(field="judge", pass_at=2, **bounds), None, text)
    assert (result.score and result.score.value) == value
    assert (result.status, result.passed) == (("ok", True) if value else ("unparsed", None))


def test_a_score_beyond_its_bounds_is_none() -> None:
    rule = ScoreRule(field="judge", pass_at=4, min=1, max=5)
    assert scored(rule, None, "Score: 8").status == "unparsed"
    assert scored(rule, None, "Score: 4/10").status == "unparsed"
    assert scored(rule, None, "Score: 4/5").passed


# Sums and marks


def test_an_unknown_cost_stays_unknown_in_the_sum() -> None:
    calls = played(chain(), item(), "One.", "fine")
    calls.append(done(chain().next_request(item(), calls), '{"score": 4}', cost=None))
    result = chain().result(item(), calls)
    assert result.steps["generate"].cost == 0.25
    assert result.steps["judge"].cost is None


def test_missing_usage_counts_as_none_and_the_rest_is_kept() -> None:
    calls = [done(one_step().next_request(item(), []), "One.", usage=None)]
    assert one_step().result(item(), calls).steps["generate"].usage == Usage()


def test_one_simulated_or_guessed_call_marks_the_result() -> None:
    def result(**more: Any) -> Any:
        calls = played(chain(), item(), "One.")
        judge = chain().next_request(item(), calls)
        assert judge is not None
        return chain().result(item(), [*calls, answer(judge, '{"score": 4}', **more)])

    assert (result().simulated, result().worst_case) == (False, False)
    assert result(simulated=True).simulated
    assert result(worst_case=True).worst_case


# What a chain refuses


def refused(*steps: Step) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        Chain(steps)
    return raised.value


@pytest.mark.parametrize("prompt", ["{{ b }}", "{{ a }}", "{% if b is defined %}x{% endif %}"])
def test_a_prompt_cannot_use_an_output_that_does_not_come_before_it(prompt: str) -> None:
    error = refused(step("a", prompt), step("b", "x"))
    assert "does not come before it" in error.message
    assert error.message.startswith("steps.a: ")


def test_a_system_prompt_cannot_either() -> None:
    assert "'b'" in refused(step("a", "x", system="{{ b }}"), step("b", "x")).message


def test_a_template_that_is_not_valid_names_its_step() -> None:
    assert refused(step("a", "{{ x")).message.startswith("steps.a.prompt is not a valid template")
    assert refused(step("a", "x", system="{% if %}")).message.startswith("steps.a.system is not")


def test_the_fields_a_chain_uses_are_those_of_every_prompt_without_outputs() -> None:
    made = Chain(
        [
            step("a", "{{ question }}", system="{{ tone }}"),
            step("b", "{{ a }} {{ item.x }} {{ range(3) }}"),
        ]
    )
    assert made.variables() == {"question", "tone"}


def test_failures_in_the_history_are_facts_like_any_other() -> None:
    first = chain().next_request(item(), [])
    assert first is not None
    call = Call(first, (), failure=Failure("rejected", "too long"))
    history: Sequence[Call] = [call]
    result = chain().result(item(), history)
    assert (result.status, result.steps["generate"].attempts) == ("rejected", 0)
    assert result.steps["generate"].cost is None
