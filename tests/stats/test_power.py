"""Sizes for comparisons meet statsmodels and reach their power."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import (  # type: ignore[import-untyped]
    normal_sample_size_one_tail,
)
from statsmodels.stats.proportion import (  # type: ignore[import-untyped]
    samplesize_proportions_2indep_onetail,
)

from llm_batch.stats.power import (
    least_difference,
    paired_rates_n0,
    paired_rates_size,
    paired_scores_size,
    scores_n0,
    two_rates_n0,
    two_rates_size,
)


@pytest.mark.parametrize(("p1", "p2"), [(0.80, 0.83), (0.83, 0.80), (0.5, 0.6), (0.02, 0.10)])
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_two_rates_are_statsmodels(p1: float, p2: float, power: float) -> None:
    expected = samplesize_proportions_2indep_onetail(p1 - p2, p2, power, alpha=0.05)
    assert two_rates_size(p1, p2, power=power) == ceil(expected)


def test_known_sizes_for_comparisons() -> None:
    assert two_rates_size(0.80, 0.83) == 2629
    assert paired_rates_size(0.03, 0.09) == paired_rates_size(-0.03, 0.09) == 783
    assert paired_scores_size(0.03, 1 / 9) == paired_scores_size(-0.03, 1 / 9) == 969


@pytest.mark.parametrize(("delta", "discordance"), [(0.03, 0.09), (0.01, 0.3), (0.05, 0.05)])
def test_paired_rates_are_statsmodels(delta: float, discordance: float) -> None:
    expected = normal_sample_size_one_tail(
        delta, 0.8, 0.025, discordance**0.5, (discordance - delta**2) ** 0.5
    )
    assert paired_rates_size(delta, discordance) == ceil(expected - 1e-9)


def test_the_pairs_asked_for_reach_the_power_in_mcnemars_test() -> None:
    rng = np.random.default_rng(783)
    n, b_share, c_share = paired_rates_size(0.03, 0.09), 0.06, 0.03
    draws = rng.multinomial(n, [b_share, c_share, 1 - b_share - c_share], size=20000)
    b, c = draws[:, 0], draws[:, 1]
    found = np.abs(b - c) / np.sqrt(b + c) > stats.norm.ppf(0.975)
    assert found.mean() == pytest.approx(0.80, abs=0.015)


def test_repeats_buy_down_the_noise_but_not_the_items() -> None:
    one = paired_scores_size(0.03, 0.1, 0.05, 0.05)
    ten = paired_scores_size(0.03, 0.1, 0.05, 0.05, repeats_a=10, repeats_b=10)
    expected = [normal_sample_size_one_tail(0.03, 0.8, 0.025, v**0.5) for v in (0.2, 0.11)]
    assert [one, ten] == [ceil(size) for size in expected]
    assert ten > paired_scores_size(0.03, 0.1)


def test_sizes_before_rounding_round_up_to_the_sizes() -> None:
    assert two_rates_n0(0.80, 0.83) == pytest.approx(2628.63, abs=0.01)
    assert paired_rates_n0(0.03, 0.09) == pytest.approx(782.53, abs=0.01)
    assert ceil(scores_n0(0.03, 1 / 9)) == paired_scores_size(0.03, 1 / 9)


def test_two_groups_of_scores_are_twice_the_variance() -> None:
    from statsmodels.stats.power import NormalIndPower

    expected = NormalIndPower().solve_power(0.1 / 1.2, power=0.8, alpha=0.05)
    assert scores_n0(0.1, 2 * 1.2**2) == pytest.approx(expected, rel=1e-3)


@given(st.floats(0.02, 0.5), st.integers(20, 10**5))
def test_the_least_difference_is_found_and_less_is_not(discordance: float, n: int) -> None:
    found = least_difference(n, lambda d: paired_rates_n0(d, discordance), discordance)
    if found is None:
        assert paired_rates_n0(discordance, discordance) > n
    else:
        assert paired_rates_n0(found, discordance) <= n
        assert paired_rates_n0(found * 0.999, discordance) > n
