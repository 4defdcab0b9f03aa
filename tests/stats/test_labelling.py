"""How many labels are worth it."""

from __future__ import annotations

import pytest

from llm_batch.stats.calibrate import label_margin, label_plan, worth_labelling


def test_the_margin_of_a_known_case() -> None:
    step = label_margin(100, 1000, 0.8)
    assert step.margin == pytest.approx(0.0635, abs=5e-4)
    assert step.alone == pytest.approx(0.0784, abs=5e-4)


def test_the_expected_margin_is_what_simulated_runs_come_to() -> None:
    import numpy

    from llm_batch.stats.agreement import BinaryTable
    from llm_batch.stats.calibrate import ppi_rate

    generator = numpy.random.default_rng(5)
    cells = [0.7 * 0.9, 0.7 * 0.1, 0.3 * 0.2, 0.3 * 0.8]
    halves = []
    for both, missed, wrong, neither in generator.multinomial(200, cells, size=200):
        table = BinaryTable(int(both), int(wrong), int(missed), int(neither))
        made = ppi_rate(table, int(generator.binomial(800, cells[0] + cells[2])), 800).interval
        assert made.low is not None and made.high is not None
        halves.append((made.high - made.low) / 2)
    expected = label_margin(200, 1000, 0.7, 0.9, 0.8).margin
    assert sum(halves) / len(halves) == pytest.approx(expected, rel=0.03)


def test_a_judge_that_guesses_saves_no_label_and_a_good_one_does() -> None:
    guess = label_margin(100, 1000, 0.8, 0.5, 0.5)
    assert guess.margin == pytest.approx(guess.alone)
    good = label_margin(100, 1000, 0.8, 0.95, 0.95)
    assert good.margin < 0.7 * good.alone


@pytest.mark.parametrize("items", [1, 24, 25, 26, 384, 30_000])
@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_a_plan_ends_with_all_items_and_never_widens(items: int, rate: float) -> None:
    plan = label_plan(items, rate)
    assert plan[-1].labels == items
    margins = [step.margin for step in plan]
    assert all(margin > 0 for margin in margins)
    assert margins == sorted(margins, reverse=True)
    assert worth_labelling(plan) in {step.labels for step in plan}


def test_labels_stop_being_worth_it_where_twice_as_many_gain_little() -> None:
    plan = label_plan(1000, 0.8)
    worth = worth_labelling(plan)
    here = next(i for i, step in enumerate(plan) if step.labels == worth)
    assert plan[here].margin - plan[here + 1].margin < 0.015
    assert plan[here - 1].margin - plan[here].margin >= 0.015


def test_without_items_there_is_no_plan() -> None:
    assert label_plan(0, 0.5) == () and worth_labelling(()) == 0


@pytest.mark.parametrize(("labels", "items", "rate"), [(0, 10, 0.5), (11, 10, 0.5), (5, 10, 1.5)])
def test_arguments_that_make_no_sense_are_refused(labels: int, items: int, rate: float) -> None:
    with pytest.raises(ValueError, match="within"):
        label_margin(labels, items, rate)
