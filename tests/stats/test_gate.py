"""Gates: both sides of a limit at their level, against tests of others and by simulation."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from scipy import stats as oracle

from llm_batch.stats import gate
from llm_batch.stats.clusters import ClusterSums
from llm_batch.stats.gate import (
    at_least,
    bounded,
    clustered_test,
    decide,
    mean_test,
    quantile_ratio_test,
    rate_test,
    ratio_test,
)
from llm_batch.stats.sizes import margin_rates_size, paired_rates_size

NUMBERS = random.Random(5)
COSTS = [NUMBERS.lognormvariate(0, 0.5) for _ in range(200)]
DEARER = [1.1 * cost * NUMBERS.lognormvariate(0, 0.2) for cost in COSTS]


def _verdict(test: gate.Tested, level: float = 0.95) -> str:
    return decide([test], level)[0]


def test_at_no_difference_it_is_mcnemars_test_on_one_side() -> None:
    """The score statistic is (gained - lost) / sqrt(gained + lost) there."""
    test = rate_test(12, 30, 200, 0.0)
    assert test.p_failed == pytest.approx(oracle.norm.cdf(-18 / 42**0.5))
    assert test.p_passed == pytest.approx(1 - oracle.norm.cdf(-18 / 42**0.5))


@pytest.mark.parametrize("lost", range(0, 60, 3))
def test_a_rate_is_decided_exactly_where_its_bound_reaches_the_limit(lost: int) -> None:
    for limit in (-0.1, -0.02, 0.0, 0.05):
        test = rate_test(12, lost, 200, limit)
        low, high = test.interval.low, test.interval.high
        assert low is not None and high is not None
        expected = "passed" if low > limit else "failed" if high < limit else "undecided"
        assert _verdict(test) == expected


def test_means_and_ratios_agree_with_the_paired_t_test() -> None:
    changes = [after - before for before, after in zip(COSTS, DEARER, strict=True)]
    test = mean_test(changes, 0.05)
    assert test.p_passed == pytest.approx(
        oracle.ttest_1samp(changes, 0.05, alternative="greater").pvalue
    )
    ratio = ratio_test(COSTS, DEARER, 1.2)
    left = [after - 1.2 * before for before, after in zip(COSTS, DEARER, strict=True)]
    assert ratio.p_passed == pytest.approx(oracle.ttest_1samp(left, 0, alternative="less").pvalue)
    # Fieller's bounds are the ratios at which that test is on the edge.
    for bound, p_value in ((ratio.interval.low, "p_failed"), (ratio.interval.high, "p_passed")):
        assert bound is not None
        assert getattr(ratio_test(COSTS, DEARER, bound), p_value) == pytest.approx(0.05)


def test_where_every_item_costs_the_same_multiple_it_is_known() -> None:
    twice = [2 * cost for cost in COSTS]
    assert [_verdict(ratio_test(COSTS, twice, most)) for most in (1.9, 2.0, 2.1)] == [
        "failed", "passed", "passed",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="divide"):
        ratio_test([0.0, 0.0], [1.0, 2.0], 1.2)


def test_slow_tails_are_found_and_few_items_have_none() -> None:
    slow = [2 * seconds for seconds in COSTS]
    assert _verdict(quantile_ratio_test(COSTS, slow, 0.95, 1.2)) == "failed"
    assert _verdict(quantile_ratio_test(COSTS, slow, 0.95, 4.0)) == "passed"
    assert _verdict(quantile_ratio_test(COSTS[:40], slow[:40], 0.95, 1.2)) == "undecided"


def test_scores_that_all_agree_pass_only_with_enough_of_them_on_a_known_scale() -> None:
    assert _verdict(mean_test([0.0] * 400, -0.1)) == "undecided"  # nothing says how far one goes
    assert _verdict(mean_test([0.0] * 100, -0.1, width=4)) == "undecided"
    few = mean_test([0.0] * 100, -0.1, width=4)
    assert few.needed is not None
    assert _verdict(mean_test([0.0] * few.needed, -0.1, width=4)) == "passed"
    assert _verdict(mean_test([0.0] * (few.needed - 1), -0.1, width=4)) == "undecided"


def test_a_rate_of_its_own_is_held_against_a_number_by_the_binomial_test() -> None:
    test = at_least(185, 200, 0.9)
    assert test.p_passed == pytest.approx(
        oracle.binomtest(185, 200, 0.9, alternative="greater").pvalue
    )
    assert test.p_failed == pytest.approx(
        oracle.binomtest(185, 200, 0.9, alternative="less").pvalue
    )
    assert [_verdict(at_least(passed, 200, 0.9)) for passed in (165, 180, 190)] == [
        "failed", "undecided", "passed",
    ]  # fmt: skip


def test_documents_that_change_as_a_whole_count_as_one() -> None:
    clusters = {str(n): ClusterSums(10, -10.0 * (n < 3), 10.0 * (n < 3)) for n in range(10)}
    assert _verdict(rate_test(0, 30, 100, 0.0)) == "failed"
    test = clustered_test(clusters, 0.0)
    assert _verdict(test) == "failed" and test.p_failed == pytest.approx(
        oracle.ttest_1samp([-1.0] * 3 + [0.0] * 7, 0, alternative="less").pvalue
    )


def test_several_checks_fail_after_holm_and_pass_as_they_are() -> None:
    failing, passing = rate_test(2, 8, 100, 0.0), rate_test(60, 1, 200, 0.0)
    assert failing.p_failed is not None and 0.01 < failing.p_failed < 0.05
    assert decide([failing], 0.95) == ["failed"]
    assert decide([failing] + [passing] * 4, 0.95) == ["undecided"] + ["passed"] * 4
    assert decide([replace(failing, p_failed=None, p_passed=None)], 0.95) == ["undecided"]


def test_as_many_items_as_it_says_decide_it_in_eight_of_ten_cases() -> None:
    test = rate_test(20, 20, 400, -0.02)
    assert _verdict(test) == "undecided" and test.needed is not None
    draw, found = random.Random(3), Counter[str]()
    for _ in range(300):
        changes = draw.choices((1, -1, 0), (0.05, 0.05, 0.9), k=test.needed)
        counts = changes.count(1), changes.count(-1)
        found[_verdict(rate_test(*counts, test.needed, -0.02))] += 1
    assert 220 <= found["passed"] <= 260 and not found["failed"]


def test_sizes_at_a_margin_have_known_answers() -> None:
    assert margin_rates_size(0.03, 0.09, 0.0) == paired_rates_size(0.03, 0.09, 0.9)
    assert margin_rates_size(0.0, 0.1, -0.02) == 1542
    assert margin_rates_size(-0.02, 0.1, -0.02) is None
    needed = margin_rates_size(0.0, 0.0, -0.02)
    assert needed == 133
    assert _verdict(rate_test(0, 0, needed, -0.02)) == "passed"
    assert _verdict(rate_test(0, 0, needed - 1, -0.02)) == "undecided"


def test_any_bounds_decide_as_they_lie() -> None:
    interval = replace(at_least(90, 100, 0.5).interval, low=0.85, high=0.95)
    verdicts = [_verdict(bounded(interval, limit, "above")) for limit in (0.84, 0.86, 0.94, 0.96)]
    assert verdicts == ["passed", "undecided", "undecided", "failed"]
    assert _verdict(bounded(interval, 0.84, "below")) == "failed"
    assert _verdict(bounded(replace(interval, low=None, high=None), 0.84, "above")) == "undecided"
