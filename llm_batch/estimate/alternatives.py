"""What if: the same items with other models, and what a budget buys with each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from math import floor

from llm_batch.estimate.model import Alternative, Purchase
from llm_batch.estimate.needs import Needed, proof
from llm_batch.estimate.pace import pace_of
from llm_batch.estimate.plan import Plan
from llm_batch.estimate.span import (
    Span,
    batch_cost_of,
    cached_cost_of,
    cost_of,
    priced_cost_of,
)


def alternatives(
    plans: Sequence[Plan], needed: Needed, budget: float | None, today: date
) -> Iterator[Alternative]:
    """Yield what each plan comes to from its first call on.

    Args:
        plans: The same items with different models; the first is the one estimated.
        needed: The claim, for what a budget proves.
        budget: USD; ``None`` without.
        today: The day that deprecation dates are compared with.
    """
    for plan in plans:
        load = plan.whole
        costs = {
            "live": cost_of(load),
            "batch": batch_cost_of(load),
            "cached": cached_cost_of(load),
        }
        live, batch, cached = (
            None if cost is None else plan.interval(cost) for cost in costs.values()
        )
        yield Alternative(
            models={step.name: step.model for step in plan.config.steps},
            cost=live,
            batch_cost=batch,
            cached_cost=cached,
            priced_cost=plan.interval(priced_cost_of(load)),
            seconds=plan.interval(pace_of(load, plan.servings, plan.workers).seconds),
            buys=tuple(
                _purchase(way, cost, plan, needed, budget)
                for way, cost in costs.items()
                if budget is not None and cost is not None
            ),
            notes=tuple(_notes(plan, today)),
        )


def _purchase(way: str, cost: Span, plan: Plan, needed: Needed, budget: float) -> Purchase:
    expected, least = (_items(budget, amount, plan) for amount in (cost.value, cost.high))
    return Purchase(
        way=way,
        items=expected,
        at_least=least,
        all_items=plan.population is not None and expected >= plan.population,
        proves=proof(needed, expected) if expected else None,
        proves_at_least=proof(needed, least) if least else None,
    )


def _items(budget: float, cost: float, plan: Plan) -> int:
    """How many items a budget pays for, when ``plan.n`` of them cost so much."""
    most = plan.population if plan.population is not None else plan.n
    if not cost:
        return most
    return min(most, floor(budget * plan.n / cost + 1e-9))


def _notes(plan: Plan, today: date) -> Iterator[str]:
    for model, serving in plan.servings.items():
        if serving.problem:
            yield f"{model} cannot be run yet: {serving.problem}"
        ends = serving.info.deprecation_date if serving.info else None
        if ends is not None and ends <= today:
            yield f"{model} is past its deprecation date, {ends.isoformat()}"
    unpriced = {fact.step.model: None for fact in plan.facts.values() if fact.tariff is None}
    for model in unpriced:
        yield f"the price of {model} is not known"
