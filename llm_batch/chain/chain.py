"""The chain: given an item and the calls made for it so far, which request comes next.

A chain is a pure function of history. It renders prompts, reads replies and decides, but it never
waits, sends or reads a file, so the same chain serves a live run, an estimate, a resumed journal
and a test.

Before anything is sent it is played against answers that consist of a mark: the prompt of a later
step is counted as its fixed text plus so many times the output of each earlier one.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import msgspec

from llm_batch.chain.answers import (
    CUT,
    EMPTY,
    FILTERED,
    REASONING,
    TOOL_CALL,
    WHOLE,
    ending,
    without_thoughts,
)
from llm_batch.chain.outputs import OutputField, Unreadable, instruction, json_schema
from llm_batch.chain.rules import RuleError, Ruling, apply
from llm_batch.chain.scores import parse_object, score_of
from llm_batch.chain.steps import ScoreRule, Step
from llm_batch.chain.templates import PromptError, Template
from llm_batch.errors import ConfigError
from llm_batch.models.tokens import TokenCounter
from llm_batch.records import (
    SCHEMA_NAME,
    Call,
    Completion,
    Item,
    Message,
    Request,
    Result,
    Score,
    StepTotals,
    Usage,
)

#: All fields of the item at once, for names that are no identifiers: {{ item["Question text"] }}.
_WHOLE_ITEM = "item"
#: What templates have by themselves.
_BUILT_IN = {"range", "dict", "cycler", "joiner", "namespace"}

# Outcomes that are kept at most: more than the items that are open at once, as a rule.
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the calls of one step came to, and what should be asked because of it."""

    status: str
    value: Any = None
    error: str = ""
    reask: str = ""  # the problem that a re-ask should name
    answer: str = ""  # of the last call, without thoughts
    repeat: bool = False  # ask the same once more


class Chain:
    """Steps in order, and the rule that turns the last outputs into a score.

    Raises:
        ConfigError: A template is not valid, or uses a step that does not come before it.
    """

    def __init__(self, steps: Sequence[Step], score: ScoreRule | None = None) -> None:
        self.steps = tuple(steps)
        #: The steps that ask a model, which are all but rules.
        self.asking = tuple(step for step in self.steps if step.rule is None)
        self.score = score
        self._rendered = {step.name: _StepTemplates(step) for step in self.steps}
        # By step and ids of what its calls brought, which stay theirs since the calls are kept.
        self._outcomes: dict[tuple[object, ...], tuple[Sequence[Call], _Outcome]] = {}
        names = [step.name for step in self.steps]
        for position, step in enumerate(self.steps):
            for later in names[position:]:
                if later in self._rendered[step.name].variables:
                    raise ConfigError(
                        f"steps.{step.name}: the {'rule' if step.rule else 'prompt'} uses "
                        f"{later!r}, the output of a step that does not come before it",
                        f"move [[steps]] {later!r} above {step.name!r}, or rename the field",
                    )

    def next_request(self, item: Item, calls: Sequence[Call]) -> Request | None:
        """The request to send next, or ``None`` when the item is finished or has failed.

        Raises:
            PromptError: The prompt of the next step cannot be rendered for this item.
        """
        outputs: dict[str, Any] = {}
        for step in self.steps:
            if step.rule is not None:
                try:
                    outputs[step.name] = self._ruling(step, item, outputs).passed
                except RuleError:
                    return None
                continue
            own = [call for call in calls if call.request.step == step.name]
            if not own:
                return self._request(step, item, outputs, calls)
            outcome = self._outcome(step, own)
            if outcome.reask:
                return _reask(own[-1], outcome, step, calls)
            if outcome.repeat:
                last = own[-1].request
                return _next_sample(item.id, step, last.messages, last.params, calls)
            if outcome.status != "ok":
                return None
            outputs[step.name] = outcome.value
        return None

    def result(
        self, item: Item, calls: Sequence[Call], problem: str = "", kind: str = "prompt"
    ) -> Result:
        """What the item's calls came to.

        A ``problem`` (a `PromptError`) is why no further request could be made, and its ``kind`` is
        what becomes of the item. Without one, a request that is to come is a `ValueError`.
        """
        outputs: dict[str, Any] = {}
        totals: dict[str, StepTotals] = {}
        rulings: dict[str, Ruling] = {}
        status, error = (kind, problem) if problem else ("ok", "")
        for step in self.steps:
            if step.rule is not None:
                try:
                    rulings[step.name] = self._ruling(step, item, outputs)
                except RuleError as rule_error:
                    if not problem:
                        status, error = "rule", f"{step.name}: {rule_error}"
                    break
                except PromptError:
                    if not problem:
                        raise
                    break
                outputs[step.name] = rulings[step.name].passed
                continue
            own = [call for call in calls if call.request.step == step.name]
            if not own:
                if not problem:
                    raise ValueError(f"item {item.id!r} is not finished: {step.name} is to come")
                break
            totals[step.name] = _totals(own)
            outcome = self._outcome(step, own, last=True)
            if outcome.status != "ok":
                if not problem:
                    status, error = outcome.status, f"{step.name}: {outcome.error}"
                break
            outputs[step.name] = outcome.value
        score = self._score(outputs, rulings) if status == "ok" else None
        if score is not None and score.value is None:
            status = "unparsed"
            error = f"{self.score.step if self.score else ''}: no score in {score.label[:80]!r}"
        value = score.value if score else None
        pass_at = self.score.pass_at if self.score else None
        if self.score and self.score.field in rulings and pass_at is None:
            pass_at = 1.0
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
        steps = {step.name for step in self.steps}
        used: set[str] = set()
        for templates in self._rendered.values():
            used |= templates.variables
        return used - steps - {_WHOLE_ITEM}

    def templates(self, step: str) -> Mapping[str, Template]:
        """By their key in the config: prompt, and system if any; value and expected of a rule."""
        return self._rendered[step].templates

    def names_used(self, step: str) -> set[str]:
        """What the templates of a step look up: fields, earlier steps, ``item``."""
        return self._rendered[step].variables - _BUILT_IN

    def fields_inserted(self, step: str) -> set[str]:
        """Fields that stand in every prompt of a step."""
        templates = self.templates(step).values()
        found = {name for template in templates for name in template.inserted}
        return found - self._rendered.keys() - {_WHOLE_ITEM}

    def is_blank(self, step: str, fields: Mapping[str, Any]) -> bool:
        """Whether the prompt of a step is empty for an item, as far as fields alone say it."""
        prompt = self._rendered[step].templates["prompt"]
        if prompt.variables & self._rendered.keys():
            return False
        try:
            return not prompt.render({_WHOLE_ITEM: fields, **fields}).strip()
        except PromptError:
            return False

    def params(self, step: str) -> Mapping[str, Any]:
        """Of every request of a step; none for a step that it does not have."""
        found = self._rendered.get(step)
        return found.params if found else {}

    def _outcome(self, step: Step, own: Sequence[Call], *, last: bool = False) -> _Outcome:
        """What the calls of a step came to; they are read once, up to the ``last`` look at them."""
        key = (step.name, *(id(call.completion or call.failure) for call in own))
        known = self._outcomes.pop(key, None) or (own, _outcome(step, own))
        if not last:
            if len(self._outcomes) >= _REMEMBERED:
                self._outcomes.clear()
            self._outcomes[key] = known
        return known[1]

    def _request(
        self, step: Step, item: Item, outputs: Mapping[str, Any], calls: Sequence[Call]
    ) -> Request:
        rendered = self._rendered[step.name]
        messages = rendered.render({_WHOLE_ITEM: item.fields, **item.fields, **outputs})
        return _next_sample(item.id, step, messages, rendered.params, calls)

    def texts_of(self, rule: Step, item: Item, calls: Sequence[Call]) -> dict[str, str]:
        """What a rule compares, by key, after the calls that come before it.

        Raises:
            PromptError: It cannot be rendered for this item.
        """
        outputs: dict[str, Any] = {}
        for step in self.steps:
            own = [call for call in calls if call.request.step == step.name]
            if step is rule:
                break
            if step.rule is not None:
                with contextlib.suppress(RuleError):
                    outputs[step.name] = self._ruling(step, item, outputs).passed
            elif own:
                outputs[step.name] = self._outcome(step, own).value
        context = {_WHOLE_ITEM: item.fields, **item.fields, **outputs}
        return {key: each.render(context) for key, each in self.templates(rule.name).items()}

    def _ruling(self, step: Step, item: Item, outputs: Mapping[str, Any]) -> Ruling:
        """What a rule says of an item; before there are answers, nothing and no error."""
        templates = self._rendered[step.name].templates
        context = {_WHOLE_ITEM: item.fields, **item.fields, **outputs}
        texts = {key: template.render(context) for key, template in templates.items()}
        if any(_OPEN in text for text in texts.values()):
            return Ruling(False)
        return apply(step, texts["value"], texts.get("expected"))

    def _score(self, outputs: Mapping[str, Any], rulings: Mapping[str, Ruling]) -> Score | None:
        if self.score is None:
            return None
        if (ruling := rulings.get(self.score.field)) is not None:
            return Score(float(ruling.passed), ruling.found, ruling.reason, ruling.expected)
        step, _, name = self.score.field.partition(".")
        value = outputs.get(step)
        reason = ""
        if name and isinstance(value, Mapping):
            reason = str(value.get("reason", ""))
            value = value.get(name)
        return score_of(value, self.score.labels, reason, self.score.min, self.score.max)


class _StepTemplates:
    def __init__(self, step: Step) -> None:
        self.step = step
        texts: dict[str, str | None] = {"prompt": step.prompt, "system": step.system}
        if step.rule is not None:
            texts = {"value": step.value, "expected": step.expected}
        self.templates = {
            key: Template(text or "", f"steps.{step.name}.{key}")
            for key, text in texts.items()
            if text or key == "prompt"
        }
        self.variables = set[str]().union(*(each.variables for each in self.templates.values()))

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
        prompt = self.templates["prompt"].render(context)
        if self.step.output is not None:
            prompt = f"{prompt.rstrip()}\n\n{instruction(self.step.output)}"
        user = Message("user", prompt)
        system = self.templates.get("system")
        return (Message("system", system.render(context)), user) if system else (user,)


def _outcome(step: Step, calls: Sequence[Call]) -> _Outcome:
    call = calls[-1]
    if call.failure is not None:
        return _Outcome(call.failure.kind, error=call.failure.message)
    completion = call.completion
    assert completion is not None  # a call has exactly one of the two
    reason = ending(completion.finish_reason)
    text = without_thoughts(completion.text) if completion.text else ""
    if reason != WHOLE or not text or text.isspace():
        lacking = _lacking(step, calls, completion, reason, text)
        if lacking is not None:
            return lacking
    assert text is not None  # or it would be lacking
    if step.output is None:
        return _Outcome("ok", text)
    try:
        return _Outcome("ok", parse_object(text, step.output))
    except Unreadable as error:
        problem = str(error)
        asked_again = sum(not _is_empty(earlier) for earlier in calls) > 1
        return _Outcome("unparsed", None, problem, "" if asked_again else problem, text)


def _lacking(
    step: Step, calls: Sequence[Call], completion: Completion, reason: str, text: str | None
) -> _Outcome | None:
    if reason == FILTERED:
        return _Outcome("filtered", error="the provider's content filter stopped the answer")
    if reason == TOOL_CALL:
        return _Outcome("tool_call", error="the model called a tool instead of answering")
    if reason not in (WHOLE, CUT, EMPTY, REASONING):
        said = repr(completion.finish_reason)
        return _Outcome("incomplete", error=f"the answer ended as {said}, which may be half of it")
    reasoning = completion.usage.reasoning_tokens if completion.usage else 0
    if text is None or reason == REASONING:
        return _Outcome("reasoning", error=_only_thoughts(step, completion, reason))
    if not text.strip():
        if reasoning and reason == CUT:
            return _Outcome(
                "reasoning",
                error=f"all {reasoning} output tokens went into reasoning; raise max_tokens",
            )
        if reason == CUT:
            return _Outcome("truncated", error=f"no text within {_cap(step)}")
        # Most servers that send nothing send something the next time.
        first = sum(map(_is_empty, calls)) == 1
        return _Outcome("empty", error="the provider sent no text", repeat=first)
    if reason == CUT and (step.on_truncated == "fail" or step.output is not None):
        return _Outcome("truncated", error=f"the answer was cut at {_cap(step)}; raise max_tokens")
    return None


def _only_thoughts(step: Step, completion: Completion, reason: str) -> str:
    if reason == REASONING:
        return (
            "all text is in the reply's field for reasoning and none in its content; lower the "
            "reasoning effort, or correct how the server parts the two"
        )
    if reason == CUT:
        return f"the answer was cut at {_cap(step)} in the middle of thoughts; raise max_tokens"
    return "the answer is thoughts and nothing after them"


def _is_empty(call: Call) -> bool:
    completion = call.completion
    if completion is None or completion.text.strip():
        return False
    return ending(completion.finish_reason) in (WHOLE, EMPTY)


def _cap(step: Step) -> str:
    return f"{step.max_tokens} output tokens" if step.max_tokens else "the model's output limit"


def _reask(call: Call, outcome: _Outcome, step: Step, calls: Sequence[Call]) -> Request:
    request = call.request
    assert step.output is not None  # only an object is asked for again
    complaint = f"That reply cannot be used: {outcome.reask}. {instruction(step.output)}"
    said = (Message("assistant", outcome.answer), Message("user", complaint))
    return _next_sample(request.item_id, step, (*request.messages, *said), request.params, calls)


def _next_sample(
    item_id: str,
    step: Step,
    messages: tuple[Message, ...],
    params: Mapping[str, Any],
    calls: Sequence[Call],
) -> Request:
    """A request after these calls: steps that send the same are each to answer for themselves."""
    same = 0
    if calls:
        asked = (step.model, messages, params)
        before = (call.request for call in calls)
        same = sum((each.model, each.messages, each.params) == asked for each in before)
    return Request(item_id, step.name, step.model, messages, params, same)


def _totals(calls: Sequence[Call]) -> StepTotals:
    costs = [call.cost for call in calls]
    reported, listed = _reported(calls)
    return StepTotals(
        usage=sum(
            (c.completion.usage for c in calls if c.completion and c.completion.usage), Usage()
        ),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        latency_seconds=sum(call.latency_seconds for call in calls),
        attempts=sum(len(call.attempts) for call in calls),
        reported_cost=reported,
        list_cost=listed,
    )


def _reported(calls: Sequence[Call]) -> tuple[float | None, float | None]:
    """What the provider says its answers cost, and what we say of the same ones.

    One that was paid for in another run costs nothing here.
    """
    said = [
        (call.completion.reported_cost, call.list_cost)
        for call in calls
        if call.completion and call.completion.reported_cost is not None and call.cost
    ]
    if not said:
        return None, None
    ours = [cost for _, cost in said if cost is not None]
    reported = sum(cost for cost, _ in said if cost is not None)
    return reported, sum(ours) if len(ours) == len(said) else None


# What is to come

# From a private-use area: no data contains it, and no template changes it.
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARK = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")

Counters = Callable[[str], TokenCounter]


@dataclass(frozen=True, slots=True)
class Forecast:
    """One request to come.

    Attributes:
        input_tokens: Of the text that is known now, message overhead and output schema included.
        contains: How often it contains the output of each earlier step.
    """

    step: Step
    input_tokens: int
    contains: Mapping[str, int]

    def input_tokens_given(self, output_tokens: Mapping[str, float]) -> float:
        """With the earlier steps' outputs of so many tokens."""
        return self.input_tokens + sum(
            times * output_tokens.get(step, 0.0) for step, times in self.contains.items()
        )


def forecast(
    chain: Chain,
    item: Item,
    counters: Counters,
    calls: Sequence[Call] = (),
    *,
    guess: bool = False,
) -> list[Forecast]:
    """The requests still to come for an item, one per step, re-asks and retries left out.

    To ``guess`` is to count a later prompt that only a real answer can render by its source and
    by what it names, instead of raising.

    Raises:
        PromptError: A prompt cannot be rendered for this item.
    """
    names = [step.name for step in chain.steps]
    played = list(calls)
    coming: list[Forecast] = []
    try:
        for step, request in _played(chain, item, played):
            coming.append(_counted(request, step, names, counters(request.model)))
    except PromptError:
        if not guess:
            raise
    if guess:
        asked = {call.request.step for call in played}
        coming += [
            _guessed(step, item, names, counters(step.model))
            for step in chain.asking
            if step.name not in asked
        ]
    return coming


def compared(chain: Chain, item: Item) -> Iterator[tuple[Step, dict[str, str]]]:
    """Each rule with the texts it compares for an item; a note stands for an answer to come.

    One that only a real answer can render has no texts.
    """
    calls: list[Call] = []
    with contextlib.suppress(PromptError):
        for _ in _played(chain, item, calls):
            pass
    for step in chain.steps:
        if step.rule is not None:
            try:
                texts = chain.texts_of(step, item, calls)
            except PromptError:
                texts = {}
            yield step, {key: _MARK.sub(r"«answer of \1»", text) for key, text in texts.items()}


def rendered(chain: Chain, item: Item, number: int | None = None) -> list[Request]:
    """The request of each step for an item, with a note in place of every answer to come.

    With a ``number`` answers stand there that begin otherwise than those of the next number. A
    prompt that only a real answer can render ends the list.
    """
    requests: list[Request] = []
    with contextlib.suppress(PromptError):
        for _, request in _played(chain, item, [], number):
            messages = tuple(
                replace(message, content=_MARK.sub(r"«answer of \1»", message.content))
                for message in request.messages
            )
            requests.append(replace(request, messages=messages))
    return requests[: len(chain.asking)]


def _played(
    chain: Chain, item: Item, calls: list[Call], number: int | None = None
) -> Iterator[tuple[Step, Request]]:
    """Requests to come, each with its step and answered by a mark, which is added to the calls.

    One more than there are steps at most: a prompt's own logic may let no mark through.
    """
    steps = {step.name: step for step in chain.steps}
    for _ in range(len(steps) + 1):
        if (request := chain.next_request(item, calls)) is None:
            return
        step = steps[request.step]
        yield step, request
        calls.append(Call(request, (), completion=_marked(step, number)))


def _counted(request: Request, step: Step, names: Sequence[str], counter: TokenCounter) -> Forecast:
    contains = {}
    contents = [message.content for message in request.messages]
    for name in names:
        mark = _mark(name)
        times = sum(content.count(mark) for content in contents)
        if times:
            contains[name] = times
            contents = [content.replace(mark, "") for content in contents]
    messages = [
        Message(message.role, content)
        for message, content in zip(request.messages, contents, strict=True)
    ]
    tokens = counter.count_messages(messages)
    if schema := request.params.get("response_format"):
        tokens += counter.count(msgspec.json.encode(schema).decode())
    return Forecast(step, tokens, contains)


def _guessed(step: Step, item: Item, names: Sequence[str], counter: TokenCounter) -> Forecast:
    """A prompt that cannot be rendered yet: its source, and all it names as often as it does."""
    source = f"{step.system or ''}\n{step.prompt}"
    named = Counter(re.findall(r"\w+", source))
    texts = [source]
    if step.output is not None:
        texts += [instruction(step.output), msgspec.json.encode(json_schema(step.output)).decode()]
    messages = [Message("system", ""), Message("user", "\n".join(texts))]
    tokens = counter.count_messages(messages)
    for name, value in {"item": item.fields, **item.fields}.items():
        if named[name]:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            tokens += named[name] * counter.count(text)
    return Forecast(step, tokens, {name: named[name] for name in names if named[name]})


def _mark(step: str) -> str:
    return f"{_OPEN}{step}{_CLOSE}"


def _marked(step: Step, number: int | None = None) -> Completion:
    """An answer that passes the step's checks and leaves its mark or number in later prompts."""
    text = _mark(step.name) if number is None else f"{number} is the answer"
    if step.output is not None:
        fields = {name: _value(text, field, number or 0) for name, field in step.output.items()}
        text = msgspec.json.encode(fields).decode()
    return _said(text, step.model)


@lru_cache(maxsize=64)  # the same object for every item: a chain reads it once
def _said(text: str, model: str) -> Completion:
    return Completion(text, model, "stop", None)


def _value(text: str, field: OutputField, number: int) -> Any:
    if field.type == "string" and field.choices is None:
        return text
    bounds = [bound for bound in (field.min, field.max) if bound is not None]
    values = field.choices or ((True, False) if field.type == "boolean" else bounds or (0, 1))
    value = values[number % len(values)]
    return int(value) if field.type == "integer" else value
