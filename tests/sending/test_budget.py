"""The cap holds, whoever asks, in whatever order."""

from __future__ import annotations

import threading

import pytest

from llm_batch.sending.client import Budget


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    budget = Budget(1.0)
    assert budget.hold("a", 0.7)
    assert not budget.hold("b", 0.4)
    assert budget.held == pytest.approx(0.7)
    assert budget.hold("b", 0.3)


def test_a_hold_is_set_not_added() -> None:
    budget = Budget(1.0)
    assert budget.hold("a", 0.7)
    assert budget.hold("a", 0.9)
    assert budget.hold("a", 0.2)
    assert budget.held == pytest.approx(0.2)


def test_a_charge_comes_out_of_the_items_own_hold() -> None:
    budget = Budget(1.0)
    budget.hold("a", 0.8)
    budget.charge("a", 0.3)
    assert (budget.spent, budget.held) == (pytest.approx(0.3), pytest.approx(0.5))
    assert not budget.hold("b", 0.3)
    assert budget.hold("b", 0.2)


def test_a_hold_may_shrink_even_when_nothing_more_would_fit() -> None:
    budget = Budget(1.0)
    budget.hold("a", 1.0)
    budget.charge("a", 1.5)  # a bill above its own worst case
    assert budget.held == 0
    assert budget.hold("b", 0.0)
    assert not budget.hold("b", 0.01)


def test_another_attempt_needs_room_beside_the_first() -> None:
    budget = Budget(1.0)
    budget.hold("a", 0.6)
    assert not budget.hold_more("a", 0.6)
    assert budget.held == pytest.approx(0.6)
    assert budget.hold_more("a", 0.4)
    assert budget.held == pytest.approx(1.0)


def test_a_release_gives_back_whatever_is_left() -> None:
    budget = Budget(1.0)
    budget.hold("a", 0.6)
    budget.charge("a", 0.2)
    budget.release("a")
    budget.release("a")
    assert budget.held == 0
    assert budget.hold("b", 0.8)


def test_without_a_cap_everything_fits_and_is_counted() -> None:
    budget = Budget(None)
    assert budget.hold("a", 1e9)
    budget.charge("a", 5.0)
    assert budget.spent == 5.0


def test_what_earlier_sessions_spent_counts() -> None:
    budget = Budget(1.0, spent=0.9)
    assert not budget.hold("a", 0.2)
    assert budget.hold("a", 0.1)


def test_a_budget_of_nothing_admits_only_what_is_free() -> None:
    budget = Budget(0.0)
    assert budget.hold("a", 0.0)
    assert not budget.hold("b", 0.000001)


def test_rounding_does_not_keep_the_last_item_from_fitting_exactly() -> None:
    """Ten times 0.1 is a hair more or less than 1 in floating point."""
    budget = Budget(1.0)
    for number in range(10):
        assert budget.hold(str(number), 0.1)
        budget.charge(str(number), 0.1)
    budget = Budget(0.3)
    assert all(budget.hold(name, 0.1) for name in "abc")


def test_rounding_errors_do_not_pile_up_over_a_long_run() -> None:
    budget = Budget(1e6)
    for number in range(20_000):
        budget.hold(str(number), 0.1 + number * 1e-7)
        if number:
            budget.release(str(number - 1))
    budget.release("19999")
    assert budget.held == 0


def test_many_threads_never_hold_more_than_there_is() -> None:
    """Each thread holds, charges less than it held, and releases; the cap is checked throughout."""
    budget = Budget(1.0)
    over: list[float] = []
    refused = threading.Event()

    def work(name: str) -> None:
        for turn in range(500):
            item = f"{name}-{turn}"
            if not budget.hold(item, 0.02):
                refused.set()
                continue
            if budget.spent + budget.held > 1.0 + 0.02 * 8:  # read without the lock
                over.append(budget.spent + budget.held)
            if turn % 3 == 0 and budget.hold_more(item, 0.01):
                budget.charge(item, 0.001)
            budget.charge(item, 0.001)
            budget.release(item)

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.held == 0
    assert budget.spent <= 1.0 + 1e-9
    assert refused.is_set()
    assert not over


def test_what_costs_more_than_its_worst_case_makes_later_ones_dearer() -> None:
    budget = Budget(100.0)
    for item_id in ("a", "b"):
        assert budget.hold(item_id, 1.0)
    budget.charge("a", 40.0)
    budget.charge("b", 30.0)  # held before anything was known: it does not count on top
    assert budget.dearer == 40.0
    assert not budget.hold("c", 1.0 * budget.dearer)
    assert budget.hold("c", 0.5 * budget.dearer)
    budget.charge("c", 20.0)
    assert budget.dearer == 40.0
