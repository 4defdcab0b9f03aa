"""Clusters and judges that err multiply a size as promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.stats.clusters import (
    cluster_size_of,
    design_effect,
    drawn_design_effect,
    drawn_size,
    intraclass_correlation,
)
from llm_batch.stats.sizes import cochran, imperfect_judge_factor


def test_clusters_multiply_a_size() -> None:
    assert design_effect(5, 0.2) == pytest.approx(1.8)
    assert design_effect(1, 0.9) == 1
    assert design_effect(40, 0) == 1
    assert design_effect(40, 1) == 40


def test_an_imperfect_judge_multiplies_a_size() -> None:
    assert imperfect_judge_factor(0.9, 0.8) == pytest.approx(1 / 0.49)
    assert imperfect_judge_factor(1, 1) == 1


def test_the_judges_factor_is_what_the_corrected_rate_loses() -> None:
    # The corrected rate divides the raw one by J: at one raw rate the size grows by 1/J².
    raw = cochran(0.05)
    corrected = cochran(0.05 * (0.9 + 0.8 - 1))
    assert corrected / raw == pytest.approx(imperfect_judge_factor(0.9, 0.8))


def test_unequal_clusters_count_as_that_of_an_item_drawn_at_random() -> None:
    assert cluster_size_of([5, 5, 5]) == 5
    assert cluster_size_of([1, 9]) == pytest.approx(8.2)
    assert cluster_size_of([1, 9, 0]) == pytest.approx(8.2)
    sizes = np.array([1, 2, 3, 10, 40])
    cv = sizes.std() / sizes.mean()
    assert cluster_size_of(sizes.tolist()) == pytest.approx(sizes.mean() * (1 + cv**2))
    for bad in ([], [0], [3, -1]):
        with pytest.raises(ValueError, match="at least one item"):
            cluster_size_of(bad)


def _scores(rng: np.random.Generator, sizes: list[int], rho: float) -> Any:
    shared = np.repeat(rng.normal(size=len(sizes)), sizes)
    return np.sqrt(rho) * shared + np.sqrt(1 - rho) * rng.normal(size=sum(sizes))


def test_items_drawn_one_by_one_have_the_variance_promised() -> None:
    rng = np.random.default_rng(5)
    sizes, rho, n = [2] * 20 + [8] * 10, 0.4, 60
    means = [rng.choice(_scores(rng, sizes, rho), n, replace=False).mean() for _ in range(20_000)]
    effect = drawn_design_effect(n, sum(sizes), cluster_size_of(sizes), rho)
    assert np.var(means) * n == pytest.approx(effect, rel=0.03)
    assert 1 < effect < design_effect(cluster_size_of(sizes), rho)


@given(st.integers(2, 10**5), st.floats(1, 50), st.floats(0, 1), st.floats(1, 5000))
def test_the_size_drawn_one_by_one_solves_its_equation(
    population: int, cluster: float, rho: float, n0: float
) -> None:
    size = drawn_size(n0, population, cluster, rho)
    if size is None:
        most = drawn_design_effect(population, population, cluster, rho)
        assert n0 * most > population * (1 - 1e-9)
    elif size >= 1:
        effect = drawn_design_effect(size, population, cluster, rho)
        assert size == pytest.approx(n0 * effect, rel=1e-6)


def test_all_items_drawn_have_the_effect_of_whole_clusters() -> None:
    assert drawn_design_effect(100, 100, 5, 0.2) == pytest.approx(design_effect(5, 0.2))
    assert drawn_design_effect(1, 100, 5, 0.2) == 1
    with pytest.raises(ValueError, match="from 1 to 100"):
        drawn_design_effect(101, 100, 5, 0.2)


def test_the_correlation_within_clusters_is_that_of_the_analysis_of_variance() -> None:
    # Mean squares 8 and 0.5 by hand: (8 - 0.5) / (8 + 0.5).
    assert intraclass_correlation([[1, 2], [3, 4], [5, 6]]) == pytest.approx(7.5 / 8.5)
    assert intraclass_correlation([[1, 1], [4, 4], [2]]) == pytest.approx(1)


@pytest.mark.parametrize("rho", [0.0, 0.1, 0.5])
def test_the_correlation_that_scores_were_made_with_is_found(rho: float) -> None:
    rng = np.random.default_rng(7)
    sizes = [2, 3, 5, 10] * 500
    bounds = np.cumsum(sizes)[:-1]
    clusters = np.split(_scores(rng, sizes, rho), bounds)
    assert intraclass_correlation(c.tolist() for c in clusters) == pytest.approx(rho, abs=0.02)


@pytest.mark.parametrize("clusters", [[], [[1.0, 2.0]], [[1.0], [2.0]], [[3.0, 3.0], [3.0, 3.0]]])
def test_scores_that_tell_no_correlation_give_none(clusters: list[list[float]]) -> None:
    assert intraclass_correlation(clusters) is None
