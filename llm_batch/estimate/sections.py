"""What an estimate shows to people: a headline, then sections of tables and sentences.

The formats for people (text, Markdown) differ only in how they draw these, so that a figure reads
the same in both. Names from the config are cleaned here and escaped by the format.
"""

from __future__ import annotations

from collections.abc import Iterator

from llm_batch.estimate import words
from llm_batch.estimate.blocks import Section, Table
from llm_batch.estimate.model import Estimate, StepEstimate
from llm_batch.estimate.tables import by_stratum, how_many, what_if
from llm_batch.prices import why_unknown
from llm_batch.records import Interval, Price

#: A shared beginning of a prompt that is shorter is not worth a word.
_LONG_PREFIX = 200
_FREE = ("local/", "fake/")


def headline(estimate: Estimate) -> str:
    """What most people came for, in one line."""
    items = words.counted(estimate.n, "item")
    if estimate.population is not None and estimate.n < estimate.population:
        items = f"{estimate.n:,} of {words.counted(estimate.population, 'item')}"
    calls = words.counted(estimate.calls.value or 0, "call")
    if estimate.reused:
        paid = f", {words.usd(estimate.spent)} paid" if estimate.spent else ""
        items = f"{items} ({estimate.reused:,} done{paid})"
    return f"{items}, {calls}: {_price_tag(estimate)}, {_time_tag(estimate.seconds)}"


def sections(estimate: Estimate) -> Iterator[Section]:
    """Yield the parts that every format for people shows."""
    yield Section("Cost and tokens", tuple(_cost(estimate)))
    yield Section("Time", (_time(estimate),))
    yield Section("How many items", (*how_many(estimate), *_notes(estimate)))
    if strata := by_stratum(estimate):
        yield strata
    if compared := what_if(estimate):
        yield compared


def cheaper_ways(estimate: Estimate) -> Iterator[str]:
    """Sentences on the batch price, the prompt cache and the beginnings that prompts share."""
    ways = list(_ways(estimate))
    if ways and estimate.cost is not None:
        both = "; never both together" if len(ways) > 1 else ""
        yield f"Live {words.usd(estimate.cost.value)}; {'; '.join(ways)}{both}."
    for step in estimate.steps:
        if said := _prefix(estimate, step):
            yield said


def _price_tag(estimate: Estimate) -> str:
    cost = estimate.cost
    if cost is None:
        known = estimate.priced_cost.value
        part = f" (known part {words.usd(known)})" if known else ""
        return f"cost unknown{part}"
    if not cost.high:
        return "no cost"
    sure = f", {100 * cost.level:g} %" if cost.level else ""
    return f"about {words.usd(cost.value)} ({words.usd_range(cost)}{sure})"


def _time_tag(seconds: Interval) -> str:
    return f"{'about ' if seconds.value else ''}{words.duration(seconds.value)}"


def _cost(estimate: Estimate) -> Iterator[Table | str]:
    rows = [
        (
            step.step,
            words.clean(step.model, 60),
            *_figures(step.calls, step.input_tokens, step.output_tokens, step.cost),
        )
        for step in estimate.steps
    ]
    if len(rows) > 1:
        sums = (estimate.calls, estimate.input_tokens, estimate.output_tokens, estimate.cost)
        rows.append(("total", "", *_figures(*sums)))
    yield Table(
        ("step", "model", "calls", "input", "output", "cost", "low to high"),
        (False, False, True, True, True, True, True),
        tuple(rows),
    )
    yield from dict.fromkeys(_price(step) for step in estimate.steps)
    yield from cheaper_ways(estimate)
    yield from _long_prompts(estimate)


def _ways(estimate: Estimate) -> Iterator[str]:
    batch, cached = estimate.batch_cost, estimate.cached_cost
    if batch is not None:
        live = [step.model for step in estimate.steps if step.batch_cost is None]
        besides = f"; {', '.join(dict.fromkeys(live))} at the live price" if live else ""
        yield (
            f"as a batch (up to 24 h) {words.usd(batch.value)} ({words.usd_range(batch)}){besides}"
        )
    if cached is not None:
        yield (
            f"with the provider's prompt cache {words.usd(cached.value)} "
            f"({words.usd_range(cached)})"
        )


def _prefix(estimate: Estimate, step: StepEstimate) -> str:
    """A sentence on the beginning that all prompts share; empty when it is not worth one."""
    prefix, inputs = step.shared_prefix or 0, step.input_tokens.value or 0
    calls = step.calls.value or 0
    if prefix < _LONG_PREFIX or not calls or step.model.startswith(_FREE):
        return ""
    said = (
        f"All prompts of {step.step} begin with the same {prefix:,} tokens, "
        f"{min(100.0, 100 * prefix * calls / inputs):.0f} % of its input"
    )
    if step.cached_share:
        return f"{said}; {100 * step.cached_share:.0f} % of the input came from the cache."
    if step.cache_saves:
        return (
            f"{said}: the provider's cache would serve {step.cacheable_prefix:,} of them and save "
            f"{words.usd(step.cache_saves)}."
        )
    if step.cacheable_prefix:
        return f"{said}; no price of cached input is listed for {words.clean(step.model, 60)}."
    return f"{said}; that is too short for the provider's cache, or it keeps nothing unasked."


def _long_prompts(estimate: Estimate) -> Iterator[str]:
    named = [
        f"{step.step} {step.longest[0][0]:,} tokens ("
        + ", ".join(repr(words.clean(item_id, 40)) for _, item_id in step.longest)
        + ")"
        for step in estimate.steps
        if step.longest
    ]
    if named:
        yield f"Longest prompts, with the ids of the items: {'; '.join(named)}."


def _figures(
    calls: Interval, inputs: Interval, outputs: Interval, cost: Interval | None
) -> tuple[str, ...]:
    return (
        words.count(calls.value),
        words.tokens(inputs.value),
        words.tokens(outputs.value),
        words.usd(cost.value if cost else None),
        words.usd_range(cost) if cost else "",
    )


def _price(step: StepEstimate) -> str:
    model = words.clean(step.model, 60)
    price = step.price
    if price is None:
        return f"{model}: price unknown, {words.clean(why_unknown(step.model))}"
    source = ", ".join(filter(None, (words.clean(price.source), price.as_of)))
    if not price.input and not price.output:
        return f"{model}: free ({source})"
    return f"{model}: {_rates(price)} per million tokens ({source})"


def _rates(price: Price) -> str:
    return ", ".join(
        f"${amount:.2f} {way}" if amount == round(amount, 2) else f"${amount} {way}"
        for amount, way in ((price.input, "in"), (price.output, "out"))
    )


def _time(estimate: Estimate) -> str:
    seconds = estimate.seconds
    shown = words.duration(seconds.value)
    if words.duration(seconds.high) != shown or words.duration(seconds.low) != shown:
        shown = f"{shown} ({words.duration_range(seconds)})"
    slow, quick = estimate.requests_per_minute
    if not quick:
        return f"{shown}. {estimate.bound_by}"
    rate = f"{slow:,.0f} to {quick:,.0f}" if round(slow) != round(quick) else f"{quick:,.0f}"
    make = "worker makes" if estimate.workers == 1 else "workers make"
    return (
        f"{shown}. {estimate.workers:,} {make} about {rate} requests a minute. {estimate.bound_by}"
    )


def _notes(estimate: Estimate) -> Iterator[str]:
    if estimate.reused:
        yield (
            f"{words.counted(estimate.reused, 'item')} need no further call; the table counts "
            "every item from its first call."
        )
