"""What should be thought about before a run, each with what to type instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil

from llm_batch.chain.options import MANY_WORKERS
from llm_batch.chain.score_rules import SCALE_HINT, without_scale
from llm_batch.chain.steps import shown, written
from llm_batch.errors import status_of
from llm_batch.estimating import sentences as size_words
from llm_batch.estimating.estimates import Caution, Option
from llm_batch.estimating.load import WallTime, cost_of, priced_cost_of
from llm_batch.estimating.plan import Plan
from llm_batch.estimating.sample_size import Needed
from llm_batch.estimating.steps import Serving, StepFacts
from llm_batch.paper import words

#: A cap should leave this much room above the longest answer seen.
_ROOM = 1.5
#: Fewer measured items than this make ranges that say nothing.
_ENOUGH = 10


def uncapped(facts: Sequence[StepFacts]) -> Iterator[Caution]:
    """Steps without ``max_tokens``, each once whatever models it asks."""
    longest: dict[str, int] = {}
    for fact in facts:
        if fact.step.max_tokens is None:
            writes = (fact.info and fact.info.max_output_tokens) or 0
            name = written(fact.name)
            longest[name] = max(longest.get(name, 0), writes)
    for name, writes in longest.items():
        most = f", up to {writes:,}" if writes else ""
        yield Caution(
            f"Step {name} has no max_tokens: answers may be as long as the model likes{most}.",
            f"set max_tokens under [[steps]] {name}",
        )


def step_cautions(fact: StepFacts) -> Iterator[Caution]:
    """What the step's ``max_tokens`` may lead to."""
    step, info = fact.step, fact.info
    name, cap = written(step.name), step.max_tokens
    writes = info.max_output_tokens if info else None
    if cap is None:
        yield from uncapped([fact])
        return
    if writes and cap > writes:
        yield Caution(
            f"Step {name} allows {cap:,} output tokens, but {step.model} writes at most "
            f"{writes:,}.",
            f"set max_tokens = {writes} under [[steps]] {name}",
        )
    if fact.answer.is_cut:
        yield Caution(
            f"{step.model} thinks before it answers, and step {name} allows {cap:,} tokens for "
            "both: answers may be cut off or empty.",
            f'raise max_tokens, or set params = {{ reasoning_effort = "low" }} under [[steps]] '
            f"{name}",
        )
    measure = fact.measure
    if measure is not None and measure.longest >= cap:
        yield Caution(
            f"In {words.counted(measure.n, 'measured item')} of step {shown(step.name)} an answer "
            "reached "
            f"max_tokens, {cap:,}, and was cut off.",
            f"set max_tokens = {_rounded_up(_ROOM * max(cap, measure.output.high))} under "
            f"[[steps]] {name}",
        )


def measured_cautions(plan: Plan) -> Iterator[Caution]:
    """What went wrong while it was measured, and how much it says."""
    measured, facts = plan.measured, plan.facts
    if measured is None:
        return
    played = sum(measured.statuses.values())
    failed = {kind: count for kind, count in measured.statuses.items() if kind != "ok"}
    if failed:
        total = sum(failed.values())
        kinds = ", ".join(f"{count:,} {status_of(kind).name}" for kind, count in failed.items())
        commonest = max(failed, key=lambda kind: failed[kind])
        yield Caution(
            f"{total:,} of {words.counted(played, 'measured item')} failed "
            f"({100 * total / played:.0f} %: {kinds}); expect as many of the rest to fail.",
            status_of(commonest).advice,
        )
    if len(measured.items) < _ENOUGH:
        yield Caution(
            f"{words.counted(len(measured.items), 'item')} say little about how lengths vary.",
            _command(plan, "estimate", "--pilot", "20"),
        )
    retried = [
        name for name, fact in facts.items() if fact.measure and fact.measure.attempts.value > 1.1
    ]
    if retried:
        sends = ", ".join(
            f"{shown(name)} {fact.measure.attempts.value:.2f}"
            for name, fact in facts.items()
            if fact.measure and name in retried
        )
        yield Caution(
            f"Some calls were sent more than once: {sends} requests an item.",
            "fewer --workers or a lower --rpm where the provider refused them",
        )


def _rounded_up(tokens: float) -> int:
    """To the next hundred, as one would type it."""
    return 100 * ceil(tokens / 100)


#: USD above which `run` asks, and above which an estimate points at cheaper ways.
ASK_ABOVE = 1.0
DEAR = 50.0
#: A sample that is no smaller than this share of the plan is not worth a word.
_WORTH_SAMPLING = 0.5
#: A deprecation this near is worth a word.
_SOON_DAYS = 90
#: Seconds above which a free run is worth shortening too.
_LONG = 600.0


def cautions(
    plan: Plan, time: WallTime, needed: Needed, options: Sequence[Option]
) -> Iterator[Caution]:
    """Yield them, what stands in the way first, then money.

    ``time`` is that of what remains; the plan's own size and the one to take are among the options.
    """
    for serving in plan.servings:
        if serving.problem:
            yield Caution(f"This cannot be run yet: {serving.problem}.", serving.hint)
    if caution := without_scale(plan.config.score, plan.config.steps):
        yield Caution(f"{caution}.", SCALE_HINT)
    for sentence in plan.ask.prompts:
        said, _, hint = sentence.rpartition("; ")
        yield Caution(f"{said[:1].upper()}{said[1:]}.", hint)
    yield from _unpriced(plan)
    yield from _money(plan)
    yield from _too_many_items(plan, needed, options)
    yield from _rate(plan, time)
    facts = list(plan.facts.values())
    yield from uncapped(facts)
    for fact in facts:
        if fact.step.max_tokens is not None:
            yield from step_cautions(fact)
    yield from measured_cautions(plan)
    for serving in plan.servings:
        yield from _model(plan, serving)
    yield from _prompts(plan)


def _unpriced(plan: Plan) -> Iterator[Caution]:
    for model in plan.unpriced:
        yield Caution(
            f"The price of {model} is unknown, and so is the cost.",
            f'set input_price and output_price (USD per million tokens) under [models."{model}"]',
        )


def _money(plan: Plan) -> Iterator[Caution]:
    cost, budget = priced_cost_of(plan.remaining), plan.config.limits.budget
    if budget is not None:
        if (fits := _fits(plan)) is not None:
            yield Caution(
                f"The budget of {words.about_usd(budget)} pays for about {fits:,} of the "
                f"{words.items(plan.n)}.",
                f"plan for as many with --sample {max(1, fits)}, or raise it: "
                f"--budget {_cap(cost.high)}",
            )
        return
    if cost_of(plan.remaining) is None:
        # A budget is refused while a price is unknown, so it cannot be what to type next.
        if cost.value > ASK_ABOVE:
            yield Caution(
                f"The steps with a known price alone may cost {words.about_usd(cost.high)}.",
                "set the missing prices, then cap the run with --budget",
            )
        return
    if cost.high >= DEAR:
        yield Caution(
            f"This may cost {words.about_usd(cost.high)}. A run above ${ASK_ABOVE:g} asks first.",
            f"cap it with --budget {_cap(cost.value)}, or measure 20 items first: "
            + _command(plan, "estimate", "--pilot", "20")
            if plan.measured is None
            else f"cap it with --budget {_cap(cost.high)}",
        )
    elif cost.value > ASK_ABOVE:
        yield Caution(
            f"A run expected to cost more than ${ASK_ABOVE:g} asks first.",
            f"add --yes to agree beforehand, or cap it with --budget {_cap(cost.high)}",
        )


def _too_many_items(plan: Plan, needed: Needed, options: Sequence[Option]) -> Iterator[Caution]:
    option, planned = _enough(plan, needed, options), _of_size(plan.n, options)
    if option is None or planned is None or option.n > _WORTH_SAMPLING * plan.n:
        return
    if option.cost and planned.cost and (planned.cost.value or 0.0) >= ASK_ABOVE:
        less, all_ = (words.about_usd(each.value) for each in (option.cost, planned.cost))
        instead = f"for {less} instead of {all_}"
    elif (planned.seconds.value or 0.0) >= _LONG:
        less, all_ = (words.about_duration(each.seconds.value) for each in (option, planned))
        instead = f"in {less} instead of {all_}"
    else:
        return
    yield Caution(
        f"A sample of {option.n:,} {size_words.shows(needed, option.margin)} {instead}.",
        _run(plan, sample=option.n),
    )


def next_command(plan: Plan, needed: Needed, options: Sequence[Option]) -> str:
    """The run to make now: of as many items as are enough, or as the budget pays for.

    Empty while something stands in its way.
    """
    if any(serving.problem for serving in plan.servings):
        return ""
    if (option := _enough(plan, needed, options)) is not None:
        return _run(plan, sample=option.n)
    if (fits := _fits(plan)) is not None:
        return _run(plan, sample=max(1, fits))
    return _run(plan)


def _run(plan: Plan, **flags: float) -> str:
    """The command of a run, with as few workers as it is not refused with."""
    if _unlimited(plan):
        flags["workers"] = MANY_WORKERS
    return _command(plan, "run", **flags)


def _of_size(n: int, options: Sequence[Option]) -> Option | None:
    return next((option for option in options if option.n == n), None)


def _enough(plan: Plan, needed: Needed, options: Sequence[Option]) -> Option | None:
    """The size to take, where it is smaller than the plan's and can be paid."""
    option, budget = _of_size(needed.take, options), plan.config.limits.budget
    if needed.n is None or option is None or option.n >= plan.n:
        return None
    dear = budget is not None and option.cost is not None and (option.cost.value or 0.0) > budget
    return None if dear else option


def _fits(plan: Plan) -> int | None:
    """The items that the budget pays for; ``None`` without one, or where it pays for all."""
    cost, budget = priced_cost_of(plan.remaining), plan.config.limits.budget
    if budget is None or cost_of(plan.remaining) is None or cost.value <= budget:
        return None
    return int(plan.n * budget / cost.value)


def _rate(plan: Plan, time: WallTime) -> Iterator[Caution]:
    slow, quick = time.requests_per_minute
    if not time.live_calls:
        return
    if unlimited := _unlimited(plan):
        yield Caution(
            f"{plan.workers:,} workers make about {slow:,.0f} to {quick:,.0f} requests a minute; "
            f"run allows {MANY_WORKERS} without a rate limit for {', '.join(unlimited)}, since "
            "providers ban accounts for flooding.",
            "set --rpm to your account's limit, or --tier openai-1, or --workers 5",
        )
        return
    engine = plan.config.engine
    if time.by_process:
        yield Caution(
            f"{plan.workers:,} workers could make up to {quick:,.0f} requests a minute; "
            f"{engine.carrier} makes about {60 * engine.calls_per_second:,.0f}.",
            f"--workers {time.enough_workers} is enough; {engine.beyond}",
        )
        return
    for serving in _live(plan):
        calls = sum(step.calls for step in plan.remaining if step.fact.model == serving.model)
        most = quick * calls / time.live_calls
        if serving.rpm is not None and most > serving.rpm:
            yield Caution(
                f"{plan.workers:,} workers make up to {most:,.0f} requests a minute at "
                f"{serving.model}, whose limit is {serving.rpm:,.0f}: the rest wait.",
                f"--workers {time.enough_workers} is enough, or raise --rpm or --tier if your "
                "account allows it",
            )


def _live(plan: Plan) -> list[Serving]:
    return [serving for serving in plan.servings if not serving.batch]


def _unlimited(plan: Plan) -> list[str]:
    """Models without a rate limit, where there are more workers than may do without."""
    if plan.config.limits.workers <= MANY_WORKERS:
        return []
    return [serving.model for serving in _live(plan) if serving.rpm_is_assumed]


def _model(plan: Plan, serving: Serving) -> Iterator[Caution]:
    ends = serving.deprecated_from
    if ends is None:
        return
    judge = plan.config.judge
    flag = "with --judge" if judge and judge.model == serving.model else "with --model"
    for step in plan.config.steps:
        if serving.model in (step.models or ()):
            flag = f"in models of [[steps]] {step.name}"
    hint = f"look up its successor at the provider and name it {flag}"
    days = (ends - plan.today).days
    if days <= 0:
        yield Caution(
            f"The provider retires {serving.model} on {ends.isoformat()}, which is past: it may "
            "be gone.",
            hint,
        )
    elif days <= _SOON_DAYS:
        yield Caution(
            f"The provider retires {serving.model} on {ends.isoformat()}, in "
            f"{words.counted(days, 'day')}.",
            hint,
        )


def _prompts(plan: Plan) -> Iterator[Caution]:
    counted = plan.counted
    if counted is None:
        return
    if counted.unrenderable:
        first, problem = counted.first_problem
        yield Caution(
            f"{words.counted(counted.unrenderable, 'item')} of the "
            f"{counted.sampled + counted.unrenderable:,} looked at cannot be put into the prompt; "
            f"the first is {first}: {words.clean(problem)}.",
            "correct the prompt or the data; such items fail",
        )
    for name, long in counted.too_long.items():
        fact = plan.facts[name]
        window = fact.info.max_input_tokens if fact.info else 0
        ids = ", ".join(repr(words.clean(item_id, 60)) for item_id in long.ids)
        which = "that of item" if long.count == 1 else "those of items"
        more = " and more" if long.count > len(long.ids) else ""
        whole = f" ({100 * long.count / counted.sampled:.2g} %)" if long.count > 1 else ""
        yield Caution(
            f"{words.counted(long.count, 'prompt')} of step {shown(name)} among the "
            f"{counted.sampled:,} counted{whole} exceed the {window or 0:,} tokens that "
            f"{fact.model} reads: {which} {ids}{more}.",
            "shorten the prompt, leave such items out, or choose a model that reads more",
        )


def _command(plan: Plan, verb: str, *more: str, **flags: str | float) -> str:
    """A command that plays what is estimated; a number of items alone still needs its data."""
    if plan.counted is None and plan.config.data.path is None:
        flags = {"data": "FILE", **flags}
    return plan.config.command(verb, *more, **flags)


def _cap(cost: float) -> str:
    """A budget a little above a cost, as one would type it."""
    return f"{ceil(cost)}" if cost >= 10 else f"{ceil(100 * cost) / 100:.2f}"
