"""Conditions, shares, repeats and juries: what they are expected to cost, and what they do cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_batch.chain.config import Config
from llm_batch.estimating import Estimate, estimate
from llm_batch.estimating.document import document
from llm_batch.paper.text import format as as_text
from llm_batch.records import Result
from llm_batch.running.pilot import dry_run, pilot
from llm_batch.running.progress import Progress, concluded
from llm_batch.running.run import run
from tests.builders import item
from tests.estimating.made import high, value

PRICES = {"input_price": 1.0, "output_price": 2.0}
SCORE = {"score": {"type": "integer", "min": 1, "max": 5}}
MEMBERS = ["fake/a", "fake/b", "fake/c"]


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    rows = [{"id": f"r{i}", "question": "why " * (1 + i % 9), "lang": "de" if i % 4 else "en"}
            for i in range(300)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = {"prompt": "{{ question }}: {{ generate }}", "max_tokens": 90, "output": SCORE}
    return Config.model_validate(
        {
            "data": {"path": str(tmp_path / "rows.jsonl"), "id": "id"},
            "models": dict.fromkeys(("fake/g", "fake/o", *MEMBERS), PRICES),
            "steps": [
                {"name": "generate", "model": "fake/g", "prompt": "{{ question }}", "repeat": 3},
                {"name": "judge", "models": MEMBERS, "combine": "majority",
                 "when": "{{ generate|length > 70 }}"} | judged,
                {"name": "audit", "model": "fake/o", "share": 0.2} | judged,
                {"name": "german", "model": "fake/o", "when": '{{ lang == "de" }}'} | judged,
            ],
            "score": {"field": ["judge.score", "german.score"], "pass_at": 4},
            "run": {"output": str(tmp_path / "out.jsonl")},
        }
    )  # fmt: skip


def calls_of(made: Estimate) -> dict[str, float]:
    return {step.step: value(step.calls) for step in made.steps}


def test_a_pilot_measures_how_often_a_condition_holds_and_the_bill_is_in_its_range(
    settings: Config,
) -> None:
    blind = estimate(settings)
    assert calls_of(blind)["generate"] == 900
    assert {calls_of(blind)[f"judge#{name}"] for name in MEMBERS} == {900}
    jury = next(step for step in blind.steps if step.step == "judge#fake/a")
    assert (jury.calls.low, jury.cost and jury.cost.low) == (0, 0)
    assert 900 * 0.1 < calls_of(blind)["audit"] < 900 * 0.3
    assert calls_of(blind)["german"] == 675
    measured = pilot(settings, 60)
    made = estimate(settings, measured=measured)
    summary = run(settings)
    whole = summary.progress.spent - sum(
        step.cost or 0.0 for item in measured.items for step in item.steps.values()
    )
    assert made.cost is not None and made.cost.low is not None
    assert made.cost.low <= whole <= high(made.cost)
    assert value(made.cost) == pytest.approx(whole, rel=0.15)
    sent = summary.progress.calls
    assert value(made.calls) == pytest.approx(sent, rel=0.1)
    assert value(blind.calls) > 1.1 * sent  # what was counted for all is not played for all


def test_what_each_device_saves_is_said_with_money(settings: Config) -> None:
    blind = estimate(settings)
    assert [(each.step, each.device) for each in blind.devices] == [
        ("generate", "repeat"), ("judge", "models"), ("judge", "when"), ("audit", "share"),
        ("german", "when"),
    ]  # fmt: skip
    repeat, jury, waits, share, german = blind.devices
    assert repeat.cost == pytest.approx(value(blind.cost))
    assert repeat.cost_without == pytest.approx(value(blind.cost) / 3)
    assert jury.cost_without == pytest.approx((jury.cost or 0) / 3)
    assert waits.cost_without is None
    assert "the low end for none" in waits.said
    assert share.cost_without == pytest.approx(5 * (share.cost or 0))
    assert german.calls_without == pytest.approx(900)
    measured = estimate(settings, measured=pilot(settings, 60))
    waits = measured.devices[2]
    assert waits.calls_without is not None and waits.calls < waits.calls_without
    assert waits.said.startswith("when skips judge for ")
    read = as_text(document(measured))
    assert "#" not in read.replace("llmb run #", "")
    assert "judge (a)" in read


def test_a_hint_names_the_step_of_the_config_once(settings: Config) -> None:
    steps = tuple(
        step.model_copy(update={"max_tokens": None}) if step.models else step
        for step in settings.steps
    )
    made = estimate(settings.model_copy(update={"steps": steps}))
    hints = [caution.hint for caution in made.warnings if "max_tokens" in caution.hint]
    assert hints == [f"set max_tokens under [[steps]] {name}" for name in ("generate", "judge")]


def test_from_nothing_a_row_counts_its_repeats_and_its_share(settings: Config) -> None:
    data = settings.data.model_copy(update={"path": None})
    made = estimate(settings.model_copy(update={"data": data}), 1000)
    assert calls_of(made) == {
        "generate": 3000, "audit": 600, "german": 3000,
        **{f"judge#{name}": 3000 for name in MEMBERS},
    }  # fmt: skip
    assert [step.calls.low for step in made.steps if step.step == "german"] == [0]


def test_a_dry_run_shows_the_whole_path_of_an_item_with_what_is_skipped(settings: Config) -> None:
    titles = [section.title for section in dry_run(settings).sections if section.title]
    generate, judge, audit, german = titles[:4]
    assert generate.startswith("generate: fake/g at this machine, 3 times, item 'r")
    assert judge.startswith("judge: fake/a, fake/b, fake/c at this machine, up to 3 times")
    where = "when = '{{ lang == \"de\" }}' is not so for this item"
    assert "share = 0.2 does not draw this item" in audit or audit.startswith("audit: fake/o")
    assert where in german or german.startswith("german: fake/o")


def test_the_end_of_a_run_says_what_was_skipped_and_progress_counts_calls(
    settings: Config,
) -> None:
    states: list[tuple[int, int]] = []
    summary = run(settings, progress=lambda s: states.append((s.made, s.expected_calls)))
    said = " ".join(concluded(summary).origin)
    assert "skipped: " in said and "judge in " in said and "german in 75 items" in said
    made, expected = states[-1]
    assert made == summary.progress.calls <= expected
    assert expected == pytest.approx(value(estimate(settings).calls), rel=0.05)


@pytest.mark.parametrize(("status", "lost"), [("ok", 1), ("filtered", 0)])
def test_a_vote_is_lost_where_its_item_went_on_without_it(status: str, lost: int) -> None:
    state = Progress()
    missing = {"judge#openai/b": "filtered: blocked"}
    state.count_result(Result(item(), status, {}, None, None, {}, lost=missing))
    assert state.lost == lost
