"""Where the money went, in sentences: failures, retries, caches, reasoning, answers replaced."""

from __future__ import annotations

from collections.abc import Iterator

from llm_batch.report import words
from llm_batch.report.sections.parts import Paragraph, Table
from llm_batch.report.spending_model import CostBreakdown, JournalSpending, ModelSpending

#: What was booked differs from list price by more than this share before a word is lost on it.
_WORTH_A_WORD = 0.005


def where_it_went(spent: CostBreakdown, cost: float | None) -> list[Paragraph | Table]:
    """What there is to say beyond the sums; ``cost`` is that of all results, in USD."""
    journal = spent.journal
    said = " ".join(_sentences(spent, cost))
    parts: list[Paragraph | Table] = [Paragraph(said)] if said else []
    if journal is not None:
        said = " ".join(_beside(journal))
        parts += [Paragraph(said)] if said else []
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
        yield f"{_calls(journal.failed_calls)} ended without an answer{booked}."
    if journal.replaced_calls:
        yield (
            f"{_calls(journal.replaced_calls)} gave answers that later ones took the place of "
            f"({words.usd(journal.replaced_cost)}): re-asks, or a changed prompt or model."
        )
    if journal.beside_results:
        yield (
            f"All {journal.calls:,} calls in the journal cost {words.usd(journal.cost)}; "
            f"{words.usd(journal.beside_results)} of that is in none of these results."
        )


def _calls(n: int) -> str:
    return f"{n:,} call" if n == 1 else f"{n:,} calls"


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
