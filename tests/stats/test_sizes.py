"""Sizes for one rate or mean meet the textbooks and statsmodels."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from statsmodels.stats.power import (  # type: ignore[import-untyped]
    normal_sample_size_one_tail,
)
from statsmodels.stats.proportion import (  # type: ignore[import-untyped]
    samplesize_confint_proportion,
)

from llm_batch.stats.sizes import SampleSize, cochran, margin_of, mean_size, sample_size

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
