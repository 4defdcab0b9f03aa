"""What items send and get at each point of the chain: tokens, money and time of each step.

How long it takes: each limit alone would take so many seconds, and the slowest decides. The steps
of a chain share the workers, models share nothing, steps with one model share its limits. A limit
lets the first half second of requests go at once; the last call ends as long after it was sent as
any other; workers end together only where items and workers divide. However many workers there
are, one process makes so many calls a second and no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from llm_batch.chain.chain import Chain
from llm_batch.chain.forecast import Forecast
from llm_batch.engines import Kind
from llm_batch.estimating.ranges import NOTHING, Span, SpanMoments, exactly, total
from llm_batch.estimating.steps import (
    BATCH_SECONDS,
    LOCAL_AT_ONCE,
    MACHINES,
    OWN_SECONDS,
    Facts,
    Serving,
    StepFacts,
    counted_input,
)
from llm_batch.models.tokens import counter
from llm_batch.paper.words import counted
from llm_batch.records import Usage
from llm_batch.sending.limits import counted_tokens
from llm_batch.sending.rate import BURST_SECONDS, SHARE


@dataclass(frozen=True, slots=True)
class StepLoad:
    """What one step does for some number of items.

    Attributes:
        output_tokens: Reasoning included.
        cost: USD at the live price; ``None`` without a price.
        batch: USD at the provider's batch price, without any cache discount; ``None`` where no
            batch price is listed.
        saved: USD that the provider's prompt cache would take off ``cost``; ``None`` where the
            prompts share too little or no price of cached input is known.
        played: The part of the calls that is made: below one in the low case where an answer to
            come decides.
    """

    fact: StepFacts
    calls: float
    input_tokens: Span
    output_tokens: Span
    cost: Span | None
    batch: Span | None = None
    saved: Span | None = None
    played: Span = field(default_factory=lambda: exactly(1.0))

    def times(self, factor: float) -> StepLoad:
        return replace(
            self,
            calls=self.calls * factor,
            input_tokens=self.input_tokens.times(factor),
            output_tokens=self.output_tokens.times(factor),
            cost=_times(self.cost, factor),
            batch=_times(self.batch, factor),
            saved=_times(self.saved, factor),
        )

    def plus(self, other: StepLoad) -> StepLoad:
        return replace(
            self,
            calls=self.calls + other.calls,
            played=_mean(self, other),
            input_tokens=self.input_tokens.plus(other.input_tokens),
            output_tokens=self.output_tokens.plus(other.output_tokens),
            cost=_plus(self.cost, other.cost),
            batch=_plus(self.batch, other.batch),
            saved=_plus(self.saved, other.saved),
        )


def _mean(one: StepLoad, other: StepLoad) -> Span:
    calls = one.calls + other.calls
    if not calls:
        return one.played
    both = one.played.times(one.calls).plus(other.played.times(other.calls))
    return both.times(1 / calls)


def _times(span: Span | None, factor: float) -> Span | None:
    return None if span is None else span.times(factor)


def _plus(a: Span | None, b: Span | None) -> Span | None:
    return None if a is None or b is None else a.plus(b)


#: One for each step of the chain, in order.
Load = Sequence[StepLoad]


def scaled(load: Load, factor: float) -> Load:
    return [step.times(factor) for step in load]


def cost_of(load: Load) -> Span | None:
    """USD of all steps; ``None`` when a step that is called has no price."""
    if any(step.cost is None and step.calls for step in load):
        return None
    return priced_cost_of(load)


def priced_cost_of(load: Load) -> Span:
    return total(step.cost for step in load if step.cost is not None)


def batch_cost_of(load: Load) -> Span | None:
    """USD with every step that has a batch price at that price, the others live.

    ``None`` when no step has one, or when a price is unknown.
    """
    if cost_of(load) is None or all(step.batch is None for step in load):
        return None
    costs = (step.cost if step.batch is None else step.batch for step in load)
    return total(cost for cost in costs if cost is not None)


def cached_cost_of(load: Load) -> Span | None:
    """USD when the provider's prompt cache works on every call after the first of each step.

    ``None`` when no step would save by it, or when a price is unknown.
    """
    cost = cost_of(load)
    if cost is None or all(step.saved is None for step in load):
        return None
    saved = total(step.saved for step in load if step.saved is not None)
    return Span(*(max(0.0, a - b) for a, b in zip(cost, saved, strict=True)))


def input_of(fact: StepFacts, tokens: int, contained: Sequence[Span]) -> Span:
    """Input tokens of one item's calls of a step, whose known text has so many ``tokens``.

    ``contained``: the answers of earlier steps in it, as often as they stand there.
    """
    ratio = fact.measure.input_ratio if fact.measure else None
    if ratio is None:
        return counted_input(tokens, contained, counter(fact.model))
    known = exactly(tokens)
    for answer in contained:
        known = known.plus(answer)
    return known.by(ratio)


def item_cost(
    fact: StepFacts, tokens: Span, *, items: float = 1.0, batch: bool = False
) -> Span | None:
    """USD of one item's calls of a step in the three cases; ``None`` without a price.

    The high case counts on no cache. Batches never do. ``tokens`` are the input of so many
    ``items``: more than one only where the price is linear.
    """
    if fact.tariff is None:
        return None
    measure, answer = fact.measure, fact.answer
    share = measure.cached_share if measure and not batch else 0.0
    costs = []
    for case, cached in enumerate((share, share, 0.0)):
        asked, answered, text = tokens[case], answer.tokens[case], answer.text[case]
        usage = Usage(
            input_tokens=round(asked),
            output_tokens=round(items * answered),
            cache_read_tokens=round(cached * asked),
            reasoning_tokens=round(items * max(0.0, answered - text)),
        )
        costs.append(fact.tariff.cost(usage, batch))
    span = Span(*costs)
    return span.times(measure.surcharge) if measure else span


def _sums() -> defaultdict[str, SpanMoments]:
    return defaultdict(SpanMoments)


@dataclass
class Group:
    """Items at the same point of the chain; ``size`` of them, some of which were counted.

    Sums are by step name; whether requests that are ``undecided`` are sent an answer to come says.
    What a linear price comes to follows from the input tokens, so only
    other prices are summed up item by item.
    """

    size: int = 0
    sampled: int = 0
    undecided: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    inputs: dict[str, SpanMoments] = field(default_factory=_sums)
    costs: dict[str, SpanMoments] = field(default_factory=_sums)
    batches: dict[str, SpanMoments] = field(default_factory=_sums)

    def add(
        self, fact: StepFacts, tokens: Span, times: int = 1, *, undecided: bool = False
    ) -> None:
        self.inputs[fact.name].add(tokens, times)
        self.undecided[fact.name] += undecided * times
        if fact.is_linear:
            return
        for sums, batch in ((self.costs, False), (self.batches, True)):
            if batch and not fact.has_batch_price:
                continue
            if (cost := item_cost(fact, tokens, batch=batch)) is not None:
                sums[fact.name].add(cost, times)

    def load(self, facts: Facts, size: int, population: int) -> Load:
        """What ``size`` items of a population, of which these are a sample, come to."""
        return [self._step_load(fact, size, population) for fact in facts.values()]

    def _step_load(self, fact: StepFacts, size: int, population: int) -> StepLoad:
        priced, batched = fact.tariff is not None, fact.has_batch_price
        if fact.name not in self.inputs or not size:
            cost, batch = (NOTHING if known else None for known in (priced, batched))
            return StepLoad(fact, 0.0, NOTHING, NOTHING, cost, batch)
        items = size * self.inputs[fact.name].count / self.sampled
        inputs = self.inputs[fact.name].projected(items, population)
        if fact.is_linear:
            cost = item_cost(fact, inputs, items=items)
            batch = item_cost(fact, inputs, items=items, batch=True) if batched else None
        else:
            cost, batch = (
                sums[fact.name].projected(items, population) if known else None
                for sums, known in ((self.costs, priced), (self.batches, batched))
            )
        calls, answers = items * fact.attempts.value, fact.answer.tokens.times(items)
        # What was measured has the skipped ones in its means.
        sure = 1 - self.undecided[fact.name] / self.inputs[fact.name].count
        played = exactly(1.0) if fact.measure is not None else Span(sure, 1.0, 1.0)
        return StepLoad(
            *(fact, calls, inputs.by(played), answers.by(played)),
            cost and cost.by(played),
            batch and batch.by(played),
            played=played,
        )


def load_of_alike(facts: Facts, inputs: Mapping[str, Span], n: int, chain: Chain) -> Load:
    """What ``n`` items come to of which only the number is known, as far as shares go.

    Every condition may come to anything.
    """
    one = Group(sampled=_SHARES)
    for name, fact in facts.items():
        step = fact.step
        requests = max(1, round(_SHARES * chain.times[name] * (step.share or 1.0)))
        one.add(fact, inputs[name], requests, undecided=step.when is not None)
    return one.load(facts, n, 1)


#: Items that a share is taken of where none are known.
_SHARES = 10_000


def with_savings(load: Load, prefixes: Mapping[str, int]) -> Load:
    """The load with what the provider's prompt cache would take off; see `StepLoad`.

    ``prefixes``: tokens that the prompts of each step begin with. The first call saves nothing.
    """
    saving = []
    for step in load:
        each = step.fact.saved_per_call(prefixes.get(step.fact.name, 0))
        if each is not None:
            step = replace(step, saved=exactly(max(0.0, step.calls - 1) * each))
        saving.append(step)
    return saving


def add_forecasts(group: Group, facts: Facts, coming: Sequence[Forecast]) -> dict[str, Span]:
    """Count what an item still needs into a group; gives its input tokens by step."""
    group.sampled += 1
    inputs = {}
    for each in coming:
        fact = facts[each.step.name]
        contained = [facts[name].answer.text.times(times) for name, times in each.contains.items()]
        tokens = inputs[each.step.name] = input_of(fact, each.input_tokens, contained)
        group.add(fact, tokens, undecided=each.undecided)
    return inputs


_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class WallTime:
    """How quickly a load is worked off.

    Attributes:
        bound_by: What decides in the expected case, as a sentence.
        by_limit: Whether that is a limit of the provider.
        by_process: Whether it is what the engine makes at most.
        live_calls: Calls that the workers make; those of batches are not among them.
        workers_seconds: Seconds of these if nothing but the workers decided.
        enough_workers: More than this many would not help.
    """

    seconds: Span
    bound_by: str
    by_limit: bool
    by_process: bool
    live_calls: float
    workers_seconds: Span
    enough_workers: int

    @property
    def requests_per_minute(self) -> tuple[float, float]:
        """What the workers make without limits, at the slowest and the quickest answers."""
        if not self.live_calls:
            return 0.0, 0.0
        slowest, quickest = self.workers_seconds.high, self.workers_seconds.low
        return 60 * self.live_calls / slowest, 60 * self.live_calls / quickest


@dataclass(frozen=True, slots=True)
class _Bound:
    seconds: float
    reason: str
    by_limit: bool = False
    by_process: bool = False


def wall_time_of(load: Load, workers: int, engine: Kind) -> WallTime:
    bounds = [list(_bounds(_made(load, case), workers, engine, case)) for case in range(3)]
    seconds = Span(*(max(bound.seconds for bound in each) for each in bounds))
    live = _live(load)
    by_workers = Span(*(_worker_seconds(live, workers, case) for case in range(3)))
    slowest = max(bounds[1], key=lambda bound: bound.seconds)
    work = sum(step.calls * seconds_of(step).value for step in live)
    enough = -(-work // seconds.value) if seconds.value else 1
    return WallTime(
        seconds,
        slowest.reason,
        slowest.by_limit,
        slowest.by_process,
        sum(step.calls for step in live),
        by_workers,
        max(1, int(enough)),
    )


def _made(load: Load, case: int) -> Load:
    """The load with the calls that are made in a case."""
    return [replace(step, calls=step.calls * step.played[case]) for step in load]


def _live(load: Load) -> Load:
    return [step for step in load if not step.fact.serving.batch]


def _bounds(load: Load, workers: int, engine: Kind, case: int) -> Iterator[_Bound]:
    """The seconds that each limit alone would take; ``case`` is an index into `Span`."""
    if not any(step.calls for step in load):
        yield _Bound(0.0, "Nothing is left to send.")
        return
    batches = [step for step in load if step.calls and step.fact.serving.batch]
    if batches:
        yield _Bound(
            len(batches) * BATCH_SECONDS[case],
            "Limited by the provider's batches, up to 24 h for each of "
            f"{counted(len(batches), 'step')}.",
        )
    live = _live(load)
    if not any(step.calls for step in live):
        return
    yield _Bound(
        _all_workers_seconds(live, workers, case),
        f"Limited by {counted(workers, 'worker')} at {_latency(live):.2g} s a call.",
    )
    yield _Bound(
        _embedded_seconds(load, workers, case),
        f"Limited by this machine, which computes at most {LOCAL_AT_ONCE} calls at once; "
        "more workers will not help.",
    )
    yield _Bound(
        sum(step.calls for step in live if step.fact.serving.remote)
        * MACHINES[case]
        / engine.calls_per_second,
        f"Limited by {engine.carrier}, which makes about {engine.calls_per_second:,.0f} calls a "
        "second; more workers will not help.",
        by_process=True,
    )
    for model in dict.fromkeys(step.fact.model for step in live):
        own = [step for step in live if step.fact.model == model and step.calls]
        if own:
            yield from _limit_bounds(own[0].fact.serving, own, load, case)


def _limit_bounds(
    serving: Serving,
    own: Load,
    load: Load,
    case: int,
) -> Iterator[_Bound]:
    calls = sum(step.calls for step in own)
    model = serving.model
    # What comes before the first of these calls and after the last one is not limited.
    names = [step.fact.name for step in load]
    first, last = (names.index(own[end].fact.name) for end in (0, -1))
    before = sum(seconds_of(step)[case] for step in load[:first])
    after = sum(seconds_of(step)[case] for step in load[last:])

    def paced(units: float, per_minute: float, of_one: float) -> float:
        """Seconds until all units were let through, the first of them at once."""
        rate = per_minute * SHARE / 60
        ahead = max(BURST_SECONDS, of_one / rate)
        return before + max(0.0, units / rate - ahead) + after

    assumed = " (assumed)" if serving.rpm_is_assumed else ""
    if serving.rpm is not None:
        yield _Bound(
            paced(calls, serving.rpm, 1.0),
            _limited(f"{serving.rpm:,.0f} requests a minute", model, assumed),
            by_limit=True,
        )
    if serving.tpm is not None:
        tokens = sum(_counted(step, case) for step in own)
        yield _Bound(
            paced(tokens, serving.tpm, tokens / calls),
            _limited(f"{serving.tpm:,.0f} tokens a minute", model, ""),
            by_limit=True,
        )
    if serving.otpm is not None:
        yield _Bound(
            60 * sum(step.output_tokens[case] for step in own) / serving.otpm,
            _limited(f"{serving.otpm:,.0f} tokens of answers a minute", model, ""),
            by_limit=True,
        )
    if serving.rpd is not None and calls > serving.rpd:
        yield _Bound(
            _DAY * (ceil(calls / serving.rpd) - 1),
            _limited(f"{serving.rpd:,.0f} requests a day", model, ""),
            by_limit=True,
        )


def _limited(what: str, model: str, assumed: str) -> str:
    return f"Limited by {what} of {model}{assumed}; more workers will not help."


def _worker_seconds(load: Load, workers: int, case: int) -> float:
    return max(
        _all_workers_seconds(load, workers, case),
        _embedded_seconds(load, workers, case),
    )


def _all_workers_seconds(load: Load, workers: int, case: int) -> float:
    """Items one after the other in as many rows as there are workers."""
    items = max((step.calls for step in load), default=0.0)
    if not items:
        return 0.0
    work = sum(step.calls * seconds_of(step)[case] for step in load)
    # An item's calls follow one another, so more workers than items do not help. How full the
    # last row is depends on who ends when: at best all end together, at worst it takes a whole one.
    rows = items / workers
    whole = max(rows, ceil(rows - 1e-9))
    return work / items * max(1.0, (rows, (rows + whole) / 2, whole)[case])


def _embedded_seconds(load: Load, workers: int, case: int) -> float:
    # A time that was measured has the waiting for the machine in it already.
    own = [step for step in load if step.fact.serving.embedded and step.fact.measure is None]
    return _all_workers_seconds(own, min(workers, LOCAL_AT_ONCE), case)


def seconds_of(step: StepLoad) -> Span:
    measure, serving = step.fact.measure, step.fact.serving
    if measure is not None:
        return Span(*(max(OWN_SECONDS, seconds) for seconds in measure.seconds))
    if serving.speed is not None and step.calls:
        each = (tokens.times(1 / step.calls) for tokens in (step.input_tokens, step.output_tokens))
        return serving.speed.of_call(*each)
    return serving.latency


def _counted(step: StepLoad, case: int) -> float:
    """Tokens a provider counts against its limit for all calls of a step."""
    if not step.calls:
        return 0.0
    mean = round(step.input_tokens[case] / step.calls)
    return step.calls * counted_tokens(step.fact.serving.vendor, mean, step.fact.step.max_tokens)


def _latency(load: Load) -> float:
    calls = sum(step.calls for step in load)
    return sum(step.calls * seconds_of(step).value for step in load) / calls
