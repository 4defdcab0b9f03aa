"""From a model's words to a checked object, and from that to a Score.

A reply is read in three ways, strictest first: as JSON, as JSON after repair (code fences, prose
around it, trailing commas, single quotes), and by pattern (``Score: 4/5``). Whatever way it was
read, every value is checked against its field's type, range and choices here, because providers
do not promise to respect them. What cannot be read is said so; there is no default value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, model_validator

from llm_batch.records import Score

FieldType = Literal["string", "integer", "number", "boolean"]


class OutputField(BaseModel):
    """One field of a step's output object, as written in ``[steps.output]``.

    ``reason = "string"`` is short for ``reason = { type = "string" }``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: FieldType
    min: float | None = None
    max: float | None = None
    choices: tuple[str, ...] | None = None
    description: str = ""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> OutputField:
        numeric = self.type in ("integer", "number")
        if not numeric and (self.min is not None or self.max is not None):
            raise ValueError(f"min and max go with integer or number, not with {self.type}")
        if self.choices is not None and self.type != "string":
            raise ValueError("choices go with type string")
        if self.choices is not None and not self.choices:
            raise ValueError("choices must name at least one value")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self

    def schema_of(self) -> dict[str, Any]:
        """This field as JSON Schema."""
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
        """This field as a phrase for a prompt: ``an integer from 1 to 5``."""
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


def parse_object(text: str, fields: Fields) -> dict[str, Any]:
    """Read a reply as the object that ``fields`` describe.

    Args:
        text: The model's reply.
        fields: Type, range and choices of each field.

    Returns:
        The fields in the order of ``fields``, of their declared types.

    Raises:
        Unreadable: No reading of the reply passes every check. The message is about the
            strictest reading that found an object.
    """
    problem = "no JSON object in the reply"
    for read in (_read_json, _read_repaired, _read_pattern):
        candidate = read(text, fields)
        if candidate is None:
            continue
        try:
            return {name: _checked(name, candidate, field) for name, field in fields.items()}
        except Unreadable as error:
            if read is not _read_pattern:
                problem = str(error)
                # A well-formed object with a wrong value is an answer, not noise: looking for
                # another number in the same words would put one in the model's mouth.
                if read is _read_json:
                    break
    raise Unreadable(problem)


def _read_json(text: str, fields: Fields) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, dict) else None


def _read_repaired(text: str, fields: Fields) -> dict[str, Any] | None:
    start = text.find("{")
    if start < 0:
        return None
    fenced = re.search(r"```(?:json)?\s*(\{.*?\})\s*```", text, re.DOTALL)
    body = fenced.group(1) if fenced else text[start : text.rfind("}") + 1] or text[start:]
    value = _read_json(body, fields)
    if value is None:
        from json_repair import repair_json

        value = repair_json(body, return_objects=True)
    return value if isinstance(value, dict) and value else None


_NUMBER = r"[-+]?\d+(?:\.\d+)?"


def _read_pattern(text: str, fields: Fields) -> dict[str, Any] | None:
    """Values named in prose, or the bare value when the object has one field besides strings."""
    found: dict[str, Any] = {}
    graded = {name: field for name, field in fields.items() if not _is_free_text(field)}
    if not graded:
        return None
    for name, field in graded.items():
        if field.choices is not None:
            value = "|".join(re.escape(choice) for choice in field.choices)
        elif field.type == "boolean":
            value = "true|false|yes|no"
        else:
            value = _NUMBER
        words = re.escape(name).replace("_", r"[\s_-]*")
        named = rf"\b{words}\b[\"'*_\s]*(?:is|of|[:=\-])?[\"'*_\s]*({value})(?![\w.]*\d)"
        values = {match.lower() for match in re.findall(named, text, re.IGNORECASE)}
        if not values and len(graded) == 1:
            bare = rf"\s*[*\"']*({value})(?:\s*/\s*\d+)?[*\"'.!]*\s*"
            match = re.fullmatch(bare, text, re.IGNORECASE)
            values = {match.group(1).lower()} if match else set()
        if len(values) != 1:
            return None
        found[name] = values.pop()
    return found | {name: "" for name in fields if name not in graded}


def _is_free_text(field: OutputField) -> bool:
    return field.type == "string" and field.choices is None


def _checked(name: str, candidate: Mapping[str, Any], field: OutputField) -> Any:
    """The value of one field in its declared type.

    Raises:
        Unreadable: It is missing, of another type, out of range or not among the choices.
    """
    if name not in candidate:
        raise Unreadable(f"field {name!r} is missing")
    value = candidate[name]
    if field.type == "string":
        return _checked_string(name, value, field)
    if field.type == "boolean":
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if word in ("true", "yes"):
            return True
        if word in ("false", "no"):
            return False
        raise Unreadable(f"field {name!r} is {value!r}, not true or false")
    return _checked_number(name, value, field)


def _checked_string(name: str, value: Any, field: OutputField) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"field {name!r} is {value!r}, not a string")
    if field.choices is None:
        return value
    for choice in field.choices:
        if value.strip().casefold() == choice.casefold():
            return choice
    raise Unreadable(f"field {name!r} is {value!r}, not one of {', '.join(field.choices)}")


def _checked_number(name: str, value: Any, field: OutputField) -> int | float:
    if isinstance(value, str) and re.fullmatch(_NUMBER, value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unreadable(f"field {name!r} is {value!r}, not a {field.type}")
    if field.type == "integer":
        if value != int(value):
            raise Unreadable(f"field {name!r} is {value!r}, not an integer")
        value = int(value)
    if (field.min is not None and value < field.min) or (
        field.max is not None and value > field.max
    ):
        raise Unreadable(f"field {name!r} is {value!r}, not {field.in_words()}")
    return value


def score_of(value: Any, labels: Mapping[str, float], reason: str = "") -> Score:
    """The score an output value stands for.

    Args:
        value: A number, a boolean (1 or 0), a label, or text with exactly one number in it.
        labels: The number each label stands for.
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
    label = value.strip()
    for name, number in labels.items():
        if label.casefold() == name.casefold():
            return Score(number, label=name, reason=reason)
    numbers = set(re.findall(_NUMBER, re.sub(r"/\s*\d+", "", label)))
    return Score(float(numbers.pop()) if len(numbers) == 1 else None, label=label, reason=reason)
