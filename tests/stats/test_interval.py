"""Intervals meet published and library numbers, and cover what they promise."""

from __future__ import annotations

import subprocess
import sys
from array import array
from collections.abc import Callable
from itertools import pairwise
from math import inf, nan
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]
from statsmodels.stats.proportion import proportion_confint  # type: ignore[import-untyped]
from statsmodels.stats.weightstats import DescrStatsW  # type: ignore[import-untyped]

from llm_batch.records import Interval
from llm_batch.stats.interval import (
    ALL_SCORED,
    WHATEVER_MISSING,
    clopper_pearson,
    jeffreys,
    missing_bounds,
    missing_interval,
    missing_mean,
    one_sided_bound,
    t_value,
    wilson,
    wilson_finite,
    z_value,
)
from llm_batch.stats.means import (
    mean_and_sd,
    mean_on_scale,
    mean_t,
    median_interval,
    quantile,
    quantile_interval,
)

COUNTS = [(0, 1), (1, 1), (0, 10), (1, 10), (7, 10), (10, 10), (192, 384), (383, 384), (1, 30000)]
LEVELS = [0.8, 0.9, 0.95, 0.99]

levels = st.floats(0.5, 0.999)
scores = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    n = draw(st.integers(1, 5000))
    return draw(st.integers(0, n)), n


@st.composite
def finite_counts(draw: st.DrawFn) -> tuple[int, int, int]:
    k, n = draw(counts())
    return k, n, n + draw(st.integers(0, 5000))


def bounds(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None and interval.high is not None
    return interval.low, interval.high


def width(interval: Interval) -> float:
    low, high = bounds(interval)
    return high - low


# Against known answers and other libraries.


@pytest.mark.parametrize("level", LEVELS)
def test_the_normal_quantile_is_scipys(level: float) -> None:
    assert z_value(level) == pytest.approx(stats.norm.ppf(0.5 + level / 2), rel=1e-12)


def test_the_normal_quantile_of_95_percent_is_1_959964() -> None:
    assert z_value(0.95) == pytest.approx(1.959964, abs=5e-7)


@pytest.mark.parametrize(
    ("interval", "low", "high"),
    [
        pytest.param(wilson(7, 10), 0.3968, 0.8922, id="wilson"),
        pytest.param(clopper_pearson(7, 10), 0.3475, 0.9333, id="clopper-pearson"),
        pytest.param(wilson(192, 384), 0.4502, 0.5498, id="wilson at 384"),
        pytest.param(wilson_finite(192, 384, 30000), 0.4506, 0.5494, id="wilson, 384 of 30,000"),
        pytest.param(one_sided_bound(0, 200, "upper"), 0, 0.0149, id="0 of 200"),
        pytest.param(one_sided_bound(200, 200, "lower"), 0.9851, 1, id="200 of 200"),
        pytest.param(mean_t([1, 2, 3, 4, 5]), 1.0368, 4.9632, id="t"),
        pytest.param(median_interval(range(1, 11)), 2, 9, id="median"),
    ],
)
def test_known_answers_of_the_docstrings(interval: Interval, low: float, high: float) -> None:
    assert bounds(interval) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("k", "n"), COUNTS)
def test_wilson_is_statsmodels_wilson(k: int, n: int, level: float) -> None:
    expected = proportion_confint(k, n, alpha=1 - level, method="wilson")
    assert bounds(wilson(k, n, level)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("k", "n"), COUNTS)
def test_clopper_pearson_is_statsmodels_and_scipys(k: int, n: int, level: float) -> None:
    interval = clopper_pearson(k, n, level)
    beta = proportion_confint(k, n, alpha=1 - level, method="beta")
    binomial = stats.binomtest(k, n).proportion_ci(level, method="exact")
    assert bounds(interval) == pytest.approx(np.nan_to_num(beta), abs=1e-10)
    assert bounds(interval) == pytest.approx((binomial.low, binomial.high), abs=1e-10)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("k", "n"), COUNTS)
def test_one_sided_bounds_are_scipys(k: int, n: int, level: float) -> None:
    at_most = stats.binomtest(k, n, alternative="less").proportion_ci(level)
    at_least = stats.binomtest(k, n, alternative="greater").proportion_ci(level)
    upper = bounds(one_sided_bound(k, n, "upper", level))
    lower = bounds(one_sided_bound(k, n, "lower", level))
    assert upper == pytest.approx((0, at_most.high), abs=1e-10)
    assert lower == pytest.approx((at_least.low, 1), abs=1e-10)


@pytest.mark.parametrize(
    ("k", "n", "population"), [(192, 384, 30000), (300, 384, 1000), (450, 500, 2000), (3, 10, 40)]
)
def test_the_finite_interval_is_statsmodels_wilson_at_the_effective_size(
    k: int, n: int, population: int
) -> None:
    n_eff = n * (population - 1) / (population - n)
    expected = proportion_confint(k / n * n_eff, n_eff, method="wilson")
    assert bounds(wilson_finite(k, n, population)) == pytest.approx(expected, abs=1e-12)


def test_a_huge_population_changes_nothing() -> None:
    assert bounds(wilson_finite(70, 100, 10**12)) == pytest.approx(
        bounds(wilson(70, 100)), abs=1e-9
    )
    values = [1.0, 2.0, 4.0]
    assert bounds(mean_t(values, population=10**12)) == pytest.approx(bounds(mean_t(values)))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("values", [[1, 2], [1, 2, 3, 4, 5], [0.1, 0.7, 0.7, 12.5, -3]], ids=str)
def test_the_t_interval_is_scipys_and_statsmodels(values: list[float], level: float) -> None:
    interval = mean_t(values, level)
    at = stats.t.interval(level, len(values) - 1, mean(values), stats.sem(values))
    assert bounds(interval) == pytest.approx(at, rel=1e-9)
    described = DescrStatsW(values).tconfint_mean(alpha=1 - level)
    assert bounds(interval) == pytest.approx(described, rel=1e-9)


def test_a_population_narrows_the_t_interval_by_the_share_not_seen() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    ratio = width(mean_t(values, population=20)) / width(mean_t(values))
    assert ratio == pytest.approx((1 - 5 / 20) ** 0.5)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [8, 9, 20, 101, 5000])
def test_the_median_interval_is_scipys(n: int, level: float) -> None:
    values = np.random.default_rng(n).exponential(size=n)
    expected = stats.quantile_test(values, q=1, p=0.5).confidence_interval(level)
    assert bounds(median_interval(values, level)) == (expected.low, expected.high)


@given(scores, st.floats(0, 1))
def test_quantiles_are_numpys_default(values: list[float], q: float) -> None:
    ordered = sorted(values)
    assert quantile(ordered, q) == pytest.approx(float(np.quantile(ordered, q)), rel=1e-9, abs=1e-9)


def test_quantiles_of_type_7_interpolate() -> None:
    assert quantile([1, 2, 3, 4], 0.9) == pytest.approx(3.7)
    assert quantile([3], 0.99) == 3
    assert quantile([1, 2, 3, 4], 1) == 4


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_mean_and_sd_are_those_of_the_standard_library(values: list[float]) -> None:
    center, sd = mean_and_sd(values)
    assert center == pytest.approx(mean(values), rel=1e-12, abs=1e-9)
    assert sd == pytest.approx(stdev(values), rel=1e-9, abs=1e-9)


def test_mean_and_sd_of_a_known_sample() -> None:
    assert mean_and_sd([2, 4, 4, 4, 5, 5, 7, 9]) == pytest.approx((5, 2.138089935))


# Edges.


def test_without_data_there_are_nulls_not_zeros() -> None:
    for interval in (
        wilson(0, 0),
        wilson_finite(0, 0, 100),
        wilson_finite(0, 0, 0),
        clopper_pearson(0, 0),
        one_sided_bound(0, 0, "upper"),
        mean_t([]),
        mean_t([], population=0),
        median_interval([]),
    ):
        assert (interval.value, interval.low, interval.high, interval.n) == (None, None, None, 0)
    assert mean_and_sd([]) == (None, None)
    assert quantile([], 0.5) is None
    assert missing_bounds(0, 0, 0) is None


def test_one_value_has_a_mean_and_no_spread() -> None:
    assert mean_and_sd([4.0]) == (4.0, None)
    interval = mean_t([4.0])
    assert (interval.value, interval.low, interval.high, interval.n) == (4.0, None, None, 1)
    assert mean_t([4.0], population=2).low is None


@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3, 1e-300])
def test_equal_values_have_exactly_no_spread(value: float) -> None:
    for n in (3, 6, 7):
        assert mean_and_sd([value] * n) == (value, 0.0)
        assert bounds(mean_t([value] * n)) == (value, value)


def test_a_dataset_scored_whole_leaves_no_doubt() -> None:
    for interval, value in (
        (wilson_finite(30, 40, 40), 0.75),
        (wilson_finite(1, 1, 1), 1.0),
        (mean_t([1, 2, 6], population=3), 3.0),
        (mean_t([4], population=1), 4.0),
    ):
        assert (interval.low, interval.value, interval.high) == (value, value, value)
        assert interval.method == ALL_SCORED


def test_the_finite_interval_never_contradicts_what_was_counted() -> None:
    # One success among 9 of 10: the rate of all ten is 0.1 or 0.2.
    low, high = bounds(wilson_finite(1, 9, 10))
    assert low == 0.1
    assert high <= 0.2


def test_nothing_and_everything_passed_touch_the_ends() -> None:
    assert bounds(wilson(0, 7))[0] == bounds(clopper_pearson(0, 7))[0] == 0
    assert bounds(wilson(7, 7))[1] == bounds(clopper_pearson(7, 7))[1] == 1
    assert bounds(wilson_finite(0, 7, 9))[0] == 0
    assert bounds(one_sided_bound(7, 7, "upper")) == (0, 1)
    assert bounds(one_sided_bound(0, 7, "lower")) == (0, 1)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_five_values_cannot_promise_95_percent_on_a_median(n: int) -> None:
    interval = median_interval(range(n))
    assert (interval.value, interval.low, interval.high) == (median(range(n)), None, None)
    assert bounds(median_interval(range(6))) == (0, 5)


def test_missing_verdicts_bound_the_rate() -> None:
    assert missing_bounds(80, 95, 5) == (0.8, 0.85)
    assert missing_bounds(80, 100, 0) == (0.8, 0.8)
    assert missing_bounds(0, 0, 5) == (0, 1)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 95, nan])
def test_a_level_outside_0_and_1_is_refused_by_all(level: float) -> None:
    for call in (
        lambda: z_value(level),
        lambda: wilson(0, 0, level),
        lambda: wilson_finite(1, 2, 3, level),
        lambda: clopper_pearson(1, 2, level),
        lambda: one_sided_bound(1, 2, "upper", level),
        lambda: mean_t([1], level),
        lambda: median_interval([1], level),
    ):
        with pytest.raises(ValueError, match="level"):
            call()


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (0, -1)])
def test_impossible_counts_are_refused(k: int, n: int) -> None:
    for call in (
        lambda: wilson(k, n),
        lambda: wilson_finite(k, n, 10),
        lambda: clopper_pearson(k, n),
        lambda: one_sided_bound(k, n, "lower"),
        lambda: missing_bounds(k, n, 0),
    ):
        with pytest.raises(ValueError, match="successes"):
            call()


def test_a_sample_larger_than_its_population_is_refused() -> None:
    with pytest.raises(ValueError, match="population of 3"):
        wilson_finite(1, 4, 3)
    with pytest.raises(ValueError, match="population of 1"):
        mean_t([1, 2], population=1)


@pytest.mark.parametrize("bad", [nan, inf, -inf])
def test_numbers_that_are_none_are_refused_not_averaged(bad: float) -> None:
    for call in (mean_and_sd, mean_t, median_interval):
        with pytest.raises(ValueError, match="finite"):
            call([1.0, bad, 2.0])
    with pytest.raises(ValueError, match="finite"):
        quantile([bad], 0.5)


def test_other_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="q must"):
        quantile([1.0], 1.5)
    with pytest.raises(ValueError, match="missing"):
        missing_bounds(1, 2, -1)
    with pytest.raises(ValueError, match="side"):
        one_sided_bound(1, 2, "both")  # type: ignore[arg-type]


def test_importing_intervals_loads_neither_scipy_nor_numpy() -> None:
    code = (
        "import sys; from llm_batch.stats import interval, means;"
        "interval.wilson(7, 10); means.mean_and_sd([1, 2]);"
        "print({'scipy', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


# Properties.


@given(finite_counts(), levels)
def test_rates_stay_within_0_and_1_and_hold_their_value(
    sample: tuple[int, int, int], level: float
) -> None:
    k, n, population = sample
    for interval in (
        wilson(k, n, level),
        wilson_finite(k, n, population, level),
        clopper_pearson(k, n, level),
        one_sided_bound(k, n, "lower", level),
        one_sided_bound(k, n, "upper", level),
    ):
        low, high = bounds(interval)
        assert interval.value == k / n
        assert 0 <= low <= k / n <= high <= 1


@given(scores, levels)
def test_means_and_medians_lie_within_their_bounds(values: list[float], level: float) -> None:
    for interval in (mean_t(values, level), median_interval(values, level)):
        if interval.low is not None:
            low, high = bounds(interval)
            assert interval.value is not None
            assert low <= interval.value <= high


@given(counts(), st.integers(2, 20), levels)
def test_at_one_rate_more_items_give_a_narrower_interval(
    sample: tuple[int, int], times: int, level: float
) -> None:
    k, n = sample
    population = n * times + 1
    assert width(wilson(k * times, n * times, level)) < width(wilson(k, n, level))
    assert width(clopper_pearson(k * times, n * times, level)) < width(clopper_pearson(k, n, level))
    assert width(wilson_finite(k * times, n * times, population, level)) < width(
        wilson_finite(k, n, population, level)
    )


@given(finite_counts())
def test_a_higher_level_contains_a_lower_one(sample: tuple[int, int, int]) -> None:
    k, n, population = sample
    for made in (
        [wilson(k, n, level) for level in LEVELS],
        [clopper_pearson(k, n, level) for level in LEVELS],
        [wilson_finite(k, n, population, level) for level in LEVELS],
    ):
        for inner, outer in pairwise(map(bounds, made)):
            assert outer[0] <= inner[0] and inner[1] <= outer[1]


@given(finite_counts(), levels)
def test_failures_mirror_successes(sample: tuple[int, int, int], level: float) -> None:
    k, n, population = sample
    for one, other in (
        (wilson(k, n, level), wilson(n - k, n, level)),
        (clopper_pearson(k, n, level), clopper_pearson(n - k, n, level)),
        (wilson_finite(k, n, population, level), wilson_finite(n - k, n, population, level)),
        (one_sided_bound(k, n, "lower", level), one_sided_bound(n - k, n, "upper", level)),
    ):
        low, high = bounds(other)
        assert bounds(one) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@given(finite_counts())
def test_a_finite_population_never_widens_and_keeps_to_the_possible(
    sample: tuple[int, int, int],
) -> None:
    k, n, population = sample
    low, high = bounds(wilson_finite(k, n, population))
    wide = bounds(wilson(k, n))
    assert wide[0] - 1e-12 <= low and high <= wide[1] + 1e-12
    if n < population:
        assert k / population <= low and high <= (population - n + k) / population


@given(counts(), st.integers(0, 500))
def test_missing_bounds_hold_every_way_the_missing_could_end(
    sample: tuple[int, int], missing: int
) -> None:
    k, n = sample
    pair = missing_bounds(k, n, missing)
    assert pair is not None
    assert 0 <= pair[0] <= k / n <= pair[1] <= 1
    assert pair[1] - pair[0] == pytest.approx(missing / (n + missing))


# Coverage: what is called 95 % holds the truth 95 times of 100. Seeded, so it is one outcome.


def test_wilson_covers_95_percent_on_average_at_384() -> None:
    rng = np.random.default_rng(20240384)
    truths = rng.uniform(size=4000)
    hits = 0
    for truth, k in zip(truths, rng.binomial(384, truths), strict=True):
        low, high = bounds(wilson(int(k), 384))
        hits += low <= truth <= high
    assert 0.94 < hits / 4000 < 0.96


def test_wilson_covers_93_8_percent_at_worst_where_wald_falls_further() -> None:
    n, counted = 384, np.arange(385)
    made = np.array([bounds(wilson(k, n)) for k in range(n + 1)])
    wald = np.array(proportion_confint(counted, n, method="normal")).T

    def worst(pairs: np.ndarray) -> float:
        # Coverage jumps where a bound is passed, so it is least just beside one.
        rates = np.concatenate([pairs.ravel() - 1e-9, pairs.ravel() + 1e-9])
        rates = rates[(rates >= 0.05) & (rates <= 0.95)]
        holds = (pairs[:, :1] <= rates) & (rates <= pairs[:, 1:])
        return float((stats.binom.pmf(counted[:, None], n, rates) * holds).sum(axis=0).min())

    assert worst(made) == pytest.approx(0.9382, abs=5e-5)
    assert worst(wald) == pytest.approx(0.9247, abs=5e-5)


def test_clopper_pearson_never_covers_less_than_it_says() -> None:
    n, rates = 50, np.linspace(0.001, 0.999, 999)
    made = np.array([bounds(clopper_pearson(k, n)) for k in range(n + 1)])
    chance = stats.binom.pmf(np.arange(n + 1)[:, None], n, rates)
    holds = (made[:, :1] <= rates) & (rates <= made[:, 1:])
    assert (chance * holds).sum(axis=0).min() >= 0.95 - 1e-9


def test_the_finite_interval_covers_95_percent_where_the_plain_one_wastes_width() -> None:
    rng = np.random.default_rng(20241000)
    population, n, rounds = 1000, 384, 4000
    finite_hits = plain_hits = 0
    for good in rng.integers(50, 951, size=rounds):
        k = int(rng.hypergeometric(good, population - good, n))
        low, high = bounds(wilson_finite(k, n, population))
        finite_hits += low <= good / population <= high
        low, high = bounds(wilson(k, n))
        plain_hits += low <= good / population <= high
    assert 0.94 < finite_hits / rounds < 0.96
    assert plain_hits / rounds > 0.97


def test_the_t_interval_covers_the_mean_of_a_finite_dataset() -> None:
    rng = np.random.default_rng(20240040)
    dataset = rng.integers(1, 6, size=200).astype(float)
    truth = dataset.mean()
    hits = 0
    for _ in range(2000):
        low, high = bounds(mean_t(rng.choice(dataset, 40, replace=False), population=200))
        hits += low <= truth <= high
    assert 0.935 < hits / 2000 < 0.965


def test_the_median_interval_covers_at_least_95_percent() -> None:
    rng = np.random.default_rng(20240025)
    hits = 0
    for _ in range(2000):
        low, high = bounds(median_interval(rng.exponential(size=25)))
        hits += low <= np.log(2) <= high
    assert 0.945 < hits / 2000 < 0.97


def test_a_long_array_has_the_mean_and_sd_of_the_same_list() -> None:
    rng = np.random.default_rng(7)
    values = array("d", rng.normal(1e6, 1e-3, 60_000))
    assert mean_and_sd(values) == pytest.approx(mean_and_sd(list(values)), rel=1e-12)
    assert mean_t(values, population=70_000) == mean_t(values, 0.95, 70_000)
    equal = array("d", [0.1]) * 60_000
    assert mean_and_sd(equal) == (0.1, 0.0)
    with pytest.raises(ValueError, match="finite"):
        mean_and_sd(array("d", [nan]) * 60_000)


@pytest.mark.parametrize("size", [500.0, inf], ids=["a sample", "a census"])
def test_bounds_hold_whatever_is_missing(size: float) -> None:
    found = missing_interval(0.9, (0.72, size), (0.92, size), n=400)
    assert found.low is not None and found.high is not None
    if size == inf:
        assert (found.low, found.high) == (0.72, 0.92)
        return
    # The ends lie far apart, so each bound is a one-sided one.
    one = wilson(360, 500, 0.9), wilson(460, 500, 0.9)
    assert (found.low, found.high) == pytest.approx((one[0].low, one[1].high), abs=1e-6)


def test_without_anything_missing_the_bounds_are_wilsons() -> None:
    found, plain = missing_interval(0.9, (0.9, 400), (0.9, 400)), wilson(360, 400)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-9)


@pytest.mark.parametrize(("k", "n"), [(9, 10), (3, 40), (20, 30)])
def test_jeffreys_bounds_are_those_of_statsmodels(k: int, n: int) -> None:
    found = jeffreys(k, n)
    assert (found.low, found.high) == pytest.approx(proportion_confint(k, n, method="jeffreys"))
    assert jeffreys(0, n).low == 0 and jeffreys(n, n).high == 1


@pytest.mark.parametrize(("q", "least"), [(0.95, 72), (0.99, 368)])
def test_a_tail_has_bounds_once_there_are_enough_values(q: float, least: int) -> None:
    assert quantile_interval(range(least - 1), q).low is None
    assert quantile_interval(range(least), q).low is not None


def test_the_bounds_of_a_quantile_cover_it() -> None:
    draws = np.sort(np.random.default_rng(1).exponential(size=(2000, 200)))
    truth = -np.log(0.05)
    inside = [
        found.low <= truth <= found.high  # type: ignore[operator]
        for found in (quantile_interval(list(map(float, draw)), 0.95) for draw in draws)
    ]
    assert sum(inside) / 2000 >= 0.94


def test_scores_at_the_ceiling_keep_a_width() -> None:
    assert mean_on_scale([5.0] * 20, 1, 5).low == pytest.approx(4.6203, abs=1e-4)
    draw = np.random.default_rng(2)
    share, values = [0.01, 0.01, 0.02, 0.06, 0.9], np.arange(1.0, 6.0)
    truth, runs = float(values @ share), draw.choice(values, p=share, size=(2000, 20))
    own = [mean_t(list(map(float, run))) for run in runs]
    held = [mean_on_scale(list(map(float, run)), 1, 5) for run in runs]
    covered = [
        sum((each.low or 0) <= truth <= (each.high or 0) for each in found) / 2000
        for found in (own, held)
    ]
    assert covered[0] < 0.8 and covered[1] >= 0.95


def _filled(values: list[float], missing: int, *ends: float) -> Callable[..., tuple[Any, Any]]:
    return lambda level: tuple(mean_t([*values, *[end] * missing], level) for end in ends)


def test_a_mean_with_scores_missing_is_bounded_at_both_ends_of_the_scale() -> None:
    values = [5.0] * 60 + [4.0] * 20 + [3.0] * 10
    found = missing_mean(4.5556, _filled(values, 10, 1.0, 5.0), n=90)
    # The ends lie 0.4 apart, three standard errors: each bound is all but a one-sided one at 5 %.
    low, high = (mean_t([*values, *[end] * 10], 0.90) for end in (1.0, 5.0))
    assert (found.value, found.n, found.method) == (4.5556, 90, WHATEVER_MISSING)
    assert found.low == pytest.approx(low.low, abs=0.003)
    assert found.high == pytest.approx(high.high, abs=0.003)
    assert found.low is not None and low.low is not None and found.low <= low.low


def test_a_mean_with_nothing_missing_keeps_its_own_interval() -> None:
    values = [5.0, 4.0, 2.0, 5.0, 1.0]
    plain = mean_t(values)
    found = missing_mean(plain.value or 0.0, _filled(values, 0, 1.0, 5.0), n=5)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))


@pytest.mark.parametrize("df", [3, 5, 10, 99, 1999, 50_000, 10**6])
def test_the_quantile_of_t_agrees_with_scipy(df: int) -> None:
    from scipy.special import stdtrit

    expected = -float(stdtrit(df, 0.025))
    assert t_value(0.95, df) == pytest.approx(
        expected, rel=0.01 if df < 6 else 0.001 if df < 5000 else 1e-12
    )


@pytest.mark.parametrize("q", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999999])
@pytest.mark.parametrize("n", [50_000, 333_333, 10**6])
def test_the_bounds_of_a_quantile_of_a_long_sample_are_scipys(
    n: int, level: float, q: float
) -> None:
    """The k-th value is k here, so that bounds are ranks."""
    values = array("d", range(1, n + 1))
    tail = (1 - level) / 2
    # The least j that more than the tail stay within, which the quantile function gives too.
    low, high = (int(stats.binom.ppf(chance, n, q)) for chance in (tail, 1 - tail))
    assert bounds(quantile_interval(values, q, level)) == (low, high + 1)
    if q == 0.5:
        assert bounds(median_interval(values, level)) == (low, n - low + 1)


def test_the_figures_of_a_long_sample_leave_scipy_out() -> None:
    script = """
import sys
from array import array
from llm_batch.stats import means
values = array("d", range(50_000))
means.mean_t(values), means.median_interval(values), means.quantile_interval(values, 0.95)
assert "numpy" in sys.modules and "scipy" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
