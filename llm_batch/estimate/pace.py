"""How long it takes: each limit alone would take so many seconds, and the slowest decides.

The steps of a chain share the workers, models share nothing, steps with one model share its
limits. Nothing is added for waiting at the start and the end, which is short in long runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llm_batch.estimate.assume import LOCAL_AT_ONCE
from llm_batch.estimate.serving import Serving
from llm_batch.estimate.span import Load, Span, StepLoad
from llm_batch.limits import SHARE, counted_tokens


@dataclass(frozen=True, slots=True)
class Pace:
    """How quickly a load is worked off.

    Attributes:
        seconds: Wall time; low with quick answers, high with slow and long ones.
        bound_by: What decides in the expected case, as a sentence.
        workers_seconds: Wall time if nothing but the workers decided.
        enough_workers: More than this many would not help.
    """

    seconds: Span
    bound_by: str
    workers_seconds: Span
    enough_workers: int

    def requests_per_minute(self, calls: float) -> tuple[float, float]:
        """What the workers make without limits, at the slowest and the quickest answers."""
        if not calls:
            return 0.0, 0.0
        return 60 * calls / self.workers_seconds.high, 60 * calls / self.workers_seconds.low


@dataclass(frozen=True, slots=True)
class _Bound:
    seconds: float
    reason: str


def pace_of(load: Load, servings: Mapping[str, Serving], workers: int) -> Pace:
    """The time that calls, limits and workers lead to.

    Args:
        load: What is to be done.
        servings: How each model is served.
        workers: Calls at once.
    """
    bounds = [list(_bounds(load, servings, workers, case)) for case in range(3)]
    seconds = Span(*(max(bound.seconds for bound in each) for each in bounds))
    by_workers = Span(*(_worker_seconds(load, servings, workers, case) for case in range(3)))
    slowest = max(bounds[1], key=lambda bound: bound.seconds)
    work = sum(step.calls * servings[step.step.model].latency.value for step in load)
    enough = -(-work // seconds.value) if seconds.value else 1
    return Pace(seconds, slowest.reason, by_workers, max(1, int(enough)))


def _bounds(
    load: Load, servings: Mapping[str, Serving], workers: int, case: int
) -> Iterator[_Bound]:
    """The seconds that each limit alone would take; ``case`` is an index into `Span`."""
    if not any(step.calls for step in load):
        yield _Bound(0.0, "Nothing is left to send.")
        return
    yield _Bound(
        _all_workers_seconds(load, servings, workers, case),
        f"Bound by {_count(workers, 'worker')} at {_latency(load, servings):.2g} s a call.",
    )
    yield _Bound(
        _embedded_seconds(load, servings, workers, case),
        f"Bound by this machine, which computes at most {LOCAL_AT_ONCE} calls at once; "
        "more workers will not help.",
    )
    for model, serving in servings.items():
        own = [step for step in load if step.step.model == model]
        calls = sum(step.calls for step in own)
        if serving.rpm is not None:
            assumed = " (assumed)" if serving.rpm_is_assumed else ""
            yield _Bound(
                60 * calls / (serving.rpm * SHARE),
                f"Bound by {serving.rpm:,.0f} requests a minute of {model}{assumed}; "
                "more workers will not help.",
            )
        if serving.tpm is not None:
            tokens = sum(_counted(step, serving, case) for step in own)
            yield _Bound(
                60 * tokens / (serving.tpm * SHARE),
                f"Bound by {serving.tpm:,.0f} tokens a minute of {model}; "
                "more workers will not help.",
            )


def _worker_seconds(load: Load, servings: Mapping[str, Serving], workers: int, case: int) -> float:
    return max(
        _all_workers_seconds(load, servings, workers, case),
        _embedded_seconds(load, servings, workers, case),
    )


def _all_workers_seconds(
    load: Load, servings: Mapping[str, Serving], workers: int, case: int
) -> float:
    # An item's calls follow one another: more workers than items do not help.
    at_once = min(float(workers), max(1.0, max((step.calls for step in load), default=1.0)))
    return sum(step.calls * servings[step.step.model].latency[case] for step in load) / at_once


def _embedded_seconds(
    load: Load, servings: Mapping[str, Serving], workers: int, case: int
) -> float:
    return _all_workers_seconds(
        [step for step in load if servings[step.step.model].embedded],
        servings,
        min(workers, LOCAL_AT_ONCE),
        case,
    )


def _counted(step: StepLoad, serving: Serving, case: int) -> float:
    """Tokens a provider counts against its limit for all calls of a step."""
    if not step.calls:
        return 0.0
    mean = step.input_tokens[case] / step.calls
    return step.calls * counted_tokens(serving.vendor, round(mean), step.step.max_tokens)


def _latency(load: Load, servings: Mapping[str, Serving]) -> float:
    """Seconds of the mean call."""
    calls = sum(step.calls for step in load)
    return sum(step.calls * servings[step.step.model].latency.value for step in load) / calls


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
