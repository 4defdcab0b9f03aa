"""What each device of a config costs or saves: conditions, shares, repeats, juries.

Money is held against the same plan without the device, everything else as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llm_batch.chain.chain import Chain
from llm_batch.chain.steps import Step, shown, written
from llm_batch.estimating.estimates import Device
from llm_batch.estimating.load import StepLoad
from llm_batch.estimating.plan import Plan
from llm_batch.estimating.ranges import Span
from llm_batch.paper import words

#: A step that takes less of the cost than this is not worth a word.
_MOST_OF_IT = 0.5


@dataclass(frozen=True, slots=True)
class _Sum:
    calls: float
    cost: float | None

    def times(self, factor: float) -> _Sum:
        return _Sum(self.calls * factor, None if self.cost is None else self.cost * factor)

    @property
    def words(self) -> str:
        return words.about_usd(self.cost) if self.cost else words.counted(self.calls, "call")


def _sum(loads: Sequence[StepLoad]) -> _Sum:
    costs = [load.cost.value if load.cost else None for load in loads]
    cost = None if None in costs else sum(each or 0.0 for each in costs)
    return _Sum(sum(load.calls for load in loads), cost)


def dominant(plan: Plan) -> str:
    """Which step most of the money goes to, as a sentence; empty where none does."""
    steps = {step.name: _sum(_rows(plan, step)).cost for step in plan.config.steps if step.asks}
    known = {name: cost for name, cost in steps.items() if cost}
    whole = sum(known.values())
    if len(known) < 2 or len(known) < len(steps):
        return ""
    name = max(known, key=lambda each: known[each])
    share = known[name] / whole
    return f"{name} takes {100 * share:.0f} % of the cost." if share > _MOST_OF_IT else ""


def devices_of(plan: Plan) -> Iterator[Device]:
    chain = plan.config.chain()
    for step in plan.config.steps:
        if not step.asks:
            continue
        own = _rows(plan, step)
        if not own or not sum(load.calls for load in own):
            continue
        if step.models:
            yield _jury(step, own)
        if step.repeat:
            yield _repeat(step, own, plan, chain)
        if step.when is not None:
            yield _when(step, own, plan, chain)
        if step.share is not None and step.share < 1:
            yield _share(step, own, step.share)


def _rows(plan: Plan, step: Step) -> list[StepLoad]:
    return [load for load in plan.remaining if written(load.fact.name) == step.name]


def _jury(step: Step, own: Sequence[StepLoad]) -> Device:
    made = _sum(own)
    alone = [(_sum([load]), load.fact.name) for load in own]
    least, name = min(alone, key=lambda pair: (pair[0].cost or 0.0, pair[0].calls))
    model = shown(name).removeprefix(f"{step.name} (").removesuffix(")")
    said = (
        f"The {words.counted(len(own), 'model')} of {step.name} take {made.words}; {model} alone "
        f"would take {least.words}."
    )
    return _device(step, "models", made, least, said)


def _repeat(step: Step, own: Sequence[StepLoad], plan: Plan, chain: Chain) -> Device:
    assert step.repeat is not None
    rows, follows = list(own), ""
    if step is chain.apart:
        rows = [load for load in plan.remaining if chain.in_lanes(written(load.fact.name))]
        names = dict.fromkeys(written(load.fact.name) for load in rows)
        after = [name for name in names if name != step.name]
        follows = f", and what follows ({words.listed(after)}) each time" if after else ""
    made = _sum(rows)
    once = made.times(1 / step.repeat)
    said = (
        f"{step.name} is asked {step.repeat} times{follows}: {made.words}; once would take "
        f"{once.words}. Its requests go out together, so no prompt cache among them is counted."
    )
    return _device(step, "repeat", made, once, said)


def _when(step: Step, own: Sequence[StepLoad], plan: Plan, chain: Chain) -> Device:
    made = _sum(own)
    measure = own[0].fact.measure
    if not chain.undecided(step.name) and plan.counted is not None:
        share = Span(*[_played(step, own, plan, chain)] * 3)
        known = "by the data"
    elif measure is not None:
        share, known = measure.played, f"as {words.counted(measure.n, 'item')} showed"
    else:
        tenth = made.times(0.1)
        decides = "an answer" if plan.counted is not None else "each item"
        said = (
            f"{step.name} is asked only when {words.clean(step.when or '', 60)}, which {decides} "
            f"decides: the high end and the expected case count it for all, the low end for none. "
            f"Each 10 % that skip it save {tenth.words}; --pilot 20 measures how many do."
        )
        return _device(step, "when", made, None, said)
    if not share.value:
        return _device(step, "when", made, None, f"{step.name} was asked for no item.")
    whole = made.times(1 / share.value)
    skipped = 100 * (1 - share.value)
    between = ""
    if share.high > share.low:
        between = f" ({100 * (1 - share.high):.0f} to {100 * (1 - share.low):.0f} %)"
    saved = _Sum(whole.calls - made.calls, None if made.cost is None else _less(whole, made))
    said = f"when skips {step.name} for {skipped:.0f} %{between}, {known}: saves {saved.words}."
    return _device(step, "when", made, whole, said)


def _less(whole: _Sum, made: _Sum) -> float:
    return (whole.cost or 0.0) - (made.cost or 0.0)


def _played(step: Step, own: Sequence[StepLoad], plan: Plan, chain: Chain) -> float:
    """The part of the items that a condition on their fields leaves, of those that it is for."""
    names = {load.fact.name for load in own}
    loads = [load for load in plan.whole if load.fact.name in names]
    made = sum(load.calls / load.fact.attempts.value for load in loads if load.calls)
    most = plan.n * sum(chain.times[name] for name in names) * (step.share or 1.0)
    return min(1.0, made / most)


def _share(step: Step, own: Sequence[StepLoad], share: float) -> Device:
    made = _sum(own)
    whole = made.times(1 / share)
    said = (
        f"share plays {step.name} for {100 * share:.3g} % of the items: {made.words} in place of "
        f"{whole.words}."
    )
    return _device(step, "share", made, whole, said)


def _device(step: Step, key: str, made: _Sum, without: _Sum | None, said: str) -> Device:
    other = without or _Sum(0.0, None)
    calls = None if without is None else other.calls
    return Device(step.name, key, made.calls, calls, made.cost, other.cost, said)
