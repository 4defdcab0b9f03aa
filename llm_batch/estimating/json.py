"""The estimate as JSON, with stable keys, and as it stands in a run's manifest.

Keys of the document; every one is always there, ``null`` where nothing is known. What each means
is in ``docs/estimate.md``::

    schema                version of this layout
    n                     items to play
    population            items in the whole dataset, or null
    counted               items whose prompts were counted; 0: sizes are assumed
    reused                items that need no further call
    measured              items of a pilot or an earlier run that it rests on; 0 without
    measured_from         what that was, or ""
    statuses              items there by status
    simulated             whether a fake/ model answered there
    spent                 USD the finished items cost, or null
    calls, input_tokens, output_tokens, priced_cost, seconds
                          an interval each
    cost                  an interval, or null when a price is unknown
    batch_cost, cached_cost
                          an interval each, or null where there is no such price
    steps[]               step, model, calls, input_tokens, output_tokens, reasoning_tokens,
                          cost, batch_cost, cache_saves, seconds_per_call,
                          price {input, output, cache_read, cache_write, as_of, source} or null,
                          price_page, deprecated_from, rates[] and batch_rates[] {above, input,
                          output, cache_read, cache_write, reasoning}, tokens_exact, measured,
                          cached_share, shared_prefix, cacheable_prefix, longest[] {tokens, id},
                          too_long, too_long_ids, rpm, tpm, limits_from
    workers               calls at once
    requests_per_minute   {low, high}: what the workers make without any limit
    bound_by              what keeps it from being quicker
    sample_size           {n0, n_classic, n_min, n_fpc, level, margin, population, rate}
    claim                 what is claimed and how many items that needs: kind, level, margin,
                          rate, sd, detect, paired, discordance, power, zero_failures,
                          cluster_size, icc, sensitivity, specificity, base, design_effect,
                          judge_factor, n0, n_classic, n_min, n, groups, population, proves_all,
                          clusters {field, count, mean_size, size, icc, icc_from} or null,
                          n_drawn, take, discordance_is_assumed
    claim_notes[]         the same in sentences
    strata                {field, n, shares[] {stratum, size, proportional, measured, sd, neyman},
                          margin_proportional, margin_neyman} or null
    options[]             n, label, margin, may_miss, calls, cost, seconds, risk
    verdict               which of them to take, a sentence
    alternatives[]        models[] {step, model}, cost, batch_cost, cached_cost, priced_cost,
                          seconds, buys[] {way, items, at_least, all_items, proves,
                          proves_at_least}, notes[]; the first is the plan itself
    budget                USD the run may cost, or null
    assumptions[]         sentences
    warnings[]            {message, hint}

An interval is ``{value, low, high, level, n, method}`` (see `llm_batch.records.Interval`). Money
is USD, prices and rates are USD per million tokens, times are seconds, margins are fractions of
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from math import isfinite
from typing import Any

import msgspec

from llm_batch.estimating.model import Estimate, StepEstimate
from llm_batch.record.manifest import Estimated, Figures, Range
from llm_batch.records import Interval

#: Version of the layout of ``llmb estimate --format json``.
ESTIMATE_SCHEMA = 1
_DIGITS = 12
#: As in `llm_batch.models.prices.Rates`, after ``above``.
_RATES = ("input", "output", "cache_read", "cache_write", "reasoning")


def format(estimate: Estimate) -> str:
    """The estimate as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(_document(estimate)), indent=2).decode() + "\n"


def estimate_record(estimate: Estimate) -> Estimated:
    """The estimate as a run's manifest keeps it, for the report to compare with."""
    return Estimated(
        *_figures(estimate),
        seconds=_range(estimate.seconds),
        steps={step.step: Figures(*_figures(step)) for step in estimate.steps},
    )


def _document(estimate: Estimate) -> dict[str, Any]:
    tree = _plain(msgspec.to_builtins(estimate, builtin_types=(Decimal,)))
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
        **{name: _plain(1e6 * p) for name, p in zip(_RATES, prices, strict=True)},
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
