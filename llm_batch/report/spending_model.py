"""What a report says of where the money of a run went."""

from __future__ import annotations

from dataclasses import dataclass

from llm_batch.records import Usage


@dataclass(frozen=True, slots=True)
class ModelSpending:
    """What the calls of one step to one model took, whichever results they ended in.

    Attributes:
        step: The step.
        model: The model, as the config named it when the call was made.
        calls: Requests with all their attempts; the journal has a line for each.
        answered: Those that were answered.
        attempts: Sends.
        usage: Tokens of the answers.
        cost: USD; ``None`` when the price of any of it is unknown.
        known_cost: USD of the part whose price is known.
    """

    step: str
    model: str
    calls: int
    answered: int
    attempts: int
    usage: Usage
    cost: float | None
    known_cost: float


@dataclass(frozen=True, slots=True)
class JournalSpending:
    """Every call that was ever made for a results file, and what was paid in vain.

    Attributes:
        calls: Calls in the journal.
        cost: USD of all of them; ``None`` when the price of any is unknown.
        beside_results: USD of calls that no result rests on, such as answers to an earlier
            prompt; ``None`` when a price is unknown.
        failed_calls: Calls that ended without an answer.
        failed_cost: USD booked for those, an upper bound: their attempts may have been billed.
        replaced_calls: Answers that a later one took the place of: asked again because they
            could not be read, or because the prompt, the model or a parameter changed.
        replaced_cost: USD of those.
        retry_cost: USD booked, as an upper bound, for failed attempts of calls that were answered
            in the end: what was booked beyond the list price of the answer. ``None`` when a price
            is unknown.
        failed_seconds: Seconds that failed attempts took, added up over all threads.
        models: By step and model.
    """

    calls: int
    cost: float | None
    beside_results: float | None
    failed_calls: int
    failed_cost: float
    replaced_calls: int
    replaced_cost: float
    retry_cost: float | None
    failed_seconds: float
    models: tuple[ModelSpending, ...]


@dataclass(frozen=True, slots=True)
class CostBreakdown:
    """Where the money of a run went.

    Prices are list prices of plain requests: those the run recorded in its manifest.

    Attributes:
        failed_items: Items without a result, for which something was called.
        failed_cost: USD of those; ``None`` when the price of any is unknown.
        sent_again: Sends beyond the first for an item in a step: retries and re-asks.
        sent_again_share: Their share of all sends; ``None`` without any.
        cached_share: Share of input tokens that came from the provider's cache; ``None`` without
            input.
        cache_saved: USD that reading from the cache saved, less what writing to it cost more;
            ``None`` when a price is unknown, or where no token was cached.
        reasoning_share: Share of output tokens that were reasoning; ``None`` without output.
        reasoning_cost: USD of the reasoning at the price of output.
        list_cost: USD of all counted tokens at list price; ``None`` when a price is unknown.
        list_cost_now: The same at the prices of the table that is installed now; ``None`` when
            that is the run's own table, or the prices came from the config.
        prices_now: Which table that is; empty without one.
        journal: All calls; ``None`` when the journal was not read.
    """

    failed_items: int
    failed_cost: float | None
    sent_again: int
    sent_again_share: float | None
    cached_share: float | None
    cache_saved: float | None
    reasoning_share: float | None
    reasoning_cost: float | None
    list_cost: float | None
    list_cost_now: float | None
    prices_now: str
    journal: JournalSpending | None
