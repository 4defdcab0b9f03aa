"""From a model's words to a checked object, and from that to a Score.

A reply is read as JSON, or as JSON after repair (code fences, prose around it, trailing commas,
single quotes), or, when it has no object, by what it states in words (see `verdicts`). Every
value must then pass its field's checks. Two rules keep a verdict the model's own: an object with
a wrong value is an answer, and no other number is looked for in its place; and when a reply says
two things, it says nothing. What cannot be read is said so; there is no default value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_batch.objects import keys_of, objects_in
from llm_batch.outputs import (
    Fields,
    OutputField,
    Unreadable,
    checked_object,
    instruction,
    json_schema,
    printable,
)
from llm_batch.records import Score
from llm_batch.verdicts import Numbers, Words, named, reader_of, stated, within

__all__ = [
    "Fields",
    "OutputField",
    "Unreadable",
    "instruction",
    "json_schema",
    "parse_object",
    "score_of",
]

# What it is called in an object; the first that is there counts.
_KEYS = (
    *(
        "final_score",
        "overall_score",
        "total_score",
        "score",
        "rating",
        "grade",
        "verdict",
        "label",
    ),
    *("judgment", "judgement"),
)
_ANY_NUMBER = OutputField(type="number")
# Beyond this a mean means nothing.
_LARGEST = 1e300


def parse_object(text: str, fields: Fields) -> dict[str, Any]:
    """Read a reply as the object that ``fields`` describe.

    Args:
        text: The model's reply, without its thoughts.
        fields: Type, range and choices of each field.

    Returns:
        The fields in the order of ``fields``, of their declared types.

    Raises:
        Unreadable: No reading passes every check, or two readings differ.
    """
    graded = {name: field for name, field in fields.items() if not field.is_free_text}
    asked = graded or fields
    found = [_renamed(one, fields) for one in objects_in(text, fields)]
    answers = [one for one in found if any(name in one for name in asked)]
    if not answers:
        named = _named_values(text, graded)
        if named is None:
            raise Unreadable("no JSON object in the reply")
        return checked_object(named, fields)
    # A model that repeats the schema before it answers has not answered twice.
    spoken = [a for a in answers if not any(isinstance(a.get(n), dict | list) for n in asked)]
    checked = [checked_object(answer, fields) for answer in spoken or answers]
    if any(one[name] != checked[0][name] for one in checked for name in asked):
        raise Unreadable("the reply has more than one object, and they differ")
    return checked[-1]


def _renamed(found: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    return {name: found[key] for key, name in keys_of(found, fields).items()}


def _named_values(text: str, graded: Fields) -> dict[str, Any] | None:
    """Values that are named, or the whole reply when there is only one field.

    ``None`` unless every field has one value.
    """
    found: dict[str, Any] = {}
    for name, field in graded.items():
        claim = named(text, name, reader_of(field), alone=len(graded) == 1)
        if claim is None:
            return None
        found[name] = claim.line if claim.value is None else claim.value
    return found or None


def score_of(
    value: Any,
    labels: Mapping[str, float],
    reason: str = "",
    low: float | None = None,
    high: float | None = None,
) -> Score:
    """The score an output value stands for.

    Args:
        value: A number, a boolean (1 or 0), or text that states a number, or a label, once.
        labels: The number each label stands for; with labels, numbers in a text mean nothing.
        reason: The judge's own words, kept with the score.
        low: The least that a score may be, where it is known.
        high: The most. ``4/10`` is no 4 on a scale to 5.

    Returns:
        A score whose ``value`` is ``None`` when nothing certain can be read.
    """
    if isinstance(value, bool):
        return Score(float(value), reason=reason)
    if isinstance(value, int | float):
        sound = abs(value) <= _LARGEST and within(value, low, high)  # NaN is not
        return Score(float(value) if sound else None, reason=reason)
    if not isinstance(value, str):
        return Score(None, reason=reason)
    text = printable(value.strip())
    reader = Words(labels) if labels else Numbers(low, high)
    claim = stated(text, reader, _in_object(text, labels))
    found = None if claim is None else claim.value
    for label, number in labels.items():
        if found == label.strip().casefold():
            return Score(number, label=label, reason=reason)
    sure = found if isinstance(found, float) and within(found, low, high) else None
    return Score(sure, label=text, reason=reason)


def _in_object(text: str, labels: Mapping[str, float]) -> str | None:
    """The score of a JSON object in a text that was to be words; ``None`` without one.

    Judges' prompts ask for ``{"score": 8, "reason": "…"}`` where the config knows no fields.
    """
    if "{" not in text:
        return None
    kind = _ANY_NUMBER.model_copy(update={"type": "string", "choices": tuple(labels)})
    kind = kind if labels else _ANY_NUMBER
    fields = dict.fromkeys(_KEYS, kind)
    try:
        found = [_renamed(one, fields) for one in objects_in(text, fields)]
    except Unreadable:
        return None
    values = [next(one[name] for name in _KEYS if name in one) for one in found if one]
    if not values:
        return None
    first = values[0]
    # Neither true nor null is a place on a scale.
    sure = isinstance(first, str | int | float) and not isinstance(first, bool)
    return str(first) if sure and all(each == first for each in values) else ""
