"""Agreement of two raters: known answers, scikit-learn and statsmodels as oracles, and edges."""

from __future__ import annotations

import math
import warnings

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llm_batch.stats.agreement import (
    BinaryTable,
    agreement,
    cohen_kappa,
    rank_agreement,
    sensitivity,
    specificity,
)
from llm_batch.stats.interval import jeffreys, wilson

tables = st.integers(2, 5).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 30), min_size=k, max_size=k), min_size=k, max_size=k)
)
weightings = st.sampled_from(["none", "linear", "quadratic"])


def _raters(counts: list[list[int]]) -> tuple[list[int], list[int]]:
    pairs = [
        (i, j) for i, row in enumerate(counts) for j, count in enumerate(row) for _ in range(count)
    ]
    return [i for i, _ in pairs], [j for _, j in pairs]


def test_kappa_of_a_published_table() -> None:
    kappa = cohen_kappa(((20, 5), (10, 15)))
    assert kappa.interval.value == pytest.approx(0.4)
    assert kappa.standard_error == pytest.approx(0.1270, abs=5e-5)
    assert kappa.interval.n == 50


@settings(max_examples=60, deadline=None)
@given(counts=tables, weights=weightings)
def test_kappa_agrees_with_scikit_learn_and_its_error_with_statsmodels(
    counts: list[list[int]], weights: str
) -> None:
    from sklearn.metrics import cohen_kappa_score
    from statsmodels.stats.inter_rater import cohens_kappa

    kappa = cohen_kappa(counts, weights)  # type: ignore[arg-type]
    assume(kappa.interval.value is not None)
    first, second = _raters(counts)
    oracle = cohen_kappa_score(
        first, second, labels=range(len(counts)), weights=None if weights == "none" else weights
    )
    assert kappa.interval.value == pytest.approx(oracle, abs=1e-9)
    with warnings.catch_warnings():  # about the standard error of perfect agreement
        warnings.simplefilter("ignore", RuntimeWarning)
        theirs = cohens_kappa(counts, wt=None if weights == "none" else weights)
    if kappa.standard_error:
        assert kappa.standard_error == pytest.approx(float(theirs.std_kappa), rel=1e-6, abs=1e-7)
    else:
        assert float(theirs.var_kappa) == pytest.approx(0, abs=1e-9)


@settings(max_examples=100)
@given(counts=tables, weights=weightings)
def test_kappa_is_never_nan_and_lies_within_its_bounds(
    counts: list[list[int]], weights: str
) -> None:
    interval = cohen_kappa(counts, weights).interval  # type: ignore[arg-type]
    if interval.value is None:
        assert interval.low is interval.high is None
        return
    assert math.isfinite(interval.value)
    if interval.low is not None and interval.high is not None:
        assert -1 <= interval.low <= interval.value + 1e-12
        assert interval.value - 1e-12 <= interval.high <= 1


@pytest.mark.parametrize(
    "counts",
    [((0, 0), (0, 0)), ((7, 0), (0, 0)), ((0, 0), (0, 7))],
    ids=["no items", "all yes", "all no"],
)
def test_kappa_is_null_where_it_is_undefined(counts: tuple[tuple[int, int], ...]) -> None:
    kappa = cohen_kappa(counts)
    assert (kappa.interval.value, kappa.interval.low, kappa.standard_error) == (None, None, None)


def test_one_constant_rater_gives_a_kappa_of_zero() -> None:
    assert cohen_kappa(((30, 0), (10, 0))).interval.value == pytest.approx(0)


def test_perfect_agreement_of_a_few_items_claims_no_certainty() -> None:
    kappa = cohen_kappa(((5, 0), (0, 5)))
    assert kappa.interval.value == kappa.interval.high == 1
    assert kappa.interval.low == pytest.approx(0.348, abs=1e-3)
    assert kappa.standard_error == 0
    three = cohen_kappa(((5, 0, 0), (0, 5, 0), (0, 0, 5))).interval
    assert three.low == pytest.approx(0.6116, abs=1e-4) and three.high == 1


def test_bounds_of_kappa_are_those_of_a_table_with_an_item_more_in_each_cell() -> None:
    found, filled = cohen_kappa(((20, 5), (10, 15))), cohen_kappa(((21, 6), (11, 16)))
    error, middle = filled.standard_error or 0.0, filled.interval.value or 0.0
    assert found.interval.low == pytest.approx(middle - 1.95996 * error, abs=1e-4)
    assert found.interval.high == pytest.approx(middle + 1.95996 * error, abs=1e-4)


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_bounds_of_more_classes_are_those_of_a_table_with_two_and_a_half_items_more(
    weights: str,
) -> None:
    from scipy.stats import t
    from statsmodels.stats.inter_rater import cohens_kappa

    counts = ((8, 2, 0), (1, 9, 3), (0, 2, 5))
    filled = [[count + 2.5 / 9 for count in row] for row in counts]
    theirs = cohens_kappa(filled, wt=None if weights == "none" else weights)
    found = cohen_kappa(counts, weights).interval  # type: ignore[arg-type]
    half = t.ppf(0.975, 15) * theirs.std_kappa
    assert found.low == pytest.approx(theirs.kappa - half, abs=1e-9)
    assert found.high == pytest.approx(min(1.0, theirs.kappa + half), abs=1e-9)


@pytest.mark.parametrize(
    ("counts", "weights", "words"),
    [
        (((1, 2),), "none", "square"),
        (((1,),), "none", "at least 2"),
        (((1, -2), (0, 1)), "none", "negative"),
        (((1, 2), (3, 4)), "cubic", "weights must be"),
    ],
)
def test_a_table_or_weighting_that_makes_no_sense_is_refused(
    counts: tuple[tuple[int, ...], ...], weights: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        cohen_kappa(counts, weights)  # type: ignore[arg-type]


def test_rates_of_a_judge_are_intervals_of_the_right_counts() -> None:
    table = BinaryTable(both_yes=9, only_judge=2, only_reference=1, both_no=8)
    assert sensitivity(table) == jeffreys(9, 10)
    assert specificity(table) == jeffreys(8, 10)
    assert agreement(table, 0.9) == wilson(17, 20, 0.9)
    assert sensitivity(table).low == pytest.approx(0.6187, abs=5e-5)
    assert sensitivity(table).high == pytest.approx(0.9890, abs=5e-5)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_rates_of_a_judge_agree_with_scikit_learn(tp: int, fp: int, fn: int, tn: int) -> None:
    from sklearn.metrics import recall_score

    table = BinaryTable(tp, fp, fn, tn)
    judge = [1] * (tp + fp) + [0] * (fn + tn)
    reference = [1] * tp + [0] * fp + [1] * fn + [0] * tn
    if tp + fn:
        assert sensitivity(table).value == pytest.approx(recall_score(reference, judge))
    else:
        assert sensitivity(table).value is None
    if fp + tn:
        assert specificity(table).value == pytest.approx(
            recall_score(reference, judge, pos_label=0)
        )
    else:
        assert specificity(table).value is None


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        BinaryTable(both_yes=-1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ties", [True, False], ids=["ties", "no ties"])
def test_rank_correlations_and_their_jackknife_agree_with_scipy(seed: int, ties: bool) -> None:
    import numpy as np
    from scipy import stats  # type: ignore[import-untyped]

    draw = np.random.default_rng(seed)
    x = draw.normal(size=40)
    y = x + draw.normal(size=40)
    if ties:
        x, y = np.round(x), np.round(y)
    found = rank_agreement(list(x), list(y))
    for interval, by in ((found.spearman, stats.spearmanr), (found.kendall, stats.kendalltau)):
        assert interval.value == pytest.approx(by(x, y)[0])
        left = [math.atanh(by(np.delete(x, i), np.delete(y, i))[0]) for i in range(40)]
        error = math.sqrt(39 * np.var(left))
        half = stats.t.ppf(0.975, 38) * error
        assert interval.low == pytest.approx(math.tanh(math.atanh(interval.value) - half))
        assert interval.high == pytest.approx(math.tanh(math.atanh(interval.value) + half))


@pytest.mark.parametrize(
    ("labels", "judged", "value"),
    [
        ([3.0, 3.0, 3.0, 3.0, 3.0], [1.0, 2.0, 3.0, 4.0, 5.0], None),
        ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 4.0, 6.0, 8.0, 9.0], 1.0),
        ([1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 4.0, 3.0, 2.0, 1.0], -1.0),
        ([], [], None),
        ([1.0], [1.0], None),
        ([1.0, 2.0], [2.0, 1.0], -1.0),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 2.0], [1.0, 2.0, 1.0, 2.0, 1.0, 2.0], 0.4472),
    ],
    ids=["one label", "same order", "opposite", "none", "one", "two", "one item apart"],
)
def test_ranks_that_say_little_have_no_bounds(
    labels: list[float], judged: list[float], value: float | None
) -> None:
    found = rank_agreement(labels, judged)
    for interval in (found.spearman, found.kendall):
        assert interval.value == (value if value is None else pytest.approx(value, abs=1e-4))
        assert interval.low is interval.high is None
