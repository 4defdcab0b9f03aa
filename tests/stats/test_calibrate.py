"""Correcting a judge: published formulas, ppi-python's answers, coverage, and edges."""

from __future__ import annotations

from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_batch.stats.agreement import BinaryTable
from llm_batch.stats.calibrate import (
    LABELS_ALONE,
    Corrected,
    by_verdict,
    drawn_alike,
    ppi_mean,
    ppi_rate,
    rogan_gladen,
    youden,
)
from llm_batch.stats.interval import wilson

counts = st.integers(0, 30)
tables = st.builds(BinaryTable, counts, counts, counts, counts)
LABELS = [5, 1, 1, 2, 1, 5, 5, 3, 1, 1, 2, 3]
JUDGED = [5, 1, 1, 1, 1, 5, 5, 4, 2, 1, 2, 3]
OTHERS = [4, 1, 1, 4, 1, 4, 2, 3, 5, 5, 3, 2, 2, 5, 3, 1, 5, 5, 5, 4, 5, 4, 3, 5, 4]


def _bounds(made: Corrected) -> tuple[float, float]:
    interval = made.interval
    assert interval.low is not None and interval.high is not None
    return interval.low, interval.high


@pytest.mark.parametrize(
    ("table", "passed", "n", "level", "low", "high"),
    [
        (BinaryTable(180, 60, 20, 140), 400, 1000, 0.95, 0.05635072484, 0.26273302579),
        (BinaryTable(80, 20, 20, 80), 250, 500, 0.95, 0.37997465886, 0.62002534114),
        (BinaryTable(990, 400, 10, 600), 9000, 10_000, 0.99, 0.82733484787, 0.86867131025),
        (BinaryTable(10, 0, 0, 10), 0, 50, 0.95, 0.0, 0.09568563634),
        (BinaryTable(10, 0, 0, 10), 50, 50, 0.95, 0.90431436366, 1.0),
    ],
)
def test_the_interval_is_that_of_the_package_of_lee_et_al(
    table: BinaryTable, passed: int, n: int, level: float, low: float, high: float
) -> None:
    # Made with llm_judge_reporting at commit 082884d.
    made = rogan_gladen(table, passed, n, level)
    assert _bounds(made) == pytest.approx((low, high), abs=1e-9)


def test_the_corrected_rate_is_rogan_and_gladens() -> None:
    made = rogan_gladen(BinaryTable(90, 20, 10, 80), 700, 1000)
    assert made.interval.value == pytest.approx((0.7 + 0.8 - 1) / 0.7)
    assert _bounds(made) == pytest.approx((0.6387, 0.8026), abs=5e-5)
    assert not made.clipped and made.interval.n == 200


def test_a_run_the_labels_rule_out_has_a_clipped_rate_and_no_interval() -> None:
    made = rogan_gladen(BinaryTable(180, 20, 20, 180), 50, 1000)
    assert made.clipped and made.interval.value == 0
    assert made.interval.low is made.interval.high is None


def test_a_perfect_judge_is_not_corrected_and_still_has_an_interval_wider_than_its_own() -> None:
    made = rogan_gladen(BinaryTable(50, 0, 0, 50), 300, 400)
    assert made.interval.value == pytest.approx(0.75)
    raw = wilson(300, 400)
    low, high = _bounds(made)
    assert raw.low is not None and raw.high is not None
    assert high - low > raw.high - raw.low


@pytest.mark.parametrize(
    "table",
    [BinaryTable(), BinaryTable(9, 0, 1, 0), BinaryTable(0, 3, 0, 9), BinaryTable(5, 5, 5, 5),
     BinaryTable(1, 9, 9, 1)],
    ids=["no labels", "no fails", "no passes", "guessing", "worse than guessing"],
)  # fmt: skip
def test_no_correction_is_made_up_for_a_judge_that_tells_nothing(table: BinaryTable) -> None:
    interval = rogan_gladen(table, 60, 100).interval
    assert (interval.value, interval.low, interval.high) == (None, None, None)


@pytest.mark.parametrize(("passed", "value"), [(0, 0.0), (400, 1.0)])
def test_a_rate_the_judges_errors_do_not_allow_is_clipped_and_says_so(
    passed: int, value: float
) -> None:
    made = rogan_gladen(BinaryTable(40, 10, 10, 40), passed, 400)
    assert made.clipped and made.interval.value == value


def test_youden_is_null_without_both_kinds_of_labels() -> None:
    assert youden(BinaryTable(45, 10, 5, 40)) == pytest.approx(0.7)
    assert youden(BinaryTable(9, 0, 1, 0)) is None


@pytest.mark.parametrize(
    ("table", "passed", "n", "value"),
    [(BinaryTable(40, 5, 5, 50), 200, 400, 0.48154942),
     (BinaryTable(40, 15, 2, 20), 700, 900, 0.58866821)],
)  # fmt: skip
def test_the_prediction_powered_rate_is_that_of_ppi_python(
    table: BinaryTable, passed: int, n: int, value: float
) -> None:
    made = ppi_rate(table, passed, n)
    assert made.interval.value == pytest.approx(value, abs=5e-9)
    assert made.weight is not None and 0 < made.weight < 1


def test_its_interval_is_close_to_ppi_pythons_with_many_labels() -> None:
    made = ppi_rate(BinaryTable(400, 50, 50, 500), 2000, 4000)
    # ppi_mean_ci of ppi-python 0.2.3 for a tenth of the labels, its width over sqrt(10).
    width = (0.54991957 - 0.41317927) / sqrt(10)
    low, high = _bounds(made)
    assert high - low == pytest.approx(width, rel=0.01)


def test_a_judge_that_guesses_leaves_the_labels_alone() -> None:
    made = ppi_rate(BinaryTable(20, 20, 20, 20), 100, 200)
    assert made.weight == 0 and made.interval.value == pytest.approx(0.5)


def test_when_all_items_are_labelled_the_labels_rate_stands() -> None:
    made = ppi_rate(BinaryTable(20, 5, 3, 12), 0, 0)
    assert made.interval.value == wilson(23, 40).value
    assert made.interval.method == LABELS_ALONE


@given(table=tables, n=st.integers(0, 60), share=st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_no_table_gives_nan_or_an_interval_without_width(
    table: BinaryTable, n: int, share: float
) -> None:
    for made in (rogan_gladen(table, round(n * share), n), ppi_rate(table, round(n * share), n)):
        interval = made.interval
        if interval.value is None or interval.low is None:
            assert interval.low is interval.high is None
            assert interval.value in (None, 0, 1)
            continue
        low, high = _bounds(made)
        assert 0 <= low <= interval.value <= high <= 1
        assert low < high


def _coverage(make: str, rate: float, sensitivity: float, specificity: float, labels: int) -> float:
    """How often the interval holds the true rate, over seeded simulated runs of 400 items."""
    import numpy

    generator = numpy.random.default_rng(11)
    cells = [
        rate * sensitivity,
        rate * (1 - sensitivity),
        (1 - rate) * (1 - specificity),
        (1 - rate) * specificity,
    ]
    judged = cells[0] + cells[2]
    held = runs = 0
    for both, missed, wrong, neither in generator.multinomial(labels, cells, size=1500):
        table = BinaryTable(int(both), int(wrong), int(missed), int(neither))
        if make == "ppi":
            n = 400 - labels
            interval = ppi_rate(table, int(generator.binomial(n, judged)), n).interval
        else:
            interval = rogan_gladen(table, int(generator.binomial(400, judged)), 400).interval
        if interval.low is not None and interval.high is not None:
            runs += 1
            held += interval.low <= rate <= interval.high
    assert runs > 1000
    return held / runs


@pytest.mark.parametrize("make", ["ppi", "rogan-gladen"])
@pytest.mark.parametrize(
    ("rate", "sensitivity", "specificity"), [(0.5, 0.9, 0.9), (0.8, 0.95, 0.85), (0.8, 0.8, 0.6)]
)
def test_95_percent_intervals_hold_the_true_rate_95_percent_of_the_time(
    make: str, rate: float, sensitivity: float, specificity: float
) -> None:
    assert _coverage(make, rate, sensitivity, specificity, labels=100) > 0.935


def test_few_labels_and_a_high_rate_are_covered_where_the_plain_interval_fails() -> None:
    # 20 labels, nearly all passes: the interval without smoothing holds in 59 % of runs.
    assert _coverage("ppi", 0.95, 0.95, 0.8, labels=20) > 0.94


def test_the_mean_score_is_that_of_ppi_python() -> None:
    made = ppi_mean(LABELS, JUDGED, JUDGED + OTHERS)
    # ppi_mean_pointestimate of ppi-python 0.2.3.
    assert made.interval.value == pytest.approx(3.0818364, abs=1e-6)
    low, high = _bounds(made)
    assert low < 3.0818364 < high


@pytest.mark.parametrize(
    ("labels", "judged", "others", "value"),
    [([], [], [3.0], None), ([4.0], [3.0], [3.0], 4.0), ([2.0, 4.0], [1.0, 3.0], [], 3.0)],
    ids=["no labels", "one label", "all labelled"],
)
def test_a_mean_from_few_labels_claims_no_more_than_it_can(
    labels: list[float], judged: list[float], others: list[float], value: float | None
) -> None:
    made = ppi_mean(labels, judged, judged + others)
    assert made.interval.value == value
    if len(labels) < 2:
        assert made.interval.low is made.interval.high is None


def test_labels_that_all_equal_the_judge_give_no_interval_without_width() -> None:
    made = ppi_mean([3.0, 3.0, 3.0], [3.0, 3.0, 3.0], [3.0] * 30)
    assert made.interval.value == 3 and made.interval.low is None


def test_arguments_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="passed must be"):
        rogan_gladen(BinaryTable(1, 1, 1, 1), 5, 4)
    with pytest.raises(ValueError, match="passed must be"):
        ppi_rate(BinaryTable(1, 1, 1, 1), -1, 4)
    with pytest.raises(ValueError, match="2 labels, 1 judged"):
        ppi_mean([1.0, 2.0], [1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("table", "passed", "value"),
    [
        (BinaryTable(45, 5, 10, 40), 800, 0.76),
        (BinaryTable(50, 0, 0, 50), 900, 0.9),
        (BinaryTable(10, 0, 0, 0), 1000, 1.0),
    ],
    ids=["by hand", "perfect judge", "the judge passes all"],
)
def test_labels_within_each_verdict_are_weighted_by_the_run(
    table: BinaryTable, passed: int, value: float
) -> None:
    found = by_verdict(table, passed, 1000).interval
    assert found.value == pytest.approx(value)
    assert found.low is not None and found.high is not None and found.low < found.high


@pytest.mark.parametrize(
    "table", [BinaryTable(45, 5, 0, 0), BinaryTable(0, 0, 3, 9), BinaryTable()]
)
def test_a_verdict_without_labels_leaves_no_estimate(table: BinaryTable) -> None:
    assert by_verdict(table, 800, 1000).interval.value is None


def test_spread_by_verdict_is_told_from_a_random_subset() -> None:
    assert (drawn_alike((50, 100), (900, 1000)) or 0) < 1e-6
    assert (drawn_alike((90, 100), (900, 1000)) or 0) > 0.5
    assert drawn_alike((900, 1000), (900, 1000)) is None
