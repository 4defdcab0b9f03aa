"""Runs that stop when they have shown enough."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from llm_batch.errors import Unavailable
from llm_batch.records import Item, Request, Result
from llm_batch.running.progress import concluded
from llm_batch.running.stopping import Until, Watch
from tests.builders import reply_to
from tests.project import Project


def result(item: Item, passed: bool | None) -> Result:
    return Result(item, "ok", {}, None, passed, {})


def watched(watch: Watch, verdicts: Iterable[bool | None]) -> str:
    """What is said, when the items come back in the order of the sample."""
    items = [Item(f"q{n}", {}) for n, _ in enumerate(verdicts)]
    for item, passed in zip(watch.numbered(items), verdicts, strict=True):
        if said := watch.note(result(item, passed)):
            return said
    return ""


def test_it_stops_at_the_first_item_that_makes_the_interval_narrow_enough() -> None:
    watch = Watch(Until(margin=0.05), None)
    said = watched(watch, [n % 5 > 0 for n in range(1000)])
    assert "±5.0 points" in said
    assert 240 <= watch.seen <= 265  # z² p (1 - p) / e² = 245.9
    assert watch.interval is not None and watch.interval.method.startswith("wilson")


def test_a_threshold_is_decided_by_a_sequence() -> None:
    watch = Watch(Until(decided=0.5), None)
    said = watched(watch, [n % 5 > 0 for n in range(1000)])
    assert said.startswith(f"after {watch.seen} items the pass rate is above 50 %")
    assert "confidence sequence" in said
    assert "below" in watched(Watch(Until(decided=0.9), 5000), [n % 2 > 0 for n in range(900)])


def test_what_comes_back_early_waits_for_what_was_drawn_before() -> None:
    watch = Watch(Until(margin=0.5), None)
    items = list(watch.numbered([Item(f"q{n}", {}) for n in range(40)]))
    for item in items[1:]:
        assert watch.note(result(item, True)) == ""
    assert watch.seen == 0
    assert watch.note(result(items[0], False)) != ""
    assert (watch.seen, watch.passed) == (30, 29)


def test_items_without_a_verdict_are_counted_apart() -> None:
    watch = Watch(Until(margin=0.1), None)
    watched(watch, [None, True, False] * 40)
    assert watch.unscored > 0 and watch.seen == 80


def test_at_the_threshold_it_is_wrong_in_less_than_5_percent_of_runs() -> None:
    generator = random.Random(11)
    decided = sum(_decides(generator) for _ in range(40))
    assert decided <= 5  # 2 expected at most


def _decides(generator: random.Random) -> bool:
    watch = Watch(Until(decided=0.8), None)
    return bool(watched(watch, [generator.random() < 0.8 for _ in range(200)]))


def test_a_run_stops_early_pays_for_no_more_and_says_why(project: Project) -> None:
    project.data(200)

    def judged(request: Request) -> str:
        return '{"score": 5}' if request.step == "judge" else reply_to(request)

    project.answers = judged
    summary = project.run(until=Until(margin=0.1))
    assert (summary.status, summary.exit_code) == ("enough", 0)
    assert "(wilson" not in summary.message and "±" in summary.message
    assert 30 <= summary.progress.done <= 40
    stopping = project.manifest()["stopping"]
    assert stopping["margin"] == 0.1 and stopping["n"] >= 30
    # A narrower margin goes on from there.
    more = project.run(until=Until(margin=0.03))
    assert more.progress.done > summary.progress.done
    assert more.progress.reused >= 2 * 30


@pytest.mark.parametrize("until", [Until(), Until(None, None)])
def test_without_a_rule_everything_is_played(project: Project, until: Until) -> None:
    assert not until
    assert project.run(until=until).progress.done == 12


@pytest.mark.parametrize(
    ("score", "bound", "passes", "code"),
    [(5, 0.5, False, 0), (1, 0.5, False, 5), (5, 0.999, False, 6), (5, 0.999, True, 0)],
)
def test_a_run_that_is_to_decide_something_ends_as_a_gate_does(
    score: int, bound: float, passes: bool, code: int, project: Project
) -> None:
    project.data(60)

    def judged(request: Request) -> str:
        return f'{{"score": {score}}}' if request.step == "judge" else "Paris."

    project.answers = judged
    sample = project.config(sample=50)
    summary = project.run(sample, until=Until(decided=bound, undecided_passes=passes))
    assert summary.exit_code == code
    assert {0: True, 5: summary.verdict == "failed", 6: summary.verdict == "undecided"}[code]
    assert any("gate" in line for line in concluded(summary).origin)


def test_failed_items_leave_a_gate_incomplete_that_is_not_decided(project: Project) -> None:
    project.answers = lambda request: (
        Unavailable("down") if request.item_id == "q3" else reply_to(request)
    )
    assert project.run(until=Until(decided=0.5)).exit_code == 4
