"""What an estimate holds, numbers and sentences: for the formats, for JSON, for the manifest.

Money is USD, times are seconds, margins are fractions of one. Every range is an `Interval`: of
level 0 when it is assumed, of level 0.9 when every step was measured. What is not known is
``None``, never 0.

JSON has the keys of these classes, every one always there; for users they stand in
``docs/estimate.md`` and ``docs/sample-size.md``, and a test holds the three together. Prices and
rates are USD per million tokens there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, NamedTuple

import msgspec

from llm_batch.estimating.sample_size import Needed
from llm_batch.estimating.scores import Strata
from llm_batch.models.prices import Rates
from llm_batch.paper import Readable
from llm_batch.record.manifest import Estimated, Figures, Range
from llm_batch.records import Interval, Price
from llm_batch.stats.sizes import SampleSize

Risk = Literal["low", "some", "high", "unknown"]


#: Below this and this time the high case is a risk few think about.
LOW_USD = 50.0


LOW_SECONDS = 8 * 3600.0


#: From this or this time on it is a risk nobody should take without a smaller run before.
HIGH_USD = 1000.0


HIGH_SECONDS = 24 * 3600.0


def risk_of(cost: Interval | None, seconds: Interval) -> Risk:
    """Rate the high case: ``unknown`` without a price, unless its time is enough for ``high``."""
    longest = seconds.high or 0.0
    if longest >= HIGH_SECONDS:
        return "high"
    if cost is None:
        return "unknown"
    dearest = cost.high or 0.0
    if dearest >= HIGH_USD:
        return "high"
    return "low" if dearest < LOW_USD and longest < LOW_SECONDS else "some"


class Caution(NamedTuple):
    """What should be thought about before running, and what to type instead."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class StepEstimate:
    """One step of the chain, for all items still to be played; costs and tokens as in `Estimate`.

    Attributes:
        cache_saves: USD that the provider's prompt cache would take off ``cost``; ``None`` where
            the prompts share too little, or its price is not known. Never together with batch.
        seconds_per_call: From sending to the last byte.
        price_page: The vendor's page it was taken from, where the table names one.
        deprecated_from: The day from which the model may be gone; ``None`` when unknown.
        rates: The price by length of the request, USD per token; empty ones where none are listed.
        tokens_exact: True when prompts were counted in the model's own encoding.
        measured: True when answers and times come from a pilot or an earlier run.
        cached_share: Share of the input that came from the cache there; ``None`` unmeasured.
        shared_prefix: Tokens that all its prompts begin with; ``None`` when not looked at.
        cacheable_prefix: The part of them that the provider's cache serves, as the config asks it.
        longest: Input tokens and ids of the longest prompts counted.
        too_long: Prompts counted that exceed the model's context, and the ids of the first.
        rpm: Requests a minute that hold for its model; ``None`` without a limit. So is ``tpm``.
        limits_from: The tier they come from, with page and date; empty for none.
    """

    step: str
    model: str
    calls: Interval
    input_tokens: Interval
    output_tokens: Interval
    reasoning_tokens: Interval
    cost: Interval | None
    batch_cost: Interval | None
    cache_saves: float | None
    seconds_per_call: Interval
    price: Price | None
    price_page: str
    deprecated_from: str | None
    rates: tuple[Rates, ...]
    batch_rates: tuple[Rates, ...]
    tokens_exact: bool
    measured: bool
    cached_share: float | None
    shared_prefix: int | None
    cacheable_prefix: int
    longest: tuple[tuple[int, str], ...]
    too_long: int
    too_long_ids: tuple[str, ...]
    rpm: float | None
    tpm: float | None
    limits_from: str


@dataclass(frozen=True, slots=True)
class Option:
    """What a run over another number of items would prove, cost and take.

    Attributes:
        label: Why this number is here; may be empty.
        margin: What it proves of what is claimed: half width of the interval of a rate or a mean,
            the least difference that is found, or the failure rate that seeing none rules out.
            ``None``: nothing.
        may_miss: The largest share of all items that may show in none of these, at 95 %.
        cost: USD from the first item on, whatever has been answered already; ``None`` when a
            price is unknown.
        risk: Its high case of money and time as a word; see `risk_of`.
    """

    n: int
    label: str
    margin: float | None
    may_miss: float
    calls: int
    cost: Interval | None
    seconds: Interval
    risk: Risk


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a budget buys in one way of paying.

    Attributes:
        way: ``live``, ``batch`` or ``cached``.
        items: Items in the expected case, at most the whole dataset.
        at_least: In the high case.
        all_items: Whether ``items`` is the whole dataset.
        proves: What that many items prove; see `Option.margin`. So does ``proves_at_least``.
    """

    way: str
    items: int
    at_least: int
    all_items: bool
    proves: float | None
    proves_at_least: float | None


@dataclass(frozen=True, slots=True)
class Alternative:
    """The same items with other models, from the first call on; costs as in `Estimate`.

    Attributes:
        models: The model of each step.
        buys: What the budget buys, by each price there is; empty without a budget.
        notes: What speaks against it.
    """

    models: Mapping[str, str]
    cost: Interval | None
    batch_cost: Interval | None
    cached_cost: Interval | None
    priced_cost: Interval
    seconds: Interval
    buys: tuple[Purchase, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Device:
    """What one key of a step comes to.

    Attributes:
        device: The key: ``when``, ``share``, ``repeat`` or ``models``.
        cost: USD with it; ``None`` where a price is unknown. ``calls`` are requests.
        cost_without: USD of the same without it: all items, one answer, or the cheapest member of
            a jury alone. ``None`` for a condition that nothing is known of.
        said: The same as a sentence.
    """

    step: str
    device: str
    calls: float
    calls_without: float | None
    cost: float | None
    cost_without: float | None
    said: str


@dataclass(frozen=True, slots=True)
class Estimate(Readable):
    """What a run will cost and take, and what it will prove.

    Attributes:
        n: Items to play, finished ones included.
        population: Items in the whole dataset; ``None`` when unknown.
        counted: Items whose prompts were rendered and counted; 0 for an estimate from nothing.
        reused: Items that need no further call, because an earlier run answered all of them.
        measured: Items of a pilot or an earlier run that answers and times come from, and which.
        statuses: Items there by status (``ok``, or the kind of failure).
        spent: USD that the finished items cost; ``None`` when unknown, or nothing was played.
        calls: Requests still to be sent; retries and re-asks are in it where measured.
        output_tokens: Reasoning included.
        cost: USD at live prices; ``None`` when the price of any step with calls is unknown.
        batch_cost: USD with batch prices where they are listed; ``None`` where none is.
        cached_cost: USD if the provider's prompt cache works; ``None`` where it cannot. Never
            together with batch prices: no provider states that both discounts apply at once.
        priced_cost: USD of the steps whose price is known.
        seconds: Wall time.
        workers: Calls at once, and the requests a minute that they make without any limit, at the
            slowest and the quickest answers assumed.
        bound_by: What keeps it from being quicker, as a sentence.
        advice: How many items a rate needs, with the figures people quote for it.
        needed: How many items the claim needs; ``claim_notes`` says it in sentences.
        options: Other numbers of items, fewest first; ``verdict`` says which of them to take.
        alternatives: Other models for the same items; the first is the plan itself.
        budget: USD that the run may cost.
        assumptions: What the figures rest on, a sentence each.
        next_command: What to type now; empty while a warning stands in its way.
        rules: Steps that ask no model, each with its rule.
        devices: What conditions, shares, repeats and juries cost or save.
        dominant: Which step most of the cost is of, as a sentence; empty where none is.
    """

    n: int
    population: int | None
    counted: int
    reused: int
    measured: int
    measured_from: str
    statuses: Mapping[str, int]
    simulated: bool
    spent: float | None
    calls: Interval
    input_tokens: Interval
    output_tokens: Interval
    cost: Interval | None
    batch_cost: Interval | None
    cached_cost: Interval | None
    priced_cost: Interval
    seconds: Interval
    steps: tuple[StepEstimate, ...]
    workers: int
    requests_per_minute: tuple[float, float]
    bound_by: str
    advice: SampleSize
    needed: Needed
    claim_notes: tuple[str, ...]
    strata: Strata | None
    options: tuple[Option, ...]
    verdict: str
    alternatives: tuple[Alternative, ...]
    budget: float | None
    assumptions: tuple[str, ...]
    warnings: tuple[Caution, ...]
    next_command: str
    rules: tuple[tuple[str, str], ...] = ()
    devices: tuple[Device, ...] = ()
    dominant: str = ""

    def _formats(self) -> Mapping[str, Callable[[Any], str]]:
        from llm_batch.estimating import FORMATS

        return FORMATS


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
    tree = msgspec.to_builtins(estimate, builtin_types=(Decimal,))
    low, high = tree.pop("requests_per_minute")
    size = tree.pop("advice")
    needed = tree.pop("needed")
    rules = tree.pop("rules")
    if rules:
        tree["rules"] = [{"step": step, "rule": rule} for step, rule in rules]
    if not tree["devices"]:
        del tree["devices"]
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
