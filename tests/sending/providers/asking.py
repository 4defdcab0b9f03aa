"""Short ways to ask, with values that do not matter filled in."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from llm_batch.records import Message, Request

T = TypeVar("T")

#: What a step with an output of a score and a reason sends.
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "judge",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {
                "score": {"type": "integer", "minimum": 1, "maximum": 5},
                "reason": {"type": "string"},
            },
            "required": ["score", "reason"],
            "additionalProperties": False,
        },
    },
}


def ask(text: str = "What is the capital of France?", item: str = "q1", **params: Any) -> Request:
    """A request with one message of the user, and ``params`` as its parameters."""
    return Request(item, "step", "any/model", (Message("user", text),), params)


def scripted(script: dict[str, Any], text: str = "Reply as JSON.", **params: Any) -> Request:
    """A request that tells the test server what to do."""
    return ask(f"{text} [[server: {json.dumps(script)}]]", **params)


def faulty(fault: str, text: str = "Reply as JSON.", **params: Any) -> Request:
    """A request that meets a fault of the test server."""
    return scripted({"fault": fault}, text, **params)


def at_once(count: int, function: Callable[[int], T]) -> list[T]:
    """What the function returns for 0 to ``count``, each called in a thread of its own."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, range(count)))
