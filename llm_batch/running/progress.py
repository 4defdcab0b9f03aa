"""How a run stands, how it ended, and the way to end it early."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from llm_batch.records import Call, Interval, Result


@dataclass
class Progress:
    """How a run stands; handed to the progress display after every event.

    Attributes:
        planned: Items of the sample.
        done: Items with a result, reused ones included.
        statuses: The same by status.
        calls: Calls made in this session.
        retries: Their attempts beyond the first.
        reused: Calls answered from the journal.
        fresh: Items of ``done`` that a call of this session was made for.
        spent: USD of everything in the journal.
        priced: Whether the cost of all of it is known.
        budget: USD; ``None`` without one.
        expected_cost: USD the whole sample was estimated at; ``None`` when unknown.
        scored: Items with a score.
        judged: Items whose score passes or does not; 0 without a ``pass_at``.
        passed: Items whose score passes.
        score_sum: Of all scores.
        score_squares: Sum of their squares.
        simulated: Whether any answer came from the fake provider.
        in_flight: Requests that are being made or wait for a worker.
        rpm: Requests a minute that all models together may get; ``None`` without a limit.
        slowed: What refusals have taught, in words; empty without any.
        seconds: Of this session.
        expected: The estimate of the seconds and of the cost of the whole sample.
        jobs: How jobs at a provider stand by its own counts, in words; empty without any.
    """

    planned: int = 0
    done: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    retries: int = 0
    reused: int = 0
    fresh: int = 0
    spent: float = 0.0
    priced: bool = True
    budget: float | None = None
    expected_cost: float | None = None
    scored: int = 0
    judged: int = 0
    passed: int = 0
    score_sum: float = 0.0
    score_squares: float = 0.0
    simulated: bool = False
    in_flight: int = 0
    rpm: float | None = None
    slowed: str = ""
    seconds: float = 0.0
    expected: tuple[Interval, Interval | None] | None = None
    jobs: str = ""

    def count_call(self, call: Call) -> None:
        """Take in a call that has finished."""
        self.calls += 1
        self.retries += max(0, len(call.attempts) - 1)
        self.simulated |= call.simulated
        if call.cost is None:
            self.priced = False

    def count_result(self, result: Result) -> None:
        """Take in the result of an item."""
        self.done += 1
        self.statuses[result.status] += 1
        self.simulated |= result.simulated
        if result.score is not None and result.score.value is not None:
            self.scored += 1
            self.score_sum += result.score.value
            self.score_squares += result.score.value**2
            self.judged += result.passed is not None
            self.passed += bool(result.passed)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended.

    Attributes:
        path: The results file.
        status: One of `llm_batch.errors.ENDINGS`.
        message: Why it stopped, empty when it is done.
        progress: The last state.
        exit_code: As in the README.
    """

    path: Path
    status: str
    message: str
    progress: Progress
    exit_code: int


@dataclass(frozen=True, slots=True)
class Overrun:
    """A run that costs more than was agreed to.

    Attributes:
        spent: USD in this session.
        coming: USD in all, should the other items cost what the finished ones did; ``None`` while
            too few are finished to tell.
        expected: USD that the estimate gave as the most.
        budget: USD; ``None`` without one.
    """

    spent: float
    coming: float | None
    expected: float
    budget: float | None

    def __str__(self) -> str:
        coming = f" and is on its way to ${self.coming:,.2f}" if self.coming is not None else ""
        said = f"the estimate said ${self.expected:,.2f} at most"
        return f"this run has cost ${self.spent:,.2f}{coming}, and {said}"
