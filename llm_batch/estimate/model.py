"""What an estimate holds: numbers and sentences, nothing to compute and nothing to draw.

Money is USD, times are seconds, margins are fractions of one. Every range is an `Interval` of
level 0: assumed, not measured. What is not known is ``None``, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from llm_batch.records import Interval, Price
from llm_batch.stats.power import SampleSize


class Caution(NamedTuple):
    """What should be thought about before running, and what to type instead."""

    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class StepEstimate:
    """One step of the chain, for all items still to be played.

    Attributes:
        step: Its name.
        model: The model string as the config has it.
        calls: Requests; retries and re-asks left out.
        input_tokens: Of all these requests.
        output_tokens: Likewise; includes reasoning.
        cost: USD; ``None`` when the price is unknown.
        price: The list price used; ``None`` when unknown.
        tokens_exact: True when prompts were counted in the model's own encoding; answers are
            assumed all the same.
    """

    step: str
    model: str
    calls: Interval
    input_tokens: Interval
    output_tokens: Interval
    cost: Interval | None
    price: Price | None
    tokens_exact: bool


@dataclass(frozen=True, slots=True)
class Option:
    """What a run over another number of items would prove, cost and take.

    Attributes:
        n: Items.
        label: Why this number is here; may be empty.
        margin: Half width of the 95 % interval of a rate of one half.
        calls: Requests of all steps.
        cost: USD from the first item on, whatever has been answered already; ``None`` when a
            price is unknown.
        seconds: How long it takes.
    """

    n: int
    label: str
    margin: float
    calls: int
    cost: Interval | None
    seconds: Interval


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run will cost and take, and what it will prove.

    Attributes:
        n: Items to play, finished ones included.
        population: Items in the whole dataset; ``None`` when unknown.
        counted: Items whose prompts were rendered and counted; 0 for an estimate from nothing.
        reused: Items that need no further call, because an earlier run answered all of them.
        calls: Requests still to be sent, retries and re-asks left out.
        input_tokens: Of these requests.
        output_tokens: Of their answers, reasoning included.
        cost: USD; ``None`` when the price of any step with calls is unknown.
        priced_cost: USD of the steps whose price is known.
        seconds: Wall time.
        steps: In the order of the chain.
        workers: Calls at once.
        requests_per_minute: What the workers make without any limit, at the slowest and the
            quickest answers assumed.
        bound_by: What keeps it from being quicker, as a sentence.
        advice: How many items a rate needs.
        options: Other numbers of items, fewest first.
        assumptions: What the figures rest on, a sentence each.
        warnings: What to think about before running.
    """

    n: int
    population: int | None
    counted: int
    reused: int
    calls: Interval
    input_tokens: Interval
    output_tokens: Interval
    cost: Interval | None
    priced_cost: Interval
    seconds: Interval
    steps: tuple[StepEstimate, ...]
    workers: int
    requests_per_minute: tuple[float, float]
    bound_by: str
    advice: SampleSize
    options: tuple[Option, ...]
    assumptions: tuple[str, ...]
    warnings: tuple[Caution, ...]
