"""What a chain will send, before anything is sent.

It is played against answers that consist of a mark: the prompt of a later step is counted as its
fixed text plus so many times the output of each earlier one.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import msgspec

from llm_batch.chain.chain import CLOSE, OPEN, Chain
from llm_batch.chain.outputs import OutputField, instruction, json_schema
from llm_batch.chain.steps import Step, written
from llm_batch.chain.templates import PromptError
from llm_batch.models.tokens import TokenCounter, image_tokens
from llm_batch.records import Call, Completion, Item, Message, Request

_MARK = re.compile(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}")

Counters = Callable[[str], TokenCounter]


@dataclass(frozen=True, slots=True)
class Forecast:
    """One request to come.

    Attributes:
        input_tokens: Of the text that is known now, message overhead and output schema included.
        contains: How often it contains the output of each earlier step.
        undecided: Whether an answer to come decides if it is sent at all.
    """

    step: Step
    input_tokens: int
    contains: Mapping[str, int]
    undecided: bool = False

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
    """The requests still to come for an item, in order, re-asks and retries left out.

    A step whose condition follows from an answer to come is taken to be played. To ``guess`` is to
    count a later prompt that only a real answer can render by its source and by what it names,
    instead of raising.

    Raises:
        PromptError: A prompt cannot be rendered for this item.
    """
    names = [row.name for row in chain.asking]
    played = list(calls)
    coming: list[Forecast] = []
    try:
        for step, request, undecided in _played(chain, item, played):
            coming.append(_counted(request, step, names, counters(request.model), undecided))
    except PromptError:
        if not guess:
            raise
    if guess:
        asked = Counter(row for row, _ in {(c.request.step, c.request.part) for c in played})
        for row in chain.asking:
            left = chain.times[row.name] - asked[row.name]
            if left and not chain.left_out(row, item):
                guessed = _guessed(row, item, names, counters(row.model))
                undecided = chain.undecided(written(row.name))
                coming += [replace(guessed, undecided=undecided)] * left
    return coming


def check(chain: Chain, item: Item) -> None:
    """Render all that an item may be asked.

    Raises:
        PromptError: A prompt cannot be rendered for this item.
    """
    for _ in _played(chain, item, []):
        pass


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
    """The request of each step, or of each member of a jury, for an item.

    A note stands in place of every answer to come.

    With a ``number`` answers stand there that begin otherwise than those of the next number. A
    prompt that only a real answer can render ends the list.
    """
    requests: dict[str, Request] = {}
    with contextlib.suppress(PromptError):
        for _, request, _ in _played(chain, item, [], number):
            if request.step in requests:
                continue
            messages = tuple(
                replace(message, content=_MARK.sub(r"«answer of \1»", message.content))
                for message in request.messages
            )
            requests[request.step] = replace(request, messages=messages)
    return list(requests.values())


def _played(
    chain: Chain, item: Item, calls: list[Call], number: int | None = None
) -> Iterator[tuple[Step, Request, bool]]:
    """Requests to come, each with its step, whether an answer to come decides if it is sent, and
    answered by a mark, which is added to the calls.

    One round more than there are steps at most: a prompt's own logic may let no mark through.
    """
    rows = {row.name: row for row in chain.asking}
    guessed: set[str] = set()
    for _ in range(len(chain.steps) + 1):
        requests = chain.next_requests(item, calls, guessed)
        if not requests:
            return
        before = frozenset(guessed)
        for request in requests:
            row = rows[request.step]
            guessed.add(written(row.name))
            yield row, request, chain.undecided(written(row.name), before)
            calls.append(Call(request, (), completion=_marked(row, number)))


def _counted(
    request: Request,
    step: Step,
    names: Sequence[str],
    counter: TokenCounter,
    undecided: bool,
) -> Forecast:
    contains = {}
    contents = [message.content for message in request.messages]
    for name in names:
        mark = _mark(name)
        times = sum(content.count(mark) for content in contents)
        if times:
            contains[name] = times
            contents = [content.replace(mark, "") for content in contents]
    messages: Sequence[Message] = request.messages
    if contains:
        messages = [
            replace(message, content=content)
            for message, content in zip(messages, contents, strict=True)
        ]
    tokens = counter.count_messages(messages)
    if schema := request.params.get("response_format"):
        tokens += counter.count(msgspec.json.encode(schema).decode())
    return Forecast(step, tokens, contains, undecided)


def _guessed(step: Step, item: Item, names: Sequence[str], counter: TokenCounter) -> Forecast:
    """A prompt that cannot be rendered yet: its source, and all it names as often as it does."""
    own = [text for _, _, text in step.texts]
    source = "\n".join([*own, step.conversation or ""])
    named = Counter(re.findall(r"\w+", source))
    texts = [source]
    if step.output is not None:
        texts += [instruction(step.output), msgspec.json.encode(json_schema(step.output)).decode()]
    messages = [Message("user", "\n".join(texts)), *(Message("user", "") for _ in own[1:] or [""])]
    tokens = counter.count_messages(messages)
    tokens += len(step.images or ()) * image_tokens(step.model, None).tokens
    for name, value in {"item": item.fields, **item.fields}.items():
        if named[name]:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            tokens += named[name] * counter.count(text)
    return Forecast(step, tokens, {name: named[name] for name in names if named[name]})


def _mark(step: str) -> str:
    return f"{OPEN}{step}{CLOSE}"


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
