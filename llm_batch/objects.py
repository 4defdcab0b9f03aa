"""JSON objects in a model's words, among prose, in code fences, and malformed ones if certain."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from llm_batch.outputs import Fields, OutputField, Unreadable

_QUOTE = "[\"'`“”‘’]"
# Braces that never close are each looked for to the end of the text.
_MOST_UNCLOSED = 10
_LONGEST_NUMBER = 400


def objects_in(text: str, fields: Fields) -> Iterator[dict[str, Any]]:
    """Every JSON object in a text that is not inside another one.

    Raises:
        Unreadable: One is cut off, names a key twice or cannot be repaired without guessing.
    """
    at, unclosed = text.find("{"), 0
    while at >= 0:
        value: Any = None
        try:
            value, end = _decoder.raw_decode(text, at)
        except RecursionError:
            raise Unreadable("the JSON in the reply is nested too deeply") from None
        except json.JSONDecodeError:
            closing = _closing(text, at)
            if closing is not None:
                value = _repaired(text[at:closing], fields)
            elif re.compile(rf"\{{\s*{_QUOTE}").match(text, at) or unclosed == _MOST_UNCLOSED:
                # Its last value may be cut too: 1 of 10.
                raise Unreadable("the JSON object in the reply is not complete") from None
            else:
                unclosed += 1
            end = closing or at + 1
        if isinstance(value, dict):
            yield _unwrapped(value, fields)
        at = text.find("{", end)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise Unreadable(f"field {key[:60]!r} is there twice, with different values")
        found[key] = value
    return found


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) < _LONGEST_NUMBER else math.inf


# Not strict: a line break inside a string is no reason to doubt the rest.
_decoder = json.JSONDecoder(object_pairs_hook=_distinct, parse_int=_whole_number, strict=False)


def _closing(text: str, start: int) -> int | None:
    """Where the object that opens at ``start`` ends; ``None`` when it does not."""
    for tokens in (r'"(?:\\.|[^"\\])*"|[{}]', "[{}]"):  # the second for a stray quote
        depth = 0
        for token in re.compile(tokens, re.DOTALL).finditer(text, start):
            depth += {"{": 1, "}": -1}.get(token[0], 0)
            if not depth:
                return token.end()
    return None


def _repaired(body: str, fields: Fields) -> Any:
    """What a malformed object says.

    The repair drops what it does not understand, so ``4 or 5`` becomes 4: values that are checked
    must also stand in the text by themselves, once.

    Raises:
        Unreadable: One of them does not.
    """
    if not any(_plain(name) in _plain(body) for name in fields):
        return None
    from json_repair import repair_json

    try:
        value = repair_json(body, return_objects=True)
    except Exception:  # nested too deeply, or whatever else a guess at a broken text runs into
        return None
    if not isinstance(value, dict):
        return None
    value = _unwrapped(value, fields)
    for key, name in keys_of(value, fields).items():
        if not fields[name].is_free_text:
            value[key] = _stated(body, key, name, fields[name])
    return value


def _stated(body: str, key: str, name: str, field: OutputField) -> str:
    """The text of a value in a malformed object."""
    begins = rf"[{{,\n]\s*{_QUOTE}?{re.escape(key)}{_QUOTE}?\s*[:=]\s*"
    ends = rf"{_QUOTE}?\s*(?:[}}\n]|,\s*(?:{_QUOTE}|[^\W\d]|[}}/#])|//|#)"
    places = list(re.finditer(begins, body))
    if len(places) == 1:
        whole = re.compile(rf"{_QUOTE}?({field.pattern()}){ends}", re.IGNORECASE)
        value = whole.match(body, places[0].end())
        if value:
            return value[1]
    raise Unreadable(f"field {name!r} cannot be read with certainty; the JSON is malformed")


def _unwrapped(value: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """``{"result": {"score": 4}}`` is the inner object."""
    inner = next(iter(value.values()), None)
    if len(value) == 1 and isinstance(inner, dict) and not keys_of(value, fields):
        return inner
    return value


def keys_of(found: Mapping[str, Any], fields: Fields) -> dict[str, str]:
    """Which key holds which field; ``Score`` holds ``score`` when nothing else does."""
    keys = {}
    for name in fields:
        alike = [key for key in found if _plain(key) == _plain(name)]
        if name in found:
            keys[name] = name
        elif len(alike) == 1 and alike[0] not in fields:
            keys[alike[0]] = name
    return keys


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()
