"""A conversation as data sets have it: a list of turns, each with who speaks and what is said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llm_batch.chain.templates import PromptError

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
