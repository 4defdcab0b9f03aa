"""The chain: given an item and the calls made for it so far, which request comes next.

A chain is a pure function of history. It renders prompts, reads replies and decides, but it never
waits, sends or reads a file, so the same chain serves a live run, an estimate, a resumed journal
and a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from llm_batch.errors import ConfigError
from llm_batch.records import (
    SCHEMA_NAME,
    Call,
    Item,
    Message,
    Request,
    Result,
    Score,
    StepTotals,
    Usage,
)
from llm_batch.scores import (
    Unreadable,
    instruction,
    json_schema,
    parse_object,
    score_of,
)
from llm_batch.steps import ScoreRule, Step
from llm_batch.templates import PromptError, Template

__all__ = ["Chain", "PromptError", "ScoreRule", "Step"]

#: All fields of the item at once, for names that are no identifiers: {{ item["Question text"] }}.
_WHOLE_ITEM = "item"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the calls of one step came to; ``reask`` is the problem a re-ask should name."""

    status: str
    value: Any = None
    error: str = ""
    reask: str = ""


class Chain:
    """Steps in order, and the rule that turns the last outputs into a score.

    Args:
        steps: At least one; names are unique.
        score: How to score an item, or ``None``.

    Raises:
        ConfigError: A template is not valid, or uses a step that does not come before it.
    """

    def __init__(self, steps: Sequence[Step], score: ScoreRule | None = None) -> None:
        self.steps = tuple(steps)
        self.score = score
        self._rendered = {step.name: _StepTemplates(step) for step in self.steps}
        names = [step.name for step in self.steps]
        for position, step in enumerate(self.steps):
            for later in names[position:]:
                if later in self._rendered[step.name].variables:
                    raise ConfigError(
                        f"steps.{step.name}: the prompt uses {later!r}, the output of a step that "
                        "does not come before it",
                        f"move [[steps]] {later!r} above {step.name!r}, or rename the field",
                    )

    def next_request(self, item: Item, calls: Sequence[Call]) -> Request | None:
        """The request to send next, or ``None`` when the item is finished or has failed.

        Args:
            item: The item.
            calls: Every call made for it so far, in order.

        Raises:
            PromptError: The prompt of the next step cannot be rendered for this item.
        """
        outputs: dict[str, Any] = {}
        for step in self.steps:
            own = [call for call in calls if call.request.step == step.name]
            if not own:
                return self._request(step, item, outputs, calls)
            outcome = _outcome(step, own)
            if outcome.reask:
                return _reask(own[-1], outcome.reask, step, calls)
            if outcome.status != "ok":
                return None
            outputs[step.name] = outcome.value
        return None

    def result(self, item: Item, calls: Sequence[Call], problem: str = "") -> Result:
        """What the item's calls came to.

        Args:
            item: The item.
            calls: Every call made for it.
            problem: Why no further request could be made (a `PromptError`); empty otherwise.

        Raises:
            ValueError: There is a request to come, and no problem.
        """
        outputs: dict[str, Any] = {}
        totals: dict[str, StepTotals] = {}
        status, error = ("prompt", problem) if problem else ("ok", "")
        for step in self.steps:
            own = [call for call in calls if call.request.step == step.name]
            if not own:
                if not problem:
                    raise ValueError(f"item {item.id!r} is not finished: {step.name} is to come")
                break
            totals[step.name] = _totals(own)
            outcome = _outcome(step, own)
            if outcome.status != "ok":
                status, error = outcome.status, f"{step.name}: {outcome.error}"
                break
            outputs[step.name] = outcome.value
        score = self._score(outputs) if status == "ok" else None
        if score is not None and score.value is None:
            status = "unparsed"
            error = f"{self.score.step if self.score else ''}: no score in {score.label[:80]!r}"
        value = score.value if score else None
        pass_at = self.score.pass_at if self.score else None
        return Result(
            item=item,
            status=status,
            outputs=outputs,
            score=score if value is not None else None,
            passed=None if value is None or pass_at is None else value >= pass_at,
            steps=totals,
            error=error,
            worst_case=any(call.worst_case for call in calls),
            simulated=any(call.simulated for call in calls),
        )

    def variables(self) -> set[str]:
        """Names of the item fields that the prompts use."""
        steps = {step.name for step in self.steps}
        used: set[str] = set()
        for templates in self._rendered.values():
            used |= templates.variables
        return used - steps - {_WHOLE_ITEM}

    def params(self, step: str) -> Mapping[str, Any]:
        """The parameters of every request of a step; none for a step that it does not have."""
        found = self._rendered.get(step)
        return found.params if found else {}

    def _request(
        self, step: Step, item: Item, outputs: Mapping[str, Any], calls: Sequence[Call]
    ) -> Request:
        rendered = self._rendered[step.name]
        messages = rendered.render({_WHOLE_ITEM: item.fields, **item.fields, **outputs})
        return _next_sample(item.id, step, messages, rendered.params, calls)

    def _score(self, outputs: Mapping[str, Any]) -> Score | None:
        if self.score is None:
            return None
        step, _, name = self.score.field.partition(".")
        value = outputs.get(step)
        reason = ""
        if name and isinstance(value, Mapping):
            reason = str(value.get("reason", ""))
            value = value.get(name)
        return score_of(value, self.score.labels, reason, self.score.min, self.score.max)


class _StepTemplates:
    """The compiled templates of a step, and the parameters that go with every request."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.prompt = Template(step.prompt, f"steps.{step.name}.prompt")
        self.system = Template(step.system, f"steps.{step.name}.system") if step.system else None
        self.variables = self.prompt.variables | (self.system.variables if self.system else set())

    @cached_property
    def params(self) -> dict[str, Any]:
        step = self.step
        params: dict[str, Any] = {}
        if step.max_tokens is not None:
            params["max_tokens"] = step.max_tokens
        if step.temperature is not None:
            params["temperature"] = step.temperature
        if step.output is not None:
            params["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": SCHEMA_NAME,
                    "strict": True,
                    "schema": json_schema(step.output),
                },
            }
        return params | step.params

    def render(self, context: Mapping[str, Any]) -> tuple[Message, ...]:
        prompt = self.prompt.render(context)
        if self.step.output is not None:
            prompt = f"{prompt.rstrip()}\n\n{instruction(self.step.output)}"
        user = Message("user", prompt)
        return (Message("system", self.system.render(context)), user) if self.system else (user,)


def _outcome(step: Step, calls: Sequence[Call]) -> _Outcome:
    call = calls[-1]
    if call.failure is not None:
        return _Outcome(call.failure.kind, error=call.failure.message)
    completion = call.completion
    assert completion is not None  # a call has exactly one of the two
    reasoning = completion.usage.reasoning_tokens if completion.usage else 0
    if completion.finish_reason == "content_filter":
        return _Outcome("filtered", error="the provider's content filter stopped the answer")
    if not completion.text.strip():
        if reasoning and completion.finish_reason == "length":
            return _Outcome(
                "reasoning",
                error=f"all {reasoning} output tokens went into reasoning; raise max_tokens",
            )
        if completion.finish_reason == "length":
            return _Outcome("truncated", error=f"no text within {_cap(step)}")
        return _Outcome("empty", error="the provider sent no text")
    cut = completion.finish_reason == "length"
    if cut and (step.on_truncated == "fail" or step.output is not None):
        return _Outcome("truncated", error=f"the answer was cut at {_cap(step)}; raise max_tokens")
    if step.output is None:
        return _Outcome("ok", completion.text)
    try:
        return _Outcome("ok", parse_object(completion.text, step.output))
    except Unreadable as error:
        asked_again = len(calls) > 1
        return _Outcome("unparsed", error=str(error), reask="" if asked_again else str(error))


def _cap(step: Step) -> str:
    return f"{step.max_tokens} output tokens" if step.max_tokens else "the model's output limit"


def _reask(call: Call, problem: str, step: Step, calls: Sequence[Call]) -> Request:
    """The same conversation, its unreadable answer and what was wrong with it."""
    request, completion = call.request, call.completion
    assert completion is not None and step.output is not None  # only a reply is asked for again
    complaint = f"That reply cannot be used: {problem}. {instruction(step.output)}"
    messages = (
        *request.messages,
        Message("assistant", completion.text),
        Message("user", complaint),
    )
    return _next_sample(request.item_id, step, messages, request.params, calls)


def _next_sample(
    item_id: str,
    step: Step,
    messages: tuple[Message, ...],
    params: Mapping[str, Any],
    calls: Sequence[Call],
) -> Request:
    """A request after these calls: steps that send the same are each to answer for themselves."""
    asked = (step.model, messages, params)
    before = (call.request for call in calls)
    same = sum((each.model, each.messages, each.params) == asked for each in before)
    return Request(item_id, step.name, step.model, messages, params, same)


def _totals(calls: Sequence[Call]) -> StepTotals:
    costs = [call.cost for call in calls]
    return StepTotals(
        usage=sum(
            (c.completion.usage for c in calls if c.completion and c.completion.usage), Usage()
        ),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        latency_seconds=sum(call.latency_seconds for call in calls),
        attempts=sum(len(call.attempts) for call in calls),
    )
