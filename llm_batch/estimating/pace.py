"""How long it takes: each limit alone would take so many seconds, and the slowest decides.

The steps of a chain share the workers, models share nothing, steps with one model share its
limits. A limit lets the first half second of requests go at once; the last call ends as long
after it was sent as any other; workers end together only where items and workers divide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil

from llm_batch.estimating.assumptions import BATCH_SECONDS, LOCAL_AT_ONCE, OWN_SECONDS
from llm_batch.estimating.serving import Serving
from llm_batch.estimating.span import Load, Span, StepLoad
from llm_batch.sending.limits import BURST_SECONDS, SHARE, counted_tokens

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly a load is worked off.

    Attributes:
        seconds: Wall time; low with quick answers, high with slow and long ones.
        bound_by: What decides in the expected case, as a sentence.
        by_limit: Whether that is a limit of the provider.
        live_calls: Calls that the workers make; those of batches are not among them.
        workers_seconds: Wall time of these if nothing but the workers decided.
        enough_workers: More than this many would not help.
    """

    seconds: Span
    bound_by: str
    by_limit: bool
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


def pace_of(load: Load, servings: Mapping[str, Serving], workers: int) -> Pace:
    """The time that calls, limits and workers lead to.

    Args:
        load: What is to be done.
        servings: How each model is served.
        workers: Calls at once.
    """
    bounds = [list(_bounds(load, servings, workers, case)) for case in range(3)]
    seconds = Span(*(max(bound.seconds for bound in each) for each in bounds))
    live = _live(load, servings)
    by_workers = Span(*(_worker_seconds(live, servings, workers, case) for case in range(3)))
    slowest = max(bounds[1], key=lambda bound: bound.seconds)
    work = sum(step.calls * seconds_of(step, servings[step.step.model]).value for step in live)
    enough = -(-work // seconds.value) if seconds.value else 1
    return Pace(
        seconds,
        slowest.reason,
        slowest.by_limit,
        sum(step.calls for step in live),
        by_workers,
        max(1, int(enough)),
    )


def _live(load: Load, servings: Mapping[str, Serving]) -> Load:
    """The steps whose calls the workers make."""
    return [step for step in load if not servings[step.step.model].batch]


def _bounds(
    load: Load, servings: Mapping[str, Serving], workers: int, case: int
) -> Iterator[_Bound]:
    """The seconds that each limit alone would take; ``case`` is an index into `Span`."""
    if not any(step.calls for step in load):
        yield _Bound(0.0, "Nothing is left to send.")
        return
    batches = [step for step in load if step.calls and servings[step.step.model].batch]
    if batches:
        yield _Bound(
            len(batches) * BATCH_SECONDS[case],
            "Bound by the provider's batches, up to 24 h for each of "
            f"{_count(len(batches), 'step')}.",
        )
    live = _live(load, servings)
    if not any(step.calls for step in live):
        return
    yield _Bound(
        _all_workers_seconds(live, servings, workers, case),
        f"Bound by {_count(workers, 'worker')} at {_latency(live, servings):.2g} s a call.",
    )
    yield _Bound(
        _embedded_seconds(load, servings, workers, case),
        f"Bound by this machine, which computes at most {LOCAL_AT_ONCE} calls at once; "
        "more workers will not help.",
    )
    for model, serving in servings.items():
        own = [step for step in load if step.step.model == model and step.calls]
        if own and not serving.batch:
            yield from _limit_bounds(model, serving, own, load, servings, case)


def _limit_bounds(
    model: str,
    serving: Serving,
    own: Load,
    load: Load,
    servings: Mapping[str, Serving],
    case: int,
) -> Iterator[_Bound]:
    calls = sum(step.calls for step in own)
    first, last = own[0].step, own[-1].step
    # What comes before the first of these calls and after the last one is not limited.
    before = after = 0.0
    names = [step.step.name for step in load]
    for position, step in enumerate(load):
        if position < names.index(first.name):
            before += seconds_of(step, servings[step.step.model])[case]
        if position >= names.index(last.name):
            after += seconds_of(step, servings[step.step.model])[case]

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
        tokens = sum(_counted(step, serving, case) for step in own)
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
    return f"Bound by {what} of {model}{assumed}; more workers will not help."


def _worker_seconds(load: Load, servings: Mapping[str, Serving], workers: int, case: int) -> float:
    return max(
        _all_workers_seconds(load, servings, workers, case),
        _embedded_seconds(load, servings, workers, case),
    )


def _all_workers_seconds(
    load: Load, servings: Mapping[str, Serving], workers: int, case: int
) -> float:
    """Items one after the other in as many rows as there are workers."""
    items = max((step.calls for step in load), default=0.0)
    if not items:
        return 0.0
    work = sum(step.calls * seconds_of(step, servings[step.step.model])[case] for step in load)
    # An item's calls follow one another, so more workers than items do not help. How full the
    # last row is depends on who ends when: at best all end together, at worst it takes a whole one.
    rows = items / workers
    whole = max(rows, ceil(rows - 1e-9))
    return work / items * max(1.0, (rows, (rows + whole) / 2, whole)[case])


def _embedded_seconds(
    load: Load, servings: Mapping[str, Serving], workers: int, case: int
) -> float:
    # A time that was measured has the waiting for the machine in it already.
    own = [step for step in load if servings[step.step.model].embedded and step.seconds is None]
    return _all_workers_seconds(own, servings, min(workers, LOCAL_AT_ONCE), case)


def seconds_of(step: StepLoad, serving: Serving) -> Span:
    """Seconds of a step's mean call: as measured there, or on this machine, or as assumed."""
    if step.seconds is None and serving.speed is not None and step.calls:
        each = (tokens.times(1 / step.calls) for tokens in (step.input_tokens, step.output_tokens))
        return serving.speed.of_call(*each)
    if step.seconds is None:
        return serving.latency
    return Span(*(max(OWN_SECONDS, seconds) for seconds in step.seconds))


def _counted(step: StepLoad, serving: Serving, case: int) -> float:
    """Tokens a provider counts against its limit for all calls of a step."""
    if not step.calls:
        return 0.0
    mean = step.input_tokens[case] / step.calls
    return step.calls * counted_tokens(serving.vendor, round(mean), step.step.max_tokens)


def _latency(load: Load, servings: Mapping[str, Serving]) -> float:
    """Seconds of the mean call."""
    calls = sum(step.calls for step in load)
    return (
        sum(step.calls * seconds_of(step, servings[step.step.model]).value for step in load) / calls
    )


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
