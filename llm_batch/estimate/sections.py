"""What an estimate shows to people: a headline, then sections of tables and sentences.

The formats for people (text, Markdown) differ only in how they draw these, so that a figure reads
the same in both. Names from the config are cleaned here and escaped by the format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llm_batch.estimate import words
from llm_batch.estimate.model import Estimate, StepEstimate
from llm_batch.records import Interval, Price


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text; ``right`` says which columns are figures."""

    header: tuple[str, ...]
    right: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A title and what stands beneath it: tables and sentences, in order."""

    title: str
    parts: tuple[Table | str, ...]


def headline(estimate: Estimate) -> str:
    """What most people came for, in one line."""
    items = words.counted(estimate.n, "item")
    if estimate.population is not None and estimate.n < estimate.population:
        items = f"{estimate.n:,} of {words.counted(estimate.population, 'item')}"
    calls = words.counted(estimate.calls.value or 0, "call")
    return f"{items}, {calls}: {_price_tag(estimate)}, {_time_tag(estimate.seconds)}"


def sections(estimate: Estimate) -> Iterator[Section]:
    """Yield the parts that every format for people shows."""
    yield Section("Cost and tokens", tuple(_cost(estimate)))
    yield Section("Time", (_time(estimate),))
    yield Section("How many items", (advice(estimate), _options(estimate), *_notes(estimate)))


def advice(estimate: Estimate) -> str:
    """How many items a rate needs, with the figure of textbooks beside it."""
    size = estimate.advice
    least = f"{size.n_min:,} of very many"
    if size.n_fpc is not None and size.population is not None:
        least = f"{size.n_fpc:,} of {size.population:,}"
    return (
        f"{least} ({100 * size.level:g} %, ±{100 * size.margin:g} points); "
        f"textbook figure {size.n_classic:,}"
    )


def _price_tag(estimate: Estimate) -> str:
    cost = estimate.cost
    if cost is None:
        known = estimate.priced_cost.value
        part = f" (known part {words.usd(known)})" if known else ""
        return f"cost unknown{part}"
    if not cost.high:
        return "no cost"
    return f"about {words.usd(cost.value)} ({words.usd_range(cost)})"


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
        return f"{model}: price unknown"
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


def _options(estimate: Estimate) -> Table:
    rows = tuple(
        (
            f"{option.n:,}",
            words.points(option.margin),
            f"{option.calls:,}",
            words.usd(option.cost.value if option.cost else None),
            words.usd_range(option.cost) if option.cost else "",
            words.duration(option.seconds.value),
            option.label,
        )
        for option in estimate.options
    )
    return Table(
        ("items", "points", "calls", "cost", "low to high", "time", ""),
        (True, True, True, True, True, True, False),
        rows,
    )


def _notes(estimate: Estimate) -> Iterator[str]:
    if estimate.reused:
        yield (
            f"{words.counted(estimate.reused, 'item')} need no further call; the table counts "
            "every item from its first call."
        )
