"""What should be thought about before a run, each with what to type instead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil

from llm_batch.config import MANY_WORKERS, Config
from llm_batch.estimate import words
from llm_batch.estimate.model import Caution, Option
from llm_batch.estimate.pace import Pace
from llm_batch.estimate.sample import Counted, StepFacts
from llm_batch.estimate.serving import Serving
from llm_batch.estimate.span import Load, cost_of, priced_cost_of
from llm_batch.stats.power import SampleSize

#: USD above which `run` asks, and above which an estimate points at cheaper ways.
ASK_ABOVE = 1.0
DEAR = 50.0
VERY_DEAR = 1000.0
#: A sample that is no smaller than this share of the plan is not worth a word.
_WORTH_SAMPLING = 0.5
#: Seconds above which a free run is worth shortening too.
_LONG = 600.0


@dataclass(frozen=True, slots=True)
class Situation:
    """What cautions are drawn from; the names mean what they mean in `Estimate`."""

    config: Config
    facts: Mapping[str, StepFacts]
    servings: Mapping[str, Serving]
    n: int
    population: int | None
    workers: int
    load: Load
    pace: Pace
    advice: SampleSize
    options: Sequence[Option]
    counted: Counted | None
    today: date

    @property
    def calls(self) -> float:
        """Requests of all steps."""
        return sum(step.calls for step in self.load)


def cautions(now: Situation) -> Iterator[Caution]:
    """Yield them, what stands in the way first, then money."""
    for serving in now.servings.values():
        if serving.problem:
            yield Caution(f"This cannot be run yet: {serving.problem}.", serving.hint)
    yield from _unpriced(now)
    yield from _money(now)
    yield from _too_many_items(now)
    yield from _rate(now)
    for name, fact in now.facts.items():
        yield from _step(now, name, fact)
    for serving in now.servings.values():
        yield from _model(now, serving)
    yield from _prompts(now)


def _unpriced(now: Situation) -> Iterator[Caution]:
    models = {f.step.model: None for f in now.facts.values() if f.tariff is None}
    for model in models:
        yield Caution(
            f"The price of {model} is not known, so the cost is not either.",
            f'set input_price and output_price (USD per million tokens) under [models."{model}"]',
        )


def _money(now: Situation) -> Iterator[Caution]:
    cost, budget = priced_cost_of(now.load), now.config.limits.budget
    if budget is not None:
        if cost_of(now.load) is not None and cost.value > budget:
            fits = int(now.n * budget / cost.value)
            yield Caution(
                f"The budget of {words.usd(budget)} is expected to end the run after about "
                f"{words.counted(fits, 'item')} of {now.n:,}.",
                f"llmb run --sample {max(1, fits)}, or --budget {_cap(cost.high)}",
            )
        return
    if cost.high >= DEAR:
        sentence = f"This may cost {words.usd(cost.high)}"
        if cost.high >= VERY_DEAR > cost.value:
            sentence = f"The high case passes ${VERY_DEAR:,.0f}: {words.usd(cost.high)}"
        yield Caution(
            f"{sentence}. A run above ${ASK_ABOVE:g} asks first.",
            f"cap it with --budget {_cap(cost.value)}, or try 20 items first: llmb run --sample 20",
        )
    elif cost.value > ASK_ABOVE:
        yield Caution(
            f"A run expected to cost more than ${ASK_ABOVE:g} asks first.",
            f"llmb run --yes, or cap it with --budget {_cap(cost.high)}",
        )


def _too_many_items(now: Situation) -> Iterator[Caution]:
    advice = now.advice
    sizes = (advice.n_classic, advice.n_fpc or advice.n_min)
    enough = next((size for size in sizes if size <= _WORTH_SAMPLING * now.n), None)
    option = next((option for option in now.options if option.n == enough), None)
    plan = next((option for option in now.options if option.n == now.n), None)
    if option is None or plan is None:
        return
    if plan.cost is not None and (plan.cost.value or 0.0) >= ASK_ABOVE and option.cost is not None:
        instead = f"for {words.usd(option.cost.value)} instead of {words.usd(plan.cost.value)}"
    elif (plan.seconds.value or 0.0) >= _LONG:
        instead = (
            f"in {words.duration(option.seconds.value)} instead of "
            f"{words.duration(plan.seconds.value)}"
        )
    else:
        return
    narrower = f"±{100 * plan.margin:.1f}" if plan.margin else "nothing"
    yield Caution(
        f"A sample of {option.n:,} gives ±{100 * option.margin:.1f} points at "
        f"{100 * advice.level:g} % {instead}; {now.n - option.n:,} items more narrow that to "
        f"{narrower}.",
        f"llmb run --sample {option.n}",
    )


def _rate(now: Situation) -> Iterator[Caution]:
    slow, quick = now.pace.requests_per_minute(now.calls)
    if not now.calls:
        return
    unlimited = [s.model for s in now.servings.values() if s.rpm_is_assumed]
    if unlimited and now.config.limits.workers > MANY_WORKERS:
        yield Caution(
            f"{now.workers:,} workers make about {slow:,.0f} to {quick:,.0f} requests a minute, "
            f"for which providers limit accounts; run refuses more than {MANY_WORKERS} workers "
            f"without a limit for {', '.join(unlimited)}.",
            "--rpm with the limit your provider shows for your account, or --workers 5",
        )
        return
    for model, serving in now.servings.items():
        calls = sum(step.calls for step in now.load if step.step.model == model)
        most = quick * calls / now.calls
        if serving.rpm is not None and most > serving.rpm:
            yield Caution(
                f"{now.workers:,} workers make up to {most:,.0f} requests a minute at {model}, "
                f"whose limit is {serving.rpm:,.0f}: the rest wait.",
                f"--workers {now.pace.enough_workers} is enough, or raise --rpm if your account "
                "allows it",
            )


def _step(now: Situation, name: str, fact: StepFacts) -> Iterator[Caution]:
    cap, info = fact.step.max_tokens, fact.info
    if cap is None:
        most = f", up to {info.max_output_tokens:,}" if info and info.max_output_tokens else ""
        yield Caution(
            f"Step {name} has no max_tokens: an answer may be as long as the model likes{most}.",
            f"set max_tokens under [[steps]] {name}",
        )
    elif info is not None and info.max_output_tokens and cap > info.max_output_tokens:
        yield Caution(
            f"Step {name} allows {cap:,} output tokens, but {fact.step.model} writes at most "
            f"{info.max_output_tokens:,}.",
            f"set max_tokens = {info.max_output_tokens} under [[steps]] {name}",
        )
    if cap is not None and fact.answer.is_cut:
        yield Caution(
            f"{fact.step.model} thinks before it answers, and step {name} gives both together "
            f"{cap:,} tokens: answers may be cut or empty.",
            f'raise max_tokens, or set params = {{ reasoning_effort = "low" }} under [[steps]] '
            f"{name}",
        )


def _model(now: Situation, serving: Serving) -> Iterator[Caution]:
    ends = serving.info.deprecation_date if serving.info else None
    if ends is not None and ends <= now.today:
        flag = (
            "--judge" if now.config.judge and now.config.judge.model == serving.model else "--model"
        )
        yield Caution(
            f"{serving.model} is past its deprecation date, {ends.isoformat()}: it may be gone.",
            f"look up its successor at the provider and name it with {flag}",
        )


def _prompts(now: Situation) -> Iterator[Caution]:
    counted = now.counted
    if counted is None:
        return
    if counted.unrenderable:
        first, problem = counted.first_problem
        yield Caution(
            f"{words.counted(counted.unrenderable, 'item')} of the "
            f"{counted.sampled + counted.unrenderable:,} looked at cannot be asked; the first is "
            f"{words.clean(first, 60)!r}: {words.clean(problem)}.",
            "correct the prompt or the data; such items fail",
        )
    for name, (count, first) in counted.too_long.items():
        fact = now.facts[name]
        window = fact.info.max_input_tokens if fact.info else 0
        yield Caution(
            f"{words.counted(count, 'prompt')} of step {name} among the {counted.sampled:,} "
            f"counted exceed the {window or 0:,} tokens that {fact.step.model} reads; the first "
            f"is of item {words.clean(first, 60)!r}.",
            "shorten the prompt, leave such items out, or choose a model that reads more",
        )


def _cap(cost: float) -> str:
    """A budget a little above a cost, as one would type it."""
    return f"{ceil(cost)}" if cost >= 10 else f"{ceil(100 * cost) / 100:.2f}"
