"""A plan, and the plans beside it: other models, other numbers of items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import floor

from llm_batch.chain.config import Config
from llm_batch.estimating.claims import WORST_RATE, Needed, proof
from llm_batch.estimating.counting import Counted
from llm_batch.estimating.evidence import Measured
from llm_batch.estimating.load import StepFacts
from llm_batch.estimating.means import LEVEL
from llm_batch.estimating.model import Alternative, Option, Purchase, risk_of
from llm_batch.estimating.pace import pace_of
from llm_batch.estimating.serving import Serving
from llm_batch.estimating.span import (
    Load,
    Span,
    batch_cost_of,
    cached_cost_of,
    cost_of,
    priced_cost_of,
    scaled,
)
from llm_batch.records import Interval
from llm_batch.stats.sizes import SampleSize, may_miss, sample_size


@dataclass(frozen=True, slots=True)
class Plan:
    """What an estimate is assembled from; ``whole`` is the load if nothing were answered."""

    config: Config
    facts: Mapping[str, StepFacts]
    servings: Mapping[str, Serving]
    n: int
    population: int | None
    remaining: Load
    whole: Load
    counted: Counted | None
    measured: Measured | None
    finished: int = 0

    @property
    def workers(self) -> int:
        """Calls at once."""
        return self.config.engine.workers(self.config)

    @property
    def is_measured(self) -> bool:
        """Whether every step was."""
        return all(fact.measure is not None for fact in self.facts.values())

    def interval(self, span: Span) -> Interval:
        """A figure with what it rests on."""
        sampled = self.counted.sampled if self.counted else 0
        if self.measured is not None and self.is_measured:
            return span.interval(len(self.measured.items), "measured, modified Cox or t", LEVEL)
        method = "counted prompts, assumed answers" if sampled else "assumed sizes"
        return span.interval(sampled, method)


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


#: Items of the pilot that is compared.
PILOT = 20
#: Sizes that are compared besides what the claim needs.
_COMPARED = (500, 1000)
#: How sure one may be that what is not rarer than ``may_miss`` shows.
_SEEN_LEVEL = 0.95


def options_of(plan: Plan, needed: Needed) -> Iterator[Option]:
    """Yield the sizes worth comparing, fewest first, each from the first item on."""
    for size, label in sorted(_labels(plan, needed).items()):
        load = scaled(plan.whole, size / plan.n)
        cost = cost_of(load)
        spent = None if cost is None else plan.interval(cost)
        seconds = plan.interval(pace_of(load, plan.servings, plan.workers).seconds)
        yield Option(
            n=size,
            label=label,
            margin=proof(needed, size),
            may_miss=may_miss(size, _SEEN_LEVEL, plan.population),
            calls=round(sum(step.calls for step in load)),
            cost=spent,
            seconds=seconds,
            risk=risk_of(spent, seconds),
        )


def quoted(needed: Needed) -> SampleSize:
    """The figures people quote for a rate; for another claim those of a rate at its level."""
    claim, population = needed.claim, needed.population
    if needed.kind != "rate":
        return sample_size(level=claim.level, population=population)
    return SampleSize(
        n0=needed.n0,
        n_classic=needed.n_classic,
        n_min=needed.n_min,
        n_fpc=needed.n if needed.n is not None and population is not None else population,
        level=claim.level,
        margin=claim.margin or 0.0,
        population=population,
        rate=WORST_RATE if claim.rate is None else claim.rate,
    )


def _labels(plan: Plan, needed: Needed) -> dict[int, str]:
    population = plan.population
    labels = {PILOT: "pilot"} | dict.fromkeys(_COMPARED, "")
    if needed.kind == "rate" and needed.design_effect * needed.judge_factor == 1:
        labels[needed.n_classic] = "textbook"
    if population is not None:
        whole = population // needed.groups or 1
        labels = {size: label for size, label in labels.items() if size < whole}
        labels[whole] = "all" if needed.groups == 1 else "half"
    if needed.n is not None:
        _also(labels, needed.n, "claim")
    _also(labels, needed.take, "")
    if plan.n != population or needed.groups > 1:
        _also(labels, plan.n, "this plan")
    return labels


def _also(labels: dict[int, str], size: int, label: str) -> None:
    labels[size] = "; ".join(filter(None, (labels.get(size, ""), label)))
