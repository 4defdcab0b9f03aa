"""Confidence sequences: known values, and what continuous looking costs."""

from __future__ import annotations

import random
from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.stats.sequential import (
    T_OPT,
    BoundedMean,
    _log_evidence,
    beta_binomial,
    prior_posterior_ratio,
)


def test_the_authors_own_example() -> None:
    # confseq: bernoulli_confidence_interval(700, 1000, alpha=0.05, t_opt=100)
    found = beta_binomial(700, 1000, t_opt=100)
    assert found.low == pytest.approx(0.651629, abs=1e-6)
    assert found.high == pytest.approx(0.745949, abs=1e-6)


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_rate_lies_inside_and_more_confidence_is_wider(
    n: int, share: float, level: float
) -> None:
    passed = round(n * share)
    found, wider = beta_binomial(passed, n, level), beta_binomial(passed, n, 0.999)
    assert found.low is not None and found.high is not None
    assert wider.low is not None and wider.high is not None
    assert 0 <= wider.low <= found.low <= passed / n <= found.high <= wider.high <= 1
    assert found.low < found.high


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 500))
def test_a_sample_without_replacement_allows_only_what_is_possible(
    passed: int, failed: int, rest: int
) -> None:
    n, population = passed + failed, passed + failed + rest
    found = prior_posterior_ratio(passed, n, population) if population else None
    if found is None or n == 0:
        return
    assert found.low is not None and found.high is not None
    assert passed / population <= found.low <= found.high <= (population - failed) / population
    if rest == 0:
        assert found.low == found.high == passed / n


def test_the_set_is_that_of_its_definition() -> None:
    # By brute force: totals whose posterior is at least 5 % of the uniform prior.
    from math import comb

    def posterior(total: int) -> float:
        ways = comb(total, 14) * comb(60 - total, 6)
        return ways / sum(comb(t, 14) * comb(60 - t, 6) for t in range(61))

    inside = [total for total in range(61) if posterior(total) >= 0.05 / 61]
    found = prior_posterior_ratio(14, 20, 60)
    assert (found.low, found.high) == (inside[0] / 60, inside[-1] / 60)


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.95])
def test_looking_after_every_item_is_wrong_in_less_than_5_percent_of_runs(rate: float) -> None:
    generator = random.Random(int(rate * 100))
    wrong = 0
    for _ in range(500):
        passed = 0
        for n in range(1, 401):
            passed += generator.random() < rate
            # The interval ends where the evidence passes the threshold.
            if _log_evidence(rate, passed, n, T_OPT) > -log(0.05):
                found = beta_binomial(passed, n)
                assert found.low is not None and found.high is not None
                assert not found.low <= rate <= found.high
                wrong += 1
                break
    assert wrong / 500 < 0.05


def test_the_mean_of_scores_is_within_its_sequence_at_every_look() -> None:
    generator = random.Random(3)
    wrong = 0
    for _ in range(200):
        mean = BoundedMean(1, 5)
        for _ in range(300):
            mean.add(generator.choice([1, 4, 4, 5, 5]))
            found = mean.interval()
            assert found.low is not None and found.high is not None
            if not found.low <= 3.8 <= found.high:
                wrong += 1
                break
    assert wrong / 200 < 0.05
    assert found.high - found.low < 0.7


def test_nothing_known_is_said_to_be_unknown() -> None:
    for found in (
        beta_binomial(0, 0),
        prior_posterior_ratio(0, 0, 9),
        BoundedMean(0, 1).interval(),
    ):
        assert (found.value, found.low, found.high) == (None, None, None)


def test_numbers_that_make_no_sense_are_refused() -> None:
    for wrong in (
        lambda: beta_binomial(2, 1),
        lambda: beta_binomial(1, 2, 1.0),
        lambda: prior_posterior_ratio(1, 3, 2),
        lambda: BoundedMean(1, 1),
        lambda: BoundedMean(0, 1).add(2),
    ):
        with pytest.raises(ValueError, match=r"."):
            wrong()
