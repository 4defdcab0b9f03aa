"""Repeats: the published estimators, the parts of a variance, and the best use of a budget."""

from __future__ import annotations

from itertools import combinations
from math import inf, nan, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.stats.agreement import self_consistency
from llm_batch.stats.clusters import mean_of_shares
from llm_batch.stats.repeats import (
    Parts,
    best_repeats,
    flip_rate,
    majority_rate,
    parts_of_variance,
    pass_at_k,
    pass_hat_k,
    plans,
    repeated_mean,
)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_both_estimators_are_what_all_draws_of_k_answers_give(n: int) -> None:
    for c in range(n + 1):
        answers = [i < c for i in range(n)]
        for k in range(1, n + 1):
            draws = list(combinations(answers, k))
            some = pass_at_k([(n, c)], k).value
            assert some == pytest.approx(sum(map(any, draws)) / len(draws))
            assert pass_hat_k([(n, c)], k).value == pytest.approx(sum(map(all, draws)) / len(draws))


def test_items_with_too_few_answers_are_left_out_and_the_bounds_have_width() -> None:
    found = pass_at_k([(3, 3), (3, 1), (1, 0)], 2)
    assert (found.value, found.n) == (pytest.approx((1 + 2 / 3) / 2), 2)
    sure = pass_at_k([(5, 5)] * 40, 5)
    assert (sure.value, sure.high) == (1, 1) and sure.low == pytest.approx(0.9072, abs=1e-4)
    assert pass_at_k([(1, 1)], 2).value is None


def test_a_majority_needs_more_than_half_of_the_answers() -> None:
    rate, ties = majority_rate([(3, 2), (3, 1), (4, 2), (0, 0), (5, 5)])
    assert (rate.value, rate.n, ties) == (2 / 3, 3, 1)


def test_flips_are_what_consistency_lacks() -> None:
    items = [(1, 1, 1), (1, 0, 1), (0, None, 1), (2, None, None)]
    found = flip_rate(items)
    assert (found.value, found.n) == (pytest.approx((0 + 2 / 3 + 1) / 3), 3)
    within = self_consistency(items).within.value
    assert found.value == pytest.approx(1 - (within or 0))
    never = flip_rate({(1, 1): 30})
    assert never.value == 0 and never.high is not None and 0.1 < never.high < 0.15


def test_variance_is_split_between_items_and_repeats() -> None:
    found = parts_of_variance([(1, 3), (5, 7), (3, 3)])
    assert found is not None
    assert (found.within, found.between) == (pytest.approx(4 / 3), pytest.approx(11 / 3))
    assert found.within_share == pytest.approx(4 / 15)
    assert parts_of_variance([(1, 1), (1, 1)]) == Parts(0, 0, 2)
    assert parts_of_variance([(1,), (2,)]) is parts_of_variance([(1, 2)]) is None
    assert repeated_mean([(1, 3), (5, 7), (3, 3)]).value == pytest.approx(11 / 3)
    assert repeated_mean([(1, 0), (1, 1)]).method == "wilson, shares by item"


def test_the_best_number_of_repeats_is_the_one_with_the_least_error() -> None:
    parts = Parts(between=1.0, within=2.0, items=50)
    assert best_repeats(parts, 8, 1) == pytest.approx(4)
    made = plans(parts, 8, 1, 12_000)
    assert min(made, key=lambda plan: plan.standard_error).repeats == 4
    assert (made[3].items, made[3].cost) == (1000, 12_000)
    assert made[3].standard_error == pytest.approx(sqrt(1 / 1000 + 2 / 4000))
    # Where an item costs nothing of its own, another item always tells more than a repeat.
    assert best_repeats(parts, 0, 1) == 0
    assert min(plans(parts, 0, 1, 500), key=lambda plan: plan.standard_error).repeats == 1
    assert best_repeats(Parts(0, 1, 9), 1, 1) == inf


def test_money_that_the_items_of_a_dataset_do_not_take_goes_into_repeats() -> None:
    parts = Parts(between=1.0, within=1.0, items=50)
    made = plans(parts, 0, 1, 400, population=100)
    assert min(made, key=lambda plan: plan.standard_error).repeats == 4
    whole = plans(parts, 0, 1, 400, population=100, finite=True)
    assert whole[3].standard_error == pytest.approx(sqrt(1 / 400))


def test_what_makes_no_sense_is_refused() -> None:
    for call, words in (
        (lambda: pass_at_k([(2, 3)], 1), "more answers"),
        (lambda: pass_hat_k([(2, 1)], 0), "k must"),
        (lambda: majority_rate([(2, 3)]), "more answers"),
        (lambda: flip_rate([(nan, 1)]), "finite"),
        (lambda: parts_of_variance([(nan, 1)]), "finite"),
        (lambda: best_repeats(Parts(1, 1, 2), -1, 1), "costs"),
        (lambda: plans(Parts(1, 1, 2), 0, 0, 1), "budget"),
        (lambda: mean_of_shares([1.1]), "within 0 and 1"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


@given(st.lists(st.floats(0, 1), max_size=30))
def test_a_mean_of_shares_lies_within_its_bounds_and_these_within_0_and_1(
    shares: list[float],
) -> None:
    found = mean_of_shares(shares)
    if len(shares) > 1:
        assert found.value is not None and found.low is not None and found.high is not None
        assert 0 <= found.low <= found.value <= found.high <= 1
