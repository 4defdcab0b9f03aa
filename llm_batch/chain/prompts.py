"""The prompt of a step: its templates, and the messages that they make of an item."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from llm_batch.chain.images import look_at
from llm_batch.chain.outputs import instruction, json_schema
from llm_batch.chain.steps import Step
from llm_batch.chain.templates import Condition, PromptError, Template
from llm_batch.chain.votes import FIRST, SECOND
from llm_batch.models.table import must_mark
from llm_batch.records import SCHEMA_NAME, Image, Message, Parts


class StepTemplates:
    """What a step looks up and asks.

    ``images`` are the folders in which pictures are looked for, as of a chain.
    """

    def __init__(self, step: Step, images: Sequence[Path] | None) -> None:
        self.step = step
        self._folders = images
        texts: dict[str, str | None] = {}
        if step.rule is not None:
            texts = {"value": step.value, "expected": step.expected}
        elif step.provided is None:
            texts = {key: text for key, _, text in step.texts}
            texts |= {f"images[{n}]": text for n, text in enumerate(step.images or (), 1)}
        self.templates = {
            key: Template(text or "", f"steps.{step.name}.{key}")
            for key, text in texts.items()
            if text or key == "prompt"
        }
        self._roles = {key: role for key, role, _ in step.texts} if step.asks else {}
        #: What is asked last, which the answer is to.
        self.last = next((self.templates[key] for key in reversed(self._roles)), None)
        self.when = Condition(step.when, f"steps.{step.name}.when") if step.when else None
        shown = {FIRST, SECOND} if step.pair else set()
        found = set[str]().union(
            *(each.variables for each in self.templates.values()),
            self.when.variables if self.when else (),
        )
        self.variables = (found - shown).union(step.pair or ())
        if step.conversation:
            self.variables.add(step.conversation)

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

    @cached_property
    def _instruction(self) -> str:
        return instruction(self.step.output or {})

    def render(self, context: Mapping[str, Any]) -> tuple[Message, ...]:
        step = self.step
        messages = [
            Message(role, self.templates[key].render(context)) for key, role in self._roles.items()
        ]
        if step.cache and must_mark(step.model):
            messages = self._marked(messages)
        if step.conversation is not None:
            where = f"steps.{step.name}.conversation"
            turns = turns_of(context.get(step.conversation), step.conversation, where)
            messages = _with_turns(messages, [Message(*turn) for turn in turns])
            if messages[-1].role != "user":
                raise PromptError(
                    f"{where}: the last turn of {step.conversation!r} is of the "
                    f"{messages[-1].role}, and a model answers a user"
                )
        if step.output is not None:
            last = messages[-1]
            text = f"{last.content.rstrip()}\n\n{self._instruction}"
            plain = type(last) is Message  # made anew in a fifth of the time
            messages[-1] = Message(last.role, text) if plain else replace(last, content=text)
        if step.images is not None:
            last = messages[-1]
            kept = last.kept if isinstance(last, Parts) else 0
            messages[-1] = Parts(last.role, last.content, self._images(context), kept)
        return tuple(messages)

    def _marked(self, messages: Sequence[Message]) -> list[Message]:
        """With a mark where what is the same for every item ends, if anything is."""
        marked = list(messages)
        end = None
        for number, key in enumerate(self._roles):
            # A conversation comes behind the system message.
            if self.step.conversation is not None and marked[number].role != "system":
                break
            template = self.templates[key]
            if template.head.strip() and marked[number].content.startswith(template.head):
                end = number, len(template.head)
            if not template.is_constant:
                break
        if end is not None:
            number, kept = end
            marked[number] = Parts(marked[number].role, marked[number].content, (), kept)
        return marked

    def _images(self, context: Mapping[str, Any]) -> tuple[Image, ...]:
        found = []
        for number in range(1, len(self.step.images or ()) + 1):
            key = f"images[{number}]"
            where = f"steps.{self.step.name}.{key}"
            if self._folders is None:
                raise PromptError(f"{where}: pictures are not looked at here")
            source = self.templates[key].render(context)
            if self._folders:
                found.append(look_at(source, self._folders, self.step.model, where))
            else:
                found.append(Image(source.strip(), source.strip(), "", 0))
        return tuple(found)


def _with_turns(own: Sequence[Message], turns: Sequence[Message]) -> list[Message]:
    """A conversation before the step's own messages, with one system message at the beginning."""
    system = [each for each in (*own, *turns) if each.role == "system"]
    rest = [each for each in (*turns, *own) if each.role != "system"]
    if not system:
        return rest
    text = "\n\n".join(each.content for each in system)
    return [replace(system[0], content=text), *rest]


# A conversation as data sets have it: a list of turns, each with who speaks and what is said

# The words of ShareGPT beside those of the chat APIs.
_ROLES = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant",
    "gpt": "assistant",
}  # fmt: skip
_SHAPES = '{"role": "user", "content": "…"} or {"from": "human", "value": "…"}'


def turns_of(value: Any, column: str, where: str) -> list[tuple[str, str]]:
    """Role and text of each turn in a field of the data, or in a JSON text of it.

    Raises:
        PromptError: It is no such list, a turn has another role or no text, or ``system`` is not
            the first.
    """
    named = f"{where}: the field {column!r}"
    if value is None or value == "" or value == []:
        raise PromptError(f"{named} is empty")
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise PromptError(f"{named} is a text, and no JSON: {str(error)[:100]}") from error
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise PromptError(f"{named} is no list of turns such as {_SHAPES}")
    return [_turn(each, f"{named}, turn {number}", number) for number, each in enumerate(value, 1)]


def _turn(turn: Any, where: str, number: int) -> tuple[str, str]:
    keys = next(
        (keys for keys in (("role", "content"), ("from", "value"))
         if isinstance(turn, Mapping) and all(key in turn for key in keys)),
        None,
    )  # fmt: skip
    if keys is None:
        raise PromptError(f"{where} is not {_SHAPES}")
    who, said = turn[keys[0]], turn[keys[1]]
    role = _ROLES.get(who) if isinstance(who, str) else None
    if role is None:
        raise PromptError(
            f"{where} has the {keys[0]} {str(who)[:40]!r}; known: {', '.join(_ROLES)}"
        )
    if role == "system" and number > 1:
        raise PromptError(f"{where} is of the system, which only the first can be")
    if not isinstance(said, str) or not said.strip():
        raise PromptError(f"{where} has no text in {keys[1]}")
    return role, said
