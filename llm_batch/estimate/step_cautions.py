"""Cautions about one step: where its answers may end, and what went wrong in a pilot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil

from llm_batch.estimate import words
from llm_batch.estimate.groups import StepFacts
from llm_batch.estimate.measured import Measured
from llm_batch.estimate.model import Caution

#: A cap should leave this much room above the longest answer seen.
_ROOM = 1.5
#: Statuses of answers that had no room to end.
_CUT = ("truncated", "reasoning")
#: Fewer measured items than this make ranges that say nothing.
_ENOUGH = 10


def step_cautions(fact: StepFacts) -> Iterator[Caution]:
    """What the step's ``max_tokens`` may lead to."""
    step, info = fact.step, fact.info
    name, cap = step.name, step.max_tokens
    writes = info.max_output_tokens if info else None
    if cap is None:
        most = f", up to {writes:,}" if writes else ""
        yield Caution(
            f"Step {name} has no max_tokens: an answer may be as long as the model likes{most}.",
            f"set max_tokens under [[steps]] {name}",
        )
        return
    if writes and cap > writes:
        yield Caution(
            f"Step {name} allows {cap:,} output tokens, but {step.model} writes at most "
            f"{writes:,}.",
            f"set max_tokens = {writes} under [[steps]] {name}",
        )
    if fact.answer.is_cut:
        yield Caution(
            f"{step.model} thinks before it answers, and step {name} gives both together "
            f"{cap:,} tokens: answers may be cut or empty.",
            f'raise max_tokens, or set params = {{ reasoning_effort = "low" }} under [[steps]] '
            f"{name}",
        )
    measure = fact.measure
    if measure is not None and measure.longest >= cap:
        yield Caution(
            f"In {words.counted(measure.n, 'measured item')} of step {name} an answer reached "
            f"max_tokens, {cap:,}: it was cut there.",
            f"set max_tokens = {_rounded_up(_ROOM * max(cap, measure.output.high))} under "
            f"[[steps]] {name}",
        )


def measured_cautions(
    measured: Measured | None, facts: Mapping[str, StepFacts]
) -> Iterator[Caution]:
    """What went wrong while it was measured, and how much it says."""
    if measured is None:
        return
    played = sum(measured.statuses.values())
    failed = {kind: count for kind, count in measured.statuses.items() if kind != "ok"}
    if failed:
        total = sum(failed.values())
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in failed.items())
        hint = "look at them in the results file before paying for the rest"
        if any(kind in failed for kind in _CUT):
            hint = "raise max_tokens of the step that was cut"
        yield Caution(
            f"{total:,} of {words.counted(played, 'measured item')} failed "
            f"({100 * total / played:.0f} %: {kinds}); as many of the rest would.",
            hint,
        )
    if len(measured.items) < _ENOUGH:
        yield Caution(
            f"{words.counted(len(measured.items), 'item')} say little of how lengths differ.",
            "llmb estimate --pilot 20",
        )
    retried = [
        name for name, fact in facts.items() if fact.measure and fact.measure.attempts.value > 1.1
    ]
    if retried:
        sends = ", ".join(
            f"{name} {fact.measure.attempts.value:.2f}"
            for name, fact in facts.items()
            if fact.measure and name in retried
        )
        yield Caution(
            f"Calls were sent again: {sends} sends an item.",
            "fewer --workers or a lower --rpm where the provider refused them",
        )


def _rounded_up(tokens: float) -> int:
    """To the next hundred, as one would type it."""
    return 100 * ceil(tokens / 100)
