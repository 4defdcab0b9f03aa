"""Where the money of a run went: from counts, prices and the journal to figures and a section."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import fsum

from llm_batch.paper import words
from llm_batch.paper.document import Section, Table
from llm_batch.record.manifest import ListPrice, Manifest
from llm_batch.records import Usage
from llm_batch.reporting.calls import CallsTally, StepCalls
from llm_batch.reporting.model import (
    CostBreakdown,
    JournalSpending,
    ModelSpending,
    Range,
    Report,
    Spending,
)
from llm_batch.reporting.tally import Tally

_MILLION = 1e6
#: Sums of floats differ by less than this share however they are added up.
_ROUNDING = 1e-9
Prices = Mapping[str, ListPrice | None]


def cost_breakdown(
    tally: Tally, manifest: Manifest, calls: CallsTally | None
) -> CostBreakdown | None:
    """Where the money went; ``None`` when no step was called."""
    if not tally.steps:
        return None
    total = Usage(**tally.total.tokens)
    times = manifest.times
    width = max(times.values(), default=1)
    asked = sum(step.items * times.get(name, 1) for name, step in tally.steps.items())
    again = tally.total.attempts - asked
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
        journal=_journal(calls, tally.total.cost, prices, width) if calls and calls.calls else None,
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


def _journal(
    calls: CallsTally, of_results: float | None, prices: Prices, width: int
) -> JournalSpending:
    steps = calls.steps
    known = fsum(step.known_cost for step in steps.values())
    cost = None if any(step.unpriced for step in steps.values()) else known
    beside = None
    if cost is not None and of_results is not None:
        beside = max(0.0, cost - of_results)
        if beside <= _ROUNDING * cost:
            beside = 0.0
    replaced = _replaced(calls.asked, calls.answer_costs, width)
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


def _replaced(asked: Sequence[int], costs: Sequence[float], width: int) -> list[float]:
    """The costs of all answers but the last to each question.

    Where an item is asked several times, ``width`` at most, so many answers may count: they are
    to one question, as far as the journal tells.
    """
    last: Counter[int] = Counter()
    replaced = []
    for question, cost in zip(reversed(asked), reversed(costs), strict=True):
        last[question] += 1
        if last[question] > width:
            replaced.append(cost)
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
            f"At today's list prices ({words.clean(spent.prices_now, 40)}) they would cost "
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
            f"{words.counted(journal.replaced_calls, 'answer')} "
            f"{'was' if journal.replaced_calls == 1 else 'were'} replaced by later ones "
            f"({words.usd(journal.replaced_cost)}): re-asks, or a changed prompt or model."
        )
    if journal.beside_results:
        yield (
            f"All {journal.calls:,} calls in the journal cost {words.usd(journal.cost)}; "
            f"{words.usd(journal.beside_results)} of that is not part of these results."
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
    parts: list[Table | str] = [Table.of(header, rows)]
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
            f"The provider said that its answers cost {words.usd(money.reported)}{ours}. The "
            "larger of the two is counted for each."
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
