"""What the server bills stays within the budget, and the budget is used; 25 random runs."""

from __future__ import annotations

from pathlib import Path

from benchmarks.budget import Case, affordable, simulate
from tests.server import Server


def test_the_bill_never_exceeds_the_budget_and_what_is_affordable_gets_done(
    tmp_path: Path, server: Server
) -> None:
    outcomes = [
        simulate(Case.drawn(number), server, tmp_path / str(number)) for number in range(25)
    ]
    for outcome in outcomes:
        assert outcome.billed <= outcome.budget + 1e-9, outcome
        assert outcome.booked <= outcome.budget + 1e-9, outcome
    could = sum(outcome.affordable for outcome in outcomes)
    done = sum(min(outcome.done, outcome.affordable) for outcome in outcomes)
    assert could > 100 and done >= 0.95 * could
    assert sum(outcome.worst_case_calls for outcome in outcomes) > 10


def test_affordable_are_the_items_that_fit_one_after_the_other() -> None:
    assert affordable([1.0, 2.0, 3.0], 3.5) == 2
    assert affordable([1.0, 2.0, 3.0], 6.0) == 3
    assert affordable([1.0], 0.5) == 0
