"""Several scores: sums by hand, correlations against scipy, and their bounds."""

from __future__ import annotations

from math import inf, nan
from random import Random

import pytest
from scipy import stats

from llm_batch.stats import several
from llm_batch.stats.several import correlations, pearson, spearman, weighted_sum


def test_a_sum_needs_all_scores_that_have_a_weight() -> None:
    assert weighted_sum({"a": 4, "b": 1, "c": None}, {"a": 0.5, "b": 2}) == 4
    assert weighted_sum({"a": 4, "b": None}, {"a": 0.5, "b": 2}) is None
    assert weighted_sum({"a": 4, "b": None}, {"a": 0.5, "b": 0}) == 2
    for weights in ({"c": 1.0}, {"a": inf}):
        with pytest.raises(ValueError, match="weight of"):
            weighted_sum({"a": 4}, weights)


def _pairs(n: int, points: int) -> tuple[list[float], list[float]]:
    draw = Random(n)
    x = [draw.gauss(0, 1) for _ in range(n)]
    y = [value + draw.gauss(0, 1) for value in x]
    return [round(v * points) / points for v in x], [round(v * points) / points for v in y]


@pytest.mark.parametrize("points", [1, 1000])
def test_correlations_are_those_of_scipy_over_the_items_that_have_both(points: int) -> None:
    x, y = _pairs(200, points)
    found = correlations({"x": [*x, 1.0, None], "y": [*y, None, 1.0]})["x", "y"]
    assert found.pearson.value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert found.spearman.value == pytest.approx(stats.spearmanr(x, y).statistic)
    known = stats.pearsonr(x, y).confidence_interval()
    assert found.pearson.low == pytest.approx(known.low, abs=0.02)
    assert found.pearson.high == pytest.approx(known.high, abs=0.02)


@pytest.mark.parametrize("points", [1, 1000])
def test_ranks_of_many_items_have_the_same_value_and_all_but_the_same_bounds(
    points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = _pairs(1000, points)
    by_pairs = spearman(x, y)
    monkeypatch.setattr(several, "_MANY", 10)
    sorted_ = spearman(x, y)
    assert sorted_.value == pytest.approx(by_pairs.value)
    assert (sorted_.low, sorted_.high) == pytest.approx((by_pairs.low, by_pairs.high), abs=2e-4)


def test_without_spread_there_is_no_correlation_and_without_doubt_no_bounds() -> None:
    assert pearson([0.1] * 9, list(range(9))).value is None
    assert spearman([0.1] * 9, list(range(9))).value is None
    assert pearson([], []).value is pearson([1], [2]).value is None
    line = pearson([1, 2, 3, 4, 5, 6], [2, 4, 6, 8, 10, 12])
    assert (line.value, line.low) == (pytest.approx(1), None)
    for x, y in (([1.0], [1.0, 2.0]), ([nan, 1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match=r"pairs|finite"):
            pearson(x, y)
    with pytest.raises(ValueError, match="each item"):
        correlations({"a": [1.0], "b": []})
