"""What is taken for granted where nothing was measured: sizes, times and their ranges.

Every number here is printed with the estimate. They are what users of chains over short texts
have seen: 300 tokens in and 300 out to generate, 750 in (450 of its own and the answer) and 150
out to judge, 3 to 5 seconds a call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm_batch.chain.config import Config
from llm_batch.chain.steps import Step
from llm_batch.estimating.span import Span, exactly
from llm_batch.models.table import ModelInfo
from llm_batch.models.tokens import TokenCounter

#: Tokens of an answer that is text, and of a verdict or another object.
TEXT_OUTPUT = 300
OBJECT_OUTPUT = 150
#: Answers may be this much shorter, or, without a cap, longer; the mean of all of them, that is.
LOW_OUTPUT = 0.3
HIGH_OUTPUT = 2.0
#: Tokens of a prompt when there is no data, and how far off that may be.
PROMPT_INPUT = 300
JUDGE_INPUT = 450
LOW_INPUT = 0.5
HIGH_INPUT = 2.0
#: Tokens a model that thinks before it answers spends on that, per call, by how hard it was asked
#: to. Known to differ by a factor of 16 between tasks, so the range is wide until a pilot.
THINKING = Span(0, 1000, 10_000)
THINKING_BY_EFFORT = {
    "low": Span(0, 400, 3000),
    "medium": THINKING,
    "high": Span(200, 4000, 25_000),
    "xhigh": Span(500, 8000, 50_000),
}
#: With another vendor's encoding a count may be this much too high; too low: `TokenCounter`.
LOW_APPROXIMATE = 0.8

#: Seconds a call takes at a provider, and from a model on this machine.
REMOTE_SECONDS = Span(3.0, 3.0, 5.0)
LOCAL_SECONDS = Span(0.3, 1.0, 4.0)
#: By how much a time differs that was measured on this machine a moment ago: others use it too.
BUSY = Span(0.7, 1.0, 1.6)
#: Seconds until a provider has worked off a batch: it promises a day and is mostly quicker.
BATCH_SECONDS = Span(600.0, 4 * 3600.0, 24 * 3600.0)
#: Our own work on one call: what a simulated answer without latency takes.
OWN_SECONDS = 0.001
#: Calls that an embedded model computes at once.
LOCAL_AT_ONCE = 4

# These think unless told not to; others with the ability (Claude) only when asked.
_THINKS = re.compile(
    r"(^|/)(o[134](-|$)|gpt-5(-|$)(?!chat)|gemini-2\.5-(pro|flash(?!-lite))|gemini-3|grok-4"
    r"|deepseek-r1|deepseek-reasoner|magistral)",
    re.IGNORECASE,
)
_NO_EFFORT = frozenset({"none", "disable", "disabled", "minimal"})


@dataclass(frozen=True, slots=True)
class Answer:
    """Output tokens of one call.

    Attributes:
        tokens: All that is billed.
        text: The part that is not thinking; later prompts may contain it.
        thinks: Whether the model thinks before it answers.
        is_cut: Whether the cap leaves no room for what it is expected to think.
    """

    tokens: Span
    text: Span
    thinks: bool = False
    is_cut: bool = False


def answer_of(step: Step, judges: bool, info: ModelInfo | None) -> Answer:
    """What is expected of a step's answers before any is known; ``judges``: the score is theirs."""
    usual = OBJECT_OUTPUT if judges or step.output is not None else TEXT_OUTPUT
    cap = step.max_tokens
    thinking = thinks(step, info)
    thought = thinking_of(step)
    longest = float(cap or HIGH_OUTPUT * usual + thought.high * thinking)
    if info is not None and info.max_output_tokens:
        longest = min(longest, info.max_output_tokens)
    value = min(longest, usual)
    low = LOW_OUTPUT * value
    text = Span(low, value, min(longest, cap or HIGH_OUTPUT * usual)).whole()
    if not thinking:
        return Answer(text, text)
    needed = usual + thought.value
    tokens = Span(low, min(longest, needed), longest).whole()
    return Answer(tokens, text, thinks=True, is_cut=longest < needed)


def thinks(step: Step, info: ModelInfo | None) -> bool:
    """Whether a step's model is expected to think, which is billed as output."""
    effort = step.params.get("reasoning_effort")
    if effort is not None:
        return effort not in _NO_EFFORT
    asked = step.params.get("thinking")
    if isinstance(asked, dict):
        return asked.get("type") != "disabled"
    able = info is None or info.supports_reasoning
    return able and _THINKS.search(step.model) is not None


def thinking_of(step: Step) -> Span:
    """Tokens of thinking per call, for a model that does."""
    return THINKING_BY_EFFORT.get(str(step.params.get("reasoning_effort")), THINKING)


def assumed_inputs(config: Config, answers: Mapping[str, Answer]) -> dict[str, Span]:
    """Input tokens of one call of each step, by its name, when there is no data.

    A judge's prompt contains the answer of the step before it.
    """
    inputs: dict[str, Span] = {}
    judge = config.judge
    for position, step in enumerate(config.steps):
        if step is not judge:
            inputs[step.name] = _assumed(PROMPT_INPUT)
            continue
        inputs[step.name] = _assumed(JUDGE_INPUT)
        if position:
            before = answers[config.steps[position - 1].name].text
            inputs[step.name] = inputs[step.name].plus(before)
    return inputs


def _assumed(tokens: int) -> Span:
    return Span(LOW_INPUT * tokens, tokens, HIGH_INPUT * tokens)


def counted_input(tokens: int, contained: Sequence[Span], counter: TokenCounter) -> Span:
    """Input tokens of one call whose known text ``counter`` counted.

    ``contained``: the answers of earlier steps in it, as often as they stand there.
    """
    known = exactly(tokens)
    if not counter.exact:
        known = Span(LOW_APPROXIMATE * tokens, tokens, counter.upper_factor * tokens)
    for answer in contained:
        known = known.plus(answer)
    return known


@dataclass(frozen=True, slots=True)
class Speed:
    """How quickly a model on this machine computes, measured by one call alone.

    Attributes:
        input_seconds: Of one token of a prompt.
        output_seconds: Of one token of an answer.
        at_once: Calls that will be computed at once.
    """

    input_seconds: float
    output_seconds: float
    at_once: int

    def of_call(self, inputs: Span, outputs: Span) -> Span:
        """Seconds of a call with so many tokens, among as many others as are computed at once.

        Prompts fill the machine and are computed one after the other. Of answers a token of each
        call is computed in one go, which takes as long as one token, or as long as all of them.
        """
        shared = self.input_seconds * self.at_once
        going = Span(1.0, (1 + self.at_once) / 2, self.at_once).times(self.output_seconds)
        return inputs.times(shared).plus(outputs.by(going)).by(BUSY)


def latency_of(model: str, settings: Any) -> Span:
    """Seconds one call takes; the ``latency`` in the model's settings is of ``fake/`` models."""
    if model.startswith("fake/"):
        return exactly(max(OWN_SECONDS, float(settings.latency)))
    return LOCAL_SECONDS if model.startswith("local/") else REMOTE_SECONDS
