"""The estimate as JSON, with stable keys, and as it stands in a run's manifest.

Keys of the document; every one is always there, ``null`` where nothing is known::

    schema                version of this layout
    n                     items to play
    population            items in the whole dataset, or null
    counted               items whose prompts were counted; 0: sizes are assumed
    reused                items that need no further call
    calls, input_tokens, output_tokens, priced_cost, seconds
                          an interval each
    cost                  an interval, or null when a price is unknown
    steps[]               step, model, calls, input_tokens, output_tokens, cost, tokens_exact,
                          price {input, output, cache_read, cache_write, as_of, source} or null
    workers               calls at once
    requests_per_minute   {low, high}: what the workers make without any limit
    bound_by              what keeps it from being quicker
    sample_size           {n0, n_classic, n_min, n_fpc, level, margin, population, rate}
    options[]             n, label, margin, calls, cost, seconds
    assumptions[]         sentences
    warnings[]            {message, hint}

An interval is ``{value, low, high, level, n, method}`` (see `llm_batch.records.Interval`). Money
is USD, prices are USD per million tokens, times are seconds, margins are fractions of one.
"""

from __future__ import annotations

from decimal import Decimal
from math import isfinite
from typing import Any

import msgspec

from llm_batch.estimate.model import Estimate
from llm_batch.records import Interval

#: Version of the layout of ``llmb estimate --format json``.
ESTIMATE_SCHEMA = 1
_DIGITS = 12


def format(estimate: Estimate) -> str:
    """The estimate as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(_document(estimate)), indent=2).decode() + "\n"


def estimate_record(estimate: Estimate) -> dict[str, Any]:
    """The estimate as a run's manifest keeps it, for the report to compare with."""
    return {
        **_summary(estimate.calls, estimate.input_tokens, estimate.output_tokens, estimate.cost),
        "seconds": _range(estimate.seconds),
        "steps": {
            step.step: _summary(step.calls, step.input_tokens, step.output_tokens, step.cost)
            for step in estimate.steps
        },
    }


def _document(estimate: Estimate) -> dict[str, Any]:
    tree = _plain(msgspec.to_builtins(estimate, builtin_types=(Decimal,)))
    low, high = tree.pop("requests_per_minute")
    size = tree.pop("advice")
    return {
        "schema": ESTIMATE_SCHEMA,
        **tree,
        "requests_per_minute": {"low": low, "high": high},
        "sample_size": size,
        "warnings": [{"message": message, "hint": hint} for message, hint in estimate.warnings],
    }


def _plain(value: Any) -> Any:
    """Decimals as numbers, and floats to twelve digits, which hides how a sum was made."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(member) for member in value]
    return value


def _summary(
    calls: Interval, inputs: Interval, outputs: Interval, cost: Interval | None
) -> dict[str, Any]:
    return {
        "calls": round(calls.value or 0),
        "input_tokens": round(inputs.value or 0),
        "output_tokens": round(outputs.value or 0),
        "cost": _range(cost) if cost is not None else None,
    }


def _range(interval: Interval) -> dict[str, float | None]:
    return {"low": interval.low, "expected": interval.value, "high": interval.high}
