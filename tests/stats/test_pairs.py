"""Pairs: the estimates against least squares, what each order shows, and rankings."""

from __future__ import annotations

from math import exp, log
from random import Random

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.stats.pairs import Verdicts, bradley_terry, pair_rates

ONCE: list[Verdicts] = (
    [(1, None)] * 30 + [(0, None)] * 14 + [(0.5, None)] * 6 + [(None, 1)] * 12 + [(None, 0)] * 28
)


def test_items_judged_once_give_the_regression_on_the_order() -> None:
    v = np.array([f if f is not None else s for f, s in ONCE])
    order = np.array([1 if f is not None else -1 for f, _ in ONCE])
    known = sm.OLS(v, np.column_stack([np.ones(len(v)), order])).fit(cov_type="HC1")
    found = pair_rates(ONCE)
    assert found.win_rate.value == pytest.approx(known.params[0])
    assert found.position_bias.value == pytest.approx(known.params[1])
    assert found.plain == pytest.approx(v.mean())
    low, high = known.conf_int()[0]
    assert found.win_rate.low == pytest.approx(low, abs=0.004)
    assert found.win_rate.high == pytest.approx(high, abs=0.004)
    rates = (found.wins, found.ties, found.losses)
    assert sum(each.value or 0 for each in rates) == pytest.approx(1)
    assert found.ties.value == pytest.approx((6 / 50 + 0) / 2)


def test_items_judged_twice_give_the_mean_of_their_verdicts_and_half_the_difference() -> None:
    both: dict[Verdicts, int] = {(1, 1): 20, (0, 0): 10, (1, 0): 9, (0, 1): 1, (1, 0.5): 2}
    found = pair_rates(both)
    assert found.win_rate.value == pytest.approx((20 + 9 / 2 + 1 / 2 + 2 * 0.75) / 42)
    assert found.position_bias.value == pytest.approx((9 - 1 + 1) / 2 / 42)
    assert (found.inconsistent.value, found.inconsistent.n) == (12 / 42, 42)
    assert (found.for_first, found.for_second, found.once, found.twice) == (11, 1, 0, 42)
    assert found.constant_p is None


def test_an_item_judged_twice_counts_as_much_as_it_tells() -> None:
    # Verdicts that always agree tell as much of the rate as one, those that do not twice as much.
    alike: dict[Verdicts, int] = {(1, 1): 1000, (0, 0): 1000, (1, None): 500, (None, 1): 500}
    found = pair_rates(alike).win_rate.value
    assert found == pytest.approx((2000 * 0.5 * 2 / 1.9 + 1000) / (2000 * 2 / 1.9 + 1000), abs=1e-3)
    free: dict[Verdicts, int] = dict.fromkeys([(1, 1), (0, 0), (1, 0), (0, 1)], 250)
    found = pair_rates({**free, (1, None): 500, (None, 1): 500}).win_rate.value
    assert found == pytest.approx((1000 * 0.5 * 2 + 1000) / (1000 * 2 + 1000), abs=1e-3)


def test_a_bias_that_is_not_the_same_where_items_are_judged_twice_shows() -> None:
    twice: dict[Verdicts, int] = {(1, 1): 30, (0, 0): 30}
    once: dict[Verdicts, int] = {(1, None): 80, (0, None): 20, (None, 1): 20, (None, 0): 80}
    p_value = pair_rates({**twice, **once}).constant_p
    assert p_value is not None and p_value < 1e-6
    fair = pair_rates({**twice, (1, None): 50, (0, None): 50, (None, 1): 50, (None, 0): 50})
    assert fair.constant_p == 1


@pytest.mark.parametrize("items", [[], [(1, None)] * 30, [(1, None), (None, 0)], [(None, None)]])
def test_one_order_alone_gives_no_rate(items: list[Verdicts]) -> None:
    found = pair_rates(items)
    assert found.win_rate.value is found.position_bias.value is found.constant_p is None


def test_a_side_that_always_wins_has_bounds_with_width() -> None:
    found = pair_rates([(1, None)] * 20 + [(None, 1)] * 20)
    assert (found.win_rate.value, found.win_rate.high) == (1, 1)
    assert found.win_rate.low is not None and 0.85 < found.win_rate.low < 0.95
    with pytest.raises(ValueError, match="a verdict is"):
        pair_rates([(0.7, None)])


@given(
    st.lists(st.tuples(*[st.sampled_from([None, 0.0, 0.5, 1.0])] * 2), max_size=40),
)
def test_whoever_is_called_a_the_figures_are_mirrored(items: list[Verdicts]) -> None:
    found = pair_rates(items)
    mirrored = pair_rates(
        [(None if s is None else 1 - s, None if f is None else 1 - f) for f, s in items]
    )
    assert found.position_bias.value == pytest.approx(mirrored.position_bias.value)
    if found.win_rate.value is not None:
        for each in (found.win_rate, found.wins, found.ties):
            assert each.low is not None and each.high is not None and each.value is not None
            assert 0 <= each.low <= each.value <= each.high <= 1
        assert mirrored.win_rate.value == pytest.approx(1 - found.win_rate.value)
        assert mirrored.wins.value == pytest.approx(found.losses.value)


def test_two_contestants_have_the_odds_of_their_wins() -> None:
    found = bradley_terry([{(0, 1): 1.0}] * 29 + [{(0, 1): 0.0}] * 10, 2)
    chance = 29.5 / 40
    assert found.chances[0, 1].value == pytest.approx(chance)
    assert found.chances[1, 0].value == pytest.approx(1 - chance)
    assert found.strengths[0].value == pytest.approx(log(chance / (1 - chance)) / 2)


def test_several_are_ranked_as_a_logistic_regression_would() -> None:
    draw, true = Random(3), (1.0, 0.2, -1.2)
    items = []
    for _ in range(200):
        item = {}
        for i, j in ((0, 1), (1, 2), (2, 0)):
            item[i, j] = float(draw.random() < 1 / (1 + exp(true[j] - true[i])))
        items.append(item)
    found = bradley_terry(items, 3)
    rows = [(i, j, share, 1.0) for item in items for (i, j), share in item.items()]
    rows += [(i, j, 0.5, 1.0) for i, j in ((0, 1), (1, 2), (2, 0))]
    design = np.array([[(i == m) - (j == m) for m in range(2)] for i, j, *_ in rows], dtype=float)
    known = sm.GLM([share for *_, share, _ in rows], design, family=sm.families.Binomial()).fit()
    first, second = known.params
    assert found.chances[0, 2].value == pytest.approx(1 / (1 + exp(-first)), abs=1e-6)
    assert found.chances[0, 1].value == pytest.approx(1 / (1 + exp(second - first)), abs=1e-6)
    for strength, truth in zip(found.strengths, true, strict=True):
        assert strength.low is not None and strength.high is not None
        assert strength.low < truth < strength.high


def test_comparisons_that_rank_nothing_are_refused() -> None:
    always = bradley_terry([{(0, 1): 1.0, (1, 2): 1.0}] * 15, 3)
    low, high = always.chances[0, 2].low, always.chances[0, 2].high
    assert low is not None and high is not None and 0.5 < low < high < 1
    for items, words in (
        ([{(0, 1): 1.0, (2, 3): 0.0}], "never compared"),
        ([{(0, 4): 1.0}], "no share of two of 4"),
        ([{(0, 1): 1.5}], "no share of two of 4"),
    ):
        with pytest.raises(ValueError, match=words):
            bradley_terry(items, 4)
