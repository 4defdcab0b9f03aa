"""Sizes meet the textbooks and statsmodels, and those of comparisons reach their power."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import (  # type: ignore[import-untyped]  # type: ignore[import-untyped]
    normal_sample_size_one_tail,
)
from statsmodels.stats.proportion import (  # type: ignore[import-untyped]  # type: ignore[import-untyped]
    samplesize_confint_proportion,
    samplesize_proportions_2indep_onetail,
)

from llm_batch.stats.sizes import (
    SampleSize,
    cochran,
    least_difference,
    margin_of,
    mean_size,
    paired_rates_n0,
    paired_rates_size,
    paired_scores_size,
    sample_size,
    scores_n0,
    two_rates_n0,
    two_rates_size,
)

margins = st.floats(0.005, 0.4)
rates = st.floats(0.01, 0.99)
levels = st.floats(0.5, 0.999)
populations = st.integers(1, 10**6)


def test_five_points_at_95_percent_are_384_385_and_380_of_30000() -> None:
    size = sample_size(0.05, population=30000)
    assert size.n0 == pytest.approx(384.146, abs=5e-4)
    assert size == SampleSize(
        n0=cochran(0.05),
        n_classic=384,
        n_min=385,
        n_fpc=380,
        level=0.95,
        margin=0.05,
        population=30000,
        rate=0.5,
    )
    assert sample_size(0.05).n_fpc is None


@pytest.mark.parametrize(("n", "points"), [(384, 4.97), (500, 4.35), (1000, 3.05)])
def test_margins_at_30000_items(n: int, points: float) -> None:
    assert margin_of(n, population=30000) * 100 == pytest.approx(points, abs=0.005)


# Krejcie and Morgan (1970), table 1: rounded to nearest, with chi-square 3.841.
@pytest.mark.parametrize(
    ("population", "published"),
    [(10, 10), (100, 80), (500, 217), (1000, 278), (5000, 357), (30000, 379), (1000000, 384)],
)
def test_krejcie_and_morgans_table_rounds_the_same_figures(population: int, published: int) -> None:
    n_fpc = sample_size(0.05, population=population).n_fpc
    assert n_fpc is not None
    assert published <= n_fpc <= published + 1


@pytest.mark.parametrize("margin", [0.01, 0.03, 0.05, 0.1])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_cochrans_size_is_statsmodels(margin: float, rate: float, level: float) -> None:
    expected = samplesize_confint_proportion(rate, margin, 1 - level, method="normal")
    assert cochran(margin, level, rate) == pytest.approx(expected, rel=1e-12)


def test_the_textbook_figure_holds_slightly_more_than_the_margin() -> None:
    assert margin_of(384) == pytest.approx(0.05001, abs=1e-6)
    assert margin_of(385) < 0.05


@given(margins, levels, rates, populations)
@example(0.05, 0.95, 0.5, 30000)
def test_the_size_is_the_least_that_holds_the_margin(
    margin: float, level: float, rate: float, population: int
) -> None:
    size = sample_size(margin, level, rate, population)
    assert size.n_fpc is not None
    assert margin_of(size.n_min, level, rate) <= margin * (1 + 1e-9)
    assert margin_of(size.n_fpc, level, rate, population) <= margin * (1 + 1e-9)
    if size.n_min > 1:
        assert margin_of(size.n_min - 1, level, rate) > margin * (1 - 1e-9)
    if size.n_fpc > 1:
        assert margin_of(size.n_fpc - 1, level, rate, population) > margin * (1 - 1e-9)


@given(margins, levels, rates, populations)
def test_a_population_never_asks_for_more_than_it_has_or_than_no_population(
    margin: float, level: float, rate: float, population: int
) -> None:
    size = sample_size(margin, level, rate, population)
    assert size.n_fpc is not None
    assert 1 <= size.n_fpc <= min(population, max(size.n_min, 1))
    assert abs(size.n_classic - size.n0) <= 0.5 or size.n_classic == 1


@given(st.integers(1, 5000), st.integers(1, 5000), levels, rates)
def test_margins_shrink_with_n_down_to_zero(n: int, more: int, level: float, rate: float) -> None:
    population = n + more
    assert margin_of(population, level, rate) < margin_of(n, level, rate)
    assert margin_of(n, level, rate, population) <= margin_of(n, level, rate)
    assert margin_of(population, level, rate, population) == 0


@pytest.mark.parametrize(
    ("sd", "margin", "population", "expected"),
    [(1.2, 0.1, None, 554), (1.2, 0.1, 2000, 434), (1.2, 0.1, 5, 5), (0.01, 5, None, 1)],
)
def test_sizes_for_a_mean(sd: float, margin: float, population: int | None, expected: int) -> None:
    assert mean_size(sd, margin, population=population) == expected


@given(st.floats(0.1, 50), st.floats(0.1, 5), levels)
def test_the_size_for_a_mean_is_statsmodels_at_even_odds(
    sd: float, margin: float, level: float
) -> None:
    expected = normal_sample_size_one_tail(margin, 0.5, (1 - level) / 2, std_null=sd)
    assume(abs(expected - round(expected)) > 1e-6)
    assert mean_size(sd, margin, level) == ceil(expected)


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
