"""Values that are valid for a JSON Schema, drawn at random with a seed."""

from __future__ import annotations

import random
from typing import Any

#: What texts are made of; 32 of them, five bits each.
# fmt: off
WORDS = [
    "amber", "river", "stone", "quiet", "lantern", "seven", "harbor", "copper", "winter",
    "signal", "meadow", "paper", "engine", "violet", "north", "candle", "bridge", "salt",
    "orchard", "mirror", "thunder", "velvet", "compass", "ember", "garden", "silver", "tunnel",
    "maple", "anchor", "cloud", "ridge", "feather",
]
# fmt: on


def value_for(schema: dict[str, Any], rng: random.Random, root: dict[str, Any]) -> Any:
    """A value that is valid for a JSON Schema, drawn by ``rng``.

    Knows objects, arrays, strings (lengths), integers and numbers (bounds), booleans, null, enum,
    const, anyOf, oneOf, and references into ``root``. Type names may be in capitals, as Gemini's.
    """
    if "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return value_for(target, rng, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return value_for(rng.choice(schema[key]), rng, root)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = rng.choice(kind)
    kind = kind.lower()
    if kind == "object":
        fields = schema.get("properties", {})
        return {name: value_for(field, rng, root) for name, field in fields.items()}
    if kind == "array":
        low = schema.get("minItems", 1)
        size = rng.randint(low, max(low, schema.get("maxItems", low + 2)))
        return [value_for(schema.get("items", {}), rng, root) for _ in range(size)]
    if kind in ("integer", "number"):
        return _number(schema, rng, kind)
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "null":
        return None
    text = " ".join(rng.choices(WORDS, k=4))
    text = text.ljust(schema.get("minLength", 0), "x")
    return text[: schema.get("maxLength", len(text))]


def _number(schema: dict[str, Any], rng: random.Random, kind: str) -> float:
    step = 1 if kind == "integer" else 0.01
    low = schema.get("minimum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + step
    high = schema.get("maximum")
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - step
    if low is None:
        low = 0 if high is None or high >= 0 else high - 100
    if high is None:
        high = low + 100
    if kind == "integer":
        return rng.randint(int(low), int(high))
    return float(min(high, max(low, round(rng.uniform(low, high), 2))))
