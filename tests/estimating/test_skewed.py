"""The interval of a pilot: known answers, bounds, and that it covers what it says."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import exp, inf, log, sqrt
from statistics import mean, variance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_batch.estimating.ranges import LEVEL, _quantile, mean_of_unseen, quantile_for

Length = Callable[[random.Random], float]

#: Lengths of answers as they occur, from nearly even to very skewed.
LENGTHS: dict[str, Length] = {
    "nearly even": lambda pick: pick.lognormvariate(5, 0.3),
    "skewed": lambda pick: pick.lognormvariate(5, 0.9),
    "very skewed": lambda pick: pick.lognormvariate(5, 1.2),
    "exponential": lambda pick: 1 + pick.expovariate(0.01),
    "cut at max_tokens": lambda pick: min(400.0, pick.lognormvariate(5, 1.0)),
    "some failed": lambda pick: pick.lognormvariate(5, 0.6) * (pick.random() > 0.05),
}


@pytest.mark.parametrize("n", [10, 20, 50])
@pytest.mark.parametrize("kind", LENGTHS)
def test_it_covers_the_mean_of_the_rest_in_at_least_90_of_100_cases(kind: str, n: int) -> None:
    pick, length, covered, cases, rest = random.Random(f"{kind} {n}"), LENGTHS[kind], 0, 500, 100
    for _ in range(cases):
        values = [length(pick) for _ in range(n)]
        truth = mean(length(pick) for _ in range(rest))
        low, _, high = mean_of_unseen(values, rest)
        covered += low <= truth <= high
    assert covered / cases >= LEVEL


@pytest.mark.parametrize("df", [1, 2, 3, 9, 49])
def test_the_quantile_agrees_with_scipy(df: int) -> None:
    from scipy.special import stdtrit

    for level in (0.9, 0.93, 0.95):
        expected = -float(stdtrit(df, (1 - level) / 2))
        assert _quantile(level, df) == pytest.approx(expected, rel=2e-3)


def test_the_quantile_is_stricter_while_values_are_few_and_nominal_in_the_end() -> None:
    extra = [quantile_for(n) / _quantile(LEVEL, n - 1) for n in (5, 10, 50, 1000)]
    assert extra == sorted(extra, reverse=True)
    assert extra[0] > 1.1 and extra[-1] == pytest.approx(1, abs=1e-3)


def test_the_wider_of_students_and_the_modified_cox_interval_is_taken() -> None:
    values = [12.0, 20, 31, 47, 55, 80, 130, 210, 340, 900]
    t = quantile_for(10)
    logs = [log(each) for each in values]
    s2 = variance(logs)
    center, half = mean(logs) + s2 / 2, t * sqrt(s2 / 10 + s2**2 / 18)
    student = t * sqrt(variance(values) / 10)
    low, value, high = mean_of_unseen(values)
    assert value == mean(values)
    assert high == pytest.approx(max(value + student, exp(center + half)))
    assert low == pytest.approx(max(0, min(value - student, exp(center - half))))


def test_few_items_to_come_are_known_less_well_and_many_as_well_as_can_be() -> None:
    values = [3.0, 5, 4, 6, 9, 2, 4, 5]
    widths = []
    for unseen in (1, 10, 1000, inf):
        low, _, high = mean_of_unseen(values, unseen)
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    # A total of N of which n are known: the width shrinks with sqrt(1 - n/N).
    low, value, high = mean_of_unseen([each + 100 for each in values], 8)
    half = 8 * (high - value)
    plain = mean_of_unseen([each + 100 for each in values]).high - value
    assert half == pytest.approx(16 * plain * sqrt(1 - 8 / 16), rel=0.02)


def test_a_cap_bounds_the_mean() -> None:
    assert mean_of_unseen([10.0, 200, 20, 300], most=300).high == 300


def test_equal_values_leave_room_for_the_share_that_may_have_been_missed() -> None:
    low, value, high = mean_of_unseen([24.0] * 20, 180)
    assert value == 24
    assert high == pytest.approx(24 * (2 - 0.05 ** (1 / 20)))
    assert low == pytest.approx(24 * 0.05 ** (1 / 20))
    assert mean_of_unseen([24.0] * 20, most=25).high == 25
    assert mean_of_unseen([0.0] * 20) == (0, 0, 0)
    assert mean_of_unseen([0.0] * 5) == (0, 0, 0)


@pytest.mark.parametrize("values", [[6.0], [3.0, 9.0]])
def test_one_or_two_values_say_little(values: list[float]) -> None:
    assert mean_of_unseen(values) == (2, 6, 18)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=40),
    st.floats(1, 1e7),
    st.none() | st.floats(0, 1e6),
)
def test_low_mean_and_high_are_in_order_and_finite(
    values: list[float], unseen: float, extra: float | None
) -> None:
    most = inf if extra is None else max(values) + extra
    low, value, high = mean_of_unseen(values, unseen, most=most)
    assert 0 <= low <= value * (1 + 1e-12) and value <= high < inf or high == most


@pytest.mark.parametrize(("share", "cap"), [(0.02, 1000), (0.05, 500), (0.01, 4000)])
@pytest.mark.parametrize("n", [10, 50])
def test_answers_at_the_cap_that_few_items_have_not_shown_are_allowed_for(
    share: float, cap: float, n: int
) -> None:
    pick = random.Random(7)

    def length() -> float:
        return cap if pick.random() < share else min(cap, pick.lognormvariate(4.6, 0.4))

    held = 0
    for _ in range(200):
        lengths = [length() for _ in range(500)]
        span = mean_of_unseen(lengths[:n], 500 - n, most=cap, cap=cap)
        held += span.low <= sum(lengths[n:]) / (500 - n) <= span.high
    assert held >= 0.92 * 200
