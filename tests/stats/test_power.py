"""Sizes meet the textbooks and statsmodels, and strata share a sample as promised."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from itertools import product
from math import ceil, comb, inf, nan

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]
from statsmodels.stats.power import (  # type: ignore[import-untyped]
    normal_sample_size_one_tail,
)
from statsmodels.stats.proportion import (  # type: ignore[import-untyped]
    samplesize_confint_proportion,
    samplesize_proportions_2indep_onetail,
)

from llm_batch.stats.interval import one_sided_bound
from llm_batch.stats.power import (
    SampleSize,
    allocate,
    cochran,
    design_effect,
    imperfect_judge_factor,
    margin_of,
    mean_size,
    neyman,
    paired_rates_size,
    paired_scores_size,
    sample_size,
    two_rates_size,
    zero_failures_size,
)

margins = st.floats(0.005, 0.4)
rates = st.floats(0.01, 0.99)
levels = st.floats(0.5, 0.999)
populations = st.integers(1, 10**6)
strata = st.dictionaries(st.text(max_size=3), st.integers(0, 400), max_size=12)


# Sizes for one rate or mean.


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


# Sizes for comparisons.


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


# Factors and the rest.


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


@pytest.mark.parametrize("bad", [0.0, 1.0, -0.2, 5, nan, inf])
def test_fractions_outside_0_and_1_are_refused(bad: float) -> None:
    for call in (
        lambda: cochran(bad),
        lambda: cochran(0.05, bad),
        lambda: cochran(0.05, 0.95, bad),
        lambda: sample_size(bad),
        lambda: margin_of(10, 0.95, bad),
        lambda: margin_of(10, bad),
        lambda: mean_size(1, 1, bad),
        lambda: two_rates_size(bad, 0.5),
        lambda: two_rates_size(0.5, bad),
        lambda: two_rates_size(0.4, 0.5, bad),
        lambda: two_rates_size(0.4, 0.5, 0.95, bad),
        lambda: paired_rates_size(0.1, 0.2, 0.95, bad),
        lambda: paired_scores_size(0.1, 0.2, power=bad),
        lambda: zero_failures_size(bad),
        lambda: zero_failures_size(0.1, bad),
    ):
        with pytest.raises(ValueError, match=r"between 0 and 1|power"):
            call()


@pytest.mark.parametrize("bad", [0.0, -1.0, nan, inf])
def test_spreads_and_margins_of_means_must_be_positive(bad: float) -> None:
    calls: list[Callable[[], object]] = [
        lambda: mean_size(bad, 0.1),
        lambda: mean_size(1.0, bad),
        lambda: paired_scores_size(0.1, bad),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"above 0|negative"):
            call()


def test_questions_without_an_answer_are_refused() -> None:
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: two_rates_size(0.8, 0.8), "equal rates"),
        (lambda: paired_rates_size(0, 0.1), "delta"),
        (lambda: paired_rates_size(0.2, 0.1), "discordance"),
        (lambda: paired_rates_size(0.2, 1.1), "discordance"),
        (lambda: paired_scores_size(0, 0.1), "delta"),
        (lambda: paired_scores_size(0.1, 0.1, -1), "negative"),
        (lambda: paired_scores_size(0.1, 0.1, repeats_a=0), "repeats"),
        (lambda: design_effect(0.5, 0.1), "cluster_size"),
        (lambda: design_effect(2, 1.1), "rho"),
        (lambda: imperfect_judge_factor(1.1, 0.5), "within"),
        (lambda: imperfect_judge_factor(0.7, 0.3), "chance"),
        (lambda: imperfect_judge_factor(0.2, 0.3), "chance"),
        (lambda: margin_of(0), "at least 1"),
        (lambda: margin_of(11, population=10), "population of 10"),
        (lambda: sample_size(0.05, population=0), "population"),
        (lambda: mean_size(1, 1, population=0), "population"),
        (lambda: cochran(1e-200), "beyond any number"),
        (lambda: mean_size(1, 1e-200), "beyond any number"),
    ]
    for call, words in cases:
        with pytest.raises(ValueError, match=words):
            call()


def test_planning_loads_neither_scipy_nor_numpy() -> None:
    code = (
        "import sys, llm_batch.stats.power as p; p.sample_size(population=30000);"
        "p.neyman({'a': 9}, {'a': 1.0}, 3); p.two_rates_size(0.8, 0.83); p.zero_failures_size(0.1);"
        "print({'scipy', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


# Strata.


@pytest.mark.parametrize(
    ("sizes", "n", "expected"),
    [
        pytest.param({"a": 700, "b": 200, "c": 100}, 384, [269, 77, 38], id="by remainder"),
        pytest.param({"a": 50, "b": 50}, 7, [4, 3], id="a tie goes to the first name"),
        pytest.param({"b": 50, "a": 50}, 7, [3, 4], id="whatever the order"),
        pytest.param({"a": 1000, "b": 10, "c": 1}, 100, [97, 2, 1], id="at least 2 or all"),
        pytest.param({"a": 3, "b": 4}, 99, [3, 4], id="no more than there is"),
        pytest.param({"a": 9, "b": 5, "c": 1}, 4, [2, 1, 1], id="too few: rounds by size"),
        pytest.param({"a": 1, "b": 5, "c": 9}, 2, [0, 1, 1], id="fewer than strata"),
        pytest.param({"a": 0, "b": 5}, 3, [0, 3], id="an empty stratum"),
        pytest.param({"a": 5, "b": 5}, 0, [0, 0], id="nothing to share"),
        pytest.param({}, 5, [], id="no strata"),
        pytest.param({"a": 0}, 5, [0], id="no items"),
    ],
)
def test_shares_in_proportion(sizes: dict[str, int], n: int, expected: list[int]) -> None:
    shares = allocate(sizes, n)
    assert list(shares) == list(sizes)
    assert list(shares.values()) == expected


@pytest.mark.parametrize(
    ("sizes", "sds", "n", "expected"),
    [
        pytest.param((1000, 1000), (1, 3), 100, (25, 75), id="by spread"),
        pytest.param((300, 100), (1, 3), 40, (20, 20), id="size times spread"),
        pytest.param((1000, 30), (1, 100), 100, (70, 30), id="a full stratum frees the rest"),
        pytest.param((1000, 1000), (0, 1), 100, (2, 98), id="no spread still gets 2"),
        pytest.param((10, 10), (1, 0), 15, (10, 5), id="the rest goes where there is room"),
        pytest.param((30, 10), (0, 0), 8, (6, 2), id="no spread at all: by size"),
    ],
)
def test_shares_by_spread(
    sizes: tuple[int, int], sds: tuple[float, float], n: int, expected: tuple[int, int]
) -> None:
    shares = neyman(dict(zip("ab", sizes, strict=True)), dict(zip("ab", sds, strict=True)), n)
    assert tuple(shares.values()) == expected


def check_bounds(sizes: dict[str, int], shares: dict[str, int], n: int) -> None:
    assert sum(shares.values()) == min(n, sum(sizes.values()))
    assert all(0 <= shares[name] <= size for name, size in sizes.items())
    if n >= sum(min(2, size) for size in sizes.values()):
        assert all(shares[name] >= min(2, size) for name, size in sizes.items())


@given(strata, st.integers(0, 5000))
def test_proportional_shares_add_up_and_keep_their_bounds(sizes: dict[str, int], n: int) -> None:
    shares = allocate(sizes, n)
    check_bounds(sizes, shares, n)
    assert list(shares) == list(sizes)


@given(strata, st.integers(0, 5000), st.data())
def test_neyman_shares_add_up_and_keep_their_bounds(
    sizes: dict[str, int], n: int, data: st.DataObject
) -> None:
    sd = st.one_of(st.just(0.0), st.floats(0, 1e6))
    sds = {name: data.draw(sd) for name in sizes}
    check_bounds(sizes, neyman(sizes, sds, n), n)


@given(strata, st.integers(0, 5000), st.floats(1e-6, 1e6))
def test_equal_spread_is_proportional(sizes: dict[str, int], n: int, sd: float) -> None:
    assert neyman(sizes, dict.fromkeys(sizes, sd), n) == allocate(sizes, n)


@given(strata, st.integers(0, 5000))
def test_no_stratum_is_an_item_away_from_its_quota(sizes: dict[str, int], n: int) -> None:
    total = sum(sizes.values())
    quotas = {name: min(n, total) * size / max(1, total) for name, size in sizes.items()}
    assume(all(quotas[name] >= min(2, size) for name, size in sizes.items()))
    for name, share in allocate(sizes, n).items():
        assert abs(share - quotas[name]) < 1


@given(strata, st.integers(0, 3000), st.integers(1, 500))
def test_a_larger_sample_takes_at_most_one_item_back_from_a_stratum(
    sizes: dict[str, int], n: int, more: int
) -> None:
    before, after = allocate(sizes, n), allocate(sizes, n + more)
    assert all(after[name] >= before[name] - 1 for name in sizes)


@given(strata, st.integers(0, 30))
def test_samples_too_small_for_two_each_are_nested(sizes: dict[str, int], n: int) -> None:
    assume(n < sum(min(2, size) for size in sizes.values()))
    before, after = allocate(sizes, n), allocate(sizes, n + 1)
    assert all(after[name] >= before[name] for name in sizes)


def test_the_alabama_paradox_is_as_documented() -> None:
    sizes = {"a": 600, "b": 600, "c": 200}
    assert allocate(sizes, 24) == {"a": 10, "b": 10, "c": 4}
    assert allocate(sizes, 25) == {"a": 11, "b": 11, "c": 3}


@given(st.permutations(["a", "b", "c", "d"]), st.integers(0, 60))
def test_the_order_of_strata_does_not_matter(names: list[str], n: int) -> None:
    sizes = {"a": 20, "b": 20, "c": 13, "d": 7}
    assert allocate({name: sizes[name] for name in names}, n) == allocate(sizes, n)


@pytest.mark.parametrize("seed", range(20))
def test_neyman_comes_within_a_rounding_of_the_best_of_all_allocations(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = {name: int(size) for name, size in zip("abc", rng.integers(3, 25, 3), strict=True)}
    sds = {name: float(sd) for name, sd in zip("abc", rng.uniform(0.1, 3, 3), strict=True)}
    n = int(rng.integers(6, sum(sizes.values()) + 1))

    def variance(shares: dict[str, int]) -> float:
        return sum((sizes[h] * sds[h]) ** 2 * (1 / shares[h] - 1 / sizes[h]) for h in sizes)

    options = [
        dict(zip("abc", option, strict=True))
        for option in product(*(range(2, sizes[name] + 1) for name in "abc"))
        if sum(option) == n
    ]
    assert len(options) <= comb(n, 2)
    best = min(map(variance, options))
    chosen = neyman(sizes, sds, n)
    assert variance(chosen) <= best * 1.1 + 1e-9
    assert variance(chosen) <= variance(allocate(sizes, n)) * 1.02 + 1e-9


def test_strata_that_make_no_sense_are_refused() -> None:
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: allocate({"a": -1}, 3), "negative"),
        (lambda: allocate({"a": 1}, -3), "negative"),
        (lambda: neyman({"a": 1, "b": 2}, {"a": 1.0}, 2), r"same strata.*b"),
        (lambda: neyman({"a": 1}, {"a": -1.0}, 1), "sd of stratum 'a'"),
        (lambda: neyman({"a": 1}, {"a": nan}, 1), "sd of stratum 'a'"),
        (lambda: neyman({"a": 1}, {"a": inf}, 1), "sd of stratum 'a'"),
    ]
    for call, words in cases:
        with pytest.raises(ValueError, match=words):
            call()
