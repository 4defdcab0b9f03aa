"""The beginning that all prompts of a step share: long ones are sent, and paid for, every time.

A system prompt of 3,000 tokens before questions of 30 makes a run a hundred times as dear as its
questions look. Providers keep such beginnings and charge less for them (`caches`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from llm_batch.chain import Chain, PromptError, Step
from llm_batch.records import Call, Completion, Item, Message, Request
from llm_batch.tokens import counter

#: A beginning that this many random prompts share is shared by nearly all.
LOOKED_AT = 50
# Tokens in front of a message's text.
_FRAME = 4


def shared_prefixes(chain: Chain, items: Iterable[Item]) -> dict[str, int]:
    """Tokens that the prompts of each step begin with, system message included, by step name.

    A step without a second prompt to compare is not in it. What an earlier step answers is taken
    to differ from item to item.

    Args:
        chain: What is asked.
        items: A random few, at least two.
    """
    shared: dict[str, list[Message]] = {}
    seen: dict[str, int] = {}
    for number, item in enumerate(items):
        for request in _requests(chain, item, number):
            before = shared.get(request.step)
            seen[request.step] = seen.get(request.step, 0) + 1
            messages = list(request.messages)
            shared[request.step] = messages if before is None else _common(before, messages)
    models = {step.name: step.model for step in chain.steps}
    return {
        name: _tokens(messages, models[name]) for name, messages in shared.items() if seen[name] > 1
    }


def _requests(chain: Chain, item: Item, number: int) -> list[Request]:
    """What is asked of an item, with answers that have nothing in common with another item's."""
    steps = {step.name: step for step in chain.steps}
    calls: list[Call] = []
    asked: list[Request] = []
    try:
        while len(asked) <= len(steps):
            request = chain.next_request(item, calls)
            if request is None:
                break
            asked.append(request)
            answer = Completion(_answer(steps[request.step], number), request.model, "stop", None)
            calls.append(Call(request, (), completion=answer))
    except PromptError:
        pass  # counting says so, with the item's id
    return asked


def _answer(step: Step, number: int) -> str:
    word = f"{number} is the answer"
    if step.output is None:
        return word
    fields: dict[str, Any] = {}
    for name, output in step.output.items():
        if output.choices is not None:
            fields[name] = output.choices[number % len(output.choices)]
        elif output.type == "string":
            fields[name] = word
        elif output.type == "boolean":
            fields[name] = bool(number % 2)
        else:
            low, high = output.min, output.max
            value = low if number % 2 == 0 and low is not None else high
            value = value if value is not None else low if low is not None else float(number % 2)
            fields[name] = int(value) if output.type == "integer" else value
    return msgspec.json.encode(fields).decode()


def _common(a: Sequence[Message], b: Sequence[Message]) -> list[Message]:
    """The messages both begin with; the last one may be cut."""
    shared: list[Message] = []
    for one, other in zip(a, b, strict=False):
        if one.role != other.role:
            break
        if one.content != other.content:
            shared.append(Message(one.role, _common_text(one.content, other.content)))
            break
        shared.append(one)
    return shared


def _common_text(a: str, b: str) -> str:
    for position, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return a[:position]
    return min(a, b, key=len)


def _tokens(messages: Sequence[Message], model: str) -> int:
    if not messages:
        return 0
    counts = counter(model)
    # The last token of a text that is cut may join with what follows, so it does not count.
    texts = [counts.count(message.content) for message in messages]
    return max(0, sum(texts) + _FRAME * len(messages) - 1)
