"""A result as JSON: every figure, with stable keys.

The keys are the field names of the dataclasses of what is shown, documented there; ``schema``
changes when one of them does. Every key is always present, ``null`` where nothing is known. An
interval is ``{"value", "low", "high", "level", "n", "method"}``.
"""

from __future__ import annotations

from decimal import Decimal
from math import isfinite
from typing import Any

import msgspec

_DIGITS = 12


def format(tree: object) -> str:
    """A tree of dataclasses or plain values as indented JSON with a newline at its end."""
    values = _plain(msgspec.to_builtins(tree, builtin_types=(Decimal,)))
    return msgspec.json.format(msgspec.json.encode(values), indent=2).decode() + "\n"


def _plain(value: Any) -> Any:
    """Floats to twelve digits, which hides how a sum was made; infinities and NaN as null."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    return value
