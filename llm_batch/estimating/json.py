"""The estimate as JSON, with stable keys, and as it stands in a run's manifest.

The keys are those of `llm_batch.estimating.model`, where each has its unit; for users they stand in
``docs/estimate.md`` and ``docs/sample-size.md``, and a test holds the three together. Every one is
always there, ``null`` where nothing is known. Prices and rates are USD per million tokens here. An
interval is ``{value, low, high, level, n, method}``; in the manifest ``{low, expected, high}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from llm_batch.estimating.model import Estimate, StepEstimate
from llm_batch.record.manifest import Estimated, Figures, Range
from llm_batch.records import Interval

#: Version of the layout of ``llmb estimate --format json``.
ESTIMATE_SCHEMA = 1
#: As in `llm_batch.models.prices.Rates`, after ``above``.
_RATES = ("input", "output", "cache_read", "cache_write", "reasoning")


def estimate_record(estimate: Estimate) -> Estimated:
    """The estimate as a run's manifest keeps it, for the report to compare with."""
    return Estimated(
        *_figures(estimate),
        seconds=_range(estimate.seconds),
        steps={step.step: Figures(*_figures(step)) for step in estimate.steps},
    )


def values(estimate: Estimate) -> dict[str, Any]:
    """The estimate as ``--format json`` shows it."""
    tree = msgspec.to_builtins(estimate, builtin_types=(Decimal,))
    low, high = tree.pop("requests_per_minute")
    size = tree.pop("advice")
    needed = tree.pop("needed")
    for step in tree["steps"]:
        step["longest"] = [{"tokens": tokens, "id": item} for tokens, item in step["longest"]]
        for key in ("rates", "batch_rates"):
            step[key] = [_per_million(rates) for rates in step[key]]
    return {
        "schema": ESTIMATE_SCHEMA,
        **tree,
        "requests_per_minute": {"low": low, "high": high},
        "sample_size": size,
        "claim": {**needed.pop("claim"), **needed},
        "alternatives": [
            {**other, "models": [{"step": s, "model": m} for s, m in other["models"].items()]}
            for other in tree["alternatives"]
        ],
        "warnings": [{"message": message, "hint": hint} for message, hint in estimate.warnings],
    }


def _per_million(rates: Sequence[float]) -> dict[str, float]:
    above, *prices = rates[: len(_RATES) + 1]
    return {
        "above": above,
        **{name: 1e6 * p for name, p in zip(_RATES, prices, strict=True)},
    }


def _figures(estimate: Estimate | StepEstimate) -> tuple[int, int, int, Range | None]:
    calls, inputs, outputs = estimate.calls, estimate.input_tokens, estimate.output_tokens
    return (
        round(calls.value or 0),
        round(inputs.value or 0),
        round(outputs.value or 0),
        _range(estimate.cost) if estimate.cost is not None else None,
    )


def _range(interval: Interval) -> Range:
    return Range(interval.low, interval.value, interval.high)
