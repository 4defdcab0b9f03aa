"""What an estimate shows to people: all of it as a document, and what fits a screen.

Names from the config are cleaned here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llm_batch.chain.steps import shown, written
from llm_batch.estimating import sentences as size_words
from llm_batch.estimating.estimates import (
    HIGH_SECONDS,
    HIGH_USD,
    LOW_SECONDS,
    LOW_USD,
    Alternative,
    Estimate,
    Option,
    Purchase,
    StepEstimate,
)
from llm_batch.models.prices import why_unknown
from llm_batch.models.table import must_mark
from llm_batch.paper import words
from llm_batch.paper.document import Document, Section, Table, on_screen
from llm_batch.records import Interval

#: Strata that are shown; JSON has all of them.
_STRATA = 12
_NONE = "none"
_MODELS_ON_SCREEN = 6


def how_many(estimate: Estimate) -> Iterator[Table | str]:
    first, *others = estimate.claim_notes
    yield first
    yield _sizes(estimate)
    if estimate.verdict:
        yield estimate.verdict
    yield from others
    yield (
        "Unseen: failures rarer than this may be missed entirely. Risk: how bad the expensive end "
        f"of the range is: low below ${LOW_USD:g} and {words.about_duration(LOW_SECONDS)}, high "
        f"from ${HIGH_USD:,.0f} or {words.about_duration(HIGH_SECONDS)}."
    )


def by_stratum(estimate: Estimate) -> Section | None:
    strata = estimate.strata
    if strata is None:
        return None
    largest = sorted(strata.shares, key=lambda share: (-share.size, share.stratum))[:_STRATA]
    best = strata.margin_neyman is not None
    rows = tuple(
        (
            words.clean(share.stratum, 40),
            f"{share.size:,}",
            f"{share.proportional:,}",
            *((f"{share.sd:.3g}", f"{share.neyman:,}") if best else ()),
        )
        for share in largest
    )
    extra = ("sd", "by spread") if best else ()
    header = (words.clean(strata.field, 40), "items", "in proportion", *extra)
    parts: list[Table | str] = [Table(header, (False, *[True] * (len(header) - 1)), rows)]
    rest = len(strata.shares) - len(largest)
    if rest:
        parts.append(f"And {words.counted(rest, 'smaller stratum', 'smaller strata')}.")
    if strata.margin_neyman is not None and strata.margin_proportional is not None:
        proportional, neyman = (
            _margin(estimate, margin)
            for margin in (strata.margin_proportional, strata.margin_neyman)
        )
        parts.append(
            f"Drawn in proportion, as run does, {strata.n:,} items give {proportional}; drawn by "
            f"size and spread, {neyman}. Spreads are those seen, pulled towards the common one."
        )
    else:
        parts.append(
            "Run draws in proportion, at least 2 from each. --pilot or --from, with two scores in "
            "each, adds the shares by spread."
        )
    return Section("Strata", tuple(parts))


def what_if(estimate: Estimate) -> Section | None:
    compared = estimate.alternatives
    if len(compared) < 2 and estimate.budget is None:
        return None
    steps = _varying(compared)
    parts: list[Table | str] = []
    if len(compared) > 1:
        parts.append(_prices(steps, compared))
        parts += _cheapest(steps, compared)
        parts.append(
            f"For all {words.counted(estimate.n, 'item')}, from the first call. A batch takes up "
            "to 24 h; models without a batch price run live in it. Batch and cache discounts are "
            "never combined. Everything above is for the first row."
        )
    if estimate.budget is not None:
        if len(compared) > 1:
            parts.append(_budgets(estimate, steps))
        parts += _bought(estimate)
    parts += dict.fromkeys(f"{note}." for other in compared[1:] for note in other.notes)
    return Section("What if", tuple(parts))


def what_if_in_short(estimate: Estimate) -> Section | None:
    """Other models and what the budget buys, without the details; ``None`` for neither."""
    compared = estimate.alternatives
    parts: list[Table | str] = []
    if len(compared) > 1:
        steps = _varying(compared)
        parts.append(_prices(steps, compared[:_MODELS_ON_SCREEN]))
        if (left := len(compared) - _MODELS_ON_SCREEN) > 0:
            parts.append(f"And {left:,} more.")
        parts += _cheapest(steps, compared)
    if estimate.budget is not None:
        parts += _bought(estimate)
    return Section("What if", tuple(parts)) if parts else None


def _sizes(estimate: Estimate) -> Table:
    needed = estimate.needed
    rows = tuple(
        (
            f"{option.n:,}",
            size_words.cell(needed, option.margin),
            f"{100 * option.may_miss:.2g} %" if option.may_miss else "0",
            words.about_usd(option.cost.value if option.cost else None),
            words.about_usd_range(option.cost) if option.cost else "",
            words.about_duration(option.seconds.value),
            option.risk,
            option.label,
        )
        for option in estimate.options
    )
    return Table(
        (
            "items",
            size_words.HEADS[needed.kind],
            "unseen",
            "cost",
            "low to high",
            "time",
            "risk",
            "",
        ),
        (True, True, True, True, True, True, False, False),
        rows,
    )


def _margin(estimate: Estimate, margin: float) -> str:
    return words.margin(margin) if estimate.needed.claim.is_of_rates else f"±{margin:.3g}"


def _varying(compared: Sequence[Alternative]) -> list[str]:
    """The steps whose model is not the same in all; all steps where there is nothing to compare."""
    first = compared[0].models
    return [
        step
        for step, model in first.items()
        if any(other.models[step] != model for other in compared)
    ] or list(first)


def _names(steps: Sequence[str], other: Alternative) -> tuple[str, ...]:
    return tuple(words.clean(other.models[step], 40) for step in steps)


def _prices(steps: Sequence[str], compared: Sequence[Alternative]) -> Table:
    rows = tuple(
        (
            *_names(steps, other),
            words.about_usd(other.cost.value if other.cost else None),
            words.about_usd_range(other.cost) if other.cost else "",
            _way(other, other.batch_cost),
            _way(other, other.cached_cost),
            words.about_duration(other.seconds.value),
        )
        for other in compared
    )
    return Table(
        (*steps, "live", "low to high", "batch", "cached", "time"),
        (*[False] * len(steps), True, True, True, True, True),
        rows,
    )


def _way(other: Alternative, cost: Interval | None) -> str:
    """A price of another way to pay: unknown without any price, none where none is listed."""
    if other.cost is None:
        return words.UNKNOWN
    return _NONE if cost is None else words.about_usd(cost.value)


def _cheapest(steps: Sequence[str], compared: Sequence[Alternative]) -> Iterator[str]:
    priced = [(other.cost.value or 0.0, other) for other in compared if other.cost is not None]
    if len(priced) < 2:
        return
    (low, cheapest), (high, dearest) = (
        pick(priced, key=lambda pair: pair[0]) for pick in (min, max)
    )
    if low == high:
        return
    cheap, dear = (" and ".join(_names(steps, other)) for other in (cheapest, dearest))
    costs = f"{dear} costs {high / low:.3g} times as much as {cheap}" if low else f"{cheap} is free"
    yield f"{costs}; try both on a small sample."


def _budgets(estimate: Estimate, steps: Sequence[str]) -> Table:
    rows = []
    for other in estimate.alternatives:
        if not other.buys:
            rows.append((*_names(steps, other), words.UNKNOWN, "", "", "", ""))
        for bought in other.buys:
            rows.append((*_names(steps, other), bought.way, *_figures(estimate, bought)))
    head = size_words.HEADS[estimate.needed.kind]
    return Table(
        (*steps, f"{words.about_usd(estimate.budget)} buys", "items", head, "at least", head),
        (*[False] * (len(steps) + 1), True, True, True, True),
        tuple(rows),
    )


def _figures(estimate: Estimate, bought: Purchase) -> tuple[str, ...]:
    return (
        f"all {bought.items:,}" if bought.all_items else f"{bought.items:,}",
        size_words.cell(estimate.needed, bought.proves),
        f"{bought.at_least:,}",
        size_words.cell(estimate.needed, bought.proves_at_least),
    )


def _bought(estimate: Estimate) -> Iterator[str]:
    """What the budget buys with the models of the plan, in one sentence."""
    amount, needed = words.about_usd(estimate.budget), estimate.needed
    plan = estimate.alternatives[0]
    live = next((bought for bought in plan.buys if bought.way == "live"), None)
    if live is None:
        yield f"A price is unknown, so what {amount} buys is too; run refuses such a budget."
        return
    if not live.items:
        yield f"{amount} does not even pay for one item."
        return
    all_ = "all " if live.all_items else ""
    said = (
        f"{amount} buys {all_}{words.counted(live.items, 'item')}, which "
        f"{_plural(size_words.shows(needed, live.proves), live.items)}"
    )
    if live.at_least < live.items:
        least = size_words.cell(needed, live.proves_at_least)
        said += f"; at the expensive end, {live.at_least:,} ({least})"
    others = [
        f"{bought.items:,} {'as a batch' if bought.way == 'batch' else 'with the prompt cache'}"
        for bought in plan.buys
        if bought.way != "live" and bought.items > live.items
    ]
    yield f"{said}{'; ' + ', or '.join(others) if others else ''}."


def _plural(verb_phrase: str, n: int) -> str:
    """After "items, which": holds becomes hold, for more than one."""
    verb, _, rest = verb_phrase.partition(" ")
    return f"{verb.removesuffix('s')} {rest}" if n != 1 else verb_phrase


#: A shared beginning of a prompt that is shorter is not worth a word.
_LONG_PREFIX = 200
_FREE = ("local/", "fake/")


def document(estimate: Estimate) -> Document:
    return Document(
        headline(estimate),
        sections=tuple(sections(estimate)),
        assumptions=tuple(estimate.assumptions),
        warnings=tuple(estimate.warnings),
        next_steps=next_steps(estimate),
    )


def next_steps(estimate: Estimate) -> tuple[str, ...]:
    return (f"`{estimate.next_command}`",) if estimate.next_command else ()


def headline(estimate: Estimate) -> str:
    items = words.counted(estimate.n, "item")
    if estimate.population is not None and estimate.n < estimate.population:
        items = f"{estimate.n:,} of {words.counted(estimate.population, 'item')}"
    calls = words.counted(estimate.calls.value or 0, "call")
    if estimate.reused:
        paid = f", {words.about_usd(estimate.spent)} paid" if estimate.spent else ""
        items = f"{items} ({estimate.reused:,} done{paid})"
    return f"{items}, {calls}: {_price_tag(estimate)}, {_time_tag(estimate)}"


def sections(estimate: Estimate) -> Iterator[Section]:
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
        yield f"Live {words.about_usd(estimate.cost.value)}; {'; '.join(ways)}{both}."
    for step in estimate.steps:
        if said := _prefix(estimate, step):
            yield said


def _price_tag(estimate: Estimate) -> str:
    cost = estimate.cost
    if cost is None:
        known = estimate.priced_cost.value
        part = f" (known part {words.about_usd(known)})" if known else ""
        return f"cost unknown{part}"
    if not cost.high:
        return "no cost"
    sure = f", {100 * cost.level:g} %" if cost.level else ""
    return f"about {words.about_usd(cost.value)} ({words.about_usd_range(cost)}{sure})"


def _time_tag(estimate: Estimate) -> str:
    seconds = estimate.seconds
    said = words.about_duration(seconds.value)
    if not seconds.value or said.startswith("under"):
        return said
    # Where nothing is paid, the time is what it costs.
    free = estimate.cost is not None and not estimate.cost.high
    low, high = (words.about_duration(bound) for bound in (seconds.low, seconds.high))
    between = f" ({words.about_duration_range(seconds)})" if free and low != high else ""
    return f"about {said}{between}"


def steps_table(estimate: Estimate) -> Table:
    """Calls, tokens and cost of each step and of all; without money where nothing costs any."""
    rows = [
        (
            written(step.step),
            words.clean(step.model, 60),
            *_step_figures(step.calls, step.input_tokens, step.output_tokens, step.cost),
        )
        for step in estimate.steps
    ]
    rows += [(name, f"rule: {rule}", "0", "0", "0", "$0", "") for name, rule in estimate.rules]
    if len(estimate.steps) > 1:
        sums = (estimate.calls, estimate.input_tokens, estimate.output_tokens, estimate.cost)
        rows.append(("total", "", *_step_figures(*sums)))
    header = ("step", "model", "calls", "input", "output", "cost", "low to high")
    free = estimate.cost is not None and not estimate.cost.high
    shown = len(header) - 2 * free
    return Table(
        header[:shown],
        (False, False, True, True, True, True, True)[:shown],
        tuple(row[:shown] for row in rows),
    )


def devices(estimate: Estimate) -> Iterator[str]:
    """What most of the money is for, and what each device of the config costs or saves."""
    if estimate.dominant:
        yield estimate.dominant
    yield from (device.said for device in estimate.devices)


def _cost(estimate: Estimate) -> Iterator[Table | str]:
    yield steps_table(estimate)
    yield from devices(estimate)
    yield from dict.fromkeys(_price(step) for step in estimate.steps)
    yield from cheaper_ways(estimate)
    yield from _long_prompts(estimate)


def _ways(estimate: Estimate) -> Iterator[str]:
    batch, cached = estimate.batch_cost, estimate.cached_cost
    if batch is not None:
        live = [step.model for step in estimate.steps if step.batch_cost is None]
        besides = f"; {', '.join(dict.fromkeys(live))} at the live price" if live else ""
        yield (
            f"as a batch (up to 24 h) {words.about_usd(batch.value)} "
            f"({words.about_usd_range(batch)}){besides}"
        )
    if cached is not None:
        yield (
            f"with the provider's prompt cache {words.about_usd(cached.value)} "
            f"({words.about_usd_range(cached)})"
        )


def _prefix(estimate: Estimate, step: StepEstimate) -> str:
    """A sentence on the beginning that all prompts share; empty when it is not worth one."""
    prefix, inputs = step.shared_prefix or 0, step.input_tokens.value or 0
    calls = step.calls.value or 0
    if prefix < _LONG_PREFIX or not calls or step.model.startswith(_FREE):
        return ""
    said = (
        f"All prompts of {shown(step.step)} begin with the same {prefix:,} tokens, "
        f"{min(100.0, 100 * prefix * calls / inputs):.0f} % of its input"
    )
    if step.cached_share:
        return f"{said}; {100 * step.cached_share:.0f} % of the input came from the cache."
    if step.cache_saves:
        return (
            f"{said}: the provider's cache would serve {step.cacheable_prefix:,} of them and save "
            f"{words.about_usd(step.cache_saves)}."
        )
    if step.cacheable_prefix:
        return f"{said}; no price of cached input is listed for {words.clean(step.model, 60)}."
    if must_mark(step.model):
        return f"{said}; with cache = true in the step the provider keeps them, if long enough."
    return f"{said}; that is too short for the provider's cache, or the cache must be asked for."


def _long_prompts(estimate: Estimate) -> Iterator[str]:
    longest: dict[str, tuple[int, str]] = {}
    for step in estimate.steps:
        if step.longest:
            ids = ", ".join(repr(words.clean(item_id, 40)) for _, item_id in step.longest)
            # The members of a jury read the same.
            longest.setdefault(written(step.step), (step.longest[0][0], ids))
    named = [f"{step} {tokens:,} tokens ({ids})" for step, (tokens, ids) in longest.items()]
    if named:
        yield f"Longest prompts and their items: {'; '.join(named)}."


def _step_figures(
    calls: Interval, inputs: Interval, outputs: Interval, cost: Interval | None
) -> tuple[str, ...]:
    return (
        words.count(calls.value),
        words.tokens(inputs.value),
        words.tokens(outputs.value),
        words.about_usd(cost.value if cost else None),
        words.about_usd_range(cost) if cost else "",
    )


def _price(step: StepEstimate) -> str:
    model = words.clean(step.model, 60)
    price = step.price
    if price is None:
        return f"{model}: price unknown, {words.clean(why_unknown(step.model))}"
    source = ", ".join(filter(None, (words.clean(price.source), price.as_of)))
    if not price.input and not price.output:
        return f"{model}: free ({source})"
    both = f"{words.price(price.input)} in, {words.price(price.output)} out"
    return f"{model}: {both} per million tokens ({source})"


def _time(estimate: Estimate) -> str:
    seconds = estimate.seconds
    shown = words.about_duration(seconds.value)
    if words.about_duration(seconds.high) != shown or words.about_duration(seconds.low) != shown:
        shown = f"{shown} ({words.about_duration_range(seconds)})"
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


_LABELS = {"pilot": "a first look", "claim": "", "textbook": ""}
#: Sizes that are shown, the plan's own and the one to take among them.
_SIZES, _FEW_SIZES = 5, 3


def screen(estimate: Estimate) -> Document:
    """An estimate in at most 30 lines of 80 columns; what is left out is in the whole document."""
    return Document(
        headline(estimate),
        sections=tuple(_on_screen(estimate)),
        next_steps=next_steps(estimate),
        **on_screen(
            # What the verdict says, and Next lets one type, is not said again.
            [warning for warning in estimate.warnings if warning.hint != estimate.next_command],
            "--format md is for notes, json for programs",
        ),
    )


def _on_screen(estimate: Estimate) -> Iterator[Section]:
    # Of two plain steps the table alone shows which is the dear one.
    said = devices(estimate) if estimate.devices else ()
    yield Section("", (steps_table(estimate), *said))
    if compared := what_if_in_short(estimate):
        yield compared
    needed = estimate.needed
    # The table and the verdict say all of a margin; other claims rest on more.
    plain = needed.n is not None and needed.kind in ("rate", "mean")
    asked = () if plain and estimate.verdict else (estimate.claim_notes[0],)
    parts = (*asked, _sizes_on_screen(estimate), *filter(None, (estimate.verdict,)))
    yield Section("How many items are enough", parts)


def _sizes_on_screen(estimate: Estimate) -> Table:
    needed = estimate.needed
    first, last = estimate.options[0].n, estimate.options[-1].n
    wanted = dict.fromkeys((needed.take, estimate.n, first, last))
    wanted |= dict.fromkeys(option.n for option in estimate.options if not option.label)
    sizes = list(wanted)[: _SIZES if len(estimate.alternatives) < 2 else _FEW_SIZES]
    rows = [option for option in estimate.options if option.n in sizes]
    priced = any(option.cost is not None and option.cost.high for option in rows)

    def cells(option: Option) -> tuple[str, ...]:
        cost = (
            words.about_usd(option.cost.value if option.cost else None),
            words.about_usd_range(option.cost) if option.cost else "",
        )
        return (
            f"{option.n:,}",
            size_words.cell(needed, option.margin),
            *(cost if priced else ()),
            words.about_duration(option.seconds.value),
            _LABELS.get(option.label, option.label) if option.n != needed.take else "enough",
        )

    money = ("cost", "low to high") if priced else ()
    header = ("items", size_words.HEADS[needed.kind], *money, "time", "")
    right = (*[True] * (len(header) - 1), False)
    return Table(header, right, tuple(cells(option) for option in rows))
