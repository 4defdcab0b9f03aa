"""Thoughts are taken off where they certainly stand, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.chain.answers import without_thoughts
from tests.effort import effort

P2 = 'Let me see. The draft says {"reason":"draft","score":2} … </think>\nScore: 5'
HARMONY = "<|channel|>analysis<|message|>Hm, 2?<|end|><|start|>assistant"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>\nHm.\n</think>\n\nParis", "Paris"),
        ("\n <THINK>Hm.</THINK> Paris ", "Paris"),
        ("<think></think>Paris", "Paris"),
        ("<thinking>Hm.</thinking>Paris", "Paris"),
        ("<thought>Hm.</thought>Paris", "Paris"),
        ("<reasoning>Hm.</reasoning>Paris", "Paris"),
        ("<think>Hm.</think>\n<reflection>So.</reflection>\nParis", "Paris"),
        ("<think>Hm.</thinking>Paris", "Paris"),
        ("[THINK]Hm.[/THINK]Paris", "Paris"),
        ("<seed:think>Hm.</seed:think>Paris", "Paris"),
        ("◁think▷Hm.◁/think▷Paris", "Paris"),
        ("<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>Paris<|END_RESPONSE|>", "Paris"),
        ("<think>Hm.</think>\n<response>\nParis\n</response>", "Paris"),
        ("<think>Hm.</think><|begin_of_box|>Paris<|end_of_box|>", "Paris"),
        ("<REASONING>Hm.</REASONING>\n<SOLUTION>Paris</SOLUTION>", "Paris"),
        ("<|begin_of_thought|>Hm.<|end_of_thought|>Paris", "Paris"),
        ("<|channel>thought\nHm.<channel|>Paris", "Paris"),
        ("Here is my thought process: Hm. Here is my response: Paris", "Paris"),
        ("<think>a <think> b </think> c </think> Paris", "Paris"),
        ("<think>The user wrote <think> here.</think>Paris", "Paris"),
        ("<think>Hm.</think>The tag is `</think>`.", "The tag is `</think>`."),
        ("<think>Hm.</think>It ends with </think> indeed.", "It ends with </think> indeed."),
        ('<think type="x">Hm.</think >Paris', "Paris"),
        ("<思考>不对。</思考>Paris", "Paris"),
        ("Assistant: <think>Hm.</think>Paris", "Paris"),
        # What opened it was in the prompt.
        (P2, "Score: 5"),
        ("so it is 5.</think>Score: 5", "Score: 5"),
        ('{"score": 2}? No.\n</think>\n{"score": 5}', '{"score": 5}'),
        ("The user says `<think>`, hm.\n</think>\nParis", "Paris"),
        ("first.</think> Second: no.\n</think>\nParis", "Paris"),
        ("[1] is wrong.[/THINK]Paris", "Paris"),
        ("```json\n{}\n``` hm\n</think>\n```json\n{1}\n```", "```json\n{1}\n```"),
        (f"{HARMONY}<|channel|>final<|message|>Paris<|return|>", "Paris"),
        (f"<|start|>assistant{HARMONY}<|channel|>final<|message|>Paris", "Paris"),
        (f"{HARMONY}<|channel|>final <|constrain|>json<|message|>{{}}", "{}"),
        ("Hm, 2?<|end|><|start|>assistant<|channel|>final<|message|>Paris", "Paris"),
        ("<|channel|>analysis<|message|>Hm.<|end|>Paris", "Paris"),
        ("<|channel|>final<|message|>Paris", "Paris"),
        ("analysisWe think: 2?assistantfinalParis", "Paris"),
        # Thoughts that speak of their own end.
        ("<think>The tag </think> ends it. Score: 2\n</think>\nScore: 5", "Score: 5"),
        ('<think>Then "</think>" follows.\nScore: 2\n</think>\nScore: 5', "Score: 5"),
        ("<think>a [/think] b</think>Paris", "Paris"),
        ("<think>Hm.</think>\n</think>\nParis", "Paris"),
        # Some think more than once.
        ("<think>Hm.</think>First.\n<think>Score: 2</think>\nThen.", "First.\nThen."),
        ("<think>Hm.</think>Paris\n<think>Score: 2</think>", "Paris"),
        ("<think>a</think>Say:\n```\n<think>b\n```", "Say:\n```\n<think>b\n```"),
        ("<antThinking>Hm.</antThinking>Paris", "Paris"),
        ("<|thinking|>Hm.<|/thinking|>Paris", "Paris"),
        ("<unused94>thought\nHm.<unused95>Paris", "Paris"),
        ("assistant\n<think>Hm.</think>Paris", "Paris"),
        ("<think>Hm.</think><answer>\nParis\n</answer>", "Paris"),
        ("<think>Hm.</think>Paris<|im_end|>", "Paris"),
    ],
)
def test_what_was_thought_is_taken_off(text: str, answer: str) -> None:
    assert without_thoughts(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "<think>The draft says Score: 2",
        "<think>Hm.</think>\n ",
        "Hm.</think>",
        "[THINK] so",
        "<|channel|>analysis<|message|>Score: 2",
        "<|channel|>analysis<|message|>Hm.<|end|>",
        f"{HARMONY}<|channel|>commentary to=functions.f<|message|>{{}}<|call|>",
        "Here's my thought process: Score: 2",
        "<think>Hm.</think><|im_end|>",
        "<think>Hm.</think>First.\n<think>Score: 2",
        "<think mode='deep'>Score: 2",
    ],
)
def test_thoughts_without_an_end_or_with_nothing_after_them_are_no_answer(text: str) -> None:
    assert without_thoughts(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Paris",
        "  Paris\n",
        "Score: 3 <think> hm",
        "Models write <think>…</think> before they answer.",
        "Use this form:\n<think>\nyour thoughts\n</think>\nyour answer",
        "They end their thoughts with `</think>` and then answer.",
        "The </think> tag ends it.",
        "It ends with </think>.",
        'The tag "</think>" ends it.',
        "Write\n```\nhm\n</think>\nParis\n```\nas the answer.",
        '{"reason": "it says </think>", "score": 4}',
        '{"reason": "it says </think>\\n<x>", "score": 4}',
        "<answer>Paris</answer>",
        "[1] Paris",
        "a < b",
        "<think about it> is no tag of ours.",
        "analysis of data: assistant final",
        "gpt-oss writes `<|channel|>final<|message|>` before it answers.",
        "Here is my response: Paris",
    ],
)
def test_an_answer_that_only_speaks_of_thoughts_is_left_as_it_is(text: str) -> None:
    assert without_thoughts(text) == text


marks = st.sampled_from(
    ["<think>", "</think>", "[THINK]", "[/THINK]", "<|channel|>", "final", "<|message|>", "```"]
    + ["<|end|>", '{"a": "', '"}', "`", " x ", "\n", "analysis", "assistantfinal"]
)


@given(st.lists(marks, max_size=12).map("".join))
def test_any_text_becomes_parts_of_itself_or_nothing(text: str) -> None:
    answer = without_thoughts(text)
    rest = iter(text)
    assert answer is None or all(letter in rest for letter in answer)  # in the same order
    if answer is not None and answer is not text:
        assert answer == answer.strip() != ""


@pytest.mark.parametrize(
    "piece",
    [
        "<think>",
        "</think>",
        "</think> a",
        "```</think>",
        "<|channel|>",
        "<|channel|>final ",
        "<|end|>",
    ]
    + ["<|channel|> <|constrain|>", "[", "{", "<think></think>", "\n", "assistantfinal"]
    + ["a</think>", "\n<think>", "\n<think>a</think>", "assistant ", "a\n<think>a</think>"],
)
def test_time_grows_with_the_length_and_no_faster(piece: str) -> None:
    for start in ("", "<think>", "<think></think>a\n", "analysis", "{"):
        text = start + piece * (200_000 // len(piece))
        assert effort(lambda: without_thoughts(text), 5.0) < 5.0  # noqa: B023
