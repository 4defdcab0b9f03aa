"""Figures of a classification against scikit-learn, and their intervals against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support

from llm_batch.stats.classes import averages, class_figures

TABLES = {
    "three classes": [[30, 5, 3, 2], [4, 40, 1, 0], [6, 2, 10, 3]],
    "one is never answered": [[8, 0, 1], [4, 0, 0]],
    "all right": [[8, 0, 0], [0, 4, 0]],
    "all wrong": [[0, 8, 0], [4, 0, 0]],
    "no answer at all": [[0, 0, 8], [0, 0, 4]],
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("kind", ["macro", "weighted", "micro", None])
def test_figures_are_those_of_scikit_learn(table: list[list[int]], kind: str | None) -> None:
    cells = [(i, j, n) for i, row in enumerate(table) for j, n in enumerate(row)]
    right = np.repeat([i for i, _, _ in cells], [n for *_, n in cells])
    said = np.repeat([j for _, j, _ in cells], [n for *_, n in cells])
    known = precision_recall_fscore_support(
        right, said, labels=range(len(table)), average=kind, zero_division=0
    )
    found = class_figures(table) if kind is None else [getattr(averages(table), kind)]
    for name, column in zip(("precision", "recall", "f1"), known[:3], strict=True):
        values = [getattr(each, name).value or 0.0 for each in found]
        assert values == pytest.approx(list(np.ravel(column)))


def test_f1_of_a_class_has_the_bounds_of_its_rate_carried_over() -> None:
    one = class_figures([[40, 20], [10, 30]])[0]  # tp 40, fp 10, fn 20: F* = 40 / 70
    assert one.precision.value == pytest.approx(0.8)
    assert one.recall.value == pytest.approx(2 / 3)
    assert one.f1.value == pytest.approx(8 / 11)
    # Wilson of 40 of 70 is 0.45484 to 0.68064.
    assert one.f1.low == pytest.approx(2 * 0.45484 / 1.45484, abs=1e-4)
    assert one.f1.high == pytest.approx(2 * 0.68064 / 1.68064, abs=1e-4)


def test_a_class_without_an_answer_has_no_precision_and_one_without_items_no_recall() -> None:
    first, second = class_figures([[5, 0, 0], [0, 0, 0]])
    assert (first.precision.value, second.precision.value) == (1, None)
    assert (second.recall.value, second.f1.value) == (None, None)


def test_the_figures_of_two_classes_without_other_answers_agree_with_accuracy() -> None:
    micro = averages([[30, 10], [20, 40]][:2], 0.9).micro
    weighted = averages([[30, 10, 0], [20, 40, 0]], 0.9).weighted
    assert micro.recall == averages([[30, 10, 0], [20, 40, 0]], 0.9).micro.recall
    assert weighted.recall.value == micro.recall.value
    assert weighted.recall.low == pytest.approx(micro.recall.low)


@given(st.lists(st.lists(st.integers(0, 40), min_size=4, max_size=4), min_size=3, max_size=3))
def test_bounds_lie_around_the_value_and_within_0_and_1(table: list[list[int]]) -> None:
    together = averages(table)
    for figures in (*class_figures(table), together.macro, together.weighted, together.micro):
        for each in (figures.precision, figures.recall, figures.f1):
            if each.value is not None:
                assert each.low is not None and each.high is not None
                assert 0 <= each.low <= each.value <= each.high <= 1


@pytest.mark.parametrize("n", [200, 1000])
def test_averages_cover_the_truth_as_often_as_they_say(n: int) -> None:
    shares = np.array([[0.3, 0.02, 0.01, 0.01], [0.01, 0.28, 0.02, 0.01], [0.02, 0.01, 0.29, 0.02]])
    truth = averages((1e7 * shares).astype(int).tolist())
    draws = np.random.default_rng(1)
    hits = dict.fromkeys(("macro", "weighted", "micro"), 0)
    for _ in range(400):
        drawn = averages(draws.multinomial(n, shares.ravel()).reshape(shares.shape).tolist())
        for kind in hits:
            found, value = getattr(drawn, kind).f1, getattr(truth, kind).f1.value
            hits[kind] += found.low <= value <= found.high
    assert all(0.92 <= count / 400 <= 0.985 for count in hits.values()), hits
