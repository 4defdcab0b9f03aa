"""From a model's words to a checked object, and from that to a Score.

A reply is read as JSON, or as JSON after repair (code fences, prose around it, trailing commas,
single quotes), or, when it has no object, by pattern (``Score: 4/5`` on a line of its own). Every
value must then pass its field's checks. Two rules keep a verdict the model's own: an object with
a wrong value is an answer, and no other number is looked for in its place; and when a reply says
two things, it says nothing. What cannot be read is said so; there is no default value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from llm_batch.objects import keys_of, objects_in
from llm_batch.outputs import (
    ON_SCALE,
    Fields,
    OutputField,
    Unreadable,
    any_of,
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

_SOFT = r"[\s\"'`*_]"
_MARKUP = r"[\s\"'`*_#>•-]"
# What a score is called where the config gives it no name.
_CALLED = "score|rating|grade|verdict|label|mark|judge?ment"


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
    text = _without_thought(text)
    graded = {name: field for name, field in fields.items() if not field.is_free_text}
    asked = graded or fields
    found = [_renamed(one, fields) for one in objects_in(text, fields)]
    answers = [one for one in found if any(name in one for name in asked)]
    if not answers:
        named = _named_values(text, graded)
        if named is None:
            raise Unreadable("no JSON object in the reply")
        return checked_object(dict.fromkeys(fields, "") | named, fields)
    # A model that repeats the schema before it answers has not answered twice.
    spoken = [a for a in answers if not any(isinstance(a.get(n), dict | list) for n in asked)]
    checked = [checked_object(answer, fields) for answer in spoken or answers]
    if any(one[name] != checked[0][name] for one in checked for name in asked):
        raise Unreadable("the reply has more than one object, and they differ")
    return checked[-1]


def _without_thought(text: str) -> str:
    return re.sub(r"\A\s*<think>.*?</think>", "", text, count=1, flags=re.DOTALL).strip()


def _renamed(found: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    return {name: found[key] for key, name in keys_of(found, fields).items()}


def _named_values(text: str, graded: Fields) -> dict[str, str] | None:
    """Values that have a line of their own, or the whole reply when there is only one field.

    ``None`` unless every field has one value.
    """
    found: dict[str, str] = {}
    for name, field in graded.items():
        words = r"[\s_-]*".join(map(re.escape, re.split(r"[\s_-]+", name)))
        values = _said(text, words, field.pattern(), field.is_number, len(graded) == 1)
        if len(values) != 1:
            return None
        found[name] = values.pop()
    return found or None


def _said(text: str, name: str, value: str, explained: bool, alone: bool) -> set[str]:
    """Values that a text gives on lines like ``Score: 4`` or, if ``alone``, as all it says.

    A line that begins with the name and a colon and goes on otherwise (``Score: 4 or 5``) counts
    as a value too, one that no check accepts. Where ``explained``, words without digits may
    follow the value; not where values are words, since ``correct, but late`` is neither.
    """
    start = (
        rf"{_MARKUP}*(?:(?:the|my|your|final|overall|total)\s+)*(?:{name})"
        rf"{_SOFT}*(?:\([^()\n]*\))?{_SOFT}*"
    )
    after = r"(?:\s*[-–—(,.;:][^\d\n]*)?" if explained else r"[\s.!]*"
    line_of_its_own = re.compile(
        rf"{start}(?:is\b|[:=])?{_SOFT}*({value}){_SOFT}*{after}", re.IGNORECASE
    )
    begins = re.compile(rf"{start}[:=]", re.IGNORECASE)
    found = set()
    for line in text.splitlines():
        match = line_of_its_own.fullmatch(line)
        if match:
            found.add(match[1].casefold())
        elif begins.match(line):
            found.add(line)
    if not found and alone:
        match = re.fullmatch(rf"{_MARKUP}*?({value})[\s\"'`*_.!]*", text, re.IGNORECASE)
        return {match[1].casefold()} if match else set()
    return found


def score_of(value: Any, labels: Mapping[str, float], reason: str = "") -> Score:
    """The score an output value stands for.

    Args:
        value: A number, a boolean (1 or 0), or text: a label, or else a line such as
            ``Score: 4/5``, or words with one number in them that begin or end with it.
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
    text = _without_thought(value)
    if labels:
        words = _said(text, _CALLED, any_of(labels), explained=False, alone=True)
        for label, number in labels.items():
            if words == {label.strip().casefold()}:
                return Score(number, label=label, reason=reason)
        return Score(None, label=text, reason=reason)
    numbers = _said(text, _CALLED, ON_SCALE, explained=True, alone=True) or _only_number(text)
    found = number_in(numbers.pop()) if len(numbers) == 1 else None
    return Score(found, label=text, reason=reason)


def _only_number(text: str) -> set[str]:
    """The number a text begins or ends with, when it has no other."""
    alone = rf"(?<![\w.,$€£-])({ON_SCALE})(?![\w%°]|[.,]\d)"
    first = re.match(rf"{_MARKUP}*?{alone}", text, re.IGNORECASE)
    match = first or re.search(rf"{alone}[\s\"'`*_.!)]*\Z", text, re.IGNORECASE)
    others = text[: match.start(1)] + text[match.end(1) :] if match else ""
    return {match[1].casefold()} if match and not re.search(r"\d", others) else set()
