"""What the chain will send for an item, before any of it is sent.

The prompt of a later step contains the output of an earlier one, which does not exist yet. So the
chain is played against answers that consist of a mark: a prompt is then counted as its fixed text
plus so many times the output of each earlier step, whatever that output's length turns out to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from llm_batch.chain import Chain, PromptError, Step
from llm_batch.records import Call, Completion, Item, Message, Request
from llm_batch.scores import OutputField
from llm_batch.tokens import TokenCounter

# From a private-use area: no data contains it, and no template changes it.
_OPEN, _CLOSE = "\ue000", "\ue001"

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
    chain: Chain, item: Item, counters: Counters, calls: Sequence[Call] = ()
) -> list[Forecast]:
    """The requests still to come for an item, one per step, re-asks and retries left out.

    Args:
        chain: What will be asked.
        item: The item.
        counters: Counts tokens, by model.
        calls: What has been answered already.

    Raises:
        PromptError: A prompt cannot be rendered for this item.
    """
    steps = {step.name: step for step in chain.steps}
    played = list(calls)
    coming: list[Forecast] = []
    while (request := chain.next_request(item, played)) is not None:
        step = steps[request.step]
        coming.append(_counted(request, step, list(steps), counters(request.model)))
        played.append(Call(request, (), completion=_marked(step)))
        if len(coming) > len(steps):  # a mark that a prompt's own logic does not let through
            break
    return coming


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


def _schema_tokens(request: Request, counter: TokenCounter) -> int:
    schema = request.params.get("response_format")
    return counter.count(msgspec.json.encode(schema).decode()) if schema else 0


def _mark(step: str) -> str:
    return f"{_OPEN}{step}{_CLOSE}"


def _marked(step: Step) -> Completion:
    """An answer that passes the step's checks and leaves its mark in later prompts."""
    if step.output is None:
        return Completion(_mark(step.name), step.model, "stop", None)
    fields = {name: _value(step.name, field) for name, field in step.output.items()}
    return Completion(msgspec.json.encode(fields).decode(), step.model, "stop", None)


def _value(step: str, field: OutputField) -> Any:
    if field.choices is not None:
        return field.choices[0]
    if field.type == "string":
        return _mark(step)
    if field.type == "boolean":
        return True
    value = field.min if field.min is not None else field.max if field.max is not None else 0
    return int(value) if field.type == "integer" else value


__all__ = ["Counters", "Forecast", "PromptError", "forecast"]
