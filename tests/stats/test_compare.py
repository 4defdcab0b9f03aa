"""Differences of rates and means, against published figures and independent computations."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as oracle

from llm_batch.stats.compare import (
    fisher_mid_p,
    holm,
    mcnemar_exact,
    mcnemar_mid_p,
    paired_difference,
    paired_mean_difference,
    unpaired_difference,
    unpaired_p_value,
)
from llm_batch.stats.sizes import paired_rates_size

SLEEP_ONE = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_TWO = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_tangos_interval_has_the_published_bounds() -> None:
    interval = paired_difference(1, 7, 21)
    assert interval.value == pytest.approx(-0.286, abs=5e-4)
    assert (interval.low, interval.high) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(
    "counts", [(6, 16, 161), (3, 1, 40), (0, 4, 30), (9, 9, 50), (40, 20, 300)]
)
def test_tangos_bounds_are_where_the_score_test_rejects(counts: tuple[int, int, int]) -> None:
    """The maximum of the likelihood under each bound is searched for instead of solved."""
    gained, lost, n = counts
    interval = paired_difference(gained, lost, n)
    for bound in (interval.low, interval.high):
        assert bound is not None

        def surprise(share: float, bound: float = bound) -> float:
            better, same = share + bound, 1 - 2 * share - bound
            if min(share, better, same) <= 0:
                return math.inf
            return -(
                gained * math.log(better)
                + lost * math.log(share)
                + (n - gained - lost) * math.log(same)
            )

        least, most = max(0.0, -bound), (1 - bound) / 2
        share = optimize.minimize_scalar(
            surprise, bounds=(least, most), method="bounded", options={"xatol": 1e-12}
        ).x
        variance = (2 * share + bound - bound**2) / n
        z = (interval.value - bound) / math.sqrt(variance)
        assert abs(z) == pytest.approx(1.959964, abs=2e-3)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=200, deadline=None)
def test_swapping_the_runs_turns_the_paired_difference_around(a: int, b: int, same: int) -> None:
    n = a + b + same
    one, two = paired_difference(a, b, n), paired_difference(b, a, n)
    if n == 0:
        assert one.value is None and one.low is None
        return
    assert one.low is not None and one.high is not None and two.low is not None
    assert -1 <= one.low <= one.value <= one.high <= 1  # type: ignore[operator]
    assert one.high - one.low > 0
    assert two.high == pytest.approx(-one.low, abs=1e-9)


@pytest.mark.parametrize(("rate", "up", "down"), [(0.6, 0.1, 0.06), (0.9, 0.03, 0.03)])
def test_tangos_interval_covers_the_true_difference(rate: float, up: float, down: float) -> None:
    draw, n, runs = random.Random(7), 150, 1500
    inside = 0
    for _ in range(runs):
        chances = [draw.random() for _ in range(n)]
        gained = sum(chance < up for chance in chances)
        lost = sum(up <= chance < up + down for chance in chances)
        interval = paired_difference(gained, lost, n)
        inside += interval.low <= up - down <= interval.high  # type: ignore[operator]
    assert 0.93 <= inside / runs <= 0.98


@pytest.mark.parametrize(("gained", "lost"), [(1, 7), (6, 16), (0, 0), (5, 5), (0, 5), (300, 251)])
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    changed = gained + lost
    expected = oracle.binomtest(gained, changed).pvalue if changed else 1.0
    assert mcnemar_exact(gained, lost) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_takes_a_million_changed_items() -> None:
    assert mcnemar_exact(500_000, 500_000) == 1
    assert 0 < mcnemar_exact(501_000, 499_000) < 0.05


def test_paired_means_have_students_published_answer() -> None:
    differences = [two - one for one, two in zip(SLEEP_ONE, SLEEP_TWO, strict=True)]
    interval, p_value = paired_mean_difference(differences)
    assert (interval.low, interval.value, interval.high) == pytest.approx(
        (0.7001, 1.58, 2.4599), abs=1e-4
    )
    assert p_value == pytest.approx(oracle.ttest_rel(SLEEP_TWO, SLEEP_ONE).pvalue, rel=1e-9)


def test_equal_differences_get_no_bounds_and_no_p_value() -> None:
    interval, p_value = paired_mean_difference([0.5, 0.5, 0.5])
    assert (interval.value, interval.low, interval.high, p_value) == (0.5, None, None, None)
    assert paired_mean_difference([])[0].value is None


def test_newcombes_interval_has_the_published_bounds() -> None:
    interval = unpaired_difference((48, 80), (56, 70))
    assert (interval.low, interval.value, interval.high) == pytest.approx(
        (0.0524, 0.2, 0.3339), abs=1e-4
    )
    # Same paper: 9/10 against 3/10, and 10/10 against 0/10.
    assert unpaired_difference((3, 10), (9, 10)).low == pytest.approx(0.1705, abs=1e-4)
    assert unpaired_difference((3, 10), (9, 10)).high == pytest.approx(0.8090, abs=1e-4)
    assert unpaired_difference((0, 10), (10, 10)).low == pytest.approx(0.6075, abs=1e-4)
    assert unpaired_difference((0, 10), (10, 10)).high == 1


def test_an_empty_group_has_no_difference() -> None:
    assert unpaired_difference((0, 0), (3, 5)).value is None
    assert unpaired_p_value((0, 0), (3, 5)) is None


def test_the_unpaired_p_value_is_pearsons_with_one_item_less() -> None:
    table = [[48, 32], [56, 14]]
    squared = oracle.chi2_contingency(table, correction=False).statistic * 149 / 150
    assert unpaired_p_value((48, 80), (56, 70)) == pytest.approx(
        oracle.chi2.sf(squared, 1), rel=1e-9
    )
    assert unpaired_p_value((5, 5), (9, 9)) == 1


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_never_shrinks_a_p_value(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    ranked = sorted(zip(p_values, adjusted, strict=True))
    assert all(first[1] <= second[1] for first, second in pairwise(ranked))


def test_holm_has_the_known_answer() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("counts", [(-1, 0, 5), (3, 3, 5)])
def test_counts_that_do_not_fit_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        paired_difference(*counts)
    with pytest.raises(ValueError, match="within 0 and 1"):
        holm([1.5])


@pytest.mark.parametrize("first", [(0, 1), (3, 9), (40, 60), (7, 7)])
@pytest.mark.parametrize("second", [(97, 100), (5, 30), (200, 300)])
def test_fishers_mid_p_is_the_exact_one_less_half_of_what_is_as_likely(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    (a, n), (b, m) = first, second
    exact = float(oracle.fisher_exact([[a, n - a], [b, m - b]]).pvalue)
    chances = oracle.hypergeom(n + m, a + b, n).pmf(range(n + 1))
    alike = sum(chance for chance in chances if math.isclose(chance, chances[a], rel_tol=1e-9))
    assert fisher_mid_p(first, second) == pytest.approx(exact - alike / 2, abs=1e-9)


def test_fishers_mid_p_of_groups_without_items_or_without_difference() -> None:
    assert fisher_mid_p((0, 0), (5, 9)) is None
    assert fisher_mid_p((4, 4), (9, 9)) == 1.0
    assert fisher_mid_p((500_000, 900_000), (500_000, 900_000)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("gained", "lost", "expected"),
    [(1, 7, 0.0391), (6, 16, 0.0347), (0, 5, 0.03125), (4, 4, 1.0), (0, 0, 1.0)],
)
def test_mcnemars_mid_p_has_the_published_values(gained: int, lost: int, expected: float) -> None:
    assert mcnemar_mid_p(gained, lost) == pytest.approx(expected, abs=5e-5)


def test_the_power_that_is_promised_is_had() -> None:
    """10 points at a discordance of 20 %: 155 pairs, by the sum over all that may be seen."""
    n, gain, loss = paired_rates_size(0.1, 0.2), 0.15, 0.05
    power = exact = 0.0
    for changed in range(n + 1):
        chance = oracle.binom.pmf(changed, n, gain + loss)
        for lost in range(changed + 1) if chance > 1e-9 else ():
            each = chance * oracle.binom.pmf(lost, changed, loss / (gain + loss))
            power += each * (mcnemar_mid_p(changed - lost, lost) < 0.05)
            exact += each * (mcnemar_exact(changed - lost, lost) < 0.05)
    assert exact < 0.78 < 0.79 < power
