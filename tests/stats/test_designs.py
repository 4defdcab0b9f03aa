"""Clusters, strata, the bootstrap and the exact finite interval, against independent answers."""

from __future__ import annotations

import random
from math import comb

import numpy
import pytest
from scipy import stats as oracle

from llm_batch.stats.clusters import ClusterSums, clustered_mean, clustered_rate
from llm_batch.stats.interval import hypergeometric, wilson
from llm_batch.stats.means import bca_mean, mean_t, skewness, wants_bootstrap
from llm_batch.stats.strata import Stratum, stratified_mean, stratified_rate


def sums(values: list[float]) -> ClusterSums:
    return ClusterSums(len(values), sum(values), sum(value * value for value in values))


def stratum(population: int, values: list[float]) -> Stratum:
    return Stratum(population, len(values), sum(values), sum(value * value for value in values))


def test_the_clustered_error_is_the_sandwich_of_a_regression_on_a_constant() -> None:
    """(X'X)^-1 (Σ u_c u_c') (X'X)^-1 with the factor G/(G-1), by matrices."""
    draw = random.Random(3)
    data = {f"c{i}": [draw.gauss(i % 4, 1) for _ in range(1 + i % 5)] for i in range(12)}
    found = clustered_mean({name: sums(values) for name, values in data.items()})
    y = numpy.concatenate([numpy.array(values) for values in data.values()])
    residuals = y - y.mean()
    start, meat = 0, 0.0
    for values in data.values():
        meat += float(residuals[start : start + len(values)].sum()) ** 2
        start += len(values)
    error = (12 / 11 * meat) ** 0.5 / len(y)
    half = oracle.t.ppf(0.975, 11) * error
    assert found.mean.value == pytest.approx(y.mean())
    assert found.mean.high == pytest.approx(y.mean() + half)
    assert found.design_effect == pytest.approx(error**2 / (y.var(ddof=1) / len(y)))


def test_clusters_of_one_are_items_of_their_own() -> None:
    values = [1.0, 2.0, 4.0, 4.0, 5.0, 9.0]
    found = clustered_mean({str(i): sums([value]) for i, value in enumerate(values)})
    alone = mean_t(values)
    assert (found.mean.low, found.mean.high) == pytest.approx((alone.low, alone.high))
    assert found.design_effect == pytest.approx(1)


def test_equal_items_in_a_cluster_count_as_one() -> None:
    data = {str(i): sums([float(i % 2)] * 10) for i in range(40)}
    found = clustered_rate(data)
    by_cluster = wilson(20, 40)
    assert found.design_effect == pytest.approx(10, rel=0.1)
    assert found.mean.low == pytest.approx(by_cluster.low, abs=0.01)


@pytest.mark.parametrize("values", [[1.0] * 5, [0.0] * 5])
def test_a_rate_that_never_varies_has_bounds_by_the_number_of_clusters(values: list[float]) -> None:
    found = clustered_rate({str(i): sums(values) for i in range(20)})
    assert found.mean.low is not None and found.mean.high is not None
    assert found.mean.high - found.mean.low > wilson(20, 20).high - wilson(20, 20).low - 0.01  # type: ignore[operator]


def test_one_cluster_or_none_has_no_bounds() -> None:
    assert clustered_rate({"a": sums([0.0, 1.0])}).mean.low is None
    assert clustered_mean({}).mean.value is None


def test_the_clustered_rate_covers_where_wilson_does_not() -> None:
    draw, runs, inside, naive = random.Random(11), 600, 0, 0
    for _ in range(runs):
        data, passed = {}, 0
        for cluster in range(40):
            rate = draw.betavariate(1.4, 0.6)  # mean 0.7, far from alike
            values = [float(draw.random() < rate) for _ in range(8)]
            passed += int(sum(values))
            data[str(cluster)] = sums(values)
        bounds, plain = clustered_rate(data).mean, wilson(passed, 320)
        inside += bounds.low <= 0.7 <= bounds.high  # type: ignore[operator]
        naive += plain.low <= 0.7 <= plain.high  # type: ignore[operator]
    assert inside / runs >= 0.925
    assert naive / runs < 0.85


def test_the_stratified_mean_is_cochrans() -> None:
    """By hand: weights 3/4 and 1/4, means 2 and 10, variances 1 and 4."""
    strata = [stratum(300, [1.0, 2.0, 3.0]), stratum(100, [8.0, 10.0, 12.0])]
    found = stratified_mean(strata)
    variance = 0.75**2 * (1 - 3 / 300) * 1 / 3 + 0.25**2 * (1 - 3 / 100) * 4 / 3
    parts = 0.75**2 * (1 - 3 / 300) * 1 / 3, 0.25**2 * (1 - 3 / 100) * 4 / 3
    freedom = sum(parts) ** 2 / sum(part**2 / 2 for part in parts)
    assert found.value == pytest.approx(4.0)
    assert found.high == pytest.approx(4 + oracle.t.ppf(0.975, freedom) * variance**0.5)
    future = stratified_mean(strata, future=True)
    more = 0.75**2 / 3 + 0.25**2 * 4 / 3 + (0.75 * 2**2 + 0.25 * 6**2) / 400
    assert future.high == pytest.approx(4 + oracle.t.ppf(0.975, 4) * more**0.5, rel=0.2)
    assert future.high > found.high


def test_weights_undo_an_oversampled_stratum() -> None:
    strata = [stratum(900, [1.0] * 45 + [0.0] * 5), stratum(100, [0.0] * 45 + [1.0] * 5)]
    found = stratified_rate(strata)
    assert found.value == pytest.approx(0.9 * 0.9 + 0.1 * 0.1)
    assert found.low is not None and found.high is not None
    assert 0 < found.low < found.value < found.high < 1  # type: ignore[operator]


def test_a_stratum_without_values_leaves_no_bounds() -> None:
    strata = [stratum(50, [1.0, 0.0]), stratum(50, [])]
    assert stratified_rate(strata).low is None
    assert stratified_mean(strata).low is None


def test_strata_that_all_pass_keep_a_width_until_all_are_scored() -> None:
    part = stratified_rate([stratum(50, [1.0] * 10), stratum(50, [1.0] * 10)])
    assert part.low is not None and part.low < 1
    whole = stratified_rate([stratum(3, [1.0, 0.0, 1.0])])
    assert (whole.low, whole.high) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_the_stratified_rate_covers_the_dataset() -> None:
    draw, runs, inside = random.Random(5), 800, 0
    populations = [[float(draw.random() < rate) for _ in range(400)] for rate in (0.95, 0.6, 0.3)]
    truth = sum(map(sum, populations)) / 1200
    for _ in range(runs):
        strata = [
            stratum(400, draw.sample(values, n))
            for values, n in zip(populations, (30, 60, 40), strict=True)
        ]
        bounds = stratified_rate(strata)
        inside += bounds.low <= truth <= bounds.high  # type: ignore[operator]
    assert inside / runs >= 0.93


def test_the_exact_finite_interval_never_covers_less_than_its_level() -> None:
    population, n = 40, 12
    bounds = [hypergeometric(seen, n, population) for seen in range(n + 1)]
    for passing in range(population + 1):
        covered = sum(
            comb(passing, seen) * comb(population - passing, n - seen) / comb(population, n)
            for seen in range(max(0, n - population + passing), min(n, passing) + 1)
            if bounds[seen].low <= passing / population <= bounds[seen].high  # type: ignore[operator]
        )
        assert covered >= 0.95 - 1e-9


def test_all_scored_leaves_no_doubt_and_none_scored_says_nothing() -> None:
    assert hypergeometric(3, 5, 5).low == 0.6
    assert hypergeometric(0, 0, 5).value is None
    with pytest.raises(ValueError, match="no sample"):
        hypergeometric(3, 2, 5)


def test_bca_agrees_with_scipy_and_says_nothing_without_spread() -> None:
    values = [0.1, 0.2, 0.2, 0.4, 0.5, 0.9, 1.8, 3.5, 0.3, 0.2]
    found = bca_mean(values)
    expected = oracle.bootstrap((numpy.array(values),), numpy.mean, n_resamples=20_000,
                                rng=numpy.random.default_rng(1)).confidence_interval  # fmt: skip
    assert found.low == pytest.approx(expected.low, abs=0.02)
    assert found.high == pytest.approx(expected.high, abs=0.06)
    assert bca_mean(values) == found
    assert bca_mean([2.0, 2.0]).low is None
    assert bca_mean([]).value is None


def test_skewness_decides_on_the_bootstrap() -> None:
    values = [0.1, 0.2, 0.2, 0.4, 0.5, 0.9, 1.8, 3.5]
    assert skewness(values) == pytest.approx(float(oracle.skew(values)))
    assert wants_bootstrap(100, 2.5) and wants_bootstrap(30, -1.2)
    assert not wants_bootstrap(200, 2.5) and not wants_bootstrap(20, 3.0)
    assert not wants_bootstrap(1000, None)
