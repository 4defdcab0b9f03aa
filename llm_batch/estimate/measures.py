"""From items that were played to figures of one step, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt

from llm_batch.chain import Step
from llm_batch.estimate.measured import ItemSeen, Measured, StepSeen
from llm_batch.estimate.skewed import FEWEST, mean_of_unseen, quantile_for, share_unseen
from llm_batch.estimate.span import Span, exactly
from llm_batch.prices import Tariff
from llm_batch.records import Usage

_NOTHING = StepSeen(Usage(), 0.0, 0.0, 0)


@dataclass(frozen=True, slots=True)
class StepMeasure:
    """What one step takes, per item of the sample and so per item to come.

    Attributes:
        n: Items it was measured on, those included that failed before it.
        attempts: Sends per item: 1 when nothing failed, was repeated or was asked again.
        input: Input tokens.
        output: Output tokens, reasoning included.
        text: The part of them that is not reasoning, which later prompts may contain.
        reasoning: The rest.
        cached_share: Share of the input that came from the provider's cache.
        seconds: Of one call.
        input_ratio: Input tokens counted by the provider for each that was counted here, re-asks
            and items that were not asked included; ``None`` before prompts were counted.
        surcharge: What attempts that may have been billed added, as a factor on the cost.
        longest: Most output tokens of one item.
    """

    n: int
    attempts: Span
    input: Span
    output: Span
    text: Span
    reasoning: Span
    cached_share: float
    seconds: Span
    surcharge: float
    longest: int
    input_ratio: Span | None = None


def measures_of(
    measured: Measured,
    steps: Sequence[Step],
    tariffs: Mapping[str, Tariff | None],
    unseen: float = inf,
) -> dict[str, StepMeasure]:
    """Figures of every step that was measured with the model it has now.

    Args:
        measured: What was played.
        steps: The steps to come.
        tariffs: Their prices, by step name.
        unseen: Items to come.
    """
    found = {}
    for step in steps:
        if measured.models.get(step.name, step.model) != step.model:
            continue
        seen = [item.steps.get(step.name, _NOTHING) for item in measured.items]
        if any(each.attempts for each in seen):
            found[step.name] = _measure(measured.items, seen, step, tariffs[step.name], unseen)
    return found


def _measure(
    items: Sequence[ItemSeen],
    seen: Sequence[StepSeen],
    step: Step,
    tariff: Tariff | None,
    unseen: float,
) -> StepMeasure:
    attempts = [float(each.attempts) for each in seen]
    cap = step.max_tokens or inf
    # A re-ask may answer at full length again.
    most = cap * max(1.0, max(attempts))

    def mean(of: Callable[[Usage], int], bound: float = inf) -> Span:
        values = [float(of(each.usage)) for each in seen]
        return mean_of_unseen(values, unseen, most=bound, cap=min(cap, bound))

    inputs = sum(each.usage.input_tokens for each in seen)
    cached = sum(each.usage.cache_read_tokens for each in seen)
    called = [each for each in seen if each.attempts]
    return StepMeasure(
        n=len(seen),
        attempts=_at_least_some_retries(
            mean_of_unseen(attempts, unseen), len(seen), even=min(attempts) == max(attempts)
        ),
        input=mean(lambda usage: usage.input_tokens),
        output=mean(lambda usage: usage.output_tokens, most),
        text=mean(lambda usage: max(0, usage.output_tokens - usage.reasoning_tokens), most),
        reasoning=mean(lambda usage: usage.reasoning_tokens, most),
        cached_share=cached / inputs if inputs else 0.0,
        seconds=mean_of_unseen([each.seconds for each in called], unseen),
        surcharge=_surcharge(items, step.name, tariff),
        longest=max(each.usage.output_tokens for each in seen),
    )


def _at_least_some_retries(attempts: Span, n: int, even: bool) -> Span:
    """That none of n items needed another attempt does not mean that none ever will.

    And where all needed one and the same number, none is expected to need fewer.
    """
    low = attempts.value if even else attempts.low
    return attempts._replace(low=low, high=max(attempts.high, attempts.value + share_unseen(n)))


def _surcharge(items: Sequence[ItemSeen], step: str, tariff: Tariff | None) -> float:
    """What was booked over what the usage alone costs, where an attempt may have been billed."""
    booked = priced = 0.0
    for item in items:
        seen = item.steps.get(step)
        if seen is None or tariff is None:
            continue
        cost = tariff.cost(seen.usage)
        priced += cost
        booked += max(cost, seen.cost or 0.0) if item.worst_case else cost
    return booked / priced if priced else 1.0


def with_input_ratio(
    measure: StepMeasure, actual: Sequence[float], counted: Sequence[float], unseen: float
) -> StepMeasure:
    """The measure with its ratio of tokens counted by the provider to tokens counted here.

    A ratio estimator (Cochran 1977, section 6.3): its error comes from how far single items are
    off the common ratio.

    Args:
        measure: Of the step.
        actual: Input tokens the provider counted, per item; 0 where the step was not reached.
        counted: What was counted here for the same items.
        unseen: Items to come.
    """
    n, whole = len(counted), sum(counted)
    if not whole:
        return measure
    ratio = sum(actual) / whole
    if n < FEWEST:
        return replace(measure, input_ratio=exactly(ratio))
    off = [a - ratio * c for a, c in zip(actual, counted, strict=True)]
    error = sqrt(sum(each * each for each in off) / (n - 1) / n * (1 + n / unseen))
    half = quantile_for(n) * error * n / whole
    return replace(measure, input_ratio=Span(max(0.0, ratio - half), ratio, ratio + half))
