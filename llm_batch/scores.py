"""From a model's words to a checked object, and from that to a Score.

A reply is read as JSON, or as JSON after repair (code fences, prose around it, trailing commas,
single quotes), or, when it has no object, by pattern (``Score: 4/5`` on a line of its own). Every
value must then pass its field's checks. Two rules keep a verdict the model's own: an object with
a wrong value is an answer, and no other number is looked for in its place; and when a reply says
two things, it says nothing. What cannot be read is said so; there is no default value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from llm_batch.outputs import (
    NUMBER,
    ON_SCALE,
    Fields,
    OutputField,
    Unreadable,
    checked_object,
    instruction,
    json_schema,
    number_in,
)
from llm_batch.records import Score

__all__ = [
    "Fields",
    "OutputField",
    "Unreadable",
    "instruction",
    "json_schema",
    "parse_object",
    "score_of",
]

_QUOTE = "[\"'`“”‘’]"
_MARKUP = r"[\s\"'`*_#>•-]"
# Prose full of braces is not worth more looks than this.
_MOST_OBJECTS = 50
_LONGEST_NUMBER = 400


def parse_object(text: str, fields: Fields) -> dict[str, Any]:
    """Read a reply as the object that ``fields`` describe.

    Args:
        text: The model's reply. What stands in ``<think>`` before the answer is not read.
        fields: Type, range and choices of each field.

    Returns:
        The fields in the order of ``fields``, of their declared types.

    Raises:
        Unreadable: No reading passes every check, or two readings differ.
    """
    text = re.sub(r"\A\s*<think>.*?</think>", "", text, count=1, flags=re.DOTALL)
    graded = {name: field for name, field in fields.items() if not field.is_free_text}
    asked = graded or fields
    objects = [_with_names(found, fields) for found in _objects(text, graded)]
    answers = [found for found in objects if any(name in found for name in asked)]
    # A model that repeats the schema before it answers has not answered twice.
    spoken = [a for a in answers if not any(isinstance(a.get(n), dict | list) for n in asked)]
    if answers:
        checked = [checked_object(answer, fields) for answer in spoken or answers]
        if any(one[name] != checked[0][name] for one in checked for name in asked):
            raise Unreadable("the reply has more than one object, and they differ")
        return checked[-1]
    named = _named_values(text, graded)
    if named is None:
        raise Unreadable("no JSON object in the reply")
    return checked_object({name: "" for name in fields} | named, fields)


def _objects(text: str, graded: Fields) -> Iterator[dict[str, Any]]:
    """Every JSON object in a text that is not inside another one.

    Raises:
        Unreadable: One is cut off, names a key twice or cannot be repaired without guessing.
    """
    at = text.find("{")
    for _ in range(_MOST_OBJECTS):
        if at < 0:
            return
        value: Any = None
        try:
            value, end = _decoder.raw_decode(text, at)
        except RecursionError:
            raise Unreadable("the JSON in the reply is nested too deeply") from None
        except json.JSONDecodeError:
            closing = _closing(text, at)
            if closing is None and re.match(rf"\{{\s*{_QUOTE}", text[at:]):
                # Its last value may be cut too: 1 of 10.
                raise Unreadable("the JSON object in the reply is not complete") from None
            end = at + 1 if closing is None else closing
            if closing is not None:
                value = _repaired(text[at:end], graded)
        if isinstance(value, dict):
            yield _unwrapped(value)
        at = text.find("{", end)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise Unreadable(f"field {key!r} is there twice, with different values")
        found[key] = value
    return found


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) < _LONGEST_NUMBER else math.inf


# Not strict: a line break inside a string is no reason to doubt the rest.
_decoder = json.JSONDecoder(
    object_pairs_hook=_distinct, parse_int=_whole_number, strict=False
)


def _closing(text: str, start: int) -> int | None:
    """Where the object that opens at ``start`` ends; ``None`` when it does not."""
    for tokens in (r'"(?:\\.|[^"\\])*"|[{}]', "[{}]"):  # the second for a stray quote
        depth = 0
        for token in re.compile(tokens, re.DOTALL).finditer(text, start):
            depth += {"{": 1, "}": -1}.get(token[0], 0)
            if not depth:
                return token.end()
    return None


def _repaired(body: str, graded: Fields) -> Any:
    """What a malformed object says.

    The repair drops what it does not understand, so ``4 or 5`` becomes 4: values that are checked
    must also stand in the text by themselves, once.

    Raises:
        Unreadable: One of them does not.
    """
    from json_repair import repair_json

    try:
        value = repair_json(body, return_objects=True)
    except RecursionError:
        return None
    if not isinstance(value, dict):
        return None
    holder = _unwrapped(value)
    for key, name in _keys(holder, graded).items():
        holder[key] = _stated(body, key, name, graded[name])
    return value


def _stated(body: str, key: str, name: str, field: OutputField) -> str:
    written = rf"(?:^\{{|[{{,\n])\s*{_QUOTE}?{re.escape(key)}{_QUOTE}?\s*[:=]\s*"
    places = list(re.finditer(written, body))
    ends = rf"{_QUOTE}?\s*(?:[}}\n]|,\s*(?:{_QUOTE}|[^\W\d]|[}}/#])|//|#)"
    value = (
        re.compile(rf"{_QUOTE}?({_values(field)}){ends}", re.IGNORECASE).match(
            body, places[0].end()
        )
        if len(places) == 1
        else None
    )
    if value is None:
        raise Unreadable(f"field {name!r} cannot be read with certainty; the JSON is malformed")
    return value[1]


def _unwrapped(value: dict[str, Any]) -> dict[str, Any]:
    """``{"result": {"score": 4}}`` is the inner object."""
    inner = next(iter(value.values()), None)
    return inner if len(value) == 1 and isinstance(inner, dict) else value


def _with_names(found: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    return {name: found[key] for key, name in _keys(found, fields).items()}


def _keys(found: Mapping[str, Any], fields: Fields) -> dict[str, str]:
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


def _named_values(text: str, graded: Fields) -> dict[str, Any] | None:
    """Values that have a line of their own, or the whole reply when there is only one field.

    ``None`` unless every field has one value. A number may be followed by an explanation without
    digits; a word may not, since ``correct, but for the date`` is neither.
    """
    found: dict[str, Any] = {}
    for name, field in graded.items():
        words = r"[\s_-]*".join(map(re.escape, re.split(r"[\s_-]+", name)))
        values = set(_on_lines(text, words, _values(field), field.is_number))
        if not values and len(graded) == 1:
            bare = rf"{_MARKUP}*?({_values(field)})[\s\"'`*_.!]*"
            match = re.fullmatch(bare, text, re.IGNORECASE)
            values = {match[1].casefold()} if match else set()
        if len(values) != 1:
            return None
        found[name] = values.pop()
    return found or None


def _on_lines(text: str, name: str, value: str, explained: bool) -> Iterator[str]:
    """Values of lines like ``Score: 4``; every line that begins so must be readable.

    A line that begins so and goes on otherwise yields itself, which no field accepts.
    """
    start = rf"{_MARKUP}*(?:(?:the|my|your|final|overall|total)\s+)*{name}{_MARKUP}*"
    after = r"(?:\s*[-–—(,.;:][^\d\n]*)?" if explained else r"[\s.!]*"
    whole = rf"{start}(?:is\b|[:=–—])?{_MARKUP}*?({value})[\s\"'`*_]*{after}"
    for line in text.splitlines():
        if re.match(rf"{start}[:=]", line, re.IGNORECASE) or re.fullmatch(whole, line, re.I):
            match = re.fullmatch(whole, line, re.IGNORECASE)
            yield match[1].casefold() if match else line


def _values(field: OutputField) -> str:
    """The pattern of the values a field may have, before they are checked."""
    if field.choices is not None:
        return "|".join(re.escape(c) for c in sorted(field.choices, key=len, reverse=True))
    return "true|false|yes|no" if field.type == "boolean" else ON_SCALE


def score_of(value: Any, labels: Mapping[str, float], reason: str = "") -> Score:
    """The score an output value stands for.

    Args:
        value: A number, a boolean (1 or 0), or text. Text is a label, or a line such as
            ``Score: 4``, or begins or ends with the only number in it (``4/5``, ``I say 4.``).
        labels: The number each label stands for; with labels, numbers in a text mean nothing.
        reason: The judge's own words, kept with the score.

    Returns:
        A score whose ``value`` is ``None`` when nothing certain can be read.
    """
    if isinstance(value, bool):
        return Score(float(value), reason=reason)
    if isinstance(value, int | float):
        return Score(float(value) if math.isfinite(value) else None, reason=reason)
    if not isinstance(value, str):
        return Score(None, reason=reason)
    text = value.strip()
    if labels:
        pattern = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
        word = _one_of(text, pattern, explained=False)
        for label, number in labels.items():
            if word == label.strip().casefold():
                return Score(number, label=label, reason=reason)
        return Score(None, label=text, reason=reason)
    said = _one_of(text, ON_SCALE, explained=True) or _only_number(text)
    return Score(_scaled(said) if said else None, label=text, reason=reason)


def _one_of(text: str, value: str, explained: bool) -> str | None:
    """The value that the whole text is, or that its lines with a name give; if it is one."""
    match = re.fullmatch(rf"{_MARKUP}*?({value})[\s\"'`*_.!]*", text, re.IGNORECASE)
    if match:
        return match[1].casefold()
    found = set(_on_lines(text, r"[^\W\d]\w*(?: \w+)?", value, explained))
    return found.pop() if len(found) == 1 else None


def _only_number(text: str) -> str | None:
    """The number a text begins or ends with, when it has no other."""
    if len(re.findall(r"\d+(?:[.,]\d+)*", re.sub(rf"(?<=\d)\s*(?:/|out of)\s*{NUMBER}", "", text))) != 1:
        return None
    alone = rf"(?<![\w.,$€£-])({ON_SCALE})(?![\w%°]|[.,]\d)"
    match = re.match(rf"{_MARKUP}*?{alone}", text) or re.search(rf"{alone}[\s\"'`*_.!)]*\Z", text)
    return match[1] if match else None


def _scaled(said: str) -> float | None:
    """The number before ``/5``; ``None`` when it lies beyond the end of its own scale."""
    number, _, end = re.sub(r"\s*(?:/|out\s+of)\s*", "/", said, flags=re.I).partition("/")
    whole = number_in(number, None)
    return None if whole is None or (end and whole > float(end)) else whole
