"""The object a step is to reply with: its fields as the user writes them, and their checks.

Providers do not promise to respect a schema, so every value is checked here against its field's
type, range and choices, however it was read.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: How a boolean may be written.
YES_OR_NO = ("true", "false", "yes", "no")

FieldType = Literal["string", "integer", "number", "boolean"]
TextList = Annotated[tuple[str, ...], Field(strict=False)]

_NUMBER = r"[-+]?\d{1,15}(?:\.\d{1,15})?"
_UNIT = (
    r"(?: (?:point|star|mark|pt)s?\b| (?:Punkt|Stern)(?:en?)?\b| (?:puntos|punti|étoiles)\b"
    r"| ?(?:分|点|점)(?:です|입니다)?|です|입니다)"
)
_OUT_OF = (
    r"(?: ?/ ?| \(?(?:out )?of (?:a (?:possible |total of |maximum (?:of )?)?)?"
    rf"| (?:von|sur|de|su) | ?\(?满分(?:为|是)? ?)({_NUMBER})(?:分|点)?\)?"
)
# 4,5 may be two numbers, but not where a scale follows.
_COMMA = re.compile(r"\A([-+]?\d{1,3}),(?=\d{1,2}(?: ?/ ?\d| (?:von|sur|de|su) \d))", re.IGNORECASE)
_ON_SCALE = (
    rf" on (?:a|the) (?:scale (?:of|from) )?{_NUMBER}(?: to | ?[-–] ?)({_NUMBER})(?:[ -]scale)?"
)
# No part of a longer number, a word, a share, a range, a date or a time.
_PERCENT = re.compile(r"\A(\d{1,3}(?:\.\d{1,9})?) ?(?:%|per ?cent\b)")
_ALONE = r"(?![\w%°‰]|[.,:/–-]\d| ?[%°‰])"
_RATED = re.compile(
    rf"({_NUMBER})(?:{_OUT_OF}{_UNIT}?|{_UNIT}(?:{_OUT_OF})?)?(?:{_ON_SCALE})?{_ALONE}",
    re.IGNORECASE,
)
_EXPLAINED = re.compile(r" ?\([^()\d]*\)\.?| ?[–—] ?[^\d]+| - [^\d]+")
# Longer texts are no value with a word of explanation.
_LONGEST_VALUE = 200

# Beyond this a float does not hold every whole number, and JSON readers differ.
_LARGEST = 2**53
_SHOWN = 60
_LONGEST_NUMBER = 400


class Table(BaseModel):
    """A table of the config file: frozen; unknown keys and values of another type are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,  # a key pasted into the wrong place must not reach a log
    )


class Wrong(ValueError):
    """A value in the config that is wrong in itself or next to others.

    The path begins at the table that found it; the message goes on after its place.
    """

    def __init__(self, path: tuple[str | int, ...], message: str, hint: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.hint = hint


class OutputField(Table):
    """One field of a step's output object, as written in ``[steps.output]``.

    ``reason = "string"`` is short for ``reason = { type = "string" }``.
    """

    type: FieldType
    min: float | None = None
    max: float | None = None
    choices: TextList | None = None
    description: str = ""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> OutputField:
        for key, bound in (("min", self.min), ("max", self.max)):
            if bound is not None and not self.is_number:
                raise Wrong((key,), f"goes with integer or number, not with {self.type}")
            if bound is not None and self.type == "integer" and bound != int(bound):
                raise Wrong((key,), f"must be a whole number for an integer, not {bound:g}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise Wrong(("min",), f"is {self.min:g}, above the max of {self.max:g}")
        if self.choices is not None:
            self._check_choices(self.choices)
        return self

    def _check_choices(self, choices: tuple[str, ...]) -> None:
        if self.type != "string":
            raise Wrong(("choices",), f"go with type string, not with {self.type}")
        if not choices or not all(choice.strip() for choice in choices):
            raise Wrong(("choices",), "must name at least one value, and none that is blank")
        folded = [_folded(choice) for choice in choices]
        for choice in choices:
            if folded.count(_folded(choice)) > 1:
                raise Wrong(("choices",), f"differ only in case or not at all: {choice!r}")

    @property
    def is_number(self) -> bool:
        return self.type in ("integer", "number")

    @property
    def is_free_text(self) -> bool:
        return self.type == "string" and self.choices is None

    def pattern(self) -> str:
        """For the values as they may be written, before any check."""
        if self.choices is not None:
            return any_of(self.choices)
        if self.type == "boolean":
            return any_of(YES_OR_NO)
        return rf"{_NUMBER}(?: ?/ ?{_NUMBER}| out of {_NUMBER})?"

    def schema_of(self) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": self.type}
        whole = self.type == "integer"
        if self.min is not None:
            schema["minimum"] = int(self.min) if whole else self.min
        if self.max is not None:
            schema["maximum"] = int(self.max) if whole else self.max
        if self.choices is not None:
            schema["enum"] = list(self.choices)
        if self.description:
            schema["description"] = self.description
        return schema

    def in_words(self) -> str:
        """``an integer from 1 to 5``."""
        if self.choices is not None:
            phrase = "one of " + ", ".join(f'"{choice}"' for choice in self.choices)
        else:
            phrase = {
                "string": "a string",
                "integer": "an integer",
                "number": "a number",
                "boolean": "true or false",
            }[self.type]
        if self.min is not None and self.max is not None:
            phrase += f" from {self.min:g} to {self.max:g}"
        elif self.min is not None:
            phrase += f" of at least {self.min:g}"
        elif self.max is not None:
            phrase += f" of at most {self.max:g}"
        return f"{phrase} ({self.description})" if self.description else phrase


def any_of(words: Iterable[str]) -> str:
    """The longest first."""
    return "|".join(re.escape(word.strip()) for word in sorted(words, key=len, reverse=True))


Fields = Mapping[str, OutputField]


class Unreadable(ValueError):
    """The reply has no value that passes the checks; the message says which and why."""


def json_schema(fields: Fields) -> dict[str, Any]:
    """JSON Schema of an output object: every field required, no others allowed."""
    return {
        "type": "object",
        "properties": {name: field.schema_of() for name, field in fields.items()},
        "required": list(fields),
        "additionalProperties": False,
    }


def instruction(fields: Fields) -> str:
    """The sentence that asks for the object; appended to every prompt with an output schema.

    It is there even when the provider constrains the format itself: models fill the fields
    better when told, and the request stays the same whatever the provider supports.
    """
    listed = ", ".join(f'"{name}": {field.in_words()}' for name, field in fields.items())
    return f"Reply with one JSON object and nothing else, with these fields: {listed}."


def checked_object(candidate: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """The fields of a candidate in their declared order and types, and nothing else.

    Where others are graded, a free text that is missing, null or a list is no reason to doubt
    them: it becomes text.

    Raises:
        Unreadable: A field is missing, of another type, out of range or not among the choices.
    """
    graded = any(not field.is_free_text for field in fields.values())
    return {
        name: _as_text(candidate.get(name))
        if graded and field.is_free_text
        else _checked(name, candidate, field)
        for name, field in fields.items()
    }


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(_as_text(each) for each in value if not isinstance(each, list))
    if isinstance(value, str):
        return printable(value)
    try:
        return "" if value is None else printable(json.dumps(value, ensure_ascii=False))
    except RecursionError:
        return ""


def whole_number(digits: str) -> int | float:
    """For readers of JSON: Python's own takes time that grows with the square of its length."""
    return int(digits) if len(digits) < _LONGEST_NUMBER else math.inf


def printable(text: str) -> str:
    """A text without half characters (of two escapes, one), which no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _checked(name: str, candidate: Mapping[str, Any], field: OutputField) -> Any:
    if name not in candidate:
        raise Unreadable(f"field {name!r} is missing")
    value = candidate[name]
    if field.type == "string":
        return _checked_string(name, value, field)
    if field.type == "boolean":
        if isinstance(value, bool):
            return value
        word = _folded(value) if isinstance(value, str) else ""
        if word in ("true", "yes"):
            return True
        if word in ("false", "no"):
            return False
        raise Unreadable(f"field {name!r} is {_shown(value)}, not true or false")
    return _checked_number(name, value, field)


def _checked_string(name: str, value: Any, field: OutputField) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"field {name!r} is {_shown(value)}, not a string")
    if field.choices is None:
        return printable(value)
    for choice in field.choices:
        if _folded(value) == _folded(choice):
            return choice
    raise Unreadable(f"field {name!r} is {_shown(value)}, not {field.in_words()}")


def _checked_number(name: str, value: Any, field: OutputField) -> int | float:
    # Where no end of the scale is set, none that a text names is right.
    top = math.nan if field.max is None else field.max
    number = number_in(value, top) if isinstance(value, str) else value
    article = "an" if field.type == "integer" else "a"
    if (
        isinstance(number, bool)
        or not isinstance(number, int | float)
        or abs(number) > _LARGEST
        or math.isnan(number)
        or (field.type == "integer" and number != int(number))
    ):
        raise Unreadable(f"field {name!r} is {_shown(value)}, not {article} {field.type}")
    if (field.min is not None and number < field.min) or (
        field.max is not None and number > field.max
    ):
        raise Unreadable(f"field {name!r} is {_shown(value)}, not {field.in_words()}")
    return int(number) if field.type == "integer" else number


def number_in(text: str, top: float | None = None) -> float | None:
    """The number a text consists of; ``None`` when it is not one.

    ``4``, ``4.0``, ``4/5``, ``4 out of 5``, ``4 points``; ``4 (good)`` where the ``top`` of the
    scale is known. Then a text must not name another: 4/10 is no 4 on a scale to 5. NaN where none
    may be named.
    """
    if len(text) > _LONGEST_VALUE:
        return None
    found = leading_number(" ".join(text.split()), top)
    if found is None:
        return None
    number, rest, _ = found
    known = top is not None and not math.isnan(top)
    return number if not rest or (known and _EXPLAINED.fullmatch(rest)) else None


def leading_number(text: str, top: float | None = None) -> tuple[float, str, float | None] | None:
    """The number a text of single spaces begins with, what follows it, and the end it names.

    ``None`` when there is none, or when it is not on the scale to ``top``; no number lies beyond
    the end it names itself.
    """
    if "," in text[:5]:
        text = _COMMA.sub(r"\1.", text, count=1)
    if top == 100:
        text = _PERCENT.sub(r"\1", text, count=1)
    match = _RATED.match(text)
    if match is None:
        return None
    number, *named = (float(group) for group in match.groups() if group is not None)
    if any(number > end or (top is not None and end != top) for end in named):
        return None
    return number, text[match.end() :], named[0] if named else None


def _folded(text: str) -> str:
    return text.strip().casefold()


def _shown(value: Any) -> str:
    """A value for a message, and for the model that is asked again: short, however long it is."""
    if isinstance(value, dict | list):  # in a few levels, since they may be nested deeply
        text = reprlib.repr(value)
    else:
        text = repr(value[: 2 * _SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
