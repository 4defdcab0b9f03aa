"""From a model's words to a checked object, and from that to a Score.

A reply is read as JSON, or as JSON after repair (code fences, prose around it, trailing commas,
single quotes), or, when it has no object, by what it states in words (see `verdicts`). Every
value must then pass its field's checks. Two rules keep a verdict the model's own: an object with
a wrong value is an answer, and no other number is looked for in its place; and when a reply says
two things, it says nothing. What cannot be read is said so; there is no default value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from llm_batch.chain.outputs import (
    Fields,
    OutputField,
    Unreadable,
    checked_object,
    printable,
    whole_number,
)
from llm_batch.records import Score

_QUOTE = "[\"'`“”‘’]"
# Braces that never close, or not outside of strings, are each looked for to the end of the text.
_MOST_UNCLOSED = 10
_MOST_LOOKED_AT = 4_000_000
_MOST_OBJECTS = 10_000
_MOST_INSIDE = 1_000
# A guess at what a broken text means is dear, and vain where it is long.
_LONGEST_REPAIR = 10_000
_MOST_REPAIRS = 20
_MOST_NESTED = 100
# Deeper than any reader of JSON goes.
_DEEPEST_BRACES = 1_000
_BEGINS_OBJECT = re.compile(rf"\{{\s*\\?{_QUOTE}")
# A string without the quotes around it.
_ESCAPED = re.compile(r'\{\s*\\"')
_BRACES = re.compile("[{}]")
# And strings, whose group is empty when they do not end; what is read is not given back.
_SIGNS = re.compile(r'[{}]|"[^"\\]*+(?:\\.[^"\\]*+)*+("?)', re.DOTALL)
_BEFORE_KEY = re.compile(rf"[{{,\n]\s*{_QUOTE}?\Z")
_COLON = re.compile(rf"{_QUOTE}?\s*[:=]\s*")
_AFTER_VALUE = rf"{_QUOTE}?\s*(?:[}}\n]|,\s*(?:{_QUOTE}|[^\W\d]|[}}/#])|//|#)"
# Characters around a value that are looked at.
_NEAR = 200
# Objects, and texts of objects, inside one another.
_DEEPEST = 3


def objects_in(text: str, fields: Fields) -> Iterator[dict[str, Any]]:
    """Every JSON object in a text that is not inside another one, or those inside that answer.

    Raises:
        Unreadable: One is cut off, names a key twice or cannot be repaired without guessing.
    """
    yield from _objects_in(_unquoted(text), fields)


def _unquoted(text: str) -> str:
    """A text that is one JSON string is what the string says."""
    for _ in range(_DEEPEST):
        if not (text.startswith('"') and text.endswith('"') and "{" in text):
            break
        try:
            inner = json.loads(text, strict=False)
        except ValueError:
            break
        text = inner.strip() if isinstance(inner, str) else text
    return text


def _objects_in(text: str, fields: Fields) -> Iterator[dict[str, Any]]:
    if text.startswith("{") and text.endswith("}") and text.count("{") <= _DEEPEST_BRACES:
        # As a rule the object is all there is, so that nobody need look for its end.
        value = _decoded(text)
        if value is not None:
            yield from _answering(value, fields)
            return
    at, unclosed, repairs = text.find("{"), 0, 0
    for _ in range(_MOST_OBJECTS):
        if at < 0:
            return
        # First where it ends: the decoder's complaints look through all that stands before.
        end = _closing(text, at)
        if end is None:
            unclosed += 1
            end = _closing(text, at, quoted=False)  # for a stray quote
        if unclosed > max(1, min(_MOST_UNCLOSED, _MOST_LOOKED_AT // len(text))) or (
            end is None and _BEGINS_OBJECT.match(text, at)
        ):
            # Its last value may be cut too: 1 of 10.
            raise Unreadable("the JSON object in the reply is not complete")
        if end is not None:
            value = _decoded(text[at:end])
            if value is None and _mentions(text[at:end], fields):
                repairs += 1
                if repairs > _MOST_REPAIRS:
                    raise Unreadable("the reply has too many malformed objects")
                value = _repaired(text[at:end], fields)
            if value is not None:
                yield from _answering(value, fields)
        at = text.find("{", end or at + 1)
    raise Unreadable("the reply has too many braces")


def _decoded(body: str) -> dict[str, Any] | None:
    try:
        value = _decoder.decode(body)
    except RecursionError:
        raise Unreadable("the JSON in the reply is nested too deeply") from None
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise Unreadable(f"field {key[:60]!r} is there twice, with different values")
        found[key] = value
    return found


# Not strict: a line break inside a string is no reason to doubt the rest.
_decoder = json.JSONDecoder(object_pairs_hook=_distinct, parse_int=whole_number, strict=False)


def _closing(text: str, start: int, quoted: bool = True) -> int | None:
    """Where the object that opens at ``start`` ends; ``None`` when it does not.

    Braces in strings do not count where texts are ``quoted``. Every character is seen once.
    """
    depth = 0
    for sign in (_SIGNS if quoted else _BRACES).finditer(text, start):
        if sign[0] == "{":
            depth += 1
        elif sign[0] == "}":
            depth -= 1
        elif not sign[1]:
            return None
        if not depth:
            return sign.end()
        if depth > _DEEPEST_BRACES:
            return None
    return None


def _mentions(body: str, fields: Fields) -> bool:
    words = letters_of(body)
    return any(letters_of(name) in words for name in fields)


def _repaired(body: str, fields: Fields) -> dict[str, Any] | None:
    """What a malformed object says.

    The repair drops what it does not understand, so ``4 or 5`` becomes 4: values that are checked
    must also stand in the text by themselves, once.

    Raises:
        Unreadable: One of them does not.
    """
    if len(body) > _LONGEST_REPAIR or body.count("{") + body.count("[") > _MOST_NESTED:
        raise Unreadable("the JSON object in the reply is malformed")
    if _ESCAPED.match(body):
        try:
            return _decoded(json.loads(f'"{body}"', strict=False))
        except json.JSONDecodeError:
            return None
    from json_repair import repair_json

    try:
        value = repair_json(body, return_objects=True)
    except Exception:  # nested too deeply, or whatever else a guess at a broken text runs into
        return None
    if not isinstance(value, dict):
        return None
    value = next(_answering(value, fields))
    for key, name in keys_of(value, fields).items():
        if not fields[name].is_free_text:
            value[key] = _stated(body, key, name, fields[name])
    return value


def _stated(body: str, key: str, name: str, field: OutputField) -> str:
    places = [
        begins.end()
        for found in re.finditer(re.escape(key), body)
        if (begins := _COLON.match(body, found.end(), found.end() + _NEAR))
        and _BEFORE_KEY.search(body[max(0, found.start() - _NEAR) : found.start()])
    ]
    if len(places) == 1:
        whole = re.compile(rf"{_QUOTE}?({field.pattern()}){_AFTER_VALUE}", re.IGNORECASE)
        value = whole.match(body, places[0], places[0] + _NEAR)
        if value:
            return value[1]
    raise Unreadable(f"field {name!r} cannot be read with certainty; the JSON is malformed")


def _answering(
    value: dict[str, Any], fields: Fields, depth: int = _DEEPEST
) -> Iterator[dict[str, Any]]:
    """The object, or those inside it that have the fields it lacks.

    ``{"result": {"score": 4}}`` is the inner object; so it is as a text or alone in a list, and
    beside others. Free texts may stand outside.
    """
    graded = {name: field for name, field in fields.items() if not field.is_free_text} or fields
    keys = keys_of(value, graded)
    if depth and all(isinstance(value[key], dict) for key in keys):
        # What a free text quotes is no answer.
        texts = set() if graded is fields else set(keys_of(value, fields)) - set(keys)
        inner = [
            each
            for key, one in value.items()
            if key not in texts or not isinstance(one, str)
            for each in _objects_of(one, fields)
        ]
        if len(inner) > _MOST_INSIDE:
            raise Unreadable("the reply has too many objects")
        answers = [each for one in inner for each in _answering(one, fields, depth - 1)]
        answers = [each for each in answers if keys_of(each, graded)]
        if answers:
            outside = {key: value[key] for key in keys_of(value, fields) if key not in keys}
            yield from ({**outside, **answer} for answer in answers)
            return
    yield value


def _objects_of(value: Any, fields: Fields) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [each for each in value if isinstance(each, dict)]
    if isinstance(value, str) and value.lstrip()[:1] == "{" and _mentions(value, fields):
        try:
            value = _decoder.decode(value.strip())
        except json.JSONDecodeError:
            return []
        except RecursionError:
            raise Unreadable("the JSON in the reply is nested too deeply") from None
    return [value] if isinstance(value, dict) else []


def keys_of(found: Mapping[str, Any], fields: Fields) -> dict[str, str]:
    """Which key holds which field; ``Score`` holds ``score`` when nothing else does."""
    keys = {name: name for name in fields if name in found}
    if len(keys) < len(fields):
        alike: dict[str, list[str]] = {}
        for key in found:
            alike.setdefault(letters_of(key), []).append(key)
        for name in fields:
            like = alike.get(letters_of(name), [])
            if name not in found and len(like) == 1 and like[0] not in fields:
                keys[like[0]] = name
    return keys


def letters_of(name: str) -> str:
    """A name's letters and digits, for those that a model or a user writes otherwise."""
    return re.sub(r"[\W_]+", "", name).casefold()


# What it is called in an object, where it may have others beside it that it is made of.
_FINAL_KEYS = (
    *("final_score", "overall_score", "total_score", "final_rating", "overall_rating"),
    *("final_verdict", "overall", "final"),
)
_KEYS = (
    *_FINAL_KEYS,
    *("score", "rating", "grade", "verdict", "label", "judgment", "judgement"),
    *("综合得分", "总分", "得分", "评分", "打分", "分数", "スコア", "評価", "点数", "점수"),
    *("gesamtbewertung", "bewertung", "punktzahl", "note", "puntuación", "calificación"),
)
# Where only labels are meant.
_WORD_KEYS = ("winner", "choice", "decision", "preference", "result")
_ALL_KEYS = (*_KEYS, *_WORD_KEYS)
_ANY_NUMBER = OutputField(type="number")
# Beyond this a mean means nothing.
_LARGEST = 1e300


def parse_object(text: str, fields: Fields) -> dict[str, Any]:
    """Read a reply, without its thoughts, as the object that ``fields`` describe.

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
    from llm_batch.chain.verdicts import named, reader_of

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
    """The score that a number, a boolean (1 or 0) or a text stands for; no value where uncertain.

    A text states a number, or one of the ``labels``, once; with labels numbers mean nothing, and
    ``4/10`` is no 4 on a scale to 5.
    """
    from llm_batch.chain.verdicts import Numbers, Words, stated, within

    if isinstance(value, bool):
        return Score(float(value), reason=reason)
    if isinstance(value, int | float):
        sound = abs(value) <= _LARGEST and within(value, low, high)  # NaN is not
        return Score(float(value) if sound else None, reason=reason)
    if not isinstance(value, str):
        return Score(None, reason=reason)
    text = printable(value.strip())
    folded = {(label.strip().casefold(), number) for label, number in labels.items()}
    by_case = len({label for label, _ in folded}) < len(folded)
    reader = Words(labels, by_case) if labels else Numbers(low, high)
    claim = stated(text, reader, _in_object(text, labels))
    found = None if claim is None else claim.value
    for label, number in labels.items():
        if isinstance(reader, Words) and found == reader.fold(label.strip()):
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
    fields = dict.fromkeys(_ALL_KEYS if labels else _KEYS, kind)
    try:
        found = [_renamed(one, fields) for one in objects_in(text, fields)]
    except Unreadable:
        return None
    values = [each for one in found if one for each in _chosen(one, labels)]
    if not values:
        return None
    first = values[0]
    # Neither true nor null is a place on a scale.
    sure = isinstance(first, str | int | float) and not isinstance(first, bool)
    return str(first) if sure and all(each == first for each in values) else ""


def _chosen(found: Mapping[str, Any], labels: Mapping[str, float]) -> list[Any]:
    """What of an object's values is the score: several where that is not certain."""
    finals = [found[name] for name in _FINAL_KEYS if name in found]
    said = [found[name] for name in _ALL_KEYS if name in found]
    if labels:
        words = {label.strip().casefold() for label in labels}
        known = [each for each in said if str(each).strip().casefold() in words]
        return known or said[:1]
    # A verdict in words may stand beside a number, and be called overall as well.
    if sure := [each for each in finals if not isinstance(each, str) or each[:1].isdigit()]:
        return sure
    first, *others = [found[n] for n in _ALL_KEYS if n in found and n not in _FINAL_KEYS] or said
    return [first, *(each for each in others if type(each) in (int, float))]
