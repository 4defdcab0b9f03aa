"""An audit by a dear judge: its plan against all others, its margin against what is estimated."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef

from llm_batch.stats.agreement import BinaryTable
from llm_batch.stats.audit import (
    LEAST_AUDITED,
    Costs,
    audited_for,
    best_audit,
    best_share,
    dear_alone,
    phi,
    with_audit,
)
from llm_batch.stats.calibrate import ppi_mean

COSTS = Costs(answer=0.0, cheap=1.0, dear=20.0)


def test_known_answers() -> None:
    assert phi(BinaryTable(40, 5, 5, 50)) == pytest.approx(0.7980, abs=5e-5)
    reference, judge = [1] * 45 + [0] * 55, [1] * 40 + [0] * 5 + [1] * 5 + [0] * 50
    assert phi(BinaryTable(40, 5, 5, 50)) == pytest.approx(matthews_corrcoef(reference, judge))
    assert phi(BinaryTable(40, 5, 0, 0)) is None
    found = with_audit(1000, 100, 0.4, 0.8, COSTS)
    assert (found.margin, found.cost) == (pytest.approx(0.05105, abs=1e-5), 3000)
    assert best_share(0.8, COSTS) == pytest.approx(0.1677, abs=5e-5)
    assert (best_share(0, COSTS), best_share(-1, COSTS)) == (1, 0)
    assert audited_for(0.05, 1000, 0.4, 0.8) == 106
    assert audited_for(0.001, 1000, 0.4, 0.8) is None
    assert audited_for(0.2, 1000, 0.4, 0.8) == LEAST_AUDITED
    alone = dear_alone(3000, 0.4, COSTS)
    assert (alone.items, alone.share, alone.margin) == (150, 1, pytest.approx(0.0640, abs=5e-5))
    assert dear_alone(10, 0.4, COSTS).margin == inf


@given(
    st.floats(0.05, 1),
    st.floats(0, 5),
    st.floats(0.1, 5),
    st.floats(1, 60),
    st.floats(100, 4000),
    st.sampled_from([None, 60, 500]),
)
def test_no_other_plan_for_the_same_money_has_a_narrower_interval(
    correlation: float, answer: float, cheap: float, dear: float, budget: float, most: int | None
) -> None:
    costs = Costs(answer, cheap, dear)
    each = answer + cheap
    plans = []
    for items in range(LEAST_AUDITED, min(most or 10**6, int(budget / each)) + 1, 1):
        audited = min(int((budget - items * each) / dear), items)
        if audited >= LEAST_AUDITED:
            plans.append(with_audit(items, audited, 0.5, correlation, costs))
    found = best_audit(budget, 0.5, correlation, costs, most)
    if found is None:
        assert not plans
    else:
        assert found.cost <= budget * (1 + 1e-9) and found.items <= (most or inf)
        # Whole items: one audit more or less moves a small plan by a part of its margin.
        assert found.margin <= min(plan.margin for plan in plans) * 1.02


def test_the_margin_is_that_of_the_corrected_mean() -> None:
    draw, correlation, widths = Random(2), 0.8, 0.0
    for _ in range(60):
        true = [draw.gauss(0, 1) for _ in range(1000)]
        cheap = [0.5 + correlation * y + 0.6 * draw.gauss(0, 1) for y in true]
        made = ppi_mean(true[:200], cheap[:200], cheap).interval
        assert made.low is not None and made.high is not None
        widths += (made.high - made.low) / 2 / 60
    assert widths == pytest.approx(with_audit(1000, 200, 1, correlation, COSTS).margin, rel=0.03)


def test_what_makes_no_sense_is_refused() -> None:
    for call, words in (
        (lambda: Costs(-1, 1, 1), "costs must"),
        (lambda: Costs(1, 1, 0), "no audit"),
        (lambda: with_audit(10, 11, 1, 1, COSTS), "audited must"),
        (lambda: with_audit(10, 5, 1, 1.1, COSTS), "correlation"),
        (lambda: dear_alone(inf, 1, COSTS), "budget"),
        (lambda: audited_for(0, 10, 1, 1), "margin must"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
