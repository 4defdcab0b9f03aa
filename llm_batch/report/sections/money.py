"""Tokens and cost, by step and in all, beside the estimate."""

from __future__ import annotations

from collections.abc import Iterator

from llm_batch.report import words
from llm_batch.report.model import Range, Report, Spending
from llm_batch.report.sections.breakdown import where_it_went
from llm_batch.report.sections.parts import Paragraph, Section, Table


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
    parts: list[Paragraph | Table] = [
        Table(tuple(header), (False, *(True for _ in header[1:])), tuple(rows))
    ]
    parts += [Paragraph(text) for text in _per_item(report)]
    if report.breakdown is not None:
        parts += where_it_went(report.breakdown, report.total.cost)
    if any(step.estimate is not None for step in spent):
        parts.append(_estimates(spent))
        if report.items.planned is not None and report.items.read < report.items.planned:
            parts.append(
                Paragraph(f"The estimate is for all {words.items(report.items.planned)} planned.")
            )
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
            between = words.usd_range(whole.low, whole.high)
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
                expected += f" ({words.usd_range(cost.low, cost.high)})"
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
