"""Where the money of a run went: from counts, prices and the journal to a `CostBreakdown`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import fsum

from llm_batch.record.manifest import ListPrice, Manifest
from llm_batch.records import Usage
from llm_batch.reporting.calls import CallsTally, StepCalls
from llm_batch.reporting.model import CostBreakdown, JournalSpending, ModelSpending
from llm_batch.reporting.tally import Tally

_MILLION = 1e6

#: Sums of floats differ by less than this share however they are added up.
_ROUNDING = 1e-9

Prices = Mapping[str, ListPrice | None]


def cost_breakdown(
    tally: Tally, manifest: Manifest, calls: CallsTally | None
) -> CostBreakdown | None:
    """Where the money went; ``None`` when no step was called.

    Args:
        tally: What the results lines say.
        manifest: Which model answered which step, at which price.
        calls: What the journal says; ``None`` when it was not read.
    """
    if not tally.steps:
        return None
    total = Usage(**tally.total.tokens)
    again = tally.total.attempts - sum(step.items for step in tally.steps.values())
    models, prices = manifest.models, manifest.prices
    used = [(models.get(name, ""), Usage(**step.tokens)) for name, step in tally.steps.items()]
    now, table = _prices_now(manifest)
    cached = total.cache_read_tokens + total.cache_write_tokens
    return CostBreakdown(
        failed_items=tally.failed.items,
        failed_cost=tally.failed.cost,
        sent_again=max(0, again),
        sent_again_share=_share(max(0, again), tally.total.attempts),
        cached_share=_share(total.cache_read_tokens, total.input_tokens),
        cache_saved=_priced(_cache_saved, used, prices) if cached else None,
        reasoning_share=_share(total.reasoning_tokens, total.output_tokens),
        reasoning_cost=_priced(_reasoning_cost, used, prices),
        list_cost=_priced(list_cost, used, prices),
        list_cost_now=_priced(list_cost, used, now) if now else None,
        prices_now=table,
        journal=_journal(calls, tally.total.cost, prices) if calls and calls.calls else None,
    )


def list_cost(usage: Usage, price: ListPrice) -> float:
    """USD of tokens at the price of plain requests: cached input at its own price, if it has one.

    Longer requests, batches and faster tiers cost something else; what was booked has them.
    """
    read, write = usage.cache_read_tokens, usage.cache_write_tokens
    into = (
        max(0, usage.input_tokens - read - write) * price.input
        + read * (price.input if price.cache_read is None else price.cache_read)
        + write * (price.input if price.cache_write is None else price.cache_write)
    )
    return (into + usage.output_tokens * price.output) / _MILLION


def _cache_saved(usage: Usage, price: ListPrice) -> float:
    without = Usage(usage.input_tokens, usage.output_tokens)
    return list_cost(without, price) - list_cost(usage, price)


def _reasoning_cost(usage: Usage, price: ListPrice) -> float:
    return usage.reasoning_tokens * price.output / _MILLION


def _priced(
    cost: Callable[[Usage, ListPrice], float], used: Iterable[tuple[str, Usage]], prices: Prices
) -> float | None:
    """The sum over all models; ``None`` when one that was used has no price."""
    sums = []
    for model, usage in used:
        price = prices.get(model)
        if price is None:
            if usage == Usage():
                continue
            return None
        sums.append(cost(usage, price))
    return fsum(sums)


def _prices_now(manifest: Manifest) -> tuple[Prices, str]:
    """Today's list prices and their table; none when they are those of the run."""
    from llm_batch.models.table import table_version

    then = manifest.versions.get("prices", "")
    table = table_version()
    if not then or then == table:
        return {}, ""
    from llm_batch.models.prices import price_of

    now: dict[str, ListPrice | None] = {}
    for model, price in manifest.prices.items():
        if price is not None and ("config" in price.source or "batch" in price.source):
            return {}, ""  # the user's own prices hold, and a batch has others than are listed
        now[model] = ListPrice.of(price_of(model))
    return now, table


def _journal(calls: CallsTally, of_results: float | None, prices: Prices) -> JournalSpending:
    steps = calls.steps
    known = fsum(step.known_cost for step in steps.values())
    cost = None if any(step.unpriced for step in steps.values()) else known
    beside = None
    if cost is not None and of_results is not None:
        beside = max(0.0, cost - of_results)
        if beside <= _ROUNDING * cost:
            beside = 0.0
    replaced = _replaced(calls.asked, calls.answer_costs)
    return JournalSpending(
        calls=calls.calls,
        cost=cost,
        beside_results=beside,
        failed_calls=calls.calls - sum(step.answered for step in steps.values()),
        failed_cost=fsum(step.failed_cost for step in steps.values()),
        replaced_calls=len(replaced),
        replaced_cost=fsum(replaced),
        retry_cost=_retry_cost(steps, prices),
        failed_seconds=fsum(sends.failed_seconds for sends in calls.models.values()),
        models=tuple(
            ModelSpending(
                step=step,
                model=model,
                calls=counted.calls,
                answered=counted.answered,
                attempts=counted.attempts,
                usage=Usage(**counted.tokens),
                cost=None if counted.unpriced else counted.known_cost,
                known_cost=counted.known_cost,
            )
            for (step, model), counted in steps.items()
        ),
    )


def _replaced(asked: Sequence[int], costs: Sequence[float]) -> list[float]:
    """The costs of all answers but the last one to each question."""
    last: set[int] = set()
    replaced = []
    for question, cost in zip(reversed(asked), reversed(costs), strict=True):
        if question in last:
            replaced.append(cost)
        last.add(question)
    return replaced


def _retry_cost(steps: Mapping[tuple[str, str], StepCalls], prices: Prices) -> float | None:
    sums = []
    for (_, model), step in steps.items():
        if not step.bounded_cost:
            continue
        price = prices.get(model)
        if price is None:
            return None
        answers = list_cost(Usage(**step.bounded_tokens), price)
        sums.append(max(0.0, step.bounded_cost - answers))
    return fsum(sums)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
