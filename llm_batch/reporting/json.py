"""The report as JSON: every figure, with stable keys.

The keys are the field names of `llm_batch.reporting.model.Report` and of what it holds, documented
there; ``schema`` changes when one of them does. Every key is always present, ``null`` where
nothing is known. An interval is ``{"value", "low", "high", "level", "n", "method"}``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llm_batch.reporting.model import Report

_DIGITS = 12


def format(report: Report) -> str:
    """The report as indented JSON with a newline at its end."""
    return encoded(report)


def encoded(tree: Any) -> str:
    """Any tree of dataclasses in the same way."""
    plain = _rounded(msgspec.to_builtins(tree))
    return msgspec.json.format(msgspec.json.encode(plain), indent=2).decode() + "\n"


def _rounded(value: Any) -> Any:
    """Floats to twelve digits, which hides how a sum was made; infinities and NaN as null."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {key: _rounded(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(member) for member in value]
    return value
