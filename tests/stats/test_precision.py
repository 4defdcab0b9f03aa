"""A judge that errs leaves doubt that scoring everything does not remove."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.stats.sizes import (
    Spread,
    cochran,
    imperfect_judge_factor,
    margin_for,
    margin_of,
    mean_size,
    mean_spread,
    rate_spread,
    sample_size,
    size_for,
    whole_size_for,
)


@given(st.floats(0.01, 0.3), st.floats(0.05, 0.95), st.integers(1, 10**6))
def test_with_a_perfect_judge_it_is_cochrans_size(
    margin: float, rate: float, population: int
) -> None:
    expected = sample_size(margin, rate=rate, population=population)
    assert size_for(rate_spread(rate), margin) == pytest.approx(expected.n0)
    assert whole_size_for(rate_spread(rate), margin, population=population) == expected.n_fpc


def test_a_mean_has_the_size_of_a_mean() -> None:
    assert whole_size_for(mean_spread(1.2), 0.1) == mean_size(1.2, 0.1) == 554
    assert whole_size_for(mean_spread(1.2), 0.1, population=2000) == 434
    assert margin_for(rate_spread(0.5), 384, population=30_000) == pytest.approx(
        margin_of(384, population=30_000)
    )


def test_without_a_population_a_judge_multiplies_by_1_over_j_squared() -> None:
    factor = imperfect_judge_factor(0.9, 0.8)
    spread = rate_spread(0.5, 0.9, 0.8)
    assert size_for(spread, 0.05) == pytest.approx(factor * cochran(0.05))


def test_scoring_all_leaves_what_the_judge_gets_wrong() -> None:
    spread = rate_spread(0.5, 0.9, 0.8)
    assert margin_for(spread, 300, population=300) == pytest.approx(0.0583, abs=5e-5)
    assert whole_size_for(spread, 0.05, population=300) is None
    assert margin_for(rate_spread(0.5, 1, 1), 300, population=300) == 0


def test_corrected_rates_of_a_dataset_scatter_as_promised() -> None:
    rng = np.random.default_rng(11)
    population, n, sensitivity, specificity = 400, 250, 0.9, 0.8
    truth = np.arange(population) < 180  # a true rate of 0.45
    raw = 0.45 * sensitivity + 0.55 * (1 - specificity)
    found = []
    for _ in range(20_000):
        drawn = truth[rng.permutation(population)[:n]]
        passed = rng.random(n) < np.where(drawn, sensitivity, 1 - specificity)
        found.append((passed.mean() + specificity - 1) / (sensitivity + specificity - 1))
    margin = margin_for(rate_spread(raw, sensitivity, specificity), n, population=population)
    assert np.std(found) * 1.959964 == pytest.approx(margin, rel=0.02)


@given(st.floats(0, 2), st.floats(0, 2), st.floats(0.01, 1), st.integers(1, 10**5), st.floats(1, 9))
def test_the_size_is_the_least_that_holds_the_margin(
    drawn: float, judged: float, margin: float, population: int, effect: float
) -> None:
    spread = Spread(drawn, judged).times(effect)
    n = whole_size_for(spread, margin, population=population)
    if n is None:
        assert margin_for(spread, population, population=population) > margin * (1 - 1e-9)
    else:
        assert margin_for(spread, n, population=population) <= margin * (1 + 1e-9)
        if n > 1:
            assert margin_for(spread, n - 1, population=population) > margin * (1 - 1e-9)


def test_a_rate_that_a_judge_cannot_report_is_refused() -> None:
    with pytest.raises(ValueError, match=r"from 0.2 to 0.9 of the items, never 0.95"):
        rate_spread(0.95, 0.9, 0.8)
    with pytest.raises(ValueError, match="population of 10"):
        margin_for(Spread(1), 11, population=10)
    with pytest.raises(ValueError, match="population must"):
        size_for(Spread(1), 0.1, population=0)
