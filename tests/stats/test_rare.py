"""What is rare is ruled out, and missed, as often as promised."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from llm_batch.stats.interval import one_sided_bound
from llm_batch.stats.sizes import may_miss, rules_out, zero_failures_size

levels = st.floats(0.5, 0.999)


@pytest.mark.parametrize(("rate", "n"), [(0.05, 59), (0.01, 299), (0.001, 2995), (0.9999, 1)])
def test_known_sizes_without_failure(rate: float, n: int) -> None:
    assert zero_failures_size(rate) == n


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_an_exact_size_is_not_pushed_up_by_the_last_bit(n: int) -> None:
    # The level that n items reach exactly; the float quotient is n + 1e-14.
    assert zero_failures_size(0.3, 1 - 0.7**n) == n


@given(st.floats(0.0005, 0.9), levels)
def test_zero_failures_is_the_least_size_whose_bound_rules_out_the_rate(
    rate: float, level: float
) -> None:
    n = zero_failures_size(rate, level)
    high = one_sided_bound(0, n, "upper", level).high
    assert high is not None and high <= rate * (1 + 1e-6)
    if n > 1:
        less = one_sided_bound(0, n - 1, "upper", level).high
        assert less is not None and less > rate * (1 - 1e-6)


@given(st.floats(0.001, 0.5), st.integers(1, 3000), levels)
@example(0.01, 1000, 0.95)
def test_in_a_dataset_it_is_the_least_size_of_the_hypergeometric_distribution(
    rate: float, population: int, level: float
) -> None:
    n = zero_failures_size(rate, level, population)
    failing = stats.hypergeom(population, max(1, -int(-(rate * population - 1e-9) // 1)), n)
    assert failing.pmf(0) <= (1 - level) * (1 + 1e-6)
    if n > 1:
        fewer = stats.hypergeom(population, failing.args[1], n - 1)
        assert fewer.pmf(0) > (1 - level) * (1 - 1e-6)
    assert n <= population


def test_known_answers_in_a_dataset() -> None:
    assert zero_failures_size(0.01, 0.95, 1000) == 258
    assert zero_failures_size(0.01, 0.95, 1) == 1
    assert may_miss(384) == pytest.approx(0.00777, abs=5e-6)
    assert may_miss(384, population=30_000) == pytest.approx(0.0077, abs=5e-6)
    assert may_miss(30_000, population=30_000) == 0


@given(st.integers(1, 2000), st.integers(0, 20_000), levels)
@example(1500, 20_000, 0.95)
def test_what_may_be_missed_is_the_most_that_still_may(n: int, more: int, level: float) -> None:
    population = n + more
    missed = round(may_miss(n, level, population) * population)
    assert stats.hypergeom(population, missed, n).pmf(0) > (1 - level) * (1 - 1e-6)
    assert stats.hypergeom(population, missed + 1, n).pmf(0) <= (1 - level) * (1 + 1e-6)


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        may_miss(0)
    with pytest.raises(ValueError, match="population of 10"):
        may_miss(11, population=10)
    with pytest.raises(ValueError, match="population"):
        zero_failures_size(0.1, population=0)


def test_what_a_sample_of_a_dataset_rules_out_is_one_item_more_than_it_may_miss() -> None:
    for population in (1, 7, 60, 500):
        for n in range(1, population):
            failing = round(rules_out(n, 0.95, population) * population)
            assert comb(population - failing, n) <= 0.05 * comb(population, n) * (1 + 1e-9)
            assert comb(population - failing + 1, n) >= 0.05 * comb(population, n) * (1 - 1e-9)
    assert rules_out(225, 0.95, 500) == pytest.approx(0.01)
    assert rules_out(500, 0.95, 500) == 0
    assert rules_out(299) == may_miss(299)
