"""Where the money went and how fast: tokens, cost, pace, by step and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from llm_batch.paper import words
from llm_batch.paper.document import Section, Table
from llm_batch.reporting.model import (
    CostBreakdown,
    JournalSpending,
    ModelSpending,
    ModelTimeline,
    Pace,
    Range,
    Report,
    Spending,
    Timeline,
)

#: What was booked differs from list price by more than this share before a word is lost on it.
_WORTH_A_WORD = 0.005


def where_it_went(spent: CostBreakdown, cost: float | None) -> list[Table | str]:
    """What there is to say beyond the sums; ``cost`` is that of all results, in USD."""
    journal = spent.journal
    said = " ".join(_sentences(spent, cost))
    parts: list[Table | str] = [said] if said else []
    if journal is not None:
        said = " ".join(_beside(journal))
        parts += [said] if said else []
        if len({model.step for model in journal.models}) < len(journal.models):
            parts.append(_by_model(journal.models))
    return parts


def _sentences(spent: CostBreakdown, cost: float | None) -> Iterator[str]:
    if spent.failed_items:
        part = f" ({words.percent(spent.failed_cost / cost)})" if spent.failed_cost and cost else ""
        yield (
            f"{words.items(spent.failed_items)} without a result cost "
            f"{words.usd(spent.failed_cost)}{part}."
        )
    if spent.sent_again:
        share = words.percent(spent.sent_again_share)
        yield f"{spent.sent_again:,} of the attempts ({share}) were retries or re-asks."
    if spent.journal is not None and spent.journal.retry_cost:
        yield (
            f"Up to {words.usd(spent.journal.retry_cost)} is for attempts that failed before "
            "the answer came."
        )
    if spent.cached_share:
        saved = spent.cache_saved
        told = ""
        if saved is not None:
            told = f", which {'saved' if saved >= 0 else 'cost'} {words.usd(abs(saved))}"
            told += "" if saved >= 0 else " more than it saved"
        yield f"{words.percent(spent.cached_share)} of input tokens came from a cache{told}."
    if spent.reasoning_share:
        price = f" ({words.usd(spent.reasoning_cost)})" if spent.reasoning_cost else ""
        yield f"{words.percent(spent.reasoning_share)} of output tokens were reasoning{price}."
    if spent.list_cost and _differ(cost, spent.list_cost):
        yield (
            f"At list price the counted tokens cost {words.usd(spent.list_cost)}; the rest is "
            "upper bounds, or other prices of long requests, batches or reasoning."
            if cost and cost > spent.list_cost
            else f"At list price the counted tokens would have cost {words.usd(spent.list_cost)}."
        )
    if spent.list_cost_now is not None and _differ(spent.list_cost, spent.list_cost_now):
        yield (
            f"At the list prices of now ({words.clean(spent.prices_now, 40)}) they would cost "
            f"{words.usd(spent.list_cost_now)}."
        )


def _differ(one: float | None, other: float) -> bool:
    return one is not None and abs(one - other) > _WORTH_A_WORD * max(one, other)


def _beside(journal: JournalSpending) -> Iterator[str]:
    """What was paid for calls that these results do not rest on, or only in part."""
    if journal.failed_calls:
        booked = (
            f", booked at up to {words.usd(journal.failed_cost)}" if journal.failed_cost else ""
        )
        yield f"{words.counted(journal.failed_calls, 'call')} ended without an answer{booked}."
    if journal.replaced_calls:
        yield (
            f"{words.counted(journal.replaced_calls, 'call')} gave answers that others "
            f"replaced ({words.usd(journal.replaced_cost)}): re-asks, or a changed prompt or model."
        )
    if journal.beside_results:
        yield (
            f"All {journal.calls:,} calls in the journal cost {words.usd(journal.cost)}; "
            f"{words.usd(journal.beside_results)} of that is in none of these results."
        )


def _by_model(models: tuple[ModelSpending, ...]) -> Table:
    return Table(
        ("all calls of", "model", "calls", "answered", "input", "output", "cost"),
        (False, False, True, True, True, True, True),
        tuple(
            (
                words.clean(model.step, 16),
                words.clean(model.model, 24),
                words.count(model.calls),
                words.count(model.answered),
                words.count(model.usage.input_tokens),
                words.count(model.usage.output_tokens),
                words.usd(model.cost),
            )
            for model in models
        ),
    )


def tokens_and_cost(report: Report) -> Section:
    """What each step took, and what was estimated for it."""
    spent = [*report.steps, report.total]
    cached = any(step.usage.cache_read_tokens for step in spent)
    reasoning = any(step.usage.reasoning_tokens for step in spent)
    header = ["step", "attempts", "input", "output"]
    header += ["cached"] * cached + ["reasoning"] * reasoning + ["cost"]
    rows = []
    for step in spent:
        usage = step.usage
        row = [words.clean(step.step, 24), words.count(step.attempts)]
        row += [words.count(usage.input_tokens), words.count(usage.output_tokens)]
        row += [words.count(usage.cache_read_tokens)] * cached
        row += [words.count(usage.reasoning_tokens)] * reasoning
        rows.append((*row, words.usd(step.cost)))
    parts: list[Table | str] = [
        Table(tuple(header), (False, *(True for _ in header[1:])), tuple(rows))
    ]
    parts += _per_item(report)
    if report.breakdown is not None:
        parts += where_it_went(report.breakdown, report.total.cost)
    if any(step.estimate is not None for step in spent):
        parts.append(_estimates(spent))
        if report.items.planned is not None and report.items.read < report.items.planned:
            parts.append(f"The estimate is for all {words.items(report.items.planned)} planned.")
    return Section("Tokens and cost", tuple(parts))


def _per_item(report: Report) -> Iterator[str]:
    money = report.money
    if money.per_item:
        passed = f", per passed item {words.usd(money.per_passed)}" if money.per_passed else ""
        yield f"Per item {words.usd(money.per_item)}{passed}."
    if money.reported is not None:
        ours = ""
        if money.listed is not None:
            ours = f"; by their tokens and our prices they cost {words.usd(money.listed)}"
        yield (
            f"The provider said that its answers cost {words.usd(money.reported)}{ours}. Of the "
            "two, the larger is booked for each."
        )
    whole = money.whole_dataset
    if whole is not None and whole.value:
        told = ""
        if whole.low is not None and whole.high is not None:
            between = words.usd_range(whole)
            told = f" ({between})" if between != words.usd(whole.value) else ""
        yield (
            f"All {report.items.population or 0:,} items would cost {words.usd(whole.value)} in "
            f"all{told}."
        )


def _estimates(spent: list[Spending]) -> Table:
    rows = []
    for step in spent:
        estimate = step.estimate
        if estimate is None:
            continue
        cost = estimate.cost
        expected = "unknown"
        if cost is not None:
            expected = words.usd(cost.expected)
            if cost.low != cost.high:
                expected += f" ({words.usd_range(cost)})"
        rows.append(
            (
                words.clean(step.step, 24),
                words.count(estimate.input_tokens),
                words.count(estimate.output_tokens),
                expected,
                _against(step.cost, cost),
            )
        )
    return Table(
        ("estimated", "input", "output", "cost (low to high)", "actual cost"),
        (False, True, True, True, False),  # the words wrap where the numbers leave no room
        tuple(rows),
    )


def _against(actual: float | None, estimate: Range | None) -> str:
    """How a cost turned out beside its estimate: ``7 % less, in range``."""
    if actual is None or estimate is None:
        return words.NONE
    place = "in range"
    if actual > estimate.high:
        place = "above range"
    elif actual < estimate.low:
        place = "below range"
    if estimate.expected <= 0:
        return place
    change = round(100 * (actual / estimate.expected - 1))
    if change == 0:
        return f"as expected, {place}"
    return f"{abs(change):,} % {'more' if change > 0 else 'less'}, {place}"


_MINUTE = 60.0
_MOST_KINDS = 4


def pace(timeline: Timeline) -> Section:
    """Requests and tokens of each model per minute, refusals, and pauses."""
    rows = []
    for model in timeline.models:
        name = words.clean(model.model, 24)
        rows.append((name, "requests", words.count(model.sent), *_figures(model.requests)))
        tokens = sum(model.bin_tokens)
        rows.append(("", "tokens", words.count(tokens), *_figures(model.tokens)))
    header = ("", "", "in all", "a minute", "busiest", "limit", "of limit")
    table = Table(header, (False, False, True, True, True, True, True), tuple(rows))
    return Section("Pace", (table, " ".join(_pace_sentences(timeline))))


def _figures(pace: Pace) -> tuple[str, ...]:
    return (
        words.count(pace.mean),
        words.count(pace.busiest),
        words.count(pace.limit) if pace.limit is not None else "none set",
        words.percent(pace.use),
    )


def _pace_sentences(timeline: Timeline) -> Iterator[str]:
    if timeline.seconds > _MINUTE:
        yield "Busiest: the most in any 60 seconds, and its share of the limit."
    else:
        yield "The run was shorter than a minute, so its busiest minute is all of it."
    if any(model.tokens.limit is not None for model in timeline.models):
        yield (
            "Tokens are those of the answers; many providers count max_tokens instead, so their "
            "limit may be used up earlier."
        )
    refused = sum(model.refused for model in timeline.models)
    if refused:
        paused = "; ".join(_paused(model) for model in timeline.models if model.refused)
        times = "once" if refused == 1 else f"{refused:,} times"
        yield f"Refused for a rate limit {times} ({paused})."
    errors: Counter[str] = Counter()
    for model in timeline.models:
        errors.update(model.errors)
    if errors:
        kinds = ", ".join(
            f"{n:,} {words.clean(kind, 30)}" for kind, n in errors.most_common(_MOST_KINDS)
        )
        yield f"Failed attempts: {kinds}."
    if timeline.sessions > 1:
        yield (
            f"{timeline.sessions:,} sessions; the {words.duration(timeline.idle_seconds)} between "
            "them are left out."
        )


def _paused(model: ModelTimeline) -> str:
    return (
        f"{words.clean(model.model, 24)} {model.refused:,}, "
        f"waiting {words.duration(model.paused_seconds)}"
    )
