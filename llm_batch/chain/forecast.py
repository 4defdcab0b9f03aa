"""What the chain will send for an item, before any of it is sent.

The prompt of a later step contains the output of an earlier one, which does not exist yet. So the
chain is played against answers that consist of a mark: a prompt is then counted as its fixed text
plus so many times the output of each earlier step, whatever that output's length turns out to be.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import msgspec

from llm_batch.chain.chain import Chain, PromptError, Step
from llm_batch.chain.scores import OutputField, instruction, json_schema
from llm_batch.models.tokens import TokenCounter
from llm_batch.records import Call, Completion, Item, Message, Request

# From a private-use area: no data contains it, and no template changes it.
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARK = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")

Counters = Callable[[str], TokenCounter]


@dataclass(frozen=True, slots=True)
class Forecast:
    """One request to come.

    Attributes:
        step: Its step.
        input_tokens: Of the text that is known now, message overhead and output schema included.
        contains: How often it contains the output of each earlier step.
    """

    step: Step
    input_tokens: int
    contains: Mapping[str, int]

    def input_tokens_given(self, output_tokens: Mapping[str, float]) -> float:
        """Input tokens when the earlier steps' outputs have these many tokens."""
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

    Args:
        chain: What will be asked.
        item: The item.
        counters: Counts tokens, by model.
        calls: What has been answered already.
        guess: Count a later prompt that only a real answer can render by its source and by what
            it names, instead of raising.

    Raises:
        PromptError: A prompt cannot be rendered for this item.
    """
    steps = {step.name: step for step in chain.steps}
    played = list(calls)
    coming: list[Forecast] = []
    try:
        while (request := chain.next_request(item, played)) is not None:
            step = steps[request.step]
            coming.append(_counted(request, step, list(steps), counters(request.model)))
            played.append(Call(request, (), completion=_marked(step)))
            if len(coming) > len(steps):  # a mark that a prompt's own logic does not let through
                break
    except PromptError:
        if not guess:
            raise
    if guess:
        asked = {call.request.step for call in played}
        coming += [
            _guessed(step, item, list(steps), counters(step.model))
            for step in chain.steps
            if step.name not in asked
        ]
    return coming


def rendered(chain: Chain, item: Item, number: int | None = None) -> list[Request]:
    """The request of each step for an item, with a note in place of every answer to come.

    With a ``number`` answers stand there that begin otherwise than those of the next number. A
    prompt that only a real answer can render ends the list.
    """
    steps = {step.name: step for step in chain.steps}
    calls: list[Call] = []
    requests: list[Request] = []
    with contextlib.suppress(PromptError):
        while (request := chain.next_request(item, calls)) is not None:
            messages = tuple(
                replace(message, content=_MARK.sub(r"«answer of \1»", message.content))
                for message in request.messages
            )
            requests.append(replace(request, messages=messages))
            calls.append(Call(request, (), completion=_marked(steps[request.step], number)))
            if len(requests) > len(steps):
                break
    return requests[: len(steps)]


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
    tokens = counter.count_messages(messages) + _schema_tokens(request, counter)
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


def _schema_tokens(request: Request, counter: TokenCounter) -> int:
    schema = request.params.get("response_format")
    return counter.count(msgspec.json.encode(schema).decode()) if schema else 0


def _mark(step: str) -> str:
    return f"{_OPEN}{step}{_CLOSE}"


def _marked(step: Step, number: int | None = None) -> Completion:
    """An answer that passes the step's checks and leaves its mark or number in later prompts."""
    text = _mark(step.name) if number is None else f"{number} is the answer"
    if step.output is not None:
        fields = {name: _value(text, field, number or 0) for name, field in step.output.items()}
        text = msgspec.json.encode(fields).decode()
    return _said(text, step.model)


@lru_cache(maxsize=64)
def _said(text: str, model: str) -> Completion:
    """The same object for every item: a chain reads it once."""
    return Completion(text, model, "stop", None)


def _value(text: str, field: OutputField, number: int) -> Any:
    if field.type == "string" and field.choices is None:
        return text
    bounds = [bound for bound in (field.min, field.max) if bound is not None]
    values = field.choices or ((True, False) if field.type == "boolean" else bounds or (0, 1))
    value = values[number % len(values)]
    return int(value) if field.type == "integer" else value


__all__ = ["Counters", "Forecast", "PromptError", "forecast", "rendered"]
