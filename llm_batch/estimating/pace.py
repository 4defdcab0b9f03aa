"""How long it takes: each limit alone would take so many seconds, and the slowest decides.

The steps of a chain share the workers, models share nothing, steps with one model share its
limits. A limit lets the first half second of requests go at once; the last call ends as long
after it was sent as any other; workers end together only where items and workers divide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from llm_batch.estimating.assumptions import BATCH_SECONDS, LOCAL_AT_ONCE, OWN_SECONDS
from llm_batch.estimating.facts import Serving
from llm_batch.estimating.load import Load, StepLoad
from llm_batch.estimating.span import Span
from llm_batch.paper.words import counted
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


def pace_of(load: Load, workers: int) -> Pace:
    """The time that calls, limits and so many workers lead to."""
    bounds = [list(_bounds(load, workers, case)) for case in range(3)]
    seconds = Span(*(max(bound.seconds for bound in each) for each in bounds))
    live = _live(load)
    by_workers = Span(*(_worker_seconds(live, workers, case) for case in range(3)))
    slowest = max(bounds[1], key=lambda bound: bound.seconds)
    work = sum(step.calls * seconds_of(step).value for step in live)
    enough = -(-work // seconds.value) if seconds.value else 1
    return Pace(
        seconds,
        slowest.reason,
        slowest.by_limit,
        sum(step.calls for step in live),
        by_workers,
        max(1, int(enough)),
    )


def _live(load: Load) -> Load:
    """The steps whose calls the workers make."""
    return [step for step in load if not step.fact.serving.batch]


def _bounds(load: Load, workers: int, case: int) -> Iterator[_Bound]:
    """The seconds that each limit alone would take; ``case`` is an index into `Span`."""
    if not any(step.calls for step in load):
        yield _Bound(0.0, "Nothing is left to send.")
        return
    batches = [step for step in load if step.calls and step.fact.serving.batch]
    if batches:
        yield _Bound(
            len(batches) * BATCH_SECONDS[case],
            "Bound by the provider's batches, up to 24 h for each of "
            f"{counted(len(batches), 'step')}.",
        )
    live = _live(load)
    if not any(step.calls for step in live):
        return
    yield _Bound(
        _all_workers_seconds(live, workers, case),
        f"Bound by {counted(workers, 'worker')} at {_latency(live):.2g} s a call.",
    )
    yield _Bound(
        _embedded_seconds(load, workers, case),
        f"Bound by this machine, which computes at most {LOCAL_AT_ONCE} calls at once; "
        "more workers will not help.",
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
    return f"Bound by {what} of {model}{assumed}; more workers will not help."


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
    """Seconds of a step's mean call: as measured there, or on this machine, or as assumed."""
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
    """Seconds of the mean call."""
    calls = sum(step.calls for step in load)
    return sum(step.calls * seconds_of(step).value for step in load) / calls
