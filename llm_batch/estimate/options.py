"""Other numbers of items beside the plan: what each would prove, cost, take and risk."""

from __future__ import annotations

from collections.abc import Iterator

from llm_batch.estimate.claims import WORST_RATE
from llm_batch.estimate.model import Option
from llm_batch.estimate.needs import Needed, proof
from llm_batch.estimate.pace import pace_of
from llm_batch.estimate.plan import Plan
from llm_batch.estimate.risk import risk_of
from llm_batch.estimate.span import cost_of, scaled
from llm_batch.stats.rare import may_miss
from llm_batch.stats.sizes import SampleSize, sample_size

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
